"""
TomoGAN: low-dose slices denoised
=================================

A foam is scanned with few photons, reconstructed, and denoised by a network that has learned from another foam at low
and at normal dose. The network is that of the paper; the foam is small and the training takes seconds, so that the
figures are those of a sketch. ``benchmarks/denoising.py`` has slices of 512 x 512 pixels (:doc:`/denoising`),
``examples/tomobank_shale.py`` the paper's experiment on measured shales.
"""

# %%
# Low dose and normal dose
# ------------------------
#
# Both doses are reconstructed by filtered back-projection; low dose means 300 photons a detector cell. The second foam
# is for the test alone.

import tempfile
from pathlib import Path

import h5py
import matplotlib.pyplot as plt
import numpy as np

from tomolearn import FBPReconstructor, TomoGANDenoiser, TVReconstructor, consistency, load, open_pairs, psnr, ssim
from tomolearn.geometry import default_angles
from tomolearn.simulation import add_photon_noise, random_foam

N_SLICES, SIZE, PHOTONS, ATTENUATION = 8, 80, 300, 0.02
angles = default_angles(150)


def scan(seed):
    """Exact slices of a foam, values about 1, and its sinograms at low dose."""
    foam = random_foam(N_SLICES, SIZE, n_voids=80, radius_range=(3.0, 12.0), height=48.0, random_state=seed)
    exact = ATTENUATION * foam.sinograms(angles)
    return foam.volume(), add_photon_noise(exact, PHOTONS, random_state=seed) / ATTENUATION


reconstructor = FBPReconstructor(angles=angles)
clean, sinograms = scan(seed=0)
noisy = reconstructor.fit_transform(sinograms)
clean_test, sinograms_test = scan(seed=1)
noisy_test = reconstructor.transform(sinograms_test)

# %%
# TomoGAN's own programs read one HDF5 file of four datasets. `open_pairs` opens such files without reading them.

folder = Path(tempfile.mkdtemp())
with h5py.File(folder / "pairs.h5", "w") as file:
    file["train_ns"], file["train_gt"], file["test_ns"] = noisy, clean, noisy_test

X, y = open_pairs(folder / "pairs.h5")
X_test, no_truth = open_pairs(folder / "pairs.h5", "test")
print(X.shape, y.shape, X_test.shape, no_truth)

# %%
# Training
# --------
#
# The generator's loss is the sum of three: the squared error of the pixels, what a frozen network sees in both images
# (``perceptual_weight``), and a critic that learns to tell made slices from clean ones (``adversarial_weight``). The
# critic makes a step several times as long, so that it comes in when the pixels have said what they can: first the
# squared error alone, then all three. ``perceptual="auto"`` takes the weights of EfficientNet, which the extra
# ``perceptual`` brings; here the frozen network has random weights, and nothing needs to be installed.

denoiser = TomoGANDenoiser(
    adversarial_weight=0,
    perceptual_weight=0,
    optimizer="muon",
    learning_rate=1e-2,
    patch_shape=(40, 40),
    batch_size=4,
    max_epochs=12,
    early_stopping=False,
    warm_start=True,
    random_state=0,
).fit(X, y)
pixels_only = denoiser.predict(X_test)

denoiser.set_params(
    adversarial_weight=1e-3, perceptual_weight=1e-3, perceptual="random", learning_rate=2e-3, max_epochs=1
).fit(X, y)
denoised = denoiser.predict(X_test)

# %%
# Beside filtered back-projection and total variation
# ---------------------------------------------------
#
# The regularization of TV is the best one for the first foam.

tv = TVReconstructor(angles=angles, regularization=20.0, max_iter=80, nonnegative=True).fit_transform(sinograms_test)
images = {"FBP": noisy_test, "TV": tv, "TomoGAN, pixels": pixels_only, "TomoGAN": denoised}
for name, stack in images.items():
    quality = psnr(clean_test, stack, data_range=1.0), ssim(clean_test, stack, data_range=1.0)
    print(f"{name:<16}{quality[0]:6.2f} dB{quality[1]:7.3f}")

panels = {"truth": clean_test, **images}
fig, axes = plt.subplots(1, len(panels), figsize=(2.6 * len(panels), 2.9), layout="constrained")
for axis, (name, stack) in zip(axes, panels.items(), strict=True):
    axis.imshow(stack[N_SLICES // 2], cmap="gray", vmin=-0.1, vmax=1.2)
    axis.set_title(name)
    axis.set_axis_off()

# %%
# Is it in the data?
# ------------------
#
# A denoiser can invent and erase. ``consistency`` projects its slices and searches what is left of the measured data
# for structures: positive where the data want more than the slice shows, negative where they want less, in standard
# deviations of the noise. A void that is painted over stands out.

painted = denoised.copy()
rows, columns = np.mgrid[:SIZE, :SIZE]
painted[:, np.hypot(rows - 50, columns - 40) < 6] = 0
found = denoiser.consistency(noisy_test, sinograms_test, angles)
print(f"beyond five standard deviations: {found.fraction:.3f} of the pixels")

told = consistency(painted, sinograms_test, angles)
fig, axes = plt.subplots(1, 3, figsize=(8.6, 3), layout="constrained")
axes[0].imshow(painted[N_SLICES // 2], cmap="gray", vmin=-0.1, vmax=1.2)
axes[0].set_title("a void that is not there")
for axis, (name, each) in zip(axes[1:], {"denoised": found, "with the void": told}.items(), strict=True):
    shown = axis.imshow(each.map[N_SLICES // 2], cmap="RdBu_r", vmin=-8, vmax=8)
    axis.set_title(f"consistency, {name}")
fig.colorbar(shown, ax=axes[1:], label="standard deviations")
for axis in axes:
    axis.set_axis_off()

# %%
# Kept for the next scan
# ----------------------
#
# From file to file, block by block: the volume may be larger than memory. No truth is needed.

denoiser.save(folder / "denoiser.tomo")
report = load(folder / "denoiser.tomo").predict_volume(f"{folder}/pairs.h5:test_ns", folder / "denoised.h5")
print(report)

plt.show()
