"""Objectives that are means over pixels: weighted and balanced cross entropy, focal loss.

All losses of segmentation take ``(prediction, labels)`` and the same further arguments. They compute in float32, of
float64 predictions in float64. At probabilities of 0 and 1, in float32 and bfloat16, they are finite, and so are their
gradients.
"""

import torch

from tomolearn._validation import check_real
from tomolearn.losses._batch import LARGEST, Batch, check_class_weights, make_batch

__all__ = ["balanced_cross_entropy", "focal_loss", "weighted_cross_entropy"]


def weighted_cross_entropy(
    prediction, labels, *, beta=None, weight_map=None, ignore_index=None, from_logits: bool = True
):
    """Cross entropy in which the pixels of each class have a weight: the mean of ``-w[y] log p[y]``.

    With a number for ``beta`` it is that of superres-tomo, ``-(beta y log p + (1 - y) log(1 - p))``: above 1 it lowers
    the false negatives, below 1 the false positives. The mean is over pixels and not divided by the weights of classes.

    Parameters
    ----------
    prediction : Tensor of shape (n, H, W), (n, 1, H, W) or (n, K, H, W)
        Output of a network: of class 1 for two classes, or of K >= 2 classes.
    labels : Tensor of shape (n, H, W) or (n, 1, H, W)
        The class of each pixel, 0 to K - 1, as whole numbers or booleans.
    beta : float, sequence of K float, "balanced" or None, default=None
        Weight of class 1 of two classes (class 0 has 1); or a weight for each class; "balanced": those of
        `balanced_weights` from the labels of this batch, classes that are absent left out; None: 1.
    weight_map : Tensor of the shape of labels, default=None
        Weights of the pixels, >= 0 [1]_; the mean is divided by their sum. A pixel of weight 0 is left out.
    ignore_index : int, default=None
        The label of pixels that do not count. If none counts, the loss is 0 and so is its gradient.
    from_logits : bool, default=True
        Whether ``prediction`` comes before the sigmoid (one channel) or softmax. Probabilities are clipped to
        [1e-7, 1 - 1e-7], so that logits, which are exact, are the better choice.

    Returns
    -------
    Tensor of shape ()

    Raises
    ------
    TypeError
        If an argument is not of its kind: ``prediction`` not floating-point, ``labels`` not a tensor ...
    ValueError
        If shapes do not agree, labels are not 0 to K - 1, probabilities not 0 to 1, or a weight is out of its range.

    References
    ----------
    .. [1] O. Ronneberger et al., "U-Net: convolutional networks for biomedical image segmentation", MICCAI 2015, DOI
       10.1007/978-3-319-24574-4_28

    Examples
    --------
    >>> import torch
    >>> from tomolearn.losses import weighted_cross_entropy
    >>> p, labels = torch.tensor([[[0.8, 0.4]]]), torch.tensor([[[1, 0]]])
    >>> weighted_cross_entropy(p, labels, beta=2.0, from_logits=False)  # -(2 log 0.8 + log 0.6) / 2
    tensor(0.4786)
    """
    beta = check_class_weights(beta, "beta")
    return mean_cross_entropy(make_batch(prediction, labels, weight_map, ignore_index, from_logits), beta)


def balanced_cross_entropy(
    prediction, labels, *, beta="balanced", weight_map=None, ignore_index=None, from_logits: bool = True
):
    """Cross entropy in which the weights of the classes sum to 1 [1]_.

    Of two classes it is the mean of ``-(beta y log p + (1 - beta) (1 - y) log(1 - p))``, that of superres-tomo.

    Parameters
    ----------
    prediction : Tensor of shape (n, H, W), (n, 1, H, W) or (n, K, H, W)
        As for `weighted_cross_entropy`, and so the other arguments.
    labels : Tensor of shape (n, H, W) or (n, 1, H, W)
    beta : float, sequence of K float or "balanced", default="balanced"
        Weight of class 1 of two classes, between 0 and 1 (class 0 has 1 - beta); or a weight for each class, which are
        divided by their sum; "balanced": inverse to the shares of the classes in this batch, those that are absent left
        out, which for two classes is the share of class 0.
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
    .. [1] S. Xie, Z. Tu, "Holistically-nested edge detection", ICCV 2015, DOI 10.1109/ICCV.2015.164

    Examples
    --------
    >>> import torch
    >>> from tomolearn.losses import balanced_cross_entropy
    >>> p, labels = torch.tensor([[[0.8, 0.4]]]), torch.tensor([[[1, 0]]])
    >>> balanced_cross_entropy(p, labels, beta=0.75, from_logits=False)  # -(0.75 log 0.8 + 0.25 log 0.6) / 2
    tensor(0.1475)
    """
    if beta is None:
        raise ValueError("beta must be a number between 0 and 1, a weight for each class, or 'balanced'; got None.")
    beta = check_class_weights(beta, "beta", share=True)
    if isinstance(beta, tuple):
        beta = tuple(weight / sum(beta) for weight in beta)
    batch = make_batch(prediction, labels, weight_map, ignore_index, from_logits)
    return batch.mean(-batch.log_true() * batch.weigh_pixels(beta, "beta", share=True))


def focal_loss(
    prediction,
    labels,
    *,
    gamma: float = 2.0,
    alpha=None,
    weight_map=None,
    ignore_index=None,
    from_logits: bool = True,
):
    """Focal loss [1]_, a cross entropy that gives little weight to easy pixels.

    It is the mean over pixels of ``-a[y] (1 - p[y])^gamma log p[y]``.

    Parameters
    ----------
    prediction : Tensor of shape (n, H, W), (n, 1, H, W) or (n, K, H, W)
        As for `weighted_cross_entropy`, and so the other arguments.
    labels : Tensor of shape (n, H, W) or (n, 1, H, W)
    gamma : float, default=2.0
        How much easy pixels fade, >= 0; with 0 this is a weighted cross entropy.
    alpha : float, sequence of K float, "balanced" or None, default=None
        Weight of class 1 of two classes, between 0 and 1 (class 0 has 1 - alpha; the paper: 0.25); or a weight for each
        class, as it is; "balanced": as for `balanced_cross_entropy`; None: 1.
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
    .. [1] T.-Y. Lin et al., "Focal loss for dense object detection", ICCV 2017, DOI 10.1109/ICCV.2017.324

    Examples
    --------
    >>> import torch
    >>> from tomolearn.losses import focal_loss
    >>> p, labels = torch.tensor([[[0.8, 0.4]]]), torch.tensor([[[1, 0]]])
    >>> focal_loss(p, labels, from_logits=False)  # -(0.2**2 log 0.8 + 0.4**2 log 0.6) / 2
    tensor(0.0453)
    """
    gamma = check_real(gamma, "gamma", low=0, high=LARGEST)
    alpha = check_class_weights(alpha, "alpha", share=True)
    batch = make_batch(prediction, labels, weight_map, ignore_index, from_logits)
    log_p = batch.log_true()
    # expm1: 1 - p to all digits where p is almost 1. clamp: the slope of a power below 1 is infinite at 0.
    missing = -log_p.expm1()
    values = -(missing.clamp(min=torch.finfo(missing.dtype).tiny) ** gamma) * log_p
    return batch.mean(values if alpha is None else values * batch.weigh_pixels(alpha, "alpha", share=True))


def mean_cross_entropy(batch: Batch, beta) -> torch.Tensor:
    """The weighted cross entropy of a batch that has been checked."""
    values = -batch.log_true()
    return batch.mean(values if beta is None else values * batch.weigh_pixels(beta, "beta", share=False))
