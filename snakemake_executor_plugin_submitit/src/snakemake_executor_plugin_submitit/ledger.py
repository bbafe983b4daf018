"""A record of submitted jobs that outlives the Snakemake that submitted them."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from snakemake_executor_plugin_submitit.cluster import Submitted


class Ledger:
    """Lines of JSON, appended and synced: about to submit, submitted, ended.

    A job's key says what it computes (its rule, outputs and shell command), so that a Snakemake that is started again
    finds it. A batch that was about to be submitted and never was, or was when its Snakemake died, is known by its
    token, which the cluster keeps as the jobs' comment.

    Args:
        path: the file; made with the first line.

    Attributes:
        open: jobs that were submitted and whose end was not seen, by key.
        unanswered: tokens of batches of which it is not known whether they were submitted.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.open: dict[str, Submitted] = {}
        self.unanswered: set[str] = set()
        for line in path.read_text().splitlines() if path.exists() else []:
            try:
                self._apply(json.loads(line))
            except json.JSONDecodeError:
                continue  # the line during which a process was killed

    def submitting(self, token: str) -> None:
        """Note that a batch is about to be submitted."""
        self._write({"event": "submitting", "token": token})

    def refused(self, token: str) -> None:
        """Note that nothing came of a batch."""
        self._write({"event": "refused", "token": token})

    def submitted(self, token: str, keys: Sequence[str], jobs: Sequence[Submitted]) -> None:
        """Note the jobs of a batch, each with its key."""
        rows = [
            {"key": key, "id": job.id, "name": job.name, "folder": str(job.folder), "submitted": job.submitted}
            for key, job in zip(keys, jobs, strict=True)
        ]
        self._write({"event": "submitted", "token": token, "jobs": rows})

    def ended(self, key: str) -> None:
        """Note that a job is over, whatever became of it."""
        self._write({"event": "ended", "key": key})

    def _write(self, event: dict[str, Any]) -> None:
        self._apply(event)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a") as file:
            file.write(json.dumps(event) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def _apply(self, event: dict[str, Any]) -> None:
        match event["event"]:
            case "submitting":
                self.unanswered.add(event["token"])
            case "refused":
                self.unanswered.discard(event["token"])
            case "submitted":
                self.unanswered.discard(event["token"])
                for row in event["jobs"]:
                    self.open[row["key"]] = Submitted(row["id"], row["name"], Path(row["folder"]), row["submitted"])
            case "ended":
                self.open.pop(event["key"], None)
