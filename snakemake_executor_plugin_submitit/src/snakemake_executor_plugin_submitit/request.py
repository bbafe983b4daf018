"""From a Snakemake rule's resources to a Slurm request."""

from __future__ import annotations

import difflib
import re
import shlex
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

SNAKEMAKES = frozenset(
    {*("tmpdir", "mem_mib", "disk", "disk_mb", "disk_mib", "mem", "attempt", "shell_exec", "mpi"), "_cores", "_nodes"}
)
"""Resources that Snakemake sets, derives or reads itself."""

PASSED = ("partition", "account", "qos", "constraint", "exclude", "nodelist", "gres", "reservation", "nice", "licenses")
"""sbatch options that rules may give without the prefix ``slurm_``."""

COUNTED = ("runtime", "mem_mb", "mem_mb_per_cpu", "cpus_per_task", "cpus_per_gpu", "gpu", "nodes", "tasks")
KNOWN = (*COUNTED, "gpu_model", "tasks_per_node", "tasks_per_gpu", "replicas", "comment", *PASSED)

OWN = {
    "time": "runtime",
    "mem": "mem_mb",
    "mem-per-cpu": "mem_mb_per_cpu",
    "nodes": "nodes",
    "ntasks": "tasks",
    "ntasks-per-node": "tasks_per_node",
    "ntasks-per-gpu": "tasks_per_gpu",
    "cpus-per-task": "threads",
    "cpus-per-gpu": "cpus_per_gpu",
    "gpus": "gpu",
    "gpus-per-node": "gpu",
    "job-name": "--submitit-job-name-prefix",
    "output": "--submitit-log-folder",
    "error": "--submitit-log-folder",
    "signal": "slurm_signal_seconds",
    **dict.fromkeys(("array", "open-mode", "chdir", "parsable", "wait", "wrap", "test-only", "quiet", "no-kill"), ""),
}
"""sbatch options that the executor sets itself, each with what to use instead."""
PER_RULE = {
    "comment": "slurm_comment",
    "requeue": "slurm_requeue",
    "no-requeue": "slurm_requeue",
    "export": "slurm_export",
}
"""Options that rules may give, but not in ``slurm_extra``."""
SHORT = {
    **{"t": "time", "N": "nodes", "n": "ntasks", "c": "cpus-per-task", "G": "gpus", "J": "job-name", "o": "output"},
    **{"e": "error", "a": "array", "D": "chdir", "W": "wait", "Q": "quiet", "M": "clusters"},
}
OWN_MEMORY_MB = 400
"""Memory that a job takes without its command: submitit's Python, Snakemake, and a copy during a fork."""
CLUSTERS = "jobs on another cluster would not be seen; start Snakemake there, or with SLURM_CLUSTERS=that one"


class RequestError(Exception):
    """A job's request cannot be expressed to the cluster; the message says why."""


@dataclass(frozen=True)
class Request:
    """The request of one job.

    Attributes:
        name: shown in the queue.
        minutes: its time limit; None: the partition's default.
        options: sbatch options, by name; True for a flag.
        extra: further words on sbatch's command line.
        gpus: number over all its nodes.
        replicas: number of tasks that start its command.
        in_batch: whether its command runs in the batch step and starts its tasks itself.
        signal_seconds: seconds before its time limit at which it is asked to exit; 0: not at all.
        requeue: whether it may be requeued.
        remarks: what its owner should know.
    """

    name: str
    minutes: int | None = None
    options: dict[str, Any] = field(default_factory=dict)
    extra: tuple[str, ...] = ()
    gpus: int = 0
    replicas: int = 1
    in_batch: bool = False
    signal_seconds: int = 0
    requeue: bool = True
    remarks: tuple[str, ...] = field(default=(), compare=False, repr=False)

    def rename(self, name: str) -> Request:
        """The same request under another name."""
        return replace(self, name=name)


