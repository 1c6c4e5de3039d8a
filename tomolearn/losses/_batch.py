"""What the losses of segmentation share: checked predictions, labels and weights, in float32 or float64."""

import dataclasses
import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from tomolearn._validation import check_integer, check_real

EPSILON = 1e-7  # probabilities are clipped to [EPSILON, 1 - EPSILON] before the logarithm, as Keras does
LARGEST = torch.finfo(torch.float32).max  # what the losses compute in
_TOLERANCE = 1e-3  # of a probability: what averaging or rounding may add


@dataclasses.dataclass(frozen=True)
class Batch:
    """One batch of predictions and labels.

    Attributes
    ----------
    scores : Tensor of shape (n, K, H, W)
        Logits or probabilities; 0 at pixels without weight. K = 1: of class 1 against class 0.
    labels : Tensor of shape (n, H, W)
        int64, 0 to ``n_classes - 1``; 0 at pixels without weight.
    weights : Tensor of shape (n, H, W), or None
        Weights of the pixels; None: all 1.
    n_classes : int
    ignored_class : int or None
        The class that ``ignore_index`` names, if it is one.
    from_logits : bool
    """

    scores: Tensor
    labels: Tensor
    weights: Tensor | None
    n_classes: int
    ignored_class: int | None
    from_logits: bool

    @property
    def binary(self) -> bool:
        return self.scores.shape[1] == 1

    def log_true(self) -> Tensor:
        """Logarithm of the probability of the true class of every pixel, (n, H, W)."""
        scores = self.scores
        if self.binary:
            scores, positive = scores[:, 0], self.labels == 1
            if self.from_logits:
                return F.logsigmoid(torch.where(positive, scores, -scores))
            true = torch.where(positive, scores, 1 - scores)
        else:
            if self.from_logits:
                scores = F.log_softmax(scores, dim=1)
            true = scores.gather(1, self.labels.unsqueeze(1)).squeeze(1)
            if self.from_logits:
                return true
        # The value is that of the clipped probability. The gradient is taken as if nothing had been clipped: a pixel
        # that is as wrong as can be would otherwise stay so.
        return torch.log(true + (true.clamp(EPSILON, 1 - EPSILON) - true).detach())

    def overlaps(self, per_image: bool) -> tuple[Tensor, Tensor, Tensor]:
        """Sums over the pixels of p y, p and y, for each class: (K,), or (n, K) with ``per_image``."""
        p = self.scores
        if self.from_logits:
            p = torch.sigmoid(p) if self.binary else torch.softmax(p, dim=1)
        first = 1 if self.binary else 0
        classes = torch.arange(first, self.n_classes, device=p.device).view(1, -1, 1, 1)
        y = (self.labels.unsqueeze(1) == classes).to(p.dtype)
        axes = (2, 3) if per_image else (0, 2, 3)
        if self.weights is None:
            return (p * y).sum(axes), p.sum(axes), y.sum(axes)
        weights = self.weights.unsqueeze(1)
        y = y * weights
        return (p * y).sum(axes), (p * weights).sum(axes), y.sum(axes)

    def mean(self, values: Tensor) -> Tensor:
        """Mean of (n, H, W) values by the weights of the pixels; 0 if there are none."""
        if self.weights is None:
            return values.mean()
        total = self.weights.sum()
        return (self.weights * values).sum() / torch.where(total > 0, total, 1)

    def balanced_weights(self) -> Tensor:
        """Weights of the classes, inverse to their shares; those that are absent have 0 and do not count."""
        weights = torch.ones_like(self.scores[:, 0]) if self.weights is None else self.weights
        totals = torch.stack([(weights * (self.labels == k)).sum() for k in range(self.n_classes)])
        present = totals > 0
        inverse = totals.sum() / (torch.where(present, totals, 1) * present.sum().clamp(min=1))
        return torch.where(present, inverse, 0).detach()

    def weigh_pixels(self, weights, name: str, *, share: bool) -> Tensor:
        """The weight of every pixel by its label, (n, H, W), of what `check_class_weights` let pass."""
        if isinstance(weights, str):
            tensor = self.balanced_weights()
            if share:
                tensor = tensor / tensor.sum().clamp(min=1)  # 0 if no pixel counts, else 1 or more
        elif isinstance(weights, float):
            if self.n_classes != 2:
                raise ValueError(
                    f"{name} must be one weight for each of the {self.n_classes} classes, or 'balanced'; got "
                    f"{weights!r}. A number is the weight of class 1 of two classes."
                )
            tensor = self.scores.new_tensor([1 - weights if share else 1.0, weights])
        else:
            tensor = self.scores.new_tensor(self.check_length(weights, name))
        return tensor[self.labels]

    def check_length(self, weights: tuple, name: str) -> tuple:
        """``weights`` if there is one for each class, or an error that names them."""
        if len(weights) != self.n_classes:
            raise ValueError(
                f"{name} must be one weight for each of the {self.n_classes} classes; got {len(weights)}: {weights}."
            )
        return weights


def make_batch(prediction, labels, weight_map, ignore_index, from_logits) -> Batch:
    """A `Batch` of the arguments of a loss, or an error that names the one at fault."""
    check_options(ignore_index, from_logits)
    scores = _check_prediction(prediction)
    n, channels, *shape = scores.shape
    n_classes = max(2, channels)
    labels = _check_labels(labels, (n, *shape), channels).to(scores.device)
    weights = None
    if weight_map is not None:
        weights = _check_weight_map(weight_map, (n, *shape)).to(scores.device, scores.dtype)
    if ignore_index is not None:
        kept = labels != ignore_index
        weights = kept.to(scores.dtype) if weights is None else weights * kept
    if weights is not None:
        without = weights == 0
        # A value there, NaN included, must reach neither the loss nor the gradient.
        scores = scores.masked_fill(without.unsqueeze(1), 0)
        labels = labels.masked_fill(without, 0)
    _check_range(labels, n_classes, ignore_index)
    if not from_logits:
        _check_probabilities(scores)
    ignored = ignore_index if ignore_index is not None and 0 <= ignore_index < n_classes else None
    return Batch(scores, labels, weights, n_classes, ignored, from_logits)


