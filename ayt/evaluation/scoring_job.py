"""A scoring job: the scores of some snapshots of one run, in one process, each written as soon as it is there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from ayt.base.images import Images
from ayt.base.processes import Processes
from ayt.base.progress import ProgressLine
from ayt.evaluation.extractors import build_extractor, read_real_features
from ayt.evaluation.fixed_batches import FixedBatches
from ayt.evaluation.score import Scorer, Values, compute_beside, write_score
from ayt.evaluation.snapshots import Snapshots
from ayt.plan.evaluations import DenoisingScore, Score
from ayt.plan.runs import RunRecord


@dataclass(frozen=True)
class ScoringJob:
    """What one job scores.

    Attributes:
        run: whose snapshots.
        folder: of the run.
        scores: how, all in the features of one network; each of every snapshot.
        iterations: of the snapshots.
    """

    run: RunRecord
    folder: Path
    scores: list[Score | DenoisingScore]
    iterations: list[int]

    @property
    def passes(self) -> int:
        """Images that go through a denoiser, each as often as there are steps."""
        steps = {id(s): 1 if isinstance(s, DenoisingScore) else s.sampling.steps for s in self.scores}
        return len(self.iterations) * sum(steps[id(score)] * self._images(score) for score in self.scores)

    def do(self, device: torch.device, batches: FixedBatches, processes: Processes) -> None:
        """Write the scores; the first process does.

        Raises:
            UserError: a file is missing or damaged.
        """
        wanted = [(iteration, score) for iteration in self.iterations for score in self.scores]
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
            snapshots = Snapshots(self.run, self.folder, device, batches)
            finish: Callable[[], None] | None = None
            for iteration, score in wanted:
                values = scorer.score(snapshots.load(iteration), score)
                # Metrics of the one before were computed meanwhile.
                if finish:
                    finish()
                finish = self._finishing(iteration, score, values, processes)
            if finish:
                finish()
        processes.wait()  # whose first writes last

    def _finishing(
        self, iteration: int, score: Score | DenoisingScore, values: Callable[[], Values], processes: Processes
    ) -> Callable[[], None]:
        def finish() -> None:
            if processes.first:
                write_score(score.result(self.folder, iteration), self.run, iteration, score, values())

        return finish

    def _images(self, score: Score | DenoisingScore) -> int:
        """Those of all repeats."""
        each = min(score.samples, self.run.dataset.size) if isinstance(score, DenoisingScore) else score.samples
        return score.repeats * each
