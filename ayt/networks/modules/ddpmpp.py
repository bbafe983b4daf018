"""The DDPM++ U-Net of EDM (arXiv 2206.00364), with the parameter names of its published checkpoints."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import forward_ad

from ayt.base.errors import UserError
from ayt.networks.modules.precond import RawNetwork

EPS = 1e-6
HALF = math.sqrt(0.5)
LAYOUT_FREE_ON = {"cuda"}
"""Device types on which networks are written for torch.compile, with operations that work in any memory layout and that
it fuses. PyTorch's own group norm on CUDA copies channels-last activations to channels first and back; on a CPU it has
both layouts.
"""


class Conv(nn.Conv2d):
    """Size-preserving convolution, after an optional change of resolution by a factor of 2.

    ``resample`` is None, ``"down"`` (mean of 2x2 pixels) or ``"up"`` (each pixel repeated). The buffer
    ``resample_filter`` holds the 2x2 filter because published checkpoints have it.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, resample: str | None = None, gain: float = 1.0) -> None:
        super().__init__(inputs, outputs, kernel, padding=kernel // 2)
        self.resample = resample
        if resample:
            self.register_buffer("resample_filter", torch.full((1, 1, 2, 2), 0.25))
        initialise(self, gain)

    def forward(self, x: Tensor, bias: bool = True) -> Tensor:
        """Map (B, C, H, W) to (B, C', H', W'); ``bias``: whether the bias is added."""
        if self.resample == "down":
            x = F.avg_pool2d(x, 2)
        elif self.resample == "up":
            x = repeat_pixels(x) if x.device.type in LAYOUT_FREE_ON else F.interpolate(x, scale_factor=2.0)
        convolved: Tensor = self._conv_forward(x, self.weight, self.bias if bias else None)
        return convolved


def repeat_pixels(x: Tensor) -> Tensor:
    """Each pixel of (B, C, H, W) four times, in channels-last layout.

    Its derivative is a plain sum, where that of `F.interpolate` adds up in any order once it is compiled.
    """
    size, channels, height, width = x.shape
    pixels = x.permute(0, 2, 3, 1)[:, :, None, :, None, :].expand(-1, -1, 2, -1, 2, -1)
    return pixels.reshape(size, 2 * height, 2 * width, channels).permute(0, 3, 1, 2)


def initialise(layer: nn.Conv2d | nn.Linear, gain: float) -> None:
    """Xavier-uniform weights times ``gain``, no bias. A tiny gain makes a residual branch start near zero."""
    nn.init.xavier_uniform_(layer.weight, gain)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


def linear(inputs: int, outputs: int, bias: bool = True) -> nn.Linear:
    """A linear layer, initialised like the convolutions."""
    layer = nn.Linear(inputs, outputs, bias)
    initialise(layer, 1.0)
    return layer


def group_norm(channels: int) -> nn.GroupNorm:
    """Group norm with at most 32 groups of at least 4 channels each."""
    return nn.GroupNorm(min(32, channels // 4), channels, eps=EPS)


def normalise(norm: nn.GroupNorm, x: Tensor, shift: Tensor | None = None) -> Tensor:
    """Group norm of x + shift.

    Args:
        norm: provides weights, groups and epsilon.
        x: (B, C, H, W).
        shift: (B, C), constant over pixels; None: 0.

    Returns:
        (B, C, H, W) in the memory format of x; computed and returned in float32 if x has lower precision.
    """
    # Up to torch 2.11, the CPU kernel's derivative in forward mode rejects channels-last activations.
    if x.device.type in LAYOUT_FREE_ON or _is_differentiated_forward(x):
        return _layout_free(norm, x, shift)
    normalised: Tensor = norm(x if shift is None else x + shift[:, :, None, None])
    return normalised


def _is_differentiated_forward(x: Tensor) -> bool:
    return forward_ad.unpack_dual(x).tangent is not None  # type: ignore[no-untyped-call]


def norm_silu(
    norm: nn.GroupNorm, x: Tensor, shift: Tensor | None = None, mask: Tensor | None = None, keep: float = 1.0
) -> Tensor:
    """SiLU of `normalise`, then dropout: 0 where ``mask`` (B, C, H, W) is False, otherwise divided by ``keep``."""
    h = F.silu(normalise(norm, x, shift))
    return h if mask is None else h * mask / keep


def _layout_free(norm: nn.GroupNorm, x: Tensor, shift: Tensor | None) -> Tensor:
    """Group norm as one scale and one offset per image and channel, in at least float32.

    Only these, not the activations, depend on the shift: over pixels, one pass finds each channel's statistics.
    """
    h = x if x.dtype == torch.float64 else x.float()
    size, channels = x.shape[:2]
    per_group = (size, norm.num_groups, channels // norm.num_groups)
    variance, mean = (part.view(per_group) for part in torch.var_mean(h, dim=(2, 3), correction=0))
    moved = None if shift is None else shift.to(h.dtype).reshape(per_group)
    # A group's variance: the mean of its channels' and the variance of their means.
    among, centre = torch.var_mean(mean if moved is None else mean + moved, dim=2, correction=0, keepdim=True)
    inverse = torch.rsqrt(variance.mean(2, keepdim=True) + among + norm.eps)
    weight, bias = (part.to(h.dtype).view(1, *per_group[1:]) for part in (norm.weight, norm.bias))
    scale = weight * inverse
    offset = torch.addcmul(bias, -centre if moved is None else moved - centre, scale)
    return torch.addcmul(offset.view(size, channels, 1, 1), h, scale.view(size, channels, 1, 1))


def positional_embedding(noise_label: Tensor, channels: int) -> Tensor:
    """Sines, then cosines, of (B,) noise labels at frequencies 10000^(-i / (channels/2 - 1)): (B, channels)."""
    half = channels // 2
    exponents = torch.arange(half, dtype=noise_label.dtype, device=noise_label.device) / (half - 1)
    angles = noise_label[:, None] * (1 / 10000) ** exponents
    return torch.cat([angles.sin(), angles.cos()], dim=1)


class Block(nn.Module):
    """Residual block: two convolutions conditioned on the noise level, then optional self-attention."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        embedding: int,
        dropout: float,
        attention: bool = False,
        resample: str | None = None,
    ) -> None:
        super().__init__()
        self.keep = 1 - dropout
        self.norm0 = group_norm(inputs)
        self.conv0 = Conv(inputs, outputs, 3, resample)
        self.affine = linear(embedding, outputs)
        self.norm1 = group_norm(outputs)
        self.conv1 = Conv(outputs, outputs, 3, gain=1e-5)
        self.skip = Conv(inputs, outputs, 1, resample) if inputs != outputs or resample else None
        self.attention = attention
        if attention:
            self.norm2 = group_norm(outputs)
            self.qkv = Conv(outputs, 3 * outputs, 1, gain=math.sqrt(0.2))
            self.proj = Conv(outputs, outputs, 1, gain=1e-5)

    def forward(self, x: Tensor, shift: Tensor, mask: Tensor | None = None) -> Tensor:
        """Map (B, C, H, W) to (B, C', H', W').

        Args:
            x: activations.
            shift: (B, C') of `find_shifts`.
            mask: (B, C', H', W'), False where dropout drops; None: no dropout.
        """
        h = self.conv0(norm_silu(self.norm0, x), bias=x.device.type not in LAYOUT_FREE_ON)
        h = self.conv1(norm_silu(self.norm1, h, shift, mask, self.keep))
        x = (h + (x if self.skip is None else self.skip(x))) * HALF
        return (x + self._attend(x)) * HALF if self.attention else x

    def _attend(self, x: Tensor) -> Tensor:
        """Self-attention over pixels with one head."""
        size, channels, height, width = x.shape
        qkv = self.qkv(normalise(self.norm2, x)).permute(0, 2, 3, 1)
        # Query, key and value, each (B, HW, C), vary fastest in the channel index. Pixels come before channels, here
        # and on the way back, so that convolutions get channels-last activations.
        query, key, value = qkv.reshape(size, height * width, channels, 3).unbind(3)
        weights = torch.softmax(query @ key.transpose(1, 2) / math.sqrt(channels), dim=2)  # (B, HW, HW)
        attended = weights @ value
        projected: Tensor = self.proj(attended.view(size, height, width, channels).permute(0, 3, 1, 2))
        return projected


def find_shifts(blocks: Sequence[Block], embedding: Tensor) -> Iterable[Tensor]:
    """What each block adds between its convolutions to all pixels, (B, C'), from the embedding (B, E).

    Where networks are written for torch.compile, that is one product for all blocks, and includes the bias of their
    first convolutions, whose gradient then needs no sum over pixels.
    """
    if embedding.device.type not in LAYOUT_FREE_ON:
        return (block.affine(embedding) for block in blocks)
    layers = [block.affine for block in blocks]
    bias = torch.cat([layer.bias for layer in layers]) + torch.cat([cast(Tensor, block.conv0.bias) for block in blocks])
    whole = F.linear(embedding, torch.cat([layer.weight for layer in layers]), bias)
    return torch.split(whole, [layer.out_features for layer in layers], dim=1)


class DDPMpp(RawNetwork):
    """F(x, noise label), the raw network inside the preconditioning.

    Args:
        resolution: height and width of the images.
        image_channels: of the images.
        channels: of the first stage.
        channel_mult: multiplier of ``channels`` for each resolution, from the finest; each halves the one before.
        blocks: residual blocks for each resolution of the encoder; the decoder has one more.
        attention: resolutions with self-attention: in all blocks of the encoder, in the last of the decoder.
        dropout: probability, between the two convolutions of each block.
        augment_labels: size of the augmentation label; 0: none.
        classes: number of classes; 0: unconditional.

    Raises:
        UserError: the resolution cannot be halved often enough.
    """

    def __init__(
        self,
        resolution: int,
        image_channels: int,
        channels: int = 128,
        channel_mult: Sequence[int] = (2, 2, 2),
        blocks: int = 4,
        attention: Sequence[int] = (16,),
        dropout: float = 0.0,
        augment_labels: int = 0,
        classes: int = 0,
    ) -> None:
        super().__init__()
        halvings = len(channel_mult) - 1
        if resolution % 2**halvings:
            raise UserError(f"channel_mult {list(channel_mult)}: {halvings} halvings do not divide {resolution}")
        self.channels = channels
        self.classes = classes
        self.dropout = dropout
        self.mask_shapes: list[tuple[int, int, int]] = []
        """(C, H, W) of each block's dropout mask, in the order in which `forward` takes them."""
        embedding = 4 * channels
        self.map_label = linear(classes, channels) if classes else None
        self.map_augment = linear(augment_labels, channels, bias=False) if augment_labels else None
        self.map_layer0 = linear(channels, embedding)
        self.map_layer1 = linear(embedding, embedding)

        def block(inputs: int, outputs: int, attend: bool = False, resample: str | None = None) -> Block:
            self.mask_shapes.append((outputs, size, size))
            return Block(inputs, outputs, embedding, dropout, attend, resample)

        self.enc = nn.ModuleDict()
        width = channels
        skips = []
        for level, multiplier in enumerate(channel_mult):
            size = resolution >> level
            if level == 0:
                self.enc[f"{size}x{size}_conv"] = Conv(image_channels, width, 3)
            else:
                self.enc[f"{size}x{size}_down"] = block(width, width, resample="down")
            skips.append(width)
            for index in range(blocks):
                self.enc[f"{size}x{size}_block{index}"] = block(width, channels * multiplier, size in attention)
                width = channels * multiplier
                skips.append(width)

        self.dec = nn.ModuleDict()
        for level, multiplier in reversed(list(enumerate(channel_mult))):
            size = resolution >> level
            if level == halvings:
                self.dec[f"{size}x{size}_in0"] = block(width, width, attend=True)
                self.dec[f"{size}x{size}_in1"] = block(width, width)
            else:
                self.dec[f"{size}x{size}_up"] = block(width, width, resample="up")
            for index in range(blocks + 1):
                attend = size in attention and index == blocks
                self.dec[f"{size}x{size}_block{index}"] = block(width + skips.pop(), channels * multiplier, attend)
                width = channels * multiplier
        self.dec[f"{resolution}x{resolution}_aux_norm"] = group_norm(width)
        self.dec[f"{resolution}x{resolution}_aux_conv"] = Conv(width, image_channels, 3, gain=1e-5)

    def forward(
        self,
        x: Tensor,
        noise_label: Tensor,
        augment_labels: Tensor | None = None,
        class_labels: Tensor | None = None,
        masks: Sequence[Tensor] = (),
    ) -> Tensor:
        """Run the network.

        Args:
            x: (B, C, H, W) scaled noisy images.
            noise_label: (B,) ln(sigma) / 4.
            augment_labels: (B, A); None means zeros.
            class_labels: (B, classes) one-hot.
            masks: dropout masks of `mask_shapes`, each (B, C, H, W), False where a number is dropped; empty: no
                dropout, whatever mode the module is in. Masks are arguments so that passes can share them.

        Returns:
            (B, C, H, W).
        """
        embedding = positional_embedding(noise_label, self.channels)
        if self.map_label is not None and class_labels is not None:
            embedding = embedding + self.map_label(class_labels * math.sqrt(self.classes))
        if self.map_augment is not None and augment_labels is not None:
            embedding = embedding + self.map_augment(augment_labels)
        embedding = F.silu(self.map_layer1(F.silu(self.map_layer0(embedding))))

        layers = (*self.enc.values(), *self.dec.values())
        shifts = iter(find_shifts([layer for layer in layers if isinstance(layer, Block)], embedding))
        skips = []
        remaining = iter(masks)
        for layer in self.enc.values():
            x = layer(x, next(shifts), next(remaining, None)) if isinstance(layer, Block) else layer(x)
            skips.append(x)
        for name, layer in self.dec.items():
            if isinstance(layer, Block):
                if "_block" in name:
                    x = torch.cat([x, skips.pop()], dim=1)
                x = layer(x, next(shifts), next(remaining, None))
            elif isinstance(layer, nn.GroupNorm):
                x = norm_silu(layer, x)
            else:
                x = layer(x)
        return x
