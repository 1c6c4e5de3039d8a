"""
Low-dose shale: TomoGAN trained on a scan of one beamline, tested on a scan of another
======================================================================================

    python examples/tomobank_shale.py tomo_00001.h5 tomo_00004.h5 --out shale --rows 800:1100 --exposure 16 --epochs 30

The experiment of the TomoGAN paper (Z. Liu et al., J. Opt. Soc. Am. A 37 (2020) 422, DOI 10.1364/JOSAA.375595) on the
shales of TomoBank: tomo_00001 and 2 were measured at the APS, 3 and 4 are the same samples at the SLS (F. De Carlo et
al., Meas. Sci. Technol. 29 (2018) 034004, DOI 10.1088/1361-6501/aa9c19). Any two Data Exchange scans of counts will do.

Normal dose is filtered back-projection of the scan as it is, low dose that of every K-th view (``--views K``) or of a
K-th of the exposure (``--exposure K``): each count becomes K times a draw from the Poisson distribution around its
K-th. For that a count is taken for one photon, since files do not say it; ``--photons`` states how many photons a pixel
of the open beam receives on average at normal dose. The scan's own noise stays in: a K-th of the added variance.

The last tenth of the rows of the training scan is not learned from; the epoch that denoises it best is kept. The test
scan is used for the table and the figure alone. All goes from file to file in blocks of rows; there are seven volumes
of 4 bytes a voxel. The same command again goes on where it was broken off, more ``--epochs`` go on with the training.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
from sklearn.pipeline import Pipeline

from tomolearn import FBPReconstructor, TomoGANDenoiser, open_scan, open_volume, psnr, reconstruct_volume, ssim
from tomolearn.exceptions import TomolearnError
from tomolearn.io import Scan, Source
from tomolearn.preprocessing import FlatFieldCorrector, MinusLog, find_center
from tomolearn.streaming import sample_sinograms

# As published with the scans, in TomoPy's way: from the left edge of the detector, half a pixel before its first pixel.
PUBLISHED_AXES = {"tomo_00001": 1024, "tomo_00002": 1029, "tomo_00003": 1011, "tomo_00004": 1048}
CORRECTIONS = [("flat", FlatFieldCorrector()), ("log", MinusLog())]
# The critic comes in when the pixels have been learned: a step with it takes several times as long.
RECIPE = {"batch_size": 8, "optimizer": "muon", "learning_rate": 0.01, "pixel_epochs": 6}


class ShortExposure(Source):
    """Projections as a shorter exposure would have counted them, in the scale of the flat fields of the scan."""

    def __init__(self, scan, factor, photons, seed):
        super().__init__(scan.shape, np.float32, scan.axes, scan.name, chunk=scan.chunk, metadata=scan.metadata)
        self._scan, self._factor, self._photons, self._seed = scan, factor, photons, seed

    def _read(self, start, stop):
        scan, block = self._scan, self._scan.read_block(start, stop).astype(np.float32)
        flats = scan.flats.read_block(start, stop).mean(axis=1)
        darks = np.zeros_like(flats) if scan.darks is None else scan.darks.read_block(start, stop).mean(axis=1)
        for counts, flat, dark, row in zip(block, flats, darks, range(start, stop), strict=True):
            of_a_count = 1.0 if self._photons is None else self._photons / float((flat - dark).mean())
            draw = np.random.default_rng((self._seed, row))  # of its row alone: blocks of any size give the same
            photons = draw.poisson(np.maximum(counts - dark, 0) * (of_a_count / self._factor))
            counts[:] = np.maximum(photons, 1) * (self._factor / of_a_count) + dark  # the logarithm of none is none
        return block


def opened(path, rows):
    """A scan with flat fields and angles."""
    scan = open_scan(path)
    if scan.flats is None:
        raise ValueError(f"{scan.name} has no flat fields (exchange/data_white); this script needs raw counts.")
    if scan.angles is None:
        print(f"{path.name} states no angles; taken as 0 to 180 degrees, both included", flush=True)
        scan = open_scan(path, angles="0:180")
    return scan.select(rows=rows)


def rotation_axis(path, scan, given):
    """Detector coordinate of the axis: as told, as published, or as found in some rows of the scan."""
    center, how = given, "given"
    if center is None and path.stem in PUBLISHED_AXES:
        center, how = PUBLISHED_AXES[path.stem] - 0.5, "published"
    elif center is None:
        sinograms, angles, _ = sample_sinograms(CORRECTIONS, scan)
        center, how = float(find_center(sinograms, angles, angle_unit="rad")), "found"
    print("{}: {} rows, {} views, {} detectors; axis {:.2f}, {}".format(path.name, *scan.shape, center, how))
    return center


def low_dose(scan, arguments, seed):
    """The scan at a K-th of its dose."""
    if arguments.views is not None:
        return scan.select(angles=slice(None, None, arguments.views))
    short = ShortExposure(scan, arguments.exposure, arguments.photons, seed)
    return Scan(short, angles=scan.angles, flats=scan.flats, darks=scan.darks, beam_intensity=scan.beam_intensity)


def reconstructed(path, scan, center):
    """The volume, opened; made if it is not there yet."""
    said = "is there already"
    if not path.exists():
        pipeline = Pipeline([*CORRECTIONS, ("reconstruct", FBPReconstructor(center=center, padding="edge"))])
        report = reconstruct_volume(pipeline, scan, path, resume=True, verbose=1)
        said = f"has {' x '.join(map(str, report.shape))} voxels, from {scan.n_angles} views"
    print(f"{path.name} {said}", flush=True)
    return open_volume(path)


def check_settings(arguments):
    """Volumes that are kept must be those of the present options."""
    names = ("train", "test", "rows", "axis_train", "axis_test", "views", "exposure", "photons")
    now, file = {name: str(getattr(arguments, name)) for name in names}, arguments.out / "settings.json"
    if not file.exists():
        file.write_text(json.dumps(now, indent=1))
    was = json.loads(file.read_text())
    changed = [f"{name} was {was.get(name)} and is {now[name]}" for name in names if was.get(name) != now[name]]
    if changed:
        raise ValueError(f"{arguments.out} holds volumes of other options: {', '.join(changed)}. Choose another --out.")


def trained(arguments, volumes):
    """A denoiser that has learned the training scan."""
    options = {"n_adjacent": arguments.n_adjacent, "max_epochs": arguments.epochs, **RECIPE}
    held_out = {"X_val": volumes["validation", "low"], "y_val": volumes["validation", "normal"]}
    denoiser = TomoGANDenoiser(random_state=0, verbose=1, **options)
    denoiser.fit(volumes["train", "low"], volumes["train", "normal"], checkpoint=arguments.checkpoint, **held_out)
    print(f"trained for {denoiser.n_epochs_} epochs; the best is number {denoiser.best_epoch_}", flush=True)
    denoiser.save(arguments.checkpoint.with_suffix(".safetensors"))
    return denoiser


def table(normal, results, center):
    """Print PSNR and SSIM of each method, means over the slices."""
    edge = normal.shape[2] - 1
    inside = np.hypot(*(np.mgrid[: edge + 1, : edge + 1] - edge / 2)) <= min(center, edge - center)
    rule = {"data_range": "reference", "weights": inside}
    print(f"test scan, {len(normal)} slices against normal dose, within the circle that the detector sees;")
    print(f"data range: that of each normal-dose slice\n{'method':<14}{'PSNR, dB':>10}{'SSIM':>8}")
    for name, volume in results.items():
        pairs = ((normal[i], volume[i]) for i in range(len(normal)))
        quality = np.mean([(psnr(*pair, **rule), ssim(*pair, **rule)) for pair in pairs], axis=0)
        print(f"{name:<14}{quality[0]:>10.2f}{quality[1]:>8.3f}", flush=True)


def figure(path, panels):
    """The middle of one slice by each method, and values along 200 pixels of one line."""
    import matplotlib.pyplot as plt

    fig, axes = plt.subplot_mosaic([list(panels), ["line"] * len(panels)], figsize=(11, 6.5), layout="constrained")
    size = len(panels["normal dose"])
    crop, line = (np.arange(max(0, (size - n) // 2), min(size, (size + n) // 2)) for n in (400, 200))
    low, high = np.percentile(panels["normal dose"][np.ix_(crop, crop)], (0.2, 99.8))
    for name, image in panels.items():
        edges = (crop[0] - 0.5, crop[-1] + 0.5)
        axes[name].imshow(image[np.ix_(crop, crop)], cmap="gray", vmin=low, vmax=high, extent=(*edges, *edges[::-1]))
        axes[name].plot(line[[0, -1]], [size // 2] * 2, color="tab:red", linewidth=1)
        axes[name].set_title(name)
        style = {"color": "black", "linewidth": 1.5} if name == "normal dose" else {"linewidth": 1}
        axes["line"].plot(line, image[size // 2, line], label=name, **style)
    axes["line"].set(xlabel=f"column of row {size // 2}", ylabel="attenuation, 1/pixel")
    axes["line"].legend()
    fig.savefig(path, dpi=110)
    plt.close(fig)


def run(arguments):
    paths, axes = ({part: getattr(arguments, name + part) for part in ("train", "test")} for name in ("", "axis_"))
    scans = {part: opened(path, arguments.rows) for part, path in paths.items()}
    arguments.out.mkdir(parents=True, exist_ok=True)
    check_settings(arguments)
    centers = {part: rotation_axis(paths[part], scans[part], axes[part]) for part in paths}
    whole, learned = scans["train"], len(scans["train"]) - max(1, len(scans["train"]) // 10)
    scans |= {"train": whole.select(rows=slice(0, learned)), "validation": whole.select(rows=slice(learned, None))}
    centers["validation"] = centers["train"]
    volumes = {}
    for seed, part in enumerate(("train", "validation", "test")):
        for dose, scan in {"normal": scans[part], "low": low_dose(scans[part], arguments, seed)}.items():
            volumes[part, dose] = reconstructed(arguments.out / f"{part}_{dose}.h5", scan, centers[part])
    denoiser = trained(arguments, volumes)
    stem = f"{arguments.checkpoint.stem}_{denoiser.n_epochs_}_epochs"
    denoised, picture = arguments.out / f"{stem}.h5", arguments.out / f"{stem}.png"
    if not denoised.exists():
        denoiser.predict_volume(volumes["test", "low"], denoised, resume=True)
    normal = volumes["test", "normal"]
    results = {"conventional": volumes["test", "low"], "TomoGAN": open_volume(denoised)}
    table(normal, results, centers["test"])
    figure(picture, {name: volume[len(normal) // 2] for name, volume in (results | {"normal dose": normal}).items()})
    print(f"wrote {denoised.name} and {picture.name} to {arguments.out}/")


def span(text):
    first, end = text.split(":")
    return slice(int(first), int(end))


def positive(text):
    if int(text) < 1:
        raise ValueError("must be at least 1")
    return int(text)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[1])
    parser.add_argument("--out", type=Path, default=Path("shale"), help="folder to write (default: shale)")
    for name, what in (("train", "to learn from"), ("test", "to denoise")):
        parser.add_argument(name, type=Path, help=f"Data Exchange scan {what}")
        parser.add_argument(f"--axis-{name}", type=float, metavar="X", help="detector coordinate of its rotation axis")
    dose = parser.add_mutually_exclusive_group()
    dose.add_argument("--views", type=positive, metavar="K", help="low dose: every K-th view (default: 16)")
    dose.add_argument("--exposure", type=positive, metavar="K", help="low dose: a K-th of the exposure")
    parser.add_argument("--photons", type=positive, help="of --exposure: in a pixel of the open beam at normal dose")
    parser.add_argument("--rows", type=span, metavar="A:B", help="only these rows of both scans (default: all)")
    parser.add_argument("--epochs", type=positive, default=30, help="of the training (default: 30)")
    parser.add_argument("--n-adjacent", type=positive, default=3, help="slices that make one (default: 3)")
    parser.add_argument("--checkpoint", type=Path, help="state of the training (default: tomogan.checkpoint in --out)")
    arguments = parser.parse_args()
    arguments.views = arguments.views or (16 if arguments.exposure is None else None)
    arguments.checkpoint = arguments.checkpoint or arguments.out / "tomogan.checkpoint"
    try:
        run(arguments)
    except (TomolearnError, ValueError, OSError) as error:
        sys.exit(f"tomobank_shale: {error}")
    except KeyboardInterrupt:
        sys.exit("tomobank_shale: broken off; the same command goes on from here")


if __name__ == "__main__":
    main()
