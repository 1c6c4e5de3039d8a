"""Iterative reconstruction as estimators: SIRT, CGLS, total variation."""

import warnings
from dataclasses import replace

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from tomolearn._validation import check_integer, check_real
from tomolearn.base import BLOCK, register
from tomolearn.operators import RadonOperator
from tomolearn.reconstruction.classical import ClassicalReconstructor
from tomolearn.solvers import cgls, sirt, tv

__all__ = ["CGLSReconstructor", "SIRTReconstructor", "TVReconstructor"]


class IterativeReconstructor(ClassicalReconstructor):
    """A reconstructor that iterates; a subclass defines `_solve` and may add to `_check_options`.

    Every slice gets the same number of iterations, ``n_iter_``. Left to itself, a stopping rule ends when all the
    slices solved together satisfy it, so that an image would depend on which other slices it happened to come with.
    """

    def _check_parameters(self):
        check_integer(self.max_iter, "max_iter", low=1)
        check_real(self.tol, "tol", low=0)
        if not isinstance(self.nonnegative, bool | np.bool_):
            raise TypeError(f"nonnegative must be True or False; got {self.nonnegative!r}.")
        self._check_options()

    def _fit_parameters(self, X):
        max_iter, tol = int(self.max_iter), float(self.tol)
        self.n_iter_ = max_iter if tol == 0 else self._count_iterations(X, max_iter, tol)

    def _set_model_state(self, state, tensors, name):
        super()._set_model_state(state, tensors, name)
        check_integer(state.get("n_iter_"), "n_iter_", low=1, high=self.max_iter)

    def _check_options(self):
        """Check the parameters that this method alone has."""

    def _count_iterations(self, X, max_iter, tol):
        """Iterations until slices spread evenly over ``X``, one block at most, satisfy the stopping rule."""
        chosen = np.unique(np.linspace(0, len(X) - 1, min(len(X), BLOCK)).round().astype(int))
        geometry = self.geometry_
        if np.ndim(self.center_):
            geometry = replace(geometry, center=self.center_[chosen, None], angle_unit="rad")
        self._check_budget(len(chosen), X.dtype.itemsize)
        count = 0

        def callback(k, x, residual):
            nonlocal count
            count = k

        y = self._block(X, chosen).to(self._devices()[0])
        self._solve(RadonOperator(geometry), y, max_iter=max_iter, tol=tol, callback=callback)
        if count == max_iter:
            warnings.warn(
                f"{type(self).__name__} used all max_iter={max_iter} iterations; raise max_iter or tol={tol:g}.",
                ConvergenceWarning,
                stacklevel=4,
            )
        return count

    def _n_steps(self):
        return self.n_iter_

    def _reconstruct(self, A, y, step):
        def callback(k, x, residual):
            step()

        return self._solve(A, y, max_iter=self.n_iter_, tol=0.0, callback=callback)

    def _solve(self, A, y, *, max_iter, tol, callback):
        """Images of the tensors ``y`` by one function of `tomolearn.solvers`."""
        raise NotImplementedError


