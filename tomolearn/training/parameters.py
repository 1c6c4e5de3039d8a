"""The parameters that all trained estimators have, described once."""

import inspect

__all__ = ["describe_training", "store"]

_LOSS = """
    loss : {"mse", "mae", "log-mse"}, default="{loss}"
        Between images in units of their standard deviation: mean squared error, mean absolute error, or the mean over
        the images of the logarithm of their mean squared error. The last one is what the mean PSNR measures; every
        image counts alike, however small its error is.
"""
_PARAMETERS = """
    optimizer : {"adam", "adamw", "muon", "rmsprop"}, default="{optimizer}"
        Those of torch, with torch's other values, but for "muon", which orthogonalises the steps of weight matrices and
        kernels (see `tomolearn.training.muon`); it wants a ten times larger learning rate.
    learning_rate : float, default={learning_rate}
        At its highest, see ``schedule``.
    schedule : {"constant", "cosine", "plateau"}, default="constant"
        Course of the learning rate: "cosine" rises in the first 5 % of ``max_epochs`` and then falls to zero; "plateau"
        is halved when the loss has not become lower for two epochs.
    weight_decay : float, default=0.0
        Of the optimiser.
    gradient_clipping : float, default=None
        Largest norm of the gradient. None: not limited.
    ema_decay : float, default=None
        In [0, 1]: validate and keep a running mean of the weights with this decay a step. None: the weights themselves.
    max_epochs : int, default=100
        Passes through the training samples at most.
    batch_size : int, default=32
        Samples of a step, in all processes together.
    early_stopping : bool, default=True
        Keep the weights of the epoch with the lowest loss on validation samples (``X_val`` of ``fit``, else a part of
        ``X``; the training loss where that part is empty), and end ``n_iter_no_change`` epochs after it. False: learn
        from all of ``X`` for ``max_epochs`` and keep the last weights.
    n_iter_no_change : int, default=3
        Epochs without a lower loss after which early stopping ends the training.
    validation_fraction : float, default=0.1
        Part of ``X`` that early stopping validates on, drawn at random.
    warm_start : bool, default=False
        Whether ``fit`` begins with the weights of the ``fit`` before it, if the shapes are the same.
    device : str, default="auto"
        "auto": a CUDA device where there is one; or "cpu", "cuda", "cuda:1", ... Of several, as "cuda:0,cuda:1",
        ``fit`` takes the first, and in predictions all of them share the slices.
    precision : {"auto", "float32", "bfloat16"}, default="auto"
        "auto": bfloat16 in training where the hardware is fast in it (weights stay float32), float32 in prediction.
        "bfloat16": in both.
    random_state : int, RandomState instance or None, default=None
        Source of initial weights, validation samples, order and noise. An integer gives the same weights each time.
    verbose : int, default=0
        1: progress bars, on a terminal or in a notebook.
"""
_ATTRIBUTES = """
    network_ : torch.nn.Module
        The trained network.
    network_config_ : tuple of str and dict
        Its class and the values that it was built with.
    history_ : dict of str to list of float
        ``loss``, ``val_loss``, ``learning_rate`` and ``seconds`` of each epoch. ``val_loss`` is what is watched for the
        best epoch: ``loss``, or 1 - SSIM (`TomoGANDenoiser`), or 1 - macro Dice (`UNetSegmenter`).
    n_epochs_, best_epoch_ : int
        Epochs that were run, and the one whose weights are kept.
    n_parameters_ : int
        Weights of the network.
"""


def describe_training(learning_rate, loss="mse", optimizer="adam", texts=None):
    """Fill in ``{training}`` and ``{trained}`` in the docstring of an estimator: a class decorator.

    Parameters
    ----------
    learning_rate : float
        The estimator's default.
    loss : str, default="mse"
        Likewise; None: the estimator has no such parameter.
    optimizer : str, default="adam"
        Likewise.
    texts : dict of str to str, default=None
        More marks and what stands for them.

    Returns
    -------
    callable

    Examples
    --------
    >>> from tomolearn.training.parameters import describe_training
    >>> @describe_training(1e-3)
    ... class Estimator:
    ...     '''Does.
    ...
    ...     Parameters
    ...     ----------
    ...     {training}
    ...     '''
    >>> "learning_rate : float, default=0.001" in Estimator.__doc__
    True
    """
    training = _PARAMETERS if loss is None else _LOSS.replace("{loss}", loss) + _PARAMETERS.lstrip("\n")
    training = training.replace("{learning_rate}", f"{learning_rate:g}").replace("{optimizer}", optimizer)
    texts = {"{training}": training, "{trained}": _ATTRIBUTES, **(texts or {})}

    def fill(cls):
        for mark, text in texts.items():
            cls.__doc__ = (cls.__doc__ or "").replace(mark, inspect.cleandoc(text).replace("\n", "\n    "))
        return cls

    return fill


def store(estimator, arguments) -> None:
    """Store the arguments of ``__init__`` under their names, as scikit-learn asks for.

    Parameters
    ----------
    estimator : object
    arguments : dict
        ``locals()`` of ``__init__``.

    Examples
    --------
    >>> from tomolearn.training.parameters import store
    >>> class Estimator:
    ...     def __init__(self, *, width=3):
    ...         store(self, locals())
    >>> Estimator(width=4).width
    4
    """
    vars(estimator).update({name: value for name, value in arguments.items() if name != "self"})
