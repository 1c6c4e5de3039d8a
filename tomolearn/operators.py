"""Linear operators as objects: ``A(x)``, ``A.T(y)``, shapes, norm. What the solvers are written in."""

from collections.abc import Callable
from typing import Self

import numpy as np
import torch

from tomolearn._validation import as_tensor, check_shape
from tomolearn.exceptions import GeometryError
from tomolearn.geometry import ParallelBeam, check_center
from tomolearn.ops._register import check_device, operators
from tomolearn.ops.fourier import fourier_plan, transform_length

__all__ = ["FourierRadonOperator", "GradientOperator", "LinearOperator", "RadonOperator"]


class LinearOperator:
    """A linear map from images of `domain_shape` to data of `range_shape`, with its exact transpose.

    Subclasses define ``_forward`` and ``_adjoint`` on float32 or float64 tensors with a leading axis of slices, each
    the exact transpose of the other and differentiable.

    Parameters
    ----------
    domain_shape, range_shape : tuple of int
        Of one slice, without the leading axis.

    Attributes
    ----------
    T : LinearOperator
        The transpose; ``A.T.T`` is ``A``.

    Examples
    --------
    >>> import numpy as np
    >>> from tomolearn.operators import GradientOperator
    >>> gradient = GradientOperator((2, 2))
    >>> gradient(np.array([[0.0, 1.0], [3.0, 3.0]])).tolist()
    [[[3.0, 2.0], [0.0, 0.0]], [[1.0, 0.0], [0.0, 0.0]]]
    """

    smallest_sum = 1e-6  # of a row or column, as a part of the largest, that is taken for more than rounding
    _forward: Callable  # of tensors (n, *domain_shape)
    _adjoint: Callable  # of tensors (n, *range_shape)

    def __init__(self, domain_shape, range_shape):
        self.domain_shape = tuple(domain_shape)
        self.range_shape = tuple(range_shape)

    def __call__(self, x):
        """Apply to one slice or a stack (n, *domain_shape); arrays give arrays, tensors give tensors."""
        return _apply(self._forward, x, self.domain_shape, type(self).__name__)

    @property
    def T(self):
        """The transpose, as an operator."""
        return _Transpose(self)

    def norm(self, n_iter: int = 30) -> float:
        """Largest singular value, by power iteration from a fixed random start.

        Parameters
        ----------
        n_iter : int, default=30
            Iterations; the value approaches the norm from below.

        Returns
        -------
        float

        References
        ----------
        G. H. Golub and C. F. Van Loan, Matrix Computations, 4th ed. (2013), section 7.3.
        """
        return float(self._slice_norms(n_iter).max())

    def _slice_norms(self, n_iter: int = 30, n_slices: int = 1, device="cpu") -> torch.Tensor:
        """Norms of operators that differ by slice, float64 (n_slices,), found on a device."""
        # Drawn by the processor: the same start on every device.
        start = torch.rand((1, *self.domain_shape), generator=torch.Generator().manual_seed(0)).to(device)
        x = start.expand(n_slices, *self.domain_shape)
        value = torch.zeros(n_slices, dtype=torch.float64, device=device)
        for _ in range(n_iter):
            length = torch.linalg.vector_norm(x.flatten(1), dim=1).view(-1, *[1] * len(self.domain_shape))
            x = self._adjoint(self._forward(torch.where(length > 0, x / length, 0)))
            value = torch.linalg.vector_norm(x.flatten(1), dim=1, dtype=torch.float64).sqrt()
        return value


class _Transpose(LinearOperator):
    def __init__(self, operator):
        super().__init__(operator.range_shape, operator.domain_shape)
        self._operator = operator
        self._forward = operator._adjoint
        self._adjoint = operator._forward

    @property
    def T(self):
        return self._operator

    def __call__(self, y):
        return _apply(self._forward, y, self.domain_shape, f"the transpose of {type(self._operator).__name__}")

    def __repr__(self):
        return f"{self._operator!r}.T"


