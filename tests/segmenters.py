"""Small segmenters, and images with labels that they learn in a second."""

import numpy as np
import torch

from tomolearn import UNetSegmenter
from tomolearn.simulation import scattered_shapes

TRAINING = {"base_channels": 4, "n_levels": 2, "max_epochs": 2, "batch_size": 4, "random_state": 0}
SMALL = TRAINING | {"precision": "float32", "patch_shape": (16, 16)}


def small(**parameters):
    return UNetSegmenter(**(SMALL | parameters))


def shapes(n=4, size=48, noise=0.1, seed=0, n_shapes=8):
    """Noisy images of squares, discs and their outlines, and their labels 0 to 4."""
    images, masks = scattered_shapes(n, size, n_shapes=n_shapes, shape_size=12, amplitude=(0.6, 1.0), random_state=seed)
    return images + np.random.default_rng(seed).normal(0, noise, images.shape).astype(np.float32), masks


def halves(n=3, shape=(32, 40), seed=0):
    """Two labels that a threshold separates, in the columns left and right of the middle."""
    masks = np.zeros((n, *shape), np.uint8)
    masks[:, :, shape[1] // 2 :] = 1
    return masks + np.random.default_rng(seed).normal(0, 0.2, masks.shape).astype(np.float32), masks


def weights(estimator):
    return torch.cat([value.reshape(-1).double() for value in estimator.network_.state_dict().values()])
