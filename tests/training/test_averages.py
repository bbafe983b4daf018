"""Several averages of the weights kept by one training: those of separate trainings, whole however it was cut."""

import signal

import forked
import pytest
import torch

from ayt.base import paths, weights
from ayt.base.errors import UserError
from ayt.base.files import write_text
from ayt.base.images import Images
from ayt.base.processes import ALONE
from ayt.experiment import load
from ayt.operations.disk import bytes_left
from ayt.operations.estimate import estimate
from ayt.operations.status import statuses
from ayt.plan.missing import note_of_missing_snapshots
from ayt.plan.plan import Plan
from ayt.plan.runs import Segment, Snapshot, parse_weights
from ayt.training.loop import train
from ayt.training.state import Optimiser, TrainingState
from ayt.training.under_way import UnderWay
from ayt.training.work import build_network

CPU = torch.device("cpu")
EMA = [0.9, {"power": 0.1}, 0.5]
NAMES = ("", "power0.1", "0.5")


@pytest.fixture
def plan_of(tiny):
    def plan_of(ema):
        return Plan(load([tiny], {"methods": {"ect": {"ema": ema}}, "batch_sizes": [4], "figures": {}, "tables": {}}))

    return plan_of


def prepare(run, root):
    """A run's folder with its record, and fresh weights where it expects those that it starts from."""
    folder = root / run.name
    write_text(paths.run_record(folder), run.record.text)
    start = run.record.upstream["start"]
    path = start.path_from(folder)
    if not path.exists():
        torch.manual_seed(0)
        weights.write(path, "snapshot", start.run.name, start.iteration, build_network(start.run).state_dict())
    return folder


def train_ect(plan, root, *segments):
    run = plan.run("ect", 4, 0)
    folder = prepare(run, root)
    for segment in segments:
        train(run.record, folder, Segment(*segment), Images.of(run.record.dataset.load()), CPU)
    return folder


