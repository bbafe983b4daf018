"""Randomness as a function of (seed, iteration, purpose), never of what was drawn before.

A run that was interrupted draws the same numbers as one that was not, without any generator's state being kept.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor


def derived_seed(seed: int, iteration: int, purpose: str) -> int:
    """A 63-bit seed; different arguments give unrelated ones."""
    text = f"{seed}/{iteration}/{purpose}".encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big") >> 1


def generator(seed: int, iteration: int, purpose: str, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator at the beginning of the stream of (seed, iteration, purpose)."""
    return torch.Generator(device).manual_seed(derived_seed(seed, iteration, purpose))


@dataclass(frozen=True)
class Draws:
    """The random numbers of one iteration of one run, for a batch or a part of it.

    A part gets the very numbers that it would have in the whole batch: they are drawn for the whole, then cut.

    Attributes:
        seed: of the run.
        iteration: from 0.
        size: images in the whole batch.
        device: where the numbers are wanted.
        part: which images of the batch they are wanted for.
    """

    seed: int
    iteration: int
    size: int
    device: torch.device
    part: slice = field(default_factory=lambda: slice(None))

    def generator(self, purpose: str, device: torch.device | None = None) -> torch.Generator:
        """A generator for one purpose, on the run's device unless another is named."""
        return generator(self.seed, self.iteration, purpose, device or self.device)

    def normal(self, purpose: str, *shape: int) -> Tensor:
        """Standard normals, of ``shape`` for each image."""
        whole = torch.randn((self.size, *shape), generator=self.generator(purpose), device=self.device)
        return whole[self.part]

    def masks(self, shapes: Sequence[tuple[int, int, int]], probability: float) -> list[Tensor]:
        """Dropout masks (B, C, H, W), False with ``probability``; none where that is 0."""
        source = self.generator("dropout")
        return [
            # Drawn with channels last, as the activations lie in memory.
            torch.empty((self.size, height, width, channels), dtype=torch.bool, device=self.device)
            .bernoulli_(1 - probability, generator=source)[self.part]
            .permute(0, 3, 1, 2)
            for channels, height, width in (shapes if probability else ())
        ]
