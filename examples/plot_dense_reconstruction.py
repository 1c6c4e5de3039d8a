"""
Reconstruction learned from pairs: AUTOMAP, CNN and dense network
=================================================================

superres-tomo's tutorials of reconstruction, with its three networks. None of them is told anything of the scan: they
learn from pairs of sinograms and images what makes an image of a sinogram. Images of 32 x 32 pixels and some hundred
pairs take seconds; ``benchmarks/shapes.py`` has the whole task, 64 x 64 pixels and 9,000 pairs, and
:doc:`/learned` what came of it.
"""

# %%
# The library
# -----------
#
# Random shapes and their sinograms, in the file that superres-tomo calls a library: ``Images`` and ``Sinograms``, the
# number of the pair last. Each detector cell receives 30 photons.

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from tomolearn import (
    AutomapReconstructor,
    CNNReconstructor,
    DenseReconstructor,
    FBPReconstructor,
    load,
    open_library,
    psnr,
    ssim,
)
from tomolearn.simulation import random_shapes, write_library

folder = Path(tempfile.mkdtemp())
shapes = random_shapes(700, 32, shape_size=(3, 8), random_state=0)
write_library(folder / "shapes.h5", shapes, photons=30, random_state=0)

# %%
# `open_library` presents it with the number of the pair first, and reads it bit by bit: a library may be larger than
# memory, and slices of it go straight into ``fit``. This one is small, so it is read at once.

images, sinograms = open_library(folder / "shapes.h5")
print(images.shape, sinograms.shape, sinograms.axes)

# %%
# The last 100 pairs are put aside.

X, y = sinograms[:600], images[:600]
X_test, y_test = sinograms[600:], images[600:]

# %%
# Training
# --------
#
# The defaults are those of the tutorials: Adam, the mean squared error, 100 epochs that end early when the validation
# loss has not fallen for three. With few pairs and little time the networks are narrower here, and learn faster: by a
# higher rate, or by the optimiser Muon, which suits convolutions. ``rank`` makes each dense layer of AUTOMAP the
# product of two thin ones; without it, AUTOMAP has a weight for each pair of pixels, 537 million at 128 x 128.

training = {"learning_rate": 2e-3, "max_epochs": 10, "batch_size": 64, "random_state": 0}
faster = {"optimizer": "muon", "learning_rate": 1e-2}
estimators = {
    "AUTOMAP": AutomapReconstructor(rank=48, n_filters=8, **training),
    "CNN": CNNReconstructor(width=200, n_filters=32, n_image_filters=16, **(training | faster)),
    "dense": DenseReconstructor(width=160, n_filters=8, **training),
}
reconstructions = {"FBP, Shepp-Logan": FBPReconstructor(filter="shepp-logan").fit_transform(X_test)}
for name, estimator in estimators.items():
    reconstructions[name] = estimator.fit(X, y).predict(X_test)
    print(f"{name:<8} {estimator.n_parameters_:>9,} weights, {estimator.n_epochs_} epochs")

# %%
# What the loss did, on the pairs that were learned from and on the tenth that was held out:

fig, axes = plt.subplots(1, 3, figsize=(9, 2.8), layout="constrained", sharey=True)
for axis, (name, estimator) in zip(axes, estimators.items(), strict=True):
    axis.semilogy(estimator.history_["loss"], label="training")
    axis.semilogy(estimator.history_["val_loss"], label="validation")
    axis.set(title=name, xlabel="epoch")
axes[0].set_ylabel("loss")
axes[0].legend()

# %%
# What they make of unseen sinograms
# ----------------------------------

for name, stack in reconstructions.items():
    quality = psnr(y_test, stack, data_range=1.0), ssim(y_test, stack, data_range=1.0)
    print(f"{name:<18}{quality[0]:6.2f} dB{quality[1]:7.3f}")

panels = {"truth": y_test, **reconstructions}
fig, axes = plt.subplots(2, len(panels), figsize=(2.2 * len(panels), 4.8), layout="constrained")
for column, (name, stack) in zip(axes.T, panels.items(), strict=True):
    column[0].set_title(name)
    for axis, image in zip(column, stack, strict=False):
        axis.imshow(image, cmap="gray", vmin=0, vmax=1)
        axis.set_axis_off()

# %%
# What they make of something else
# --------------------------------
#
# A square frame is nothing like the shapes that they have seen. The networks bend it towards them; filtered
# back-projection, which has learned nothing, does not. :doc:`/training_sets` says how to ask beforehand whether a
# sinogram is like those of the training set.

frame = np.zeros((1, 32, 32), np.float32)
frame[:, 7:25, 7:25] = 1
frame[:, 10:22, 10:22] = 0
write_library(folder / "frame.h5", frame, photons=30, random_state=1)
strange = open_library(folder / "frame.h5")[1][:]

panels = {"truth": frame, "FBP": FBPReconstructor(filter="shepp-logan").fit_transform(strange)}
panels |= {name: estimator.predict(strange) for name, estimator in estimators.items()}
fig, axes = plt.subplots(1, len(panels), figsize=(2.2 * len(panels), 2.6), layout="constrained")
for axis, (name, stack) in zip(axes, panels.items(), strict=True):
    axis.imshow(stack[0], cmap="gray", vmin=0, vmax=1)
    axis.set(title=name)
    axis.set_axis_off()

# %%
# Kept for later
# --------------
#
# A model file holds tensors and JSON; reading it runs no code.

estimators["dense"].save(folder / "dense.tomo")
again = load(folder / "dense.tomo").predict(X_test)
print("the same after loading:", np.array_equal(again, reconstructions["dense"]))

plt.show()
