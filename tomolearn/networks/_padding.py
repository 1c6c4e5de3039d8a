"""Images continued beyond their borders by their mirror image, where they are large enough for it."""

import torch
from torch.nn import functional

__all__ = ["mirror_pad"]


def mirror_pad(x: torch.Tensor, *, left: int = 0, right: int = 0, top: int = 0, bottom: int = 0) -> torch.Tensor:
    """``x`` (n, channels, rows, columns) continued by reflection about its outermost rows and columns.

    They are not repeated. An axis that is too short for what is asked of it is continued by its first and last line.
    """
    for padding, size in (((0, 0, top, bottom), x.shape[2]), ((left, right, 0, 0), x.shape[3])):
        if any(padding):
            x = functional.pad(x, padding, mode="reflect" if max(padding) < size else "replicate")
    return x
