"""AUTOMAP: reconstruction learned from end to end."""

from tomolearn._validation import check_real
from tomolearn.base import register
from tomolearn.networks import AutomapNetwork
from tomolearn.reconstruction._learned import LearnedReconstructor
from tomolearn.reconstruction._parameters import describe
from tomolearn.training.parameters import store

__all__ = ["AutomapReconstructor"]


@register
@describe(2.5e-5)
class AutomapReconstructor(LearnedReconstructor):
    """AUTOMAP: two dense layers learn the inverse of the scan, convolutions refine the image [1]_.

    Nothing of the scan is given: neither angles nor centre need to be known, but they must be the same in all the
    sinograms. The price is a weight for each pair of a sinogram value and a pixel, and for each pair of pixels: 34
    million at 64 x 64, 537 million at 128 x 128. ``rank`` lowers it. It takes many thousands of training pairs to
    become as good as filtered back-projection, and has one shape after ``fit``.

    Parameters
    ----------
    rank : int, default=None
        Each dense layer becomes the product of two of this width: ``rank * (n_in + n_out)`` weights instead of
        ``n_in * n_out``. None: the paper's full layers.
    layout : {"paper", "superres"}, default="paper"
        "superres": three layers of 256 (or ``rank``) and one of the image's size, as in superres-tomo, without the
        layer of n_pixels**2 weights that it ends with.
    n_filters : int, default=64
        Channels of the convolutions.
    input_noise : float, default=0.01
        In training, normalised sinogram values are multiplied by uniform numbers between 1 - input_noise and
        1 + input_noise.
    activation_penalty : float, default=1e-4
        Weight of the sum of the second convolution's activations beside the sum of squared errors.
    {shapes}
    {training}

    Attributes
    ----------
    {trained}
    {learned}

    Notes
    -----
    Defaults of the training are those of superres-tomo's tutorials; the paper has ``optimizer="rmsprop",
    learning_rate=2e-5, batch_size=100``.

    References
    ----------
    .. [1] B. Zhu, J. Z. Liu, S. F. Cauley, B. R. Rosen and M. S. Rosen, "Image reconstruction by domain-transform
       manifold learning", Nature 555 (2018) 487, DOI 10.1038/nature25988.

    Examples
    --------
    >>> from tomolearn import AutomapReconstructor, radon
    >>> from tomolearn.geometry import default_angles
    >>> from tomolearn.simulation import random_shapes
    >>> images = random_shapes(64, 16, shape_size=(2, 4), random_state=0)
    >>> sinograms = radon(images, default_angles(12))
    >>> estimator = AutomapReconstructor(rank=16, learning_rate=1e-3, max_epochs=2, random_state=0)
    >>> estimator.fit(sinograms, images).predict(sinograms[:2]).shape
    (2, 16, 16)
    """

    _network_name = "AutomapNetwork"

    def __init__(
        self,
        *,
        rank=None,
        layout="paper",
        n_filters=64,
        input_noise=0.01,
        activation_penalty=1e-4,
        image_shape=None,
        sinogram_shape=None,
        loss="mse",
        optimizer="adam",
        learning_rate=2.5e-5,
        schedule="constant",
        weight_decay=0.0,
        gradient_clipping=None,
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
        check_real(self.activation_penalty, "activation_penalty", low=0)

    def _check_need(self):
        sizes = {"rank": self.rank, "layout": self.layout, "n_filters": self.n_filters}
        self._check_training_memory(
            AutomapNetwork.parameter_count(self.sinogram_shape_, self.image_shape_, **sizes),
            f"AUTOMAP's layers for sinograms of {self.sinogram_shape_} and images of {self.image_shape_}",
            f"Set rank, for instance rank=256, to factorise them; got rank={self.rank}.",
        )

    def _activations(self):
        return 0, 2 * self.n_filters

    def _features(self):
        return 0, 2 * self.n_filters

    def _network_options(self):
        return {name: getattr(self, name) for name in ("rank", "layout", "n_filters", "input_noise")}

    def _task_options(self, network, A):
        if not self.activation_penalty:
            return {}
        weight = self.activation_penalty / self._n_features_out  # the paper adds it to a sum over pixels, not a mean

        def penalised(x):
            images, penalty = network.forward_with_penalty((x - self.x_mean_) / self.x_scale_)
            return images, weight * penalty

        return {"penalised": penalised}
