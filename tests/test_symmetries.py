"""Symmetries of a scan: the projection of the changed image is the changed sinogram."""

import numpy as np
import pytest
import torch
from learned import pairs, small, weights

from tomolearn.exceptions import GeometryError
from tomolearn.geometry import ParallelBeam, default_angles
from tomolearn.operators import RadonOperator
from tomolearn.reconstruction._symmetries import Symmetries

EIGHTHS = np.pi / 8 * np.arange(8)
MIDPOINTS = (np.arange(10) + 0.5) * np.pi / 10
PAIR = np.array([0.3, -0.3])  # reflected onto each other
SCANS = {  # scan -> number of symmetries
    "default, even": (ParallelBeam(default_angles(12), 21, (16, 16)), 8),
    "default, odd number": (ParallelBeam(default_angles(9), 21, (16, 16)), 4),
    "one angle": (ParallelBeam([0.0], 21, (16, 16)), 4),
    "midpoints": (ParallelBeam(MIDPOINTS, 24, (16, 16)), 8),
    "not square": (ParallelBeam(MIDPOINTS, 25, (14, 19)), 4),
    "unsorted": (ParallelBeam(np.random.default_rng(0).permutation(EIGHTHS), 22, (15, 15)), 8),
    "turned by full and half turns": (ParallelBeam(EIGHTHS + np.pi * (np.arange(8) % 3), 22, (15, 15)), 8),
    "a full turn": (ParallelBeam(2 * np.pi / 12 * np.arange(12), 22, (15, 15)), 8),
    "limited, around the x axis": (ParallelBeam(np.linspace(-1, 1, 9), 22, (15, 15)), 4),
    "two angles": (ParallelBeam(PAIR, 22, (15, 15)), 4),
    "wide bins, pixels with a size": (
        ParallelBeam(EIGHTHS, 16, (15, 15), detector_spacing=1.6, pixel_size=0.3),
        8,
    ),
}
NONE = {
    "limited": ParallelBeam(np.linspace(0.1, 1.2, 9), 22, (15, 15), center=9.5),
    "irregular": ParallelBeam([0.1, 0.5, 0.75, 1.9], 22, (15, 15), center=9.5),
    "centre off the middle": ParallelBeam([0.3, 0.4], 21, (15, 15), center=11.2),
    "one angle twice": ParallelBeam([0.3, 0.3, 1.1], 21, (15, 15), center=11.2),
}


def check(geometry, n_kinds=None):
    symmetries = Symmetries(geometry)
    A = RadonOperator(geometry)
    images = torch.rand(3, *geometry.image_shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    sinograms, kept = A(images), images.clone()
    results = set()
    for kind in range(len(symmetries.kinds)):
        turned, image = symmetries.apply(kind, sinograms, images)
        assert turned.shape == sinograms.shape and image.shape == images.shape
        torch.testing.assert_close(A(image), turned, rtol=1e-9, atol=1e-9)
        results.add(image.numpy().tobytes())
    assert len(results) == len(symmetries.kinds) and torch.equal(images, kept)
    assert n_kinds is None or len(results) == n_kinds
    first = symmetries.apply(0, sinograms, images)
    assert torch.equal(first[0], sinograms) and torch.equal(first[1], images)


@pytest.mark.parametrize("name", SCANS)
def test_the_projection_of_the_changed_image_is_the_changed_sinogram(name):
    check(*SCANS[name])


def test_scans_drawn_at_random():
    """Angles that some reflection or turn maps onto themselves, in any order, any size, with and without an offset."""
    rng, found = np.random.default_rng(0), 0
    for _ in range(40):
        some = rng.uniform(0, np.pi, rng.integers(1, 4))
        angles = rng.permutation(np.concatenate([some, rng.choice([-some, np.pi / 2 - some, some + np.pi / 2])]))
        n_detectors, shape = int(rng.integers(12, 26)), tuple(int(n) for n in rng.integers(9, 18, 2))
        shape = shape if rng.random() < 0.3 else shape[:1] * 2
        center = (n_detectors - 1) / 2 + (0 if rng.random() < 0.6 else rng.uniform(0.1, 2))
        try:
            check(ParallelBeam(angles, n_detectors, shape, center=center))
            found += 1
        except GeometryError:
            continue
    assert found > 15


def test_an_axis_off_the_middle_leaves_those_that_do_not_reverse_the_detector():
    full = 2 * np.pi / 12 * np.arange(12)
    symmetries = Symmetries(ParallelBeam(full, 22, (15, 15), center=9.0))
    assert not any(backwards.any() for *_, backwards in symmetries.kinds)
    check(ParallelBeam(full, 22, (15, 15), center=9.0))


@pytest.mark.parametrize("name", NONE)
def test_scans_without_symmetry_are_refused(name):
    with pytest.raises(
        GeometryError, match=r"augmentation=True needs a scan that .*has no such symmetry\. Set augment"
    ):
        Symmetries(NONE[name])


def test_augmentation_in_an_estimator():
    X, y = pairs(8, (8, 12))
    options = {"augmentation": True, "max_epochs": 4, "early_stopping": False}
    one, two = (small("FBPUNetReconstructor", **options).fit(X, y) for _ in range(2))
    assert torch.equal(weights(one), weights(two))
    plain = small("FBPUNetReconstructor", **(options | {"augmentation": False})).fit(X, y)
    assert not torch.equal(weights(one), weights(plain))
    with pytest.raises(GeometryError, match="Set augmentation=False"):
        small("FBPUNetReconstructor", angles=np.linspace(0.1, 1, 8), center=4.0, **options).fit(X, y)


def test_every_symmetry_is_drawn():
    symmetries = Symmetries(SCANS["midpoints"][0])
    images = torch.arange(256.0).reshape(1, 16, 16)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        drawn = {symmetries(torch.zeros(1, 10, 24), images)[1].numpy().tobytes() for _ in range(80)}
    assert len(drawn) == 8
