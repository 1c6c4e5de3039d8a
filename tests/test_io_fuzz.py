"""Broken files of every kind, 60 cases each, in a process with limited memory; and the fuzzer finds what it is for."""

import os
import subprocess
import sys
from pathlib import Path

import fuzz_files
import io_twins
import numpy as np
import planted_faults
import pytest

CASES = 60
# Where HDF5 2.0 itself crashed, hung or took gigabytes before chunks and texts were checked; of files of that version.
KNOWN = {
    "exchange": (165, 822, 1833),
    "exchange-gzip": (409, 733, 799, 1491),
    "nxtomo": (227, 392, 737, 819, 1736),
}


@pytest.fixture(scope="module")
def worker():
    made = fuzz_files.Worker("io_twins:TWINS", 20.0)
    yield made
    made.stop()


@pytest.mark.skipif(sys.platform != "linux", reason="limits memory as Linux does")
@pytest.mark.parametrize("kind", io_twins.TWINS)
def test_broken_files_are_read_or_refused(worker, kind):
    faults, _ = fuzz_files.run_kind(worker, kind, 0, CASES)
    for seed in KNOWN.get(kind, ()):
        faults += fuzz_files.run_kind(worker, kind, seed, 1)[0]
    again = f"python tests/fuzz_files.py --kind {kind} --cases 1 --seed N"
    assert not faults, "\n".join(f"{seed}: {text}" for seed, text in faults) + f"\nagain: {again}"


@pytest.mark.parametrize("kind", io_twins.TWINS)
def test_cases_are_seeded_and_break_the_file(tmp_path, kind):
    twin = io_twins.TWINS[kind]
    path = tmp_path / f"twin{twin.suffix}"
    twin.write(path)
    whole = path.read_bytes()
    assert len(whole) < 64 << 10
    broken = [fuzz_files.mutate(whole, np.random.default_rng(seed)) for seed in range(200)]
    assert broken == [fuzz_files.mutate(whole, np.random.default_rng(seed)) for seed in range(200)]
    assert {words.split()[0] for words, _ in broken} == {"cut", "flip", "zero", "extreme", "number"}
    assert sum(data != whole for _, data in broken) > 150


def test_the_fuzzer_finds_planted_faults():
    worker = fuzz_files.Worker("planted_faults:PLANTED", 3.0)
    try:
        found = {kind: fuzz_files.run_kind(worker, kind, 0, 2)[0] for kind in planted_faults.PLANTED}
    finally:
        worker.stop()
    assert [seed for seed, _ in found["crash"]] == [0, 1] and "died with status -6" in found["crash"][0][1]
    assert len(found["hang"]) == 2 and "hangs for 3 s" in found["hang"][0][1]
    assert "KeyError: 'lost'" in found["other"][0][1]
    assert "the message does not name the file" in found["nameless"][0][1]
    assert "MiB, at most 200 are allowed" in found["hungry"][0][1]
    assert "MemoryError" in found["greedy"][0][1]
    assert found["good"] == []


def test_the_command_prints_how_to_repeat():
    command = [sys.executable, Path(fuzz_files.__file__), "--kind", "other", "--cases", "1", "--seed", "7"]
    command += ["--table", "planted_faults:PLANTED"]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **fuzz_files.ONE_THREAD})
    assert done.returncode == 1, done.stderr
    assert "again: python tests/fuzz_files.py --kind other --cases 1 --seed 7" in done.stdout
