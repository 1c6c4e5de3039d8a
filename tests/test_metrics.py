"""Metrics against scikit-image and scikit-learn, and their laws."""

import math

import numpy as np
import pytest
import torch
from conftest import require
from sklearn.metrics import f1_score, jaccard_score, matthews_corrcoef

from tomolearn.metrics import dice, iou, mcc, mse, nrmse, psnr, ssim

SKIMAGE_SSIM = [
    {},
    {"win_size": 3},
    {"win_size": 11},
    {"use_sample_covariance": False},
    {"gaussian_weights": True},
    {"gaussian_weights": True, "use_sample_covariance": False},
]


@pytest.fixture
def stacks(rng):
    true = rng.random((3, 50, 71)) + np.hanning(71)
    return true, true + rng.normal(scale=[[[0.05]], [[0.2]], [[0.8]]], size=true.shape)


# -------------------------------------------------------------------------------------------------------------- images


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("normalization", ["euclidean", "min-max", "mean"])
def test_errors_are_those_of_scikit_image(stacks, dtype, normalization):
    require("skimage")
    from skimage.metrics import mean_squared_error, normalized_root_mse, peak_signal_noise_ratio

    true, pred = (y.astype(dtype) for y in stacks)
    same = {"rel": 1e-6 if dtype == np.float32 else 1e-13}
    assert mse(true, pred) == pytest.approx(mean_squared_error(true, pred), **same)
    theirs = normalized_root_mse(true, pred, normalization=normalization)
    assert nrmse(true, pred, normalization=normalization) == pytest.approx(theirs, **same)
    theirs = peak_signal_noise_ratio(true[0], pred[0], data_range=2.5)
    assert psnr(true[0], pred[0], data_range=2.5) == pytest.approx(theirs, **same)
    theirs = peak_signal_noise_ratio(true, pred, data_range=2.5)
    assert psnr(true, pred, data_range=2.5, pooled=True) == pytest.approx(theirs, **same)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("options", SKIMAGE_SSIM)
def test_ssim_of_a_stack_is_the_mean_of_scikit_image_over_its_images(stacks, dtype, options):
    require("skimage")
    from skimage.metrics import structural_similarity

    true, pred = (y.astype(dtype) for y in stacks)
    theirs = [structural_similarity(a, b, data_range=2.0, **options) for a, b in zip(true, pred, strict=True)]
    tolerance = 1e-6 if dtype == np.float32 else 1e-13
    assert ssim(true[1], pred[1], data_range=2.0, **options) == pytest.approx(theirs[1], abs=tolerance)
    assert ssim(true, pred, data_range=2.0, **options) == pytest.approx(np.mean(theirs), abs=tolerance)
    assert ssim(true[None], pred[None], data_range=2.0, **options) == pytest.approx(np.mean(theirs), abs=tolerance)


def test_known_values():
    true, pred = np.array([[0.0, 2.0]]), np.array([[1.0, 3.0]])
    assert mse(true, pred) == 1.0
    assert nrmse(true, pred) == pytest.approx(1 / math.sqrt(2))
    assert nrmse(true, pred, normalization="min-max") == 0.5
    assert nrmse(true, pred, normalization="mean") == 1.0
    assert psnr(true, pred, data_range=100) == pytest.approx(40)
    assert psnr(true, pred, data_range="reference") == pytest.approx(10 * math.log10(4))


def test_psnr_of_a_stack_is_the_mean_and_pooled_is_not():
    true = np.zeros((2, 4, 4))
    pred = np.stack([np.full((4, 4), 0.1), np.full((4, 4), 0.001)])
    assert psnr(true, pred, data_range=1) == pytest.approx((20 + 60) / 2)
    assert psnr(true, pred, data_range=1, pooled=True) == pytest.approx(-10 * math.log10((1e-2 + 1e-6) / 2))


def test_reference_is_the_range_of_each_reference_image(stacks):
    true, pred = stacks
    true = true * np.array([1.0, 2.0, 4.0])[:, None, None]
    for metric in (psnr, ssim):
        each = [metric(a, b, data_range=float(np.ptp(a))) for a, b in zip(true, pred, strict=True)]
        assert metric(true, pred, data_range="reference") == pytest.approx(np.mean(each), rel=1e-12)
    assert psnr(true, pred, data_range="reference", pooled=True) == pytest.approx(
        psnr(true, pred, data_range=float(np.ptp(true)), pooled=True)
    )


def test_equal_images(stacks):
    true, _ = stacks
    assert mse(true, true) == 0
    assert nrmse(true, true) == 0
    assert psnr(true, true, data_range=1) == math.inf
    for options in SKIMAGE_SSIM:
        assert ssim(true, true, data_range=1, **options) == 1