@register
class SIRTReconstructor(IterativeReconstructor):
    """Simultaneous iterative reconstruction (SIRT), with ordered subsets.

    Smooth after few iterations, sharper and noisier after many: ``max_iter`` regularises.

    Parameters
    ----------
    max_iter : int, default=100
        Passes over all the data.
    n_subsets : int, default=1
        Interleaved subsets of the angles, each with an update of its own: about as many times faster, and no longer
        convergent to a least-squares solution on noisy data. At most the number of angles.
    nonnegative : bool, default=False
        Set negative values to zero after each update.
    tol : float, default=0.0
        Stop when the residual of every slice is below ``tol`` times the length of its data. ``fit`` counts the
        iterations that this takes on at most 32 slices spread evenly over ``X``; ``predict`` runs as many on every
        slice. 0: ``max_iter`` iterations, and ``fit`` solves nothing.
    angles : array-like of shape (n_angles,), default=None
        In any order and spacing. None: equally spaced over half a turn, ``linspace(0, pi, n_angles, endpoint=False)``.
    angle_unit : {"rad", "deg", None}, default=None
        Unit of ``angles``; None means radians and is refused for values that look like degrees.
    center : float, array-like of shape (n,), or {"vo", "phase", "entropy"}, default=None
        Detector coordinate of the rotation axis, for all slices or one per slice of ``X``. None: the middle,
        ``(n_detectors - 1) / 2``. A name: found in ``fit`` by `tomolearn.preprocessing.find_center`.
    detector_spacing : float, default=1.0
        Width of a detector bin in pixels of the image.
    image_shape : tuple of two int, default=None
        Rows and columns of an image. None: ``(n_detectors, n_detectors)``.
    sinogram_shape : tuple of two int, default=None
        Angles and detectors of a sinogram, needed for flat ``X`` only. None: a flat row is a sinogram of one angle.
    device : str, default="cpu"
        Where images are computed: "cpu", "cuda", "cuda:1", ..., or "auto", a CUDA device where there is one that the
        operators were built for. Of several, as "cuda:0,cuda:1", each takes slabs of the slices in turn.
    verbose : int, default=0
        1: a progress bar, on a terminal or in a notebook.

    Attributes
    ----------
    n_iter_ : int
        Iterations that ``predict`` runs on every slice.
    geometry_ : ParallelBeam
        The scan.
    angles_ : ndarray of shape (n_angles,), float64
        In radians.
    center_ : float or ndarray of shape (n,)
        The centre that is used.
    sinogram_shape_, image_shape_ : tuple of two int
    n_features_in_ : int
        ``n_angles * n_detectors``.
    feature_names_in_ : ndarray of str
        Column names; only if ``X`` was a data frame.

    References
    ----------
    J. Gregor and T. Benson, "Computational analysis and improvement of SIRT", IEEE Trans. Med. Imaging 27 (2008) 918,
    DOI 10.1109/TMI.2008.923696.

    Examples
    --------
    >>> import numpy as np
    >>> from tomolearn import SIRTReconstructor, radon
    >>> from tomolearn.geometry import default_angles
    >>> image = np.zeros((1, 16, 16))
    >>> image[0, 5:9, 6:12] = 1
    >>> sinograms = radon(image, default_angles(30))
    >>> images = SIRTReconstructor(max_iter=300).fit_transform(sinograms)
    >>> bool(np.abs(images - image).mean() < 0.05)
    True
    """

    def __init__(
        self,
        *,
        max_iter=100,
        n_subsets=1,
        nonnegative=False,
        tol=0.0,
        angles=None,
        angle_unit=None,
        center=None,
        detector_spacing=1.0,
        image_shape=None,
        sinogram_shape=None,
        device="cpu",
        verbose=0,
    ):
        self.max_iter = max_iter
        self.n_subsets = n_subsets
        self.nonnegative = nonnegative
        self.tol = tol
        self.angles = angles
        self.angle_unit = angle_unit
        self.center = center
        self.detector_spacing = detector_spacing
        self.image_shape = image_shape
        self.sinogram_shape = sinogram_shape
        self.device = device
        self.verbose = verbose

    def _check_options(self):
        check_integer(self.n_subsets, "n_subsets", low=1, high=self.sinogram_shape_[0])

    def _solve(self, A, y, *, max_iter, tol, callback):
        return sirt(
            A,
            y,
            max_iter=max_iter,
            n_subsets=self.n_subsets,
            nonnegative=self.nonnegative,
            tol=tol,
            callback=callback,
        )


