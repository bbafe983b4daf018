"""The results of one experiment, read from its folder."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from ayt.base import paths
from ayt.base.errors import UserError
from ayt.base.sections import choices
from ayt.plan.runs import RunRecord, read_run
from ayt.reporting.scores import read_scores

if TYPE_CHECKING:
    from ayt.networks.modules.precond import EDMPrecond

OF_SNAPSHOTS = ["dataset", "run", "method", "label", "batch_size", "seed", "ema", "iteration", "images"]
"""The columns of scores that identify a snapshot."""


@dataclass(frozen=True)
class SnapshotFile:
    """The averaged weights of a run at one iteration.

    Attributes:
        path: the safetensors file.
        run_folder: the folder of its run.
        iteration: iterations trained.
    """

    path: Path
    run_folder: Path
    iteration: int

    @property
    def record(self) -> RunRecord:
        """How the run was trained: every number of ``run.yaml``."""
        return read_run(paths.run_record(self.run_folder))

    def load(self) -> EDMPrecond:
        """The denoiser D(x; sigma), on the CPU in eval mode: `ayt.evaluation.sampling.sample` takes it.

        It is only the trained network: a run sampled together with another network (TCM) should be exported and loaded.

        Raises:
            UserError: the file is missing or damaged.
        """
        from ayt.training.work import load_denoiser

        return load_denoiser(self.record, self.path)


class Results:
    """The results of one experiment.

    Args:
        folder: the experiment's folder, for example ``results/embedded``; or its ``so_far`` while results are missing.

    Raises:
        UserError: there are no scores in the folder, or no runs folder above it.
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        self.scores: pd.DataFrame = read_scores(self.folder / "scores.csv")
        """Every score: the rows of ``scores.csv``."""
        self._runs: dict[str, RunRecord] = {}

    @cached_property
    def runs_folder(self) -> Path:
        """Where the runs of all experiments are."""
        for parent in self.folder.absolute().parents:
            if (parent / paths.RUNS.name).is_dir():
                return parent / paths.RUNS.name
        raise UserError(f"{self.folder}: no folder above it has {paths.RUNS.name}/; is it inside a results folder?")

    @cached_property
    def snapshots(self) -> pd.DataFrame:
        """Every scored snapshot, one row each: `OF_SNAPSHOTS`, and the file's ``path``."""
        table = self.scores[OF_SNAPSHOTS].drop_duplicates(ignore_index=True)
        columns = ["dataset", "run", "ema", "iteration"]
        found = [
            paths.snapshot(self._folder(dataset, run), int(iteration), self._average(dataset, run, ema))
            for dataset, run, ema, iteration in table[columns].itertuples(index=False)
        ]
        return table.assign(path=pd.Series(found, dtype=object))

    def _folder(self, dataset: str, run: str) -> Path:
        return self.runs_folder / dataset / run

    def _average(self, dataset: str, run: str, ema: str) -> str:
        """An average of a run as paths name it; tables of older versions, whose runs had one each, do not name it."""
        if not ema:
            return ""
        if run not in self._runs:
            self._runs[run] = read_run(paths.run_record(self._folder(dataset, run)))
        return self._runs[run].average_called(ema)

    def snapshot(
        self,
        method: str,
        batch_size: int | None = None,
        seed: int | None = None,
        iteration: int | None = None,
        ema: str | None = None,
    ) -> SnapshotFile:
        """One snapshot.

        Args:
            method: its name in the experiment.
            batch_size: may be omitted if there is only one.
            seed: may be omitted if there is only one.
            iteration: the snapshot's; absent: the last.
            ema: one of the run's averages, named as in ``scores.csv``, for example ``0.9999`` or ``power0.05``; absent:
                the first that the run lists.

        Raises:
            UserError: there is no such snapshot, or more than one.
        """
        left = self.snapshots
        if iteration is None:
            left = left[left["iteration"] == left.groupby(["run", "ema"])["iteration"].transform("max")]
        if ema is None:
            left = left[[not paths.average_of_path(path) for path in left["path"]]]
        asked = {"method": method, "batch_size": batch_size, "seed": seed, "iteration": iteration, "ema": ema}
        for column, value in asked.items():
            present = sorted(left[column].unique().tolist())
            if value is None and len(present) > 1 and column not in ("iteration", "ema"):
                raise UserError(f"{self.folder}: {column} of {method!r} must be given; {choices('', present)}")
            if value is not None and value not in present:
                raise UserError(f"{self.folder}: {column} = {value!r}: no such snapshot; {choices(value, present)}")
            left = left if value is None else left[left[column] == value]
        found = left.iloc[0]
        folder = self.runs_folder / str(found["dataset"]) / str(found["run"])
        return SnapshotFile(found["path"], folder, int(found["iteration"]))
