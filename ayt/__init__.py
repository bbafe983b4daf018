"""Align Your Tangent: few-step image generators, trained, scored and drawn step by step.

Every step of the workflow is a verb of the ``ayt`` command; see ``ayt --help``. The package knows nothing
of Snakemake or Slurm.
"""

import tomllib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

try:
    __version__ = version("ayt-workflow")
except PackageNotFoundError:  # read from the repository, without having been installed
    _project = Path(__file__).parents[1] / "pyproject.toml"
    __version__ = tomllib.loads(_project.read_text(encoding="utf-8"))["project"]["version"]
