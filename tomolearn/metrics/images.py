"""How far images are from their reference: mean squared error, its relatives, and structural similarity.

Arithmetic is in float64 whatever comes in, converted a piece at a time. No metric guesses a data range: `psnr` and
`ssim` ask for it, as their values mean nothing without.
"""

import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

from tomolearn._validation import as_tensor, check_choice, check_finite, check_integer, check_real

__all__ = ["mse", "nrmse", "psnr", "ssim"]

_CHUNK = 2**13  # values converted to float64 at a time: few enough that BLAS does not start threads for a dot product
_BLOCK = 32  # rows of an SSIM map computed at a time: its dozen of temporaries stay in the second-level cache


def mse(y_true, y_pred, *, weights=None) -> float:
    """Mean squared error over all pixels.

    Parameters
    ----------
    y_true, y_pred : array-like or Tensor of one shape
        Reference and result.
    weights : array-like, default=None
        Non-negative weight of each pixel, of a shape that broadcasts to that of ``y_true``: a mask of one image serves
        a stack. Pixels of weight 0 are not looked at and may be NaN.

    Returns
    -------
    float

    Raises
    ------
    ValueError, TypeError
        If shapes differ, there are no pixels, values are not finite real numbers, or the weights are negative or all 0.

    Examples
    --------
    >>> from tomolearn.metrics import mse
    >>> mse([[0.0, 1.0]], [[0.0, 3.0]])
    2.0
    """
    true, pred, weights = _pair(y_true, y_pred, weights)
    return _mean_of_squares(true, pred, weights)


def nrmse(y_true, y_pred, *, normalization: str = "euclidean", weights=None) -> float:
    """Root mean squared error over all pixels, divided by the size of the reference.

    Parameters
    ----------
    y_true, y_pred : array-like or Tensor of one shape
        Reference and result.
    normalization : {"euclidean", "min-max", "mean"}, default="euclidean"
        What to divide by, as in scikit-image: the root mean square of ``y_true``, its maximum minus its minimum, or its
        mean.
    weights : array-like, default=None
        As for `mse`; they count in the divisor too.

    Returns
    -------
    float

    Raises
    ------
    ValueError, TypeError
        As `mse`, and if the divisor would not be positive.

    Examples
    --------
    >>> from tomolearn.metrics import nrmse
    >>> nrmse([[3.0, 4.0]], [[3.0, 3.5]])
    0.1
    """
    check_choice(normalization, "normalization", ("euclidean", "min-max", "mean"))
    true, pred, weights = _pair(y_true, y_pred, weights)
    if normalization == "euclidean":
        size = math.sqrt(_mean_of_squares(true, None, weights))
    elif normalization == "min-max":
        size = _range_of(true, weights)
    else:
        size = float(np.average(true, weights=None if weights is None else weights.astype(np.float64)))
    if size <= 0:
        raise ValueError(
            f"normalization={normalization!r} must be positive for y_true; got {size:g}. Use another one, or mse."
        )
    return math.sqrt(_mean_of_squares(true, pred, weights)) / size


def psnr(y_true, y_pred, *, data_range, pooled: bool = False, weights=None) -> float:
    """Peak signal-to-noise ratio, ``10 log10(data_range**2 / mse)``, in decibels; of a stack, the mean over its images.

    Parameters
    ----------
    y_true, y_pred : array-like or Tensor of shape (H, W) or (..., H, W)
        Reference and result.
    data_range : float or "reference"
        Distance between the least and the greatest value that a pixel can take; ``"reference"``: maximum minus minimum
        of each reference image, the rule of the LoDoPaB-CT and DIVal tables.
    pooled : bool, default=False
        If True, one PSNR from the mean squared error of all pixels, as scikit-image does for any array; ``"reference"``
        is then the range of all of ``y_true``. The usual choice for one volume; tables of many images report the mean.
    weights : array-like, default=None
        As for `mse`; ``"reference"`` looks only at pixels of weight above 0.

    Returns
    -------
    float
        Infinite if an image equals its reference.

    Raises
    ------
    ValueError, TypeError
        As `mse`; if ``data_range`` is not a positive number or "reference", or a reference image is constant then.

    References
    ----------
    J. Leuschner et al., "LoDoPaB-CT, a benchmark dataset for low-dose computed tomography reconstruction", Scientific
    Data 8 (2021) 109, DOI 10.1038/s41597-021-00893-z.

    Examples
    --------
    >>> from tomolearn.metrics import psnr
    >>> psnr([[0.0, 2.0]], [[1.0, 3.0]], data_range=10.0)
    20.0
    """
    true, pred, weights = _pair(y_true, y_pred, weights)
    true, pred, weights = _as_images(true, pred, weights)
    if pooled:
        true, pred = true.reshape(1, -1), pred.reshape(1, -1)
        weights = None if weights is None else weights.reshape(1, -1)

    def of_image(i):
        w = None if weights is None else weights[i]
        error = _mean_of_squares(true[i], pred[i], w)
        peak = _data_range(data_range, true[i], w, i)
        return math.inf if error == 0 else 20 * math.log10(peak) - 10 * math.log10(error)

    return _mean_over_images(of_image, len(true))