def test_ssim_goes_over_bands_of_rows_without_a_seam(rng):
    require("skimage")
    from skimage.metrics import structural_similarity

    for rows in (7, 8, 37, 38, 39, 70, 71, 101):
        true, pred = rng.random((2, rows, 9))
        theirs = structural_similarity(true, pred, data_range=1.0)
        assert ssim(true, pred, data_range=1.0) == pytest.approx(theirs, abs=1e-13)


def test_threads_do_not_change_the_result(stacks):
    torch.set_num_threads(1)
    one = ssim(*stacks, data_range=1.0), psnr(*stacks, data_range=1.0)
    torch.set_num_threads(3)
    assert (ssim(*stacks, data_range=1.0), psnr(*stacks, data_range=1.0)) == one


def test_any_kind_of_array(rng):
    true, pred = rng.integers(0, 200, size=(2, 2, 20, 30)).astype(np.uint8)
    expected = [
        metric(true.astype(float), pred.astype(float), **options)
        for metric, options in ((mse, {}), (nrmse, {}), (psnr, {"data_range": 255}), (ssim, {"data_range": 255}))
    ]

    def all_of(a, b):
        return [mse(a, b), nrmse(a, b), psnr(a, b, data_range=255), ssim(a, b, data_range=255)]

    assert expected[0] > 255  # differences of uint8 did not wrap round
    for convert in (
        np.asarray,
        torch.as_tensor,
        np.ndarray.tolist,
        lambda y: y.astype(">i4"),
        lambda y: np.asfortranarray(y.astype(np.float32)),
        lambda y: torch.tensor(y, dtype=torch.float64, requires_grad=True),
        lambda y: np.ascontiguousarray(y[..., ::-1])[..., ::-1],
    ):
        np.testing.assert_allclose(all_of(convert(true), convert(pred)), expected, rtol=1e-12)
    assert all(type(value) is float for value in all_of(true, pred))


def test_float32_is_summed_in_float64():
    true = np.full((1, 3000, 1000), 4097.0, np.float32)
    assert mse(true, np.zeros_like(true)) == 4097.0**2
    assert nrmse(true, true * 2, normalization="mean") == 1


def test_weights_leave_pixels_out(stacks, rng):
    true, pred = stacks
    seen = rng.random(true.shape) > 0.3
    spoilt, spoilt_too = np.where(seen, true, np.nan), np.where(seen, pred, np.inf)
    flat = true[seen], pred[seen]
    assert mse(spoilt, spoilt_too, weights=seen) == pytest.approx(mse(*flat), rel=1e-12)
    for normalization in ("euclidean", "min-max", "mean"):
        assert nrmse(spoilt, spoilt_too, weights=seen, normalization=normalization) == pytest.approx(
            nrmse(*flat, normalization=normalization), rel=1e-12
        )
    each = [psnr(a[None, w], b[None, w], data_range="reference") for a, b, w in zip(true, pred, seen, strict=True)]
    assert psnr(spoilt, spoilt_too, data_range="reference", weights=seen) == pytest.approx(np.mean(each), rel=1e-12)
    assert np.isnan(spoilt).any()  # the input was not repaired in place


def test_weights_weigh_and_broadcast():
    true, pred = np.zeros((2, 1, 3)), np.broadcast_to([1.0, 2.0, 3.0], (2, 1, 3))
    assert mse(true, pred, weights=[3, 1, 0]) == pytest.approx((3 * 1 + 1 * 4) / 4)
    assert mse(true, pred, weights=np.array([1.0, 1, 1], np.float32)) == pytest.approx(mse(true, pred))


def test_ssim_weights_average_the_map(stacks):
    require("skimage")
    from skimage.metrics import structural_similarity

    true, pred = stacks
    weights = np.zeros((50, 71))
    weights[20:40, 10:60] = np.linspace(0, 1, 50)
    maps = [structural_similarity(a, b, data_range=2.0, full=True)[1] for a, b in zip(true, pred, strict=True)]
    expected = np.mean([np.average(m, weights=weights) for m in maps])
    assert ssim(true, pred, data_range=2.0, weights=weights) == pytest.approx(expected, abs=1e-13)
    uniform = ssim(true, pred, data_range=2.0, weights=np.ones(true.shape))
    assert uniform == pytest.approx(ssim(true, pred, data_range=2.0), abs=1e-13)


IMAGE, OTHER = np.arange(100.0).reshape(10, 10), np.ones((10, 10))


