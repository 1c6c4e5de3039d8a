"""Objectives that count the overlap of regions: Dice, Tversky, and Dice with a cross entropy."""

import torch

from tomolearn._validation import check_real
from tomolearn.losses._batch import LARGEST, Batch, check_class_weights, make_batch
from tomolearn.losses.cross_entropy import mean_cross_entropy

__all__ = ["dice_cross_entropy", "dice_loss", "tversky_loss"]


def dice_loss(
    prediction,
    labels,
    *,
    smooth: float = 1.0,
    class_weights=None,
    per_image: bool = False,
    weight_map=None,
    ignore_index=None,
    from_logits: bool = True,
):
    """1 minus the Dice coefficient of probabilities, ``(2 sum(p y) + smooth) / (sum(p) + sum(y) + smooth)`` [1]_.

    Sums are over all pixels of the batch, as in superres-tomo, and without the squares of [1]_. One channel has the
    coefficient of class 1; of K channels it is the mean over the classes.

    Parameters
    ----------
    prediction : Tensor of shape (n, H, W), (n, 1, H, W) or (n, K, H, W)
        As for `weighted_cross_entropy`, and so the other arguments.
    labels : Tensor of shape (n, H, W) or (n, 1, H, W)
    smooth : float, default=1.0
        Keeps the coefficient of classes that are absent defined: near 1 if they are not predicted either.
    class_weights : sequence of K float, default=None
        Weights of the classes in the mean, for K channels: (0, 1, 1) leaves the background out; None: equal ones.
    per_image : bool, default=False
        Sum over each image instead, and give the mean over the images in which a pixel counts.
    weight_map : Tensor of the shape of labels, default=None
        Weights of the pixels in all three sums.
    ignore_index : int, default=None
        The label of pixels that do not count. A class of that number is left out of the mean.
    from_logits : bool, default=True

    Returns
    -------
    Tensor of shape ()

    Raises
    ------
    TypeError, ValueError
        As `weighted_cross_entropy`.

    References
    ----------
    .. [1] F. Milletari et al., "V-Net: fully convolutional neural networks for volumetric medical image segmentation",
       3DV 2016, DOI 10.1109/3DV.2016.79

    Examples
    --------
    >>> import torch
    >>> from tomolearn.losses import dice_loss
    >>> p, labels = torch.tensor([[[0.8, 0.4]]]), torch.tensor([[[1, 0]]])
    >>> dice_loss(p, labels, from_logits=False)  # 1 - (2 * 0.8 + 1) / (1.2 + 1 + 1)
    tensor(0.1875)
    """
    smooth = check_real(smooth, "smooth", low=0, high=LARGEST)
    class_weights = _check_mean_weights(class_weights)
    batch = make_batch(prediction, labels, weight_map, ignore_index, from_logits)
    return _overlap(batch, 0.5, 0.5, smooth / 2, class_weights, per_image)


def tversky_loss(
    prediction,
    labels,
    *,
    alpha: float = 0.3,
    beta: float = 0.7,
    smooth: float = 1.0,
    class_weights=None,
    per_image: bool = False,
    weight_map=None,
    ignore_index=None,
    from_logits: bool = True,
):
    """1 minus the Tversky index of probabilities, ``(TP + smooth) / (TP + alpha FP + beta FN + smooth)`` [1]_.

    Equal to `dice_loss` with twice the smoothing for ``alpha = beta = 0.5``; ``alpha = beta = 1`` is that of the
    intersection over union.

    Parameters
    ----------
    prediction : Tensor of shape (n, H, W), (n, 1, H, W) or (n, K, H, W)
        As for `dice_loss`, and so the other arguments.
    labels : Tensor of shape (n, H, W) or (n, 1, H, W)
    alpha : float, default=0.3
        Weight of false positives, >= 0.
    beta : float, default=0.7
        Weight of false negatives, >= 0; above ``alpha`` for rare classes.
    smooth : float, default=1.0
    class_weights : sequence of K float, default=None
    per_image : bool, default=False
    weight_map : Tensor of the shape of labels, default=None
    ignore_index : int, default=None
    from_logits : bool, default=True

    Returns
    -------
    Tensor of shape ()

    Raises
    ------
    TypeError, ValueError
        As `weighted_cross_entropy`.

    References
    ----------
    .. [1] S. S. M. Salehi et al., "Tversky loss function for image segmentation using 3D fully convolutional deep
       networks", MLMI 2017, DOI 10.1007/978-3-319-67389-9_44

    Examples
    --------
    >>> import torch
    >>> from tomolearn.losses import tversky_loss
    >>> p, labels = torch.tensor([[[0.8, 0.4]]]), torch.tensor([[[1, 0]]])
    >>> tversky_loss(p, labels, from_logits=False)  # 1 - 1.8 / (0.8 + 0.3 * 0.4 + 0.7 * 0.2 + 1)
    tensor(0.1262)
    """
    alpha = check_real(alpha, "alpha", low=0, high=LARGEST)
    beta = check_real(beta, "beta", low=0, high=LARGEST)
    smooth = check_real(smooth, "smooth", low=0, high=LARGEST)
    class_weights = _check_mean_weights(class_weights)
    batch = make_batch(prediction, labels, weight_map, ignore_index, from_logits)
    return _overlap(batch, alpha, beta, smooth, class_weights, per_image)


