"""Reading score files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ayt.base import paths
from ayt.base.errors import UserError

NOT_THERE = "no such score; train and score the run first"


def read_score(path: Path) -> dict[str, dict[str, Any]]:
    """The metrics of a score file by their names: ``mean``, ``std``, ``min`` and ``max`` over repeats, and ``values``.

    It is empty for a snapshot that a stopped training run never reached.

    Raises:
        UserError: it is missing, not a score file, or of a different iteration or average than its path says.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: {NOT_THERE}") from None
    except ValueError as error:
        raise UserError(f"{path}: not a score ({error}); delete it to have it made again") from None
    metrics = content.get("metrics") if isinstance(content, dict) else None
    if not isinstance(metrics, dict) or not all(isinstance(values, dict) for values in metrics.values()):
        raise UserError(f"{path}: not a score; delete it to have it made again")
    called = int(path.stem) if path.stem.isdecimal() else content.get("iteration")
    if content.get("iteration", called) != called:
        problem = f"is named {called} but holds the score of iteration {content['iteration']}"
        raise UserError(f"{path}: {problem}; delete it to have it made again")
    if path.stem.isdecimal() and content.get("average", "") != paths.average_of_path(path):
        problem = "holds the score of another average than its folder is for"
        raise UserError(f"{path}: {problem}; delete it to have it made again")
    return metrics