@pytest.mark.parametrize(
    "metric", [mse, nrmse, lambda a, b: psnr(a, b, data_range=1), lambda a, b: ssim(a, b, data_range=1)]
)
def test_bad_images_are_named(metric):
    with pytest.raises(ValueError, match=r"y_true and y_pred must have one shape; got \(10, 10\) and \(10, 9\)"):
        metric(IMAGE, OTHER[:, :9])
    with pytest.raises(ValueError, match=r"y_true and y_pred must not be empty; got shape \(0, 10\)"):
        metric(IMAGE[:0], OTHER[:0])
    with pytest.raises(ValueError, match="y_pred must be finite; got 100 NaN or infinite values of 100. Repair"):
        metric(IMAGE, OTHER * np.nan)
    with pytest.raises(ValueError, match="y_true must be finite; got 100 NaN"):
        metric(OTHER * np.inf, OTHER)
    with pytest.raises(TypeError, match="y_true must hold real numbers; got dtype complex128"):
        metric(IMAGE * 1j, OTHER)


@pytest.mark.parametrize(
    ("metric", "options", "error", "message"),
    [
        (psnr, {}, TypeError, "data_range"),
        (ssim, {}, TypeError, "data_range"),
        (psnr, {"data_range": None}, ValueError, "data_range must be a positive number or 'reference'; got None"),
        (ssim, {"data_range": "dtype"}, ValueError, "data_range must be a positive number or 'reference'; got 'dtype'"),
        (psnr, {"data_range": 0}, ValueError, r"data_range must be a number in \(0, inf\]; got 0"),
        (ssim, {"data_range": -1.0}, ValueError, r"data_range must be a number in \(0, inf\]; got -1.0"),
        (psnr, {"data_range": math.nan}, ValueError, "data_range must be a number .*got nan"),
        (psnr, {"data_range": math.inf}, ValueError, "data_range must be finite; got inf"),
        (psnr, {"data_range": True}, TypeError, "data_range must be a number"),
        (nrmse, {"normalization": "max"}, ValueError, "normalization must be one of 'euclidean', 'min-max', 'mean'"),
        (ssim, {"data_range": 1, "win_size": 4}, ValueError, "win_size must be odd.*got 4"),
        (ssim, {"data_range": 1, "win_size": 1}, ValueError, "win_size must be an integer >= 3; got 1"),
        (ssim, {"data_range": 1, "win_size": 11}, ValueError, "must not be larger than the images of 10 x 10; got 11"),
        (
            ssim,
            {"data_range": 1, "gaussian_weights": True},
            ValueError,
            "must not be larger than the images of 10 x 10",
        ),
        (
            ssim,
            {"data_range": 1, "gaussian_weights": True, "win_size": 7},
            ValueError,
            "win_size must be None with gauss",
        ),
        (mse, {"weights": -OTHER}, ValueError, "weights must not be negative; got -1"),
        (mse, {"weights": OTHER * 0}, ValueError, "weights must not all be 0"),
        (
            mse,
            {"weights": OTHER[:3]},
            ValueError,
            r"weights must broadcast to the shape \(10, 10\) of y_true; got \(3, 10\)",
        ),
        (mse, {"weights": OTHER * np.nan}, ValueError, "weights must be finite"),
        (
            ssim,
            {"data_range": 1, "weights": np.eye(10)[0]},
            ValueError,
            "weights must leave a pixel .* half a window away",
        ),
    ],
)
def test_bad_options_are_named(metric, options, error, message):
    with pytest.raises(error, match=message):
        metric(IMAGE, OTHER, **options)


def test_a_reference_without_range_is_named():
    stack = np.stack([IMAGE, OTHER])
    for metric in (psnr, ssim):
        with pytest.raises(ValueError, match="image 1 of y_true is constant. Give a number"):
            metric(stack, stack[::-1], data_range="reference")
    with pytest.raises(ValueError, match="'min-max' must be positive for y_true; got 0. Use another one, or mse"):
        nrmse(OTHER, IMAGE, normalization="min-max")
    with pytest.raises(ValueError, match="'euclidean' must be positive"):
        nrmse(OTHER * 0, IMAGE)
    with pytest.raises(ValueError, match="'mean' must be positive for y_true; got -1"):
        nrmse(-OTHER, IMAGE, normalization="mean")


def test_an_image_without_weight_is_named():
    weights = np.stack([OTHER, OTHER * 0])
    with pytest.raises(ValueError, match="weights must leave a pixel of each image"):
        psnr(np.stack([IMAGE] * 2), np.stack([OTHER] * 2), data_range=1, weights=weights)


@pytest.mark.parametrize("metric", [psnr, ssim])
def test_rows_are_no_images(metric):
    with pytest.raises(ValueError, match=r"must be images, \(H, W\) or \(..., H, W\); got shape \(10,\)"):
        metric(IMAGE[0], OTHER[0], data_range=1)


# -------------------------------------------------------------------------------------------------------- segmentation


