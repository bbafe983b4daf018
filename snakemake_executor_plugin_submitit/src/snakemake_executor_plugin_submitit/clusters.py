"""The available clusters, by name."""

from __future__ import annotations

import socket

from snakemake_executor_plugin_submitit.cluster import Cluster, Refused
from snakemake_executor_plugin_submitit.direct import Direct
from snakemake_executor_plugin_submitit.slurm import Slurm
from snakemake_executor_plugin_submitit.submission import Habits

NAMES = ("slurm", "local", "debug")


class Clusters:
    """Where this run submits its jobs, and where earlier runs did.

    Args:
        name: the cluster of this run.
        habits: settings of its submissions.

    Raises:
        Refused: there is no such cluster here.
    """

    def __init__(self, name: str, habits: Habits) -> None:
        self._habits = habits
        self._made: dict[str, Cluster] = {}
        self.own = self.get(name)

    def get(self, name: str) -> Cluster:
        """The cluster with that name.

        Raises:
            Refused: there is no such cluster here.
        """
        if name not in self._made:
            self._made[name] = self._make(name)
        return self._made[name]

    def _make(self, name: str) -> Cluster:
        match name:
            case "slurm":
                return Slurm(self._habits)
            case "local" | "debug":
                return Direct(name, self._habits)
        raise Refused(f"--submitit-cluster {name}: unknown; choices: {', '.join(NAMES)}")


def host() -> str:
    """The host on which this Snakemake runs."""
    return socket.gethostname()