def check_options(ignore_index, from_logits) -> None:
    if ignore_index is not None:
        check_integer(ignore_index, "ignore_index", low=-(2**31), high=2**31 - 1)
    if not isinstance(from_logits, bool):
        raise TypeError(
            "from_logits must be True (outputs before sigmoid or softmax) or False (probabilities); got "
            f"{from_logits!r}."
        )


def check_class_weights(value, name: str, *, share: bool = False):
    """``value`` as None, "balanced", a float or a tuple of floats; ``share``: a number lies between 0 and 1."""
    if value is None:
        return None
    if isinstance(value, str):
        if value != "balanced":
            raise ValueError(f"{name} must be a number, one weight for each class, or 'balanced'; got {value!r}.")
        return value
    if isinstance(value, Tensor):
        value = value.detach().cpu().tolist()
    if np.ndim(value) == 0:
        value = value.item() if isinstance(value, np.ndarray) else value
        number = check_real(value, name, low=0, high=1 if share else LARGEST, open_low=True)
        if share and number == 1:
            raise ValueError(f"{name} must lie between 0 and 1; got {value!r}. Class 0 has the weight 1 - {name}.")
        return number
    weights = tuple(check_real(w, f"{name}[{k}]", low=0, high=LARGEST) for k, w in enumerate(value))
    if not any(weights):
        raise ValueError(f"{name} must hold a weight above 0; got {weights}.")
    return weights


def _check_prediction(prediction) -> Tensor:
    if not isinstance(prediction, Tensor) or not prediction.is_floating_point():
        came = prediction.dtype if isinstance(prediction, Tensor) else type(prediction).__name__
        raise TypeError(f"prediction must be a floating-point tensor, the output of a network; got {came}.")
    if prediction.ndim not in (3, 4) or prediction.numel() == 0:
        raise ValueError(
            "prediction must have the shape (n, H, W) or (n, 1, H, W) for two classes, (n, K, H, W) for K, and hold a "
            f"pixel; got {tuple(prediction.shape)}."
        )
    scores = prediction.unsqueeze(1) if prediction.ndim == 3 else prediction
    return scores if scores.dtype == torch.float64 else scores.float()


def _check_labels(labels, shape: tuple, channels: int) -> Tensor:
    if not isinstance(labels, Tensor) or labels.is_complex():
        came = labels.dtype if isinstance(labels, Tensor) else type(labels).__name__
        raise TypeError(f"labels must be a tensor of whole numbers or booleans; got {came}.")
    if channels > 1 and tuple(labels.shape) == (shape[0], channels, *shape[1:]):
        raise ValueError(
            f"labels must hold the class of each pixel, shape {shape}; got one channel for each class, "
            f"{tuple(labels.shape)}. Pass labels.argmax(1)."
        )
    labels = _drop_channel(labels, "labels", shape)
    if labels.is_floating_point():
        if not bool((labels == labels.trunc()).all()):
            raise ValueError(
                "labels must be whole numbers; got fractions or NaN. Round them, or mark with ignore_index."
            )
    return labels.long()


def _check_weight_map(weight_map, shape: tuple) -> Tensor:
    if not isinstance(weight_map, Tensor) or weight_map.is_complex():
        came = weight_map.dtype if isinstance(weight_map, Tensor) else type(weight_map).__name__
        raise TypeError(f"weight_map must be a tensor of real numbers; got {came}.")
    weight_map = _drop_channel(weight_map, "weight_map", shape).detach()
    low, high = torch.stack(weight_map.aminmax()).tolist()  # one wait for a GPU, not two
    if not (low >= 0 and math.isfinite(high)):
        raise ValueError(
            f"weight_map must be finite and not negative; got values from {low:g} to {high:g}. 0 leaves a pixel out."
        )
    return weight_map


def _drop_channel(x: Tensor, name: str, shape: tuple) -> Tensor:
    """``x`` of shape (n, H, W), from (n, H, W) or (n, 1, H, W)."""
    if tuple(x.shape) not in (shape, (shape[0], 1, *shape[1:])):
        raise ValueError(
            f"{name} must have the shape of the prediction's images, {shape}, or that with one channel; got "
            f"{tuple(x.shape)}."
        )
    return x.reshape(shape)


def _check_range(labels: Tensor, n_classes: int, ignore_index) -> None:
    low, high = torch.stack(labels.aminmax()).tolist()
    if low < 0 or high >= n_classes:
        also = "no ignore_index is set" if ignore_index is None else f"or ignore_index={ignore_index}"
        raise ValueError(
            f"labels must be 0 to {n_classes - 1} ({also}) for a prediction of {n_classes} classes; got values from "
            f"{low} to {high}. Relabel the masks (masks > 0 for 0 and 255), or set ignore_index."
        )


def _check_probabilities(scores: Tensor) -> None:
    low, high = torch.stack(scores.detach().aminmax()).tolist()
    # NaN passes: the training that it comes from stops at a loss of NaN, and says why.
    if low < -_TOLERANCE or high > 1 + _TOLERANCE:
        raise ValueError(
            f"prediction must hold probabilities, 0 to 1, with from_logits=False; got values from {low:g} to {high:g}. "
            "Set from_logits=True for the outputs of a network before sigmoid or softmax."
        )
