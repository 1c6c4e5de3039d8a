"""Feature networks by name: what a perceptual loss compares images by; VGG19, trained and random."""

import os
from pathlib import Path

import torch
from torch import nn

from tomolearn._validation import check_integer
from tomolearn.networks._feature_network import FeatureNetwork, SameConvolution, Weights
from tomolearn.networks.efficientnet_lite import EfficientNetLite0Features

__all__ = ["RandomFeatures", "VGG19Features", "load_features"]

LITE0_NAME, RANDOM_NAME, VGG_NAME = "efficientnet-lite0", "random", "vgg19"
VGG19_BLOCKS = ((64, 2), (128, 2), (256, 4), (512, 4), (512, 4))  # channels, convolutions
# Mean and standard deviation of each channel of the images that torchvision's weights were trained with.
VGG_MEAN, VGG_SCALE = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class VGG19Features(FeatureNetwork):
    """Features of VGG19 [1]_, from torchvision's file of weights.

    The blocks are its five, of 3x3 convolutions with ReLU that end with the maximum of 2x2 pixels: 64, 128, 256, 512
    and 512 channels at 1/2 to 1/32 of the size (rounded down).

    Parameters
    ----------
    path : str or path-like
        The weights, as torchvision publishes them (``vgg19-dcbb9e9d.pth``): a file of torch that holds a dict of
        tensors named "features.0.weight" and so on, read without running code from it.
    blocks : tuple of int, default=(5,)
        Which blocks' outputs are the features, increasing, from 1 to 5. The default is TomoGAN's.

    Raises
    ------
    FileNotFoundError
        If there is no file at ``path``.
    FileFormatError
        If the file does not hold these weights.
    ValueError, TypeError
        If ``blocks`` are not increasing integers from 1 to 5.

    References
    ----------
    .. [1] K. Simonyan and A. Zisserman, "Very deep convolutional networks for large-scale image recognition", ICLR
       (2015), DOI 10.48550/arXiv.1409.1556.

    Examples
    --------
    >>> from tomolearn.networks import VGG19Features
    >>> VGG19Features("nowhere.pth")
    Traceback (most recent call last):
    FileNotFoundError: there is no file nowhere.pth, which should hold the weights of VGG19.
    """

    def __init__(self, path, *, blocks=(5,)):
        super().__init__(blocks, len(VGG19_BLOCKS))
        weights, index, n_in = Weights(path, "VGG19"), 0, 3
        for n_out, repeats in VGG19_BLOCKS[: self.block_numbers[-1]]:
            layers = []
            for _ in range(repeats):
                name = f"features.{index}"
                weight, bias = (
                    weights.take(f"{name}.weight", (n_out, n_in, 3, 3)),
                    weights.take(f"{name}.bias", (n_out,)),
                )
                layers += [SameConvolution(weight, bias), nn.ReLU(inplace=True)]
                n_in, index = n_out, index + 2
            self.blocks.append(nn.Sequential(*layers, nn.MaxPool2d(2)))
            index += 1
        self.register_buffer("mean", torch.tensor(VGG_MEAN)[:, None, None], persistent=False)
        self.register_buffer("scale", torch.tensor(VGG_SCALE)[:, None, None], persistent=False)
        self.freeze()

    def prepare(self, x):
        """The input of the first block: the image in three channels, each less its mean and divided by its spread.

        Parameters
        ----------
        x : Tensor of shape (n, 1, rows, columns)
            Grey images, black 0 and white 1.

        Returns
        -------
        Tensor of shape (n, 3, rows, columns)

        Raises
        ------
        ValueError
            If the images are too small for the last block.
        """
        smallest = 2 ** len(self.blocks)
        if min(x.shape[2:]) < smallest:
            raise ValueError(
                f"x must have at least {smallest} rows and columns for block {len(self.blocks)} of VGG19; got "
                f"{tuple(x.shape[2:])}. Take larger images, or earlier blocks."
            )
        return (x - self.mean) / self.scale


