"""Estimators of images: the kinds of X and y, windows of neighbouring slices, prediction in blocks and tiles."""

import re
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from denoisers import BoxDenoiser, box_mean
from estimator_checks import Case, parametrize_with_image_checks
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, KFold, cross_val_score
from sklearn.utils.estimator_checks import parametrize_with_checks

from tomolearn.base import SourceWindows, Windows, windows
from tomolearn.base import image_predictor as predicting
from tomolearn.exceptions import MemoryBudgetError
from tomolearn.io import ArraySource
from tomolearn.training import Samples


def volume(n=7, rows=11, columns=9, seed=0):
    return np.random.default_rng(seed).random((n, rows, columns))


# ------------------------------------------------------------------------------------------------ the contract


@pytest.mark.filterwarnings("ignore:each of the .* values of a row of X:UserWarning")
@pytest.mark.filterwarnings("ignore:SCIPY_ARRAY_API")
@parametrize_with_checks([BoxDenoiser()])
def test_scikit_learn(estimator, check):
    check(estimator)


CASES = [
    Case(
        BoxDenoiser(n_adjacent=n_adjacent, tile_shape=tile_shape),
        volume(5),
        volume(5, seed=1),
        flat={"image_shape": (11, 9)},
        slices_are_independent=n_adjacent == 1,
        half_rtol=1e-2,
    )
    for n_adjacent, tile_shape in [(1, None), (3, (4, 5))]
]


@parametrize_with_image_checks(CASES)
def test_images(case, check, tmp_path):
    check(*([case, tmp_path] if "tmp_path" in check.__code__.co_varnames[: check.__code__.co_argcount] else [case]))


# ------------------------------------------------------------------------------------------------ kinds of X


@pytest.mark.parametrize("n_adjacent", [1, 3, 5])
def test_a_volume_and_its_windows_are_the_same(n_adjacent):
    X = volume()
    expected = box_mean(X, n_adjacent, 1)
    of_windows = windows(X, n_adjacent)[:]
    assert of_windows.shape == (7, n_adjacent, 11, 9)
    for image_shape in (None, (11, 9)):
        denoiser = BoxDenoiser(n_adjacent=n_adjacent, image_shape=image_shape)
        for given in (X, of_windows):
            assert denoiser.fit(given).n_features_in_ == np.prod(given.shape[1:])
            assert denoiser.image_shape_ == (11, 9)
            np.testing.assert_allclose(denoiser.predict(X), expected, rtol=1e-12)
            np.testing.assert_allclose(denoiser.predict(of_windows), expected, rtol=1e-12)
    flat = of_windows.reshape(7, -1)
    result = BoxDenoiser(n_adjacent=n_adjacent, image_shape=(11, 9)).fit(flat).predict(flat[::2])
    np.testing.assert_allclose(result, expected[::2].reshape(4, -1), rtol=1e-12)  # windows do not know each other


def test_images_of_any_size_after_fit():
    X = volume(3, 20, 31)
    np.testing.assert_allclose(BoxDenoiser().fit(volume()).predict(X), box_mean(X, 1, 1), rtol=1e-12)


def test_an_estimator_of_one_size_refuses_others():
    class OneSize(BoxDenoiser):
        _takes_any_size = False

    denoiser = OneSize().fit(volume())
    denoiser.predict(volume(2))
    with pytest.raises(ValueError, match=r"images of shape \(11, 9\) .* as in fit; got \(9, 11\)\. Fit again"):
        denoiser.predict(volume().swapaxes(1, 2))


def test_a_row_of_flat_X_is_an_image_of_one_row():
    X = np.random.default_rng(0).random((4, 12))
    message = r"each of the 12 values of a row of X is taken as a pixel of an image of one row.*X\[None\].*image_shape"
    with pytest.warns(UserWarning, match=message) as caught:
        denoiser = BoxDenoiser().fit(X)
    assert caught[0].filename == __file__
    assert denoiser.image_shape_ == (1, 12)
    np.testing.assert_allclose(denoiser.predict(X), box_mean(X[:, None], 1, 1)[:, 0], rtol=1e-12)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        BoxDenoiser(image_shape=(3, 4)).fit(X)


