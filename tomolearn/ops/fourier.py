"""Projection and back-projection by way of frequencies: O(n^2 log n) where interpolation is O(n^3).

The transform of a projection is a line through the transform of the image (the Fourier slice theorem). So a filtered
back-projection is a sum of plane waves whose frequencies lie on rays; it is found by spreading them over a grid of
frequencies with a compact kernel, one fast transform, and a division by the transform of the kernel. `FourierPlan`
holds the tables of that for one scan; the work is done by ``csrc/cpu``. Both directions are exact transposes.
"""

import functools
import math
from dataclasses import dataclass

import numpy as np
import torch

from tomolearn._validation import check_choice
from tomolearn.exceptions import ExtensionError
from tomolearn.ops._register import operators

__all__ = ["KERNEL_WIDTHS", "FourierPlan", "fast_length", "fourier_plan", "lengthened_response", "transform_length"]

# Width in cells -> (cells of the grid for each pixel, degree of the kernel's polynomials).
_KERNELS = {4: (1.25, 7), 5: (1.25, 9), 8: (2.0, 11)}
KERNEL_WIDTHS = tuple(_KERNELS)
_STEP = 32  # transforms are multiples of it: the strips of the grid, and the lanes of single slices, then come out even


@dataclass(frozen=True, eq=False)
class FourierPlan:
    """The tables of one scan for the Fourier method; made by `fourier_plan`, valid for any axis of rotation.

    Parameters
    ----------
    index : Tensor of shape (2, n_angles), int32
        Rays in the order of their slope: which angle, and how many frequencies.
    rays : Tensor of shape (5, n_angles), float64
        -1 where a ray is turned by half a circle; grid cells from one frequency to the next, along columns and rows;
        detector coordinate of the image's middle pixel less that of the axis; gain.
    tables : Tensor, float64
        Response of the filter, what the kernel takes from rows and columns, and the kernel.
    sizes : tuple of int
        Detectors, padded length, rows, columns, those of the grid, width and degree of the kernel, edge padding.

    Examples
    --------
    >>> import torch
    >>> from tomolearn.ops.fourier import fourier_plan
    >>> plan = fourier_plan([0.0, 1.0], 16, (16, 16))
    >>> plan.project(torch.ones(1, 16, 16), torch.full((1, 2), 7.5, dtype=torch.float64)).shape
    torch.Size([1, 2, 16])
    """

    index: torch.Tensor
    rays: torch.Tensor
    tables: torch.Tensor
    sizes: tuple[int, ...]

    def project(self, images: torch.Tensor, center: torch.Tensor) -> torch.Tensor:
        """Images (n, rows, columns) to projections (n, n_angles, n_detectors): the transpose of `adjoint`."""
        _check_device(images)
        return operators().fourier_project(images, self.index, self.rays, center, self.tables, self.sizes)

    def adjoint(self, projections: torch.Tensor, center: torch.Tensor) -> torch.Tensor:
        """Back-project (n, n_angles, n_detectors) to (n, rows, columns); ``center`` is (1 or n, n_angles)."""
        _check_device(projections)
        return operators().fourier_adjoint(projections, self.index, self.rays, center, self.tables, self.sizes)


def fast_length(n: float) -> int:
    """The smallest length of a transform that is at least ``n``: 64 or more, a multiple of 32, a product of 2, 3, 5.

    Parameters
    ----------
    n : float

    Returns
    -------
    int

    Examples
    --------
    >>> from tomolearn.ops.fourier import fast_length
    >>> fast_length(1), fast_length(2048), fast_length(2049)
    (64, 2048, 2304)
    """
    length = max(64, _STEP * math.ceil(n / _STEP))
    while not _is_smooth(length):
        length += _STEP
    return length


def _is_smooth(n: int) -> bool:
    for prime in (2, 3, 5):
        while n % prime == 0:
            n //= prime
    return n == 1


def transform_length(angles, n_detectors: int, image_shape, detector_spacing: float = 1.0, center=None) -> int:
    """Length to which projections are padded: twice the detector, or more where an image is wider than that.

    Twice the detector keeps the two ends apart in the circular convolution of the filter. A pixel that lies so far out
    that the padding ends before it would see the other end of the detector.

    Parameters
    ----------
    angles : array-like of shape (n_angles,)
        In radians.
    n_detectors : int
    image_shape : tuple of two int
    detector_spacing : float, default=1.0
    center : array-like that broadcasts against ``angles``, default=None
        Detector coordinate of the rotation axis. None: the middle.

    Returns
    -------
    int

    Examples
    --------
    >>> from tomolearn.ops.fourier import transform_length
    >>> transform_length([0.0, 1.0], 100, (100, 100)), transform_length([0.0, 1.0], 100, (400, 400))
    (256, 384)
    """
    angles, (rows, columns) = np.asarray(angles), image_shape
    reach = np.abs(np.cos(angles)) * (columns - 1) / 2 + np.abs(np.sin(angles)) * (rows - 1) / 2
    reach = reach / detector_spacing
    center = (n_detectors - 1) / 2 if center is None else np.asarray(center, dtype=np.float64)
    low, high = float((center - reach).min()), float((center + reach).max())
    return fast_length(max(2 * n_detectors, high + 1, n_detectors - low))


