"""Losses of trainings over their epochs."""

import importlib

import numpy as np
from sklearn.utils.validation import check_is_fitted

from tomolearn._validation import check_integer
from tomolearn.display._panels import COLORS, TEXT, check_matplotlib, make_panels, name_of, named

__all__ = ["TrainingCurveDisplay"]

FEW = 15  # epochs up to which each is marked by a dot
MOST_STYLES = 4  # losses of one training that line styles tell apart


class TrainingCurveDisplay:
    """Training and validation loss over the epochs of one or several trainings, drawn by ``plot``.

    `from_estimator` and `from_histories` make and draw one. A ring marks the epoch whose weights were kept. Loss and
    validation loss may be of different kinds: that of a `TomoGANDenoiser` is 1 - SSIM, that of a `UNetSegmenter` with
    early stopping 1 - Dice; ``losses=("pixel_loss", "val_pixel_loss")`` of the former are of one kind.

    Parameters
    ----------
    histories : dict of str to list of float, or dict of str to these
        ``history_`` of an estimator, or several by their names: losses and ``learning_rate`` of each epoch.
    best_epochs : int or dict of str to int, default=None
        The epochs whose weights were kept, counted from 1. None: those of the least validation loss, or none without
        such a loss.
    first_epochs : int or dict of str to int, default=None
        The numbers of the first epochs of the histories; None: 1.

    Attributes
    ----------
    figure_ : matplotlib Figure
        The figure, once ``plot`` has been called.
    axes_ : ndarray of matplotlib Axes
        Of the losses and, if it is shown, of the learning rate.
    lines_ : dict of str to list of matplotlib Line2D
        The losses of each training.

    Raises
    ------
    ValueError, TypeError
        If a history is empty, its lists are not numbers of one length, or a training is not among the histories.

    Examples
    --------
    >>> from tomolearn import TrainingCurveDisplay
    >>> history = {"loss": [1.0, 0.5, 0.4], "val_loss": [1.1, 0.6, 0.7], "learning_rate": [0.1, 0.1, 0.01]}
    >>> display = TrainingCurveDisplay(history).plot()
    >>> [text.get_text() for text in display.axes_[0].get_legend().get_texts()]
    ['training', 'validation', 'weights kept, epoch 2']
    """

    def __init__(self, histories, *, best_epochs=None, first_epochs=None):
        several = isinstance(histories, dict) and histories and all(isinstance(h, dict) for h in histories.values())
        self.histories = {}
        for name, history in named(histories if several else {"": histories}, str, "histories").items():
            self.histories[name] = _check_history(history, f"histories[{name!r}]" if several else "histories")
        first = _by_name(first_epochs, self.histories, "first_epochs")
        self.first_epochs = {name: first.get(name, 1) for name in self.histories}
        self.best_epochs = _by_name(best_epochs, self.histories, "best_epochs")
        if best_epochs is None:
            for name, history in self.histories.items():
                losses = history.get("val_loss", np.array([]))
                if np.isfinite(losses).any():
                    self.best_epochs[name] = int(np.nanargmin(losses)) + self.first_epochs[name]
        for name, best in self.best_epochs.items():
            first, n = self.first_epochs[name], len(next(iter(self.histories[name].values())))
            if not first <= best < first + n:
                raise ValueError(
                    f"best_epochs must be of the epochs {first} to {first + n - 1} of the history {name!r}; got {best}."
                )

    @classmethod
    def from_estimator(cls, estimator, *, losses=None, ax=None, log=None, learning_rate=None):
        """Draw the training of one or several fitted estimators.

        Parameters
        ----------
        estimator : estimator, Pipeline, or dict of str to these
            Fitted, with ``history_``; of a pipeline the last step.
        losses : sequence of str or dict of str to str, default=None
            Which losses; None: "loss" and "val_loss".
        ax : matplotlib Axes or sequence of these, default=None
            As for ``plot``.
        log : bool, default=None
            Whether the losses have a logarithmic axis; None: where it helps.
        learning_rate : bool, default=None
            Whether the learning rate has a panel; None: if it changes.

        Returns
        -------
        TrainingCurveDisplay
            Drawn.

        Raises
        ------
        NotFittedError
            If an estimator is not fitted.
        ValueError, TypeError
            If an estimator has no history, or an argument has another value.
        ImportError
            If matplotlib is missing.

        Examples
        --------
        >>> import numpy as np
        >>> from tomolearn import CNNReconstructor, TrainingCurveDisplay
        >>> X, y = np.random.default_rng(0).random((2, 8, 12, 12))
        >>> estimator = CNNReconstructor(width=8, max_epochs=2, random_state=0).fit(X, y)
        >>> len(TrainingCurveDisplay.from_estimator(estimator).lines_["CNN"][0].get_xdata())
        2
        """
        histories, best, first = {}, {}, {}
        for name, one in named(estimator, name_of, "estimator").items():
            check_is_fitted(one)
            one = _trained(one)
            history = histories[name] = one.history_
            n = len(next(iter(history.values()), ()))
            first[name] = getattr(one, "n_epochs_", n) - n + 1
            if getattr(one, "best_epoch_", None) is not None and first[name] <= one.best_epoch_ < first[name] + n:
                best[name] = one.best_epoch_
        display = cls(histories, best_epochs=best, first_epochs=first)
        return display.plot(losses=losses, ax=ax, log=log, learning_rate=learning_rate)

    @classmethod
    def from_histories(
        cls, histories, *, best_epochs=None, first_epochs=None, losses=None, ax=None, log=None, learning_rate=None
    ):
        """Draw histories, such as that of a log file.

        Parameters
        ----------
        histories : dict of str to list of float, or dict of str to these
            One history, or several by their names.
        best_epochs, first_epochs : int or dict of str to int, default=None
            As for the class.
        losses : sequence of str or dict of str to str, default=None
            Which losses; None: "loss" and "val_loss".
        ax : matplotlib Axes or sequence of these, default=None
            As for ``plot``.
        log : bool, default=None
            Whether the losses have a logarithmic axis; None: where it helps.
        learning_rate : bool, default=None
            Whether the learning rate has a panel; None: if it changes.

        Returns
        -------
        TrainingCurveDisplay
            Drawn.

        Raises
        ------
        ValueError, TypeError
            If an argument has another value.
        ImportError
            If matplotlib is missing.
        """
        display = cls(histories, best_epochs=best_epochs, first_epochs=first_epochs)
        return display.plot(losses=losses, ax=ax, log=log, learning_rate=learning_rate)

    def plot(self, *, losses=None, ax=None, log=None, learning_rate=None):
        """Draw the losses.

        Parameters
        ----------
        losses : sequence of str or dict of str to str, default=None
            Up to four lists of the histories; None: "loss" and "val_loss". A dict has their names for the legend.
        ax : matplotlib Axes or sequence of these, default=None
            One, whose place is divided where the learning rate is shown, or one for each panel. None: a figure of its
            own, which no window shows; save it by ``figure_.savefig``.
        log : bool, default=None
            Whether the losses have a logarithmic axis; None: if all are positive and the largest is 10
            times the least.
        learning_rate : bool, default=None
            Whether the learning rate has a panel below; None: if it is recorded and changes.

        Returns
        -------
        TrainingCurveDisplay
            Itself.

        Raises
        ------
        ValueError, TypeError
            If a loss or the learning rate is not recorded, ``log`` is asked for losses that are not positive, or ``ax``
            does not fit.
        ImportError
            If matplotlib is missing.
        """
        check_matplotlib()
        losses = self._check_losses(losses)
        rates = self._rates(learning_rate)
        log = self._check_log(losses, log)
        cells = [(0, 0), (1, 0)] if rates else [(0, 0)]
        self.axes_ = make_panels(ax, cells, (len(cells), 1), (10, 5.6), heights=[3, 1][: len(cells)])
        self.figure_ = self.axes_[0].figure
        self._draw_losses(losses)
        self.axes_[0].set_yscale("log" if log else "linear")
        self.axes_[0].set_ylabel("loss", fontsize=TEXT)
        if rates:
            self._draw_rates(rates)
        self._finish(losses)
        return self

    def _check_losses(self, losses):
        known = {key for history in self.histories.values() for key in history}
        if losses is None:
            losses = [loss for loss in ("loss", "val_loss") if loss in known]
        losses = [losses] if isinstance(losses, str) else losses
        losses = losses if isinstance(losses, dict) else {loss: _told(loss) for loss in losses}
        unknown = [loss for loss in losses if loss not in known]
        if unknown or not 0 < len(losses) <= MOST_STYLES:
            raise ValueError(f"losses must be 1 to {MOST_STYLES} of {sorted(known)}; got {unknown or list(losses)!r}.")
        return losses

    def _check_log(self, losses, log):
        values = np.concatenate([h[loss] for h in self.histories.values() for loss in losses if loss in h])
        values = values[np.isfinite(values)]
        positive = bool((values > 0).all())
        if log and not positive:
            raise ValueError("log=True needs positive losses; some are 0 or below. Give log=False.")
        return positive and bool(len(values)) and values.max() >= 10 * values.min() if log is None else log

    def _rates(self, learning_rate):
        """Of each training that has one the learning rate, or nothing where it is not to be shown."""
        rates = {name: h["learning_rate"] for name, h in self.histories.items() if "learning_rate" in h}
        if learning_rate is None:
            return rates if any(np.ptp(rate) > 0 for rate in rates.values()) else {}
        if learning_rate and not rates:
            raise ValueError("learning_rate=True needs a history with 'learning_rate'; none has one. Give None.")
        return rates if learning_rate else {}

    def _draw_losses(self, losses):
        self.lines_: dict[str, list] = {}
        for k, (name, history) in enumerate(self.histories.items()):
            first, best = self.first_epochs[name], self.best_epochs.get(name)
            self.lines_[name] = []
            for loss in losses:
                if loss in history:
                    line = self._draw_curve(self.axes_[0], history[loss], first, COLORS[k], _style(losses, loss))
                    self.lines_[name].append(line)
            validated = [loss for loss in losses if loss in history and loss.startswith("val_")]
            marked = history.get((validated or list(losses))[0])
            if best is not None and marked is not None:
                self.axes_[0].plot(
                    best, marked[best - first], "o", ms=11, mfc="none", mec=COLORS[k], mew=2, zorder=4, clip_on=False
                )

    def _draw_rates(self, rates):
        for k, name in enumerate(self.histories):
            if name in rates:
                self._draw_curve(self.axes_[1], rates[name], self.first_epochs[name], COLORS[k], "-")
        self.axes_[1].set_ylim(bottom=0)
        self.axes_[1].ticklabel_format(axis="y", scilimits=(-2, 2))
        self.axes_[1].yaxis.get_offset_text().set_fontsize(TEXT)
        self.axes_[1].set_ylabel("learning rate", fontsize=TEXT)
        self.axes_[1].sharex(self.axes_[0])
        self.axes_[0].tick_params(labelbottom=False)

    def _draw_curve(self, axes, values, first, color, style):
        dots = "." if len(values) <= FEW else None
        (line,) = axes.plot(first + np.arange(len(values)), values, style, color=color, marker=dots, linewidth=1.8)
        return line

    def _finish(self, losses):
        """Axes and legend: colours say whose training it is, styles which loss, the ring what was kept."""
        lines = importlib.import_module("matplotlib.lines")
        ticker = importlib.import_module("matplotlib.ticker")
        alone = len(self.histories) == 1
        handles = []
        for k, name in enumerate(self.histories):
            if not alone:
                best = self.best_epochs.get(name)
                label = name if best is None else f"{name}, kept: epoch {best}"
                handles.append(lines.Line2D([], [], color=COLORS[k], linewidth=4, label=label))
        color = COLORS[0] if alone else "0.3"
        of_one = next(iter(self.histories)) if alone else ""
        for loss, told in losses.items():
            style = _style(losses, loss)
            handles.append(
                lines.Line2D(
                    [],
                    [],
                    color=color,
                    linestyle=style,
                    linewidth=1.8,
                    label=(of_one and f"{of_one}, ") + told,
                )
            )
        if self.best_epochs:
            label = "weights kept" + (f", epoch {next(iter(self.best_epochs.values()))}" if alone else "")
            ring = {"marker": "o", "ms": 11, "mfc": "none", "mew": 2, "mec": color, "linestyle": ""}
            handles.append(lines.Line2D([], [], label=label, **ring))
        above = {"loc": "lower left", "bbox_to_anchor": (0, 1), "borderaxespad": 0.2}
        self.axes_[0].legend(handles=handles, fontsize=TEXT, ncols=3, frameon=False, **above)
        for axes in self.axes_:
            axes.grid(alpha=0.3, which="both" if axes.get_yscale() == "log" else "major")
            axes.tick_params(labelsize=TEXT, which="both")
            axes.xaxis.set_major_locator(ticker.MaxNLocator(integer=True))
        self.axes_[-1].set_xlabel("epoch", fontsize=TEXT)


