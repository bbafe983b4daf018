"""Verbs that sample: ``grid``, ``sample``, ``export``."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import TYPE_CHECKING

from ayt.cli.common import (
    Verbs,
    add_average,
    add_batch_size,
    add_device,
    add_iterations,
    add_record,
    choose_average,
    choose_device,
    count,
    verb,
    whole,
)

if TYPE_CHECKING:
    import torch
    from PIL import Image

    from ayt.base.progress import ProgressLine
    from ayt.methods.formulas.objective import Sampled
    from ayt.plan.evaluations import Sampling
    from ayt.plan.runs import RunRecord

FIRST_LEVEL, LAST_LEVEL = 80.0, 0.002
"""Noise levels at which sampling begins and ends."""


def parse_mids(text: str) -> tuple[float, ...]:
    """Parse ``1``, or ``2:0.821``: a number of steps, and the noise levels between them; returns the levels."""
    head, _, tail = text.partition(":")
    try:
        steps, mids = int(head), tuple(float(part) for part in tail.split(",") if part)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not like 1 or 2:0.821") from None
    if steps < 1 or len(mids) != steps - 1:
        from ayt.reporting.wording import plural

        needed = f"{plural(max(steps - 1, 0), 'noise level')} between them, as in 2:0.821"
        raise argparse.ArgumentTypeError(f"{text!r}: {plural(steps, 'step')} need {needed}")
    levels = (FIRST_LEVEL, *mids, LAST_LEVEL)
    if not all(map(math.isfinite, mids)) or sorted(set(levels), reverse=True) != list(levels):
        raise argparse.ArgumentTypeError(f"{text!r}: noise levels must decrease, between 80 and 0.002")
    return mids


def add_verbs(verbs: Verbs) -> None:
    """Add the verbs to the command line."""
    grid = verb(
        verbs,
        "grid",
        run_grid,
        "Save the first samples of a run's snapshots as arrays, for figures.",
        "ayt grid results/runs/digits/RUN/grids/steps1-HASH/record.yaml --iteration 480",
    )
    grid.add_argument("record", type=Path, metavar="RECORD.YAML", help="the grid's record, results/runs/D/RUN/grids/*")
    add_iterations(grid)
    add_batch_size(grid)
    add_device(grid)

    export = verb(
        verbs,
        "export",
        run_export,
        "Write a snapshot as a folder to share: weights, configuration, and a card with scores and provenance.",
        "ayt export results/runs/digits/RUN/run.yaml --iteration 480 --output release\n"
        "  ayt sample --model release --steps 1 --output samples.png",
    )
    add_record(export)
    export.add_argument("--iteration", type=count, required=True, help="the snapshot's iteration")
    add_average(export)
    export.add_argument("--output", type=Path, required=True, metavar="FOLDER", help="the folder to write")

    sample = verb(
        verbs,
        "sample",
        run_sample,
        "Sample a grid of images from a snapshot into a PNG, or from several, with the same noise, into an animation.",
        "ayt sample results/runs/digits/RUN/run.yaml --iteration 480 --steps 2:0.821 --output grid.png\n"
        "  ayt sample results/runs/digits/RUN/run.yaml --steps 1 --output training.gif",
    )
    sample.add_argument(
        "record", type=Path, nargs="?", metavar="RUN.YAML", help="the run's record, results/runs/DATASET/RUN/run.yaml"
    )
    sample.add_argument(
        "--iteration",
        type=count,
        action="append",
        help="a snapshot's iteration; may be repeated for a GIF (default: the last for a PNG, all for a GIF)",
    )
    add_average(sample)
    sample.add_argument(
        "--model", type=Path, metavar="FOLDER", help="a folder made by ayt export, instead of a run's snapshot"
    )
    sample.add_argument(
        "--steps",
        type=parse_mids,
        metavar="N[:MID,...]",
        required=True,
        help="sampling steps, with the noise levels between them",
    )
    sample.add_argument("--samples", type=count, default=64, help="number of images (default: %(default)s)")
    sample.add_argument("--seed", type=whole, default=0, help="seed of the noise (default: %(default)s)")
    sample.add_argument(
        "--convention", choices=["ayt", "ect"], default="ayt", help="where steps end (default: %(default)s)"
    )
    sample.add_argument("--output", type=Path, required=True, help="the .png or .gif to write")
    sample.add_argument("--columns", type=count, help="images per row (default: a square)")
    sample.add_argument(
        "--scale", type=count, help="enlarge each pixel to a square of this side (default: 320 pixels in total)"
    )
    add_batch_size(sample)
    add_device(sample)


def run_grid(options: argparse.Namespace) -> None:
    """Write the first samples of each snapshot; if a stopped training run never reached it, those of its last one."""
    import torch

    from ayt.base import paths
    from ayt.base.arrays import write_arrays
    from ayt.base.progress import ProgressLine
    from ayt.evaluation.fixed_batches import FixedBatches
    from ayt.evaluation.snapshots import Snapshots
    from ayt.plan.evaluations import read_grid
    from ayt.plan.runs import read_run
    from ayt.plan.stops import find_last

    grid = read_grid(options.record)
    folder = options.record.parents[2]
    run = read_run(paths.run_record(folder))
    device = choose_device(options)
    average = choose_average(options, run)
    batches = FixedBatches(options.batch_size)
    snapshots = Snapshots(run, folder, device, batches, average, grid.sampling.precision)
    with ProgressLine(f"sampling {run.name}", grid.images * len(options.iteration)) as line:
        for iteration in options.iteration:
            images, last = torch.empty((0, *run.dataset.shape), dtype=torch.uint8), find_last(folder, iteration)
            if last is not None:
                network = snapshots.load(last)
                images = torch.cat(_draw(network, run, grid.sampling, grid.images, options.batch_size, device, line))
            write_arrays(grid.result(folder, iteration, average), {"images": images.numpy()})


def run_export(options: argparse.Namespace) -> None:
    """Write the folder."""
    from ayt.operations import release

    release.export(options.record, options.iteration, options.output, average=options.ema)


def run_sample(options: argparse.Namespace) -> None:
    """Write one PNG with rows of images, or one GIF with such a grid per snapshot."""
    import torch

    from ayt.base.errors import UserError
    from ayt.base.progress import ProgressLine
    from ayt.evaluation.fixed_batches import FixedBatches
    from ayt.evaluation.snapshots import Snapshots
    from ayt.operations import release
    from ayt.plan.evaluations import Sampling
    from ayt.plan.runs import read_run
    from ayt.reporting import grids

    if options.output.suffix not in (".png", ".gif"):
        raise UserError(f"--output {options.output}: must end in .png, or in .gif for an animation over training")
    iterations = _iterations(options)
    sampling = Sampling(options.steps, options.convention, options.seed)
    device = choose_device(options)
    pictures: list[Image.Image] = []
    snapshots: Snapshots | None = None
    with ProgressLine("sampling", options.samples * len(iterations)) as line:
        for iteration in iterations:
            if options.model:
                network, run = release.load_sampled(options.model, device)
            else:
                run = read_run(options.record)
                batches, average = FixedBatches(options.batch_size), choose_average(options, run)
                snapshots = snapshots or Snapshots(run, options.record.parent, device, batches, average)
                network = snapshots.load(iteration)
            images = _draw(network, run, sampling, options.samples, options.batch_size, device, line)
            pictures.append(grids.tile(torch.cat(images).numpy(), options.columns, options.scale))
    if options.output.suffix == ".gif":
        grids.write_animation(options.output, pictures, [f"iteration {iteration:,}" for iteration in iterations])
    else:
        grids.write_picture(options.output, pictures[0])


def _draw(
    network: Sampled,
    run: RunRecord,
    sampling: Sampling,
    count: int,
    batch_size: int,
    device: torch.device,
    line: ProgressLine,
) -> list[torch.Tensor]:
    """Samples as uint8 on the host, batch by batch."""
    from ayt.base.images import to_uint8
    from ayt.evaluation.sampling import draw_samples
    from ayt.evaluation.score import cut

    found = []
    for places in cut(count, batch_size):
        images = draw_samples(network, sampling, 0, places, run.dataset.shape, run.classes, device)
        found.append(to_uint8(images).cpu())
        line.advance(len(places))
    return found


def _iterations(options: argparse.Namespace) -> list[int]:
    """The snapshots requested from ``ayt sample``; [0] for an exported model."""
    from ayt.base import paths
    from ayt.base.errors import UserError
    from ayt.base.stopped import read_stopped

    if bool(options.model) == bool(options.record) or (options.model and (options.iteration or options.ema)):
        raise UserError("name either a run's record, with --iteration and --ema if you like, or --model FOLDER")
    animated = options.output.suffix == ".gif"
    if options.model:
        if animated:
            raise UserError("--output: one model makes no animation; name a .png, or a run's record")
        return [0]
    if options.iteration and len(options.iteration) > 1 and not animated:
        raise UserError("--iteration: several make an animation; name a .gif as --output")
    folder = options.record.parent
    present = [i for i in paths.snapshots(folder) if not read_stopped(paths.snapshot(folder, i))]
    found = sorted(options.iteration or present)
    if not found:
        raise UserError(f"{options.record.parent}: has no snapshots yet")
    return found if animated else found[-1:]
