"""EDM's preconditioning (arXiv 2206.00364, table 1)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ayt.base.randomness import Draws

Denoise = Callable[[Tensor, Tensor], Tensor]
"""D(x; sigma): noisy images (B, C, H, W) and noise levels (B,) to images (B, C, H, W) in about [-1, 1]."""

SIGMA_DATA = 0.5
"""Standard deviation that the data is taken to have, in units of images in [-1, 1]."""


def scalings(sigma: Tensor, sigma_data: float = SIGMA_DATA) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The coefficients of the preconditioning, each of sigma's shape.

    c_skip = s^2 / (t^2 + s^2),  c_out = t s / sqrt(t^2 + s^2),  c_in = 1 / sqrt(t^2 + s^2),  c_noise = ln(t) / 4,
    with t = ``sigma`` > 0 and s = ``sigma_data``.
    """
    total = sigma**2 + sigma_data**2
    return sigma_data**2 / total, sigma * sigma_data / total.sqrt(), 1 / total.sqrt(), sigma.log() / 4


class RawNetwork(nn.Module):
    """F, what the preconditioning surrounds.

    Attributes:
        mask_shapes: (C, H, W) of each dropout mask, in the order in which ``forward`` takes them.
        dropout: probability that a number is dropped.
        classes: number of classes that it is told of; 0: none.
    """

    mask_shapes: list[tuple[int, int, int]]
    dropout: float
    classes: int


class EDMPrecond(nn.Module):
    """The denoiser D(x; sigma) = c_skip x + c_out F(c_in x, c_noise) around a raw network F.

    Args:
        model: F, called as ``model(x, noise_label, augment_labels, class_labels, masks)``.
        sigma_data: standard deviation of the data.
        bf16: whether F computes in bfloat16; its inputs, weights and what surrounds it stay in float32.
    """

    def __init__(self, model: RawNetwork, sigma_data: float = SIGMA_DATA, bf16: bool = False) -> None:
        super().__init__()
        self.model = model
        self.sigma_data = sigma_data
        self.bf16 = bf16

    def forward(
        self,
        x: Tensor,
        sigma: Tensor,
        augment_labels: Tensor | None = None,
        class_labels: Tensor | None = None,
        masks: Sequence[Tensor] = (),
    ) -> Tensor:
        """Denoise.

        Args:
            x: (B, C, H, W) images plus noise of standard deviation sigma.
            sigma: (B,) noise levels, above 0.
            augment_labels: (B, A) or None.
            class_labels: (B, classes) one-hot, or None.
            masks: of dropout, for F; empty: no dropout.

        Returns:
            (B, C, H, W), in about [-1, 1].
        """
        c_skip, c_out, c_in, c_noise = scalings(sigma, self.sigma_data)
        c_skip, c_out, c_in = (c[:, None, None, None] for c in (c_skip, c_out, c_in))
        with torch.autocast(x.device.type, torch.bfloat16, enabled=self.bf16):
            raw = self.model(c_in * x, c_noise, augment_labels=augment_labels, class_labels=class_labels, masks=masks)
        return torch.addcmul(c_skip * x, c_out, raw.to(x.dtype))


def bind(
    network: EDMPrecond,
    labels: Tensor | None = None,
    draws: Draws | None = None,
    called: Callable[..., Tensor] | None = None,
) -> Denoise:
    """The denoiser as a function of images and noise levels alone: formulas see neither labels nor masks.

    Args:
        network: the denoiser.
        labels: (B,) classes of the images; ignored by a network that is not told any.
        draws: of the dropout masks, the same for every call; None: no dropout.
        called: what is called in the network's place, if it is wrapped.

    Returns:
        D(x; sigma) for batches of B images.
    """
    model = network.model
    masks = draws.masks(model.mask_shapes, model.dropout) if draws else []
    told = F.one_hot(labels, model.classes).float() if model.classes and labels is not None else None

    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        D: Tensor = (called or network)(x, sigma, class_labels=told, masks=masks)
        return D

    return denoise
