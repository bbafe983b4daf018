"""The verb that trains: ``train``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ayt.base.source import source_commit
from ayt.cli.common import (
    Verbs,
    add_compilation,
    add_device,
    add_record,
    choose_compiled,
    choose_device,
    count,
    explain_memory_errors,
    verb,
    whole,
)

LOWER = "execution.microbatch (--microbatch), or choose training.precision: bf16, which is another run"
"""How to make training use less memory."""


def add_verbs(verbs: Verbs) -> None:
    """Add the verb to the command line."""
    train = verb(
        verbs,
        "train",
        run,
        "Train a segment of a run: a diffusion model, a feature network or a consistency model, as its record says."
        " If interrupted (Ctrl-C, SIGTERM, SIGUSR2) or killed, run the same command again to resume.",
        "ayt train results/runs/digits/RUN/run.yaml --stop 480 --snapshot-every 160",
    )
    add_record(train)
    train.add_argument("--start", type=whole, default=0, help="first iteration of the segment; its state must exist")
    train.add_argument("--stop", type=count, required=True, help="last iteration of the segment")
    train.add_argument("--snapshot-every", type=count, help="iterations between snapshots (default: the segment)")
    train.add_argument(
        "--log-every", type=count, default=100, help="iterations between log rows (default: %(default)s)"
    )
    train.add_argument(
        "--resume-seconds", type=float, default=120.0, help="seconds between resume states (default: %(default)s)"
    )
    train.add_argument(
        "--sink", action="append", choices=["tensorboard", "wandb"], help="also log there; may be given twice"
    )
    train.add_argument(
        "--microbatch",
        type=count,
        metavar="N",
        help="images that go through a denoiser at a time, if a batch does not fit (default: the batch)",
    )
    add_compilation(train, "from 5,000 iterations on")
    train.add_argument(
        "--data",
        choices=["auto", "device", "host"],
        default="auto",
        help="where the dataset is kept; auto: on the host if it would take a quarter of a GPU's memory",
    )
    train.add_argument(
        "--channels-first", action="store_true", help="store images in memory channels first (default: last)"
    )
    train.add_argument(
        "--stop-when",
        metavar="RULE",
        help="an experiment's rule for stopping training, as JSON: its key stop, with the metric's name",
    )
    train.add_argument(
        "--scores",
        type=Path,
        metavar="RECORD.YAML",
        help="record of the scores of the run's earlier snapshots, for the rule",
    )
    train.add_argument("--take-over", action="store_true", help="stop another process that is training this run")
    add_device(train)


def run(options: argparse.Namespace) -> int:
    """Train one segment; 128 + n if signal n stopped it."""
    commit = source_commit()  # before torch is imported

    from ayt.base.errors import UserError
    from ayt.base.images import Images
    from ayt.base.processes import join_processes
    from ayt.plan.runs import Segment, read_run
    from ayt.training.compilation import pays
    from ayt.training.loop import Interrupted, train
    from ayt.training.stopping import leave_stopped, read_rule, why_stopped

    record = read_run(options.record)
    every = options.snapshot_every or options.stop - options.start
    if options.start >= options.stop:
        raise UserError(f"--start {options.start}: must be before --stop {options.stop}")
    if (options.stop - options.start) % every or options.start % every:
        why = "does not divide" if options.snapshot_every else "the default, from --start to --stop, does not divide"
        raise UserError(f"--snapshot-every {every}: {why} --start {options.start} and --stop {options.stop}")
    folder, segment = options.record.parent, Segment(options.start, options.stop, every)
    rule = read_rule(options.stop_when)
    if stopped := why_stopped(record, folder, segment, rule, options.scores):
        with join_processes() as processes:
            leave_stopped(record, folder, segment, stopped, options.take_over, processes)
        return 0
    device = choose_device(options)
    compiled = choose_compiled(options, record.name, pays(device, options.stop - options.start))
    try:
        with join_processes() as processes, explain_memory_errors(record.name, device, LOWER):
            train(
                record,
                folder,
                segment,
                Images.of(record.dataset.load()),
                device,
                log_every=options.log_every,
                resume_seconds=options.resume_seconds,
                sinks=options.sink or [],
                take_over=options.take_over,
                microbatch=options.microbatch,
                channels_last=not options.channels_first,
                compiled=compiled,
                replay=options.replay == "auto",
                data_on=options.data,
                stops_where_diverged=bool(rule and rule.diverged),
                processes=processes,
                commit=commit,
            )
    except Interrupted as interrupted:
        print(f"{interrupted}; the same command resumes", file=sys.stderr)
        return 128 + interrupted.number
    return 0
