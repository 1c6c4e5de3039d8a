"""Speed of patches beside MONAI's sliding window and tiler: one run, medians, a table.

    python benchmarks/patches.py [--threads 2] [--repeats 9] [--quick] [--device cuda]

All do the same work: cut an image into overlapping patches, do nothing to them, blend them back. Times are of the whole
call with a fresh result, except the first row, the unit of the ratios: a copy of the image into memory that exists.
tiler uses one thread, and its Hann window is zero at the ends, so that the rim of the image is lost; MONAI has no Hann
window, its Gaussian one is the closest. On a CUDA device the images are there; tiler has no GPU version and is left
out.
"""

import argparse

import numpy as np
import torch
from _timing import machine, median_seconds, print_table

from tomolearn.ops import extract_patches, stitch_patches

CASES = {  # name -> image, patch, stride
    "2-D": ((4096, 4096), 256, 192),
    "3-D": ((256, 256, 256), 64, 48),
}
MUST, AIM = 7, 4  # extract_patches + stitch_patches, 2-D, in copies


def monai(image, patch, stride, mode):
    from monai.inferers import sliding_window_inference

    return sliding_window_inference(
        image[None, None],
        (patch,) * image.ndim,
        sw_batch_size=4,
        predictor=lambda x: x,
        overlap=1 - stride / patch,
        mode=mode,
    )[0, 0]


def tiler(image, patch, stride):
    from tiler import Merger, Tiler

    tiles = Tiler(image.shape, (patch,) * image.ndim, overlap=patch - stride, mode="reflect")
    merger = Merger(tiles, window="hann")
    for number, tile in tiles(image):
        merger.add(number, tile)
    return torch.from_numpy(merger.merge(dtype=np.float32))


def compare(name, repeats, quick, device="cpu"):
    """Time one case and print its table; returns the ratio of extraction and stitching together."""
    on_gpu = torch.device(device).type != "cpu"
    shape, patch, stride = CASES[name]
    shape = tuple(n // 4 for n in shape) if quick else shape
    image = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    array, image, sizes = image.numpy(), image.to(device), (patch,) * len(shape)
    existing = torch.empty_like(image)
    patches = extract_patches(image, sizes, stride=stride)

    def ours(blend):
        return stitch_patches(extract_patches(image, sizes, stride=stride), shape, stride=stride, blend=blend)

    calls = {
        "copy into existing memory": lambda: existing.copy_(image),
        "copy into fresh memory (`clone`)": image.clone,
        "`extract_patches`": lambda: extract_patches(image, sizes, stride=stride),
        "`stitch_patches`, hann": lambda: stitch_patches(patches, shape, stride=stride, blend="hann"),
        "both, hann": lambda: ours("hann"),
        "both, gaussian": lambda: ours("gaussian"),
        "both, none": lambda: ours("none"),
    }
    peers = {
        "MONAI `sliding_window_inference`, gaussian": lambda: monai(image, patch, stride, "gaussian"),
        "MONAI `sliding_window_inference`, constant": lambda: monai(image, patch, stride, "constant"),
    }
    if on_gpu:
        print("\ntiler is left out: it has no GPU version.")
    else:
        peers["tiler, hann"] = lambda: tiler(array, patch, stride)
    seconds = median_seconds(calls, repeats, device) | median_seconds(peers, max(repeats // 3, 1), device)
    unit = seconds["copy into existing memory"]
    whole = [name for name in calls | peers if not name.startswith("`")]
    errors = {name: float(((calls | peers)[name]() - image).abs().max()) for name in whole}
    rows = [
        (name, f"{1e3 * t:.{3 if on_gpu else 1}f}", f"{t / unit:.2f}", f"{errors[name]:.1e}" if name in errors else "")
        for name, t in seconds.items()
    ]
    title = (
        f"{name}: {' x '.join(map(str, shape))} float32 ({image.nbytes / 1e6:.0f} MB), patches of {patch}, stride "
        f"{stride} ({patches.shape[0]} patches, {patches.nbytes / 1e6:.0f} MB)"
    )
    print_table(title, ("what", "ms", "copies", "max error"), rows)
    fastest = min(seconds[name] for name in peers)
    print(f"\nBoth, hann: {fastest / seconds['both, hann']:.1f} times as fast as the fastest peer.")
    return seconds["both, hann"] / unit


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--quick", action="store_true", help="images a quarter as wide")
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1 (default: cpu)")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(machine())
    ratios = {name: compare(name, options.repeats, options.quick, options.device) for name in CASES}
    print(f"\n2-D, hann: {ratios['2-D']:.2f} copies (must be at most {MUST}, aim {AIM})")


if __name__ == "__main__":
    main()
