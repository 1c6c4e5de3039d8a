"""Scorers of the metrics, called alone and inside scikit-learn's model selection."""

import pickle

import numpy as np
import pytest
from sklearn import config_context
from sklearn.base import BaseEstimator, RegressorMixin, clone
from sklearn.model_selection import GridSearchCV, cross_val_score, cross_validate

from tomolearn.metrics import dice, iou, mcc, mse, nrmse, psnr, scorer, ssim


class Scaler(RegressorMixin, BaseEstimator):
    """Predicts its images times a factor: 1 is right."""

    def __init__(self, factor=1.0):
        self.factor = factor

    def fit(self, X, y):
        self.is_fitted_ = True
        return self

    def predict(self, X):
        return self.factor * X


@pytest.fixture
def images(rng):
    return rng.random((8, 12, 14)) + 1


def test_scorers_are_the_metrics_of_the_predictions(images):
    model = Scaler(1.1).fit(images, images)
    pred = 1.1 * images
    for name, options, expected in (
        ("psnr", {"data_range": 2.0}, psnr(images, pred, data_range=2.0)),
        ("psnr", {"data_range": "reference"}, psnr(images, pred, data_range="reference")),
        ("psnr", {"data_range": 2.0, "pooled": True}, psnr(images, pred, data_range=2.0, pooled=True)),
        ("ssim", {"data_range": 2.0}, ssim(images, pred, data_range=2.0)),
        ("ssim", {"data_range": 2.0, "win_size": 5}, ssim(images, pred, data_range=2.0, win_size=5)),
        (
            "ssim",
            {"data_range": 2.0, "gaussian_weights": True, "use_sample_covariance": False},
            ssim(images, pred, data_range=2.0, gaussian_weights=True, use_sample_covariance=False),
        ),
        ("neg_mse", {}, -mse(images, pred)),
        ("neg_nrmse", {}, -nrmse(images, pred)),
        ("neg_nrmse", {"normalization": "mean"}, -nrmse(images, pred, normalization="mean")),
    ):
        rate = scorer(name, **options)
        assert rate(model, images, images) == pytest.approx(expected, rel=1e-12), name
        assert pickle.loads(pickle.dumps(rate))(model, images, images) == rate(model, images, images)


def test_segmentation_scorers(rng):
    true = rng.integers(0, 3, size=(4, 5, 6))
    model = Scaler(1).fit(true, true)
    pred = rng.integers(0, 3, size=(4, 5, 6))
    for name, metric in (("dice", dice), ("iou", iou), ("mcc", mcc)):
        assert scorer(name)(model, pred, true) == metric(true, pred)


def test_flat_images_are_scored_as_images(images):
    flat = images.reshape(8, -1)
    model = Scaler(1.1).fit(flat, flat)
    expected = ssim(images, 1.1 * images, data_range=2.0)
    assert scorer("ssim", data_range=2.0, image_shape=(12, 14))(model, flat, flat) == pytest.approx(expected)
    for shape in (None, (14, 14)):
        with pytest.raises(ValueError, match=r"image_shape must hold the rows and columns of y_true.*\(8, 168\)"):
            scorer("ssim", data_range=2.0, image_shape=shape)(model, flat, flat)


@pytest.mark.parametrize("name", ["psnr", "neg_nrmse"])
def test_model_selection_on_stacks(images, name):
    options = {"data_range": 1.0} if name == "psnr" else {}
    scores = cross_val_score(Scaler(1.2), images, images, cv=2, scoring=scorer(name, **options))
    assert scores.shape == (2,)
    assert np.isfinite(scores).all()
    search = GridSearchCV(Scaler(), {"factor": [0.5, 1.01, 3.0]}, cv=2, scoring=scorer(name, **options))
    assert clone(search).fit(images, images).best_params_ == {"factor": 1.01}


def test_several_scorers_at_once(images):
    scoring = {"psnr": scorer("psnr", data_range=1.0), "ssim": scorer("ssim", data_range=1.0)}
    result = cross_validate(Scaler(1.1), images, images, cv=2, scoring=scoring, error_score="raise")
    assert result["test_psnr"].shape == result["test_ssim"].shape == (2,)


def test_scorers_under_metadata_routing(images):
    with config_context(enable_metadata_routing=True):
        scores = cross_val_score(Scaler(1.2), images, images, cv=2, scoring=scorer("ssim", data_range=1.0))
    assert np.isfinite(scores).all()


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (("mse",), {}, "metric must be one of .*got 'mse'. Did you mean 'neg_mse'"),
        (("r2",), {}, "metric must be one of 'psnr', .*got 'r2'"),
        ((["psnr"],), {}, "metric must be one of"),
        (("psnr",), {}, "'psnr' needs data_range: .*or 'reference'"),
        (("psnr",), {"data_range": 0}, "data_range must be a number"),
        (("dice",), {"data_range": 1.0}, "data_range is no option of 'dice', which takes no options"),
        (
            ("psnr",),
            {"data_range": 1.0, "win_size": 7},
            "win_size is no option of 'psnr', which takes data_range, pooled",
        ),
        (("psnr",), {"data_range": 1.0, "image_shape": (3,)}, "image_shape must be 2 positive integers"),
    ],
)
def test_bad_scorers_are_named(arguments, options, message):
    with pytest.raises(ValueError, match=message):
        scorer(*arguments, **options)
