"""The contract of the reconstructors: what scikit-learn asks of them, and what stacks of images add to it."""

import numpy as np
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted
from tqdm.auto import tqdm

from tomolearn.base.memory import check_memory
from tomolearn.base.slabs import OnDevices, run_slabs, slab_size
from tomolearn.base.stacks import BLOCK, SinogramInput
from tomolearn.base.targets import check_targets, variance_weighted_r2

__all__ = ["Reconstructor"]


class Reconstructor(OnDevices, SinogramInput, ClassNamePrefixFeaturesOutMixin, TransformerMixin):
    """What all estimators share that turn sinograms into images; stands before ``BaseEstimator``.

    A subclass has the parameters ``image_shape``, ``sinogram_shape`` and ``verbose``; its ``fit`` learns
    ``image_shape_``, and it defines ``_reconstruct``. Slices are worked on in slabs, on the devices of ``_devices``.

    Examples
    --------
    >>> from tomolearn.base import Reconstructor, registry
    >>> import tomolearn.reconstruction
    >>> issubclass(registry()["FBPReconstructor"], Reconstructor)
    True
    """

    working_copies = (4, 4)  # copies of its sinogram and of its image that a slice needs at the same time

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
            If the images do not fit into memory, or a slice does not fit on the device.
        """
        check_is_fitted(self)
        X = self._check_sinograms(X)
        self._check_n_slices(len(X))
        dtype = X.dtype.newbyteorder("=") if X.dtype.kind == "f" else np.dtype(np.float32)
        self._check_budget(len(X), dtype.itemsize)
        images = np.empty((len(X), *self.image_shape_), dtype)
        devices = self._devices()
        workers = self._on_each(devices)  # before memory is counted: networks take some
        size = slab_size(min(len(X), BLOCK), lambda n: self._device_bytes(n, 8 if dtype.itemsize > 4 else 4), devices)
        slabs = [slice(start, min(start + size, len(X))) for start in range(0, len(X), size)]
        A, steps = self._operator(), self._n_steps()
        disable = None if self.verbose else True  # None: a bar on a terminal, nothing in a log file

        def compute(k, part, y):
            left = steps

            def step():
                nonlocal left
                left -= 1
                bar.update()

            result = workers[k]._reconstruct(A if A is None else A.slices(part.start, part.stop), y, step)
            bar.update(left)  # a solver that is done early skips steps
            return [result]

        def store(part, results):
            images[part] = results[0]

        with tqdm(total=steps * len(slabs), desc=type(self).__name__, disable=disable) as bar:
            run_slabs(slabs, lambda part: self._block(X, part), compute, store, devices, name=_slices_of)
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

    def score(self, X, y, sample_weight=None):
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
        sample_weight : array-like of shape (n,), default=None
            How often each slice counts, not below zero: two as if it were there twice, zero as if it were not. None:
            each once. In pipelines and searches under metadata routing, ``set_score_request(sample_weight=True)`` asks
            for it.

        Returns
        -------
        float

        Raises
        ------
        ValueError
            If ``y`` is not finite, has another shape, or all its images that count are the same, or ``sample_weight``
            is not ``n`` numbers from zero on, some above it.
        """
        images = self.predict(X)
        flat = images.ndim == 2
        images = images.reshape(len(images), -1)
        y = check_targets(y, len(images), self.image_shape_, weak=flat and self.image_shape is None)
        return variance_weighted_r2(y, images, sample_weight)

    def of_slices(self, start, stop):
        """The fitted reconstructor of some of the slices: itself, unless it knows something of each slice.

        Parameters
        ----------
        start, stop : int

        Returns
        -------
        Reconstructor
        """
        check_is_fitted(self)
        return self

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

    def _device_bytes(self, n, itemsize):
        """Bytes that ``n`` slices take on a device, the next sinograms and the last images beside them."""
        n_sinograms, n_images = self.working_copies
        return float(n) * itemsize * ((n_sinograms + 1) * self.n_features_in_ + (n_images + 1) * self._n_features_out)

    def _operator(self):
        """The projection that is undone, of the whole stack; None for what needs to know none."""
        return None

    def _check_n_slices(self, n):
        """Do what was learned for each slice and ``n`` slices go together?"""

    def _n_steps(self):
        """How often ``_reconstruct`` reports progress."""
        return 1

    def _reconstruct(self, A, y, step):
        """Images (k, rows, columns) of the sinograms ``y`` (k, n_angles, n_detectors), tensors; calls ``step()``.

        ``y`` is on one of the devices, and so are the images.
        """
        raise NotImplementedError


def _slices_of(part):
    return f"slices {part.start} to {part.stop - 1} of X"
