"""
Learned reconstruction from few views
=====================================

A network with the projection inside (`LearnedPrimalDualReconstructor`) and one behind filtered back-projection
(`FBPUNetReconstructor`) learn from simulated scans of 12 views with noise, and reconstruct objects that they have not
seen, beside filtered back-projection and total variation. Longer trainings are in ``benchmarks/reconstruction.py``;
what came of them is in :doc:`/learned`.
"""

# %%
# Scans
# -----

import tempfile
import time
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from tomolearn import (
    FBPReconstructor,
    FBPUNetReconstructor,
    LearnedPrimalDualReconstructor,
    TVReconstructor,
    load,
    psnr,
    radon,
)
from tomolearn.geometry import default_angles
from tomolearn.simulation import add_gaussian_noise, random_ellipses

SIZE, N_VIEWS = 32, 12


def scans(n, seed):
    """Noisy sinograms (n, views, detectors) of random ellipses, and the images."""
    images = random_ellipses(n, SIZE, random_state=seed)
    sinograms = radon(images, default_angles(N_VIEWS))
    return add_gaussian_noise(sinograms, 0.05, random_state=seed), images


X, y = scans(96, seed=0)
X_test, y_test = scans(16, seed=1)

# %%
# Four estimators
# ---------------
#
# They are used alike: ``fit``, then ``predict``. The first two have nothing to learn. ``augmentation`` shows the
# networks each pair reflected and turned, which costs nothing: the projection of a turned object is known. Trainings of
# some seconds do not bring them past total variation, which needs none; those of the benchmark do.

training = {"augmentation": True, "max_epochs": 3, "batch_size": 2, "random_state": 0}
estimators = {
    "FBP": FBPReconstructor(filter="hann"),
    "TV": TVReconstructor(regularization=1.0, max_iter=200, nonnegative=True),
    "FBP + U-Net": FBPUNetReconstructor(channels=(16, 32), **training),
    "primal-dual": LearnedPrimalDualReconstructor(n_iterations=4, n_filters=16, n_primal=3, n_dual=3, **training),
}
images = {}
print(f"{len(X_test)} images of {SIZE} x {SIZE}, {N_VIEWS} views, noise of 5 %; data range 1; seeds 0 and 1")
for name, estimator in estimators.items():
    start = time.perf_counter()
    images[name] = estimator.fit(X, y).predict(X_test)
    quality = psnr(y_test, images[name], data_range=1.0)
    print(f"{name:<14}{quality:6.2f} dB{time.perf_counter() - start:8.1f} s")

# %%
panels = {"truth": y_test, **images}
fig, axes = plt.subplots(2, len(panels), figsize=(2.3 * len(panels), 5), layout="constrained")
for column, (name, stack) in zip(axes.T, panels.items(), strict=True):
    column[0].set_title(name)
    for axis, image, true in zip(column, stack, y_test, strict=False):
        axis.imshow(image, cmap="gray", vmin=0, vmax=float(true.max()))
        axis.set_axis_off()

# %%
# Other views, another size
# -------------------------
#
# What knows the scan is not bound to the one that it has learned from: the same network takes 30 views of an image that
# is larger. It has not learned from such scans, and may be worse at them.

estimator = estimators["primal-dual"]
larger = random_ellipses(1, 64, random_state=2)
print(estimator.predict(radon(larger, default_angles(30))).shape)

# %%
# Kept for later
# --------------

file = Path(tempfile.mkdtemp()) / "primal_dual.tomo"
estimator.save(file)
print("the same after loading:", np.array_equal(load(file).predict(X_test), images["primal-dual"]))

plt.show()
