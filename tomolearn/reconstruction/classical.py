"""Filtered back-projection as an estimator, and what the reconstructors without training share."""

from sklearn.base import BaseEstimator

from tomolearn._validation import check_choice
from tomolearn.base import ScanReconstructor, fitted_shape, register
from tomolearn.ops.filters import padded_length, ramp_filter
from tomolearn.preprocessing import find_center
from tomolearn.preprocessing._views import telling_rows, tried_rows
from tomolearn.solvers.fbp import METHODS, fbp
from tomolearn.streaming import VolumePrediction
from tomolearn.training.hardware import find_projecting_devices, named_device

__all__ = ["FBPReconstructor"]

CENTER_METHODS = ("vo", "phase", "entropy")


class ClassicalReconstructor(VolumePrediction, ScanReconstructor, BaseEstimator):
    """A reconstructor that learns nothing but the scan; a subclass says how to check its parameters and solve."""

    def fit(self, X, y=None):
        """Check the parameters and learn the geometry of the scan.

        Parameters
        ----------
        X : array-like of shape (n, n_angles, n_detectors) or (n, n_angles * n_detectors)
            Sinograms, one per slice: line integrals in pixel lengths. Real numbers of any dtype, byte order and stride.
        y : ignored
            Images may stand here, for pipelines and searches.

        Returns
        -------
        self

        Raises
        ------
        GeometryError
            If angles or centre do not make a scan of the shape of ``X``.
        ValueError, TypeError
            If ``X`` is not finite or of a wrong shape, or a parameter is out of its range.
        """
        self._devices()  # for its checks
        X = self._fit_geometry(X)
        self._check_parameters()
        self._fit_parameters(X)
        return self

    def _devices(self):
        return find_projecting_devices(self.device)

    def _check_processor(self, name):
        """Raise where the parameter ``name`` asks for the Fourier method on another device than the processor."""
        if getattr(self, name) == "fourier" and any(device.type != "cpu" for device in self._devices()):
            raise ValueError(f"{name}='fourier' needs device='cpu'; got {self.device!r}. Take {name}='direct' there.")

    def _check_parameters(self):
        """Raise where a parameter of the method is out of its range."""

    def _fit_parameters(self, X):
        """What the method learns of ``X`` beside the scan."""

    def _set_model_state(self, state, tensors, name):
        fitted_shape(state, "sinogram_shape_", name)
        self._check_scan_state(state, name)
        named_device(self.device)  # for its checks; it need not be there to read a file
        super()._set_model_state(state, tensors, name)
        self._check_parameters()

    def _learn_center(self, X, angles):
        if not isinstance(self.center, str):
            return self._check_center()
        check_choice(self.center, "center", CENTER_METHODS)
        tried = self._block(X, tried_rows(len(X))).numpy()
        return float(find_center(tried[telling_rows(tried)], angles, method=self.center, angle_unit="rad"))


@register
class FBPReconstructor(ClassicalReconstructor):
    """Filtered back-projection.

    Angles may be unsorted, repeated and unevenly spaced: each projection counts for its share of the half turn.

    Parameters
    ----------
    filter : str or array-like, default="ram-lak"
        "ram-lak", "shepp-logan", "cosine", "hamming", "hann", "parzen", "butterworth", "none", the names that ASTRA,
        TomoPy and scikit-image use for them, or a frequency response (see `tomolearn.ops.filters.ramp_filter`).
    cutoff : float, default=1.0
        Frequency, as a part of the Nyquist frequency, above which the filter is zero; in (0, 1].
    padding : {"zero", "edge"}, default="zero"
        What the projections are taken to be beyond the detector: "edge" for objects wider than it.
    method : {"auto", "direct", "fourier"}, default="auto"
        "direct" back-projects by linear interpolation, O(n^3); "fourier" by way of a grid of frequencies,
        O(n^2 log n), on the processor only. "auto" takes the faster one, see `tomolearn.solvers.fbp`.
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
    A. C. Kak and M. Slaney, Principles of Computerized Tomographic Imaging (1988), chapter 3.

    Examples
    --------
    >>> import numpy as np
    >>> from tomolearn import FBPReconstructor, radon
    >>> disc = (np.hypot(*np.mgrid[-31.5:32, -31.5:32]) < 20).astype(np.float32)
    >>> angles = np.arange(0, 180, 1.8)
    >>> sinograms = radon(disc[None], angles, angle_unit="deg")
    >>> images = FBPReconstructor(angles=angles, angle_unit="deg").fit(sinograms).predict(sinograms)
    >>> images.shape, images.dtype, bool(abs(images[0, 28:36, 28:36].mean() - 1) < 0.01)
    ((1, 64, 64), dtype('float32'), True)
    """

    working_copies = (3, 3)

    def __init__(
        self,
        *,
        filter="ram-lak",
        cutoff=1.0,
        padding="zero",
        method="auto",
        angles=None,
        angle_unit=None,
        center=None,
        detector_spacing=1.0,
        image_shape=None,
        sinogram_shape=None,
        device="cpu",
        verbose=0,
    ):
        self.filter = filter
        self.cutoff = cutoff
        self.padding = padding
        self.method = method
        self.angles = angles
        self.angle_unit = angle_unit
        self.center = center
        self.detector_spacing = detector_spacing
        self.image_shape = image_shape
        self.sinogram_shape = sinogram_shape
        self.device = device
        self.verbose = verbose

    def _check_parameters(self):
        n_fft = padded_length(self.sinogram_shape_[1])
        ramp_filter(n_fft, self.filter, cutoff=self.cutoff, detector_spacing=self.detector_spacing)  # for its checks
        check_choice(self.padding, "padding", ("zero", "edge"))
        check_choice(self.method, "method", METHODS)
        self._check_processor("method")

    def _reconstruct(self, A, y, step):
        images = fbp(A, y, filter=self.filter, cutoff=self.cutoff, padding=self.padding, method=self.method)
        step()
        return images
