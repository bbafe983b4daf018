"""Scoring jobs that are killed, and those that are asked for one score more: nothing is computed twice."""

import json
from pathlib import Path

import pytest
import torch
from recipe import load_recipe

from ayt.base import kinds, paths, weights
from ayt.base.processes import ALONE
from ayt.evaluation import extractors, scoring_job
from ayt.evaluation.fixed_batches import FixedBatches
from ayt.evaluation.score import Scorer
from ayt.evaluation.scoring_job import ScoringJob
from ayt.experiment import load
from ayt.metrics.formulas.feature_sets import FeatureSet
from ayt.plan.plan import Plan
from ayt.training.work import build_denoiser

CPU = torch.device("cpu")
TINY = Path(__file__).parents[1] / "experiments" / "tiny.yaml"


@pytest.fixture
def plan(monkeypatch, tmp_path):
    """A run with two snapshots, and features to compare with, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    plan = Plan(load([TINY], {"methods": {"ect": {}}, "batch_sizes": [4]}))
    for iteration in (2, 4):
        write_snapshot(plan.trained[0], iteration, seed=iteration)
    plan.reference.path.parent.mkdir(parents=True)
    torch.manual_seed(0)
    features = FeatureSet(torch.zeros(16).double(), torch.eye(16).double(), torch.rand(20, 16))
    extractors.write_real_features(plan.reference.path, features)

    def build(reference, device, batches):
        return extractors.Extractor(
            lambda images: torch.nn.functional.avg_pool2d(images.float() / 255, 2).flatten(1), lambda found: found
        )

    monkeypatch.setattr(scoring_job, "build_extractor", build)
    return plan


@pytest.fixture
def drawn(monkeypatch):
    """The names of the scores that are computed, in turn."""
    names, score = [], Scorer.score

    def noted(self, network, record):
        names.append(record.name)
        return score(self, network, record)

    monkeypatch.setattr(Scorer, "score", noted)
    return names


def write_snapshot(run, iteration, seed):
    state = load_recipe(build_denoiser(run.record), seed).state_dict()
    weights.write(paths.snapshot(run.folder, iteration), "snapshot", run.name, iteration, state)


def do(plan, scores=None, iterations=(2, 4)):
    """Score as a workflow does, which removes a job's outputs before it starts; returns their texts."""
    run = plan.trained[0]
    job = ScoringJob(run.record, run.folder, scores or plan.scores_of(run.name), list(iterations))
    results = [score.result(run.folder, iteration) for iteration in iterations for score in job.scores]
    for result in results:
        result.unlink(missing_ok=True)
    job.do(CPU, FixedBatches(10), ALONE)
    return [result.read_text() for result in results]


def test_a_killed_job_goes_on_with_the_score_it_was_at(plan, drawn, monkeypatch, capsys):
    class KilledError(Exception):
        pass

    score = Scorer.score

    def dies(self, network, record):
        if len(drawn) == 3:
            raise KilledError
        return score(self, network, record)

    with monkeypatch.context() as patched:
        patched.setattr(Scorer, "score", dies)
        with pytest.raises(KilledError):
            do(plan)
    assert len(drawn) == 3
    texts = do(plan)
    assert len(drawn) == 4
    assert "3 of 4 scores were there" in capsys.readouterr().err
    run = plan.trained[0]
    for kept in (run.folder / "scores").glob("*/kept/*.json"):
        kept.unlink()
    assert do(plan) == texts
    assert len(drawn) == 8


def test_one_score_more_computes_no_other(plan, drawn):
    scores = plan.scores_of(plan.trained[0].name)
    do(plan, scores[:1])
    do(plan, scores)
    assert drawn == [scores[0].name] * 2 + [scores[1].name] * 2


def test_scores_of_other_files_and_damaged_ones_are_computed_again(plan, drawn):
    run = plan.trained[0]
    score = plan.scores_of(run.name)[0]
    before = do(plan, [score])
    write_snapshot(run, 4, seed=7)
    after = do(plan, [score])
    assert len(drawn) == 3
    assert (before[0] == after[0], before[1] == after[1]) == (True, False)
    assert len(json.loads(after[1])["made_from"]["snapshot"]) == 64
    score.kept(run.folder, 2).write_text("{")
    assert do(plan, [score]) == after
    assert len(drawn) == 4
    torch.manual_seed(1)
    features = FeatureSet(torch.zeros(16).double(), torch.eye(16).double(), torch.rand(20, 16))
    extractors.write_real_features(plan.reference.path, features)
    do(plan, [score])
    assert len(drawn) == 6


def test_scores_of_other_code_are_computed_again(plan, drawn, monkeypatch, tmp_path):
    score = plan.scores_of(plan.trained[0].name)[0]
    do(plan, [score])
    (tmp_path / "metric.py").write_text("value = 1")
    monkeypatch.setenv(kinds.EXTENSIONS, str(tmp_path / "metric.py"))
    do(plan, [score])
    assert len(drawn) == 4
    do(plan, [score])
    assert len(drawn) == 4
    (tmp_path / "metric.py").write_text("value = 2")
    do(plan, [score])
    assert len(drawn) == 6
