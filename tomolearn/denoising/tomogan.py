"""TomoGAN: noisy slices denoised by a generator that learns from pixels, features and a critic."""

import os
import shutil
import warnings
from functools import partial

import torch
from torch.func import functional_call

from tomolearn._validation import check_choice, check_integer, check_real
from tomolearn.base import register
from tomolearn.denoising._adversarial import AdversarialTask
from tomolearn.denoising._learned import LearnedDenoiser, describe
from tomolearn.exceptions import TomolearnError
from tomolearn.networks import TomoGANCritic, load_features
from tomolearn.training.hardware import find_device
from tomolearn.training.parameters import store
from tomolearn.training.tasks import OPTIMIZERS

__all__ = ["TomoGANDenoiser"]

FEATURES = ("auto", "efficientnet-lite0", "vgg19", "random")


@register
@describe(1e-3, "adam")
class TomoGANDenoiser(LearnedDenoiser):
    """TomoGAN [1]_: a U-Net that makes clean slices of noisy ones, trained against a critic.

    Learns from slices of low and of normal dose of the same object: few views or short exposures against many views or
    long ones. The generator's loss is the sum of three, each with a weight:

    - pixels: the mean squared error, with clean images scaled to [0, 1] by their 0.05 and 99.95 percentiles;
    - features: the squared difference of what a network trained on photographs sees in both images, as a part of the
      square of what it sees in the clean one; the gradient goes through that network, which itself stays as it is;
    - critic: how real a second network finds the image, which learns meanwhile to tell made images from clean ones.

    Pixels alone give blurred images, the critic alone gives sharp ones of something else. A denoiser can invent and
    erase: compare what it makes with the measured data by `consistency`.

    Parameters
    ----------
    n_adjacent : int, default=1
        Slices that the network sees at once to make the one in the middle; odd. ``X`` must then be one volume in its
        order, or windows of as many slices.
    upsampling : {"bilinear", "nearest", "transposed"}, default="bilinear"
        See `tomolearn.networks.TomoGANGenerator`.
    adversarial : {"wasserstein", "vanilla"}, default="wasserstein"
        "wasserstein": the critic's means differ as far as its slope of at most 1 allows, held there by a penalty [2]_;
        as published. "vanilla": cross entropy; as in the published code.
    pixel_weight, adversarial_weight, perceptual_weight : float, default=1.0, 1e-3 and 1e-3
        Of the three losses; a loss of weight 0 is left out. The published code has 0.5 for the pixels with values of 0
        to 255 and 20 for the vanilla loss of the critic, which is 1 and 6e-4 here.
    perceptual : {"auto", "efficientnet-lite0", "vgg19", "random"}, default="auto"
        Network of the features: EfficientNet-Lite0, whose weights the extra ``perceptual`` brings; VGG19, the authors',
        from a file; or a VGG with random weights. "auto": EfficientNet-Lite0, or with a warning "random" where its
        weights are not installed.
    vgg19_path : path-like, default=None
        For "vgg19": torchvision's file of weights (``vgg19-dcbb9e9d.pth``).
    gradient_penalty : float, default=10.0
        Weight of the penalty of the critic's slope, for "wasserstein".
    n_critic : int, default=1
        Steps of the critic before each step of the generator.
    critic_learning_rate : float, default=None
        Of the critic, which learns best faster than the generator [3]_; ``schedule`` does not change it. None: four
        times ``learning_rate``, at most 4e-4.
    pixel_epochs : int, default=0
        Epochs at the start without the critic: the generator has learned what the pixels say when it enters.
    {crops}
    {images}
    {tiles}
    compile : bool, default=False
        Whether ``predict`` runs the network through `torch.compile`. That takes a C++ compiler, and some time with the
        first image of a shape: it pays for volumes.
    {training}

    Attributes
    ----------
    {trained}
    {learned}

    References
    ----------
    .. [1] Z. Liu, T. Bicer, R. Kettimuthu, D. Gursoy, F. De Carlo and I. Foster, "TomoGAN: low-dose synchrotron x-ray
       tomography with generative adversarial networks", J. Opt. Soc. Am. A 37 (2020) 422, DOI 10.1364/JOSAA.375595.
    .. [2] I. Gulrajani, F. Ahmed, M. Arjovsky, V. Dumoulin and A. Courville, "Improved training of Wasserstein GANs",
       NeurIPS (2017), DOI 10.48550/arXiv.1704.00028.
    .. [3] M. Heusel, H. Ramsauer, T. Unterthiner, B. Nessler and S. Hochreiter, "GANs trained by a two time-scale
       update rule converge to a local Nash equilibrium", NeurIPS (2017), DOI 10.48550/arXiv.1706.08500.

    Examples
    --------
    >>> import numpy as np
    >>> from tomolearn import TomoGANDenoiser
    >>> from tomolearn.simulation import random_foam
    >>> clean = random_foam(8, 64, random_state=0).volume()
    >>> noisy = clean + np.random.default_rng(0).normal(0, 0.5, clean.shape).astype(np.float32)
    >>> denoiser = TomoGANDenoiser(patch_shape=(32, 32), perceptual="random", max_epochs=1, random_state=0)
    >>> denoiser.fit(noisy, clean).predict(noisy).shape
    (8, 64, 64)
    """

    _network_name = "TomoGANGenerator"
    working_copies = 240  # measured

    def __init__(
        self,
        *,
        n_adjacent=1,
        upsampling="bilinear",
        adversarial="wasserstein",
        pixel_weight=1.0,
        adversarial_weight=1e-3,
        perceptual_weight=0.001,
        perceptual="auto",
        vgg19_path=None,
        gradient_penalty=10.0,
        n_critic=1,
        critic_learning_rate=None,
        pixel_epochs=0,
        patch_shape=(128, 128),
        flips=True,
        image_shape=None,
        tile_shape=None,
        compile=False,
        optimizer="adam",
        learning_rate=1e-3,
        schedule="cosine",
        weight_decay=0.0,
        gradient_clipping=None,
        ema_decay=0.99,
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

    @property
    def tile_halo(self):
        """Distance of the farthest pixel that a pixel of the result depends on."""
        return self.network_.receptive_radius

    @property
    def tile_multiple(self):
        """What the origins of tiles are multiples of."""
        return self.network_.size_multiple

    def _check_parameters(self):
        super()._check_parameters()
        check_choice(self.adversarial, "adversarial", ("wasserstein", "vanilla"))
        check_choice(self.perceptual, "perceptual", FEATURES)
        for name in ("pixel_weight", "adversarial_weight", "perceptual_weight", "gradient_penalty"):
            check_real(getattr(self, name), name, low=0)
        if not any(self._weights().values()):
            raise ValueError("pixel_weight, adversarial_weight and perceptual_weight must not all be 0.")
        check_integer(self.n_critic, "n_critic", low=1)
        check_integer(self.pixel_epochs, "pixel_epochs", low=0)
        if not isinstance(self.compile, bool):
            raise TypeError(f"compile must be True or False; got {self.compile!r}.")
        if self.critic_learning_rate is not None:
            check_real(self.critic_learning_rate, "critic_learning_rate", low=0, high=1e3, open_low=True)
        if self.perceptual == "vgg19" and self.vgg19_path is None:
            raise ValueError(
                "vgg19_path must be the file of torchvision's weights of VGG19 (vgg19-dcbb9e9d.pth) for "
                "perceptual='vgg19'; got None. perceptual='efficientnet-lite0' has weights that can be installed: pip "
                "install 'tomolearn[perceptual]'."
            )

    def _apply(self, network, x):
        if not self.compile:
            vars(network).pop("_compiled_call_impl", None)  # what an earlier call may have compiled
            return super()._apply(partial(_run, network), x)
        if getattr(network, "_compiled_call_impl", None) is None:  # `Module.compile` keeps it, and out of all copies
            _check_compiler(x.device)
            network.compile()
        return super()._apply(network, x)

    def _weights(self):
        return {name: getattr(self, f"{name}_weight") for name in ("pixel", "adversarial", "perceptual")}

    def _kept_copies(self):
        # The generator alone; with features; or the critic with the gradient of its gradient. Measured.
        return 1000 if self.adversarial_weight else 800 if self.perceptual_weight else 410

    def _network_shapes(self):
        return {"n_adjacent": self.n_adjacent}

    def _network_options(self):
        return {"upsampling": self.upsampling}

    def _features(self):
        """The frozen network of the perceptual loss, which the engine does not know, where it is needed."""
        if not self.perceptual_weight:
            return None
        return self._load_features().to(find_device(self.device))

    def _load_features(self):
        if self.perceptual != "auto":
            return load_features(self.vgg19_path if self.perceptual == "vgg19" else self.perceptual)
        try:
            return load_features("efficientnet-lite0")
        except ImportError as error:
            warnings.warn(
                f"the perceptual loss compares by a network with random weights: {error} perceptual='random' takes it "
                "without this warning.",
                stacklevel=5,
            )
            return load_features("random")

    def _task(self, network):
        rate = self.critic_learning_rate or min(4 * self.learning_rate, 4e-4)
        # A Wasserstein critic does not learn with the inertia of Adam's usual first moment (Gulrajani et al.).
        adam = partial(torch.optim.Adam, lr=rate, betas=(0.0, 0.9))
        make = partial(OPTIMIZERS[self.optimizer], lr=self.learning_rate, weight_decay=self.weight_decay)
        return AdversarialTask(
            network,
            TomoGANCritic(),
            normalize=self._normalized,
            crop=self._crop(),
            features=self._features(),
            adversarial=self.adversarial,
            weights=self._weights(),
            gradient_penalty=self.gradient_penalty,
            n_critic=self.n_critic,
            pixel_epochs=self.pixel_epochs,
            optimizers={"generator": make, "critic": adam},
        )


def _run(network, x):
    """The network in the precision of autocast throughout, where that is on: autocast itself upsamples in float32."""
    device = x.device.type
    if not torch.is_autocast_enabled(device):
        return network(x)
    dtype = torch.get_autocast_dtype(device)
    weights = {name: value.to(dtype) for name, value in network.named_parameters()}
    with torch.autocast(device, enabled=False):
        return functional_call(network, weights, x.to(dtype))


def _check_compiler(device):
    """Raise unless torch finds what it compiles for the processor with."""
    names = [os.environ["CXX"]] if os.environ.get("CXX") else ["g++", "clang++", "cl"]
    if device.type == "cpu" and not any(shutil.which(name) for name in names):
        raise TomolearnError(
            f"compile=True needs a C++ compiler; none of {', '.join(names)} was found. Install one, or set "
            "compile=False."
        )
