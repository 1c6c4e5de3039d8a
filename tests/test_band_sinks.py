"""Volumes that are written in bands of rows."""

import numpy as np
import pytest
from conftest import require

from tomolearn.io import create_sink, open_volume

ROWS = 90
VOLUME = np.random.default_rng(0).integers(0, 4000, (3, ROWS, 71)).astype(np.uint16)
NAMES = ("out.h5", "out.tif", "out.zarr", "out.npy", "out")


@pytest.mark.parametrize(
    "blocks",
    [
        [(0, 0, 4), (0, 4, 6)],
        [(0, 0, 4), (0, 4, 6), (1, 0, 5)],
        [(0, 0, 4), (0, 5, 6), (1, 0, 6)],
        [(1, 0, 6), (0, 0, 6)],
        [(0, 0, 6), (1, 0, 3), (1, 3, 3), (1, 3, 6)],
        [(0, 0, 6), (1, 0, 7)],
    ],
)
def test_bands_that_do_not_follow_each_other(blocks, tmp_path):
    with pytest.raises(ValueError, match=r"bands that follow each other through the rows 0 to 6 of the slices 0 to 1"):
        create_sink(tmp_path / "out.npy", (2, 6, 5), blocks=blocks)


def test_bands_and_slices_do_not_mix(tmp_path):
    with pytest.raises(ValueError, match="blocks must follow each other from 0 to 2"):
        create_sink(tmp_path / "out.npy", (2, 6, 5), blocks=[(0, 1), (1, 0, 6)])


@pytest.mark.parametrize("name", NAMES)
def test_bands_in_any_order(name, tmp_path):
    if name.endswith(".zarr"):
        require("zarr")
    blocks = [(k, start, stop) for k in range(len(VOLUME)) for start, stop in ((0, 40), (40, 60), (60, ROWS))]
    with create_sink(tmp_path / name, VOLUME.shape, "uint16", blocks=blocks) as sink:
        for index in np.random.default_rng(0).permutation(len(blocks)):
            k, start, stop = blocks[index]
            with pytest.raises(ValueError, match=rf"must have shape \(1, {stop - start}, 71\); got \(1, 90, 71\)"):
                sink.write_block(index, VOLUME[k : k + 1])
            sink.write_block(index, VOLUME[k : k + 1, start:stop])
    with open_volume(tmp_path / name) as volume:
        np.testing.assert_array_equal(volume[:], VOLUME)


def test_labels_that_the_type_does_not_hold(tmp_path):
    sink = create_sink(tmp_path / "out.npy", (1, 2, 2), "uint8")
    sink.write_block(0, np.array([[[0, 255], [3, 4]]]))
    with pytest.raises(ValueError, match="uint8 holds 0 to 255; got values from -1 to 3. Take a larger dtype"):
        sink.write_block(0, np.array([[[0, -1], [3, 3]]]))
    sink.close()
