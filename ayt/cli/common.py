"""What the verbs have in common."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ayt.base.errors import UserError

if TYPE_CHECKING:
    import torch
    from rich.console import Console

    from ayt.experiment import Experiment
    from ayt.plan.plan import Plan
    from ayt.plan.runs import RunRecord

Verbs = Any  # argparse's own name for it is private


def verb(
    verbs: Verbs,
    name: str,
    run: Callable[[argparse.Namespace], int | None],
    summary: str,
    example: str,
    aliases: Sequence[str] = (),
) -> argparse.ArgumentParser:
    """Add a verb with its help and examples; ``aliases`` are other names for it."""
    added: argparse.ArgumentParser = verbs.add_parser(
        name,
        aliases=aliases,
        help=summary,
        description=summary,
        epilog=f"Example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    added.set_defaults(run=run)
    return added


def count(text: str) -> int:
    """A whole number above 0."""
    value = int(text) if text.isdigit() else 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return value


def whole(text: str) -> int:
    """A whole number, 0 or above."""
    if not text.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number, 0 or above")
    return int(text)


def add_experiment(to: argparse.ArgumentParser) -> None:
    """Add arguments for the experiment that a verb works on."""
    to.add_argument(
        "files", nargs="+", type=Path, metavar="FILE", help="experiment files; later ones override individual keys"
    )
    to.add_argument("--config", metavar="YAML", help="overrides as one mapping, for example '{seeds: [0]}'")


def load_experiment(options: argparse.Namespace) -> Experiment:
    """Read the experiment given by the arguments of `add_experiment`.

    Raises:
        UserError: a file is missing or has mistakes.
    """
    from ayt.base import yamlio
    from ayt.experiment import load

    return load(options.files, yamlio.parse(options.config, "--config") if options.config else None)


def choose_console() -> Console:
    """A console for tables: a log or a pipe has no width, and a table folded to 80 columns is unreadable."""
    from rich.console import Console

    terminal = Console()
    return terminal if terminal.is_terminal else Console(width=200)


def add_record(to: argparse.ArgumentParser) -> None:
    """Add the argument for the run that a verb works on."""
    to.add_argument("record", type=Path, metavar="RUN.YAML", help="the run's record, results/runs/DATASET/RUN/run.yaml")


def add_resolved(to: argparse.ArgumentParser) -> None:
    """Add the argument for the experiment as it was run."""
    to.add_argument(
        "experiment",
        type=Path,
        metavar="EXPERIMENT.YAML",
        help="results/EXPERIMENT/experiment.yaml, written when the workflow starts",
    )


def read_plan(options: argparse.Namespace) -> Plan:
    """The plan of the experiment given by the argument of `add_resolved`.

    Raises:
        UserError: the file is missing, or of another version.
    """
    from ayt.experiment import resolved
    from ayt.plan.plan import Plan

    return Plan(resolved.read(options.experiment))


def add_iterations(to: argparse.ArgumentParser) -> None:
    """Add the argument for the snapshots that a verb works on."""
    to.add_argument(
        "--iteration", type=count, action="append", required=True, help="a snapshot's iteration; may be repeated"
    )
    add_average(to)


def add_average(to: argparse.ArgumentParser) -> None:
    """Add the argument for the average whose snapshots a verb works on, for runs that keep several."""
    to.add_argument(
        "--ema",
        metavar="AVERAGE",
        help="which of the run's averages, for example 0.9999 or power0.05 (default: the first listed)",
    )


def choose_average(options: argparse.Namespace, run: RunRecord) -> str:
    """The average given by ``--ema``, as used in snapshots' names; if absent, the run's first.

    Raises:
        UserError: the run keeps no such average.
    """
    return run.average_called(options.ema) if options.ema is not None else ""


def add_batch_size(to: argparse.ArgumentParser) -> None:
    """Add the argument for the number of images sampled at a time."""
    to.add_argument(
        "--batch-size", type=count, default=500, help="images at a time; does not affect them (default: %(default)s)"
    )


def add_device(to: argparse.ArgumentParser) -> None:
    """Add arguments for the device that a verb computes on."""
    to.add_argument(
        "--device",
        default="auto",
        help="auto (the first GPU, or else the CPU), cpu, cuda or cuda:N (default: %(default)s)",
    )
    to.add_argument("--threads", type=count, help="CPU threads (default: PyTorch's choice)")


def choose_device(options: argparse.Namespace) -> torch.device:
    """The requested device, with PyTorch set up for it.

    Raises:
        UserError: it does not exist.
    """
    # Must be set before CUDA starts to make its matrix products deterministic.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    import torch

    from ayt.base.processes import local_rank

    if options.threads:
        torch.set_num_threads(options.threads)
    # Each new tensor would cost an operation.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    name = options.device
    choices = ["auto", "cpu", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda":
        # Processes on one machine see all of its GPUs, or only one each.
        name = f"cuda:{local_rank() if torch.cuda.device_count() > 1 else 0}"
    if name not in choices:
        raise UserError(f"--device {options.device}: not on this machine; choose from {', '.join(choices)}")
    device = torch.device(name)
    if device.type == "cuda":
        torch.cuda.set_device(device)
        torch.use_deterministic_algorithms(True, warn_only=True)
    else:
        # The same, but torch.compile is not told: that would import it, which takes seconds.
        torch.set_deterministic_debug_mode("warn")
    return device


def add_compilation(to: argparse.ArgumentParser, when: str) -> None:
    """Add arguments for how a GPU runs networks; ``when``: when compilation pays off."""
    to.add_argument(
        "--compile",
        nargs="?",
        choices=["auto", "always", "never"],
        const="always",
        default="auto",
        help=f"use torch.compile; auto: on a GPU, {when} (default: auto; without a value: always)",
    )
    to.add_argument(
        "--replay",
        choices=["auto", "never"],
        default="auto",
        help="record a CUDA graph and replay it, if possible (default: %(default)s)",
    )


def choose_compiled(options: argparse.Namespace, name: str, pays: bool) -> bool:
    """Whether networks go through torch.compile, which is then set up; says why if it would pay off but cannot be."""
    from ayt.training.compilation import find_missing, keep_compiled

    keep_compiled()
    if options.compile != "auto" or not pays:
        return bool(options.compile == "always")
    if lacking := find_missing():
        print(f"{name}: not compiled, and so slower: {lacking}", file=sys.stderr, flush=True)
    return not lacking


@contextmanager
def explain_memory_errors(name: str, device: torch.device, lower: str) -> Iterator[None]:
    """A block in which running out of GPU memory becomes a one-line error."""
    import torch

    try:
        yield
    except torch.cuda.OutOfMemoryError:
        raise UserError(f"{name}: {device} has too little memory for it; lower {lower}") from None
