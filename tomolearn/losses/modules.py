"""The objectives of segmentation as modules: their options are set once, and shown and stored with a network."""

import torch

from tomolearn.losses import cross_entropy, overlap

__all__ = [
    "BalancedCrossEntropy",
    "DiceCrossEntropy",
    "DiceLoss",
    "FocalLoss",
    "TverskyLoss",
    "WeightedCrossEntropy",
]


class _SegmentationLoss(torch.nn.Module):
    """A function of (prediction, labels, weight_map) and its options, which are plain values."""

    def __init__(self, function, options: dict):
        super().__init__()
        options = {name: _plain(value) for name, value in options.items()}
        # One pixel shows whether the options hold, each and together, before a network has been trained with them.
        channels = max([1, *(len(value) for value in options.values() if isinstance(value, tuple))])
        function(torch.zeros(1, channels, 1, 1), torch.zeros(1, 1, 1, dtype=torch.bool), **options)
        self._function, self.options = function, options

    def forward(self, prediction, labels, weight_map=None):
        """The loss of a batch, a tensor of shape ()."""
        return self._function(prediction, labels, weight_map=weight_map, **self.options)

    def extra_repr(self):
        return ", ".join(f"{name}={value!r}" for name, value in self.options.items())


def _plain(value):
    if hasattr(value, "tolist"):  # arrays and tensors
        value = value.tolist()
    return tuple(value) if isinstance(value, list) else value


class WeightedCrossEntropy(_SegmentationLoss):
    """`weighted_cross_entropy` as a module; called with ``(prediction, labels, weight_map=None)``.

    Parameters
    ----------
    beta : float, sequence of K float, "balanced" or None, default=None
        Weight of class 1 of two classes, or a weight for each class; "balanced": from the labels of each batch.
    ignore_index : int, default=None
        The label of pixels that do not count.
    from_logits : bool, default=True
        Whether predictions come before the sigmoid or softmax.

    Raises
    ------
    TypeError, ValueError
        If an option is not of its kind or out of its range.

    Examples
    --------
    >>> import torch
    >>> from tomolearn.losses import WeightedCrossEntropy
    >>> loss = WeightedCrossEntropy(beta=2.0)
    >>> loss(torch.zeros(1, 2, 2), torch.ones(1, 2, 2, dtype=torch.bool))  # 2 log 2
    tensor(1.3863)
    """

    def __init__(self, *, beta=None, ignore_index=None, from_logits=True):
        super().__init__(
            cross_entropy.weighted_cross_entropy,
            {"beta": beta, "ignore_index": ignore_index, "from_logits": from_logits},
        )


class BalancedCrossEntropy(_SegmentationLoss):
    """`balanced_cross_entropy` as a module; called with ``(prediction, labels, weight_map=None)``.

    Parameters
    ----------
    beta : float, sequence of K float or "balanced", default="balanced"
        Weight of class 1 of two classes, between 0 and 1, or a weight for each class; "balanced": from the labels of
        each batch.
    ignore_index : int, default=None
        The label of pixels that do not count.
    from_logits : bool, default=True
        Whether predictions come before the sigmoid or softmax.

    Raises
    ------
    TypeError, ValueError
        If an option is not of its kind or out of its range.

    Examples
    --------
    >>> import torch
    >>> from tomolearn.losses import BalancedCrossEntropy
    >>> loss = BalancedCrossEntropy(beta=0.75)
    >>> loss(torch.zeros(1, 2, 2), torch.ones(1, 2, 2, dtype=torch.bool))  # 0.75 log 2
    tensor(0.5199)
    """

    def __init__(self, *, beta="balanced", ignore_index=None, from_logits=True):
        super().__init__(
            cross_entropy.balanced_cross_entropy,
            {"beta": beta, "ignore_index": ignore_index, "from_logits": from_logits},
        )


class FocalLoss(_SegmentationLoss):
    """`focal_loss` as a module; called with ``(prediction, labels, weight_map=None)``.

    Parameters
    ----------
    gamma : float, default=2.0
        How much easy pixels fade, >= 0.
    alpha : float, sequence of K float, "balanced" or None, default=None
        Weight of class 1 of two classes, between 0 and 1, or a weight for each class; "balanced": from the labels of
        each batch; None: 1.
    ignore_index : int, default=None
        The label of pixels that do not count.
    from_logits : bool, default=True
        Whether predictions come before the sigmoid or softmax.

    Raises
    ------
    TypeError, ValueError
        If an option is not of its kind or out of its range.

    Examples
    --------
    >>> import torch
    >>> from tomolearn.losses import FocalLoss
    >>> FocalLoss()(torch.zeros(1, 2, 2), torch.ones(1, 2, 2, dtype=torch.bool))  # 0.5**2 log 2
    tensor(0.1733)
    """

    def __init__(self, *, gamma=2.0, alpha=None, ignore_index=None, from_logits=True):
        super().__init__(
            cross_entropy.focal_loss,
            {"gamma": gamma, "alpha": alpha, "ignore_index": ignore_index, "from_logits": from_logits},
        )


