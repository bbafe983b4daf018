"""Randomness as a function of (seed, iteration, purpose), never of what was drawn before.

An interrupted run draws the same numbers as an uninterrupted one, without saving any generator's state.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ayt.base.recorded import Recorded


def derived_seed(seed: int, iteration: int, purpose: str) -> int:
    """A 63-bit seed; different arguments give unrelated ones."""
    text = f"{seed}/{iteration}/{purpose}".encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big") >> 1


def generator(seed: int, iteration: int, purpose: str, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator at the start of the stream for (seed, iteration, purpose)."""
    if isinstance(iteration, Recorded):
        return iteration.generator(lambda at: derived_seed(seed, at, purpose), device)
    return torch.Generator(device).manual_seed(derived_seed(seed, iteration, purpose))


CHUNK = 16
"""Images per chunk, whose numbers are drawn together: a part of a batch draws only the chunks it overlaps."""


def chunks(start: int, stop: int) -> Iterator[tuple[int, slice, slice]]:
    """The chunks that overlap images ``start`` to ``stop``: number, images within it, their places after ``start``."""
    for number in range(start // CHUNK, -(-stop // CHUNK)):
        first, last = max(start, number * CHUNK), min(stop, (number + 1) * CHUNK)
        yield number, slice(first - number * CHUNK, last - number * CHUNK), slice(first - start, last - start)


def image_noise(
    seed: int, iteration: int, purpose: str, start: int, stop: int, shape: Sequence[int], device: torch.device
) -> Tensor:
    """Standard normals (stop - start, *shape) for images ``start`` to ``stop``.

    An image's noise depends only on its index, not on which other images are drawn with it.
    """
    found = torch.empty((stop - start, *shape), device=device)
    for number, within, places in chunks(start, stop):
        source = generator(seed, iteration, f"{purpose}, chunk {number}", device)
        complete = within == slice(0, CHUNK)
        place = found[places] if complete else found.new_empty((CHUNK, *shape))
        torch.randn(place.shape, generator=source, device=device, out=place)
        if not complete:
            found[places] = place[within]
    return found


@dataclass(frozen=True)
class Draws:
    """The random numbers of one iteration of one run, for a batch or a part of it.

    A part gets exactly the numbers it would have in the whole batch, and draws only the chunks it overlaps.

    Attributes:
        seed: of the run.
        iteration: from 0; a `Recorded` while the iteration is being recorded.
        size: images in the whole batch.
        device: where the numbers are needed.
        part: the images of the batch they are needed for; None: all.
    """

    seed: int
    iteration: int
    size: int
    device: torch.device
    part: slice | None = None

    def generator(self, purpose: str, device: torch.device | None = None) -> torch.Generator:
        """A generator for one purpose, by default on the run's device; for operations on a whole batch."""
        return generator(self.seed, self.iteration, purpose, device or self.device)

    def normal(self, purpose: str, *shape: int) -> Tensor:
        """Standard normals, of ``shape`` for each image."""
        start, stop = self._ends
        return image_noise(self.seed, self.iteration, purpose, start, stop, shape, self.device)

    def ranks(self, purpose: str) -> Tensor:
        """The ranks (B,), from 0, of the images in a random order of the whole batch."""
        z = image_noise(self.seed, self.iteration, purpose, 0, self.size, (), self.device)
        start, stop = self._ends
        return z.argsort().argsort()[start:stop]

    def masks(self, shapes: Sequence[tuple[int, int, int]], probability: float) -> list[Tensor]:
        """Dropout masks (B, C, H, W), False with ``probability``; none where that is 0.

        All masks of an image are drawn together and contiguous, each in channels-last layout, like activations.
        """
        if not probability:
            return []
        start, stop = self._ends
        sizes = [channels * height * width for channels, height, width in shapes]
        whole = torch.empty((stop - start, sum(sizes)), dtype=torch.bool, device=self.device)
        for number, within, places in chunks(start, stop):
            source = generator(self.seed, self.iteration, f"dropout, chunk {number}", self.device)
            complete = within == slice(0, CHUNK)
            drawn = whole[places] if complete else whole.new_empty((CHUNK, sum(sizes)))
            drawn.bernoulli_(1 - probability, generator=source)
            if not complete:
                whole[places] = drawn[within]
        return [
            part.view(len(part), height, width, channels).permute(0, 3, 1, 2)
            for part, (channels, height, width) in zip(torch.split(whole, sizes, dim=1), shapes, strict=True)
        ]

    @property
    def _ends(self) -> tuple[int, int]:
        return (self.part.start, self.part.stop) if self.part else (0, self.size)
