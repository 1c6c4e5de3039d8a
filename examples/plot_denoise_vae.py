"""
Denoising with a variational autoencoder
========================================

superres-tomo's tutorial of denoising: small images of shapes under noise as strong as the shapes, and an autoencoder
that makes each image of a few numbers. What all the training images have in common is kept; noise is not, and neither
is what they do not have in common.
"""

# %%
# Noisy images and clean ones
# ---------------------------
#
# The images of superres-tomo show 24 shapes at places of their own, and sixteen numbers cannot say where 24 shapes are.
# Discs, one an image, show what an autoencoder can do: a disc is made of a place, a radius and a grey value.

import matplotlib.pyplot as plt
import numpy as np

from tomolearn import VAEDenoiser, psnr

SIZE, NOISE = 32, 0.5


def discs(n, seed):
    """Clean images (n, SIZE, SIZE), and the same under noise."""
    rng = np.random.default_rng(seed)
    x, y, radius, grey = rng.uniform([8, 8, 3, 0.4], [24, 24, 7, 1.0], (n, 4)).T[..., None, None]
    rows, columns = np.mgrid[:SIZE, :SIZE]
    clean = grey * (np.hypot(rows - y, columns - x) < radius)
    return clean.astype(np.float32), (clean + rng.normal(0, NOISE, clean.shape)).astype(np.float32)


clean, noisy = discs(400, seed=0)
clean_test, noisy_test = discs(60, seed=1)

# %%
# Training
# --------
#
# ``fit`` takes noisy images and clean ones. (Without the clean ones, ``fit(noisy)``, the network learns to reproduce
# the noisy images themselves; that takes more images and more time.) A tenth is held out to end the training. Images
# that are larger than ``patch_shape`` are cut into patches that overlap.

denoiser = VAEDenoiser(
    patch_shape=(SIZE, SIZE), latent_dim=8, learning_rate=4e-3, batch_size=16, max_epochs=16, random_state=0
).fit(noisy, clean)
images = {"noisy": noisy_test, "VAE": denoiser.predict(noisy_test)}
for name, stack in images.items():
    print(f"{name:<8}{psnr(clean_test, stack, data_range=1.0):6.2f} dB")

# %%
# ``predict`` decodes the mean of the latent values: an image gives the same result each time. (superres-tomo draws
# them, so that it does not.) How far the images that are drawn differ is the ``uncertainty`` of the network about what
# it makes, which is largest at the borders of the disc.

panels = {"clean": clean_test, **images, "uncertainty": denoiser.uncertainty(noisy_test[:3], random_state=0)}
fig, axes = plt.subplots(3, len(panels), figsize=(2 * len(panels), 6.2), layout="constrained")
for column, (name, stack) in zip(axes.T, panels.items(), strict=True):
    column[0].set_title(name)
    high = 0.3 if name == "uncertainty" else 1.0
    for axis, image in zip(column, stack, strict=False):
        axis.imshow(image, cmap="gray", vmin=0, vmax=high)
        axis.set_axis_off()

# %%
# The numbers that an image is made of
# ------------------------------------
#
# ``encode`` gives them, ``decode`` makes images of them: halfway between two discs there is a disc.

first, last = denoiser.encode(noisy_test[:2])
steps = np.linspace(0, 1, 7)[:, None]
between = denoiser.decode((1 - steps) * first + steps * last)
fig, axes = plt.subplots(1, len(between), figsize=(1.6 * len(between), 1.8), layout="constrained")
for axis, image in zip(axes, between, strict=True):
    axis.imshow(image, cmap="gray", vmin=0, vmax=1)
    axis.set_axis_off()

# %%
# What it cannot make
# -------------------
#
# Asked about two discs it makes one, of some grey between: it has never seen two. Denoise images like those of the
# training set only, or take a network that looks at small surroundings, as in
# :ref:`sphx_glr_generated_gallery_plot_tomogan.py`.

rows, columns = np.mgrid[:SIZE, :SIZE]
two = (np.hypot(rows - 10, columns - 9) < 4) + (np.hypot(rows - 22, columns - 23) < 4)
unlike = (two + np.random.default_rng(2).normal(0, NOISE, two.shape)).astype(np.float32)[None]
panels = {"two discs": two, "noisy": unlike[0], "VAE": denoiser.predict(unlike)[0]}
fig, axes = plt.subplots(1, 3, figsize=(6, 2.3), layout="constrained")
for axis, (name, image) in zip(axes, panels.items(), strict=True):
    axis.imshow(image, cmap="gray", vmin=0, vmax=1)
    axis.set_title(name)
    axis.set_axis_off()

plt.show()
