"""The step of Noise2Self: predict pixels that the network is not shown."""

import torch
from torch.nn import functional as F

from tomolearn.training import Task

__all__ = ["Grid", "MaskedTask"]


class Grid:
    """Pixels on a grid, hidden with their surroundings.

    Parameters
    ----------
    spacing : int
        Rows and columns from one hidden pixel to the next.
    radius : int
        How far around each of them is hidden too.
    """

    def __init__(self, spacing, radius):
        self.spacing, self.radius = spacing, radius

    def phases(self):
        """The places where a grid may begin; every pixel is hidden in the middle of one of them."""
        return [(i, j) for i in range(self.spacing) for j in range(self.spacing)]

    def hide(self, x, phase):
        """``x`` (n, d, rows, columns) with the middle slice filled in from what is left around the hidden pixels.

        So are neighbours that are the same slice again, as beyond the ends of a volume: they would show the pixels.
        """
        middle = x.shape[1] // 2
        shown = torch.ones(1, 1, *x.shape[2:], dtype=x.dtype, device=x.device)
        shown[:, :, phase[0] :: self.spacing, phase[1] :: self.spacing] = 0
        size = 2 * self.radius + 1
        shown = -F.max_pool2d(-shown, size, stride=1, padding=self.radius)
        kernel = torch.ones(1, 1, size + 2, size + 2, dtype=x.dtype, device=x.device)
        slices = x[:, middle : middle + 1]
        around = F.conv2d(slices * shown, kernel, padding=self.radius + 1)
        count = F.conv2d(shown, kernel, padding=self.radius + 1)
        # Images of a few pixels may be hidden altogether.
        filled = torch.where(shown > 0, slices, around / count.clamp(min=1))
        return torch.where((x == slices).flatten(2).all(2)[..., None, None], filled, x)

    def at(self, images, phase):
        """The hidden pixels of ``images`` (n, rows, columns), without their surroundings: a view."""
        return images[:, phase[0] :: self.spacing, phase[1] :: self.spacing]


class MaskedTask(Task):
    """A network that learns to predict the hidden pixels of noisy slices.

    Parameters
    ----------
    network : torch.nn.Module
        (n, d, H, W) to (n, 1, H, W).
    grid : Grid
    normalize : callable
        ``normalize(x, y)``
    crop : callable
        ``crop(x, y)``: the parts that a step learns from.
    make_optimizer : callable
    """

    def __init__(self, network, grid, *, normalize, crop, make_optimizer):
        self.modules = torch.nn.ModuleDict({"network": network})
        self._grid, self._normalize, self._crop, self._make = grid, normalize, crop, make_optimizer

    def optimizers(self):
        return {"network": self._make(self.modules.parameters())}

    def training_step(self, engine, batch):
        x, y = self._normalize(*self._crop(*batch))
        phases = [phase for phase in self._grid.phases() if phase[0] < x.shape[2] and phase[1] < x.shape[3]]
        loss = self._loss(engine, x, y, phases[int(torch.randint(len(phases), ()))])
        engine.step("network", loss)
        return {"loss": loss}

    def validation_step(self, engine, batch):
        """The loss of whole slices, one at a time, with one grid: they may be large."""
        x, y = self._normalize(*batch)
        phase = tuple(min(self._grid.spacing, n) // 2 for n in x.shape[2:])
        losses = [self._loss(engine, x[k : k + 1], y[k : k + 1], phase) for k in range(len(x))]
        return {"loss": torch.stack(losses).mean()}

    def _loss(self, engine, x, y, phase):
        with engine.autocast():
            hidden = self._grid.hide(x, phase).contiguous(memory_format=torch.channels_last)
            images = self.modules["network"](hidden)[:, 0]
        return F.mse_loss(self._grid.at(images.float(), phase), self._grid.at(y, phase))
