"""What docs/conventions.rst says of scikit-image and TomoPy (of ASTRA and algotom: test_ops_radon.py)."""

import numpy as np
import pytest
from conftest import require

from tomolearn.ops import radon


def blob(x0, y0, x, y):
    return np.exp(-((x - x0) ** 2 / 80 + (y - y0) ** 2 / 120))


def skimage_center(n, n_detectors, angles):
    shift = n // 2 - (n - 1) / 2
    return n_detectors // 2 - shift * np.cos(angles) + shift * np.sin(angles)


@pytest.mark.parametrize("circle", [True, False])
@pytest.mark.parametrize("n", [64, 65])
def test_skimage_turns_about_pixel_n_half(n, circle):
    transform = require("skimage.transform")
    row, column = np.mgrid[:n, :n]
    inside = np.hypot(row - n // 2, column - n // 2) < n // 2 - 1
    image = inside * blob(n / 2 + 6, n / 2 + 4, column, row)
    degrees = np.linspace(0, 180, 36, endpoint=False)
    theirs = transform.radon(image, degrees, circle=circle).T
    angles, n_detectors = np.deg2rad(degrees), theirs.shape[1]
    ours = radon(image, angles, n_detectors=n_detectors, center=skimage_center(n, n_detectors, angles))
    assert np.abs(ours - theirs).max() <= 5e-3 * theirs.max()
    if n == 64 and circle:  # the middle will not do
        assert np.abs(radon(image, angles) - theirs).max() > 0.05 * theirs.max()


def tomopy_rays(n_detectors, center, angle):
    """Points (row, column) minus the middle of the image, on the ray of each bin nearest to it: as in TomoPy's source,
    where the ray of bin d runs along (cos, sin) in (row, column) at the distance (1 - n) / 2 + d + mov, with
    mov = (n - 1) / 2 - center + 0.5.
    """
    distance = (1 - n_detectors) / 2 + np.arange(n_detectors) + (n_detectors - 1) / 2 - center + 0.5
    return -distance * np.sin(angle), distance * np.cos(angle)


@pytest.mark.parametrize("center", [48.0, 45.5])
def test_tomopy_counts_the_centre_from_the_edge(center):
    """Rays of TomoPy's geometry through a smooth body, summed finely, against ours with a centre less by 0.5."""
    n, angles = 96, np.linspace(0, np.pi, 12, endpoint=False)
    row, column = np.mgrid[:n, :n] - (n - 1) / 2
    ours = radon(blob(6, 5, column, row), angles, center=center - 0.5)
    along = np.arange(-80, 80, 0.25)
    for k, angle in enumerate(angles):
        row0, column0 = tomopy_rays(n, center, angle)
        points = row0[:, None] + along * np.cos(angle), column0[:, None] + along * np.sin(angle)
        theirs = blob(6, 5, points[1], points[0]).sum(1) * 0.25
        assert np.abs(ours[k] - theirs).max() <= 5e-3 * theirs.max(), angle