def test_columns_have_names():
    X = pd.DataFrame(np.random.default_rng(0).random((4, 6)), columns=list("abcdef"))
    denoiser = BoxDenoiser(image_shape=(2, 3)).set_output(transform="pandas").fit(X)
    assert list(denoiser.feature_names_in_) == list("abcdef")
    assert list(denoiser.transform(X).columns) == [f"boxdenoiser{i}" for i in range(6)]
    with pytest.raises(ValueError, match="feature names should match those that were passed during fit"):
        denoiser.predict(X[list("fedcba")])
    assert not hasattr(denoiser.fit(volume(2, 2, 3)), "feature_names_in_")


def test_wrong_images():
    X = volume()
    with pytest.raises(ValueError, match=r"X holds windows of 5 slices, shape \(7, 5, 11, 9\); .* n_adjacent=3"):
        BoxDenoiser(n_adjacent=3).fit(windows(X, 5)[:])
    with pytest.raises(ValueError, match=r"image_shape=\(11, 8\) contradicts X of shape \(7, 11, 9\)"):
        BoxDenoiser(image_shape=(11, 8)).fit(X)
    with pytest.raises(ValueError, match=r"image_shape=\(11, 8\) makes 88 values; X has 99 features"):
        BoxDenoiser(image_shape=(11, 8)).fit(X.reshape(7, -1))
    with pytest.raises(ValueError, match="n_adjacent must be odd: .* got 2"):
        BoxDenoiser(n_adjacent=2).fit(X)
    with pytest.raises(NotFittedError, match="BoxDenoiser instance is not fitted yet"):
        BoxDenoiser().predict(X)
    X[3, 2, 1] = np.nan
    with pytest.raises(ValueError, match=r"X\[0:7\] must be finite; got 1 NaN .* Repair such values"):
        BoxDenoiser().fit(volume()).predict(ArraySource(X))


def test_sources_are_not_read_in_fit():
    class Unread(ArraySource):
        def _read(self, start, stop):
            raise AssertionError

    source = Unread(volume())
    denoiser = BoxDenoiser()
    assert denoiser._check_images(source, reset=True) is source
    assert denoiser.image_shape_ == (11, 9) and denoiser.n_features_in_ == 99
    with pytest.raises(ValueError, match=r"or flat \(n_slices, rows \* columns\); got shape \(2, 3\)"):
        denoiser._check_images(Unread(np.zeros((2, 3))), reset=True)


# ---------------------------------------------------------------------------------------------- kinds of y


def test_clean_images():
    X, y = volume(), volume(seed=1)
    for clean in (y, y.reshape(7, -1), y.tolist(), ArraySource(y)):
        assert BoxDenoiser().fit(X, clean).factor_ == pytest.approx(y.mean(), rel=1e-12)
    for wrong in (y[:, 1:], ArraySource(y[:, 1:])):
        with pytest.raises(ValueError, match=r"y must have shape \(7, 11, 9\).* as the images; .*\(7, 10, 9\)"):
            BoxDenoiser().fit(X, wrong)
    with pytest.raises(ValueError, match="y must be finite"):
        BoxDenoiser().fit(X, np.where(y == y[1, 2, 3], np.nan, y))
    with pytest.raises(ValueError, match="y must be real"):
        BoxDenoiser().fit(X, y * 1j)
    with pytest.raises(ValueError, match="requires y to be passed, but the target y is None"):
        BoxDenoiser()._check_clean(None, X)


@pytest.mark.filterwarnings("ignore:each of the .* values of a row of X:UserWarning")
def test_one_value_per_sample_only_for_rows():
    X = np.random.default_rng(0).random((4, 12))
    y = np.array([1.0, 2.0, 3.0, 6.0])
    for target in (y, y[:, None], y.astype(int), y[:, None].astype(int)):
        denoiser = BoxDenoiser().fit(X, target)
        np.testing.assert_array_equal(denoiser._check_clean(target, X), np.tile(y[:, None, None], (1, 1, 12)))
        broadcast = np.repeat(y[:, None], 12, 1)
        assert denoiser.score(X, target) == pytest.approx(denoiser.score(X, broadcast), rel=1e-12)
        for estimator, given in ((BoxDenoiser(image_shape=(3, 4)), X), (BoxDenoiser(), X.reshape(4, 3, 4))):
            with pytest.raises(ValueError, match=r"y must have shape \(4, 3, 4\) or \(4, 12\)"):
                estimator.fit(given, target)
            with pytest.raises(ValueError, match=r"y must have shape \(4, .*\) or \(4, 12\)"):
                estimator.fit(given).score(given, target)


