"""Pictures of what a denoiser makes of some slices in the course of its training."""

import copy
import importlib
from pathlib import Path
from typing import Any

import numpy as np

from tomolearn._validation import check_integer
from tomolearn.training import Callback
from tomolearn.training import _distributed as distributed
from tomolearn.training._fit_callbacks import kept_network

__all__ = ["EpochPictures"]

SHOWN = (0.5, 99.5)  # percentiles of the clean slices, or of the denoised ones, that become black and white


class EpochPictures(Callback):
    """Writes ``epoch-0010.png`` and so on while a denoiser is trained: noisy, denoised and clean slices side by side.

    One row per slice, with the weights that would be kept if the training ended then.

    Parameters
    ----------
    folder : path-like
        Made if it is not there.
    X : array-like of shape (n, rows, columns) or (n, n_adjacent, rows, columns)
        Noisy slices, as for ``fit``; a few.
    y : array-like of shape (n, rows, columns), default=None
        Clean slices to show beside them.
    every : int, default=1
        Epochs between pictures.

    Raises
    ------
    ImportError
        If matplotlib is missing.
    ValueError, TypeError
        If ``every`` is no positive integer.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> import numpy as np
    >>> from tomolearn.denoising import EpochPictures, TomoGANDenoiser
    >>> X, y = np.random.default_rng(0).random((2, 4, 32, 32))
    >>> denoiser = TomoGANDenoiser(adversarial_weight=0, perceptual_weight=0, max_epochs=2, random_state=0)
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> denoiser = denoiser.fit(X, y, callbacks=[EpochPictures(folder, X[:1], y[:1], every=2)])
    >>> [path.name for path in folder.iterdir()]
    ['epoch-0002.png']
    """

    def __init__(self, folder, X, y=None, *, every=1):
        try:
            self._matplotlib = importlib.import_module("matplotlib.image")
        except ImportError as error:
            raise ImportError("EpochPictures needs matplotlib: pip install 'tomolearn[plot]'.") from error
        self.folder, self.X, self.y = Path(folder), np.asarray(X), None if y is None else np.asarray(y)
        self.every = check_integer(every, "every", low=1)
        self._estimator: Any = None

    def of(self, estimator):
        """This callback for the training of ``estimator``; called by ``fit``.

        Parameters
        ----------
        estimator : LearnedDenoiser

        Returns
        -------
        EpochPictures
        """
        bound = copy.copy(self)
        bound._estimator = estimator
        return bound

    def on_epoch_end(self, engine):
        if engine.epoch % self.every or distributed.rank():
            return
        estimator = copy.copy(self._estimator)
        estimator.network_ = kept_network(engine)
        noisy = self.X if self.X.ndim == 3 else self.X[:, self.X.shape[1] // 2]
        panels = [noisy, estimator.predict(self.X)] + ([] if self.y is None else [self.y])
        low, high = np.percentile(panels[-1], SHOWN)
        picture = np.concatenate([np.concatenate(list(row), axis=1) for row in zip(*panels, strict=True)])
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"epoch-{engine.epoch:04d}.png"
        self._matplotlib.imsave(path, picture, cmap="gray", vmin=low, vmax=max(high, low + 1e-12))
