"""
A map of a training set, and what does not belong to it
=======================================================

superres-tomo's tutorial of dimension reduction: a data set is put on a map by t-SNE, to see groups and outliers, and
whether new samples are like those that a network has learned from.
"""

# %%
# A set of three kinds
# --------------------
#
# Sinograms of random shapes, of ellipses and of foams, 120 each.

import matplotlib.pyplot as plt
import numpy as np

from tomolearn import EmbeddingDisplay, TrainingSetDetector, TSNEReducer, check_training_set, radon
from tomolearn.geometry import default_angles
from tomolearn.simulation import random_ellipses, random_foam, random_shapes

SIZE = 32
angles = default_angles(32)


def sinograms(n, seed):
    """Sinograms of n objects of each kind, each divided by its largest value."""
    kinds = {
        "shapes": random_shapes(n, SIZE, shape_size=(3, 8), random_state=seed),
        "ellipses": random_ellipses(n, SIZE, random_state=seed),
        "foam": random_foam(n, SIZE, n_voids=n, radius_range=(1.5, 4.0), height=4.0 * n, random_state=seed).volume(),
    }
    found = {name: radon(images, angles) for name, images in kinds.items()}
    return {name: stack / stack.max((1, 2), keepdims=True) for name, stack in found.items()}


library = sinograms(120, seed=0)
X, names = np.concatenate(list(library.values())), np.repeat(list(library), 120)

# %%
# The map
# -------
#
# `TSNEReducer` makes features of the samples, by default their principal components, and of these the map.
# ``TSNEReducer.superres_defaults()`` has the parameters of superres-tomo, with features of a network that was trained
# on photographs. ``score`` is the trustworthiness: how many neighbours on the map are neighbours among the features.

reducer = TSNEReducer(perplexity=20, max_iter=500, random_state=0)
places = reducer.fit_transform(X)
print(f"trustworthiness {reducer.score(X):.3f}")

fig, ax = plt.subplots(figsize=(7, 6), layout="constrained")
EmbeddingDisplay(places, images=X, values=names, values_name="kind").plot(ax=ax, n_thumbnails=30, random_state=0)

# %%
# New samples
# -----------
#
# They find their places without moving the others: superres-tomo has to make the map again.

fresh = sinograms(5, seed=1)
for name, stack in fresh.items():
    print(name, np.round(reducer.transform(stack).mean(0), 1))

# %%
# What does not belong
# --------------------
#
# A map shows groups; it is no test. `TrainingSetDetector` is calibrated on held-out samples of the training set: of
# fresh samples of the same kind it flags about ``false_alarm_rate``. A network that has learned from shapes alone
# should not be asked about ellipses and foams:

detector = TrainingSetDetector(false_alarm_rate=0.05).fit(library["shapes"])
for name, stack in sinograms(100, seed=2).items():
    print(f"{name:<10}{np.mean(detector.predict(stack) == -1):.0%} flagged")

# %%
# The same in one call, with a sentence and a figure:

check = check_training_set(library["shapes"], fresh["foam"], perplexity=20)
print(check)

fig, ax = plt.subplots(figsize=(7, 6), layout="constrained")
check.display.plot(ax=ax, n_thumbnails=20, random_state=0)

plt.show()
