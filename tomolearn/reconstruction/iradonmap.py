"""iRadonMAP: the filter of a back-projection is learned, and its image refined."""

from tomolearn.base import register
from tomolearn.exceptions import GeometryError
from tomolearn.reconstruction._learned import LearnedScanReconstructor, unet_features
from tomolearn.reconstruction._parameters import describe
from tomolearn.training.parameters import store

__all__ = ["IRadonMAPReconstructor"]


@register
@describe(1e-2, "log-mse", "muon")
class IRadonMAPReconstructor(LearnedScanReconstructor):
    """A learned filter for all projections, back-projection, and a refining U-Net: iRadonMAP [1]_.

    What AUTOMAP learns from nothing is given here but for the filter: ``n_detectors**2`` weights, so that images of
    thousands of pixels are in reach. After ``fit`` it takes any number of angles and any image, with the detector of
    the training set.

    Parameters
    ----------
    channels : tuple of int, default=(64, 64, 128, 128)
        Channels of the levels of the U-Net, the finest first.
    block_size : int, default=2
        Blocks of ``block_size x block_size`` pixels are one pixel to the U-Net, with more channels: faster.
    normalization : {"none", "batch", "group"}, default="none"
        After each convolution of the U-Net.
    residual : bool, default=True
        Whether the U-Net learns the error of the back-projected image instead of the image.
    init : {"ramp", "random"}, default="ramp"
        What the filter is before training: the ramp filter, or random as in the paper.
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
    .. [1] J. He, Y. Wang and J. Ma, "Radon inversion via deep learning", IEEE Trans. Med. Imaging 39 (2020) 2076,
       DOI 10.1109/TMI.2020.2964266.

    Examples
    --------
    >>> from tomolearn import IRadonMAPReconstructor
    >>> from tomolearn.simulation import make_ellipses_benchmark
    >>> data = make_ellipses_benchmark("train", 4)
    >>> estimator = IRadonMAPReconstructor(
    ...     channels=(8, 16), angles=data.angles, detector_spacing=data.detector_spacing, max_epochs=1, random_state=0
    ... )
    >>> estimator.fit(data.sinograms, data.images).predict(data.sinograms[:2]).shape
    (2, 128, 128)
    """

    _scales_only = True
    _network_name = "IRadonMAPNetwork"

    def __init__(
        self,
        *,
        channels=(64, 64, 128, 128),
        block_size=2,
        normalization="none",
        residual=True,
        init="ramp",
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

    def _activations(self):
        return 0, unet_features(self.channels, self.block_size, kept=True)

    def _features(self):
        return 0, unet_features(self.channels, self.block_size, kept=False)

    def _network_shapes(self):
        return {"n_detectors": self.sinogram_shape_[1]}

    def _network_options(self):
        names = ("channels", "block_size", "normalization", "residual", "init")
        return {"upsampling": "transposed", **{name: getattr(self, name) for name in names}}

    def _for_sinograms(self, shape):
        if shape[1] != self.sinogram_shape_[1]:
            raise GeometryError(
                f"X must hold sinograms of {self.sinogram_shape_[1]} detectors as in fit, for the learned filter has a "
                f"weight for each pair of them; got shape {shape} (n_angles, n_detectors). Fit again for another "
                "detector."
            )
        return super()._for_sinograms(shape)

    def _forward(self, network, x, A):
        return network(x / self.y_scale_, A)
