"""The Fourier method the slow way: as sums over all frequencies, gridded or exact, with no transform but a matrix."""

import numpy as np


def padded_identity(n_detectors, n_fft, edge):
    """(n_fft, n_detectors): what padding makes of a projection."""
    matrix = np.zeros((n_fft, n_detectors))
    matrix[np.arange(n_detectors), np.arange(n_detectors)] = 1
    if edge:
        middle = n_detectors + (n_fft - n_detectors) // 2
        matrix[n_detectors:middle, -1] = 1
        matrix[middle:, 0] = 1
    return matrix


def ray_spectra(plan, ray, center):
    """(frequencies, n_detectors): from a projection to the values of its ray, for an axis at `center`."""
    n_detectors, n_fft, *_, edge = plan.sizes
    turned, _, _, offset, gain = plan.rays[:, ray].tolist()
    r = np.arange(int(plan.index[1, ray]))
    waves = np.exp(-2j * np.pi / n_fft * np.outer(r, np.arange(n_fft)))
    response = plan.tables[: n_fft // 2 + 1].numpy()[r] * gain
    shift = np.exp(2j * np.pi / n_fft * (offset + center) * r)
    spectra = (response * shift)[:, None] * (waves @ padded_identity(n_detectors, n_fft, edge))
    return spectra if turned > 0 else spectra.conj()


def taps_at(position, half, width):
    """First cell and weights (points, width) of the kernel at positions in cells."""
    first = np.floor(position - width / 2) + 1
    z = first - (position - width / 2) - 0.5
    weights = np.empty((len(position), width))
    for j, coefficients in enumerate(half):
        weights[:, j] = np.polynomial.polynomial.polyval(z, coefficients)
        weights[:, width - 1 - j] = np.polynomial.polynomial.polyval(-z, coefficients)
    return first, weights


def gridded_waves(plan, ray):
    """(rows, columns, frequencies): what a frequency of a ray adds to the image, spread over the cells of the grid."""
    _, n_fft, rows, columns, grid_rows, grid_columns, width, degree, _ = plan.sizes
    scales = plan.tables[n_fft // 2 + 1 :].numpy()
    half = scales[rows + columns :].reshape(-1, degree + 1)
    r = np.arange(int(plan.index[1, ray]))
    sides = []
    for n, grid, scale, step in (
        (rows, grid_rows, scales[:rows], float(plan.rays[2, ray])),
        (columns, grid_columns, scales[rows : rows + columns], float(plan.rays[1, ray])),
    ):
        first, weights = taps_at(r * step, half, width)
        cells = first[:, None] + np.arange(width)
        waves = np.exp(2j * np.pi / grid * (np.arange(n) - n // 2)[:, None, None] * cells)
        sides.append((waves * weights).sum(2) * scale[:, None])
    return sides[0][:, None, :] * sides[1][None, :, :]


def exact_waves(plan, ray):
    """The same without a grid: plane waves."""
    _, _, rows, columns, grid_rows, grid_columns, *_ = plan.sizes
    r = np.arange(int(plan.index[1, ray]))
    y = np.exp(2j * np.pi / grid_rows * float(plan.rays[2, ray]) * np.outer(np.arange(rows) - rows // 2, r))
    x = np.exp(2j * np.pi / grid_columns * float(plan.rays[1, ray]) * np.outer(np.arange(columns) - columns // 2, r))
    return y[:, None, :] * x[None, :, :]


def adjoint_matrix(plan, center, waves=gridded_waves):
    """(rows * columns, n_angles * n_detectors) of `FourierPlan.adjoint`, center (n_angles,)."""
    n_detectors, _, rows, columns, *_ = plan.sizes
    angle = plan.index[0].numpy()
    matrix = np.zeros((rows * columns, len(angle), n_detectors))
    for ray, a in enumerate(angle):
        values = waves(plan, ray).reshape(rows * columns, -1) @ ray_spectra(plan, ray, center[a])
        matrix[:, a] = 2 * values.real  # with the mirror image of each frequency
    return matrix.reshape(rows * columns, -1)