class RandomFeatures(FeatureNetwork):
    """Features of the first blocks of VGG19 with random weights, for where no trained ones are at hand.

    Random convolutions tell edges and textures apart, but not what matters in them. The blocks are as in
    `VGG19Features`; weights are drawn as for ReLU (He normal, zero biases) [1]_, always the same for one seed.

    Parameters
    ----------
    blocks : tuple of int, default=(1, 2, 3)
        Which blocks' outputs are the features, increasing, from 1 to 5.
    random_state : int, default=0
        The seed.

    Raises
    ------
    ValueError, TypeError
        If a parameter is out of range.

    References
    ----------
    .. [1] K. He, X. Zhang, S. Ren and J. Sun, "Delving deep into rectifiers", ICCV (2015) 1026,
       DOI 10.1109/ICCV.2015.123.

    Examples
    --------
    >>> import torch
    >>> from tomolearn.networks import RandomFeatures
    >>> [tuple(feature.shape) for feature in RandomFeatures()(torch.zeros(1, 1, 40, 24))]
    [(1, 64, 20, 12), (1, 128, 10, 6), (1, 256, 5, 3)]
    """

    def __init__(self, *, blocks=(1, 2, 3), random_state=0):
        super().__init__(blocks, len(VGG19_BLOCKS))
        # A generator of its own: what others draw does not depend on whether this network was made before.
        generator = torch.Generator().manual_seed(check_integer(random_state, "random_state", low=0, high=2**63 - 1))
        n_in = 1
        for n_out, repeats in VGG19_BLOCKS[: self.block_numbers[-1]]:
            layers = []
            for _ in range(repeats):
                weight = torch.randn(n_out, n_in, 3, 3, generator=generator) * (2 / (9 * n_in)) ** 0.5
                layers += [SameConvolution(weight, torch.zeros(n_out)), nn.ReLU(inplace=True)]
                n_in = n_out
            self.blocks.append(nn.Sequential(*layers, nn.MaxPool2d(2, ceil_mode=True)))
        self.freeze()

    def prepare(self, x):
        """The input of the first block: the image about its middle grey, in units of a quarter of its range.

        Parameters
        ----------
        x : Tensor of shape (n, 1, rows, columns)
            Grey images, black 0 and white 1.

        Returns
        -------
        Tensor of shape (n, 1, rows, columns)
        """
        return 4 * x - 2


def load_features(name):
    """A feature network by its name, or by the file of its weights.

    Parameters
    ----------
    name : {"efficientnet-lite0", "random"} or path-like
        "efficientnet-lite0" takes the weights that the extra ``perceptual`` brings; "random" is `RandomFeatures`;
        anything else is the path of torchvision's weights of VGG19.

    Returns
    -------
    FeatureNetwork

    Raises
    ------
    ImportError
        If "efficientnet-lite0" is asked for and its weights are not installed.
    ValueError
        If ``name`` is "vgg19", of which no weights can be installed.
    FileNotFoundError
        If ``name`` is no such name and there is no such file.
    FileFormatError
        If the file does not hold the weights of VGG19.

    Examples
    --------
    >>> from tomolearn.networks import load_features
    >>> load_features("random").block_numbers
    (1, 2, 3)
    """
    if name == LITE0_NAME:
        return EfficientNetLite0Features()
    if name == RANDOM_NAME:
        return RandomFeatures()
    if name == VGG_NAME:
        raise ValueError(
            f"{VGG_NAME!r} comes without weights: give the path of torchvision's file (vgg19-dcbb9e9d.pth), or take "
            f"{LITE0_NAME!r} (pip install 'tomolearn[perceptual]')."
        )
    if not Path(name).exists():
        raise FileNotFoundError(
            f"features must be {LITE0_NAME!r} (pip install 'tomolearn[perceptual]'), {RANDOM_NAME!r} or the path of a "
            f"file of VGG19's weights; there is no file {os.fspath(name)}."
        )
    return VGG19Features(name)
