"""Figures of sinograms and of trainings: what is drawn is what was given."""

import matplotlib.pyplot
import matplotlib.text
import numpy as np
import pytest
from learned import pairs, small
from matplotlib.figure import Figure
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import make_pipeline

from tomolearn import FBPReconstructor, SinogramDisplay, TrainingCurveDisplay, radon
from tomolearn.exceptions import GeometryError
from tomolearn.geometry import default_angles
from tomolearn.simulation import random_ellipses

HISTORY = {"loss": [4.0, 2.0, 1.0], "val_loss": [5.0, 3.0, 3.5], "learning_rate": [0.1, 0.1, 0.01]}


@pytest.fixture
def sinograms(rng):
    return rng.random((3, 18, 12)).astype(np.float32)


def shown(display):
    return [np.ma.getdata(image.get_array()) for image in display.images_]


def legend_of(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def label_texts(labels):
    return [label.get_text() for label in labels]


# --------------------------------------------------------------------------------------------------------- sinograms


def test_sinogram_projections_and_residual_are_those_of_the_slice(sinograms):
    display = SinogramDisplay.from_predictions(sinograms, sinograms / 2, center=[1.0, 2.0, 3.0], index=2)
    for image, expected in zip(shown(display), (sinograms[2], sinograms[2] / 2, sinograms[2] / 2), strict=True):
        np.testing.assert_allclose(image, expected)
    assert display.images_[0].get_clim() == display.images_[1].get_clim()
    low, high = display.images_[2].get_clim()
    assert low == -high < 0
    assert list(display.line_.get_xdata()) == [3.0, 3.0]
    rms = np.sqrt(np.mean((sinograms[2] / 2) ** 2))
    titles = [ax.get_title() for ax in display.axes_]
    assert titles[0] == "measured, slice 2\naxis at pixel 3 (dashed)"
    assert titles[1:] == ["projected", f"measured − projected\nRMS {rms:.3g}"]


def test_each_row_stands_at_its_angle(sinograms):
    (ax,) = SinogramDisplay(sinograms[0], angles=20 + 10.0 * np.arange(18), angle_unit="deg").plot().axes_
    left, right, bottom, top = ax.images[0].get_extent()
    assert (left, right) == (-0.5, 11.5) and (bottom, top) == pytest.approx((195.0, 15.0))
    assert ax.get_ylabel() == "angle, degrees"
    labels = label_texts(ax.get_yticklabels())
    assert labels[0] == "30" and [float(text) for text in labels] == pytest.approx(list(ax.get_yticks()))
    backwards = SinogramDisplay(sinograms[0], angles=np.deg2rad(-10.0 * np.arange(18))).plot().axes_[0]
    assert backwards.images[0].get_extent()[2:] == pytest.approx((-175.0, 5.0))


def test_angles_in_any_order_are_written_beside_their_rows(sinograms):
    golden = np.arange(18) * 111.25 % 180
    (ax,) = SinogramDisplay(sinograms[0], angles=golden, angle_unit="deg").plot().axes_
    assert "in the order of the scan" in ax.get_ylabel()
    rows = ax.get_yticks().astype(int)
    assert label_texts(ax.get_yticklabels()) == [f"{golden[row]:.4g}" for row in rows]
    assert ax.images[0].get_extent()[2:] == [17.5, -0.5]
    assert SinogramDisplay(sinograms[0, :1]).plot().axes_[0].images[0].get_extent()[2:] == [0.5, -0.5]


def test_the_detector_has_a_length(sinograms):
    display = SinogramDisplay(sinograms[0], pixel_size=2e-6, center=5.5).plot()
    assert display.axes_[0].get_xlabel() == "detector, µm"
    assert display.images_[0].get_extent()[:2] == [-1.0, 23.0] and display.line_.get_xdata()[0] == 11.0


def test_values_that_are_not_finite_are_masked_and_counted(sinograms):
    broken = sinograms.copy()
    broken[1, 3, 4:6] = np.nan, np.inf
    display = SinogramDisplay.from_predictions(broken, sinograms)
    mask = np.ma.getmaskarray(display.images_[0].get_array())
    assert mask.sum() == 2 and mask[3, 4] and mask[3, 5]
    assert "2 values not finite (orange)" in display.axes_[0].get_title()
    assert display.axes_[2].get_title().endswith("RMS 0")
    assert all(np.isfinite(image.get_clim()).all() for image in display.images_)
    SinogramDisplay(np.full((4, 4), np.nan), np.ones((4, 4))).plot().figure_.draw_without_rendering()


@pytest.mark.parametrize("center", [11.0, [11.0, 12.0]], ids=["one", "each"])
def test_of_a_reconstructor_the_projection_of_its_image_is_drawn(center):
    angles = default_angles(36)
    of_slices = np.reshape(center, (-1, 1))  # one for each
    X = radon(random_ellipses(2, 24, random_state=0), angles, center=of_slices)
    fbp = FBPReconstructor(angles=angles, center=center).fit(X)
    display = SinogramDisplay.from_estimator(fbp, X, index=1)
    projected = radon(fbp.predict(X), angles, center=of_slices)[1]
    for image, expected in zip(shown(display), (X[1], projected, X[1] - projected), strict=True):
        np.testing.assert_allclose(image, expected, atol=1e-5)
    assert display.line_.get_xdata()[0] == np.broadcast_to(center, 2)[1]


def test_a_reconstructor_without_scan_is_refused(sinograms):
    class Guess(BaseEstimator):
        def predict(self, X):
            return np.zeros((len(X), 12, 12))

    with pytest.raises(ValueError, match="estimator must know its scan, geometry_; a Guess does not"):
        SinogramDisplay.from_estimator(Guess(), sinograms)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"projections": np.ones((18, 11))}, ValueError, "all images must have one shape"),
        ({"angles": np.ones(17)}, ValueError, "angles must be one for each of 18 projections; got 17"),
        ({"angles": np.arange(18) * 10.0}, GeometryError, "degrees"),
        ({"center": [1.0, 2.0]}, ValueError, r"center must be a finite number.*got shape \(2,\)"),
        ({"pixel_size": 0.0}, ValueError, "pixel_size"),
    ],
)
def test_arguments_of_a_sinogram_are_checked(sinograms, arguments, error, message):
    with pytest.raises(error, match=message):
        SinogramDisplay(sinograms[0], **arguments)