def request(
    resources: Mapping[str, Any],
    threads: int,
    *,
    name: str,
    signal_seconds: int = 120,
    requeue: bool = True,
    limited: Collection[str] = (),
) -> Request:
    """A job's request; the plugin's ``docs/further.md`` has the table of resources.

    Args:
        resources: the job's resources from Snakemake; None counts as not given.
        threads: of the rule.
        name: shown in the queue.
        signal_seconds: seconds before its time limit at which a job is asked to save and exit, unless its rule says.
        requeue: whether a job may be requeued, unless its rule says otherwise.
        limited: names that are limits of this Snakemake run, and so may mean nothing to the cluster.

    Raises:
        RequestError: a resource has an impossible value.
    """
    given = {key: value for key, value in resources.items() if value is not None and key not in SNAKEMAKES}
    for key in ("cluster", "clusters", "slurm_clusters"):
        if key in given:
            raise RequestError(f"resource {key}={given[key]}: {CLUSTERS}")
    remarks: list[str] = []
    requeue = _flag(given, "slurm_requeue", requeue)
    signal_seconds = _count(given, "slurm_signal_seconds", signal_seconds, least=0)
    minutes = _count(given, "runtime", 0) or None
    if not minutes:
        remarks.append("no runtime is given, so jobs get their partition's default time limit")
    elif 0 < 60 * minutes <= signal_seconds:
        remarks.append(
            f"runtime={minutes} (minutes) is too short to be asked to leave {signal_seconds} s before its end, so such"
            " jobs are not asked (slurm_signal_seconds of the rule, or --submitit-signal-seconds)"
        )
        signal_seconds = 0
    options = _memory(given, remarks) | _processors(given, threads) | _pass_on(given, limited, remarks)
    # Not every cluster requeues jobs unless they ask for it.
    options["requeue" if requeue else "no-requeue"] = True
    layout, replicas, in_batch = _layout(given, bool(resources.get("mpi")))
    options |= layout | _gpus(given, layout)
    return Request(
        name=name,
        minutes=minutes,
        options=options,
        extra=_extra(given),
        gpus=_count(given, "gpu", 0, least=0),
        replicas=replicas,
        in_batch=in_batch,
        signal_seconds=signal_seconds,
        requeue=requeue,
        remarks=tuple(remarks),
    )


