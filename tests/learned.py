"""Small learned reconstructors and pairs for their tests: fitted in a fraction of a second each."""

import numpy as np
import torch

import tomolearn
from tomolearn.geometry import ParallelBeam, default_angles
from tomolearn.operators import RadonOperator

TRAINING = {"max_epochs": 2, "batch_size": 4, "random_state": 0, "precision": "float32"}
SMALL = {
    "AutomapReconstructor": {"rank": 4, "n_filters": 4, "learning_rate": 1e-3},
    "CNNReconstructor": {"width": 8, "n_filters": 4, "n_image_filters": 4, "learning_rate": 1e-3},
    "DenseReconstructor": {"width": 8, "n_filters": 4, "learning_rate": 1e-3},
    "FBPUNetReconstructor": {"channels": (4, 6)},
    "IRadonMAPReconstructor": {"channels": (4, 6)},
    "LearnedPrimalDualReconstructor": {"n_iterations": 2, "n_primal": 2, "n_dual": 2, "n_filters": 4},
}
NAMES = tuple(SMALL)
SCANNED = NAMES[3:]  # those that know the scan and take other shapes


def small(name, **parameters):
    return getattr(tomolearn, name)(**(TRAINING | SMALL[name] | parameters))


def pairs(n=8, sinogram_shape=(7, 12), image_shape=None, seed=0, **beam):
    """Sinograms and images, random but for the projection between them."""
    n_angles, n_detectors = sinogram_shape
    geometry = ParallelBeam(
        beam.pop("angles", default_angles(n_angles)), n_detectors, image_shape or (n_detectors, n_detectors), **beam
    )
    images = np.random.default_rng(seed).random((n, *geometry.image_shape)).astype(np.float32)
    return RadonOperator(geometry)(torch.from_numpy(images)).numpy(), images


def weights(estimator):
    return torch.cat([value.reshape(-1).double() for value in estimator.network_.state_dict().values()])


def same_training(a, b):
    """Equal weights, losses and counts."""
    losses = [{key: value for key, value in one.history_.items() if key != "seconds"} for one in (a, b)]
    return torch.equal(weights(a), weights(b)) and losses[0] == losses[1] and a.best_epoch_ == b.best_epoch_