@pytest.fixture(params=["narrow", "wide", "negative", "binary"])
def labels(request, rng):
    values = {"narrow": [0, 1, 2, 7], "wide": [0, 5, 10**6, 10**12], "negative": [-3, -1, 4], "binary": [0, 1]}
    true = rng.choice(values[request.param], size=(3, 20, 30))
    pred = np.where(rng.random(true.shape) < 0.3, rng.choice(values[request.param], size=true.shape), true)
    return true, pred


def test_overlaps_are_those_of_scikit_learn(labels):
    true, pred = (y.reshape(-1) for y in labels)
    for ours, theirs in ((dice, f1_score), (iou, jaccard_score)):
        np.testing.assert_allclose(ours(*labels, average=None), theirs(true, pred, average=None), rtol=1e-14)
        assert ours(*labels) == pytest.approx(theirs(true, pred, average="macro"), rel=1e-14)
    assert mcc(*labels) == pytest.approx(matthews_corrcoef(true, pred), abs=1e-13)


def test_known_overlaps():
    true, pred = [[0, 0, 1, 1]], [[0, 1, 1, 1]]
    assert dice(true, pred, average=None).tolist() == [2 / 3, 4 / 5]
    assert iou(true, pred, average=None).tolist() == [1 / 2, 2 / 3]
    assert mcc(true, pred) == pytest.approx(2 / math.sqrt(12))  # (TP TN - FP FN) / sqrt(3 * 2 * 2 * 1)
    assert dice(true, true) == iou(true, true) == mcc(true, true) == 1
    assert dice([0, 0], [1, 1]) == iou([0, 0], [1, 1]) == 0
    assert mcc([0, 1], [1, 0]) == -1
    assert mcc([0, 1, 0], [2, 2, 2]) == mcc([3, 3], [3, 3]) == 0


def test_classes_absent_from_both_are_skipped():
    true, pred = np.array([[0, 0, 1, 1]]), np.array([[0, 1, 1, 1]])
    values = dice(true, pred, average=None, labels=[1, 2, 0])
    np.testing.assert_array_equal(values, [4 / 5, np.nan, 2 / 3])
    assert dice(true, pred, labels=[1, 2, 0]) == dice(true, pred)
    assert iou(true, pred, labels=[1]) == pytest.approx(2 / 3)
    assert dice(np.array([0, 0, 3]), np.array([0, 0, 0])) == pytest.approx((4 / 5 + 0) / 2)  # missed: counts as 0
    with pytest.raises(ValueError, match=r"labels must name a class that is present \(\[0, 1\]\); got \[5\]"):
        dice(true, pred, labels=[5])


def test_any_kind_of_labels(labels):
    true, pred = labels
    expected = dice(true, pred), iou(true, pred), mcc(true, pred)
    kinds = [
        torch.as_tensor,
        np.ndarray.tolist,
        lambda y: y.astype(">i8"),
        lambda y: y.astype(np.float64),
        np.asfortranarray,
    ]
    if true.max() < 2 and true.min() >= 0:
        kinds += [lambda y: y.astype(bool), lambda y: y.astype(np.uint8), lambda y: torch.as_tensor(y).bfloat16()]
    for convert in kinds:
        a, b = convert(true), convert(pred)
        assert (dice(a, b), iou(a, b), mcc(a, b)) == expected


def test_many_pixels_do_not_overflow():
    true = np.zeros((1 << 12, 1 << 12), np.uint8)
    true[:, ::2] = 1
    pred = true.copy()
    pred[0] = 1 - pred[0]
    assert mcc(true, pred) == pytest.approx(1 - 2 / 4096, rel=1e-12)
    assert dice(true, pred) == pytest.approx(1 - 1 / 4096, rel=1e-12)


@pytest.mark.parametrize("metric", [dice, iou, mcc])
def test_bad_labels_are_named(metric):
    with pytest.raises(ValueError, match=r"y_true and y_pred must have one shape; got \(2,\) and \(3,\)"):
        metric([0, 1], [0, 1, 1])
    with pytest.raises(ValueError, match=r"y_true and y_pred must not be empty; got shape \(0,\)"):
        metric(np.zeros(0, int), np.zeros(0, int))
    for bad in ([0.0, 0.5], [0.0, np.nan], [0.0, np.inf]):
        with pytest.raises(ValueError, match="y_pred must hold whole-number labels; got fractions, NaN or infinity"):
            metric([0, 1], bad)
    with pytest.raises(TypeError, match="y_true must hold whole-number labels; got dtype <U1"):
        metric(["a", "b"], [0, 1])
    with pytest.raises(ValueError, match="at most 1024 different ones; got 2000. Are they images"):
        metric(np.arange(2000), np.arange(2000))


@pytest.mark.parametrize("metric", [dice, iou])
def test_bad_average_is_named(metric):
    with pytest.raises(ValueError, match="average must be 'macro' or None; got 'micro'"):
        metric([0, 1], [0, 1], average="micro")
