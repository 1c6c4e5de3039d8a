"""Tiles: every pixel is written once, and a network gives in tiles what it gives on the whole image."""

import numpy as np
import pytest
import torch

from tomolearn.networks import UNet
from tomolearn.tiling import fit_tiles, plan_tiles, smallest_box


def draw(rng):
    shape = tuple(int(n) for n in rng.integers(1, 70, 2))
    tile_shape = tuple(int(n) for n in rng.integers(1, 80, 2))
    return shape, tile_shape, int(rng.integers(0, 30)), int(rng.choice([1, 2, 3, 4, 8, 16]))


def length(part):
    return part.stop - part.start


@pytest.mark.parametrize("seed", range(100))
def test_laws(seed):
    shape, tile_shape, halo, multiple = draw(np.random.default_rng(seed))
    plan = plan_tiles(shape, tile_shape, halo, multiple=multiple)
    assert plan.shape == shape and len(plan) == len(list(plan)) and plan[0].write[0].start == 0
    largest, written = plan.largest_read, np.zeros(shape, int)
    for tile in plan:
        written[tile.write] += 1
        for n, asked, read, crop, write in zip(shape, tile_shape, tile.read, tile.crop, tile.write, strict=True):
            assert 0 <= read.start <= write.start < write.stop <= read.stop <= n
            assert 0 <= crop.start and crop.stop <= length(read) and length(crop) == length(write)
            assert read.start + crop.start == write.start
            assert length(write) <= -(-asked // multiple) * multiple
            assert read.start % multiple == 0 and (read.stop % multiple == 0 or read.stop == n)
            assert read.start == 0 or halo <= write.start - read.start < halo + multiple
            assert read.stop == n or halo <= read.stop - write.stop < halo + multiple
    np.testing.assert_array_equal(written, 1)
    assert largest == tuple(max(length(tile.read[axis]) for tile in plan) for axis in (0, 1))


def test_known_tiles():
    plan = plan_tiles((20, 9), (8, 100), 3, multiple=4)
    rows = [(t.read[0], t.crop[0], t.write[0]) for t in plan]
    assert rows == [
        (slice(0, 12), slice(0, 8), slice(0, 8)),
        (slice(4, 20), slice(4, 12), slice(8, 16)),
        (slice(12, 20), slice(4, 8), slice(16, 20)),
    ]
    assert all((t.read[1], t.crop[1], t.write[1]) == (slice(0, 9),) * 3 for t in plan)
    whole = plan_tiles((20, 9), (20, 9), 3)
    assert len(whole) == 1 and whole[0].read == whole[0].write == whole[0].crop == (slice(0, 20), slice(0, 9))


@pytest.mark.parametrize("seed", range(40))
def test_tiles_that_fit_are_the_best_of_all(seed):
    """Against every size of tile there is."""
    rng = np.random.default_rng(seed)
    shape = tuple(int(n) for n in rng.integers(1, 26, 2))
    halo, multiple, n_pixels = int(rng.integers(0, 6)), int(rng.choice([1, 2, 4])), float(rng.uniform(1, 400))

    def cost(tile_shape):
        plan = plan_tiles(shape, tile_shape, halo, multiple=multiple)
        fits = np.prod(plan.largest_read) <= n_pixels
        return sum(length(t.read[0]) * length(t.read[1]) for t in plan) if fits else np.inf

    best = min(cost((r + 1, c + 1)) for r in range(shape[0]) for c in range(shape[1]))
    found = fit_tiles(shape, n_pixels, halo, multiple=multiple)
    smallest = smallest_box(shape, halo, multiple=multiple)
    assert smallest == plan_tiles(shape, (1, 1), halo, multiple=multiple).largest_read
    assert (found is None) == (best == np.inf) == (np.prod(smallest) > n_pixels)
    if found is not None:
        assert cost(found) == best


def test_an_image_that_fits_is_not_cut():
    assert fit_tiles((40, 50), 2000, 7) == (40, 50)
    assert len(plan_tiles((40, 50), fit_tiles((40, 50), 2000, 7), 7)) == 1
    assert len(plan_tiles((40, 50), fit_tiles((40, 50), 1999, 7), 7)) > 1


@pytest.mark.parametrize(
    "options",
    [
        {"channels": (4, 6, 6)},
        {"channels": (4, 4), "upsampling": "nearest", "downsampling": "stride"},
        {"channels": (4, 4), "upsampling": "transposed", "block_size": 2},
    ],
    ids=["bilinear", "stride", "blocks"],
)
@pytest.mark.parametrize("shape", [(90, 131), (64, 77), (61, 160)])
def test_a_network_gives_in_tiles_what_it_gives_on_the_whole(options, shape):
    torch.manual_seed(0)
    network = UNet(1, 1, **options).double().eval()
    image = torch.rand(1, 1, *shape, dtype=torch.float64)
    halo, multiple = network.receptive_radius, network.size_multiple
    with torch.no_grad():
        whole = network(image)
        tiled = {}
        for used, origins in ((halo, multiple), (halo // 4, multiple), (halo, 1)):
            tiled[used, origins] = torch.full_like(whole, torch.nan)
            for tile in plan_tiles(shape, (29, 40), used, multiple=origins):
                part = network(image[(..., *tile.read)])
                tiled[used, origins][(..., *tile.write)] = part[(..., *tile.crop)]
    scale = float(whole.abs().max())
    errors = {key: float((value - whole).abs().max()) / scale for key, value in tiled.items()}
    assert errors[halo, multiple] < 1e-12
    # Neither the halo nor the multiples are there for nothing.
    assert errors[halo // 4, multiple] > 1e-7 and errors[halo, 1] > 1e-7


def test_wrong_arguments():
    with pytest.raises(ValueError, match=r"shape must be 2 positive integers; got \(4, 5, 6\)"):
        plan_tiles((4, 5, 6), (2, 2), 1)
    with pytest.raises(ValueError, match=r"tile_shape\[1\] must be an integer >= 1; got 0"):
        plan_tiles((4, 5), (2, 0), 1)
    with pytest.raises(TypeError, match=r"halo must be an integer >= 0; got 1\.5"):
        fit_tiles((4, 5), 10, 1.5)
    with pytest.raises(ValueError, match="multiple must be an integer >= 1; got 0"):
        smallest_box((4, 5), 1, multiple=0)