def dice_cross_entropy(
    prediction,
    labels,
    *,
    dice_weight: float = 1.0,
    cross_entropy_weight: float = 1.0,
    beta=None,
    smooth: float = 1.0,
    class_weights=None,
    per_image: bool = False,
    weight_map=None,
    ignore_index=None,
    from_logits: bool = True,
):
    """Weighted sum of `dice_loss` and `weighted_cross_entropy`, the objective of nnU-Net [1]_.

    Parameters
    ----------
    prediction : Tensor of shape (n, H, W), (n, 1, H, W) or (n, K, H, W)
        As for `weighted_cross_entropy`, and so the other arguments.
    labels : Tensor of shape (n, H, W) or (n, 1, H, W)
    dice_weight : float, default=1.0
        Of the Dice loss, >= 0.
    cross_entropy_weight : float, default=1.0
        Of the cross entropy, >= 0.
    beta : float, sequence of K float, "balanced" or None, default=None
        Weights of the classes in the cross entropy.
    smooth : float, default=1.0
        As for `dice_loss`, and so the next two.
    class_weights : sequence of K float, default=None
    per_image : bool, default=False
    weight_map : Tensor of the shape of labels, default=None
    ignore_index : int, default=None
    from_logits : bool, default=True

    Returns
    -------
    Tensor of shape ()

    Raises
    ------
    TypeError, ValueError
        As `weighted_cross_entropy`.

    References
    ----------
    .. [1] F. Isensee et al., "nnU-Net: a self-configuring method for deep learning-based biomedical image
       segmentation", Nat. Methods 18 (2021) 203, DOI 10.1038/s41592-020-01008-z

    Examples
    --------
    >>> import torch
    >>> from tomolearn.losses import dice_cross_entropy
    >>> p, labels = torch.tensor([[[0.8, 0.4]]]), torch.tensor([[[1, 0]]])
    >>> dice_cross_entropy(p, labels, dice_weight=2.0, from_logits=False)  # 2 * 0.1875 + 0.3670
    tensor(0.7420)
    """
    dice_weight = check_real(dice_weight, "dice_weight", low=0, high=LARGEST)
    cross_entropy_weight = check_real(cross_entropy_weight, "cross_entropy_weight", low=0, high=LARGEST)
    beta, class_weights = check_class_weights(beta, "beta"), _check_mean_weights(class_weights)
    smooth = check_real(smooth, "smooth", low=0, high=LARGEST)
    batch = make_batch(prediction, labels, weight_map, ignore_index, from_logits)
    dice = _overlap(batch, 0.5, 0.5, smooth / 2, class_weights, per_image)
    return dice_weight * dice + cross_entropy_weight * mean_cross_entropy(batch, beta)


def _check_mean_weights(class_weights):
    if class_weights is None:
        return None
    weights = check_class_weights(class_weights, "class_weights")
    if not isinstance(weights, tuple):
        raise ValueError(f"class_weights must be a sequence of one weight for each class; got {class_weights!r}.")
    return weights


def _overlap(batch: Batch, alpha, beta, smooth, class_weights, per_image):
    """The Tversky loss, which Dice is for alpha = beta = 1/2 and half the smoothing."""
    if not isinstance(per_image, bool):
        raise TypeError(f"per_image must be True or False; got {per_image!r}.")
    both, p, y = batch.overlaps(per_image)
    below = both + alpha * (p - both) + beta * (y - both) + smooth
    defined = below != 0  # without smoothing: some pixel is labelled or predicted
    index = torch.where(defined, (both + smooth) / torch.where(defined, below, 1), 1)
    # no matrix product, which autocast would round to half precision
    losses = ((1 - index) * _mean_weights(batch, class_weights)).sum(-1)
    if not per_image:
        return losses
    if batch.weights is None:
        return losses.mean()
    counts = batch.weights.sum((1, 2)) > 0
    return (losses * counts).sum() / counts.sum().clamp(min=1)


def _mean_weights(batch: Batch, class_weights):
    """Weights of the Dice coefficients of the channels in their mean; the sum is 1."""
    if batch.binary:
        if class_weights is not None:
            raise ValueError(
                f"class_weights must be None for a prediction of one channel, which has the coefficient of class 1 "
                f"alone; got {class_weights}."
            )
        return batch.scores.new_ones(1)
    weights = (
        [1.0] * batch.n_classes if class_weights is None else list(batch.check_length(class_weights, "class_weights"))
    )
    if batch.ignored_class is not None:
        weights[batch.ignored_class] = 0.0
    total = sum(weights) or 1.0
    return batch.scores.new_tensor([weight / total for weight in weights])
