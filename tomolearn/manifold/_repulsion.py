"""Repulsion of t-SNE: sums over all pairs of samples, exactly in blocks or by FFT on a grid.

Every sum is a potential f(y) = sum_j 1 / (1 + |y - y_j|^2) or its gradient: that of f is -2 sum_j (y - y_j) / (1 +
|y - y_j|^2)^2, which is what the force needs. So one convolution gives all: the points are spread on a grid by a
cubic B-spline, the grid is convolved with the kernel by FFT, and the potential is read by the same B-spline, the
gradient by its derivative. What the spline does to each frequency, in spreading and in reading, is divided out.

This differs from Linderman et al., 2019, https://doi.org/10.1038/s41592-018-0308-4, who convolve the moments 1, y_1,
y_2 with two kernels by piecewise polynomials: three forward and three backward transforms and finer grids.
"""

import math

import torch

__all__ = ["Grid", "exact_potential", "fast_length"]

AT_ONCE = 2**20  # pairs that are in memory at a time
SPACING = 0.35  # of the grid, in units of the kernel's width; the error falls like exp(-pi / SPACING)
LARGEST = {1: 2**20, 2: 2048}  # nodes along an axis at most: a wider map has a coarser grid
FEWEST = 40  # steps across the map, as long as these are not finer than FINEST
FINEST = 0.1
N_TAPS = 4  # of a cubic B-spline


