"""A slice of 1024 x 1024 pixels against the clock: FBP and TomoGAN, SIRT of 400 iterations, and TV.

    python benchmarks/race.py [--threads 2] [--repeats 5]

A foam under 256 views of 10,000 photons each, by the network that was trained on foams of half the size under half as
many views (row foam-views8 of ``benchmarks/denoising.py``). SIRT and TV have the parameters that were best there but
for the iterations, 400 each.

Times are medians in one run after one to warm up, those of SIRT and TV of one call. PSNR and SSIM have the range of the
slice.
"""

import argparse
import time

import torch
from _timing import machine, median_seconds, print_table
from _training import quality, trained_rows

from tomolearn import FBPReconstructor, SIRTReconstructor, TVReconstructor
from tomolearn.geometry import default_angles
from tomolearn.networks import TomoGANGenerator
from tomolearn.simulation import add_photon_noise, random_foam

SIZE, N_VIEWS, PHOTONS, ITERATIONS = 1024, 256, 10_000, 400
ATTENUATION = 0.0025  # in 1 / pixel: half of the photons that go through are absorbed
SIRT = {"max_iter": ITERATIONS, "nonnegative": True}
TV = {"regularization": 20.0, "max_iter": ITERATIONS, "nonnegative": True}


def plain(image, dtype, memory_format):
    """The generator without the rest: random weights, torch alone."""
    network = TomoGANGenerator().eval().to(dtype=dtype, memory_format=memory_format)
    x = torch.from_numpy(image)[None, None].to(dtype).contiguous(memory_format=memory_format)

    def call():
        with torch.no_grad():
            return network(x)

    return call


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(machine())
    foam = random_foam(1, SIZE, radius_range=(10.0, 60.0), random_state=4)
    truth, angles = foam.volume(), default_angles(N_VIEWS)
    exact = foam.sinograms(angles, supersampling=2)
    sinograms = add_photon_noise(exact * ATTENUATION, PHOTONS, random_state=4) / ATTENUATION
    known = {"angles": angles, "angle_unit": "rad"}
    fbp = FBPReconstructor(method="direct", **known).fit(sinograms)
    image = fbp.predict(sinograms)
    denoisers = {}
    for precision in ("float32", "bfloat16"):
        ((_, denoiser),) = trained_rows("foam-views8")
        denoisers[precision] = denoiser.set_params(precision=precision)
    calls = {"FBP": lambda: fbp.predict(sinograms)}
    calls |= {f"TomoGAN, {name}": lambda d=d: d.predict(image) for name, d in denoisers.items()}
    calls["plain torch, float32"] = plain(image[0], torch.float32, torch.contiguous_format)
    calls["plain torch, bfloat16, channels last"] = plain(image[0], torch.bfloat16, torch.channels_last)
    seconds = median_seconds(calls, options.repeats)
    print_table("parts", ["part", "s"], [[name, f"{value:.3f}"] for name, value in seconds.items()])
    results = {"FBP": (seconds["FBP"], image)}
    for name, denoiser in denoisers.items():
        total = seconds["FBP"] + seconds[f"TomoGAN, {name}"]
        results[f"FBP + TomoGAN, {name}"] = total, denoiser.predict(image)
    for name, estimator in (("SIRT", SIRTReconstructor(**SIRT, **known)), ("TV", TVReconstructor(**TV, **known))):
        estimator.fit(sinograms)
        start = time.perf_counter()
        images = estimator.predict(sinograms)
        results[f"{name}, {ITERATIONS} iterations"] = time.perf_counter() - start, images
    rows = []
    for name, (spent, images) in results.items():
        value, structure = quality(images, truth)
        rows.append([name, f"{spent:.2f}", f"{value:.2f}", f"{structure:.3f}"])
    print_table(f"a slice of {SIZE} x {SIZE}, {N_VIEWS} views", ["method", "s", "PSNR / dB", "SSIM"], rows)


if __name__ == "__main__":
    main()
