"""Learning rates over the course of a training."""

import math

from tomolearn._validation import check_choice

__all__ = ["SCHEDULES", "Schedule"]

SCHEDULES = ("constant", "cosine", "plateau")
WARM_UP = 0.05  # share of all steps in which the rate of "cosine" rises
PATIENCE, FACTOR = 2, 0.5  # of "plateau": epochs without a better loss, then what the rate is multiplied by


class Schedule:
    """The factor by which learning rates are multiplied.

    Parameters
    ----------
    kind : {"constant", "cosine", "plateau"}
        "cosine": rises along a line in the first 5 % of all steps, then falls along half a cosine to zero at the end
        of ``max_epochs``. "plateau": halved whenever the loss has not become lower for 2 epochs.

    Raises
    ------
    ValueError
        If there is no such kind.

    References
    ----------
    I. Loshchilov and F. Hutter, "SGDR: stochastic gradient descent with warm restarts" (2017), arXiv:1608.03983.

    Examples
    --------
    >>> from tomolearn.training import Schedule
    >>> [round(Schedule("cosine").factor(step, 101), 2) for step in (0, 5, 53, 100)]
    [0.17, 1.0, 0.5, 0.0]
    """

    def __init__(self, kind="constant"):
        self.kind = check_choice(kind, "schedule", SCHEDULES)
        self.state = {"factor": 1.0, "best": float("inf"), "waited": 0}

    def factor(self, step, n_steps) -> float:
        """Factor of the learning rate in a step.

        Parameters
        ----------
        step, n_steps : int
            ``0 <= step < n_steps``.

        Returns
        -------
        float
        """
        if self.kind == "cosine":
            warm = math.ceil(WARM_UP * n_steps)
            if step < warm:
                return (step + 1) / warm
            return 0.5 * (1 + math.cos(math.pi * (step - warm + 1) / max(1, n_steps - warm + 1)))
        return self.state["factor"]

    def end_epoch(self, loss) -> None:
        """Take notice of the loss that is watched.

        Parameters
        ----------
        loss : float
        """
        if self.kind != "plateau":
            return
        if loss < self.state["best"]:
            self.state |= {"best": loss, "waited": 0}
        elif self.state["waited"] + 1 >= PATIENCE:
            self.state |= {"factor": self.state["factor"] * FACTOR, "waited": 0}
        else:
            self.state["waited"] += 1
