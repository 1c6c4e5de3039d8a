"""The foams that denoisers are trained and tested on: slices, scans of them at several doses, reconstructions."""

from functools import cache

from tomolearn.geometry import default_angles
from tomolearn.simulation import add_photon_noise, random_foam, select_views

SIZE, N_VIEWS = 512, 1024
ATTENUATION = 0.005  # of the solid, in 1 / pixel: about half of what goes through the cylinder is absorbed
# Seed, slices, and range of the voids' radii of each part: the test part has voids of other sizes.
PARTS = {"train": (1, 128, (8.0, 40.0)), "validation": (2, 8, (8.0, 40.0)), "test": (3, 16, (5.0, 30.0))}
# Photons on a detector cell, and views.
CASES = {
    "views 1/2": (10_000, N_VIEWS // 2),
    "views 1/4": (10_000, N_VIEWS // 4),
    "views 1/8": (10_000, N_VIEWS // 8),
    "views 1/16": (10_000, N_VIEWS // 16),
    "10,000 photons": (10_000, N_VIEWS),
    "1,000 photons": (1_000, N_VIEWS),
    "500 photons": (500, N_VIEWS),
    "100 photons": (100, N_VIEWS),
}


@cache
def foam(part):
    """Slices (n, 512, 512) from 0, a void, to 1, the solid, and their exact sinograms without noise."""
    seed, n_slices, radius_range = PARTS[part]
    phantom = random_foam(n_slices, SIZE, radius_range=radius_range, random_state=seed)
    return phantom.volume(), phantom.sinograms(default_angles(N_VIEWS), supersampling=2)


def scan(part, case):
    """Noisy sinograms in units of the slices, and their angles."""
    photons, n_views = CASES[case]
    views, angles = select_views(foam(part)[1], default_angles(N_VIEWS), n_views=n_views)
    return add_photon_noise(views * ATTENUATION, photons, random_state=PARTS[part][0]) / ATTENUATION, angles
