"""From what a Snakemake rule asks for to what submitit is asked for."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

IGNORED = frozenset({"tmpdir", "mem_mib", "disk", "disk_mb", "disk_mib", "mem", "_cores", "_nodes", "attempt"})
"""Resources that Snakemake sets or derives by itself; a cluster's node has a disk whatever is asked for."""

NAMED = ("partition", "account", "qos", "constraint", "exclude", "nodelist", "gres", "comment")
"""Options of sbatch that submitit has a name for, and rules may give without the prefix ``slurm_``."""

OWN = {
    "time": "runtime",
    "mem": "mem_mb",
    "mem-per-cpu": "mem_mb_per_cpu",
    "ntasks": "tasks",
    "ntasks-per-node": "tasks",
    "cpus-per-task": "threads",
    "gpus": "gpu",
    "gpus-per-node": "gpu",
    "job-name": "",
    "signal": "",
    "output": "",
    "error": "",
    "open-mode": "",
    "array": "",
    "extra": "",
}
"""Options of sbatch that the executor sets itself, each with the resource to use instead."""

FURTHER = ("reservation", "nice", "licenses", "clusters")
"""Options of sbatch that rules may give without the prefix and that submitit passes on as they are."""

KNOWN = ("runtime", "mem_mb", "mem_mb_per_cpu", "gpu", "gpu_model", "nodes", "tasks", *NAMED, *FURTHER)


class RequestError(Exception):
    """What a job asks for cannot be said to the cluster; the message says why."""


def request(
    resources: Mapping[str, Any],
    threads: int,
    *,
    name: str,
    signal_seconds: int = 120,
    limited: Collection[str] = (),
) -> dict[str, Any]:
    """Parameters for submitit's ``AutoExecutor.update_parameters``.

    =====================  ==========================================================================
    ``threads``            CPUs of each task
    ``runtime``            minutes; needed
    ``mem_mb``             memory of each node
    ``mem_mb_per_cpu``     memory of each CPU instead
    ``gpu``                GPUs of the job, spread evenly over its nodes
    ``gpu_model``          their model, as the cluster names it
    ``nodes``, ``tasks``   1 unless given; tasks are spread evenly over the nodes
    ``partition``, ...     options of sbatch, see `NAMED` and `FURTHER`
    ``slurm_X``            any other option of sbatch: ``slurm_mail_type`` is ``--mail-type``
    =====================  ==========================================================================

    Args:
        resources: of the job, as Snakemake gives them; None counts as not given.
        threads: of the rule.
        name: shown in the queue.
        signal_seconds: how long before its time limit a job is asked to save and leave.
        limited: names that are limits of this Snakemake run, and so may have no meaning on the cluster.

    Raises:
        RequestError: a resource is missing, has an impossible value, or is unknown.
    """
    given = {key: value for key, value in resources.items() if value is not None and key not in IGNORED}
    nodes = _count(given, "nodes", 1)
    tasks = _count(given, "tasks", nodes)
    gpus = _count(given, "gpu", 0, least=0)
    minutes = _count(given, "runtime")
    for count, what in ((tasks, "tasks"), (gpus, "gpu")):
        if count % nodes:
            raise RequestError(f"{what}={count} cannot be spread evenly over nodes={nodes}")
    if 60 * minutes <= signal_seconds:
        raise RequestError(
            f"runtime={minutes} (minutes) leaves no time to work: jobs are asked to leave {signal_seconds} s before"
            " their time limit (--submitit-signal-seconds)"
        )
    parameters: dict[str, Any] = {
        "name": name,
        "timeout_min": minutes,
        "nodes": nodes,
        "tasks_per_node": tasks // nodes,
        "cpus_per_task": threads,
    }
    # Not every cluster lets jobs be queued again unless they say so.
    options: dict[str, Any] = {"requeue": True}
    # Since Slurm 22.05 srun does not take it over from sbatch; and one dead task must not leave the others waiting.
    # Tasks may end minutes apart: the first writes what the others have made.
    parameters["slurm_srun_args"] = [f"--cpus-per-task={threads}", "--kill-on-bad-exit=1", "--wait=0"]
    parameters["slurm_signal_delay_s"] = signal_seconds
    if "mem_mb" in given and "mem_mb_per_cpu" in given:
        raise RequestError("mem_mb and mem_mb_per_cpu exclude each other")
    if "mem_mb" in given:
        parameters["mem_gb"] = _count(given, "mem_mb") / 1024
    if "mem_mb_per_cpu" in given:
        parameters["slurm_mem_per_cpu"] = f"{_count(given, 'mem_mb_per_cpu')}M"
    if gpus and given.get("gpu_model"):
        options["gpus-per-node"] = f"{given['gpu_model']}:{gpus // nodes}"
    elif gpus:
        parameters["gpus_per_node"] = gpus // nodes
    elif given.get("gpu_model") and "gpu" not in given:  # with gpu=0 it is a default that does not matter
        raise RequestError(f"gpu_model={given['gpu_model']} without gpu: how many?")
    named, further = _options({key: value for key, value in given.items() if key not in limited})
    parameters["slurm_additional_parameters"] = {**options, **further}
    return {**parameters, **named}


def _options(given: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Options of sbatch: those that submitit has a parameter for, and others."""
    named, others = {}, {}
    for key, value in given.items():
        option = key.removeprefix("slurm_")
        if key != option and (instead := OWN.get(option.replace("_", "-"))) is not None:
            raise RequestError(f"resource {key}={value}: is set by the executor; use {instead or 'its settings'}")
        if option in NAMED:
            named[f"slurm_{option}"] = value
        elif option in FURTHER or (key != option and re.fullmatch(r"[a-z][a-z0-9_-]*", option)):
            others[option.replace("_", "-")] = value
        elif key not in KNOWN:
            raise RequestError(
                f"resource {key}={value} means nothing to the cluster; known are {', '.join(KNOWN)},"
                f" and slurm_X for sbatch's option --X (slurm_{key}?)"
            )
    return named, others


def _count(given: Mapping[str, Any], key: str, default: int | None = None, least: int = 1) -> int:
    value = given.get(key, default)
    if value is None:
        raise RequestError(f"resource {key} is needed: set it for the rule, or in the profile's default-resources")
    if isinstance(value, bool) or not str(value).isdecimal() or int(value) < least:
        raise RequestError(f"resource {key}={value!r} is not a whole number of at least {least}")
    return int(value)
