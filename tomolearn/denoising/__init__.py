"""Denoisers: estimators that turn noisy slices into clean ones."""

from tomolearn.denoising.noise2self import Noise2SelfDenoiser
from tomolearn.denoising.pictures import EpochPictures
from tomolearn.denoising.tomogan import TomoGANDenoiser
from tomolearn.denoising.vae import VAEDenoiser

__all__ = ["EpochPictures", "Noise2SelfDenoiser", "TomoGANDenoiser", "VAEDenoiser"]
