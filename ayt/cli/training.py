"""Verbs that train: ``pretrain``, ``train-classifier``, ``train``."""

from __future__ import annotations

import argparse
import sys

from ayt.cli.common import Verbs, add_device, add_record, choose_device, count, verb, whole
from ayt.base.source import source_commit

SUMMARIES = {
    "pretrain": ("pretrain", "Train a diffusion model with EDM's denoising loss."),
    "train-classifier": ("classifier", "Train a transformation classifier or a class-label network."),
    "train": ("train", "Train a consistency model: ECT, AYT, other distances or a hybrid."),
}


def add_verbs(verbs: Verbs) -> None:
    """Add the verbs to the command line."""
    for name, (kind, summary) in SUMMARIES.items():
        added = verb(
            verbs,
            name,
            run,
            summary + " Interrupted (Ctrl-C, SIGTERM, SIGUSR2, or killed), the same command goes on where it was.",
            f"ayt {name} results/runs/digits/RUN/run.yaml --stop 800 --snapshot-every 200",
        )
        added.set_defaults(kind=kind)
        add_record(added)
        added.add_argument(
            "--start", type=whole, default=0, help="first iteration of the segment; its state must exist"
        )
        added.add_argument("--stop", type=count, required=True, help="last iteration of the segment")
        added.add_argument("--snapshot-every", type=count, help="iterations between snapshots (default: the segment)")
        added.add_argument(
            "--log-every", type=count, default=100, help="iterations between log rows (default: %(default)s)"
        )
        added.add_argument(
            "--resume-seconds",
            type=float,
            default=120.0,
            help="seconds between resume states (default: %(default)s)",
        )
        added.add_argument(
            "--sink",
            action="append",
            choices=["tensorboard", "wandb"],
            help="log there too; may be given twice",
        )
        added.add_argument(
            "--microbatch",
            type=count,
            metavar="N",
            help="images that go through a denoiser at a time, where a batch does not fit (default: the batch)",
        )
        added.add_argument("--compile", action="store_true", help="use torch.compile")
        added.add_argument(
            "--channels-first", action="store_true", help="images lie in memory channel by channel (default: last)"
        )
        added.add_argument("--take-over", action="store_true", help="stop another process that trains this run")
        add_device(added)


def run(options: argparse.Namespace) -> int:
    """Train one segment; 128 + n if signal n stopped it."""
    commit = source_commit()  # before torch is imported

    from ayt.datasets import images as data
    from ayt.base.errors import UserError
    from ayt.base.processes import joined
    from ayt.plan.records import read_record
    from ayt.training.loop import Interrupted, Segment, train

    spec = read_record(options.record)
    if spec.kind != options.kind:
        verbs = {kind: name for name, (kind, _) in SUMMARIES.items()}
        raise UserError(f"{options.record}: is a run for ayt {verbs[spec.kind]}")
    every = options.snapshot_every or options.stop - options.start
    if options.start >= options.stop:
        raise UserError(f"--start {options.start}: must be before --stop {options.stop}")
    if (options.stop - options.start) % every or options.start % every:
        raise UserError(f"--snapshot-every {every}: does not divide --start {options.start} and --stop {options.stop}")
    device = choose_device(options)
    try:
        with joined() as processes:
            train(
                spec,
                options.record.parent,
                Segment(options.start, options.stop, every),
                data.load(spec.dataset),
                device,
                log_every=options.log_every,
                resume_seconds=options.resume_seconds,
                sinks=options.sink or [],
                take_over=options.take_over,
                microbatch=options.microbatch,
                channels_last=not options.channels_first,
                compiled=options.compile,
                processes=processes,
                commit=commit,
            )
    except Interrupted as interrupted:
        print(f"{interrupted}; the same command goes on where it was", file=sys.stderr)
        return 128 + interrupted.number
    return 0