class RadonOperator(LinearOperator):
    """Projection of images along the rays of a parallel-beam scan; line integrals in units of ``pixel_size``.

    Parameters
    ----------
    geometry : ParallelBeam

    Attributes
    ----------
    geometry : ParallelBeam
    angles : Tensor of shape (n_angles,), float64
    center : Tensor of shape (1, n_angles) or (n_slices, n_angles), float64

    Raises
    ------
    TypeError
        If ``geometry`` is not a `ParallelBeam`.

    Examples
    --------
    >>> import numpy as np
    >>> from tomolearn.geometry import ParallelBeam
    >>> from tomolearn.operators import RadonOperator
    >>> A = RadonOperator(ParallelBeam([0, 90], 4, angle_unit="deg"))
    >>> A(np.ones((4, 4))).tolist()
    [[4.0, 4.0, 4.0, 4.0], [4.0, 4.0, 4.0, 4.0]]
    >>> A.T(np.ones((2, 4)))[0].tolist()
    [2.0, 2.0, 2.0, 2.0]
    """

    def __init__(self, geometry: ParallelBeam):
        if not isinstance(geometry, ParallelBeam):
            raise TypeError(f"geometry must be a ParallelBeam; got {type(geometry).__name__}.")
        super().__init__(geometry.image_shape, (geometry.n_angles, geometry.n_detectors))
        self.geometry = geometry
        self.angles = torch.tensor(geometry.angles, dtype=torch.float64)
        self.center = torch.from_numpy(check_center(geometry.center, geometry.n_angles, geometry.n_detectors))

    def _forward(self, x):
        g = self.geometry
        return self._scaled(operators().radon(x, *self._rays(x), g.n_detectors))

    def _adjoint(self, y):
        return self._scaled(operators().radon_adjoint(y, *self._rays(y), *self.domain_shape))

    def backproject(self, y: torch.Tensor) -> torch.Tensor:
        """Pixel-driven back-projection of tensors (n, n_angles, n_detectors), as filtered back-projection wants it."""
        return operators().backproject(y, *self._rays(y), *self.domain_shape)

    def _slice_norms(self, n_iter=30, n_slices=None, device="cpu"):
        return super()._slice_norms(n_iter, self.center.shape[0] if n_slices is None else n_slices, device)

    def _rays(self, stack):
        check_device(stack)
        if self.center.shape[0] not in (1, stack.shape[0]):
            raise GeometryError(f"center is given for {self.center.shape[0]} slices; got a stack of {stack.shape[0]}.")
        return self.angles, self.center, self.geometry.detector_spacing

    def _scaled(self, result):
        return result if self.geometry.pixel_size == 1 else result * self.geometry.pixel_size

    def subset(self, index) -> Self:
        """The operator of some of the angles.

        Parameters
        ----------
        index : array-like of int
            Which of the angles, in the order wanted.
        """
        part = object.__new__(type(self))
        index = torch.as_tensor(np.asarray(index))
        LinearOperator.__init__(part, self.domain_shape, (len(index), self.range_shape[1]))
        part.geometry = self.geometry
        part.angles, part.center = self.angles[index].contiguous(), self.center[:, index].contiguous()
        return part

    def slices(self, start: int, stop: int) -> Self:
        """The operator of the slices ``start`` to ``stop``: itself, unless each slice has a centre of its own."""
        if self.center.shape[0] == 1:
            return self
        part = object.__new__(type(self))
        part.__dict__.update(self.__dict__)
        part.center = self.center[start:stop].contiguous()
        return part

    def __repr__(self):
        return f"{type(self).__name__}({self.geometry!r})"