def test_an_empty_sinogram_is_refused():
    with pytest.raises(ValueError, match="sinograms must not be empty"):
        SinogramDisplay(np.ones((0, 4)))


# --------------------------------------------------------------------------------------------------------- trainings


def test_losses_stand_at_their_epochs_and_the_best_is_marked():
    display = TrainingCurveDisplay.from_histories(HISTORY, first_epochs=11)
    training, validation = display.lines_[""]
    assert list(training.get_xdata()) == [11, 12, 13] and list(training.get_ydata()) == HISTORY["loss"]
    assert list(validation.get_ydata()) == HISTORY["val_loss"]
    assert (training.get_linestyle(), validation.get_linestyle()) == ("--", "-")
    ring = display.axes_[0].lines[-1]
    assert (ring.get_marker(), list(ring.get_xdata()), list(ring.get_ydata())) == ("o", [12], [3.0])
    assert legend_of(display.axes_[0]) == ["training", "validation", "weights kept, epoch 12"]


def test_several_trainings_have_colours_and_names():
    other = {"loss": [9.0, 8.0]}
    display = TrainingCurveDisplay({"a": HISTORY, "b": other}, best_epochs={"b": 1}).plot(learning_rate=False)
    assert legend_of(display.axes_[0]) == ["a", "b, kept: epoch 1", "training", "validation", "weights kept"]
    colors = {name: {line.get_color() for line in lines} for name, lines in display.lines_.items()}
    assert [len(of_one) for of_one in colors.values()] == [1, 1] and colors["a"] != colors["b"]
    assert len(display.axes_) == 1


@pytest.mark.parametrize(
    ("history", "asked", "n_panels"),
    [(HISTORY, None, 2), (HISTORY, False, 1), (HISTORY | {"learning_rate": [0.1] * 3}, None, 1)],
)
def test_a_learning_rate_that_changes_has_a_panel(history, asked, n_panels):
    display = TrainingCurveDisplay(history).plot(learning_rate=asked)
    assert len(display.axes_) == n_panels == len(display.figure_.axes)
    if n_panels == 2:
        np.testing.assert_array_equal(display.axes_[1].lines[0].get_ydata(), history["learning_rate"])


@pytest.mark.parametrize(
    ("losses", "log", "scale"),
    [
        ([10.0, 1.0], None, "log"),
        ([2.0, 1.0], None, "linear"),
        ([10.0, -1.0], None, "linear"),
        ([2.0, 1.0], True, "log"),
    ],
)
def test_losses_have_a_logarithmic_axis_where_it_helps(losses, log, scale):
    assert TrainingCurveDisplay({"loss": losses}).plot(log=log).axes_[0].get_yscale() == scale


def test_losses_can_be_chosen_and_named():
    history = HISTORY | {"critic_loss": [-1.0, -2.0, -3.0], "val_pixel_loss": [1.0, 2.0, 3.0]}
    display = TrainingCurveDisplay(history)
    display.plot(losses=("critic_loss", "val_pixel_loss"), learning_rate=False)
    assert legend_of(display.axes_[0])[:2] == ["critic loss, training", "pixel loss, validation"]
    np.testing.assert_array_equal(display.lines_[""][0].get_ydata(), history["critic_loss"])
    display.plot(losses={"val_loss": "1 − SSIM"}, learning_rate=False)
    assert legend_of(display.axes_[0])[0] == "1 − SSIM" and len(display.axes_[0].lines) == 2


