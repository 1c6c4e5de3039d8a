"""The contract of the estimators: what scikit-learn asks of them, and what stacks of images add to it."""

import os
import warnings

import numpy as np
import torch
from scipy import sparse
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_array, check_is_fitted, validate_data
from tqdm.auto import tqdm

from tomolearn._validation import as_tensor, check_finite, check_integer, check_shape
from tomolearn.exceptions import GeometryError, MemoryBudgetError
from tomolearn.geometry import ParallelBeam, as_radians, default_angles
from tomolearn.operators import RadonOperator

__all__ = ["Reconstructor", "available_memory", "check_memory", "register", "registry"]

BLOCK = 32  # slices reconstructed at a time: one pack of the operators, and little memory beside input and output

_REGISTRY = {}


def register(estimator):
    """Enter a public estimator into the registry: a class decorator.

    Parameters
    ----------
    estimator : type
        The class; its name is the key.

    Returns
    -------
    type
        ``estimator`` itself.

    Raises
    ------
    ValueError
        If another class has entered under that name.

    Examples
    --------
    >>> from tomolearn.base import registry
    >>> from tomolearn.reconstruction import FBPReconstructor
    >>> registry()["FBPReconstructor"] is FBPReconstructor
    True
    """
    known = _REGISTRY.setdefault(estimator.__name__, estimator)
    # A reloaded module enters anew; the same name from elsewhere would make a model file mean two things.
    if (known.__module__, known.__qualname__) != (estimator.__module__, estimator.__qualname__):
        raise ValueError(
            f"{estimator.__name__} is the name of {known.__module__}.{known.__qualname__}; choose another."
        )
    _REGISTRY[estimator.__name__] = estimator
    return estimator


def registry() -> dict[str, type]:
    """Every public estimator of the rooms imported so far, by class name.

    Returns
    -------
    dict of str to type
        A copy, in the order of entry.

    Examples
    --------
    >>> import tomolearn.reconstruction
    >>> from tomolearn.base import registry
    >>> "SIRTReconstructor" in registry()
    True
    """
    return dict(_REGISTRY)


def available_memory() -> float:
    """Bytes that the process can still take, as far as the system says; infinity where it does not.

    Returns
    -------
    float

    Examples
    --------
    >>> from tomolearn.base import available_memory
    >>> available_memory() > 0
    True
    """
    limits = []
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):  # of a container
        try:
            with open(path) as file:
                limits.append(float(file.read()))
        except (OSError, ValueError):  # no such group, or "max"
            continue
    try:
        with open("/proc/meminfo") as file:
            limits += [float(line.split()[1]) * 1024 for line in file if line.startswith("MemAvailable:")]
    except OSError:
        names = getattr(os, "sysconf_names", {})
        if "SC_PHYS_PAGES" in names and "SC_PAGE_SIZE" in names:
            limits.append(float(os.sysconf("SC_PHYS_PAGES")) * os.sysconf("SC_PAGE_SIZE"))
    return min(limits, default=float("inf"))


def check_memory(need: float, what: str, remedy: str) -> None:
    """Raise before memory is taken that is not there.

    Parameters
    ----------
    need : float
        Bytes.
    what : str
        What they are for: begins the message.
    remedy : str
        Which parameter lowers the need, as a sentence.

    Raises
    ------
    MemoryBudgetError
        If ``need`` exceeds `available_memory`.

    Examples
    --------
    >>> from tomolearn.base import check_memory
    >>> check_memory(1e18, "the images", "Lower image_shape.")
    Traceback (most recent call last):
    tomolearn.exceptions.MemoryBudgetError: the images need 931322574.6 GiB; ... GiB are available. Lower image_shape.
    """
    have = available_memory()
    if need > have:
        raise MemoryBudgetError(f"{what} need {need / 2**30:.1f} GiB; {have / 2**30:.1f} GiB are available. {remedy}")


