"""Callbacks: what runs beside a training without being part of it."""

import time

from tqdm.auto import tqdm

__all__ = ["Callback", "ProgressBar", "StopAfter"]


class Callback:
    """Called by the engine at fixed moments; every method may be left out.

    Setting ``engine.stop = True`` ends the training after the present step or epoch.

    Examples
    --------
    >>> from tomolearn.training import Callback
    >>> class Losses(Callback):
    ...     def on_epoch_end(self, engine):
    ...         print(engine.history["loss"][-1])
    """

    def on_train_begin(self, engine) -> None:
        """Before the first step.

        Parameters
        ----------
        engine : Engine
        """

    def on_epoch_begin(self, engine) -> None:
        """Before the first step of an epoch, or the next one where a checkpoint goes on within it.

        Parameters
        ----------
        engine : Engine
        """

    def on_step_end(self, engine) -> None:
        """After each step.

        Parameters
        ----------
        engine : Engine
        """

    def on_epoch_end(self, engine) -> None:
        """After the validation of an epoch.

        Parameters
        ----------
        engine : Engine
        """

    def on_train_end(self, engine) -> None:
        """At the end, also after an error or Ctrl-C.

        Parameters
        ----------
        engine : Engine
        """


class StopAfter(Callback):
    """Ends the training after some time, within an epoch if need be; with a checkpoint it can be continued.

    Parameters
    ----------
    seconds : float

    Examples
    --------
    >>> from tomolearn.training import StopAfter
    >>> StopAfter(90 * 60).seconds
    5400
    """

    def __init__(self, seconds):
        self.seconds = seconds

    def on_train_begin(self, engine):
        self._end = time.monotonic() + self.seconds

    def on_step_end(self, engine):
        if time.monotonic() >= self._end:
            engine.stop = True


class ProgressBar(Callback):
    """A bar of steps with the latest losses; on a terminal or in a notebook, never in a log file.

    Parameters
    ----------
    name : str
        What is trained.

    Examples
    --------
    >>> from tomolearn.training import ProgressBar
    >>> ProgressBar("CNNReconstructor").name
    'CNNReconstructor'
    """

    def __init__(self, name):
        self.name = name

    def on_train_begin(self, engine):
        self._bar = tqdm(total=engine.n_steps, initial=engine.n_done, desc=self.name, unit="step", disable=None)

    def on_step_end(self, engine):
        self._bar.update()

    def on_epoch_end(self, engine):
        latest = {name: f"{engine.history[name][-1]:.4g}" for name in ("loss", "val_loss") if name in engine.history}
        self._bar.set_postfix(epoch=engine.epoch, **latest)

    def on_train_end(self, engine):
        self._bar.close()
