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
        metadata={
            "help": "Days after which the files of failed jobs are removed; those of other jobs are removed at once"
        },
    )
    job_name_prefix: str = field(default="", metadata={"help": "Prefix of job names in the queue"})
    array_parallelism: int = field(
        default=256, metadata={"help": "Number of jobs of one array that may run at the same time"}
    )
    array_size: int = field(
        default=1000, metadata={"help": "Number of jobs that one array may have; at most the cluster's MaxArraySize"}
    )
    signal_seconds: int = field(
        default=120,
        metadata={
            "help": "Seconds before its time limit at which a job is asked to save its state and exit (SIGUSR2); "
            "0: not at all. For one rule: its resource slurm_signal_seconds"
        },
    )
    no_requeue: bool = field(
        default=False,
        metadata={
            "help": "Do not requeue jobs after preemption, a broken node, or when they exited before their time limit. "
            "For one rule: its resource slurm_requeue"
        },
    )
    max_timeouts: int = field(
        default=100,
        metadata={"help": "Number of times a job that exited before its time limit may be requeued"},
    )
    setup: list[str] = field(
        default_factory=list,
        metadata={"help": "Shell lines that a job runs first on its node, such as 'module load x'", "nargs": "+"},
    )
    srun_args: str = field(
        default="", metadata={"help": "Further arguments of the srun that starts a job, such as --mpi=none"}
    )
    log_lines: int = field(
        default=20, metadata={"help": "Number of last lines of a failed job's log shown in Snakemake's error"}
    )
