"""torch.compile: when it pays off, and where its results are cached."""

from __future__ import annotations

import importlib.util
import os
import shutil
from pathlib import Path

import torch

PAYS_FROM = 5000
"""Iterations of a segment.

On an H100, AYT's step at batch size 16 in TF32 took 23.0 ms compiled and 37.7 ms only replayed; a first compiled step
153 to 159 s with an empty cache, beside seven other compilations on 16 cores, and 12 to 26 s with a full one, beside
five. That is regained after some 10,000 iterations with an empty cache, which the first job of its kind finds, and
within 2,000 with a full one.
"""

SCORING_PAYS_FROM = 200_000
"""Images that go through a U-Net in a scoring job, each counted once per step.

On an H100, in TF32 and one step, 3,330 a second were scored compiled, and 2,010 only replayed. A first compiled batch
took 11 to 15 s with a full cache; with an empty one it was not measured.
"""


def pays(device: torch.device, iterations: int) -> bool:
    """Whether compilation pays off for a segment of this many iterations.

    This counts the whole segment, not what is left of it: a resumed one must sum in the same order.
    """
    return device.type == "cuda" and iterations >= PAYS_FROM


def scoring_pays(device: torch.device, images: int) -> bool:
    """The same for a job in which this many images go through a U-Net, counting everything it was asked for."""
    return device.type == "cuda" and images >= SCORING_PAYS_FROM


def find_missing() -> str | None:
    """What compilation for a GPU requires but is missing; None: nothing."""
    if importlib.util.find_spec("triton") is None:
        return "triton is not installed"
    # Triton builds the code that launches its kernels with one of these.
    compilers = [os.environ["CC"]] if os.environ.get("CC") else ["gcc", "clang"]
    if not any(shutil.which(compiler) for compiler in compilers):
        return f"there is no C compiler ({' or '.join(compilers)})"
    return None


def keep_compiled() -> None:
    """Cache compiled code between jobs, in the user's own cache; any number of jobs may share it.

    It is not beside the results: torch loads code from it, and a results folder may come from someone else.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "ayt" / "compiled"
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(cache))
