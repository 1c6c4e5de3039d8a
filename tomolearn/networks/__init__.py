"""Networks: one family per file. Plain sizes in, tensors in and out; no training, no files."""

from tomolearn.networks.automap import AutomapNetwork
from tomolearn.networks.cnn import CNNNetwork
from tomolearn.networks.dense import DenseNetwork
from tomolearn.networks.iradonmap import IRadonMAPNetwork
from tomolearn.networks.primal_dual import PrimalDualNetwork
from tomolearn.networks.registry import NETWORKS, build_network
from tomolearn.networks.unet import UNet

__all__ = [
    "NETWORKS",
    "AutomapNetwork",
    "CNNNetwork",
    "DenseNetwork",
    "IRadonMAPNetwork",
    "PrimalDualNetwork",
    "UNet",
    "build_network",
]
