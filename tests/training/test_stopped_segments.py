"""Segments that end a training: by hand, where numbers fail, and what is said of rules that cannot be followed."""

import json

import pytest
import torch

from ayt.base import paths
from ayt.base.errors import UserError
from ayt.base.files import write_text
from ayt.base.images import Images
from ayt.base.processes import ALONE
from ayt.base.stopped import Stopped, read_stopped
from ayt.experiment import load
from ayt.methods.stopping import Stop
from ayt.plan.plan import Plan
from ayt.plan.runs import Segment
from ayt.plan.stops import find_last
from ayt.reporting.scores import read_failure
from ayt.training import loop, stopping

CPU = torch.device("cpu")


@pytest.fixture
def run(tiny, tmp_path):
    """The diffusion model's run, whose numbers can be made to fail as any other's; its folder."""
    record = Plan(load([tiny])).pretrained.record
    write_text(paths.run_record(tmp_path / record.name), record.text)
    return record, tmp_path / record.name


def fail_at(monkeypatch, iteration):
    """Make the loss infinite from an iteration on."""
    advance = loop.Trainer.advance

    def failing(self):
        loss, *others = advance(self)
        return loss * float("inf" if self.state.iteration >= iteration else 1), *others

    monkeypatch.setattr(loop.Trainer, "advance", failing)


def train(run, **options):
    record, folder = run
    images = Images.of(record.dataset.load())
    loop.train(record, folder, Segment(0, 8, 2), images, CPU, log_every=1, **options)


def test_snapshots_before_the_numbers_failed_are_results(run, monkeypatch):
    fail_at(monkeypatch, 5)
    train(run, stops_where_diverged=True)
    folder = run[1]
    left = Stopped(4, "the loss or its gradient is not finite at iteration 5", diverged=True)
    assert [read_stopped(paths.snapshot(folder, i)) for i in (2, 4, 6, 8)] == [None, None, left, left]
    assert read_stopped(paths.state(folder, 8)) == left
    assert len(paths.training_log(folder, 8).read_text().splitlines()) == 1 + 4
    assert find_last(folder, 8) == 4
    assert read_failure(folder) == (float("inf"), "")


def test_without_the_rule_it_is_a_failure_and_with_it_later_it_is_none(run, monkeypatch):
    fail_at(monkeypatch, 5)
    with pytest.raises(UserError, match="not finite at iteration 5; the last good state is kept"):
        train(run)
    assert read_failure(run[1])[0] == 5
    train(run, stops_where_diverged=True)
    assert read_failure(run[1])[0] == float("inf")


def test_a_segment_that_is_not_trained_has_a_note_for_every_average(tiny, tmp_path):
    plan = Plan(load([tiny], {"methods": {"ect": {"ema": [0.9, 0.5]}}, "figures": {}, "tables": {}}))
    run, segment, stopped = plan.trained[0], Segment(4, 8, 2), Stopped(4, "it did badly")
    stopping.leave_stopped(run.record, tmp_path, segment, stopped, False, ALONE)
    left = segment.made(tmp_path, run.record.averages)
    assert len(left) == 2 * 2 + 1
    assert [read_stopped(path) for path in left] == [stopped] * 5
    assert stopping.why_stopped(run.record, tmp_path, Segment(8, 12, 2), Stop(diverged=True), None) == stopped
    assert stopping.why_stopped(run.record, tmp_path, Segment(8, 12, 2), None, None) is None


def test_a_damaged_note_is_told_and_a_snapshot_is_none(tmp_path):
    path = tmp_path / "0000002.safetensors"
    path.write_text('{"stopped": {"iteration": 2}}')
    with pytest.raises(UserError, match=r"0000002.safetensors: damaged .*; delete it to have it made again"):
        read_stopped(path)
    path.write_bytes(b"\xff" * 100)
    assert read_stopped(path) is None
    assert read_stopped(tmp_path / "nothing") is None


@pytest.mark.parametrize(
    ("rule", "problem"),
    [
        ("worse", "--stop-when 'worse': is not JSON"),
        ('{"worse_then": 1}', "--stop-when: worse_then: unknown key; did you mean worse_than?"),
        ("[]", "--stop-when: the whole: must be a mapping"),
    ],
)
def test_a_rule_given_by_hand_is_checked(rule, problem):
    with pytest.raises(UserError) as error:
        stopping.read_rule(rule)
    assert str(error.value).startswith(problem)


def test_a_rule_needs_the_scores_that_it_looks_at(run, tmp_path):
    record, folder = run
    rule = stopping.read_rule(json.dumps({"metric": "frechet", "worse_than": 1}))
    with pytest.raises(UserError, match="looks at scores; --scores must name their record"):
        stopping.why_stopped(record, folder, Segment(4, 8, 2), rule, None)
    assert stopping.why_stopped(record, folder, Segment(0, 4, 2), rule, None) is None
    assert stopping.why_stopped(record, folder, Segment(4, 8, 2), None, None) is None
