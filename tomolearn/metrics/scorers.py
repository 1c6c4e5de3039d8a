"""Scorers for scikit-learn's model selection, whose own do not take images."""

import difflib
import math
from collections.abc import Callable

from tomolearn._validation import as_tensor, check_shape
from tomolearn.metrics.images import check_data_range, mse, nrmse, psnr, ssim
from tomolearn.metrics.segmentation import dice, iou, mcc

__all__ = ["scorer"]

_SCORED: dict[str, tuple[Callable, int, tuple[str, ...]]] = {  # name: metric, sign, options it takes
    "psnr": (psnr, 1, ("data_range", "pooled")),
    "ssim": (ssim, 1, ("data_range", "win_size", "gaussian_weights", "use_sample_covariance")),
    "neg_mse": (mse, -1, ()),
    "neg_nrmse": (nrmse, -1, ("normalization",)),
    "dice": (dice, 1, ()),
    "iou": (iou, 1, ()),
    "mcc": (mcc, 1, ()),
}


def scorer(
    metric: str,
    *,
    data_range=None,
    pooled: bool | None = None,
    win_size: int | None = None,
    gaussian_weights: bool | None = None,
    use_sample_covariance: bool | None = None,
    normalization: str | None = None,
    image_shape: tuple[int, int] | None = None,
):
    """A scorer for ``scoring=`` of scikit-learn: called with (estimator, X, y), it rates ``estimator.predict(X)``.

    Parameters
    ----------
    metric : {"psnr", "ssim", "neg_mse", "neg_nrmse", "dice", "iou", "mcc"}
        Greater is better: the errors are negated.
    data_range : float or "reference", default=None
        Needed for "psnr" and "ssim".
    pooled, win_size, gaussian_weights, use_sample_covariance, normalization : default=None
        Options of the metric; None: its default. An option of another metric is an error.
    image_shape : tuple of two int, default=None
        Rows and columns of the images, needed for "psnr" and "ssim" where y is flat, (n, H * W).

    Returns
    -------
    callable
        Made by `sklearn.metrics.make_scorer`; it pickles.

    Raises
    ------
    ValueError, TypeError
        If the metric is unknown, ``data_range`` is missing, or an option does not belong to the metric.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.dummy import DummyRegressor
    >>> from tomolearn.metrics import scorer
    >>> X, y = np.zeros((4, 2)), np.tile([0.0, 1.0, 0.0, 1.0], (4, 1))
    >>> model = DummyRegressor().fit(X, y + 0.1)
    >>> round(scorer("psnr", data_range=1.0, image_shape=(2, 2))(model, X, y), 6)
    20.0
    """
    from sklearn.metrics import make_scorer

    if not isinstance(metric, str) or metric not in _SCORED:
        close = difflib.get_close_matches(str(metric), _SCORED, n=1, cutoff=0.4)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise ValueError(f"metric must be one of {', '.join(map(repr, _SCORED))}; got {metric!r}.{hint}")
    _, sign, allowed = _SCORED[metric]
    options = {
        "data_range": data_range,
        "pooled": pooled,
        "win_size": win_size,
        "gaussian_weights": gaussian_weights,
        "use_sample_covariance": use_sample_covariance,
        "normalization": normalization,
    }
    options = {name: value for name, value in options.items() if value is not None}
    for name in options:
        if name not in allowed:
            takes = f"takes {', '.join(allowed)}" if allowed else "takes no options"
            raise ValueError(f"{name} is no option of {metric!r}, which {takes}.")
    if "data_range" in allowed:
        if data_range is None:
            raise ValueError(f"{metric!r} needs data_range: the distance of black and white, or 'reference'.")
        check_data_range(data_range)
    shape = None if image_shape is None else check_shape(image_shape, "image_shape", 2)
    return make_scorer(
        _score,
        greater_is_better=sign > 0,
        response_method="predict",
        metric=metric,
        options=options,
        image_shape=shape,
    )


def _score(y_true, y_pred, *, metric: str, options: dict, image_shape: tuple[int, ...] | None) -> float:
    function, _, allowed = _SCORED[metric]
    if "data_range" in allowed:  # a metric of images
        y_true, y_pred = _as_images(y_true, "y_true", image_shape), _as_images(y_pred, "y_pred", image_shape)
    return function(y_true, y_pred, **options)


def _as_images(y, name: str, image_shape: tuple[int, ...] | None):
    images, _ = as_tensor(y, name)
    if images.ndim != 2:
        return images
    if image_shape is None or images.shape[1] != math.prod(image_shape):
        raise ValueError(
            f"image_shape must hold the rows and columns of {name} where it is flat, of shape {tuple(images.shape)}; "
            f"got {image_shape!r}."
        )
    return images.reshape(-1, *image_shape)
