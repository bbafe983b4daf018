"""Work that does not depend on what follows it: a recording of a small batch lets a GPU do both at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor

T = TypeVar("T")

FILLS_FROM = 2**16
"""Pixels of a batch that fill a GPU. On an H100, two passes at once gained 11% with 16 images of 32x32 pixels, and lost
1% and memory with 128.
"""


def begin(compute: Callable[[], T], images: Tensor) -> Callable[[], T]:
    """Compute something from images (B, C, H, W); returns a function that returns it.

    While an iteration is recorded, it becomes a branch that joins again where the returned function is called. Until
    then, the caller must keep the tensors that it uses, so that their memory is not used again. Otherwise, and where
    the images fill a GPU anyway, it is computed at once.
    """
    pixels, device = images[:, 0].numel(), images.device
    if device.type != "cuda" or pixels >= FILLS_FROM or not torch.cuda.is_current_stream_capturing():
        found = compute()
        return lambda: found
    main, aside = torch.cuda.current_stream(device), _aside(device)
    aside.wait_stream(main)
    with torch.cuda.stream(aside):
        found = compute()

    def join() -> T:
        main.wait_stream(aside)
        return found

    return join


_streams: dict[torch.device, torch.cuda.Stream] = {}


def _aside(device: torch.device) -> torch.cuda.Stream:
    if device not in _streams:
        _streams[device] = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    return _streams[device]
