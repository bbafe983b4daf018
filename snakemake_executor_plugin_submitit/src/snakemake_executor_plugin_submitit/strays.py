"""Submissions that were never answered: they may be in the queue nevertheless."""

from __future__ import annotations

import time
from pathlib import Path

from snakemake_executor_plugin_submitit.cluster import NoAnswer, Submitted
from snakemake_executor_plugin_submitit.clusters import Clusters
from snakemake_executor_plugin_submitit.ledger import Ledger

STRAY_SECONDS, STRAY_EVERY = 600.0, 30.0
"""How long, and how often, to look for an unanswered submission: a busy controller may process it late."""


class Strays:
    """Looks for jobs of unanswered submissions, and cancels them before anything replaces them."""

    def __init__(self, ledger: Ledger, clusters: Clusters) -> None:
        self.ledger = ledger
        self.clusters = clusters
        self._next = 0.0
        self._first_looked: dict[str, float] = {}

    @property
    def expected(self) -> bool:
        """Whether there may be such jobs."""
        return bool(self.ledger.unanswered)

    def cancel_if_due(self) -> None:
        """Look again if it is time."""
        if self.expected and time.monotonic() > self._next:
            self.cancel()

    def cancel(self) -> bool:
        """Cancel those in a queue; False: a cluster does not answer."""
        now = time.monotonic()
        self._next = now + STRAY_EVERY
        # Tokens of submissions in progress in another thread are not among them.
        unanswered = self.ledger.unanswered.copy()
        try:
            for name in sorted(set(unanswered.values())):
                cluster = self.clusters.get(name)
                found = [key for key, token in cluster.queue().items() if unanswered.get(token) == name]
                cluster.cancel([Submitted(key, "", Path(), 0.0) for key in found])
        except NoAnswer:
            return False
        for token in unanswered:
            if now - self._first_looked.setdefault(token, now) > STRAY_SECONDS:
                self.ledger.note_refused(token)
        return True
