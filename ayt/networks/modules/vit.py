"""A small vision transformer (arXiv 2010.11929) with fixed positions and a mean over tokens."""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ayt.base.errors import UserError
from ayt.networks.modules.feature_network import FeatureModule


def positions(rows: int, columns: int, dim: int) -> Tensor:
    """Fixed positions (rows * columns, dim): [sin x, cos x, sin y, cos y] at dim / 4 frequencies each.

    Frequencies are 10000^(-i / (dim / 4 - 1)); x counts columns, y rows, both from 0.
    """
    frequencies = 10_000 ** -(torch.arange(dim // 4) / (dim // 4 - 1))
    y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    x, y = (place.flatten()[:, None] * frequencies for place in (x, y))
    return torch.cat([x.sin(), x.cos(), y.sin(), y.cos()], dim=1)


class Attention(nn.Module):
    """Self-attention of normalised tokens."""

    def __init__(self, dim: int, heads: int, head_dim: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(dim)
        self.to_qkv = nn.Linear(dim, 3 * heads * head_dim, bias=False)
        self.to_out = nn.Linear(heads * head_dim, dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map tokens (B, N, dim) to (B, N, dim)."""
        size, tokens, _ = x.shape
        qkv = self.to_qkv(self.norm(x)).reshape(size, tokens, 3, self.heads, -1)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)  # each (B, heads, N, head_dim)
        attended = F.scaled_dot_product_attention(query, key, value)
        projected: Tensor = self.to_out(attended.transpose(1, 2).flatten(2))
        return projected


class FeedForward(nn.Module):
    """Two linear layers with GELU between them, on normalised tokens."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, hidden), nn.GELU(), nn.Linear(hidden, dim))

    def forward(self, x: Tensor) -> Tensor:
        """Map tokens (B, N, dim) to (B, N, dim)."""
        out: Tensor = self.net(x)
        return out


class Transformer(nn.Module):
    """Pre-norm blocks of attention and feed-forward layers, and the norm after them."""

    def __init__(self, dim: int, depth: int, heads: int, head_dim: int, mlp: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        # A list of pairs, as published checkpoints name them.
        self.layers = nn.ModuleList(
            nn.ModuleList([Attention(dim, heads, head_dim), FeedForward(dim, mlp)]) for _ in range(depth)
        )

    def streams(self, x: Tensor) -> list[Tensor]:
        """The tokens (B, N, dim) after each block, before the norm."""
        found = []
        for block in self.layers:
            for branch in cast(nn.ModuleList, block):
                x = x + branch(x)
            found.append(x)
        return found


class ViT(FeatureModule):
    """Patches to tokens, transformer blocks, norm, mean over tokens, a linear layer.

    Args:
        resolution: height and width of the images.
        image_channels: of the images.
        outputs: numbers predicted per image.
        patch: side of a patch, in pixels.
        dim: size of a token; a multiple of 4, at least 8.
        depth: number of blocks.
        heads: heads of each attention layer.
        head_dim: size of a head.
        mlp: hidden size of each feed-forward layer.

    Raises:
        UserError: patches do not divide the image, or ``dim`` cannot hold positions.
    """

    def __init__(
        self,
        resolution: int = 32,
        image_channels: int = 3,
        outputs: int = 15,
        patch: int = 4,
        dim: int = 256,
        depth: int = 3,
        heads: int = 8,
        head_dim: int = 64,
        mlp: int = 2048,
    ) -> None:
        super().__init__()
        if resolution % patch:
            raise UserError(f"patch {patch}: does not divide resolution {resolution}")
        if dim % 4 or dim < 8:
            raise UserError(f"dim {dim}: must be a multiple of 4, at least 8")
        self.patch = patch
        side, numbers = resolution // patch, image_channels * patch**2
        # Index 0 in the published checkpoints' names is the division into patches, which has no weights.
        self.to_patch_embedding = nn.Sequential(
            nn.Identity(), nn.LayerNorm(numbers), nn.Linear(numbers, dim), nn.LayerNorm(dim)
        )
        self.register_buffer("positions", positions(side, side, dim), persistent=False)
        self.transformer = Transformer(dim, depth, heads, head_dim, mlp)
        self.linear_head = nn.Linear(dim, outputs)

    def taps(self, x: Tensor) -> list[Tensor]:
        """The tokens (B, N, dim) after each block, then the predictions (B, outputs)."""
        streams = self._streams(x)
        return [*streams, self.head(self._pool(streams[-1]))]

    def embed(self, x: Tensor) -> Tensor:
        """The features (B, dim) that enter the linear layer."""
        return self._pool(self._streams(x)[-1])

    def head(self, features: Tensor) -> Tensor:
        """Predict (B, outputs) from the result of `embed`."""
        predictions: Tensor = self.linear_head(features)
        return predictions

    def _pool(self, tokens: Tensor) -> Tensor:
        mean: Tensor = self.transformer.norm(tokens).mean(dim=1)
        return mean

    def _streams(self, x: Tensor) -> list[Tensor]:
        size, channels, height, width = x.shape
        p = self.patch
        patches = x.reshape(size, channels, height // p, p, width // p, p).permute(0, 2, 4, 3, 5, 1)
        tokens = self.to_patch_embedding(patches.reshape(size, -1, p * p * channels))  # row, column, channel
        return self.transformer.streams(tokens + self.positions)
