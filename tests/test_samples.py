"""What a training learns from: the order in which samples are drawn, from memory and from files."""

import h5py
import numpy as np
import pytest
import torch

from tomolearn.io import ArraySource, open_library
from tomolearn.training import Samples, data


def drawn(samples, batch_size, seed=0, **options):
    """First value of each entry of the first stack, batch by batch."""
    batches = samples.shuffled(batch_size, np.random.default_rng(seed), **options)
    return [batch[0].reshape(len(batch[0]), -1)[:, 0].tolist() for batch, _, _ in batches]


def numbered(n, shape=(2, 3)):
    return np.broadcast_to(np.arange(n, dtype=np.float32).reshape(n, *[1] * len(shape)), (n, *shape))


def test_each_sample_once_in_another_order_each_epoch():
    samples = Samples(np.arange(100.0), np.arange(100.0))
    orders = [drawn(samples, 32, seed) for seed in range(2)]
    for order in orders:
        assert [len(batch) for batch in order] == [32, 32, 32, 4] and samples.n_batches(32) == 4
        assert sorted(sum(order, [])) == list(range(100))
    assert orders[0] != orders[1]


def test_skipped_batches_leave_the_rest_as_it_was():
    samples = Samples(np.arange(50.0))
    assert drawn(samples, 8, skip=4) == drawn(samples, 8)[4:] and len(drawn(samples, 8, skip=4)) == 3


@pytest.fixture
def library(tmp_path):
    """10,000 pairs of 2 x 3 in the format of the libraries, numbered."""
    n = 10_000
    with h5py.File(tmp_path / "library.h5", "w") as file:
        numbers = np.arange(n, dtype=np.float32)
        file.create_dataset("Images", data=np.broadcast_to(numbers, (2, 3, n)), chunks=(2, 3, 64))
        file.create_dataset("Sinograms", data=np.broadcast_to(-numbers, (2, 3, n)), chunks=(2, 3, 64))
        file["NImages"] = n
    return tmp_path / "library.h5"


def test_files_are_shuffled_in_windows_and_every_pair_is_read_once(library, monkeypatch):
    monkeypatch.setattr(data, "WINDOW", 4096 * 48)  # 64 runs of 64 pairs of 48 bytes
    images, sinograms = open_library(library)
    samples = Samples(sinograms, images).subset(np.delete(np.arange(10_000), [5, 77]))
    batches = list(samples.shuffled(100, np.random.default_rng(0)))
    assert len(batches) == samples.n_batches(100) == 41 + 41 + 19
    x = torch.cat([x[:, 0, 0] for (x, _), _, _ in batches])
    y = torch.cat([y[:, 0, 0] for (_, y), _, _ in batches])
    assert torch.equal(x, -y)
    assert torch.equal(y.sort().values, torch.tensor(np.delete(np.arange(10_000.0), [5, 77]), dtype=torch.float32))
    assert y[:4096].diff().eq(1).float().mean() < 0.01  # mixed, not in runs
    skipped = list(samples.shuffled(100, np.random.default_rng(0), skip=60))
    assert torch.equal(skipped[0][0][1], batches[60][0][1])


def test_the_order_does_not_depend_on_the_memory_that_is_free(monkeypatch):
    """A training is resumed, or has its second process, where there is less of it."""
    for window in (16 * 24, 2**30):
        monkeypatch.setattr(data, "WINDOW", window)
        samples = Samples(ArraySource(numbered(100))).subset(np.arange(1, 90))
        held = samples.load_if_small()
        monkeypatch.setattr(data, "available_memory", lambda: 4 * 24 * 89 - 1)
        assert held is not samples and samples.load_if_small() is samples
        monkeypatch.undo()
        assert drawn(held, 7) == drawn(samples, 7) and held.n_batches(7) == samples.n_batches(7) == len(drawn(held, 7))
    assert drawn(samples, 7) == drawn(Samples(numbered(100)[1:90]), 7)  # what fits into a window: as arrays are


@pytest.mark.parametrize(
    ("side", "run", "window"),
    [(64, 64, 32768), (256, 45, 2025), (512, 22, 506), (2048, 5, 30), (4096, 1, 8), (8192, 1, 4), (32768, 1, 4)],
)
def test_windows_of_large_samples_are_small(side, run, window):
    """Samples of pairs of side x side pixels: a GiB at most, but at least four of them."""
    entry = 2 * 4 * side**2
    assert data._plan(entry) == (run, window)
    assert (2**29 < window * entry <= 2**30 or window == 4) and window % run == 0 and window // run >= 4


def test_windows_are_read_run_by_run(monkeypatch):
    monkeypatch.setattr(data, "WINDOW", 16 * 24)  # four runs of four samples
    source, reads = ArraySource(numbered(100)), []
    read = source.read_block
    monkeypatch.setattr(source, "read_block", lambda a, b: reads.append((a, b)) or read(a, b))
    order = sum(drawn(Samples(source), 5), [])
    assert sorted(reads) == [(k, k + 4) for k in range(0, 100, 4)]
    for window, start in zip(np.split(np.array(reads), range(4, 25, 4)), range(0, 100, 16), strict=True):
        assert sorted(order[start : start + 16]) == sorted(k for a, b in window for k in range(a, b))


@pytest.mark.parametrize("of_file", [False, True])
def test_repeated_samples(of_file, monkeypatch):
    """Each three times an epoch, mixed; validation and what is learned of all samples sees each once."""
    monkeypatch.setattr(data, "WINDOW", 16 * 24)
    stack = ArraySource(numbered(50)) if of_file else numbered(50)
    samples = Samples(stack, repeat=3)
    order = drawn(samples, 8)
    assert len(samples) == 150 and samples.n_distinct == 50
    assert len(order) == samples.n_batches(8) == (6 + 6 + 6 + 1 if of_file else 19)
    assert sorted(sum(order, [])) == sorted([*range(50)] * 3)
    assert sum(len(set(batch)) < len(batch) for batch in order) < len(order) and order[0] != sorted(order[0])
    assert drawn(samples, 8, skip=7) == order[7:]
    assert [x[:, 0, 0].tolist() for (x,), _ in samples.in_order(40)] == [[*range(40)], [*range(40, 50)]]
    part = samples.subset([4, 9])
    assert (len(part), part.n_distinct) == (6, 2) and sorted(sum(drawn(part, 8), [])) == [4, 4, 4, 9, 9, 9]
    held = samples.load_if_small()
    assert len(held) == 150 and drawn(held, 8) == order
    assert drawn(Samples(stack, repeat=1), 8) == drawn(Samples(stack), 8)
    with pytest.raises(ValueError, match="repeat must be an integer >= 1; got 0"):
        Samples(stack, repeat=0)


def test_in_order_reads_little_of_large_samples_at_a_time(monkeypatch):
    monkeypatch.setattr(data, "READ", 10 * 24 + 23)
    samples = Samples(numbered(300))
    assert [len(x) for (x,), _ in samples.in_order()] == [10] * 30
    monkeypatch.undo()
    assert [(len(x), n) for (x,), n in samples.in_order()] == [(256, 256.0), (44, 44.0)]


def test_what_is_not_finite_in_a_file_is_named(library):
    with h5py.File(library, "a") as file:
        file["Images"][0, 0, 123] = np.nan
    images, sinograms = open_library(library)
    with pytest.raises(ValueError, match=r"library\.h5.*samples \d+ to \d+, must be finite; got 1 NaN"):
        list(Samples(sinograms, images).in_order(100))
    with pytest.raises(ValueError, match="one entry per sample; got 3 and 4"):
        Samples(np.zeros(3), np.zeros(4))
