"""t-SNE of digits and of larger sets, beside scikit-learn's and openTSNE's, and new samples on the map.

    python benchmarks/embedding.py [--cases digits transform 20000 70000] [--seed 0]

openTSNE is timed where it is installed (extra ``bench``). Each runs once, in turn, with its own defaults but
for perplexity 30, PCA initialisation and the seed, and with as many threads as torch. tomolearn's time includes its
outlier detector. Divergences are all computed here, for the same affinities (exact neighbours, 3 x 30 + 1 each), with
the sum over pairs taken exactly up to 20,000 samples and from a grid of spacing 0.25 above. Trustworthiness is
scikit-learn's, of 10 neighbours, up to 2,000 samples.

Sets of n samples: half of them blobs (20 Gaussians in 50 dimensions, centres of standard deviation 3), half digits in
50 principal components, drawn with replacement, with noise of 0.3 of the first component's standard deviation.
"""

import argparse
import importlib.util
import time

import numpy as np
import torch
from _timing import machine, print_table
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE, trustworthiness
from sklearn.neighbors import KNeighborsClassifier

from tomolearn import TSNEReducer
from tomolearn.manifold._affinities import conditional_affinities, joint_affinities
from tomolearn.manifold._neighbors import nearest_neighbors
from tomolearn.manifold._optimize import Affinities, divergence
from tomolearn.manifold._repulsion import Grid, exact_potential

PERPLEXITY, N_HELD_OUT = 30, 500


def large_set(n, seed):
    rng = np.random.default_rng(seed)
    blobs = 3 * rng.normal(size=(20, 50))[rng.integers(20, size=n - n // 2)] + rng.normal(size=(n - n // 2, 50))
    digits = PCA(50, random_state=0).fit_transform(load_digits().data)
    noise = 0.3 * digits[:, 0].std() * rng.normal(size=(n // 2, 50))
    digits = digits[rng.integers(len(digits), size=n // 2)] + noise
    return np.concatenate([blobs, digits / digits.std() * blobs.std()]).astype(np.float32)


def exact_divergence(affinities, places):
    y = torch.from_numpy(np.asarray(places, np.float64))
    potential = exact_potential(y, y)[0] if len(y) <= 20000 else Grid(0.25).potential(y)[0]
    return divergence(affinities, y.float(), float(potential.sum()) - len(y))


def makers(n_features, seed):
    """{name: function that maps X and gives places and the fitted object}."""

    def ours(X):
        fitted = TSNEReducer(perplexity=PERPLEXITY, n_features=n_features, random_state=seed, device="cpu").fit(X)
        return fitted.embedding_, fitted

    def scikit_learn(X):
        return TSNE(perplexity=PERPLEXITY, init="pca", random_state=seed).fit_transform(X), None

    def open_tsne(X):
        from openTSNE import TSNE as OpenTSNE

        fitted = OpenTSNE(perplexity=PERPLEXITY, n_jobs=torch.get_num_threads(), random_state=seed).fit(X)
        return np.asarray(fitted), fitted

    found = {"tomolearn": ours, "scikit-learn": scikit_learn}
    if importlib.util.find_spec("openTSNE"):
        found["openTSNE"] = open_tsne
    return found


def compare(title, X, seed, names=None):
    x = torch.from_numpy(np.asarray(X, np.float32))
    indices, squared = nearest_neighbors(x, x, 3 * PERPLEXITY + 1, exclude_self=True)
    offsets, columns, values = joint_affinities(indices, conditional_affinities(squared.double(), float(PERPLEXITY)))
    affinities, rows, fastest = Affinities(offsets, columns, values.float()), [], None
    for name, make in makers(X.shape[1], seed).items():
        if names and name not in names:
            continue
        start, start_cpu = time.perf_counter(), time.process_time()
        places, _ = make(X)
        seconds, cpu = time.perf_counter() - start, time.process_time() - start_cpu
        trust = f"{trustworthiness(X, places, n_neighbors=10):.4f}" if len(X) <= 2000 else ""
        rows.append([name, f"{seconds:.1f}", f"{cpu:.1f}", f"{exact_divergence(affinities, places):.4f}", trust])
        if name != "tomolearn":
            fastest = min(seconds, fastest or seconds)
    print_table(title, ["", "seconds", "processor seconds", "divergence", "trustworthiness(10)"], rows)
    if fastest:
        print(f"\ntomolearn takes {float(rows[0][1]) / fastest:.2f} of the faster peer's time.")


def compare_transform(seed):
    X, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(seed).permutation(len(X))
    new, known = order[:N_HELD_OUT], order[N_HELD_OUT:]
    rows = []
    for name, make in makers(X.shape[1], seed).items():
        if name == "scikit-learn":  # has no transform
            continue
        places, fitted = make(X[known])
        start = time.perf_counter()
        placed = np.asarray(fitted.transform(X[new]))
        seconds = time.perf_counter() - start
        accuracy = KNeighborsClassifier(10).fit(places, labels[known]).score(placed, labels[new])
        own = np.linalg.norm(np.asarray(fitted.transform(X[known])) - places, axis=1) / np.ptp(places, axis=0).max()
        rows.append([name, f"{seconds:.2f}", f"{accuracy:.4f}", f"{(own < 0.02).mean():.3f}"])
    header = ["", "seconds", "accuracy of 10 neighbours on the map", "known digits within 2 % of their place"]
    print_table(f"{N_HELD_OUT} held-out digits placed on the map of the others", header, rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", default=["digits", "transform", "20000", "70000"])
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    print(machine())
    for case in arguments.cases:
        if case == "digits":
            compare("Digits, 1797 x 64", load_digits().data, arguments.seed)
        elif case == "transform":
            compare_transform(arguments.seed)
        else:
            title = f"{int(case):,} samples x 50"
            compare(title, large_set(int(case), arguments.seed), arguments.seed, ("tomolearn", "openTSNE"))


if __name__ == "__main__":
    main()
