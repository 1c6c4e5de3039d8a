"""Memory that is used again instead of being taken from the system anew."""

import os
import platform
import subprocess
import sys

import pytest

REUSE = """
import resource
import torch
from tomolearn.base import reused_memory, used_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        torch.ones(2**24)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

before, usual = used_memory(), faults()
with reused_memory():
    faults()
    with reused_memory():
        inner = faults()
    outer = faults()
print(usual, inner, outer, used_memory() - before)
"""


def run_python(code, **environment):
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=True, env=clean | environment).stdout


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the options of glibc's allocator")
def test_freed_memory_is_used_again_within_and_given_back_after():
    """Tensors of 64 MiB: 32 huge pages each, or 16,384 usual ones, that the system would have to clear."""
    usual, inner, outer, left = map(int, run_python(REUSE).split())
    assert usual >= 20 * 32
    assert inner < usual / 10
    assert outer < usual / 10
    assert left < 40e6


def test_memory_options_of_the_environment_are_left_alone():
    code = "from tomolearn.base import memory\nprint(memory._glibc())"
    assert run_python(code, MALLOC_ARENA_MAX="1").strip() == "None"