@register
class CGLSReconstructor(IterativeReconstructor):
    """Conjugate gradients for least squares (CGLS), with Tikhonov regularisation.

    The fastest of the iterative methods per step towards the data; on noisy data few iterations or a positive
    ``regularization`` keep the noise out.

    Parameters
    ----------
    max_iter : int, default=20
        Iterations.
    regularization : float, default=0.0
        Weight of the Tikhonov term ``||x||^2 / 2`` beside the data term ``||y - A x||^2 / 2``; >= 0.
    nonnegative : bool, default=False
        Keep the image >= 0.
    tol : float, default=0.0
        Stop when the residual of every slice is below ``tol`` times the length of its data. ``fit`` counts the
        iterations that this takes on at most 32 slices spread evenly over ``X``; ``predict`` runs as many on every
        slice. 0: ``max_iter`` iterations, and ``fit`` solves nothing.
    angles : array-like of shape (n_angles,), default=None
        In any order and spacing. None: equally spaced over half a turn, ``linspace(0, pi, n_angles, endpoint=False)``.
    angle_unit : {"rad", "deg", None}, default=None
        Unit of ``angles``; None means radians and is refused for values that look like degrees.
    center : float, array-like of shape (n,), or {"vo", "phase", "entropy"}, default=None
        Detector coordinate of the rotation axis, for all slices or one per slice of ``X``. None: the middle,
        ``(n_detectors - 1) / 2``. A name: found in ``fit`` by `tomolearn.preprocessing.find_center`.
    detector_spacing : float, default=1.0
        Width of a detector bin in pixels of the image.
    image_shape : tuple of two int, default=None
        Rows and columns of an image. None: ``(n_detectors, n_detectors)``.
    sinogram_shape : tuple of two int, default=None
        Angles and detectors of a sinogram, needed for flat ``X`` only. None: a flat row is a sinogram of one angle.
    device : str, default="cpu"
        Where images are computed: "cpu", "cuda", "cuda:1", ..., or "auto", a CUDA device where there is one that the
        operators were built for. Of several, as "cuda:0,cuda:1", each takes slabs of the slices in turn.
    verbose : int, default=0
        1: a progress bar, on a terminal or in a notebook.

    Attributes
    ----------
    n_iter_ : int
        Iterations that ``predict`` runs on every slice.
    geometry_ : ParallelBeam
        The scan.
    angles_ : ndarray of shape (n_angles,), float64
        In radians.
    center_ : float or ndarray of shape (n,)
        The centre that is used.
    sinogram_shape_, image_shape_ : tuple of two int
    n_features_in_ : int
        ``n_angles * n_detectors``.
    feature_names_in_ : ndarray of str
        Column names; only if ``X`` was a data frame.

    References
    ----------
    A. Bjorck, Numerical Methods for Least Squares Problems (1996), section 7.4, DOI 10.1137/1.9781611971484.

    Examples
    --------
    >>> import numpy as np
    >>> from tomolearn import CGLSReconstructor, radon
    >>> from tomolearn.geometry import default_angles
    >>> image = np.zeros((1, 16, 16))
    >>> image[0, 5:9, 6:12] = 1
    >>> sinograms = radon(image, default_angles(30))
    >>> images = CGLSReconstructor(max_iter=100).fit_transform(sinograms)
    >>> bool(np.abs(images - image).mean() < 0.01)
    True
    """

    working_copies = (4, 5)

    def __init__(
        self,
        *,
        max_iter=20,
        regularization=0.0,
        nonnegative=False,
        tol=0.0,
        angles=None,
        angle_unit=None,
        center=None,
        detector_spacing=1.0,
        image_shape=None,
        sinogram_shape=None,
        device="cpu",
        verbose=0,
    ):
        self.max_iter = max_iter
        self.regularization = regularization
        self.nonnegative = nonnegative
        self.tol = tol
        self.angles = angles
        self.angle_unit = angle_unit
        self.center = center
        self.detector_spacing = detector_spacing
        self.image_shape = image_shape
        self.sinogram_shape = sinogram_shape
        self.device = device
        self.verbose = verbose

    def _check_options(self):
        check_real(self.regularization, "regularization", low=0)

    def _solve(self, A, y, *, max_iter, tol, callback):
        return cgls(
            A,
            y,
            max_iter=max_iter,
            regularization=self.regularization,
            nonnegative=self.nonnegative,
            tol=tol,
            callback=callback,
        )


