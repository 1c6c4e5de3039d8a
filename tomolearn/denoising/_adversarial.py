"""A generator that is trained against a critic: the step of TomoGAN."""

import contextlib

import torch
from torch.nn import functional as F

from tomolearn.metrics import ssim
from tomolearn.training import Task

__all__ = ["AdversarialTask"]

SMALLEST = 8  # pixels of images whose critic may compute in bfloat16: 2 are left of them where it strides last
WINDOW = 7  # of SSIM, its authors' for uniform weights


class AdversarialTask(Task):
    """Generator and critic, each with an optimiser of its own.

    A step updates the critic ``n_critic`` times and then the generator, each time on other random parts of the slices
    of the batch.

    Parameters
    ----------
    generator, critic : torch.nn.Module
        (n, d, H, W) to (n, 1, H, W), and (n, 1, H, W) to (n,).
    normalize : callable
        ``normalize(x, y)``: what the generator takes and should give, of noisy and clean images as they came.
    crop : callable
        ``crop(x, y)``: the parts that a step learns from.
    features : torch.nn.Module or None
        Frozen network of the perceptual loss.
    adversarial : {"wasserstein", "vanilla"}
    weights : dict of str to float
        Of the terms ``"pixel"``, ``"adversarial"`` and ``"perceptual"`` of the generator's loss.
    gradient_penalty : float
    n_critic : int
    pixel_epochs : int
        Epochs at the start in which the critic waits.
    optimizers : dict of str to callable
        ``generator`` and ``critic``: make an optimiser of parameters.
    """

    # A critic that comes in late, or whose rate falls with the generator's, would not learn any more.
    constant = ("critic",)

    def __init__(
        self,
        generator,
        critic,
        *,
        normalize,
        crop,
        features,
        adversarial,
        weights,
        gradient_penalty,
        n_critic,
        pixel_epochs,
        optimizers,
    ):
        self.modules = torch.nn.ModuleDict({"network": generator, "critic": critic})
        self._normalize, self._crop, self._features = normalize, crop, features
        self._wasserstein, self._weights = adversarial == "wasserstein", weights
        self._penalty, self._n_critic, self._pixel_epochs = gradient_penalty, n_critic, pixel_epochs
        self._make = optimizers

    def optimizers(self):
        modules = {"generator": self.modules["network"], "critic": self.modules["critic"]}
        return {name: self._make[name](modules[name].parameters()) for name in modules}

    def training_step(self, engine, batch):
        if not self._weights["adversarial"]:
            return self._train_generator(engine, batch, False)
        opposed, of_critic = engine.epoch >= self._pixel_epochs, torch.zeros(())
        for _ in range(self._n_critic * opposed):
            of_critic = self._train_critic(engine, batch)
        # A history has the same losses in all epochs.
        losses = {"adversarial_loss": torch.zeros(()), "critic_loss": of_critic}
        return losses | self._train_generator(engine, batch, opposed)

    # ---------------------------------------------------------------------------------------------- the critic

    def _train_critic(self, engine, batch):
        x, real = self._parts(batch)
        with torch.no_grad(), engine.autocast():
            fake = self.modules["network"](x)
        fake = fake.float()
        of_real, of_fake = self._judged(engine, torch.cat([real, fake])).chunk(2)
        if self._wasserstein:
            # One backward with the penalty: with the penalty alone, the last bias would have no gradient.
            loss = of_fake.mean() - of_real.mean() + self._penalty * self._penalty_of(real, fake)
        else:
            loss = F.softplus(-of_real).mean() + F.softplus(of_fake).mean()
        engine.step("critic", loss)
        return loss.detach()

    def _judged(self, engine, images):
        # oneDNN's gradient of a strided convolution in bfloat16 is NaN at times where there is a single pixel.
        with engine.autocast() if max(images.shape[2:]) >= SMALLEST else contextlib.nullcontext():
            return self.modules["critic"](images).float()

    def _penalty_of(self, real, fake):
        """How far the critic's slope between real and generated images is from 1 (Gulrajani et al.)."""
        share = torch.rand(len(real), 1, 1, 1, device=real.device)
        between = torch.lerp(real, fake, share).requires_grad_(True)
        (slope,) = torch.autograd.grad(self.modules["critic"](between).sum(), between, create_graph=True)
        # Where the slope is 0, as over empty images, the norm itself has no gradient.
        return ((slope.square().flatten(1).sum(1) + 1e-12).sqrt() - 1).square().mean()

    # ------------------------------------------------------------------------------------------- the generator

    def _train_generator(self, engine, batch, opposed):
        x, target = self._parts(batch)
        with engine.autocast():
            image = self.modules["network"](x)
        image = image.float()
        pixel = F.mse_loss(image, target)
        loss, losses = self._weights["pixel"] * pixel, {"pixel_loss": pixel}
        if self._weights["perceptual"] > 0:
            with engine.autocast():
                seen = self._features(image)
                with torch.no_grad():
                    wanted = self._features(target)
            losses["perceptual_loss"] = perceptual_loss(seen, wanted)
            loss = loss + self._weights["perceptual"] * losses["perceptual_loss"]
        if opposed:
            critic = self.modules["critic"].requires_grad_(False)  # its own gradients would be computed in vain
            judged = self._judged(engine, image)
            critic.requires_grad_(True)
            losses["adversarial_loss"] = -judged.mean() if self._wasserstein else F.softplus(-judged).mean()
            loss = loss + self._weights["adversarial"] * losses["adversarial_loss"]
        engine.step("generator", loss)
        return {"loss": loss, **losses}

    def _parts(self, batch):
        x, y = self._normalize(*self._crop(*batch))
        return x.contiguous(memory_format=torch.channels_last), y[:, None]

    def validation_step(self, engine, batch):
        """One minus the mean SSIM of whole slices, one at a time: they may be large. Their error if they are tiny."""
        x, y = self._normalize(*batch)
        size = min(WINDOW, *(n - 1 + n % 2 for n in y.shape[1:]))
        errors, losses = [], []
        for image, target in zip(x, y, strict=True):
            with engine.autocast():
                result = self.modules["network"](image[None].contiguous(memory_format=torch.channels_last))
            result = result.float()[0, 0]
            errors.append(float(F.mse_loss(result, target)))
            losses.append(1 - ssim(target, result, data_range=1.0, win_size=size) if size > 1 else errors[-1])
        return {name: torch.tensor(v).mean() for name, v in (("loss", losses), ("pixel_loss", errors))}


def perceptual_loss(seen, wanted):
    """Mean over maps of features and over images: squared difference, as a part of the square of what is wanted.

    Parts of it: feature networks differ in the size of their values, and so do the depths of one.
    """
    losses = []
    for a, b in zip(seen, wanted, strict=True):
        a, b = a.float().flatten(1), b.float().flatten(1)
        losses.append(((a - b).square().mean(1) / (b.square().mean(1) + 1e-12)).mean())
    return torch.stack(losses).mean()
