"""Pictures of slices: the right pixels, greys and titles, from arrays and from files."""

import matplotlib.image
import numpy as np
import pytest

from tomolearn.display import draw_centers, draw_slices, previews
from tomolearn.io import ArraySource

STEPS = np.linspace(0, 1, 16, dtype=np.float32) * np.ones((16, 1), np.float32)  # a ramp from left to right


def panels(path, n, least):
    """The grey images of a picture of ``n`` panels in one row of 16 x 16 pixels, one value a pixel of the image."""
    picture = matplotlib.image.imread(path)[..., 0]
    zoom = least // 16
    below = picture.shape[0] - 8 - 16 * zoom
    found = [picture[below : below + 16 * zoom, 8 + k * (16 * zoom + 8) :][:, : 16 * zoom] for k in range(n)]
    return [panel[zoom // 2 :: zoom, zoom // 2 :: zoom] for panel in found]


@pytest.mark.parametrize("wrap", [np.asarray, ArraySource], ids=["array", "source"])
def test_slices_are_drawn_pixel_by_pixel(wrap, tmp_path):
    volume = np.stack([STEPS, STEPS.T, STEPS[:, ::-1]])
    draw_slices(wrap(volume), tmp_path / "slices.png")
    for panel, image in zip(panels(tmp_path / "slices.png", 3, 320), volume, strict=True):
        low, high = np.percentile(image, previews.SHOWN)
        np.testing.assert_allclose(panel, np.clip((image - low) / (high - low), 0, 1), atol=1.5 / 255)


def titles_of(monkeypatch):
    """What `_canvas` is asked to write."""
    told = {}
    monkeypatch.setattr(
        previews, "_canvas", lambda path, images, titles, *rest, **more: told.update(images=images, titles=titles)
    )
    return told


def test_slices_are_spread_and_named(monkeypatch):
    told = titles_of(monkeypatch)
    volume = np.arange(10, dtype=float)[:, None, None] + STEPS
    draw_slices(volume, "x.png", n_slices=3, units="1/mm")
    assert [title.split(":")[0] for title in told["titles"]] == ["slice 1", "slice 5", "slice 8"]
    assert told["titles"][1].endswith(" 1/mm") and "slice 5: 5" in told["titles"][1]
    draw_slices(volume[:1], "x.png")
    assert len(told["images"]) == 1


def test_a_wide_volume_gives_a_picture_that_fits(tmp_path, monkeypatch):
    draw_slices(np.broadcast_to(np.float32(1), (1, 2048, 2048)), tmp_path / "one.png")
    assert matplotlib.image.imread(tmp_path / "one.png").shape[1] == 2048 + 16
    told = titles_of(monkeypatch)
    draw_slices(np.broadcast_to(np.float32(1), (5, 300, 5000)), "x.png")
    assert [image.shape for image, _ in told["images"]] == [(100, 1667)]


@pytest.mark.parametrize("value", [0.0, 3.0])
def test_a_constant_slice_is_drawn(value, tmp_path):
    draw_slices(np.full((1, 16, 16), value), tmp_path / "flat.png")
    assert np.ptp(panels(tmp_path / "flat.png", 1, 320)[0]) == 0


def test_values_that_are_not_finite_do_not_hide_the_others(tmp_path):
    volume = STEPS[None].copy()
    volume[0, 0, 0] = np.nan
    draw_slices(volume, tmp_path / "nan.png")
    panel = panels(tmp_path / "nan.png", 1, 320)[0]
    low, high = np.nanpercentile(volume, previews.SHOWN)
    np.testing.assert_allclose(panel[1:], np.clip((STEPS[1:] - low) / (high - low), 0, 1), atol=1.5 / 255)
    draw_slices(np.full((1, 16, 16), np.nan), tmp_path / "none.png")
    assert (tmp_path / "none.png").exists()


def test_centers_share_their_greys_and_mark_what_was_found(tmp_path, monkeypatch):
    images, centers = np.stack([STEPS, 2 * STEPS, 3 * STEPS]), [7.0, 7.5, 8.0]
    draw_centers(images, centers, tmp_path / "centers.png", chosen=7.5)
    picture = matplotlib.image.imread(tmp_path / "centers.png")[..., :3]
    above = picture[: picture.shape[0] - 8 - 13 * 16]
    red = (above[..., 0] - above[..., 2]) > 0.3
    columns = np.flatnonzero(red.any(axis=0))
    assert 8 + 216 <= columns.min() and columns.max() < 8 + 2 * 216  # the title of the middle panel
    told = titles_of(monkeypatch)
    draw_centers(images, centers, "x.png", chosen=7.5)
    assert told["titles"] == ["center 7.00", "center 7.50 (found)", "center 8.00"]
    assert {limits for _, limits in told["images"]} == {tuple(np.percentile(images, previews.SHOWN))}


def test_without_matplotlib_the_message_names_the_extra(tmp_path, monkeypatch):
    def missing(name):
        raise ImportError(name)

    monkeypatch.setattr("importlib.import_module", missing)
    with pytest.raises(ImportError, match=r"figures need matplotlib: pip install 'tomolearn\[plot\]'"):
        draw_slices(np.ones((1, 16, 16)), tmp_path / "x.png")
