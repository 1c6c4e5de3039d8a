"""
Segmentation: images in a folder, masks in another one
======================================================

The segmentation tutorial of superres-tomo: shapes under noise are told from the background, by its U-Net of 3 levels,
its weighted cross entropy and its patches of 64 x 64 pixels. Images are smaller than its 1,280 x 1,280 pixels, and the
network has a quarter of its channels, so that the training takes half a minute; ``benchmarks/segmentation.py`` has the
whole task. Everything goes from file to file: images, masks, the labels that come out, and a picture of them.
"""

import argparse
from pathlib import Path

import numpy as np
import tifffile

from tomolearn import UNetSegmenter, load
from tomolearn.metrics import dice
from tomolearn.simulation import scattered_shapes

SIZE, NOISE = 384, 0.3


def write_images(folder, n_images, seed):
    """Noisy images of shapes, and masks that say where the shapes are; the two folders."""
    images, labels = scattered_shapes(n_images, SIZE, random_state=seed)
    noise = np.random.default_rng(seed).normal(0, NOISE, images.shape)
    for kind, stack in (("image", (images + noise).astype(np.float32)), ("mask", (labels > 0).astype(np.uint8))):
        (folder / f"{kind}s").mkdir(parents=True, exist_ok=True)
        for k, picture in enumerate(stack):
            tifffile.imwrite(folder / f"{kind}s" / f"{kind}_{k}.tif", picture)
    return folder / "images", folder / "masks"


def main():
    parser = argparse.ArgumentParser(description="Segment an image that is learned from patches of others.")
    parser.add_argument("--out", type=Path, default=Path("segmented"), help="folder of all files")
    parser.add_argument("--epochs", type=int, default=8)
    options = parser.parse_args()
    out = options.out
    images, masks = write_images(out / "training", 2, seed=1)
    unseen, truth = write_images(out / "test", 1, seed=2)

    segmenter = UNetSegmenter(
        base_channels=16,
        loss="weighted",
        patch_shape=(64, 64),
        max_epochs=options.epochs,
        class_names=("background", "shape"),
        random_state=0,
    )
    segmenter.fit(images, masks).save(out / "segmenter.tomo")
    print(f"{segmenter.n_parameters_:,} parameters, {segmenter.n_epochs_} epochs")

    segmenter = load(out / "segmenter.tomo")
    path = segmenter.predict_volume(unseen / "image_0.tif", out / "labels.tif", overlays=out, overwrite=True)
    labels, expected = tifffile.imread(path).reshape(SIZE, SIZE), tifffile.imread(truth / "mask_0.tif")
    values = dice(expected, labels, average=None)
    told = ", ".join(f"{name} {value:.3f}" for name, value in zip(segmenter.class_names_, values, strict=True))
    print(f"Dice coefficients of an image that was not learned from: {told}")
    print(f"labels and a picture of them are in {out}")


if __name__ == "__main__":
    main()
