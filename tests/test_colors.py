"""The palette: colours that colour-blind readers tell apart, in the displays and in pictures of labels."""

import matplotlib
import matplotlib.colors
import matplotlib.image
import numpy as np
import pytest

from tomolearn._colors import CLASS_COLORS, COLORS, class_colors
from tomolearn.display._panels import COLORS as OF_DISPLAYS
from tomolearn.segmentation._volume import _draw, _matplotlib

# How linear red, green and blue are seen without one kind of cone: G. M. Machado, M. M. Oliveira, L. A. F. Fernandes,
# "A physiologically-based model for simulation of color vision deficiency", IEEE TVCG 15 (2009) 1291,
# DOI 10.1109/TVCG.2009.113, severity 1.
SEEN = {
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
}


def least_distance(colors, matrix):
    """Between two of ``colors`` as they are seen, in units of the cube of red, green and blue."""
    rgb = np.array([matplotlib.colors.to_rgb(color) for color in colors])
    seen = np.clip(rgb**2.2 @ np.transpose(matrix), 0, 1) ** (1 / 2.2)
    distances = np.linalg.norm(seen[:, None] - seen, axis=-1)
    return distances[np.triu_indices(len(colors), 1)].min()


@pytest.mark.parametrize("kind", SEEN)
def test_classes_stay_apart_without_one_kind_of_cone(kind):
    ours = least_distance(class_colors(7), SEEN[kind])
    assert ours > 0.15 and ours > 1.5 * least_distance(matplotlib.colormaps["tab10"].colors[:7], SEEN[kind])
    assert least_distance(COLORS, SEEN[kind]) > 0.15


def test_more_classes_than_colours_have_those_of_viridis():
    assert class_colors(7) == [matplotlib.colors.to_rgb(color) for color in CLASS_COLORS]
    many = class_colors(20)
    assert len(set(many)) == 20 and many[0] == matplotlib.colormaps["viridis"](0)[:3]
    assert OF_DISPLAYS is COLORS


@pytest.mark.parametrize("k", [2, 4])
def test_pictures_of_labels_use_them(k, tmp_path):
    labels = np.arange(k).repeat(6)[None].repeat(24, 0)
    _draw(_matplotlib(), tmp_path / "a.png", np.zeros(labels.shape), labels, np.arange(k), [str(i) for i in range(k)])
    shown = matplotlib.image.imread(tmp_path / "a.png")[..., :3].reshape(-1, 3)
    for color in [(0.0, 0.0, 0.0), *([(1.0, 1.0, 1.0)] if k == 2 else class_colors(k - 1))]:
        assert (np.abs(shown - color).max(1) < 0.01).mean() > 0.02