def fourier_plan(
    angles,
    n_detectors,
    image_shape,
    *,
    detector_spacing=1.0,
    n_fft=None,
    response=None,
    gain=None,
    padding="zero",
    kernel_width=4,
) -> FourierPlan:
    """The tables of a scan for the Fourier method; those of the last 16 scans are kept.

    Parameters
    ----------
    angles : array-like of shape (n_angles,)
        In radians, in any order and spacing.
    n_detectors : int
        Number of detector bins.
    image_shape : tuple of two int
        Rows and columns.
    detector_spacing : float, default=1.0
        Width of a detector bin in pixels.
    n_fft : int, default=None
        Length of the padded projections; None: `transform_length` of the scan with its axis in the middle.
    response : array-like of shape (n_fft // 2 + 1,), default=None
        What the frequencies 0 to n_fft / 2 are multiplied by. None: 1.
    gain : array-like of shape (n_angles,), default=None
        What the projections are multiplied by. None: 1.
    padding : {"zero", "edge"}, default="zero"
        What stands beside the detector.
    kernel_width : {4, 5, 8}, default=4
        Cells of the gridding kernel: relative errors of about 1e-4, 2e-5 and 1e-6.

    Returns
    -------
    FourierPlan

    Raises
    ------
    ValueError
        If there is no such padding or kernel.

    References
    ----------
    J. A. Fessler and B. P. Sutton, "Nonuniform fast Fourier transforms using min-max interpolation", IEEE Trans. Signal
    Process. 51 (2003) 560, DOI 10.1109/TSP.2002.807005. A. H. Barnett, J. Magland and L. af Klinteberg, "A parallel
    nonuniform fast Fourier transform library based on an exponential of semicircle kernel", SIAM J. Sci. Comput. 41
    (2019) C479, DOI 10.1137/18M120885X.

    Examples
    --------
    >>> import torch
    >>> from tomolearn.geometry import default_angles
    >>> from tomolearn.ops.fourier import fourier_plan
    >>> plan = fourier_plan(default_angles(8), 16, (16, 16))
    >>> plan.adjoint(torch.ones(2, 8, 16), torch.full((1, 8), 7.5, dtype=torch.float64)).shape
    torch.Size([2, 16, 16])
    """
    check_choice(padding, "padding", ("zero", "edge"))
    if kernel_width not in _KERNELS:
        raise ValueError(f"kernel_width must be 4, 5 or 8; got {kernel_width!r}.")
    angles = np.ascontiguousarray(angles, dtype=np.float64)
    if n_fft is None:
        n_fft = transform_length(angles, n_detectors, image_shape, detector_spacing)
    scan = (angles.tobytes(), n_detectors, tuple(image_shape), detector_spacing, n_fft)
    return _plan(*scan, _as_key(response), _as_key(gain), padding == "edge", kernel_width)


def _as_key(values):
    return None if values is None else np.ascontiguousarray(values, dtype=np.float64).tobytes()


