"""
Segmentation: images in a folder, masks in another one
======================================================

The segmentation tutorial of superres-tomo: shapes under noise are told from the background, by its U-Net of 3 levels,
its weighted cross entropy and its patches of 64 x 64 pixels. Images are smaller than its 1,280 x 1,280 pixels, and the
network has an eighth of its channels, so that the training takes seconds; ``benchmarks/segmentation.py`` has the whole
task. Everything goes from file to file: images, masks, the labels that come out, and a picture of them.
"""

# %%
# Images and masks
# ----------------
#
# Two images to learn from and one to test with, each with a mask that says where the shapes are. ``image_0`` and
# ``mask_0`` belong together: pairs are found by what their names have in common, and a file without partner is an
# error.

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import tifffile

from tomolearn import UNetSegmenter, dice, load
from tomolearn.simulation import scattered_shapes

SIZE, NOISE = 256, 0.3
folder = Path(tempfile.mkdtemp())


def write_images(part, n_images, seed):
    """Noisy images of shapes, and masks of where the shapes are, in two folders."""
    images, labels = scattered_shapes(n_images, SIZE, random_state=seed)
    noise = np.random.default_rng(seed).normal(0, NOISE, images.shape)
    for kind, stack in (("image", (images + noise).astype(np.float32)), ("mask", (labels > 0).astype(np.uint8))):
        (folder / part / f"{kind}s").mkdir(parents=True)
        for k, picture in enumerate(stack):
            tifffile.imwrite(folder / part / f"{kind}s" / f"{kind}_{k}.tif", picture)


write_images("training", 2, seed=1)
write_images("test", 1, seed=2)

# %%
# Training
# --------
#
# An epoch has as many patches as cover the images once, cut anywhere. ``overlap=0`` would take superres-tomo's grid,
# and ``patch_range`` some patches of it. Shapes cover less of the image than the background: "weighted" is
# superres-tomo's loss, with weights that make up for it.

segmenter = UNetSegmenter(
    base_channels=8,
    loss="weighted",
    patch_shape=(64, 64),
    learning_rate=3e-3,
    batch_size=4,
    max_epochs=12,
    early_stopping=False,
    class_names=("background", "shape"),
    random_state=0,
)
segmenter.fit(folder / "training" / "images", folder / "training" / "masks")
print(f"{segmenter.n_parameters_:,} parameters, {segmenter.n_epochs_} epochs")

# %%
# Labels of a new image
# ---------------------
#
# The model is kept in a file, and labels a file: tile by tile, so that images may be larger than memory, without seams.
# The labels are a TIFF file of whole numbers, not a figure; ``overlays`` writes pictures too.

segmenter.save(folder / "segmenter.tomo")
segmenter = load(folder / "segmenter.tomo")
image = folder / "test" / "images" / "image_0.tif"
written = segmenter.predict_volume(image, folder / "labels.tif", overlays=folder)
labels = tifffile.imread(written).reshape(SIZE, SIZE)
truth = tifffile.imread(folder / "test" / "masks" / "mask_0.tif")

for name, value in zip(segmenter.class_names_, dice(truth, labels, average=None), strict=True):
    print(f"Dice coefficient of {name}: {value:.3f}")

# %%
# Beside each other: the image, the mask that nobody showed the network, and what it found. Grey: where they differ.

wrong = np.where(labels == truth, labels, 0.5)
fig, axes = plt.subplots(1, 3, figsize=(9, 3.2), layout="constrained")
panels = {"image": tifffile.imread(image), "mask": truth, "labels": wrong}
for axis, (name, picture) in zip(axes, panels.items(), strict=True):
    axis.imshow(picture, cmap="gray", vmin=0, vmax=1)
    axis.set_title(name)
    axis.set_axis_off()

plt.show()
