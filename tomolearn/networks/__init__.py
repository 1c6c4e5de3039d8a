"""Networks: one family per file. Plain sizes in, tensors in and out; no training, no files but of given weights."""

from tomolearn.networks._feature_network import FeatureNetwork
from tomolearn.networks.alexnet import AlexNet
from tomolearn.networks.automap import AutomapNetwork
from tomolearn.networks.cnn import CNNNetwork
from tomolearn.networks.dense import DenseNetwork
from tomolearn.networks.efficientnet_lite import EfficientNetLite0Features
from tomolearn.networks.iradonmap import IRadonMAPNetwork
from tomolearn.networks.msd import MixedScaleDenseNetwork
from tomolearn.networks.perceptual import RandomFeatures, VGG19Features, load_features
from tomolearn.networks.primal_dual import PrimalDualNetwork
from tomolearn.networks.registry import NETWORKS, build_network
from tomolearn.networks.segmentation_unet import SegmentationUNet
from tomolearn.networks.tomogan import TomoGANCritic, TomoGANGenerator
from tomolearn.networks.unet import UNet
from tomolearn.networks.vae import ConvolutionalVAE

__all__ = [
    "NETWORKS",
    "AlexNet",
    "AutomapNetwork",
    "CNNNetwork",
    "ConvolutionalVAE",
    "DenseNetwork",
    "EfficientNetLite0Features",
    "FeatureNetwork",
    "IRadonMAPNetwork",
    "MixedScaleDenseNetwork",
    "PrimalDualNetwork",
    "RandomFeatures",
    "SegmentationUNet",
    "TomoGANCritic",
    "TomoGANGenerator",
    "UNet",
    "VGG19Features",
    "build_network",
    "load_features",
]
