"""The verb of the toy experiment: ``toy``."""

from __future__ import annotations

import argparse
from pathlib import Path

from ayt.cli.common import Verbs, add_device, choose_device, verb


def add_verbs(verbs: Verbs) -> None:
    """Add the verb to the command line."""
    added = verb(
        verbs,
        "toy",
        run,
        "Train consistency models of points on a known manifold, and measure which way their tangents point.",
        """ayt toy --spec '{"manifold": "curve", "seeds": [0]}' --output results/toys/curve.npz""",
    )
    added.add_argument("--spec", required=True, metavar="JSON", help="the keys of toys.NAME in an experiment file")
    added.add_argument("--output", required=True, type=Path, metavar="FILE.NPZ", help="the arrays of its figure")
    add_device(added)


def run(options: argparse.Namespace) -> None:
    """Run one toy experiment."""
    import numpy as np

    from ayt.base import yamlio
    from ayt.experiment import toy

    spec = toy(yamlio.parse(options.spec, "--spec"), "--spec")

    from ayt.base.files import written_beside
    from ayt.analysis.toy import experiment

    arrays = experiment.run(spec, choose_device(options))
    with written_beside(options.output) as beside:
        np.savez_compressed(beside, **arrays)  # type: ignore[arg-type]
