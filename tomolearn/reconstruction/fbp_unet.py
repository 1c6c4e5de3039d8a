"""Filtered back-projection, improved by a U-Net."""

import torch

from tomolearn._extension import has_kernels
from tomolearn._validation import check_choice
from tomolearn.base import register
from tomolearn.ops.filters import padded_length, ramp_filter
from tomolearn.reconstruction._learned import LearnedScanReconstructor, unet_features
from tomolearn.reconstruction._parameters import describe
from tomolearn.solvers.fbp import fbp_of_finite
from tomolearn.training.parameters import store

__all__ = ["FBPUNetReconstructor"]


@register
@describe(1e-2, "log-mse", "muon")
class FBPUNetReconstructor(LearnedScanReconstructor):
    """Filtered back-projection, then a U-Net that removes its noise and streaks [1]_.

    The network sees images only, so that it is quick to train; what the back-projection lost it cannot look up in the
    data. After ``fit`` it takes sinograms and images of any size.

    Parameters
    ----------
    filter : str or array-like, default="hann"
        Of the back-projection, see `FBPReconstructor`.
    cutoff : float, default=1.0
        Frequency, as a part of the Nyquist frequency, above which the filter is zero; in (0, 1].
    padding : {"zero", "edge"}, default="zero"
        What the projections are taken to be beyond the detector.
    channels : tuple of int, default=(64, 64, 128, 128)
        Channels of the levels of the U-Net, the finest first.
    block_size : int, default=2
        Blocks of ``block_size x block_size`` pixels are one pixel to the U-Net, with more channels: faster.
    normalization : {"none", "batch", "group"}, default="none"
        After each convolution.
    residual : bool, default=True
        Whether the network learns the error of the back-projection instead of the image.
    {scan}
    {augmentation}
    {training}

    Attributes
    ----------
    {trained}
    {learned}
    {scanned}

    References
    ----------
    .. [1] K. H. Jin, M. T. McCann, E. Froustey and M. Unser, "Deep convolutional neural network for inverse problems in
       imaging", IEEE Trans. Image Process. 26 (2017) 4509, DOI 10.1109/TIP.2017.2713099.

    Examples
    --------
    >>> from tomolearn import FBPUNetReconstructor
    >>> from tomolearn.simulation import make_ellipses_benchmark
    >>> data = make_ellipses_benchmark("train", 8)
    >>> estimator = FBPUNetReconstructor(
    ...     channels=(8, 16), angles=data.angles, detector_spacing=data.detector_spacing, max_epochs=1, random_state=0
    ... )
    >>> estimator.fit(data.sinograms, data.images).predict(data.sinograms[:2]).shape
    (2, 128, 128)
    """

    _scales_only = True
    _network_name = "UNet"

    def __init__(
        self,
        *,
        filter="hann",
        cutoff=1.0,
        padding="zero",
        channels=(64, 64, 128, 128),
        block_size=2,
        normalization="none",
        residual=True,
        angles=None,
        angle_unit=None,
        center=None,
        detector_spacing=1.0,
        image_shape=None,
        sinogram_shape=None,
        augmentation=False,
        loss="log-mse",
        optimizer="muon",
        learning_rate=1e-2,
        schedule="cosine",
        weight_decay=0.0,
        gradient_clipping=1.0,
        ema_decay=None,
        max_epochs=100,
        batch_size=32,
        early_stopping=True,
        n_iter_no_change=3,
        validation_fraction=0.1,
        warm_start=False,
        device="auto",
        precision="auto",
        random_state=None,
        verbose=0,
    ):
        store(self, locals())

    def _check_parameters(self):
        check_choice(self.padding, "padding", ("zero", "edge"))

    def _learn_scale(self):
        n_fft = padded_length(self.sinogram_shape_[1])
        ramp_filter(n_fft, self.filter, cutoff=self.cutoff, detector_spacing=self.detector_spacing)  # for its checks

    def _activations(self):
        return 0, unet_features(self.channels, self.block_size, kept=True)

    def _features(self):
        return 0, unet_features(self.channels, self.block_size, kept=False)

    def _network_options(self):
        names = ("channels", "block_size", "normalization", "residual")
        return {"upsampling": "transposed", **{name: getattr(self, name) for name in names}}

    def _forward(self, network, x, A):
        with torch.no_grad():
            y = x if has_kernels(x.device.type) else x.cpu()
            options = {"filter": self.filter, "cutoff": self.cutoff, "padding": self.padding}
            images = fbp_of_finite(A, y, **options, method="direct").to(x.device)  # the same on every device
        return network((images / self.y_scale_)[:, None].contiguous(memory_format=torch.channels_last))[:, 0]
