"""The DDPM++ U-Net of EDM (arXiv 2206.00364), with the parameter names of its published checkpoints."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import forward_ad

from ayt.base.errors import UserError
from ayt.networks.modules.precond import RawNetwork

EPS = 1e-6
HALF = math.sqrt(0.5)
LAYOUT_FREE_ON = {"cuda"}
"""Device types on which group norm is written with operations that work in any memory layout and that torch.compile
fuses: PyTorch's CUDA kernel copies channels-last activations to channels first and back. Its CPU kernel has both.
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

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, C', H', W')."""
        if self.resample == "down":
            x = F.avg_pool2d(x, 2)
        elif self.resample == "up":
            x = F.interpolate(x, scale_factor=2.0, mode="nearest")
        return super().forward(x)


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
    if x.device.type in LAYOUT_FREE_ON or forward_ad.unpack_dual(x).tangent is not None:
        return _layout_free(norm, x, shift)
    normalised: Tensor = norm(x if shift is None else x + shift[:, :, None, None])
    return normalised


def norm_silu(
    norm: nn.GroupNorm, x: Tensor, shift: Tensor | None = None, mask: Tensor | None = None, keep: float = 1.0
) -> Tensor:
    """SiLU of `normalise`, then dropout: 0 where ``mask`` (B, C, H, W) is False, otherwise divided by ``keep``."""
    h = F.silu(normalise(norm, x, shift))
    return h if mask is None else h * mask / keep


def _layout_free(norm: nn.GroupNorm, x: Tensor, shift: Tensor | None) -> Tensor:
    """Group norm as one scale and one offset per image and channel, in at least float32."""
    h = x if x.dtype == torch.float64 else x.float()
    if shift is not None:
        h = h + shift.to(h.dtype)[:, :, None, None]
    size, channels, height, width = h.shape
    # A view in channels-last layout: pixels are the outer dimension, channels the inner one.
    groups = h.permute(0, 2, 3, 1).reshape(size, height * width, norm.num_groups, channels // norm.num_groups)
    variance, mean = torch.var_mean(groups, dim=(1, 3), correction=0)  # each (B, groups)
    inverse, mean = ((part[:, :, None]) for part in (torch.rsqrt(variance + norm.eps), mean))
    weight, bias = (part.to(h.dtype).view(1, norm.num_groups, -1) for part in (norm.weight, norm.bias))
    scale = weight * inverse  # (B, groups, C / groups)
    offset = bias - mean * scale
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

    def forward(self, x: Tensor, embedding: Tensor, mask: Tensor | None = None) -> Tensor:
        """Map (B, C, H, W) and (B, E) to (B, C', H', W'); ``mask`` (B, C', H', W') is False where dropout drops."""
        h = self.conv0(norm_silu(self.norm0, x))
        h = self.conv1(norm_silu(self.norm1, h, self.affine(embedding), mask, self.keep))
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

        skips = []
        remaining = iter(masks)
        for layer in self.enc.values():
            x = layer(x, embedding, next(remaining, None)) if isinstance(layer, Block) else layer(x)
            skips.append(x)
        for name, layer in self.dec.items():
            if isinstance(layer, Block):
                if "_block" in name:
                    x = torch.cat([x, skips.pop()], dim=1)
                x = layer(x, embedding, next(remaining, None))
            elif isinstance(layer, nn.GroupNorm):
                x = norm_silu(layer, x)
            else:
                x = layer(x)
        return x
