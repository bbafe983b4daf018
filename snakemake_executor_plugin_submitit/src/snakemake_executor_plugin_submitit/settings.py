"""Settings of the plugin: ``--submitit-...`` on Snakemake's command line, ``submitit-...:`` in a profile."""

# No `from __future__ import annotations`: Snakemake reads the fields' types.

from dataclasses import dataclass, field

from snakemake_interface_executor_plugins.settings import ExecutorSettingsBase


@dataclass
class ExecutorSettings(ExecutorSettingsBase):  # type: ignore[misc]  # Snakemake's interface is untyped
    """Where jobs go and how."""

    cluster: str = field(
        default="slurm",
        metadata={"help": "Where jobs run: slurm, local (processes on this machine) or debug (this process)"},
    )
    folder: str = field(
        default=".snakemake/submitit",
        metadata={"help": "Folder of the ledger and of submitit's files; the cluster's nodes must see it"},
    )
    log_folder: str = field(
        default="",
        metadata={"help": "Folder of the jobs' own logs (default: beside the rule's log, else within the folder)"},
    )
    keep_days: int = field(
        default=10,
        metadata={"help": "After how many days the files of failed jobs are removed; those of others are at once"},
    )
    job_name_prefix: str = field(default="", metadata={"help": "What the names of jobs in the queue begin with"})
    array_parallelism: int = field(
        default=256, metadata={"help": "How many jobs of one array may run at the same time"}
    )
    array_size: int = field(
        default=1000, metadata={"help": "How many jobs one array may have; at most the cluster's MaxArraySize"}
    )
    signal_seconds: int = field(
        default=120,
        metadata={
            "help": "How many seconds before its time limit a job is asked to save its state and leave (SIGUSR2); "
            "0: not at all. Of one rule: its resource slurm_signal_seconds"
        },
    )
    no_requeue: bool = field(
        default=False,
        metadata={
            "help": "Do not let jobs be queued again after preemption, a broken node, or when they left before "
            "their time limit. Of one rule: its resource slurm_requeue"
        },
    )
    max_timeouts: int = field(
        default=100,
        metadata={"help": "How many times a job that left before its time limit may be queued again"},
    )
    setup: list[str] = field(
        default_factory=list,
        metadata={"help": "Lines of shell that a job begins with on its node, like 'module load x'", "nargs": "+"},
    )
    srun_args: str = field(
        default="", metadata={"help": "Further arguments of the srun that starts a job, like --mpi=none"}
    )
    log_lines: int = field(
        default=20, metadata={"help": "How many of the last lines of a failed job's log Snakemake's error shows"}
    )
