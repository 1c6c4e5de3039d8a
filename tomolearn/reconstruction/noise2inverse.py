"""Noise2Inverse: a network that learns to remove the noise of a scan from the scan itself."""

import numpy as np
import torch

from tomolearn._extension import has_kernels
from tomolearn._validation import as_tensor, check_choice, check_finite, check_integer, check_shape
from tomolearn.base import BLOCK, check_memory, register
from tomolearn.io.source import Source
from tomolearn.networks import build_network
from tomolearn.ops.filters import padded_length, ramp_filter
from tomolearn.reconstruction._coupling import check_independent
from tomolearn.reconstruction._learned import LOSSES, LearnedScanReconstructor, unet_features
from tomolearn.reconstruction._parameters import describe
from tomolearn.reconstruction._splits import STRATEGIES, SplitCrops, input_of, split_images, split_statistics
from tomolearn.solvers.fbp import METHODS
from tomolearn.training import SupervisedTask
from tomolearn.training import _distributed as distributed
from tomolearn.training._fit_callbacks import FitCallbacks, with_callbacks
from tomolearn.training.hardware import autocast_dtype, find_device
from tomolearn.training.parameters import store

__all__ = ["Noise2InverseReconstructor"]

NETWORKS = {"unet": "UNet", "msd": "MixedScaleDenseNetwork"}
TESTED = 8  # slices, spread over the scan, whose projections are tested


