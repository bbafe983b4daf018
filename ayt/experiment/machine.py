"""What this machine offers an experiment's jobs, determined without PyTorch, which takes seconds to start."""

from __future__ import annotations

from pathlib import Path

from ayt.base.errors import UserError
from ayt.experiment.schema import Experiment


def check_machine(experiment: Experiment) -> None:
    """Make sure that jobs of the experiment can run as plain processes on this machine.

    Raises:
        UserError: the device does not exist, or jobs have several processes, which need a launcher.
    """
    device, processes = experiment.execution.device, experiment.execution.processes
    if processes > 1:
        raise UserError(
            f"execution.processes = {processes}: this executor starts one process for each job; choose --profile slurm,"
            " or --executor submitit --submitit-cluster local for the GPUs of this machine"
        )
    present = gpus_here()
    index = 0 if device in ("auto", "cpu", "cuda") else int(device.partition(":")[2])
    if device not in ("auto", "cpu") and index >= present:
        raise UserError(
            f"execution.device = {device!r}: this machine has {present} CUDA devices; choose from "
            + ", ".join(["auto", "cpu", *(f"cuda:{i}" for i in range(present))])
        )


def gpus_per_job(experiment: Experiment, here: bool) -> int:
    """GPUs that each process of a compute job requests: 0 or 1; ``here``: whether jobs run on this machine."""
    device = experiment.execution.device
    if device == "auto":
        return 1 if not here else min(1, gpus_here())
    return 0 if device == "cpu" else 1


def gpus_here() -> int:
    """Number of GPUs listed by NVIDIA's driver."""
    return len(list(Path("/proc/driver/nvidia/gpus").glob("*")))