def test_an_estimator_shows_its_own_training():
    X, y = pairs(8)
    fitted = small("CNNReconstructor", max_epochs=3).fit(X, y)
    display = TrainingCurveDisplay.from_estimator({"small": make_pipeline(FrozenEstimator(fitted))})
    line = display.lines_["small"][0]
    assert list(line.get_ydata()) == fitted.history_["loss"] and list(line.get_xdata()) == [1, 2, 3]
    assert display.best_epochs == {"small": fitted.best_epoch_}
    with pytest.raises(NotFittedError):
        TrainingCurveDisplay.from_estimator(small("CNNReconstructor"))
    with pytest.raises(ValueError, match="estimator must have history_.*a FBPReconstructor has none"):
        TrainingCurveDisplay.from_estimator(FBPReconstructor().fit(X))


def test_a_training_that_went_on_is_drawn_at_its_epochs():
    class Continued(BaseEstimator):
        history_, n_epochs_, best_epoch_ = HISTORY, 10, 9

        def __sklearn_is_fitted__(self):
            return True

        def fit(self, X):
            return self

    display = TrainingCurveDisplay.from_estimator(Continued())
    assert list(display.lines_["Continued"][0].get_xdata()) == [8, 9, 10]
    assert list(display.axes_[0].lines[-1].get_ydata()) == [HISTORY["val_loss"][1]]


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: TrainingCurveDisplay({}), ValueError, "histories must be a dict of at least one list"),
        (lambda: TrainingCurveDisplay({"loss": []}), ValueError, r"histories\['loss'\] must hold one number for each"),
        (lambda: TrainingCurveDisplay({"loss": ["a"]}), ValueError, r"histories\['loss'\] must hold one number for"),
        (lambda: TrainingCurveDisplay({"loss": [1], "val_loss": [1, 2]}), ValueError, "must hold lists of one length"),
        (lambda: TrainingCurveDisplay(HISTORY, best_epochs=4), ValueError, "best_epochs must be of the epochs 1 to 3"),
        (lambda: TrainingCurveDisplay(HISTORY, best_epochs=1.5), TypeError, "best_epochs must be an integer"),
        (
            lambda: TrainingCurveDisplay({"a": HISTORY}, best_epochs={"b": 1}),
            ValueError,
            r"must name histories, \['a'\]",
        ),
        (lambda: TrainingCurveDisplay(HISTORY).plot(losses="iou"), ValueError, r"losses must be 1 to 4 of .*\['iou'\]"),
        (lambda: TrainingCurveDisplay({"loss": [-1.0]}).plot(log=True), ValueError, "log=True needs positive losses"),
        (
            lambda: TrainingCurveDisplay({"loss": [1.0]}).plot(learning_rate=True),
            ValueError,
            "learning_rate=True needs",
        ),
    ],
)
def test_arguments_of_a_training_are_checked(make, error, message):
    with pytest.raises(error, match=message):
        make()


# -------------------------------------------------------------------------------------------------------------- both


def many(sinograms):
    return {
        "sinogram": SinogramDisplay(sinograms, sinograms / 2, pixel_size=1e-6),
        "training": TrainingCurveDisplay({"a": HISTORY, "b": HISTORY}),
    }


@pytest.mark.parametrize("kind", ["sinogram", "training"])
def test_figures_are_legible_whole_and_not_left_open(sinograms, kind):
    before = matplotlib.pyplot.get_fignums()
    display = many(sinograms)[kind]
    assert display.plot() is display
    figure = display.figure_
    figure.draw_without_rendering()
    for text in figure.findobj(matplotlib.text.Text):
        if text.get_text().strip() and text.get_visible():
            assert text.get_fontsize() >= 10, text
    for ax in display.axes_:
        box = ax.get_tightbbox()
        assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= figure.bbox.x1 and box.y1 <= figure.bbox.y1
    assert tuple(figure.get_size_inches()) == (10, 5.6)
    assert matplotlib.pyplot.get_fignums() == before


@pytest.mark.parametrize("kind", ["sinogram", "training"])
def test_given_axes_are_used(sinograms, kind):
    display = many(sinograms)[kind]
    n = len(display.plot().axes_)
    figure = Figure(layout="constrained")
    assert display.plot(ax=figure.add_subplot()).figure_ is figure
    given = Figure().subplots(n)
    assert list(display.plot(ax=given).axes_) == list(given)
    with pytest.raises(ValueError, match=f"or the {n} Axes of the panels of this figure; got 1 of type Axes"):
        display.plot(ax=given[:1])


def test_one_panel_takes_the_axes_that_it_is_given(sinograms):
    ax = Figure().add_axes((0, 0, 1, 1))
    assert list(SinogramDisplay(sinograms).plot(ax=ax).axes_) == [ax]
    assert list(TrainingCurveDisplay(HISTORY).plot(ax=ax, learning_rate=False).axes_) == [ax]