def test_labels_are_refused():
    X, y = volume(), (volume(seed=1) * 4).astype(np.uint8)
    message = r"y looks like labels: uint8 of 4 distinct values, where X is float64; .*FrozenEstimator\(denoiser\)"
    for labels in (y, y.reshape(7, -1), ArraySource(y)):
        with pytest.raises(ValueError, match=message):
            BoxDenoiser().fit(X, labels)
    with pytest.raises(ValueError, match="looks like labels: bool of 2 distinct values"):
        BoxDenoiser().fit(X, y > 1)
    BoxDenoiser().fit((X * 255).astype(np.uint8), y)  # of one kind
    BoxDenoiser().fit(X, y.astype(float))
    BoxDenoiser().fit(X, (volume(seed=1) * 255).astype(np.uint8))  # grey values


# ------------------------------------------------------------------------------------------- model selection


def test_windows_in_shuffled_cross_validation():
    X, y = windows(volume(12), 3)[:], volume(12)
    splits = KFold(3, shuffle=True, random_state=0)
    scores = cross_val_score(BoxDenoiser(n_adjacent=3), X, y, cv=splits)
    expected = []
    for train, test in splits.split(X):
        denoised = box_mean(volume(12), 3, 1)[test] * y[train].mean()
        expected.append(1 - ((denoised - y[test]) ** 2).sum() / ((y[test] - y[test].mean(0)) ** 2).sum())
    np.testing.assert_allclose(scores, expected, rtol=1e-10)
    search = GridSearchCV(BoxDenoiser(n_adjacent=3), {"radius": [0, 1]}, cv=splits).fit(X, y)
    assert search.best_params_["radius"] in (0, 1)


# ------------------------------------------------------------------------------------------------- windows


