"""The experiment file: `load` reads it, checks it and fills in the defaults."""

from ayt.experiment.reader import load
from ayt.experiment.schema import Experiment

__all__ = ["Experiment", "load"]
