"""The map of 2,000 sinograms of four simulated materials, from libraries on disk, as superres-tomo draws one.

    python benchmarks/embedding_materials.py [--features efficientnet] [--figure docs/materials.png]

500 sinograms each, of 64 views and 64 pixels, of a foam, beads, a bundle of fibres, and crystals: every one of another
object, with the noise of 10,000 photons. Each library is written in the format of superres-tomo and read from there.
Materials are numbered after the map is made. An island is what stays together when points farther than 2 % of the
width of the map are cut apart; those of fewer than 10 points are not counted as islands.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
from _timing import machine
from sklearn.cluster import DBSCAN
from sklearn.neighbors import NearestNeighbors

from tomolearn import TSNEReducer
from tomolearn.display import EmbeddingDisplay
from tomolearn.io import open_library
from tomolearn.simulation import pack_spheres, random_ellipses, random_foam, random_shapes, sphere_volume, write_library

N_EACH, SIZE, PHOTONS = 500, 64, 10_000
PER_OBJECT = 10  # slices that are taken from one foam or one packing of beads
SMALLEST = 10  # points of an island


def foams(rng):
    volumes = []
    for _ in range(N_EACH // PER_OBJECT):
        largest = rng.uniform(4, 8)
        foam = random_foam(5 * PER_OBJECT, SIZE, radius_range=(1.0, largest), random_state=int(rng.integers(2**31)))
        volumes.append(foam.volume()[::5])  # slices that are not alike
    return np.concatenate(volumes)


def beads(rng):
    volumes = []
    for _ in range(N_EACH // PER_OBJECT):
        spheres = pack_spheres(
            300, (1.0, rng.uniform(4, 8)), radius=28.0, height=60.0, random_state=int(rng.integers(2**31))
        )
        table = np.column_stack([np.ones(len(spheres)), spheres])
        volumes.append(sphere_volume(table, (5 * PER_OBJECT, SIZE, SIZE), supersampling=2)[::5])
    return np.concatenate(volumes)


def fibres(rng):
    seed = int(rng.integers(2**31))
    return random_ellipses(
        N_EACH, SIZE, n_ellipses=(60, 120), semi_axes=(1.0, 2.0), values=(0.9, 1.0), random_state=seed
    )


def crystals(rng):
    return random_shapes(N_EACH, SIZE, n_shapes=(3, 10), shape_size=(4, 14), random_state=int(rng.integers(2**31)))


MATERIALS = {"foam": foams, "beads": beads, "fibres": fibres, "crystals": crystals}


def sinograms(folder):
    """Of all materials, read from the libraries."""
    rng, stacks = np.random.default_rng(0), []
    for name, images in MATERIALS.items():
        path = folder / f"{name}.h5"
        write_library(path, images(rng), n_angles=SIZE, photons=PHOTONS, random_state=0)
        stacks.append(open_library(path)[1][:])
    return np.concatenate(stacks)


def islands(places):
    reach = 0.02 * np.ptp(places, axis=0).max()
    return DBSCAN(eps=reach, min_samples=1).fit_predict(places)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--figure", type=Path, help="write the map to this PNG")
    parser.add_argument("--features", default="efficientnet", help="of TSNEReducer; pca or efficientnet")
    arguments = parser.parse_args()
    print(machine())
    with tempfile.TemporaryDirectory() as folder:
        X = sinograms(Path(folder))
    names = np.repeat(list(MATERIALS), N_EACH)
    start = time.perf_counter()
    reducer = TSNEReducer(features=arguments.features, random_state=0, device="cpu")
    places = reducer.fit_transform(X)
    seconds = time.perf_counter() - start
    near = NearestNeighbors(n_neighbors=10).fit(places).kneighbors(return_distance=False)
    pure = (names[near] == names[:, None]).mean()
    print(f"{len(X)} sinograms in {seconds:.1f} s, divergence {reducer.kl_divergence_:.3f}")
    print(f"{100 * pure:.2f} % of the 10 nearest on the map are of the same material")
    found = islands(places)
    for island, count in zip(*np.unique(found, return_counts=True), strict=True):
        if count >= SMALLEST:
            inside, counts = np.unique(names[found == island], return_counts=True)
            print(f"island of {count}: " + ", ".join(f"{n} {m}" for m, n in zip(inside, counts, strict=True)))
    if arguments.figure:
        display = EmbeddingDisplay(places, images=X, values=names, values_name="material")
        display.plot(n_thumbnails=24)
        display.ax_.set_title(f"{len(X):,} sinograms of four materials")
        display.figure_.savefig(arguments.figure, dpi=100, bbox_inches="tight")


if __name__ == "__main__":
    main()