def _layout(given: Mapping[str, Any], mpi: bool) -> tuple[dict[str, Any], int, bool]:
    """Nodes and tasks as sbatch options; the number of replicas; whether the command starts its tasks itself."""
    nodes, tasks, replicas = (_count(given, key, 1) for key in ("nodes", "tasks", "replicas"))
    spread = {f"n{key.replace('_', '-')}": _count(given, key) for key in _SPREAD if key in given}
    if replicas > 1:
        if tasks > 1 or spread:
            raise RequestError(f"replicas={replicas} excludes tasks, {', '.join(_SPREAD)}: who would start them?")
        _require_even(replicas, "replicas", nodes)
        return {"nodes": nodes, "ntasks-per-node": replicas // nodes}, replicas, False
    if tasks == 1 and not spread:
        return {"nodes": nodes, "ntasks-per-node": 1}, 1, mpi or nodes > 1
    spread |= {"ntasks": tasks} if "tasks" in given else {}
    spread |= {"nodes": nodes} if "nodes" in given else {}
    return spread, 1, True


_SPREAD = ("tasks_per_node", "tasks_per_gpu")


def _memory(given: Mapping[str, Any], remarks: list[str]) -> dict[str, Any]:
    # Snakemake gives every job a default mem_mb, so a given memory per CPU is what was meant.
    if "mem_mb_per_cpu" in given:
        return {"mem-per-cpu": f"{_count(given, 'mem_mb_per_cpu')}M"}
    if "mem_mb" not in given:
        return {}
    megabytes = _count(given, "mem_mb", least=0)
    if 0 < megabytes < OWN_MEMORY_MB:  # for Slurm, 0 means all of a node's memory
        remarks.append(
            f"less memory than Snakemake itself takes on a node is asked for; it is {OWN_MEMORY_MB} MB at least"
        )
        megabytes = OWN_MEMORY_MB
    return {"mem": f"{megabytes}M"}


def _processors(given: Mapping[str, Any], threads: int) -> dict[str, Any]:
    if "cpus_per_gpu" in given:
        return {"cpus-per-gpu": _count(given, "cpus_per_gpu")}
    return {"cpus-per-task": _count(given, "cpus_per_task", threads)}


def _gpus(given: Mapping[str, Any], layout: Mapping[str, Any]) -> dict[str, Any]:
    """GPUs per node, or for the job if its tasks may be on any number of nodes."""
    count, model = _count(given, "gpu", 0, least=0), given.get("gpu_model")
    if model and "gpu" not in given:  # with gpu=0 it is an irrelevant default
        raise RequestError(f"gpu_model={model} without gpu: how many?")
    if not count:
        return {}
    option = "gpus-per-node" if "nodes" in layout else "gpus"
    _require_even(count, "gpu", nodes := layout.get("nodes", 1))
    return {option: f"{model}:{count // nodes}" if model else count // nodes}


def _require_even(count: int, what: str, nodes: int) -> None:
    if count % nodes:
        raise RequestError(f"{what}={count} cannot be spread evenly over nodes={nodes}")


def _pass_on(given: Mapping[str, Any], limited: Collection[str], remarks: list[str]) -> dict[str, Any]:
    """Sbatch options that are passed on unchanged."""
    options: dict[str, Any] = {}
    for key, value in given.items():
        option = key.removeprefix("slurm_").replace("_", "-")
        prefixed = key.startswith("slurm_")
        if key in ("slurm_requeue", "slurm_signal_seconds", "slurm_extra") or key in COUNTED:
            continue
        if prefixed and option in OWN:
            instead = f"; use {OWN[option]}" if OWN[option] else ""
            raise RequestError(f"resource {key}={value}: is set by the executor{instead}")
        if key in PASSED or key == "comment" or (prefixed and re.fullmatch(r"[a-z][a-z0-9-]*", option)):
            if value is not False:
                options[option] = value
        elif key not in KNOWN and key not in limited:
            near = difflib.get_close_matches(key, (*KNOWN, *(f"slurm_{name}" for name in PASSED)), 1, 0.8)
            hint = f"; did you mean {near[0]}?" if near else ""
            remarks.append(f"resource {key} means nothing to Slurm and is ignored{hint}")
    return options


def _extra(given: Mapping[str, Any]) -> tuple[str, ...]:
    """The words of ``slurm_extra``; options that the executor sets are refused."""
    text = str(given.get("slurm_extra", ""))
    try:
        words = shlex.split(text)
        if len(words) == 1 and " " in words[0]:  # quoted twice, for Snakemake's command line
            words = shlex.split(words[0])
    except ValueError as error:
        raise RequestError(f"resource slurm_extra={text}: {error}") from None
    for word in words:
        option = word[2:].partition("=")[0] if word.startswith("--") else SHORT.get(word[1:2], "")
        if not word.startswith("-"):
            continue
        if option in ("clusters", "cluster"):
            raise RequestError(f"resource slurm_extra={text}: {CLUSTERS}")
        if option in (own := OWN | PER_RULE):
            instead = f"; use {own[option]}" if own[option] else ""
            raise RequestError(f"resource slurm_extra={text}: --{option} is set by the executor{instead}")
    return tuple(words)


def _count(given: Mapping[str, Any], key: str, default: int = 0, least: int = 1) -> int:
    if key not in given:
        return default
    value = given[key]
    if isinstance(value, bool) or not str(value).isdecimal() or int(value) < least:
        raise RequestError(f"resource {key}={value!r} is not a whole number of at least {least}")
    return int(value)


def _flag(given: Mapping[str, Any], key: str, default: bool) -> bool:
    if key not in given:
        return default
    value = str(given[key]).lower()
    if value not in ("true", "false", "1", "0"):
        raise RequestError(f"resource {key}={given[key]!r} is none of True, False, 1, 0")
    return value in ("true", "1")