def exact_potential(points: torch.Tensor, sources: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Potential of ``sources`` at ``points`` and its gradient, pair by pair.

    Parameters
    ----------
    points : Tensor of shape (m, d)
    sources : Tensor of shape (n, d)

    Returns
    -------
    potential : Tensor of shape (m,)
    gradient : Tensor of shape (m, d)
    """
    potential, gradient = [], []
    step = max(1, AT_ONCE // max(1, len(sources)))
    for start in range(0, len(points), step):
        block = points[start : start + step]
        squared = torch.ones(len(block), len(sources), dtype=points.dtype, device=points.device)
        for a in range(points.shape[1]):  # from differences: the expanded square rounds where points lie close
            difference = block[:, a, None] - sources[None, :, a]
            squared.addcmul_(difference, difference)
        kernel = squared.reciprocal_()
        potential.append(kernel.sum(1))
        kernel.square_()
        gradient.append(-2 * (kernel.sum(1, keepdim=True) * block - kernel @ sources))
    return torch.cat(potential), torch.cat(gradient)


def fast_length(n: int) -> int:
    """The smallest even number >= n without a prime factor above 5, which FFTs are fast for."""
    best = 2 ** max(1, math.ceil(math.log2(max(n, 2))))
    for fives in range(12):
        for threes in range(20):
            odd = 5**fives * 3**threes
            if odd * 2 > best:
                break
            best = min(best, odd * 2 ** max(1, math.ceil(math.log2(max(1, n / odd)))))
    return best


class Grid:
    """The potential of points in one or two dimensions, by FFT. Kernels are kept as long as the grid has one shape.

    Parameters
    ----------
    spacing : float, default=SPACING
        Of the nodes.
    """

    def __init__(self, spacing=SPACING):
        self.spacing = spacing
        self.step, self.sizes, self._kernel = 0.0, [], None

    def place(self, low, high):
        """Lay the grid over a box; ``low`` and ``high`` are lists of float."""
        extent = max(b - a for a, b in zip(low, high, strict=True))
        step = max(self.spacing, extent / (LARGEST[len(low)] - N_TAPS - 2))
        while step > FINEST and extent < FEWEST * step:  # a small map makes a small grid anyway
            step /= 2
        # One more node on each side than the taps need: points may round onto the border.
        self.counts = [int((b - a) / step) + N_TAPS + 2 for a, b in zip(low, high, strict=True)]
        sizes = [fast_length(2 * n) for n in self.counts]
        # Larger than needed is right too, and keeps the kernel while the map breathes.
        if step != self.step or any(not n <= m <= 2 * n for n, m in zip(sizes, self.sizes, strict=False)):
            self.step, self.sizes, self._kernel = step, sizes, None
        self.origin = [a - 2 * step for a in low]

    def potential(self, points):
        """Potential (n,) of ``points`` at themselves and its gradient (n, d), on a grid that fits them."""
        self.place(points.amin(0).tolist(), points.amax(0).tolist())
        taps = self._taps(points)
        self.spread(points, taps)
        return self.read(points, taps)

    def spread(self, points, taps=None):
        """Make the potential of ``points`` on the grid that `place` has laid."""
        index, weights, _ = self._taps(points) if taps is None else taps
        density = torch.zeros(math.prod(self.counts), dtype=points.dtype, device=points.device)
        density.index_add_(0, index.view(-1), weights.view(-1))
        density = density.view(self.counts)
        # Axis by axis: rows of zeros are not transformed, nor rows that are cropped.
        spectrum = torch.fft.rfft(density, n=self.sizes[-1], dim=-1)
        if len(self.sizes) == 2:
            spectrum = torch.fft.fft(spectrum, n=self.sizes[0], dim=0)
        spectrum *= self._transfer(points)
        if len(self.sizes) == 2:
            spectrum = torch.fft.ifft(spectrum, dim=0)[: self.counts[0]]
        self.field = torch.fft.irfft(spectrum, n=self.sizes[-1], dim=-1)[..., : self.counts[-1]].reshape(-1)

    def read(self, points, taps=None):
        """Potential (m,) and its gradient (m, d) at ``points`` within the box."""
        index, weights, slopes = self._taps(points) if taps is None else taps
        values = self.field.index_select(0, index.view(-1)).view(index.shape)
        return (values * weights).sum(0), torch.stack([(values * slope).sum(0) for slope in slopes], 1)

    def _taps(self, points):
        """Flat indices (taps, m) of the nodes around each point, their weights, and the derivatives of these."""
        node = torch.arange(-1, N_TAPS - 1, device=points.device)[:, None]
        axes = []
        for a, (origin, values) in enumerate(zip(self.origin, points.T, strict=True)):
            position = (values - origin) / self.step
            floor = position.floor()
            t = position - floor
            stride = math.prod(self.counts[a + 1 :])
            axes.append(((floor.long() + node) * stride, _spline(t), _spline_slope(t) / self.step))
        if len(axes) == 1:
            index, weights, slopes = axes[0]
            return index, weights, [slopes]
        (i, u, du), (j, v, dv) = axes
        m = len(points)
        index = (i[:, None] + j[None]).view(-1, m)
        slopes = [(du[:, None] * v).view(-1, m), (u[:, None] * dv).view(-1, m)]
        return index, (u[:, None] * v).view(-1, m), slopes

    def _transfer(self, like):
        """Transform of the kernel, divided by what the spline does twice."""
        if self._kernel is None:
            squared = spline = torch.ones((), dtype=torch.float64, device=like.device)
            d = len(self.sizes)
            for a, size in enumerate(self.sizes):
                shape = [-1 if b == a else 1 for b in range(d)]
                nodes = torch.arange(size, dtype=torch.float64, device=like.device)
                offsets = torch.minimum(nodes, size - nodes) * self.step
                squared = squared + offsets.square().reshape(shape)
                frequencies = nodes if a < d - 1 else nodes[: size // 2 + 1]
                response = (2 + torch.cos(2 * math.pi * frequencies / size)) / 3
                spline = spline * response.reshape(shape)
            kernel = torch.fft.rfftn(1 / squared)
            self._kernel = (kernel.real / spline.square()).to(like.dtype)
        return self._kernel


def _spline(t):
    """Cubic B-spline at t + 1, t, t - 1, t - 2 for t in [0, 1): (4, m)."""
    s = 1 - t
    t2, s2 = t * t, s * s
    return torch.stack([s2 * s, 4 - 3 * t2 * (1 + s), 4 - 3 * s2 * (1 + t), t2 * t]) / 6


def _spline_slope(t):
    """Its derivative with respect to t."""
    s = 1 - t
    return torch.stack([-s * s, t * (3 * t - 4), s * (4 - 3 * s), t * t]) / 2
