"""The verb of the toy experiment: ``toy``."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from ayt.cli.common import Verbs, add_device, choose_device, verb
from ayt.errors import UserError

if TYPE_CHECKING:
    from ayt.config.schema import Toy


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

    spec = _read(options.spec)

    from ayt.files import written_beside
    from ayt.toy import experiment

    arrays = experiment.run(spec, choose_device(options))
    with written_beside(options.output) as beside:
        np.savez_compressed(beside, **arrays)  # type: ignore[arg-type]


def _read(text: str) -> Toy:
    """Read what ``--spec`` gives.

    Raises:
        UserError: it is not JSON, or has mistakes.
    """
    from pydantic import ValidationError

    from ayt.config.schema import Toy

    try:
        return Toy.model_validate(json.loads(text))
    except json.JSONDecodeError as error:
        raise UserError(f"--spec: not JSON: {error}") from None
    except ValidationError as error:
        detail = error.errors(include_url=False)[0]
        key = ".".join(map(str, detail["loc"])) or "it"
        raise UserError(f"--spec: {key}: {detail['msg']}") from None