def ssim(
    y_true,
    y_pred,
    *,
    data_range,
    win_size: int | None = None,
    gaussian_weights: bool = False,
    use_sample_covariance: bool = True,
    weights=None,
) -> float:
    """Structural similarity [1]_ of an image; of a stack or volume, the mean over its 2-D images.

    Each image counts as ``skimage.metrics.structural_similarity`` of that image with the same options, in float64.

    Parameters
    ----------
    y_true, y_pred : array-like or Tensor of shape (H, W) or (..., H, W)
        Reference and result.
    data_range : float or "reference"
        As for `psnr`.
    win_size : int, default=None
        Side of the sliding window, odd, at least 3; None: 7. Not for Gaussian windows, which are 11 wide.
    gaussian_weights : bool, default=False
        If True, the window is a Gaussian with a standard deviation of 1.5 pixels; with ``use_sample_covariance=False``
        this is the setting of [1]_.
    use_sample_covariance : bool, default=True
        Whether covariances are divided by the number of pixels of the window minus one.
    weights : array-like, default=None
        Non-negative weight of each window by its central pixel, of a shape that broadcasts to that of ``y_true``.
        Windows reach over pixels of weight 0, so these must be finite too.

    Returns
    -------
    float
        At most 1, which means equal. Pixels nearer to the rim than half a window are no centres.

    Raises
    ------
    ValueError, TypeError
        As `psnr`, and if the window is even or larger than the image.

    References
    ----------
    .. [1] Z. Wang, A. C. Bovik, H. R. Sheikh, E. P. Simoncelli, "Image quality assessment: from error visibility to
       structural similarity", IEEE Trans. Image Process. 13 (2004) 600, DOI 10.1109/TIP.2003.819861

    Examples
    --------
    >>> import numpy as np
    >>> from tomolearn.metrics import ssim
    >>> image = np.eye(16)
    >>> ssim(image, image, data_range=1.0)
    1.0
    """
    if gaussian_weights and win_size is not None:
        raise ValueError(
            f"win_size must be None with gaussian_weights=True, whose window is 11 wide; got {win_size!r}."
        )
    if gaussian_weights:
        window = np.exp(-0.5 * (np.arange(-5, 6) / 1.5) ** 2)
    else:
        win_size = 7 if win_size is None else check_integer(win_size, "win_size", low=3)
        if win_size % 2 == 0:
            raise ValueError(f"win_size must be odd, so that windows have a centre; got {win_size}.")
        window = np.ones(win_size)
    true, pred, _ = _pair(y_true, y_pred, None)
    weights = None if weights is None else _check_weights(weights, true.shape)
    true, pred, weights = _as_images(true, pred, weights)
    if min(true.shape[1:]) < window.size:
        raise ValueError(
            f"win_size must not be larger than the images of {true.shape[1]} x {true.shape[2]}; got {window.size}. "
            "Give a smaller odd win_size, or larger images."
        )
    n_pixels = window.size**2
    bias = n_pixels / (n_pixels - 1) if use_sample_covariance else 1.0

    def of_image(i):
        w = None if weights is None else weights[i]
        return _ssim_of_image(true[i], pred[i], _data_range(data_range, true[i], None, i), window, bias, w)

    return _mean_over_images(of_image, len(true))


