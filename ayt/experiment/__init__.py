"""The configuration: `load` reads an experiment file, checks it and fills in the defaults."""

from ayt.experiment.reader import check_machine, dataset, gpus_per_job, load, toy
from ayt.experiment.schema import Experiment

__all__ = ["Experiment", "check_machine", "dataset", "gpus_per_job", "load", "toy"]
