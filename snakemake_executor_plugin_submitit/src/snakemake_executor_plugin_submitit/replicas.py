"""A rule's command in several tasks: what all but the first run."""

from __future__ import annotations

from typing import Any

from snakemake_interface_executor_plugins.jobs import JobExecutorInterface
from snakemake_interface_executor_plugins.settings import DeploymentMethod

from snakemake_executor_plugin_submitit import identity
from snakemake_executor_plugin_submitit.request import RequestError
from snakemake_executor_plugin_submitit.task import PEER_LOG

BASH_STRICT = "set -euo pipefail; "
"""Snakemake's own prefix of shell commands."""


class _PeerLog(str):
    """Replaces a rule's log, and any of its logs by name or number."""

    def __getattr__(self, name: str) -> _PeerLog:
        if name.startswith("__"):
            raise AttributeError(name)
        return self

    def __getitem__(self, index: Any) -> _PeerLog:
        return self


def peer_command(job: JobExecutorInterface, methods: frozenset[DeploymentMethod], replicas: int) -> str:
    """The command of all replicas but the first: the rule's own command, with a different log.

    The first runs Snakemake as for any other job, which takes care of inputs and outputs.

    Args:
        job: a job of a single rule with a shell command.
        methods: software deployment methods in use.
        replicas: the number requested.

    Raises:
        RequestError: Snakemake does more for the rule than run a command.
    """
    members = identity.parts(job)
    rule = members[0].rule
    if len(members) > 1 or not rule.shellcmd:
        raise RequestError(f"replicas={replicas}: only a job of one rule with a shell command can have several")
    inside = {
        "conda": DeploymentMethod.CONDA in methods and members[0].conda_env,
        "container": DeploymentMethod.APPTAINER in methods and members[0].container_img_url,
        "envmodules": DeploymentMethod.ENV_MODULES in methods and members[0].env_modules,
    }
    if found := [directive for directive, used in inside.items() if used]:
        raise RequestError(
            f"replicas={replicas}: not together with {', '.join(found)}, which the first alone would use"
        )
    return f"{BASH_STRICT}{members[0].format_wildcards(rule.shellcmd, log=_PeerLog(PEER_LOG)).strip()}"