def files(folder):
    """The snapshots of a run's folder by their places in it."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in (folder / "snapshots").rglob("*.safetensors")}


def test_they_are_those_of_separate_trainings_to_the_bit(plan_of, tmp_path):
    together = train_ect(plan_of(EMA), tmp_path, (0, 8, 4))
    assert set(files(together)) == {
        f"snapshots/{folder}000000{iteration}.safetensors"
        for folder in ("", "ema-power0.1/", "ema-0.5/")
        for iteration in (4, 8)
    }
    for name, ema in zip(NAMES, EMA, strict=True):
        alone = train_ect(plan_of(ema), tmp_path, (0, 8, 4))
        assert alone != together
        for iteration in (4, 8):
            tensors, _ = weights.read(paths.snapshot(together, iteration, name), "snapshot", together.name)
            others, _ = weights.read(paths.snapshot(alone, iteration), "snapshot", alone.name)
            assert tensors.keys() == others.keys()
            assert all(torch.equal(tensors[key], others[key]) for key in others), (name, iteration)


def test_one_segment_or_two_or_killed_between_same_bytes(plan_of, tmp_path):
    plan = plan_of(EMA)
    whole = files(train_ect(plan, tmp_path / "whole", (0, 40, 10)))
    assert len(whole) == 12
    assert files(train_ect(plan, tmp_path / "cut", (0, 20, 10), (20, 40, 10))) == whole
    folder = prepare(plan.run("ect", 4, 0), tmp_path / "killed")
    command = ["train", paths.run_record(folder), "--stop", 40, "--snapshot-every", 10, "--device", "cpu"]
    command += ["--threads", 1, "--resume-seconds", 0.001, "--log-every", 1]
    killed = forked.Started(*command)
    log = paths.resume_folder(folder) / "log.csv"
    forked.wait_until(lambda: log.exists() and "\n25," in log.read_text())
    killed.kill()
    killed.communicate()
    assert killed.returncode == -signal.SIGKILL
    assert not files(folder)
    finished = forked.Started(*command)
    _, errors = finished.communicate()
    assert finished.returncode == 0, errors
    assert "resuming at iteration" in errors
    kept = files(folder)
    assert kept.keys() == whole.keys()
    for place in whole:  # but for the commit that trained, which only the command knows
        tensors, others = (
            weights.read(root / place, "snapshot")[0] for root in (folder, tmp_path / "whole" / folder.name)
        )
        assert all(torch.equal(tensors[key], others[key]) for key in others), place


def test_without_the_snapshot_of_one_average_the_segment_is_trained_again(plan_of, tmp_path, capsys):
    run = plan_of(EMA).run("ect", 4, 0)
    folder = prepare(run, tmp_path)
    command = ["train", paths.run_record(folder), "--stop", 2000, "--snapshot-every", 10, "--device", "cpu"]
    stopped = forked.Started(*command, "--threads", 1, "--log-every", 1)
    log = paths.resume_folder(folder) / "log.csv"
    forked.wait_until(lambda: log.exists() and "\n15," in log.read_text())
    stopped.send_signal(signal.SIGTERM)
    stopped.communicate()

    def resumed_at():
        state = TrainingState(build_network(run.record), Optimiser.of(run.record.training), run.name)
        UnderWay(folder, Segment(0, 2000, 10), run.record.averages, True, ALONE, None).begin(state)
        return state.iteration

    assert resumed_at() >= 15
    paths.snapshot(paths.resume_folder(folder), 10, "0.5").unlink()
    assert resumed_at() == 0
    assert "ema-0.5/0000010.safetensors: is gone" in capsys.readouterr().err
    assert not list(paths.resume_folder(folder).rglob("0*.safetensors"))


def test_names_tell_lists_apart_and_leave_single_averages_alone(plan_of):
    def name(ema):
        return plan_of(ema).run("ect", 4, 0).name

    assert name([0.9]) == name(0.9)
    assert len({name(ema) for ema in (0.9, EMA, EMA[:2], EMA[::-1], [*EMA, 0.99])}) == 5


def test_weights_upstream_may_be_of_a_named_average(tiny, tmp_path):
    methods = {"ect": {"ema": EMA}, "tcm": {"loss": "tcm", "teacher": "ect", "t_boundary": 1.0}}
    change = {"batch_sizes": [4], "figures": {}, "tables": {}}

    def start(**options):
        named = {**methods, "tcm": {**methods["tcm"], **options}}
        return Plan(load([tiny], {**change, "methods": named})).run("tcm", 4, 0)

    first, other = start(), start(teacher_ema={"power": 0.1})
    assert first.name != other.name
    weights_upstream = other.record.upstream["start"]
    assert isinstance(weights_upstream, Snapshot)
    assert weights_upstream.path.parent.name == "ema-power0.1"
    assert parse_weights(weights_upstream.content(), "here").name == weights_upstream.name
    assert start(teacher_ema=0.9).name == first.name
    with pytest.raises(
        UserError, match=r"methods.tcm.teacher_ema = '0.7': ect keeps no such average; did you mean 0.9\? choose"
    ):
        start(teacher_ema=0.7)


def test_a_snapshot_in_the_place_of_another_average_is_refused(plan_of, tmp_path):
    folder = train_ect(plan_of(EMA), tmp_path, (0, 4, 4))
    first, power, constant = (paths.snapshot(folder, 4, name) for name in NAMES)
    for place, file in ((power, constant.read_bytes()), (first, constant.read_bytes()), (power, first.read_bytes())):
        place.write_bytes(file)
        with pytest.raises(UserError, match="holds another average"):
            weights.read(place, "snapshot")


def test_estimates_and_status_count_every_average(plan_of, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    plan = plan_of(EMA)
    several, one = estimate(plan), estimate(plan_of(0.9))
    # Two more averages; a job for each segment, four snapshots, two numbers of steps, two repeats of 32 samples.
    assert several.scoring_jobs - one.scoring_jobs == 2 * 2
    assert several.images_to_sample - one.images_to_sample == 2 * 4 * 2 * 2 * 32
    run = plan.run("ect", 4, 0)
    expected = bytes_left(plan)[run.name]
    train_ect(plan, run.folder.parent, (0, 4, 2), (4, 8, 2))
    written = sum(path.stat().st_size for path in run.folder.rglob("*.safetensors"))
    assert written == pytest.approx(expected, rel=0.2)
    assert run.name not in bytes_left(plan)

    def state():
        return next(status.state for status in statuses(plan) if status.name == run.name)

    assert (state(), note_of_missing_snapshots(plan)) == ("done", "")
    gone = paths.snapshot(run.folder, 4, "power0.1")
    gone.unlink()
    assert state() == "not running"
    assert f"the first {gone};" in note_of_missing_snapshots(plan)
