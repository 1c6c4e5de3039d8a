"""Iterative reconstruction as estimators: SIRT, CGLS, total variation."""

from tomolearn._validation import check_choice, check_integer, check_real
from tomolearn.base import register
from tomolearn.reconstruction._iterations import IterativeReconstructor
from tomolearn.solvers import cgls, fista_tv, sirt, tv
from tomolearn.solvers.sirt import check_relaxation

__all__ = ["CGLSReconstructor", "SIRTReconstructor", "TVReconstructor"]

TV_SOLVERS = {"primal-dual": tv, "fista": fista_tv}


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
    relaxation : float, default=1.0
        Factor of each update, in (0, 2): below 1, subsets settle closer to the least-squares solution, and later.
    x0 : {"fbp"}, default=None
        Where to start. None: zeros; "fbp": filtered back-projection, set to zero where it is negative and
        ``nonnegative`` holds.
    nonnegative : bool, default=False
        Set negative values to zero after each update.
    tol : float, default=0.0
        Stop when the residual of every slice is below ``tol`` times the length of its data. ``fit`` counts the
        iterations that this takes on at most 32 slices spread evenly over ``X``; ``predict`` runs as many on every
        slice. 0: ``max_iter`` iterations, and ``fit`` solves nothing.
    noise_level : float, default=None
        Standard deviation of the noise in the line integrals: a slice is done when its residual is at most
        ``noise_level`` times the root of the number of its data, as that of the true image is (the discrepancy
        principle), after ``max_iter`` iterations at the latest. Not together with ``tol``.
    projector : {"direct", "fourier"}, default="direct"
        The pair of operators: `RadonOperator`, or `FourierRadonOperator`, many times faster for wide slices, on the
        processor only.
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
        Iterations that ``predict`` runs on every slice; with ``noise_level`` at most.
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
        relaxation=1.0,
        x0=None,
        nonnegative=False,
        tol=0.0,
        noise_level=None,
        projector="direct",
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
        self.relaxation = relaxation
        self.x0 = x0
        self.nonnegative = nonnegative
        self.tol = tol
        self.noise_level = noise_level
        self.projector = projector
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
        check_relaxation(self.relaxation)

    def _solve(self, A, y, *, max_iter, tol, callback):
        return sirt(
            A,
            y,
            max_iter=max_iter,
            n_subsets=self.n_subsets,
            relaxation=self.relaxation,
            x0=self.x0,
            nonnegative=self.nonnegative,
            tol=tol,
            noise_level=self.noise_level,
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
    x0 : {"fbp"}, default=None
        Where to start. None: zeros; "fbp": filtered back-projection, set to zero where it is negative and
        ``nonnegative`` holds.
    nonnegative : bool, default=False
        Keep the image >= 0.
    tol : float, default=0.0
        Stop when the residual of every slice is below ``tol`` times the length of its data. ``fit`` counts the
        iterations that this takes on at most 32 slices spread evenly over ``X``; ``predict`` runs as many on every
        slice. 0: ``max_iter`` iterations, and ``fit`` solves nothing.
    noise_level : float, default=None
        Standard deviation of the noise in the line integrals: a slice is done when its residual is at most
        ``noise_level`` times the root of the number of its data, as that of the true image is (the discrepancy
        principle), after ``max_iter`` iterations at the latest. Not together with ``tol``.
    projector : {"direct", "fourier"}, default="direct"
        The pair of operators: `RadonOperator`, or `FourierRadonOperator`, many times faster for wide slices, on the
        processor only.
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
        Iterations that ``predict`` runs on every slice; with ``noise_level`` at most.
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
        x0=None,
        nonnegative=False,
        tol=0.0,
        noise_level=None,
        projector="direct",
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
        self.x0 = x0
        self.nonnegative = nonnegative
        self.tol = tol
        self.noise_level = noise_level
        self.projector = projector
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
            x0=self.x0,
            nonnegative=self.nonnegative,
            tol=tol,
            noise_level=self.noise_level,
            callback=callback,
        )


@register
class TVReconstructor(IterativeReconstructor):
    """Reconstruction with total-variation regularisation, by a primal-dual algorithm or by FISTA.

    Minimises ``||y - A x||^2 / 2 + regularization TV(x)``, TV the sum of the lengths of the gradient: for few angles
    and objects made of pieces of one value each.

    Parameters
    ----------
    regularization : float, default=0.01
        Weight of TV; >= 0. In units of the data: noisier data need more.
    solver : {"primal-dual", "fista"}, default="primal-dual"
        `tomolearn.solvers.tv` or `tomolearn.solvers.fista_tv`: two ways to the same minimum. "fista" needs fewer
        iterations, each of them dearer: it gains where data are many and noisy, most from ``x0="fbp"``.
    max_iter : int, default=200
        Iterations.
    x0 : {"fbp"}, default=None
        Where to start. None: zeros; "fbp": filtered back-projection, set to zero where it is negative and
        ``nonnegative`` holds.
    nonnegative : bool, default=False
        Keep the image >= 0.
    tol : float, default=0.0
        Stop when an iteration changes every image by less than ``tol`` times its length. ``fit`` counts the iterations
        that this takes on at most 32 slices spread evenly over ``X``; ``predict`` runs as many on every slice. 0:
        ``max_iter`` iterations, and ``fit`` solves nothing.
    projector : {"direct", "fourier"}, default="direct"
        The pair of operators: `RadonOperator`, or `FourierRadonOperator`, many times faster for wide slices, on the
        processor only.
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
    J. Math. Imaging Vis. 40 (2011) 120, DOI 10.1007/s10851-010-0251-1. A. Beck and M. Teboulle, "A fast iterative
    shrinkage-thresholding algorithm for linear inverse problems", SIAM J. Imaging Sci. 2 (2009) 183,
    DOI 10.1137/080716542.

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

    def __init__(
        self,
        *,
        regularization=0.01,
        solver="primal-dual",
        max_iter=200,
        x0=None,
        nonnegative=False,
        tol=0.0,
        projector="direct",
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
        self.solver = solver
        self.max_iter = max_iter
        self.x0 = x0
        self.nonnegative = nonnegative
        self.tol = tol
        self.projector = projector
        self.angles = angles
        self.angle_unit = angle_unit
        self.center = center
        self.detector_spacing = detector_spacing
        self.image_shape = image_shape
        self.sinogram_shape = sinogram_shape
        self.device = device
        self.verbose = verbose

    @property
    def working_copies(self):
        """Copies of its sinogram and of its image that a slice needs at the same time, dual variables included."""
        return (5, 10) if self.solver == "primal-dual" else (4, 16)

    def _check_options(self):
        check_real(self.regularization, "regularization", low=0)
        check_choice(self.solver, "solver", tuple(TV_SOLVERS))

    def _solve(self, A, y, *, max_iter, tol, callback):
        return TV_SOLVERS[self.solver](
            A,
            y,
            max_iter=max_iter,
            regularization=self.regularization,
            x0=self.x0,
            nonnegative=self.nonnegative,
            tol=tol,
            callback=callback,
        )
