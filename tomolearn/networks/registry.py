"""Networks by name: the only classes that a model file may ask for. Feature networks are none of them."""

import inspect

from torch import nn

from tomolearn.networks.alexnet import AlexNet
from tomolearn.networks.automap import AutomapNetwork
from tomolearn.networks.cnn import CNNNetwork
from tomolearn.networks.dense import DenseNetwork
from tomolearn.networks.iradonmap import IRadonMAPNetwork
from tomolearn.networks.msd import MixedScaleDenseNetwork
from tomolearn.networks.primal_dual import PrimalDualNetwork
from tomolearn.networks.segmentation_unet import SegmentationUNet
from tomolearn.networks.tomogan import TomoGANCritic, TomoGANGenerator
from tomolearn.networks.unet import UNet
from tomolearn.networks.vae import ConvolutionalVAE

__all__ = ["NETWORKS", "build_network"]

NETWORKS = {
    network.__name__: network
    for network in (
        AlexNet,
        AutomapNetwork,
        CNNNetwork,
        ConvolutionalVAE,
        DenseNetwork,
        IRadonMAPNetwork,
        MixedScaleDenseNetwork,
        PrimalDualNetwork,
        SegmentationUNet,
        TomoGANCritic,
        TomoGANGenerator,
        UNet,
    )
}


def build_network(name: str, config: dict) -> nn.Module:
    """A network of this package by the name of its class.

    Parameters
    ----------
    name : str
        One of `NETWORKS`.
    config : dict
        The arguments of its constructor, by name. Lists stand for tuples, as JSON has none.

    Returns
    -------
    Module

    Raises
    ------
    ValueError
        If no network has that name, or ``config`` is not a dict, holds a name that is none of its arguments, or lacks
        one that is needed.

    Examples
    --------
    >>> from tomolearn.networks import build_network
    >>> build_network("UNet", {"channels": [8, 16]}).size_multiple
    2
    """
    if not isinstance(name, str) or name not in NETWORKS:
        raise ValueError(f"name must be one of {', '.join(NETWORKS)}; got {name!r}.")
    if not isinstance(config, dict):
        raise ValueError(f"config must be a dict of arguments of {name}; got {config!r}.")
    network = NETWORKS[name]
    try:
        inspect.signature(network).bind(**config)
    except TypeError as error:
        raise ValueError(
            f"config must hold arguments of {name}{inspect.signature(network)}; got {sorted(config)} ({error})."
        ) from None
    return network(**config)
