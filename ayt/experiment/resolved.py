"""Experiments with every default filled in, as text."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from ayt.base import yamlio
from ayt.experiment.schema import Experiment
from ayt.base.errors import UserError
from ayt.base.files import write_text

HEAD = "# The experiment as it was run, with every default filled in and every sweep spelt out.\n"


def write(path: Path, experiment: Experiment) -> None:
    """Write ``experiment.yaml``."""
    write_text(path, HEAD + yamlio.dump(experiment.model_dump(by_alias=True)))


def read(path: Path) -> Experiment:
    """Read ``experiment.yaml``.

    Raises:
        UserError: the file is missing or was changed into something invalid.
    """
    try:
        return Experiment.model_validate(yamlio.read(path))
    except ValidationError as error:
        detail = error.errors(include_url=False)[0]
        key = ".".join(map(str, detail["loc"]))
        raise UserError(f"{path}: {key}: {detail['msg']}") from None
