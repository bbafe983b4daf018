"""torch.compile: when it pays, and where its results are kept."""

from __future__ import annotations

import importlib.util
import os
import shutil
from pathlib import Path

import torch

PAYS_FROM = 5000
"""Iterations of a segment: compiling a U-Net takes about 2 minutes on an H100, paid back little by little."""

SCORING_PAYS_FROM = 200_000
"""Images that go through a U-Net in a scoring job, each as often as there are steps."""


def pays(device: torch.device, iterations: int) -> bool:
    """Whether a segment of so many iterations gains by compilation.

    Judged by the whole segment, not by what is left of it: one that is resumed must add up in the same order.
    """
    return device.type == "cuda" and iterations >= PAYS_FROM


def scoring_pays(device: torch.device, images: int) -> bool:
    """The same of a job in which so many images go through a U-Net; judged by all that it was asked for."""
    return device.type == "cuda" and images >= SCORING_PAYS_FROM


def find_missing() -> str | None:
    """What compilation for a GPU needs and does not find; None: nothing is missing."""
    if importlib.util.find_spec("triton") is None:
        return "triton is not installed"
    # Triton builds the code that starts its kernels with one of these.
    compilers = [os.environ["CC"]] if os.environ.get("CC") else ["gcc", "clang"]
    if not any(shutil.which(compiler) for compiler in compilers):
        return f"there is no C compiler ({' or '.join(compilers)})"
    return None


def keep_compiled() -> None:
    """Have results of compilation kept from job to job, in the user's own cache; any number of jobs may share it.

    Not beside the results: torch loads code from it, and a folder of results may come from someone else.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "ayt" / "compiled"
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(cache))
