"""The verb that draws training curves."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from ayt.cli.common import Verbs, count, verb


def add_verbs(verbs: Verbs) -> None:
    """Add the verb to the command line."""
    plot = verb(
        verbs,
        "plot-log",
        run_plot_log,
        "Draw the training curves of runs, finished or in training: loss, distance, gradient norm, learning rate and"
        " images per second over iterations.",
        "ayt plot-log results/runs/digits/ect-bs8-seed*-* --output training.png",
    )
    plot.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="a run's folder, or its run.yaml")
    plot.add_argument(
        "--output", type=Path, default=Path("training.png"), metavar="PNG", help="the file (default: %(default)s)"
    )
    plot.add_argument("--follow", action="store_true", help="redraw until Ctrl-C")
    plot.add_argument(
        "--every", type=count, default=30, metavar="SECONDS", help="seconds between redraws (default: %(default)s)"
    )


def run_plot_log(options: argparse.Namespace) -> None:
    """Write one picture, or keep it up to date."""
    from ayt.base import paths
    from ayt.base.errors import UserError
    from ayt.plan.runs import read_run
    from ayt.reporting.training_curves import draw_training

    if options.output.suffix != ".png":
        raise UserError(f"--output {options.output}: must end in .png")
    folders = [path.parent if path.name == paths.run_record(path).name else path for path in options.runs]
    runs = {folder: read_run(paths.run_record(folder)) for folder in folders}
    draw_training(runs, options.output)
    print(options.output)
    while options.follow:
        time.sleep(options.every)
        draw_training(runs, options.output)
