"""Phantoms whose projections are known exactly, libraries of training pairs, and the faults of a measurement.

Images and sinograms of ellipses, volumes and projections of spheres, foams, random shapes, crops of pictures; photon
and Gaussian noise, phase fringes, few views, wrong pixels; whole scans as raw counts; micro-CT of label volumes. All
randomness comes from ``random_state``; NumPy arrays in, NumPy arrays out. Lengths are pixels.
"""

from tomolearn.simulation.benchmarks import EllipsesBenchmark, make_ellipses_benchmark
from tomolearn.simulation.ellipses import ellipse_image, ellipse_sinogram, random_ellipses, shepp_logan_ellipses
from tomolearn.simulation.foam import Foam, random_foam
from tomolearn.simulation.fringes import add_phase_fringes
from tomolearn.simulation.libraries import write_library
from tomolearn.simulation.micro_ct import simulate_micro_ct
from tomolearn.simulation.natural import NaturalImages, natural_images
from tomolearn.simulation.noise import add_gaussian_noise, add_photon_noise
from tomolearn.simulation.scan import SimulatedScan, simulate_scan
from tomolearn.simulation.scattered import scattered_shapes
from tomolearn.simulation.shapes import random_shapes
from tomolearn.simulation.spheres import pack_spheres, sphere_projections, sphere_volume
from tomolearn.simulation.views import add_detector_defects, select_views

__all__ = [
    "EllipsesBenchmark",
    "Foam",
    "NaturalImages",
    "SimulatedScan",
    "add_detector_defects",
    "add_gaussian_noise",
    "add_phase_fringes",
    "add_photon_noise",
    "ellipse_image",
    "ellipse_sinogram",
    "make_ellipses_benchmark",
    "natural_images",
    "pack_spheres",
    "random_ellipses",
    "random_foam",
    "random_shapes",
    "scattered_shapes",
    "select_views",
    "shepp_logan_ellipses",
    "simulate_micro_ct",
    "simulate_scan",
    "sphere_projections",
    "sphere_volume",
    "write_library",
]
