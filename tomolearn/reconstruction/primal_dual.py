"""Learned primal-dual: an unrolled iteration between image and data."""

from tomolearn.base import register
from tomolearn.reconstruction._learned import LearnedScanReconstructor
from tomolearn.reconstruction._parameters import describe
from tomolearn.training.parameters import store

__all__ = ["LearnedPrimalDualReconstructor"]


@register
@describe(1e-2, "log-mse", "muon")
class LearnedPrimalDualReconstructor(LearnedScanReconstructor):
    """Learned primal-dual reconstruction: small networks that alternate between data and image [1]_.

    The projection of the scan and its inverse stand inside the network, at each of its iterations. It needs the fewest
    training pairs of all learned reconstructors and gives the best images; it is the slowest to train. After ``fit`` it
    takes sinograms and images of any size.

    Parameters
    ----------
    n_iterations : int, default=10
        Pairs of a network in the data and one in the image.
    n_primal, n_dual : int, default=5
        Images and sinograms that an iteration hands to the next.
    n_filters : int, default=32
        Channels inside the networks.
    n_layers : int, default=3
        Convolutions of each.
    filtered : bool, default=True
        Filtered back-projection takes data to images inside the network, and not the adjoint of the projection as in
        [1]_: far fewer steps of training are needed.
    {scan}
    {augmentation}
    {training}

    Attributes
    ----------
    operator_norm_ : float
        Largest singular value of the projection, by which it is normalised.
    {trained}
    {learned}
    {scanned}

    References
    ----------
    .. [1] J. Adler and O. Oktem, "Learned primal-dual reconstruction", IEEE Trans. Med. Imaging 37 (2018) 1322,
       DOI 10.1109/TMI.2018.2799231.

    Examples
    --------
    >>> from tomolearn import LearnedPrimalDualReconstructor
    >>> from tomolearn.simulation import make_ellipses_benchmark
    >>> data = make_ellipses_benchmark("train", 4)
    >>> estimator = LearnedPrimalDualReconstructor(
    ...     n_iterations=2, n_filters=8, angles=data.angles, detector_spacing=data.detector_spacing, max_epochs=1,
    ...     random_state=0,
    ... )
    >>> estimator.fit(data.sinograms, data.images).predict(data.sinograms[:2]).shape
    (2, 128, 128)
    """

    _scales_only = True
    _network_name = "PrimalDualNetwork"
    _numbers = (*LearnedScanReconstructor._numbers, "operator_norm_")

    def __init__(
        self,
        *,
        n_iterations=10,
        n_primal=5,
        n_dual=5,
        n_filters=32,
        n_layers=3,
        filtered=True,
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
        batch_size=8,
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

    def _learn_scale(self):
        self.operator_norm_ = self._operator().norm()

    def _activations(self):
        inner = self.n_filters * (self.n_layers - 1)
        return self.n_iterations * (inner + 2 * self.n_dual + 2), self.n_iterations * (inner + 2 * self.n_primal + 1)

    def _features(self):
        return tuple(24 + 2 * (self.n_filters + n) for n in (self.n_dual, self.n_primal))

    def _network_options(self):
        names = ("n_iterations", "n_primal", "n_dual", "n_filters", "n_layers", "filtered")
        return {name: getattr(self, name) for name in names}

    def _forward(self, network, x, A):
        return network(x / self.y_scale_, A, self.operator_norm_)