def _style(losses, loss):
    """Training is dashed and validation, which counts, is not."""
    keys = list(losses)
    if len(keys) == 2 and {key.removeprefix("val_") for key in keys} < set(keys):
        return "-" if loss.startswith("val_") else "--"
    return ("-", "--", ":", "-.")[keys.index(loss)]


def _told(loss):
    """The name of a loss for a reader."""
    kind, part = loss.removeprefix("val_"), "validation" if loss.startswith("val_") else "training"
    return part if kind == "loss" else f"{kind.replace('_', ' ')}, {part}"


def _trained(estimator):
    """The part of an estimator that has a history."""
    found = estimator
    while not hasattr(found, "history_"):
        if hasattr(found, "steps"):
            found = found.steps[-1][1]
        elif hasattr(found, "best_estimator_"):
            found = found.best_estimator_
        elif type(found).__name__ == "FrozenEstimator":
            found = found.estimator
        else:
            raise ValueError(
                f"estimator must have history_, as those do that are trained over epochs; a {type(found).__name__} has "
                "none."
            )
    return found


def _check_history(history, name):
    if not isinstance(history, dict) or not history:
        raise ValueError(f"{name} must be a dict of at least one list of a number per epoch; got {history!r:.200}.")
    found = {}
    for key, values in history.items():
        try:
            found[key] = np.asarray(values, np.float64)
        except (TypeError, ValueError):
            found[key] = np.empty(())
        if found[key].ndim != 1 or not found[key].size:
            raise ValueError(f"{name}[{key!r}] must hold one number for each epoch; got {values!r:.200}.")
    lengths = {key: len(values) for key, values in found.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"{name} must hold lists of one length; got {lengths}.")
    return found


def _by_name(values, histories, argument):
    """A dict of name and epoch."""
    if values is None:
        return {}
    if not isinstance(values, dict):
        values = dict.fromkeys(histories, values)
    unknown = [name for name in values if name not in histories]
    if unknown:
        raise ValueError(f"{argument} must name histories, {list(histories)}; got {unknown!r:.200}.")
    return {name: check_integer(value, argument, low=1) for name, value in values.items()}
