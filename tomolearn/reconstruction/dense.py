"""superres-tomo's networks from sinogram to image: dense layers, and convolutions around dense layers."""

from tomolearn.base import register
from tomolearn.networks import CNNNetwork, DenseNetwork
from tomolearn.reconstruction._learned import LearnedReconstructor
from tomolearn.reconstruction._parameters import describe
from tomolearn.training.parameters import store

__all__ = ["CNNReconstructor", "DenseReconstructor"]


@register
@describe(2.5e-5)
class DenseReconstructor(LearnedReconstructor):
    """Dense layers from sinogram to image, refined by convolutions: superres-tomo's ``dense_reconstruct``.

    Neither angles nor centre need to be known, but they must be the same in all the sinograms. It takes many thousands
    of training pairs to become as good as filtered back-projection, and has one shape after ``fit``.

    Parameters
    ----------
    width : int, default=None
        Of the four dense layers. None: ten times the number of detectors.
    n_filters : int, default=64
        Channels of the convolutions.
    {shapes}
    {training}

    Attributes
    ----------
    {trained}
    {learned}

    References
    ----------
    The documentation of superres-tomo, https://github.com/keeeto/super-resolution-ml.

    Examples
    --------
    >>> from tomolearn import DenseReconstructor, radon
    >>> from tomolearn.geometry import default_angles
    >>> from tomolearn.simulation import random_shapes
    >>> images = random_shapes(64, 16, shape_size=(2, 4), random_state=0)
    >>> sinograms = radon(images, default_angles(12))
    >>> estimator = DenseReconstructor(width=16, learning_rate=1e-3, max_epochs=2, random_state=0)
    >>> estimator.fit(sinograms, images).predict(sinograms[:2]).shape
    (2, 16, 16)
    """

    _network_name = "DenseNetwork"

    def __init__(
        self,
        *,
        width=None,
        n_filters=64,
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

    def _check_need(self):
        self._check_training_memory(
            DenseNetwork.parameter_count(
                self.sinogram_shape_, self.image_shape_, width=self.width, n_filters=self.n_filters
            ),
            f"the dense layers for sinograms of {self.sinogram_shape_} and images of {self.image_shape_}",
            f"Lower width; got width={self.width}.",
        )

    def _activations(self):
        return 0, 3 * self.n_filters

    def _features(self):
        return 0, 2 * self.n_filters

    def _network_options(self):
        return {"width": self.width, "n_filters": self.n_filters}


@register
@describe(2.5e-5)
class CNNReconstructor(LearnedReconstructor):
    """Convolutions, dense layers, convolutions, from sinogram to image: superres-tomo's ``reconstruct_cnn``.

    As it is documented there: in its code the inner dense layers are connected to nothing. Neither angles nor centre
    need to be known, but they must be the same in all the sinograms. It has one shape after ``fit``.

    Parameters
    ----------
    width : int, default=1000
        Of the inner dense layers.
    n_filters : int, default=64
        Channels of the convolutions of the sinogram.
    n_image_filters : int, default=128
        Channels of the convolutions of the image.
    dropout : float, default=0.1
        Part of the values behind each dense layer that is dropped in training.
    {shapes}
    {training}

    Attributes
    ----------
    {trained}
    {learned}

    References
    ----------
    The documentation of superres-tomo, https://github.com/keeeto/super-resolution-ml.

    Examples
    --------
    >>> from tomolearn import CNNReconstructor, radon
    >>> from tomolearn.geometry import default_angles
    >>> from tomolearn.simulation import random_shapes
    >>> images = random_shapes(64, 16, shape_size=(2, 4), random_state=0)
    >>> sinograms = radon(images, default_angles(12))
    >>> estimator = CNNReconstructor(width=16, learning_rate=1e-3, max_epochs=2, random_state=0)
    >>> estimator.fit(sinograms, images).predict(sinograms[:2]).shape
    (2, 16, 16)
    """

    _network_name = "CNNNetwork"

    def __init__(
        self,
        *,
        width=1000,
        n_filters=64,
        n_image_filters=128,
        dropout=0.1,
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

    def _sizes(self):
        return {"width": self.width, "n_filters": self.n_filters, "n_image_filters": self.n_image_filters}

    def _check_need(self):
        self._check_training_memory(
            CNNNetwork.parameter_count(self.sinogram_shape_, self.image_shape_, **self._sizes()),
            f"the dense layers for sinograms of {self.sinogram_shape_} and images of {self.image_shape_}",
            f"Lower width; got width={self.width}.",
        )

    def _activations(self):
        return self.n_filters / 3, 3 * self.n_image_filters  # a quarter, a sixteenth ... of the sinogram

    def _features(self):
        return self.n_filters / 2, 2 * self.n_image_filters  # those of the sinogram after a stride of two

    def _network_options(self):
        return self._sizes() | {"dropout": self.dropout}