@register
class TVReconstructor(IterativeReconstructor):
    """Reconstruction with total-variation regularisation, by the primal-dual algorithm of Chambolle and Pock.

    Minimises ``||y - A x||^2 / 2 + regularization TV(x)``, TV the sum of the lengths of the gradient: for few angles
    and objects made of pieces of one value each.

    Parameters
    ----------
    regularization : float, default=0.01
        Weight of TV; >= 0. In units of the data: noisier data need more.
    max_iter : int, default=200
        Iterations.
    nonnegative : bool, default=False
        Keep the image >= 0.
    tol : float, default=0.0
        Stop when an iteration changes every image by less than ``tol`` times its length. ``fit`` counts the iterations
        that this takes on at most 32 slices spread evenly over ``X``; ``predict`` runs as many on every slice. 0:
        ``max_iter`` iterations, and ``fit`` solves nothing.
    angles : array-like of shape (n_angles,), default=None
        In any order and spacing. None: equally spaced over half a turn, ``linspace(0, pi, n_angles, endpoint=False)``.
    angle_unit : {"rad", "deg", None}, default=None
        Unit of ``angles``; None means radians and is refused for values that look like degrees.
    center : float, array-like of shape (n,), or {"vo", "phase", "entropy"}, default=None
        Detector coordinate of the rotation axis, for all slices or one per slice of ``X``. None: the middle,
        ``(n_detectors - 1) / 2``. A name: found in ``fit`` by `tomolearn.preprocessing.find_center`.
    detector_spacing : float, default=1.0
        Width of a detector bin in pixels of the image.
    image_shape : tuple of two int, default=None
        Rows and columns of an image. None: ``(n_detectors, n_detectors)``.
    sinogram_shape : tuple of two int, default=None
        Angles and detectors of a sinogram, needed for flat ``X`` only. None: a flat row is a sinogram of one angle.
    device : str, default="cpu"
        Where images are computed: "cpu", "cuda", "cuda:1", ..., or "auto", a CUDA device where there is one that the
        operators were built for. Of several, as "cuda:0,cuda:1", each takes slabs of the slices in turn.
    verbose : int, default=0
        1: a progress bar, on a terminal or in a notebook.

    Attributes
    ----------
    n_iter_ : int
        Iterations that ``predict`` runs on every slice.
    geometry_ : ParallelBeam
        The scan.
    angles_ : ndarray of shape (n_angles,), float64
        In radians.
    center_ : float or ndarray of shape (n,)
        The centre that is used.
    sinogram_shape_, image_shape_ : tuple of two int
    n_features_in_ : int
        ``n_angles * n_detectors``.
    feature_names_in_ : ndarray of str
        Column names; only if ``X`` was a data frame.

    References
    ----------
    A. Chambolle and T. Pock, "A first-order primal-dual algorithm for convex problems with applications to imaging",
    J. Math. Imaging Vis. 40 (2011) 120, DOI 10.1007/s10851-010-0251-1.

    Examples
    --------
    >>> import numpy as np
    >>> from tomolearn import TVReconstructor, radon
    >>> from tomolearn.geometry import default_angles
    >>> image = np.zeros((1, 16, 16))
    >>> image[0, 5:9, 6:12] = 1
    >>> sinograms = radon(image, default_angles(8))
    >>> images = TVReconstructor(max_iter=500).fit_transform(sinograms)
    >>> bool(np.abs(images - image).mean() < 0.05)
    True
    """

    working_copies = (5, 8)  # of the data and of the image with their dual variables

    def __init__(
        self,
        *,
        regularization=0.01,
        max_iter=200,
        nonnegative=False,
        tol=0.0,
        angles=None,
        angle_unit=None,
        center=None,
        detector_spacing=1.0,
        image_shape=None,
        sinogram_shape=None,
        device="cpu",
        verbose=0,
    ):
        self.regularization = regularization
        self.max_iter = max_iter
        self.nonnegative = nonnegative
        self.tol = tol
        self.angles = angles
        self.angle_unit = angle_unit
        self.center = center
        self.detector_spacing = detector_spacing
        self.image_shape = image_shape
        self.sinogram_shape = sinogram_shape
        self.device = device
        self.verbose = verbose

    def _check_options(self):
        check_real(self.regularization, "regularization", low=0)

    def _solve(self, A, y, *, max_iter, tol, callback):
        return tv(
            A,
            y,
            max_iter=max_iter,
            regularization=self.regularization,
            nonnegative=self.nonnegative,
            tol=tol,
            callback=callback,
        )
