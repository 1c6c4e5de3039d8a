"""scikit-learn's callbacks on a training: ``set_callbacks`` and what it sets, where the installed version has them."""

import copy

from tomolearn.training.callbacks import Callback

try:  # since scikit-learn 1.9, experimental
    from sklearn.callback import CallbackSupportMixin, with_callbacks
except ImportError:

    class CallbackSupportMixin:  # type: ignore[no-redef]  # stands in for the class above
        """Nothing: this scikit-learn has no callbacks."""

    def with_callbacks(method):
        """The method itself."""
        return method


__all__ = ["CallbackSupportMixin", "FitCallbacks", "with_callbacks"]


class FitCallbacks(Callback):
    """Hands the epochs of a training on to the callbacks that were set by ``estimator.set_callbacks``."""

    def __init__(self, estimator, X, y):
        self._what = {"estimator": estimator, "X": X, "y": y}

    @classmethod
    def of(cls, estimator, X, y):
        """A list of one, or of none where no callbacks were set."""
        return [cls(estimator, X, y)] if getattr(estimator, "_skl_callbacks", None) else []

    def on_train_begin(self, engine):
        self._fit = self._what["estimator"]._init_callback_context(max_subtasks=engine.options.max_epochs)
        self._fit.call_on_fit_task_begin(**self._what)

    def on_epoch_begin(self, engine):
        self._epoch = self._fit.subcontext(task_name=f"epoch {engine.epoch + 1}")
        self._epoch.call_on_fit_task_begin(**self._what)

    def on_epoch_end(self, engine):
        # A function, called only by callbacks that look at the estimator: it copies the network.
        now = {"reconstruction_attributes": lambda: {"network_": kept_network(engine)}}
        engine.stop = self._epoch.call_on_fit_task_end(**self._what, **now) or engine.stop

    def finish(self):
        """The training has ended without an error; the estimator is fitted."""
        self._fit.call_on_fit_task_end(**self._what, reconstruction_attributes={})


def kept_network(engine):
    """A copy of the network with the weights that would be kept if the training ended now."""
    modules = copy.deepcopy(engine.task.modules)
    modules.load_state_dict(engine.kept(), strict=False)
    return modules["network"].eval()
