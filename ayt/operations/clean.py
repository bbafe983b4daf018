"""What belongs to an experiment alone: results that no other experiment needs."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from ayt.base import paths
from ayt.base.errors import UserError
from ayt.experiment import Experiment, load, resolved
from ayt.operations.status import is_held
from ayt.plan.plan import Plan
from ayt.plan.runs import Run


class Owned(NamedTuple):
    """One file, or one folder with everything in it.

    Attributes:
        path: its path.
        bytes: its size; targets of links do not count.
    """

    path: Path
    bytes: int


def find_owned(experiments: list[Experiment], config: Path) -> list[Owned]:
    """Results that belong to the given experiments and no others.

    Others are those in the folder ``config``, and those that were run, according to their ``experiment.yaml``. Of a run
    that another experiment needs too, only snapshots, states, scores and grids that it does not need are included.
    Downloads are never included.

    Args:
        experiments: the experiments to remove.
        config: a folder of experiment files.

    Raises:
        UserError: there is no such folder, another experiment cannot be read, or a run is being trained.
    """
    if not config.is_dir():
        raise UserError(f"{config}: is not a folder; name that of the experiments whose runs are kept with --others")
    names = {experiment.name for experiment in experiments}
    plans = [Plan(experiment) for experiment in experiments]
    plans += [Plan(resolved.read(file)) for name in names if (file := paths.resolved_experiment(name)).exists()]
    others = [Plan(other) for other in _others(names, config)]
    kept = {run.folder for other in others for run in other.runs.values()}
    claimed = {path for other in others for path in (*_files(other), *_folders(other))}
    found: set[Path] = set()
    for plan in plans:
        for run in plan.runs.values():
            if run.folder not in kept:
                if is_held(paths.resume_folder(run.folder) / "holder.lock"):
                    raise UserError(f"{run.folder}: is being trained; stop that first")
                found |= {run.folder, *paths.LOGS.glob(f"*/{run.record.dataset.name}/{run.name}")}
        found |= {*_files(plan), *_folders(plan)} - claimed
        found |= _own(plan.experiment.name)
    there = [path for path in found if path.exists() and not any(parent in found for parent in path.parents)]
    return [Owned(path, size_of(path)) for path in sorted(there)]


def remove(owned: Iterable[Owned]) -> None:
    """Remove files and folders; links are removed, not their targets."""
    for path, _ in owned:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def size_of(path: Path) -> int:
    """Size in bytes of a file, or of all files below a folder; a file with several names counts once."""
    files = [path, *path.rglob("*")] if path.is_dir() and not path.is_symlink() else [path]
    found = {(stat.st_dev, stat.st_ino): stat.st_size for stat in (file.lstat() for file in files if not file.is_dir())}
    return sum(found.values())


def _others(names: set[str], config: Path) -> Iterator[Experiment]:
    """The experiments with other names that are configured or were run."""
    for file in sorted(config.glob("*.yaml")):
        if file.name != paths.ASSET_TABLE.name:
            experiment = _read(file)
            if experiment.name not in names:
                yield experiment
    for file in sorted(paths.RESULTS.glob("*/experiment.yaml")):
        if file.parent.name not in names:
            yield _read(file)


def _read(file: Path) -> Experiment:
    try:
        return load([file])
    except UserError as error:
        raise UserError(f"{error}\n{file}: what it shares cannot be determined; fix or remove it first") from None


def _files(plan: Plan) -> Iterator[Path]:
    """The files of an experiment's runs, reference features and anchors."""
    for run in plan.runs.values():
        yield from _training_files(run)
    yield from plan.scores()
    for run, grid in plan.grids():
        yield grid.result(run.folder, run.iterations)
    yield from (plan.reference.path, plan.reference.record)
    for anchor in plan.anchors.values():
        yield from (anchor.path, anchor.record, paths.job_log("anchor", anchor.dataset.name, anchor.name))


def _own(name: str) -> set[Path]:
    """Paths with an experiment's name: its folder, and the logs of the jobs that fill it."""
    logs = [paths.LOGS / what / name for what in ("figure", "table")]
    return {paths.experiment_folder(name), *logs, *(paths.job_log(what, name) for what in ("gather", "about"))}


def _training_files(run: Run) -> Iterator[Path]:
    for segment in run.segments:
        yield from segment.files(run.folder, run.record.averages)
        yield from (paths.state(run.folder, segment.stop), paths.training_log(run.folder, segment.stop))
        stage, dataset = run.record.training.stage, run.record.dataset.name
        yield paths.job_log(stage, dataset, run.name, f"{segment.stop:07d}")


def _folders(plan: Plan) -> Iterator[Path]:
    """The folders of scores, grids and analyses that an experiment asks for."""
    for run in plan.trained:
        for score in [*plan.scores_of(run.name), *plan.denoising_scores_of(run.name)]:
            yield score.folder(run.folder)
    for run, grid in plan.grids():
        yield grid.folder(run.folder)
    yield from (analysis.path.parent for analysis in plan.analyses.values())
