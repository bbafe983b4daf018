"""Randomness as a function of (seed, iteration, purpose), never of what was drawn before.

A run that was interrupted draws the same numbers as one that was not, without any generator's state being kept.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

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
    """The random numbers of one iteration of one run."""

    seed: int
    iteration: int
    device: torch.device

    def generator(self, purpose: str) -> torch.Generator:
        """A generator for one purpose, on the run's device."""
        return generator(self.seed, self.iteration, purpose, self.device)

    def normal(self, purpose: str, *shape: int) -> Tensor:
        """Standard normals."""
        return torch.randn(shape, generator=self.generator(purpose), device=self.device)

    def seed_dropout(self) -> None:
        """Put PyTorch's default generators where this iteration's dropout masks begin.

        Called before each of several passes, it makes them share their masks.
        """
        torch.manual_seed(derived_seed(self.seed, self.iteration, "dropout"))
