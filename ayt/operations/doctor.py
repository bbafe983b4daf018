"""What this machine offers the workflow, and what would not work on it."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple

from ayt.base import paths
from ayt.base.files import describe_bytes
from ayt.base.source import source_commit
from ayt.experiment.machine import gpus_here

State = Literal["ok", "note", "fails"]

SECONDS = 20
"""Seconds within which a command must answer."""

LEAST_DISK = 10e9
"""Bytes that the environment and the demo need."""

SLURM = ("sbatch", "squeue", "scancel", "sacct", "scontrol")
"""The commands of Slurm that jobs go through."""


class Finding(NamedTuple):
    """The result of one check.

    Attributes:
        what: what was checked.
        state: ``ok``; ``note``: something that not everybody needs does not work; ``fails``: nothing works.
        told: what was found, and what does not work.
    """

    what: str
    state: State
    told: str


def examine() -> Iterator[Finding]:
    """Run all checks."""
    yield _processor()
    yield _disk()
    yield from _torch()
    yield _slurm()
    yield _git()
    yield _fonts()


def _processor() -> Finding:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    cores = len(os.sched_getaffinity(0))
    told = f"{cores} cores, {describe_bytes(memory)} of memory, Python {platform.python_version()}, {platform.system()}"
    if not shutil.which("snakemake", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"):
        return Finding("machine", "fails", f"{told}; snakemake is not installed beside this Python")
    return Finding("machine", "ok", told)


def _disk() -> Finding:
    """Check the disk of the results folder, or of its nearest existing parent."""
    place = paths.RESULTS.absolute()
    present = next(path for path in (place, *place.parents) if path.exists())
    free = shutil.disk_usage(present).free
    told = f"{describe_bytes(free)} free for {paths.RESULTS}"
    if not os.access(present, os.W_OK):
        return Finding("disk", "fails", f"{present}: cannot be written to; AYT_RESULTS names another folder")
    if free < LEAST_DISK:
        return Finding("disk", "note", f"{told}: little; `ayt plan EXPERIMENT` says what one needs")
    return Finding("disk", "ok", told)


def _torch() -> Iterator[Finding]:
    """Check PyTorch's build against the GPUs and the driver."""
    try:
        import torch  # noqa: PLC0415 - it takes seconds to start, and may be broken itself
    except (ImportError, OSError) as error:
        yield Finding("torch", "fails", f"cannot be imported: {error}")
        return
    build = f"{torch.__version__}, {f'CUDA {torch.version.cuda}' if torch.version.cuda else 'built for CPUs'}"
    yield Finding("torch", "ok", build)
    present, driver = gpus_here(), _answer("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader")
    version = f"driver {driver.splitlines()[0]}" if driver else "no answer from nvidia-smi"
    if not torch.cuda.is_available():
        if not present and not driver:
            yield Finding("GPU", "note", "none: jobs run on the CPU, which is too slow for CIFAR-10")
        else:
            reason = "is built for CPUs" if not torch.version.cuda else f"needs a driver for CUDA {torch.version.cuda}"
            yield Finding("GPU", "note", f"{present} ({version}), but this torch {reason}: jobs run on the CPU")
        return
    from ayt.training.compilation import find_missing  # noqa: PLC0415 - it needs torch

    if lacking := find_missing():
        yield Finding("torch.compile", "note", f"{lacking}: training runs are slower on a GPU")
    compiled = torch.cuda.get_arch_list()
    for index in range(torch.cuda.device_count()):
        about = torch.cuda.get_device_properties(index)
        told = f"{about.name}, {describe_bytes(about.total_memory)}, {version}"
        if any(runs_on(name, about.major, about.minor) for name in compiled):
            yield Finding(f"GPU {index}", "ok", told)
        else:
            yield Finding(f"GPU {index}", "note", f"{told}: this torch has no code for sm_{about.major}{about.minor}")


def runs_on(architecture: str, major: int, minor: int) -> bool:
    """Whether code compiled for an architecture runs on a GPU of a given compute capability.

    Args:
        architecture: as listed by `torch.cuda.get_arch_list`: ``sm_86`` runs on the same major and no lower minor
            version, ``sm_90a`` only on 9.0, ``sm_100f`` like ``sm_100``; ``compute_90``, compiled when loaded, also on
            newer ones.
        major: of the GPU.
        minor: of the GPU.
    """
    kind, _, version = architecture.partition("_")
    digits = version.rstrip("af")
    if not digits.isdecimal():
        return False
    built = divmod(int(digits), 10)
    if version.endswith("a"):
        return built == (major, minor)
    return built <= (major, minor) and (kind == "compute" or built[0] == major)


def _slurm() -> Finding:
    missing = [command for command in SLURM if not shutil.which(command)]
    if len(missing) == len(SLURM):
        return Finding("Slurm", "note", "none: --profile slurm does not work here, --profile local does")
    if missing:
        return Finding("Slurm", "note", f"--profile slurm lacks {', '.join(missing)}")
    answer = _answer("sinfo", "--version") or _answer("sbatch", "--version")
    return Finding("Slurm", "ok", answer) if answer else Finding("Slurm", "note", "sbatch gives no answer")


def _git() -> Finding:
    if not shutil.which("git"):
        return Finding("git", "note", "not installed: states and reports will not say which commit trained")
    commit = source_commit()
    told = f"commit {commit}" if commit else "this source is no checkout: states and reports will name no commit"
    return Finding("git", "ok" if commit else "note", told)


def _fonts() -> Finding:
    from matplotlib import font_manager, rcParams  # noqa: PLC0415 - it takes seconds to start

    wanted = rcParams["font.family"]
    try:
        found = font_manager.findfont(font_manager.FontProperties(family=wanted), fallback_to_default=False)
    except ValueError:
        return Finding("fonts", "note", f"no font for {', '.join(wanted)}: figures are drawn in another")
    return Finding("fonts", "ok", Path(found).stem)


def _answer(*command: str) -> str:
    """A command's output; empty if it is missing, fails, or takes too long."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=SECONDS)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()