@pytest.mark.parametrize("n_adjacent", [1, 3, 7])
@pytest.mark.parametrize("n", [1, 2, 6])
def test_windows(n, n_adjacent):
    X = volume(n)
    radius = n_adjacent // 2
    padded = np.pad(X, ((radius, radius), (0, 0), (0, 0)), mode="edge")
    expected = np.stack([padded[i : i + n_adjacent] for i in range(n)])
    for stack in (windows(X, n_adjacent), windows(ArraySource(X), n_adjacent)):
        assert stack.shape == expected.shape and stack.ndim == 4 and len(stack) == n and stack.dtype == X.dtype
        np.testing.assert_array_equal(stack[:], expected)
        for index in (np.array([n - 1, 0, n // 2]), slice(1, None, 2), -1, np.arange(n) % 2 == 0):
            np.testing.assert_array_equal(stack[index], expected[index])
    assert stack.name == "array" and stack.chunk == 1
    for start, stop in ((0, n), (n // 2, n), (0, 1), (n - 1, n)):
        np.testing.assert_array_equal(stack.read_block(start, stop), expected[start:stop])
    with pytest.raises(IndexError, match=f"a block of array must lie within 0:{n}; got 0:{n + 1}"):
        stack.read_block(0, n + 1)


def test_windows_read_each_slice_once():
    reads = []

    class Counting(ArraySource):
        def _read(self, start, stop):
            reads.append((start, stop))
            return super()._read(start, stop)

    stack = windows(Counting(volume(9)), 3)
    assert isinstance(stack, SourceWindows) and isinstance(windows(volume(9), 3), Windows)
    stack.read_block(4, 7)
    assert reads == [(3, 8)]
    reads.clear()
    stack[np.array([5, 4])]
    assert reads == [(3, 4), (4, 5), (5, 6), (6, 7)]


def test_training_draws_from_windows():
    X, y = volume(9).astype(np.float32), volume(9, seed=1).astype(np.float32)
    of_array = list(Samples(windows(X, 3), y).in_order(4))
    of_files = list(Samples(windows(ArraySource(X), 3), ArraySource(y)).in_order(4))
    for (a, _), (b, _) in zip(of_array, of_files, strict=True):
        assert torch.equal(a[0], b[0]) and torch.equal(a[1], b[1])
    assert torch.equal(of_array[0][0][0][2], torch.from_numpy(X[1:4]))


def test_wrong_windows():
    with pytest.raises(ValueError, match=r"X must be one ordered volume \(n, rows, columns\); got shape \(3, 4\)"):
        windows(np.zeros((3, 4)), 3)
    with pytest.raises(ValueError, match="n_adjacent must be odd"):
        windows(volume(), 4)


# ------------------------------------------------------------------------------------------ blocks and tiles


@pytest.mark.parametrize("n_adjacent", [1, 3])
def test_blocks_and_tiles_give_what_the_whole_gives(n_adjacent, monkeypatch):
    X = volume(9, 33, 40)
    denoiser = BoxDenoiser(n_adjacent=n_adjacent, radius=2).fit(X)
    sizes = []
    original = BoxDenoiser._predict_windows
    monkeypatch.setattr(
        BoxDenoiser, "_predict_windows", lambda self, w: sizes.append(tuple(w.shape)) or original(self, w)
    )
    expected = box_mean(X, n_adjacent, 2)
    np.testing.assert_allclose(denoiser.predict(X), expected, rtol=1e-12)
    assert sizes == [(9, n_adjacent, 33, 40)]
    monkeypatch.setattr(predicting, "BLOCK_PIXELS", 4 * 33 * 40)
    monkeypatch.setattr(predicting, "available_memory", lambda: 2 * 4 * 3 * 300.0)  # 300 pixels of three copies
    for given in (X, windows(X, n_adjacent)[:]):
        sizes.clear()
        np.testing.assert_allclose(denoiser.predict(given), expected, rtol=1e-12)
        assert max(np.prod(size[2:]) for size in sizes) <= 300 and len(sizes) > 9
        assert {size[0] for size in sizes} == {1}
    sizes.clear()
    denoiser.set_params(tile_shape=(8, 9))
    np.testing.assert_allclose(denoiser.predict(X), expected, rtol=1e-12)
    assert max(size[2] for size in sizes) == 12 and max(size[3] for size in sizes) == 13


def test_small_images_are_predicted_together(monkeypatch):
    monkeypatch.setattr(predicting, "AT_ONCE", 250)
    denoiser, calls = BoxDenoiser().fit(volume()), []
    original = BoxDenoiser._predict_windows
    monkeypatch.setattr(BoxDenoiser, "_predict_windows", lambda self, w: calls.append(len(w)) or original(self, w))
    np.testing.assert_allclose(denoiser.predict(volume()), box_mean(volume(), 1, 1), rtol=1e-12)
    assert calls == [2, 2, 2, 1]


@pytest.mark.parametrize(("n_before", "n_after"), [(0, 0), (1, 2), (2, 0), (4, 3)])
def test_a_block_knows_where_the_volume_ends(n_before, n_after):
    X = volume(9)
    denoiser = BoxDenoiser(n_adjacent=5).fit(X)
    result = denoiser._predict_block(torch.from_numpy(X), n_before, n_after)
    np.testing.assert_allclose(result, box_mean(X, 5, 1)[n_before : 9 - n_after], rtol=1e-12)


def test_what_cannot_be_cut_is_refused(monkeypatch):
    monkeypatch.setattr(predicting, "available_memory", lambda: 2 * 4 * 3 * 80.0)
    with pytest.raises(MemoryBudgetError, match=r"working on 9 x 9 pixels of an image of 11 x 9, the fewest that Box"):
        BoxDenoiser(radius=4).fit(volume()).predict(volume())

    class Whole(BoxDenoiser):
        tile_halo = None

    with pytest.raises(MemoryBudgetError, match="working on 11 x 9 pixels of an image of 11 x 9, the fewest"):
        Whole().fit(volume()).predict(volume())
    with pytest.raises(ValueError, match=r"tile_shape must be None for a network .*got \(4, 4\)"):
        Whole(tile_shape=(4, 4)).fit(volume()).predict(volume())


def test_results_that_do_not_fit_are_refused(monkeypatch):
    monkeypatch.setattr("tomolearn.base.memory.available_memory", lambda: 1000)
    message = re.escape("predictions of shape (11, 9) for 7 slices need")
    with pytest.raises(MemoryBudgetError, match=message + ".*predict_volume, from file to file"):
        clone(BoxDenoiser()).fit(volume()).predict(volume())


def test_other_kinds_of_predictions():
    """Classes of pixels, as segmenters give them."""

    class Classes(BoxDenoiser):
        def _predict_windows(self, x):
            return torch.stack([x[:, 0] > 0.5, x[:, 0] < 0.2], -1)

    X = volume()
    result = Classes(tile_shape=(4, 4)).fit(X)._predict_stack(X, np.dtype(np.float64))
    assert result.dtype == bool
    np.testing.assert_array_equal(result, np.stack([X > 0.5, X < 0.2], -1))
