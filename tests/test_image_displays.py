"""Figures of reconstructions, denoised slices and segmentations: what is drawn is what was given."""

import matplotlib.pyplot
import matplotlib.text
import numpy as np
import pytest
from denoisers import BoxDenoiser
from matplotlib.figure import Figure
from segmenters import halves
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline

from tomolearn import (
    DenoisingDisplay,
    FBPReconstructor,
    MinusLog,
    ReconstructionDisplay,
    SegmentationDisplay,
    dice,
    psnr,
    radon,
    ssim,
)
from tomolearn.geometry import default_angles
from tomolearn.simulation import random_ellipses


@pytest.fixture
def truth():
    return random_ellipses(3, 24, random_state=0)


@pytest.fixture
def noisy(truth, rng):
    return (truth + rng.normal(0, 0.1, truth.shape)).astype(np.float32)


def drawn(images):
    return [np.asarray(image.get_array()) for image in images]


def texts(figure):
    """All that is written, where a reader sees it."""
    return [t for t in figure.findobj(matplotlib.text.Text) if t.get_text().strip() and t.get_visible()]


def line_values(lines):
    return {line.get_label(): np.asarray(line.get_ydata()) for line in lines}


def legend_of(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


# ------------------------------------------------------------------------------------------------- reconstructions


def test_reconstructions_errors_and_profiles_are_those_of_the_slice(truth, noisy):
    given = {"FBP": noisy, "TV": truth / 2}
    display = ReconstructionDisplay.from_predictions(truth, given, index=2, row=5, limits=(0.0, 0.7))
    for image, expected in zip(drawn(display.images_), (truth[2], noisy[2], truth[2] / 2), strict=True):
        np.testing.assert_array_equal(image, expected)
    for error, expected in zip(drawn(display.errors_), (noisy[2] - truth[2], -truth[2] / 2), strict=True):
        np.testing.assert_allclose(error, expected, atol=1e-7)
    assert {image.get_clim() for image in display.images_} == {(0.0, 0.7)}
    (low, high), *others = [error.get_clim() for error in display.errors_]
    assert low == -high < 0 and others == [(low, high)]
    lines = line_values(display.lines_)
    assert list(lines) == ["truth", "FBP", "TV"] == legend_of(display.axes_[-2])
    np.testing.assert_array_equal(lines["FBP"], noisy[2, 5])
    assert "along row 5" in display.axes_[-1].get_xlabel()
    assert len(display.figure_.axes) == len(display.axes_) == 3 + 2 + 2


@pytest.mark.parametrize("data_range", ["reference", 2.0])
def test_titles_hold_the_metrics_of_the_slice_and_their_range(truth, noisy, data_range):
    display = ReconstructionDisplay.from_predictions(truth, {"FBP": noisy}, index=0, data_range=data_range)
    value, similarity = (f(truth[0], noisy[0], data_range=data_range) for f in (psnr, ssim))
    titles = [ax.get_title() for ax in display.axes_]
    assert titles[1] == f"FBP\n{value:.1f} dB\nSSIM {similarity:.3f}"
    rule = "data range 2" if data_range == 2.0 else f"data range {np.ptp(truth[0]):.3g}\n(max − min)"
    assert titles[0] == f"truth, slice 0\n{rule}"


def test_one_image_needs_neither_truth_nor_name_nor_slice(noisy):
    display = ReconstructionDisplay.from_predictions(None, noisy[0])
    assert len(display.axes_) == 2 and display.errors_ == [] and display.axes_[-1].get_legend() is None
    assert display.axes_[0].get_title() == "reconstruction"


def test_images_that_are_smaller_than_the_window_of_ssim_have_their_psnr(truth):
    display = ReconstructionDisplay.from_predictions(truth[:, :5], {"half": truth[:, :5] / 2}, data_range=1.0)
    assert display.axes_[1].get_title() == f"half\n{psnr(truth[1, :5], truth[1, :5] / 2, data_range=1.0):.1f} dB"


@pytest.mark.parametrize("flat", [False, True], ids=["stack", "flat"])
def test_reconstructors_predict_what_is_drawn(truth, flat):
    X, y = radon(truth, default_angles(36)), truth
    shape = X.shape[1:]
    if flat:
        X, y = X.reshape(3, -1), y.reshape(3, -1)
    fitted = {name: FBPReconstructor(filter=name, sinogram_shape=shape if flat else None).fit(X) for name in ("hann",)}
    display = ReconstructionDisplay.from_estimator(fitted, X, y, index=1)
    np.testing.assert_allclose(drawn(display.images_)[1], fitted["hann"].predict(X).reshape(3, 24, 24)[1])
    np.testing.assert_array_equal(drawn(display.images_)[0], truth[1])


def test_an_estimator_alone_is_named_by_its_class(truth):
    X = np.exp(-radon(truth, default_angles(36)))
    pipeline = make_pipeline(MinusLog(), FBPReconstructor()).fit(X)
    display = ReconstructionDisplay.from_estimator(pipeline, X)
    assert display.axes_[0].get_title() == "FBP, slice 1"
    with pytest.raises(NotFittedError):
        ReconstructionDisplay.from_estimator(FBPReconstructor(), X)


@pytest.mark.parametrize(
    ("pixel_size", "bar", "axis"), [(2e-6, "10 µm", "µm"), (1e-3, "5 mm", "mm"), (None, "", "pixels")]
)
def test_lengths_have_their_unit(truth, noisy, pixel_size, bar, axis):
    display = ReconstructionDisplay(noisy, truth, pixel_size=pixel_size).plot()
    assert [text.get_text() for text in display.axes_[0].texts] == ([bar] if bar else [])
    assert display.axes_[-1].get_xlabel().endswith(f", {axis}")
    x = display.lines_[0].get_xdata()
    scale = {"10 µm": 2.0, "5 mm": 1.0, "": 1.0}[bar]
    np.testing.assert_allclose(x, scale * np.arange(24))
    if bar:
        (line,) = [line for line in display.axes_[0].lines if line.get_linewidth() == 3]
        assert np.ptp(line.get_xdata()) * scale == pytest.approx(float(bar.split()[0]))


# -------------------------------------------------------------------------------------------------------- denoising


def test_before_after_and_difference(truth, noisy):
    display = DenoisingDisplay.from_predictions(noisy, truth / 2, truth, data_range=1.0, index=0, row=3)
    for image, expected in zip(drawn(display.images_), (noisy[0], truth[0] / 2, truth[0]), strict=True):
        np.testing.assert_array_equal(image, expected)
    difference = noisy[0] - truth[0] / 2
    np.testing.assert_allclose(np.asarray(display.difference_.get_array()), difference, atol=1e-7)
    low, high = display.difference_.get_clim()
    assert low == -high < 0
    titles = [ax.get_title() for ax in display.axes_]
    for title, name, image in ((titles[0], "before, slice 0", noisy[0]), (titles[1], "after", truth[0] / 2)):
        value, similarity = (f(truth[0], image, data_range=1.0) for f in (psnr, ssim))
        assert title == f"{name}\n{value:.1f} dB\nSSIM {similarity:.3f}"
    assert titles[2:4] == ["truth\ndata range 1", f"before − after\nSD {difference.std():.3g}"]
    lines = line_values(display.lines_)
    np.testing.assert_array_equal(lines["before"], noisy[0, 3])
    assert list(lines) == legend_of(display.axes_[-1]) == ["truth", "before", "after"]


def test_without_truth_there_are_no_figures_of_quality(noisy):
    display = DenoisingDisplay(noisy[0], noisy[0] / 2).plot()
    assert [ax.get_title().splitlines()[0] for ax in display.axes_[:3]] == ["before", "after", "before − after"]
    assert not any("dB" in text.get_text() for text in texts(display.figure_))


@pytest.mark.parametrize("kind", ["volume", "windows", "flat"])
def test_of_every_kind_of_input_the_slice_is_shown(noisy, kind):
    windows = np.stack([noisy * 0.5, noisy, noisy * 2], axis=1)
    X = {"volume": noisy, "windows": windows, "flat": windows.reshape(3, -1)}[kind]
    denoiser = BoxDenoiser(n_adjacent=3, image_shape=None if kind != "flat" else (24, 24)).fit(X)
    display = DenoisingDisplay.from_estimator(denoiser, X, noisy.reshape(3, -1) if kind == "flat" else noisy)
    before, after, _ = drawn(display.images_)
    np.testing.assert_array_equal(before, noisy[1])
    np.testing.assert_allclose(after, denoiser.predict(X).reshape(3, 24, 24)[1])


# ------------------------------------------------------------------------------------------------------ segmentation


def test_labels_are_coloured_and_wrong_pixels_marked():
    image = np.linspace(0, 1, 64).reshape(8, 8)
    truth = np.repeat([0, 0, 1, 1, 2, 2, 255, 255], 8).reshape(8, 8)
    labels = truth.copy()
    labels[5, :4] = 0
    labels[6:] = 1
    names = {0: "air", 1: "grain", 2: "pore"}
    display = SegmentationDisplay.from_predictions(image, labels, truth, class_names=names, ignore_label=255, alpha=0.5)
    assert [np.array_equal(one, image) for one in drawn(display.images_)] == [True] * 4
    of_labels, of_truth, errors = drawn(display.overlays_)
    for colors, shown in ((of_labels, labels), (of_truth, truth)):
        assert (colors[shown == 0] == 0).all() and (colors[shown == 255] == 0).all()
        assert set(colors[..., 3][(shown == 1) | (shown == 2)]) == {0.5}
        assert len(np.unique(colors[shown == 1], axis=0)) == len(np.unique(colors[shown == 2], axis=0)) == 1
    assert not np.array_equal(of_truth[2, 0], of_truth[4, 0])
    wrong = np.zeros((8, 8), bool)
    wrong[5, :4] = True
    np.testing.assert_array_equal((errors[..., 0] > errors[..., 2]) & (errors[..., 3] == 1), wrong)
    assert (errors[6:] == (0, 0, 0, 1)).all()
    assert display.axes_[3].get_title() == f"wrong, {100 * 4 / 48:.1f} % of pixels"
    values = dice(truth[:6], labels[:6], average=None)
    told = [f"{name}: Dice {value:.3f}" for name, value in zip(names.values(), values, strict=True)]
    assert [text.get_text() for text in display.legend_.get_texts()] == [*told, "wrong", "not judged"]


def test_a_segmenter_brings_its_names():
    class Threshold(BaseEstimator):
        classes_, class_names_, ignore_label = np.array([0, 1]), ("left", "right"), None

        def predict(self, X):
            return (X > 0.4).astype(np.uint8)

    X, y = halves()
    segmenter = Threshold()
    display = SegmentationDisplay.from_estimator(segmenter, X, y, index=0)
    labels = segmenter.predict(X)[0]
    np.testing.assert_array_equal(drawn(display.overlays_)[0][..., 3] > 0, labels == 1)
    values = dice(y[0], labels, average=None, labels=[0, 1])
    assert [t.get_text().partition(":")[0] for t in display.legend_.get_texts()] == ["left", "right", "wrong"]
    for value, text in zip(values, display.legend_.get_texts(), strict=False):
        assert text.get_text().endswith(f"Dice {value:.3f}")


def test_without_truth_the_legend_has_names_alone_and_many_classes_are_counted():
    labels = np.arange(64).reshape(8, 8) % 20
    display = SegmentationDisplay(labels / 20, labels, background=None).plot()
    assert len(display.axes_) == 3 and len(display.overlays_) == 1
    assert len(np.unique(drawn(display.overlays_)[0].reshape(-1, 4), axis=0)) == 20
    told = [text.get_text() for text in display.legend_.get_texts()]
    assert told == [*map(str, range(11)), "and 9 more"]
    absent = SegmentationDisplay(labels / 20, labels % 2, labels % 2, class_names={7: "pore"}).plot()
    assert "pore: absent" in [text.get_text() for text in absent.legend_.get_texts()]


# ---------------------------------------------------------------------------------------------------- all of these


def displays(truth, noisy):
    return {
        "reconstruction": ReconstructionDisplay({"FBP": noisy, "TV": truth}, truth, pixel_size=1e-6, units="1/mm"),
        "denoising": DenoisingDisplay(noisy, truth * 0.9, truth, pixel_size=1e-6, units="1/mm"),
        "segmentation": SegmentationDisplay(noisy, noisy > 0.5, truth > 0.5, pixel_size=1e-6),
    }


@pytest.mark.parametrize("kind", ["reconstruction", "denoising", "segmentation"])
def test_figures_are_legible_whole_and_not_left_open(truth, noisy, kind):
    before = matplotlib.pyplot.get_fignums()
    display = displays(truth, noisy)[kind]
    assert display.plot() is display
    figure = display.figure_
    figure.draw_without_rendering()
    for text in texts(figure):
        assert text.get_fontsize() >= 10, text
    for ax in display.axes_:
        box = ax.get_tightbbox()
        assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= figure.bbox.x1 and box.y1 <= figure.bbox.y1
    titles = [ax.title.get_window_extent() for ax in display.axes_ if ax.get_title()]
    for k, one in enumerate(titles):
        assert not any(one.overlaps(other) for other in titles[:k])
    assert figure.get_size_inches()[0] == 10
    assert matplotlib.pyplot.get_fignums() == before


@pytest.mark.parametrize("kind", ["reconstruction", "denoising", "segmentation"])
def test_given_axes_are_used(truth, noisy, kind):
    display = displays(truth, noisy)[kind]
    n = len(display.plot().axes_)
    figure = Figure(figsize=(20, 6), layout="constrained")
    ax = figure.add_subplot(1, 2, 2)
    assert display.plot(ax=ax).figure_ is figure
    figure.draw_without_rendering()
    place = ax.get_subplotspec().get_position(figure)
    for one in display.axes_:
        assert one.get_position().x0 >= place.x0 - 0.1 and one in figure.axes
    given = Figure().subplots(1, n)
    assert list(display.plot(ax=given).axes_) == list(given)
    with pytest.raises(ValueError, match=f"ax must be None, one Axes, or the {n} Axes.*got {n - 1} of type Axes"):
        display.plot(ax=given[1:])
    with pytest.raises(ValueError, match="ax must be of a grid"):
        display.plot(ax=Figure().add_axes((0, 0, 1, 1)))


@pytest.mark.parametrize("kind", ["reconstruction", "denoising", "segmentation"])
def test_what_cannot_be_drawn_is_refused(truth, noisy, kind):
    display = displays(truth, noisy)[kind]
    with pytest.raises(ValueError, match="index must be an integer from 0 to 2; got 3"):
        display.plot(index=3)
    with pytest.raises(ValueError, match=r"limits must be two finite numbers.*got \(1, 0\)"):
        display.plot(limits=(1, 0))
    if kind != "segmentation":
        with pytest.raises(ValueError, match="row must be an integer from 0 to 23; got 24"):
            display.plot(row=24)


BAD = np.full((2, 8, 8), np.nan)
GOOD = np.ones((2, 8, 8))


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (
            lambda: ReconstructionDisplay(BAD),
            ValueError,
            r"reconstructions\['reconstruction'\] must be finite; got 128",
        ),
        (lambda: ReconstructionDisplay({"a": GOOD}, GOOD[:1]), ValueError, r"one shape.*\['a'\] \(2, 8, 8\), truth"),
        (lambda: ReconstructionDisplay({}), ValueError, "reconstructions must be one, or a dict of names"),
        (
            lambda: ReconstructionDisplay({str(k): GOOD for k in range(7)}),
            ValueError,
            "at most 6 for one figure; got 7",
        ),
        (lambda: ReconstructionDisplay(GOOD[0, 0]), ValueError, "must have 2 or 3 dimensions; got 1"),
        (lambda: ReconstructionDisplay(GOOD[:0]), ValueError, "must not be empty"),
        (lambda: ReconstructionDisplay(GOOD, data_range=-1), ValueError, "data_range must be a number"),
        (lambda: ReconstructionDisplay(GOOD, pixel_size=2.0), ValueError, r"pixel_size \(in m\) must be a number"),
        (lambda: ReconstructionDisplay(GOOD, GOOD).plot(), ValueError, "data_range='reference' needs references that"),
        (lambda: DenoisingDisplay(GOOD, BAD), ValueError, "denoised must be finite"),
        (lambda: DenoisingDisplay(GOOD, GOOD[:, :4]), ValueError, "all images must have one shape"),
        (lambda: DenoisingDisplay(GOOD, GOOD, data_range="max"), ValueError, "data_range must be a positive number or"),
        (lambda: SegmentationDisplay(BAD, GOOD), ValueError, "images must be finite"),
        (lambda: SegmentationDisplay(GOOD, GOOD / 2), TypeError, "labels must hold whole-number labels"),
        (lambda: SegmentationDisplay(GOOD, GOOD, GOOD[0]), ValueError, r"truth must have the shape.*got \(1, 8, 8\)"),
        (lambda: SegmentationDisplay(GOOD, GOOD, class_names=["a"]), TypeError, "class_names must be a dict"),
        (lambda: SegmentationDisplay(GOOD, GOOD).plot(alpha=2), ValueError, "alpha must be a number"),
    ],
)
def test_arguments_are_checked(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_what_does_not_predict_images_is_refused(noisy):
    class Mean:
        def predict(self, X):
            return X.mean(axis=(1, 2))

    with pytest.raises(ValueError, match=r"estimator must predict images of shape \(n, rows, columns\)"):
        DenoisingDisplay.from_estimator(Mean(), noisy)
