"""What the corrections share: stacks in and out, and values interpolated from those beside them."""

import numpy as np
import torch

from tomolearn._validation import as_tensor, check_finite

REMEDY = "Repair such values by tomolearn.preprocessing.repair_pixels."


def as_stack(X, *, finite=True):
    """``X`` as a tensor (n, n_angles, n_detectors), and what turns such a tensor into the caller's kind and shape."""
    tensor, restore = as_tensor(X, "X", ndim=(2, 3))
    if 0 in tensor.shape:
        raise ValueError(f"X must hold at least one value; got shape {tuple(tensor.shape)}.")
    if finite:
        check_finite(tensor, "X", REMEDY)
    single, tensor = tensor.ndim == 2, tensor.detach()

    def finish(result):
        return restore(result[0] if single else result)

    return tensor[None] if single else tensor, finish


def empty(shape, dtype: torch.dtype) -> torch.Tensor:
    """Memory for a result, asked for by NumPy: it gets huge pages for it, which are much faster to write to first."""
    return torch.from_numpy(np.empty(tuple(shape), str(dtype).removeprefix("torch.")))


def brackets(good: np.ndarray):
    """For each place of each row of ``good`` (m, length): the good places on either side and the weight of the right.

    Beyond the last good place both are that place. Each row needs one good place at least.
    """
    length = good.shape[1]
    places = np.arange(length)
    left = np.maximum.accumulate(np.where(good, places, -1), axis=1)
    right = np.minimum.accumulate(np.where(good, places, length)[:, ::-1], axis=1)[:, ::-1]
    left, right = np.where(left < 0, right, left), np.where(right == length, left, right)
    return left, right, (places - left) / np.maximum(right - left, 1)


def interpolate_columns(stack: torch.Tensor, good: np.ndarray) -> None:
    """Fill, in place, the detectors of ``stack`` (n, n_angles, n_detectors) that ``good`` (n, n_detectors) leaves out.

    In each projection, linearly between the nearest good detectors; beyond the last good one, by its value.
    """
    rows, columns = np.nonzero(~good)
    if not len(rows):
        return
    left, right, weight = (array[rows, columns] for array in brackets(good))
    row, weight = torch.from_numpy(rows), torch.from_numpy(weight).to(stack.dtype)[:, None]
    left, right = (stack[row, :, torch.from_numpy(side)] for side in (left, right))
    # a + w (b - a) would lose a where b is much larger, and never give b itself at w = 1
    stack[row, :, torch.from_numpy(columns)] = (1 - weight) * left + weight * right