class Reconstructor(ClassNamePrefixFeaturesOutMixin, TransformerMixin):
    """What all estimators share that turn sinograms into images; stands before ``BaseEstimator``.

    A subclass has the parameters ``angles``, ``angle_unit``, ``center``, ``detector_spacing``, ``image_shape``,
    ``sinogram_shape`` and ``verbose``. Its ``fit`` calls `_fit_geometry`, and it defines `_reconstruct`.

    Examples
    --------
    >>> from tomolearn.base import Reconstructor, registry
    >>> import tomolearn.reconstruction
    >>> issubclass(registry()["FBPReconstructor"], Reconstructor)
    True
    """

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.target_tags.multi_output = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    def predict(self, X):
        """Reconstruct each slice.

        Parameters
        ----------
        X : array-like of shape (n, n_angles, n_detectors) or (n, n_angles * n_detectors)
            Sinograms as in ``fit``: line integrals in pixel lengths. Real numbers of any dtype, byte order and stride.

        Returns
        -------
        ndarray of shape (n, rows, columns) or (n, rows * columns)
            Images in 1/pixel, flat if ``X`` is; in the floating dtype of ``X`` (integers give float32).

        Raises
        ------
        NotFittedError
            If ``fit`` has not been called.
        ValueError
            If ``X`` is not finite, or its sinograms have another shape than in ``fit``, or there is one centre for each
            of another number of slices.
        MemoryBudgetError
            If the images do not fit into memory.
        """
        check_is_fitted(self)
        X = self._check_sinograms(X)
        self._check_n_slices(len(X))
        dtype = X.dtype.newbyteorder("=") if X.dtype.kind == "f" else np.dtype(np.float32)
        self._check_budget(len(X), dtype.itemsize)
        images = np.empty((len(X), *self.image_shape_), dtype)
        A = RadonOperator(self.geometry_)
        steps = self._n_steps()
        starts = range(0, len(X), BLOCK)
        disable = None if self.verbose else True  # None: a bar on a terminal, nothing in a log file
        with tqdm(total=steps * len(starts), desc=type(self).__name__, disable=disable) as bar:
            for done, start in enumerate(starts, 1):
                part = slice(start, start + BLOCK)
                images[part] = self._reconstruct(A.slices(start, start + BLOCK), self._block(X, part), bar.update)
                bar.update(done * steps - bar.n)  # a solver that is done early skips steps
        return images if X.ndim == 3 else images.reshape(len(X), -1)

    def transform(self, X):
        """Reconstruct each slice: the same as ``predict``.

        Parameters
        ----------
        X : array-like of shape (n, n_angles, n_detectors) or (n, n_angles * n_detectors)
            Sinograms as in ``fit``.

        Returns
        -------
        ndarray of shape (n, rows, columns) or (n, rows * columns)
            Images, flat if ``X`` is. ``set_output`` makes data frames of flat ones.
        """
        return self.predict(X)

    def score(self, X, y):
        """Variance-weighted R2 of the images: 1 - SSE / SST over all pixels.

        SSE is the sum of the squared errors; SST that of the squared differences between the true images and their
        mean, which is an image too. 1 is perfect; 0 is as good as that mean image.

        Parameters
        ----------
        X : array-like of shape (n, n_angles, n_detectors) or (n, n_angles * n_detectors)
            Sinograms of at least two slices.
        y : array-like of shape (n, rows, columns) or (n, rows * columns)
            True images. With flat ``X`` and without ``image_shape`` also (n,) or (n, 1): one value for all the pixels
            of a slice.

        Returns
        -------
        float

        Raises
        ------
        ValueError
            If ``y`` is not finite, has another shape, or all its images are the same.

        Notes
        -----
        scikit-learn's ``r2_score(..., multioutput="variance_weighted")`` is the same but that it leaves out the errors
        in pixels that have one value in all the true images, as the background has.
        """
        images = self.predict(X)
        flat = images.ndim == 2
        images = images.reshape(len(images), -1)
        y = self._check_images(y, *images.shape, weak=flat and self.image_shape is None)
        mean = y.mean(axis=0, dtype=np.float64)
        # slice by slice: float64 copies of a whole stack would take more memory than the prediction
        sse = sum(np.square(np.subtract(a, b, dtype=np.float64)).sum() for a, b in zip(y, images, strict=True))
        sst = sum(np.square(a - mean).sum() for a in y)
        if not np.isfinite(sst):
            raise ValueError("y must be finite; got NaN or infinite values. Repair them, or leave such images out.")
        if sst == 0:
            raise ValueError(
                f"y must hold at least 2 different images, since R2 compares with their mean; got {len(y)} of one kind."
            )
        return float(1 - sse / sst)

    @property
    def _n_features_out(self):
        return self.image_shape_[0] * self.image_shape_[1]

    def _check_budget(self, n, itemsize):
        """Are there bytes for ``n`` images and for what one block takes at the very least?"""
        pixels = float(self._n_features_out)
        check_memory(
            (n * pixels + min(n, BLOCK) * (pixels + self.n_features_in_)) * itemsize,
            f"{n} images of {self.image_shape_[0]} x {self.image_shape_[1]} pixels",
            f"Lower image_shape={self.image_shape_}, give sinogram_shape if X is flat, or take fewer slices at once.",
        )

    def _n_steps(self):
        """How often ``_reconstruct`` reports progress."""
        return 1

    def _reconstruct(self, A, y, step):
        """Images (k, rows, columns) of the sinograms ``y`` (k, n_angles, n_detectors), tensors; calls ``step()``."""
        raise NotImplementedError

    # ------------------------------------------------------------------------------------------------ X and y

    def _check_sinograms(self, X, *, reset=False):
        """``X`` as a finite array of numbers, (n, n_angles, n_detectors) or flat as it came, nothing copied.

        With ``reset`` the shapes are learned, else compared with the learned ones.
        """
        if not (sparse.issparse(X) or hasattr(X, "columns")):  # those have names or messages that scikit-learn reads
            X = np.asarray(X)
        rules = {"dtype": "numeric", "ensure_all_finite": False}
        if np.ndim(X) < 3:
            X = validate_data(self, X, reset=reset, **rules)
            if reset:
                self.sinogram_shape_ = self._flat_shape(X.shape[1])
        else:
            X = check_array(X, allow_nd=True, estimator=self, input_name="X", **rules)
            self._check_stack(X.shape, reset)
        if X.dtype.kind == "f":
            for start in range(0, len(X), BLOCK):
                check_finite(
                    as_tensor(X[start : start + BLOCK], "X")[0],
                    f"X[{start}:{min(start + BLOCK, len(X))}]",
                    "Repair such values first, or mask them by the weights= of the functions in tomolearn.solvers.",
                )
        return X

    def _flat_shape(self, n_features):
        if self.sinogram_shape is None:
            if self.angles is None:
                warnings.warn(
                    f"each of the {n_features} values of a row of X is taken as a detector under one angle. Give X of "
                    "shape (n_slices, n_angles, n_detectors), X[None] for a single sinogram, or sinogram_shape.",
                    stacklevel=4,
                )
            return (1, n_features)
        shape = check_shape(self.sinogram_shape, "sinogram_shape", 2)
        if shape[0] * shape[1] != n_features:
            raise ValueError(f"sinogram_shape={shape} makes {shape[0] * shape[1]} values; X has {n_features} features.")
        return shape

    def _check_stack(self, shape, reset):
        if len(shape) != 3 or 0 in shape:
            raise ValueError(
                f"X must be (n_slices, n_angles, n_detectors), none of them zero, or flat (n_slices, n_angles * "
                f"n_detectors); got shape {shape}."
            )
        if reset:
            if self.sinogram_shape is not None and check_shape(self.sinogram_shape, "sinogram_shape", 2) != shape[1:]:
                raise ValueError(
                    f"sinogram_shape={tuple(self.sinogram_shape)} contradicts X of shape {shape}; it is only needed "
                    "for flat X."
                )
            self.sinogram_shape_ = shape[1:]
            self.n_features_in_ = shape[1] * shape[2]
            self.__dict__.pop("feature_names_in_", None)
        elif shape[1:] != self.sinogram_shape_:
            raise ValueError(
                f"X must hold sinograms of shape {self.sinogram_shape_} (n_angles, n_detectors) as in fit; got "
                f"{shape[1:]}. Fit again for another scan."
            )

    def _block(self, X, part):
        """Slices as a tensor (k, n_angles, n_detectors): float64 for float64, else float32."""
        wide = X.dtype.kind == "f" and X.dtype.itemsize >= 8
        block = as_tensor(X[part], "X")[0].to(torch.float64 if wide else torch.float32)
        return block.reshape(-1, *self.sinogram_shape_)

    def _check_images(self, y, n, n_pixels, *, weak):
        """``y`` as numbers (n, n_pixels); ``weak``: one value a slice will do."""
        y = np.asarray(y)
        y = y if y.dtype.kind in "fiub" else y.astype(np.float64)
        if weak and y.shape in ((n,), (n, 1)):
            return np.broadcast_to(y.reshape(n, 1), (n, n_pixels))
        if y.shape not in ((n, *self.image_shape_), (n, n_pixels)):
            raise ValueError(
                f"y must have shape {(n, *self.image_shape_)} or {(n, n_pixels)}, as the images; got {y.shape}."
            )
        return y.reshape(n, n_pixels)

    # ----------------------------------------------------------------------------------------------- geometry

    def _fit_geometry(self, X):
        """Check ``X`` and the parameters of the scan, and learn the scan; returns ``X``."""
        X = self._check_sinograms(X, reset=True)
        n_angles, n_detectors = self.sinogram_shape_
        angles = default_angles(n_angles) if self.angles is None else as_radians(self.angles, self.angle_unit)
        if self.angles is None and self.angle_unit not in (None, "rad", "deg"):
            raise GeometryError(f"angle_unit must be 'rad', 'deg' or None; got {self.angle_unit!r}.")
        if len(angles) != n_angles:
            hint = ""
            if X.ndim == 2 and self.sinogram_shape is None:
                hint = (
                    " A row of flat X is a sinogram of one angle: give "
                    f"sinogram_shape=({len(angles)}, n_detectors), or X[None] for a single sinogram."
                )
            raise GeometryError(
                f"angles must be one per projection; got {len(angles)} for sinograms of shape {self.sinogram_shape_} "
                f"(n_angles, n_detectors).{hint}"
            )
        center = self._check_center()
        self.geometry_ = ParallelBeam(
            angles,
            n_detectors,
            image_shape=self.image_shape,
            center=center if np.ndim(center) == 0 else center[:, None],
            detector_spacing=self.detector_spacing,
            angle_unit="rad",
        )
        self.angles_ = angles
        self.center_ = self.geometry_.center if np.ndim(center) == 0 else center
        self.image_shape_ = self.geometry_.image_shape
        self._check_n_slices(len(X))
        check_integer(int(self.verbose) if isinstance(self.verbose, bool) else self.verbose, "verbose", low=0)
        return X

    def _check_center(self):
        """None, a float or an array of one float per slice."""
        if self.center is None:
            return None
        try:
            center = None if isinstance(self.center, str) else np.asarray(self.center, dtype=np.float64)
        except (TypeError, ValueError):
            center = None
        if center is None or center.ndim > 1:
            got = repr(self.center) if center is None else f"an array of shape {center.shape}"
            raise GeometryError(
                f"center must be a number, a list of one number per slice, or None for the middle of the detector; "
                f"got {got}."
            )
        return center if center.ndim else float(center)

    def _check_n_slices(self, n):
        if np.ndim(self.center_) and len(self.center_) != n:
            raise GeometryError(
                f"center holds one number for each of {len(self.center_)} slices; X has {n}. Give one number for all "
                "slices, or X and centers of the same slices."
            )
