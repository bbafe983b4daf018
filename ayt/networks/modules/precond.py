"""EDM's preconditioning (arXiv 2206.00364, table 1)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from ayt.base.randomness import Draws

Denoise = Callable[[Tensor, Tensor], Tensor]
"""D(x; sigma): from noisy images (B, C, H, W) and noise levels (B,) to images (B, C, H, W) in about [-1, 1]."""

SIGMA_DATA = 0.5
"""Assumed standard deviation of the data, in units of images in [-1, 1]."""


def scalings(sigma: Tensor, sigma_data: float = SIGMA_DATA) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The coefficients of the preconditioning, each of sigma's shape.

    c_skip = s^2 / (t^2 + s^2),  c_out = t s / sqrt(t^2 + s^2),  c_in = 1 / sqrt(t^2 + s^2),  c_noise = ln(t) / 4,
    with t = ``sigma`` > 0 and s = ``sigma_data``.
    """
    total = sigma**2 + sigma_data**2
    return sigma_data**2 / total, sigma * sigma_data / total.sqrt(), 1 / total.sqrt(), sigma.log() / 4


CAST_AT_ONCE = 32
"""Weights: few operations, and gradients that are there before the whole backward pass is done."""


class RawNetwork(nn.Module):
    """F, the network inside the preconditioning.

    Attributes:
        mask_shapes: (C, H, W) of each dropout mask, in the order in which ``forward`` takes them.
        dropout: probability that a number is dropped.
        classes: number of classes that it is conditioned on; 0: none.
    """

    mask_shapes: list[tuple[int, int, int]]
    dropout: float
    classes: int


class EDMPrecond(nn.Module):
    """The denoiser D(x; sigma) = c_skip x + c_out F(c_in x, c_noise) around a raw network F.

    Args:
        model: F, called as ``model(x, noise_label, augment_labels, class_labels, masks)``.
        sigma_data: standard deviation of the data.
        bf16: whether F computes in bfloat16; its inputs, weights and the preconditioning stay in float32.
    """

    def __init__(self, model: RawNetwork, sigma_data: float = SIGMA_DATA, bf16: bool = False) -> None:
        super().__init__()
        self.model = model
        self.sigma_data = sigma_data
        self.bf16 = bf16

    def cast_weights(self) -> dict[str, Tensor]:
        """The weights that F computes with in bfloat16, by their names in it; none unless it does.

        For all calls of `forward` between two changes of the weights: else each call casts them anew. Gradients flow
        through the cast.
        """
        if not self.bf16:
            return {}
        found = {
            f"{name}.{key}": weight
            for name, layer in self.model.named_modules()
            if isinstance(layer, nn.Conv2d | nn.Linear)
            for key, weight in layer.named_parameters(recurse=False)
        }
        names = list(found)
        cut = [names[start : start + CAST_AT_ONCE] for start in range(0, len(names), CAST_AT_ONCE)]
        return {
            name: weight
            for part in cut
            for name, weight in zip(part, _Cast.apply(*(found[name] for name in part)), strict=True)
        }

    def forward(
        self,
        x: Tensor,
        sigma: Tensor,
        augment_labels: Tensor | None = None,
        class_labels: Tensor | None = None,
        masks: Sequence[Tensor] = (),
        weights: Mapping[str, Tensor] | None = None,
    ) -> Tensor:
        """Denoise.

        Args:
            x: (B, C, H, W) images plus noise of standard deviation sigma.
            sigma: (B,) noise levels, above 0.
            augment_labels: (B, A) or None.
            class_labels: (B, classes) one-hot, or None.
            masks: dropout masks for F; empty: no dropout.
            weights: what `cast_weights` gave; None: they are cast here.

        Returns:
            (B, C, H, W), in about [-1, 1].
        """
        c_skip, c_out, c_in, c_noise = scalings(sigma, self.sigma_data)
        c_skip, c_out, c_in = (c[:, None, None, None] for c in (c_skip, c_out, c_in))
        with torch.autocast(x.device.type, torch.bfloat16, enabled=self.bf16):
            more = {"augment_labels": augment_labels, "class_labels": class_labels, "masks": masks}
            # What is in bfloat16 already, autocast leaves as it is.
            inputs = (c_in * x, c_noise)
            raw = functional_call(self.model, dict(weights), inputs, more) if weights else self.model(*inputs, **more)
        return torch.addcmul(c_skip * x, c_out, raw.to(x.dtype))


class _Cast(torch.autograd.Function):
    """Tensors in bfloat16, by one operation; their gradients in float32, by another."""

    @staticmethod
    def forward(context: Any, *weights: Tensor) -> tuple[Tensor, ...]:
        context.set_materialize_grads(False)
        return _copied(weights, torch.bfloat16)

    @staticmethod
    def backward(context: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        known = [index for index, gradient in enumerate(gradients) if gradient is not None]
        found: list[Tensor | None] = [None] * len(gradients)
        copies = _copied([gradient for gradient in gradients if gradient is not None], torch.float32)
        for index, gradient in zip(known, copies, strict=True):
            found[index] = gradient
        return tuple(found)


def _copied(tensors: Sequence[Tensor], dtype: torch.dtype) -> tuple[Tensor, ...]:
    copies = [torch.empty_like(tensor, dtype=dtype) for tensor in tensors]
    if copies:
        torch._foreach_copy_(copies, list(tensors))
    return tuple(copies)


def bind(
    network: EDMPrecond,
    labels: Tensor | None = None,
    draws: Draws | None = None,
    called: Callable[..., Tensor] | None = None,
    weights: Mapping[str, Tensor] | None = None,
) -> Denoise:
    """The denoiser as a function of images and noise levels only: formulas need neither labels nor masks.

    Args:
        network: the denoiser.
        labels: (B,) classes of the images; ignored by an unconditional network.
        draws: source of the dropout masks, the same for every call; None: no dropout.
        called: the wrapped network to call instead, if it is wrapped.
        weights: what the network's `cast_weights` gave; None or empty: they are cast where they are used.

    Returns:
        D(x; sigma) for batches of B images.
    """
    model = network.model
    masks = draws.masks(model.mask_shapes, model.dropout) if draws else []
    told = F.one_hot(labels, model.classes).float() if model.classes and labels is not None else None

    more = {"weights": weights} if weights else {}

    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        D: Tensor = (called or network)(x, sigma, class_labels=told, masks=masks, **more)
        return D

    return denoise