class FourierRadonOperator(RadonOperator):
    """`RadonOperator` by way of frequencies: O(n^2 log n) instead of O(n^3), on the processor.

    A pixel counts as the hat over its neighbours that linear interpolation between pixels gives it, as far as the
    detector resolves it. So both operators agree for images without detail near the limit of their resolution, and
    solvers give the same images to about 1 % of their range. ``A`` and ``A.T`` are exact transposes here, too.

    Parameters
    ----------
    geometry : ParallelBeam
    kernel_width : {4, 5, 8}, default=4
        Cells of the gridding kernel: relative errors of about 1e-4, 2e-5 and 1e-6.

    Attributes
    ----------
    geometry : ParallelBeam
    angles : Tensor of shape (n_angles,), float64
    center : Tensor of shape (1, n_angles) or (n_slices, n_angles), float64
    kernel_width : int

    Raises
    ------
    TypeError
        If ``geometry`` is not a `ParallelBeam`.
    ValueError
        If there is no kernel of that width.
    ExtensionError
        If it is applied to data that are not on the processor.

    See Also
    --------
    tomolearn.ops.fourier.fourier_plan : The tables that it uses, and the sources.

    Examples
    --------
    >>> import numpy as np
    >>> from tomolearn.geometry import ParallelBeam, default_angles
    >>> from tomolearn.operators import FourierRadonOperator
    >>> A = FourierRadonOperator(ParallelBeam(default_angles(20), 32))
    >>> disc = (np.hypot(*np.mgrid[-15.5:16, -15.5:16]) < 8).astype(float)
    >>> A(disc).sum(axis=1).round(1).tolist() == [disc.sum()] * 20
    True
    """

    smallest_sum = 0.05  # rays that miss the image ring a little, as what is limited in its band does

    def __init__(self, geometry: ParallelBeam, kernel_width: int = 4):
        super().__init__(geometry)
        self.kernel_width = kernel_width
        self._make_plan()

    def _make_plan(self):
        g = self.geometry
        angles, spacing = self.angles.numpy(), g.detector_spacing
        n_fft = transform_length(angles, g.n_detectors, g.image_shape, spacing, self.center.numpy())
        frequency = np.arange(n_fft // 2 + 1) / (n_fft * spacing)  # cycles per pixel
        self._plan = fourier_plan(
            angles,
            g.n_detectors,
            g.image_shape,
            detector_spacing=spacing,
            n_fft=n_fft,
            response=np.sinc(frequency) ** 2 / spacing,
            kernel_width=self.kernel_width,
        )

    def _forward(self, x):
        return self._scaled(self._plan.project(x, self._rays(x)[1]))

    def _adjoint(self, y):
        return self._scaled(self._plan.adjoint(y, self._rays(y)[1]))

    def subset(self, index) -> Self:
        """The operator of some of the angles.

        Parameters
        ----------
        index : array-like of int
            Which of the angles, in the order wanted.
        """
        part = super().subset(index)
        part.kernel_width = self.kernel_width
        part._make_plan()
        return part

    def __repr__(self):
        width = f", kernel_width={self.kernel_width}" if self.kernel_width != 4 else ""
        return f"FourierRadonOperator({self.geometry!r}{width})"


class GradientOperator(LinearOperator):
    """Differences to the next row and the next column, zero at the last ones (reflecting ends).

    Parameters
    ----------
    image_shape : tuple of two int

    Raises
    ------
    ValueError
        If ``image_shape`` is not two positive integers.

    References
    ----------
    A. Chambolle, "An algorithm for total variation minimization and applications", J. Math. Imaging Vis. 20 (2004) 89,
    DOI 10.1023/B:JMIV.0000011325.36760.1e.

    Examples
    --------
    >>> import numpy as np
    >>> from tomolearn.operators import GradientOperator
    >>> GradientOperator((2, 3))(np.arange(6.0).reshape(2, 3)).tolist()
    [[[3.0, 3.0, 3.0], [0.0, 0.0, 0.0]], [[1.0, 1.0, 0.0], [1.0, 1.0, 0.0]]]
    """

    def __init__(self, image_shape):
        image_shape = check_shape(image_shape, "image_shape", 2)
        super().__init__(image_shape, (2, *image_shape))

    def _forward(self, x):
        g = x.new_zeros(x.shape[0], *self.range_shape)
        g[:, 0, :-1] = x[:, 1:] - x[:, :-1]
        g[:, 1, :, :-1] = x[:, :, 1:] - x[:, :, :-1]
        return g

    def _adjoint(self, y):
        x = y.new_zeros(y.shape[0], *self.domain_shape)
        x[:, :-1] -= y[:, 0, :-1]
        x[:, 1:] += y[:, 0, :-1]
        x[:, :, :-1] -= y[:, 1, :, :-1]
        x[:, :, 1:] += y[:, 1, :, :-1]
        return x

    def norm(self, n_iter: int = 30) -> float:
        """Upper bound sqrt(8) of the largest singular value, tight for large images; ``n_iter`` is not needed."""
        return 8.0**0.5

    def __repr__(self):
        return f"GradientOperator({self.domain_shape})"


def _apply(function, x, shape, name):
    tensor, restore = as_tensor(x, f"the argument of {name}", ndim=(len(shape), len(shape) + 1))
    if tuple(tensor.shape[-len(shape) :]) != tuple(shape):
        raise ValueError(
            f"the argument of {name} must have shape {shape} or (n, {', '.join(map(str, shape))}); "
            f"got {tuple(tensor.shape)}."
        )
    if tensor.ndim == len(shape):
        return restore(function(tensor[None])[0])
    return restore(function(tensor))
