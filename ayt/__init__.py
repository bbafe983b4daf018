"""Align Your Tangent: few-step image generators, trained, scored and drawn step by step.

Every step of the workflow is a verb of the ``ayt`` command; see ``ayt --help``. The package knows nothing
of Snakemake or Slurm.
"""

from importlib.metadata import version

__version__ = version("ayt-workflow")
