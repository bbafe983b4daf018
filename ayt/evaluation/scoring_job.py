"""A scoring job: the scores of some snapshots of one run, in one process, each written as soon as it is ready."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from ayt.base import paths
from ayt.base.files import link, sha256
from ayt.base.images import Images
from ayt.base.kinds import list_extensions_of_environment
from ayt.base.processes import Processes
from ayt.base.progress import ProgressLine
from ayt.base.source import digest_source
from ayt.base.stopped import read_stopped
from ayt.evaluation.extractors import build_extractor, read_real_features
from ayt.evaluation.fixed_batches import FixedBatches
from ayt.evaluation.score import Scorer, Values, compute_beside, write_score
from ayt.evaluation.snapshots import Snapshots
from ayt.plan.evaluations import DenoisingScore, Score
from ayt.plan.runs import RunRecord
from ayt.training.under_way import say

CODE = ("base", "datasets", "evaluation", "features", "methods", "metrics", "networks")
"""The packages of ayt whose code can change a score. A score that other code computed is computed again."""


@dataclass(frozen=True)
class ScoringJob:
    """The work of one scoring job.

    Attributes:
        run: the run whose snapshots are scored.
        folder: of the run.
        scores: records of scores with the same precision and feature network; each applies to every snapshot.
        iterations: the snapshots' iterations.
        average: of the run's; empty: the first.
    """

    run: RunRecord
    folder: Path
    scores: list[Score | DenoisingScore]
    iterations: list[int]
    average: str = ""
    _hashes: dict[Path, str | None] = field(default_factory=dict)

    @property
    def passes(self) -> int:
        """Images that go through a denoiser, each counted once per step."""
        steps = {id(s): 1 if isinstance(s, DenoisingScore) else s.sampling.steps for s in self.scores}
        return len(self.iterations) * sum(steps[id(score)] * self._images(score) for score in self.scores)

    def do(self, device: torch.device, batches: FixedBatches, processes: Processes) -> None:
        """Compute the scores; the first process writes them. Those that the same code made from the same files stay.

        Snapshots that a stopped training run never reached get scores without values.

        Raises:
            UserError: a file is missing or damaged.
        """
        reached = [i for i in self.iterations if not read_stopped(paths.snapshot(self.folder, i, self.average))]
        wanted = [(iteration, score) for iteration in reached for score in self.scores]
        for iteration in set(self.iterations).difference(reached) if processes.first else []:
            for score in self.scores:
                place = score.result(self.folder, iteration, self.average)
                write_score(place, self.run, iteration, score, {}, {}, self.average)
        left = [index for index, one in enumerate(wanted) if processes.first and not self._publish(*one)]
        left = processes.from_first(left)
        if len(left) < len(wanted) and processes.first:
            say(self.run.name, f"{len(wanted) - len(left)} of {len(wanted)} scores were there")
        if left:
            self._compute([wanted[index] for index in left], device, batches, processes)
        processes.wait()  # the first writes last

    def _compute(
        self,
        wanted: list[tuple[int, Score | DenoisingScore]],
        device: torch.device,
        batches: FixedBatches,
        processes: Processes,
    ) -> None:
        images = sum(self._images(score) for _, score in wanted)
        reference = self.scores[0].reference
        denoises = any(isinstance(score, DenoisingScore) for score in self.scores)
        with ProgressLine(f"scoring {self.run.name}", images) as line, compute_beside(device) as executor:
            scorer = Scorer(
                self.run.dataset,
                self.run.classes,
                build_extractor(reference, device, batches),
                read_real_features(reference.path).to(device),
                batches.size,
                device,
                line,
                Images.of(self.run.dataset.load()).to(device) if denoises else None,
                processes,
                executor,
            )
            snapshots = Snapshots(self.run, self.folder, device, batches, self.average, self.scores[0].precision)
            drawn: list[tuple[int, Score | DenoisingScore, Callable[[], Values]]] = []
            for iteration, score in wanted:
                drawn.append((iteration, score, scorer.score(snapshots.load(iteration), score)))
                # Metrics computed concurrently are awaited once the next score's samples are drawn.
                if processes.first and len(drawn) > (executor is not None):
                    self._write(*drawn.pop(0))
            for one in drawn if processes.first else []:
                self._write(*one)

    def _write(self, iteration: int, score: Score | DenoisingScore, values: Callable[[], Values]) -> None:
        kept, made_from = score.kept(self.folder, iteration, self.average), self._made_from(iteration, score)
        write_score(kept, self.run, iteration, score, values(), made_from, self.average)
        link(kept, score.result(self.folder, iteration, self.average))

    def _publish(self, iteration: int, score: Score | DenoisingScore) -> bool:
        """Reuse a score that an earlier job computed, with the same code from the same files; False: there is none."""
        kept, result = (place(self.folder, iteration, self.average) for place in (score.kept, score.result))
        try:
            found = json.loads(kept.read_text(encoding="utf-8"))["made_from"]
        except (OSError, ValueError, KeyError, TypeError):
            return False
        if found != self._made_from(iteration, score):
            return False
        link(kept, result)
        os.utime(result)  # newer than its inputs, as Snakemake expects
        return True

    def _made_from(self, iteration: int, score: Score | DenoisingScore) -> dict[str, Any]:
        """The SHA-256 of the files that a score depends on, and of the code."""
        upstream = [self.run.upstream[role].path_from(self.folder) for role in self.run.training.sampled_with]
        reference = [score.reference.path, *score.reference.features.inputs]
        looked_through = [*score.metric.files, *self.run.dataset.files] if isinstance(score, DenoisingScore) else []
        return {
            "snapshot": self._hash(paths.snapshot(self.folder, iteration, self.average)),
            "other_files": [self._hash(path) for path in (*upstream, *reference, *looked_through)],
            "code": self._code,
            "torch": torch.__version__,
        }

    @cached_property
    def _code(self) -> str:
        return digest_source(CODE, [Path(file) for file in list_extensions_of_environment()])

    def _hash(self, path: Path) -> str | None:
        """None: there is no such file."""
        if path not in self._hashes:
            self._hashes[path] = sha256(path) if path.exists() else None
        return self._hashes[path]

    def _images(self, score: Score | DenoisingScore) -> int:
        """Those of all repeats."""
        each = min(score.samples, self.run.dataset.size) if isinstance(score, DenoisingScore) else score.samples
        return score.repeats * each