class DiceLoss(_SegmentationLoss):
    """`dice_loss` as a module; called with ``(prediction, labels, weight_map=None)``.

    Parameters
    ----------
    smooth : float, default=1.0
        Keeps the coefficient of classes that are absent defined.
    class_weights : sequence of K float, default=None
        Weights of the classes in the mean, for K channels; None: equal ones.
    per_image : bool, default=False
        Sum over each image, and give the mean over images.
    ignore_index : int, default=None
        The label of pixels that do not count.
    from_logits : bool, default=True
        Whether predictions come before the sigmoid or softmax.

    Raises
    ------
    TypeError, ValueError
        If an option is not of its kind or out of its range.

    Examples
    --------
    >>> import torch
    >>> from tomolearn.losses import DiceLoss
    >>> DiceLoss()(torch.zeros(1, 2, 2), torch.ones(1, 2, 2, dtype=torch.bool))  # 1 - (2 * 2 + 1) / (2 + 4 + 1)
    tensor(0.2857)
    """

    def __init__(self, *, smooth=1.0, class_weights=None, per_image=False, ignore_index=None, from_logits=True):
        super().__init__(
            overlap.dice_loss,
            {
                "smooth": smooth,
                "class_weights": class_weights,
                "per_image": per_image,
                "ignore_index": ignore_index,
                "from_logits": from_logits,
            },
        )


class TverskyLoss(_SegmentationLoss):
    """`tversky_loss` as a module; called with ``(prediction, labels, weight_map=None)``.

    Parameters
    ----------
    alpha : float, default=0.3
        Weight of false positives, >= 0.
    beta : float, default=0.7
        Weight of false negatives, >= 0.
    smooth : float, default=1.0
        Keeps the index of classes that are absent defined.
    class_weights : sequence of K float, default=None
        Weights of the classes in the mean, for K channels; None: equal ones.
    per_image : bool, default=False
        Sum over each image, and give the mean over images.
    ignore_index : int, default=None
        The label of pixels that do not count.
    from_logits : bool, default=True
        Whether predictions come before the sigmoid or softmax.

    Raises
    ------
    TypeError, ValueError
        If an option is not of its kind or out of its range.

    Examples
    --------
    >>> import torch
    >>> from tomolearn.losses import TverskyLoss
    >>> TverskyLoss()(torch.zeros(1, 2, 2), torch.ones(1, 2, 2, dtype=torch.bool))  # 1 - (2 + 1) / (2 + 0.7 * 2 + 1)
    tensor(0.3182)
    """

    def __init__(
        self,
        *,
        alpha=0.3,
        beta=0.7,
        smooth=1.0,
        class_weights=None,
        per_image=False,
        ignore_index=None,
        from_logits=True,
    ):
        super().__init__(
            overlap.tversky_loss,
            {
                "alpha": alpha,
                "beta": beta,
                "smooth": smooth,
                "class_weights": class_weights,
                "per_image": per_image,
                "ignore_index": ignore_index,
                "from_logits": from_logits,
            },
        )


class DiceCrossEntropy(_SegmentationLoss):
    """`dice_cross_entropy` as a module; called with ``(prediction, labels, weight_map=None)``.

    Parameters
    ----------
    dice_weight : float, default=1.0
        Of the Dice loss, >= 0.
    cross_entropy_weight : float, default=1.0
        Of the cross entropy, >= 0.
    beta : float, sequence of K float, "balanced" or None, default=None
        Weights of the classes in the cross entropy, as for `WeightedCrossEntropy`.
    smooth : float, default=1.0
        Keeps the Dice coefficient of classes that are absent defined.
    class_weights : sequence of K float, default=None
        Weights of the classes in the mean of the Dice coefficients, for K channels; None: equal ones.
    per_image : bool, default=False
        Dice of each image, and the mean over images.
    ignore_index : int, default=None
        The label of pixels that do not count.
    from_logits : bool, default=True
        Whether predictions come before the sigmoid or softmax.

    Raises
    ------
    TypeError, ValueError
        If an option is not of its kind or out of its range.

    Examples
    --------
    >>> import torch
    >>> from tomolearn.losses import DiceCrossEntropy
    >>> DiceCrossEntropy()(torch.zeros(1, 2, 2), torch.ones(1, 2, 2, dtype=torch.bool))  # 0.2857 + log 2
    tensor(0.9789)
    """

    def __init__(
        self,
        *,
        dice_weight=1.0,
        cross_entropy_weight=1.0,
        beta=None,
        smooth=1.0,
        class_weights=None,
        per_image=False,
        ignore_index=None,
        from_logits=True,
    ):
        super().__init__(
            overlap.dice_cross_entropy,
            {
                "dice_weight": dice_weight,
                "cross_entropy_weight": cross_entropy_weight,
                "beta": beta,
                "smooth": smooth,
                "class_weights": class_weights,
                "per_image": per_image,
                "ignore_index": ignore_index,
                "from_logits": from_logits,
            },
        )
