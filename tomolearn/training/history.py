"""What happened in each epoch of a training."""

__all__ = ["History"]


class History(dict):
    """Lists of one number per epoch: ``loss``, ``val_loss``, ``learning_rate``, ``seconds`` and what a model reports.

    Examples
    --------
    >>> from tomolearn.training import History
    >>> history = History()
    >>> history.add({"loss": 0.5, "seconds": 2.0})
    >>> history.add({"loss": 0.25, "seconds": 2.1})
    >>> history["loss"], history.n_epochs
    ([0.5, 0.25], 2)
    """

    def add(self, values) -> None:
        """Append an epoch.

        Parameters
        ----------
        values : dict of str to float
            The names are the same in all epochs.
        """
        for name, value in values.items():
            self.setdefault(name, []).append(float(value))

    @property
    def n_epochs(self) -> int:
        """Number of epochs."""
        return len(self.get("loss", ()))