def _ssim_of_image(true, pred, data_range, window, bias, weights) -> float:
    size = window.size
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    n_rows, n_columns = true.shape[0] - size + 1, true.shape[1] - size + 1
    total = 0.0
    if weights is not None:
        weights = weights[size // 2 :][:n_rows, size // 2 : size // 2 + n_columns]
        norm = float(weights.sum(dtype=np.float64))
        if norm == 0:
            raise ValueError(
                "weights must leave a pixel of each image that is half a window away from the rim; got none."
            )
    slide = _sliding_matrix(window / window.sum(), _BLOCK)
    for start in range(0, n_rows, _BLOCK):
        n = min(_BLOCK, n_rows - start)
        rows = slice(start, start + n + size - 1)
        planes = np.empty((4, n + size - 1, true.shape[1]))
        planes[0], planes[1] = true[rows], pred[rows]
        np.multiply(planes[0], planes[1], out=planes[2])
        planes[3] = planes[0] ** 2 + planes[1] ** 2  # only the sum of both variances is asked for
        mean_true, mean_pred, product, squares = _window_means(planes, slide, size)
        means = mean_true * mean_pred
        squared_means = mean_true**2 + mean_pred**2
        similarity = (2 * means + c1) * (2 * bias * (product - means) + c2)
        similarity /= (squared_means + c1) * (bias * (squares - squared_means) + c2)
        total += float(similarity.sum() if weights is None else (similarity * weights[start : start + n]).sum())
    return total / (n_rows * n_columns if weights is None else norm)


def _sliding_matrix(window: np.ndarray, n: int) -> np.ndarray:
    """Matrix that takes ``n + window.size - 1`` values to the ``n`` weighted means over whole windows."""
    matrix = np.zeros((n, n + window.size - 1))
    for i in range(n):
        matrix[i, i : i + window.size] = window
    return matrix


def _window_means(planes: np.ndarray, slide: np.ndarray, size: int) -> np.ndarray:
    """Means over all whole windows of ``size`` x ``size`` pixels of planes of at most ``_BLOCK + size - 1`` rows.

    Small matrix products beat a sum of shifted planes, although they multiply by many zeros: they go over memory once.
    """
    n_rows, n_columns = planes.shape[1] - size + 1, planes.shape[2] - size + 1
    down = slide[:n_rows, : n_rows + size - 1] @ planes
    means = np.empty((len(planes), n_rows, n_columns))
    for start in range(0, n_columns, _BLOCK):
        n = min(_BLOCK, n_columns - start)
        along = slide[:n, : n + size - 1].T
        np.matmul(down[:, :, start : start + n + size - 1], along, out=means[:, :, start : start + n])
    return means


def _pair(y_true, y_pred, weights):
    """Both as arrays of one shape, float32 or float64, finite where the weights are not 0; and the weights."""
    true, pred = as_tensor(y_true, "y_true")[0], as_tensor(y_pred, "y_pred")[0]
    if true.shape != pred.shape:
        raise ValueError(f"y_true and y_pred must have one shape; got {tuple(true.shape)} and {tuple(pred.shape)}.")
    if true.numel() == 0:
        raise ValueError(f"y_true and y_pred must not be empty; got shape {tuple(true.shape)}.")
    if weights is not None:
        weights = _check_weights(weights, tuple(true.shape))
        unseen = torch.from_numpy(weights == 0)
        true, pred = (y.detach().cpu().masked_fill(unseen, 0) for y in (true, pred))
    remedy = "Repair these pixels; mse, nrmse and psnr can also leave them out by weights=0."
    check_finite(true, "y_true", remedy)
    check_finite(pred, "y_pred", remedy)
    return true.detach().cpu().numpy(), pred.detach().cpu().numpy(), weights


def _check_weights(weights, shape: tuple[int, ...]) -> np.ndarray:
    given = as_tensor(weights, "weights")[0].detach().cpu()
    check_finite(given, "weights", "Give each pixel a finite weight.")
    if bool((given < 0).any()):
        raise ValueError(f"weights must not be negative; got {given.min():g}.")
    try:
        weights = np.broadcast_to(given.numpy(), shape)
    except ValueError:
        raise ValueError(f"weights must broadcast to the shape {shape} of y_true; got {tuple(given.shape)}.") from None
    if not weights.any():
        raise ValueError("weights must not all be 0: no pixel would count.")
    return np.ascontiguousarray(weights)


def _as_images(true, pred, weights):
    if true.ndim < 2:
        raise ValueError(f"y_true and y_pred must be images, (H, W) or (..., H, W); got shape {true.shape}.")
    return tuple(None if a is None else a.reshape(-1, *a.shape[-2:]) for a in (true, pred, weights))


def _mean_of_squares(true, pred, weights) -> float:
    """Weighted mean of ``(true - pred)**2``, or of ``true**2`` where ``pred`` is None."""
    true = true.reshape(-1)
    pred = None if pred is None else pred.reshape(-1)
    weights = None if weights is None else weights.reshape(-1)
    total = norm = 0.0
    for start in range(0, true.size, _CHUNK):
        chunk = slice(start, start + _CHUNK)
        error = true[chunk].astype(np.float64)
        if pred is not None:
            error -= pred[chunk]
        if weights is None:
            total += float(error @ error)
        else:
            weight = weights[chunk].astype(np.float64)
            total += float((weight * error) @ error)
            norm += float(weight.sum())
    if weights is None:
        return total / true.size
    if norm == 0:
        raise ValueError("weights must leave a pixel of each image; they are 0 all over one of them.")
    return total / norm


def _range_of(true, weights) -> float:
    seen = true if weights is None else true[weights > 0]
    return float(seen.max()) - float(seen.min())


def check_data_range(data_range) -> None:
    """Raise unless ``data_range`` is a positive, finite number or "reference"."""
    if isinstance(data_range, str) and data_range == "reference":
        return
    if isinstance(data_range, str) or data_range is None:
        raise ValueError(f"data_range must be a positive number or 'reference'; got {data_range!r}.")
    if math.isinf(check_real(data_range, "data_range", low=0, open_low=True)):
        raise ValueError("data_range must be finite; got inf.")


def _data_range(data_range, true, weights, i: int) -> float:
    """The data range for image number ``i``."""
    check_data_range(data_range)
    if data_range != "reference":
        return float(data_range)
    found = _range_of(true, weights)
    if found == 0:
        raise ValueError(
            f"data_range='reference' needs references that vary; image {i} of y_true is constant. Give a number."
        )
    return found


def _mean_over_images(of_image, n_images: int) -> float:
    """Mean of ``of_image(i)``; NumPy lets go of the interpreter lock, so images share torch's number of threads."""
    n_threads = min(torch.get_num_threads(), n_images)
    if n_threads == 1:
        return sum(map(of_image, range(n_images))) / n_images
    with ThreadPoolExecutor(n_threads) as pool:
        return sum(pool.map(of_image, range(n_images))) / n_images