@functools.lru_cache(maxsize=16)
def _plan(angles, n_detectors, image_shape, spacing, n_fft, response, gain, edge, width):
    angles = np.frombuffer(angles)
    rows, columns = image_shape
    oversampling, degree = _KERNELS[width]
    grid = [fast_length(oversampling * size) for size in image_shape]
    sigma = min(2.0, grid[0] / rows, grid[1] / columns)
    gain = np.ones(angles.size) if gain is None else np.frombuffer(gain)
    index, rays = _rays(angles, image_shape, spacing, n_fft, grid, gain)
    spectrum = np.ones(n_fft // 2 + 1) if response is None else np.frombuffer(response).copy()
    spectrum[[0, -1]] *= 0.5  # the frequencies that are their own mirror images
    tables = [
        spectrum / n_fft,
        _taken_away(rows, grid[0], width, degree, sigma),
        _taken_away(columns, grid[1], width, degree, sigma),
        _kernel(width, degree, sigma).ravel(),
    ]
    sizes = (n_detectors, n_fft, rows, columns, *grid, width, degree, int(edge))
    return FourierPlan(torch.from_numpy(index), torch.from_numpy(rays), torch.from_numpy(np.concatenate(tables)), sizes)


def _rays(angles, image_shape, spacing, n_fft, grid, gain):
    """Index and rays of a plan."""
    rows, columns = image_shape
    along_columns = _snapped(np.cos(angles)) / spacing  # of the detector coordinate, for each column
    along_rows = -_snapped(np.sin(angles)) / spacing
    offset = along_columns * (columns // 2 - (columns - 1) / 2) + along_rows * (rows // 2 - (rows - 1) / 2)
    turned = np.where(along_columns < 0, -1.0, 1.0)
    # Not zero, which a strip would divide by: no frequency moves by more than 1e-5 cells.
    column_step = np.maximum(np.abs(along_columns) * grid[1] / n_fft, 1e-9)
    row_step = turned * along_rows * grid[0] / n_fft
    # Where detector bins are narrower than pixels, frequencies that pixels cannot hold are left out.
    limit = n_fft / 2 / np.maximum(np.abs(along_columns), np.abs(along_rows))
    n_frequencies = np.where(limit >= n_fft / 2 * (1 - 1e-12), n_fft // 2 + 1, np.ceil(limit)).astype(np.int32)
    order = np.argsort(row_step / column_step * (grid[1] / grid[0]), kind="stable").astype(np.int32)
    rays = np.stack([turned, column_step, row_step, offset, gain])[:, order]
    return np.stack([order, n_frequencies[order]]), np.ascontiguousarray(rays)


def _snapped(values):
    """Multiples of a quarter turn, in floating point, fall on the axes."""
    return np.where(np.abs(values) < 1e-15, 0.0, values)


def _semicircle(x, width, sigma):
    """Exponential of a semicircle: the kernel, over |x| <= width / 2."""
    beta = math.pi * width * (1 - 1 / (2 * sigma))
    return np.exp(beta * (np.sqrt(np.maximum(0, 1 - (2 * x / width) ** 2)) - 1))


@functools.lru_cache(maxsize=32)
def _kernel(width, degree, sigma):
    """Polynomials of the first half of the taps in z - 1/2, z in [0, 1]: (ceil(width / 2), degree + 1)."""
    z = -np.cos(np.pi * (np.arange(64) + 0.5) / 64) / 2
    taps = []
    for j in range((width + 1) // 2):
        fitted = np.polynomial.Polynomial.fit(z, _semicircle(z + 0.5 + j - width / 2, width, sigma), degree)
        taps.append(np.resize(fitted.convert().coef, degree + 1))
    if width % 2:
        taps[-1][1::2] = 0  # the tap in the middle is its own mirror image
    return np.stack(taps)


@functools.lru_cache(maxsize=32)
def _taken_away(n, grid, width, degree, sigma):
    """One over the transform of the kernel at the n pixels around the middle, by quadrature of the very polynomials."""
    nodes, weights = np.polynomial.legendre.leggauss(32)
    pixels = np.arange(n) - n // 2
    transform = np.zeros(n)
    for j, coefficients in enumerate(_kernel(width, degree, sigma)):
        values = np.polynomial.polynomial.polyval(nodes / 2, coefficients) * weights / 2
        share = 1 if 2 * j + 1 == width else 2  # a tap and its mirror image
        transform += share * np.cos(2 * np.pi / grid * np.outer(pixels, nodes / 2 + 0.5 + j - width / 2)) @ values
    return 1 / transform


def lengthened_response(response, n_fft: int) -> np.ndarray:
    """A response given for one padded length, for a longer one: the same kernel with more zeros around it.

    Parameters
    ----------
    response : array-like of shape (length // 2 + 1,)
        Real, at the frequencies of rows padded to ``length``, which is even.
    n_fft : int
        Even, and at least ``length``.

    Returns
    -------
    ndarray of shape (n_fft // 2 + 1,), float64

    Examples
    --------
    >>> from tomolearn.ops.fourier import lengthened_response
    >>> lengthened_response([1.0, 1.0, 1.0], 8).tolist()
    [1.0, 1.0, 1.0, 1.0, 1.0]
    """
    length = 2 * (len(response) - 1)
    kernel = np.fft.irfft(response, length)
    longer = np.zeros(n_fft)
    longer[: length // 2], longer[n_fft - length // 2 + 1 :] = kernel[: length // 2], kernel[length // 2 + 1 :]
    longer[length // 2] += kernel[length // 2] / 2
    longer[n_fft - length // 2] += kernel[length // 2] / 2
    return np.fft.rfft(longer).real


def _check_device(stack):
    if stack.device.type not in ("cpu", "meta"):
        raise ExtensionError(
            f"the Fourier method runs on the processor only, and the data are on {stack.device}. Take method='direct' "
            "or 'auto' for filtered back-projection there, and RadonOperator for projections; or data.cpu()."
        )