@register
@describe(1e-2, "mse", "muon")
class Noise2InverseReconstructor(LearnedScanReconstructor):
    """Reconstruction that learns to denoise from the noisy scan itself, without clean images [1]_.

    The projections are divided into interleaved splits, and each split is back-projected. The splits show the same
    object under independent noise: a network that predicts one from the mean of the others, or the reverse, can only
    learn the object. The result is the mean of its predictions from all of the splits. ``fit`` takes the very scan that
    is to be cleaned; for a large one some of its slices are enough, as ``fit(sinograms[::10])``, and ``predict`` takes
    them all, or another scan of the same kind.

    Noise that is common to projections stays in the images. Nothing before this step may mix projections: no averages,
    smoothing, median or interpolation over angles. What works within one projection may come before it, along the
    detector or over the slices, and so may sums of projections that share none (`SinogramBinner`). What all
    projections have in common, such as the noise of the flat fields, makes rings, which are seen as a part of the
    object.

    Parameters
    ----------
    n_splits : int, default=4
        At least 2, at most the number of projections.
    strategy : {"X:1", "1:X"}, default="X:1"
        "X:1": the network sees the mean of all splits but one and is compared with that one. "1:X": it sees one split
        and is compared with the mean of the others.
    network : {"unet", "msd"}, default="unet"
        `tomolearn.networks.UNet`, or the mixed-scale dense network of [1]_.
    channels : tuple of int, default=(64, 64, 128, 128)
        Channels of the levels of the U-Net, the finest first.
    block_size : int, default=2
        Blocks of ``block_size x block_size`` pixels are one pixel to the U-Net, with more channels: faster.
    residual : bool, default=False
        Whether the U-Net learns the error of its input instead of the image.
    depth, width : int, default=(100, 1)
        Layers of the mixed-scale dense network, and channels of each.
    patch_shape : tuple of two int, default=(128, 128)
        Rows and columns of the crops of a training. An epoch has as many as cover the slices, for each split.
    augmentation : bool, default=True
        Turn and reflect the crops at random.
    check_projections : bool, default=True
        Refuse sinograms whose projections are beyond doubt coupled, see Notes.
    filter : str or array-like, default="ram-lak"
        Of the back-projection, see `FBPReconstructor`.
    cutoff : float, default=1.0
        Frequency, as a part of the Nyquist frequency, above which the filter is zero; in (0, 1].
    padding : {"zero", "edge"}, default="zero"
        What the projections are taken to be beyond the detector.
    method : {"direct", "fourier", "auto"}, default="direct"
        Of the back-projection, see `FBPReconstructor`. "fourier" is many times faster for wide slices; it and "auto"
        run on the processor, whatever ``device`` is.
    {scan}
    {training}

    Attributes
    ----------
    {trained}
    y_mean_, y_scale_ : float
        Mean of the split images, and standard deviation of what the network sees, by which both are normalised.
    sinogram_shape_, image_shape_ : tuple of two int
    n_features_in_ : int
        ``n_angles * n_detectors``.
    feature_names_in_ : ndarray of str
        Column names; only if ``X`` was a data frame.
    {scanned}

    Notes
    -----
    Validation is by splits too, and needs no clean images: on held-out slices, or, where there is one slice only, on a
    band of its rows. Its loss contains the noise of the splits, so that it falls little.

    ``check_projections`` looks at 8 slices for what cannot be measured data. Projections that repeat the one before or
    are the mean of their neighbours are found whatever the noise. Averages and smoothing over projections are found by
    the power of the noise at frequencies that no object has, for equally spaced angles and some 100 projections or
    more; medians also, where the noise is as strong as that of 1,000 photons. Weak coupling is not found, such as the
    afterglow of a scintillator, nor is any in fewer projections or at unevenly spaced angles. In
    `tomolearn.streaming.reconstruct_volume` the steps before this one are known, and one that couples projections is
    refused by name.

    References
    ----------
    .. [1] A. A. Hendriksen, D. M. Pelt and K. J. Batenburg, "Noise2Inverse: self-supervised deep convolutional
       denoising for tomography", IEEE Trans. Comput. Imaging 6 (2020) 1320, DOI 10.1109/TCI.2020.3019647.

    Examples
    --------
    >>> import numpy as np
    >>> from tomolearn import Noise2InverseReconstructor, radon
    >>> angles = np.linspace(0, np.pi, 48, endpoint=False)
    >>> sinograms = radon((np.hypot(*np.mgrid[-15.5:16, -15.5:16]) < 9)[None].astype(float), angles)
    >>> sinograms += np.random.default_rng(0).normal(size=sinograms.shape)
    >>> estimator = Noise2InverseReconstructor(channels=(8, 16), angles=angles, max_epochs=2, random_state=0)
    >>> estimator.fit(sinograms).predict(sinograms).shape
    (1, 32, 32)
    """

    _scales_only = True
    _numbers = ("y_mean_", "y_scale_")
    _data_range_rule = "mean and standard deviation of the reconstructed splits are taken for 0 and 1"
    needs_independent_projections = True  # steps before it must not couple them
    trains_on_scan = True  # fit on a block of slices would train a network for that block

    def __init__(
        self,
        *,
        n_splits=4,
        strategy="X:1",
        network="unet",
        channels=(64, 64, 128, 128),
        block_size=2,
        residual=False,
        depth=100,
        width=1,
        patch_shape=(128, 128),
        augmentation=True,
        check_projections=True,
        filter="ram-lak",
        cutoff=1.0,
        padding="zero",
        method="direct",
        angles=None,
        angle_unit=None,
        center=None,
        detector_spacing=1.0,
        image_shape=None,
        sinogram_shape=None,
        loss="mse",
        optimizer="muon",
        learning_rate=1e-2,
        schedule="cosine",
        weight_decay=0.0,
        gradient_clipping=1.0,
        ema_decay=None,
        max_epochs=100,
        batch_size=16,
        early_stopping=True,
        n_iter_no_change=10,
        validation_fraction=0.1,
        warm_start=False,
        device="auto",
        precision="auto",
        random_state=None,
        verbose=0,
    ):
        store(self, locals())

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.required = False
        return tags

    @with_callbacks
    def fit(self, X, y=None, *, X_val=None, checkpoint=None, callbacks=()):
        """Train the network on the scan.

        Parameters
        ----------
        X : array-like or Source of shape (n, n_angles, n_detectors), or array-like (n, n_angles * n_detectors)
            Sinograms: line integrals in pixel lengths. Their split images are held in memory.
        y : ignored
            Clean images are not needed.
        X_val : array-like or Source, default=None
            Sinograms to validate on, instead of a part of ``X``.
        checkpoint : path-like, default=None
            File that the state of the training is kept in. Where it exists, the training goes on from there, to the
            same weights as if it had not been broken off. Needs an integer ``random_state``.
        callbacks : sequence of Callback, default=()
            See `tomolearn.training`. Those of scikit-learn 1.9 are set by ``set_callbacks``; their tasks are epochs.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            If ``X`` is not finite or of a wrong shape, its projections are coupled, a parameter is out of its range, or
            ``checkpoint`` belongs to another training.
        MemoryBudgetError
            If the split images or the network do not fit into memory.
        DivergenceError
            If the loss is no longer finite.
        KeyboardInterrupt
            On Ctrl-C; the best weights so far have been set.
        """
        self._check_training_parameters()
        self._check_parameters()
        distributed.join(find_device(self.device))
        X = self._fit_geometry(X)
        self._learn_scale()
        self._check_splits(X)
        if X_val is not None:
            X_val = self._check_validation(X_val)
        config = self._network_config()
        with torch.device("meta"):
            build_network(*config)  # for its checks
        self._check_activations(self.batch_size)
        if self.check_projections:
            shown = np.unique(np.linspace(0, len(X) - 1, TESTED).astype(int))
            tested = torch.cat([self._read(X, i, i + 1) for i in shown])
            check_independent(tested.numpy(), self.angles_, self.center_)
        splits = self._splits(X)
        self.y_mean_, self.y_scale_ = split_statistics(splits, self.strategy)
        validation = None if X_val is None else self._crops(self._splits(X_val))
        hooks = FitCallbacks.of(self, X, y)
        options = {"checkpoint": checkpoint, "callbacks": [*hooks, *callbacks]}
        self._train(config, self._crops(splits), validation, self._task, **options)
        for hook in hooks:
            hook.finish()
        return self

    def predict(self, X):
        """Reconstruct and denoise each slice.

        Parameters
        ----------
        X : array-like of shape (n, n_angles, n_detectors) or (n, n_angles * n_detectors)
            Sinograms: line integrals in pixel lengths, with noise as in ``fit``. A stack may have another shape than in
            ``fit``: with ``angles`` and ``center`` None, those of its shape hold, and images grow with the detector.

        Returns
        -------
        ndarray of shape (n, rows, columns) or (n, rows * columns)
            Images in 1/pixel, flat if ``X`` is; in the floating dtype of ``X`` (integers give float32).

        Raises
        ------
        NotFittedError
            If ``fit`` has not been called.
        ValueError
            If ``X`` is not finite or flat and of another length than in ``fit``.
        GeometryError
            If the parameters of the scan do not go with another shape.
        MemoryBudgetError
            If the images do not fit into memory.
        """
        return super().predict(X)

    # ------------------------------------------------------------------------------------------------- the splits

    def _check_parameters(self):
        check_integer(self.n_splits, "n_splits", low=2)
        check_choice(self.strategy, "strategy", STRATEGIES)
        check_choice(self.network, "network", tuple(NETWORKS))
        check_choice(self.loss, "loss", tuple(LOSSES))
        check_choice(self.padding, "padding", ("zero", "edge"))
        check_choice(self.method, "method", METHODS)
        check_shape(self.patch_shape, "patch_shape", 2)

    def _learn_scale(self):
        n_fft = padded_length(self.sinogram_shape_[1])
        ramp_filter(n_fft, self.filter, cutoff=self.cutoff, detector_spacing=self.detector_spacing)  # for its checks

    def _check_validation(self, X):
        try:
            return self._check_sinograms(X)
        except (ValueError, TypeError) as error:
            raise type(error)(f"in X_val: {error}") from error

    def _check_splits(self, X):
        n, n_angles = len(X), self.sinogram_shape_[0]
        # Rows of a flat table are taken as sinograms of one angle, of which a warning has told.
        table = not isinstance(X, Source) and X.ndim == 2 and self.sinogram_shape is None
        if n_angles < self.n_splits and not table:
            raise ValueError(
                f"n_splits must be at most the number of projections; got {self.n_splits} for sinograms of shape "
                f"{self.sinogram_shape_} (n_angles, n_detectors)."
            )
        check_memory(
            4.0 * n * self.n_splits * self._n_features_out,
            f"{self.n_splits} split images of {self.image_shape_} pixels of each of {n} slices",
            "Fit on some of the slices, such as every tenth; predict takes all of them.",
        )

    def _read(self, X, start, stop):
        """Slices as a float32 tensor (k, n_angles, n_detectors)."""
        if not isinstance(X, Source):
            return self._block(X, slice(start, stop)).to(torch.float32)
        block = as_tensor(X.read_block(start, stop), X.name)[0].to(torch.float32)
        check_finite(block, f"{X.name}, slices {start} to {stop - 1},", "Repair them, or leave them out.")
        return block

    def _splits(self, X):
        splits = torch.empty(len(X), self.n_splits, *self.image_shape_)
        for start in range(0, len(X), BLOCK):
            block = self._read(X, start, min(start + BLOCK, len(X)))
            splits[start : start + BLOCK] = self._split_images(self.geometry_, block)
        return splits

    def _split_images(self, geometry, sinograms):
        options = {"filter": self.filter, "cutoff": self.cutoff, "padding": self.padding, "method": self.method}
        return split_images(geometry, sinograms, self.n_splits, **options)

    def _crops(self, splits):
        return SplitCrops(
            splits,
            self.strategy,
            check_shape(self.patch_shape, "patch_shape", 2),
            mean=self.y_mean_,
            scale=self.y_scale_,
            augmentation=self.augmentation,
        )

    def _split(self, samples, seed):
        return samples.held_out(self.validation_fraction, np.random.default_rng(seed))

    def _normalization(self):
        return self.y_mean_, self.y_scale_

    # ------------------------------------------------------------------------------------------------ the network

    @property
    def _network_name(self):
        return NETWORKS[self.network]

    def _network_options(self):
        if self.network == "msd":
            return {"depth": self.depth, "width": self.width}
        names = ("channels", "block_size", "residual")
        return {"upsampling": "transposed", **{name: getattr(self, name) for name in names}}

    def _images_of_features(self, *, kept):
        """How many images the features of the network take."""
        if self.network == "msd":  # for the gradient each dilation keeps a padded copy of what it reads
            return (16 if kept else 3) * (self.depth * self.width + 10)
        return unet_features(self.channels, self.block_size, kept=kept)

    def _check_activations(self, n):
        lowered = autocast_dtype(self.precision, find_device(self.device), training=True) is not None
        shape = tuple(map(min, check_shape(self.patch_shape, "patch_shape", 2), self.image_shape_))
        check_memory(
            float(n) * shape[0] * shape[1] * self._images_of_features(kept=True) * (2 if lowered else 4),
            f"the features of {n} crops of {shape} pixels, kept for the gradient,",
            f"Lower batch_size={self.batch_size} or patch_shape.",
        )

    def _features(self):
        return 1, self.n_splits + 4 + self._images_of_features(kept=False)

    def _task(self, network):
        return SupervisedTask(
            network,
            learning_rate=self.learning_rate,
            optimizer=self.optimizer,
            weight_decay=self.weight_decay,
            forward=lambda x: _denoise(network, x),
            loss=LOSSES[self.loss],
        )

    def _forward(self, network, x, A):
        y = x if self.method == "direct" and has_kernels(x.device.type) else x.cpu()
        # In one expression: the splits as they came are let go of.
        splits = (self._split_images(A.geometry, y).to(x.device) - self.y_mean_) / self.y_scale_
        return sum(_denoise(network, input_of(splits, k, self.strategy)) for k in range(self.n_splits)) / self.n_splits


def _denoise(network, images):
    """Images (n, rows, columns) through a network of one channel."""
    return network(images[:, None].contiguous(memory_format=torch.channels_last))[:, 0]
