"""The training loop: the same bytes however it is cut or interrupted, and what it does when something is wrong."""

import fcntl
import os
import re
import resource
import signal
import subprocess
from contextlib import contextmanager

import forked
import pytest
import torch
import torch._inductor.config
from conftest import BIN

from ayt.base import paths, weights
from ayt.base.errors import UserError
from ayt.base.files import write_beside, write_text
from ayt.base.images import Images
from ayt.base.processes import ALONE
from ayt.base.source import source_commit
from ayt.experiment import load
from ayt.plan.plan import Plan
from ayt.plan.runs import Segment
from ayt.reporting.scores import read_failure
from ayt.training import lease, work
from ayt.training.lease import Lease, LeaseLostError
from ayt.training.loop import train
from ayt.training.state import MovingAverage, Optimiser, TrainingState, learning_rate
from ayt.training.under_way import UnderWay

CPU = torch.device("cpu")


@pytest.fixture
def plan(tiny):
    return Plan(load([tiny]))


def prepare(run, root):
    """A run's folder with its record."""
    folder = root / run.name
    write_text(paths.run_record(folder), run.record.text)
    return folder


def train_here(run, root, *segments, **options):
    folder = prepare(run, root)
    for segment in segments:
        train(run.record, folder, Segment(*segment), Images.of(run.record.dataset.load()), CPU, **options)
    return folder


def train_upstream(plan, run, root):
    for snapshot in run.record.upstream.values():
        other = plan.runs[snapshot.run.name]
        train_here(other, root, (0, other.iterations, other.iterations))


def bytes_at(folder, iteration):
    return paths.snapshot(folder, iteration).read_bytes()


@pytest.mark.parametrize("method", ["ect", "ayt"])
def test_one_segment_or_four_same_bytes(plan, tmp_path, method):
    run = next(run for run in plan.trained if run.name.startswith(method))
    for root in (tmp_path / "one", tmp_path / "four"):
        train_upstream(plan, run, root)
    one = train_here(run, tmp_path / "one", (0, 8, 4))
    four = train_here(run, tmp_path / "four", (0, 2, 2), (2, 4, 2), (4, 6, 2), (6, 8, 2), log_every=3)
    assert bytes_at(one, 4) == bytes_at(four, 4)
    assert bytes_at(one, 8) == bytes_at(four, 8)
    tensors = [weights.read(paths.state(folder, 8), "state")[0] for folder in (one, four)]
    assert all(torch.equal(tensors[0][name], tensors[1][name]) for name in tensors[0])


def test_every_kind_of_run_learns(tiny, tmp_path):
    overrides = {
        "methods": {
            "l1": {},
            "l2": {},
            "hybrid": {"ramp": 4, "lambda": 0.5},
            "label_features": {},
        },
        "training": {"iterations": 2, "segment": 2, "dropout": 0.2},
        "batch_sizes": [4],
    }
    plan = Plan(load([tiny], overrides))
    for run in plan.runs.values():
        folder = train_here(run, tmp_path, (0, run.iterations, run.iterations))
        tensors, metadata = weights.read(paths.snapshot(folder, run.iterations), "snapshot", run.name)
        assert metadata["iteration"] == run.iterations
        assert all(torch.isfinite(tensor).all() for tensor in tensors.values())
        log = paths.training_log(folder, run.iterations).read_text().splitlines()
        assert log[0] == "iteration,images,loss,distance,gradient_norm,images_per_second,gpus,peak_memory_mb"
        assert log[-1].startswith(f"{run.iterations},{run.iterations * run.record.batch_size},")


@pytest.mark.parametrize("method", ["ect", "ayt", "l1"])
def test_a_batch_in_parts_gives_the_same_weights_but_for_rounding(tiny, tmp_path, method):
    training = {"iterations": 4, "segment": 4, "snapshot_every": 4, "dropout": 0.2}
    plan = Plan(load([tiny], {"methods": {method: {}}, "training": training, "batch_sizes": [7]}))
    (run,) = [run for run in plan.trained if run.record.training.name == method]
    for root in (tmp_path / "whole", tmp_path / "parts"):
        train_upstream(plan, run, root)
    whole, parts = (
        weights.read(paths.snapshot(train_here(run, tmp_path / name, (0, 4, 4), **options), 4), "snapshot")[0]
        for name, options in (("whole", {}), ("parts", {"microbatch": 3}))
    )
    before = weights.read(paths.snapshot(tmp_path / "whole" / plan.pretrained.name, 8), "snapshot")[0]
    moved = sum((whole[name] - before[name]).abs().sum() for name in whole)
    apart = sum((whole[name] - parts[name]).abs().sum() for name in whole)
    assert 0 < apart < 1e-3 * moved


# Compiled here, and without the instructions of this CPU: their headers take most of a minute.
@torch._inductor.config.patch({"compile_threads": 1, "cpp.simdlen": 1})
def test_compiled_gives_the_same_weights_but_for_rounding(tiny, tmp_path):
    """Both passes share their dropout masks, compiled or not: other masks would show."""
    training = {"iterations": 3, "segment": 3, "snapshot_every": 3, "dropout": 0.5, "lr": 1e-3}
    plan = Plan(load([tiny], {"methods": {"ect": {}}, "training": training, "batch_sizes": [4]}))
    run = next(run for run in plan.trained if run.record.training.name == "ect")
    found = []
    for name, options in (("plain", {}), ("compiled", {"compiled": True}), ("first", {"channels_last": False})):
        train_upstream(plan, run, tmp_path / name)
        folder = train_here(run, tmp_path / name, (0, 3, 3), **options)
        found.append(weights.read(paths.snapshot(folder, 3), "snapshot")[0])
    start = weights.read(paths.snapshot(tmp_path / "plain" / plan.pretrained.name, 8), "snapshot")[0]
    moved = sum((found[0][name] - start[name]).abs().sum() for name in start)
    for other in found[1:]:
        assert sum((found[0][name] - other[name]).abs().sum() for name in start) < 1e-3 * moved


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_precision_is_part_of_a_run(tiny, tmp_path, precision):
    overrides = {"training": {"precision": precision, "iterations": 2, "segment": 2}, "batch_sizes": [4]}
    plan, other = Plan(load([tiny], overrides)), Plan(load([tiny], {"batch_sizes": [4]}))
    run = next(run for run in plan.trained if run.record.training.name == "ayt")
    assert run.name not in other.runs
    train_upstream(plan, run, tmp_path)
    folder = train_here(run, tmp_path, (0, 2, 2))
    tensors, _ = weights.read(paths.snapshot(folder, 2), "snapshot", run.name)
    assert {tensor.dtype for tensor in tensors.values()} == {torch.float32}


def test_the_loss_falls(tiny, tmp_path):
    pretrain = {"iterations": 80, "warmup": 5, "batch_size": 128, "lr": 5e-3}
    run = Plan(load([tiny], {"start": {"pretrain": pretrain}})).pretrained
    folder = train_here(run, tmp_path, (0, 80, 80), log_every=8)
    rows = [line.split(",") for line in paths.training_log(folder, 80).read_text().splitlines()[1:]]
    distances = [float(row[3]) for row in rows]
    assert max(distances[-2:]) < min(distances[:2])


def test_every_iteration_has_random_numbers_of_its_own(plan, tmp_path, monkeypatch):
    prepare_work, seen = work.prepare, []

    def watched(*arguments):
        prepared = prepare_work(*arguments)

        def watched_objective(images, labels, draws):
            seen.append((draws.seed, draws.iteration))
            return prepared.objective(images, labels, draws)

        return prepared._replace(objective=watched_objective)

    monkeypatch.setattr(work, "prepare", watched)
    train_here(plan.pretrained, tmp_path, (0, 4, 4))
    assert seen == [(0, 0), (0, 1), (0, 2), (0, 3)]


def test_learning_rate_warms_up_and_decays(plan):
    assert Optimiser.of(plan.pretrained.record.training) == Optimiser(1e-3, 200, 8, (MovingAverage(0.999),))
    settings = Optimiser(lr=1.0, warmup=4, decay=8)
    assert [learning_rate(i, settings) for i in (0, 3, 4, 8)] == [0.25, 0.625, 0.5, 0]
    assert learning_rate(100, settings._replace(decay=None)) == 1


def start(folder, stop, every, *more):
    """A training in a process of its own that writes its resume state after nearly every iteration."""
    command = ["train", paths.run_record(folder), "--stop", stop, "--snapshot-every", every, "--device", "cpu"]
    return forked.Started(*command, "--threads", 1, "--resume-seconds", 0.001, "--log-every", 1, *more)


def wait_for_iteration(folder, iteration):
    log = paths.resume_folder(folder) / "log.csv"
    forked.wait_until(lambda: log.exists() and f"\n{iteration}," in log.read_text())


def test_killed_again_and_again_same_bytes(tiny, tmp_path):
    # As long as the learning rate lasts: weights that no longer change would be the same bytes whatever was lost.
    run = Plan(load([tiny], {"start": {"pretrain": {"iterations": 80, "lr": 0.1}}})).pretrained
    whole = train_here(run, tmp_path / "whole", (0, 80, 20), commit=source_commit())
    folder = prepare(run, tmp_path / "killed")
    kills = int(os.environ.get("AYT_KILLS", "4"))
    for number in range(kills):
        training = start(folder, 80, 20)
        wait_for_iteration(folder, 75 * (number + 1) // (kills + 1))
        training.kill()
        training.communicate()
        assert training.returncode == -signal.SIGKILL
    last = start(folder, 80, 20)
    _, errors = last.communicate()
    assert last.returncode == 0, errors
    for iteration in (20, 40, 60, 80):
        assert bytes_at(folder, iteration) == bytes_at(whole, iteration)
    assert not list(folder.rglob("*.part*"))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR2, signal.SIGINT])
def test_signal_saves_the_state_and_the_same_command_goes_on(plan, tmp_path, number):
    run = plan.pretrained
    folder = prepare(run, tmp_path)
    training = start(folder, 2000, 500, "--resume-seconds", "1000")
    wait_for_iteration(folder, 20)
    training.send_signal(number)
    _, errors = training.communicate(timeout=30)
    assert training.returncode == 128 + number
    assert f"stopped by {number.name}" in errors
    assert "Traceback" not in errors
    _, metadata = weights.read(paths.resume_folder(folder) / "state.safetensors", "state", run.name)
    assert 20 <= metadata["iteration"] < 2000


def test_averages_keep_no_graph_of_their_updates():
    network = torch.nn.Linear(2, 2)
    state = TrainingState(network, Optimiser(lr=0.1, warmup=0, decay=None, averages=(MovingAverage(0.9),)), "run")
    torch.autograd.backward(network(torch.ones(1, 2)).sum())
    state.step()
    assert not any(parameter.requires_grad for parameter in state.average.parameters())


def test_nan_stops_and_keeps_the_last_good_state(tiny, tmp_path):
    run = Plan(load([tiny], {"start": {"pretrain": {"lr": 1e30, "warmup": 0}}})).pretrained
    with pytest.raises(UserError, match=rf"{run.name}: the loss or its gradient is not finite at iteration \d"):
        train_here(run, tmp_path, (0, 8, 8), log_every=1, resume_seconds=0.0001)
    state = paths.resume_folder(tmp_path / run.name) / "state.safetensors"
    tensors, metadata = weights.read(state, "state", run.name)
    assert metadata["iteration"] >= 1
    assert all(torch.isfinite(tensor).all() for tensor in tensors.values())
    iteration, reason = read_failure(tmp_path / run.name)
    assert iteration > metadata["iteration"]
    assert reason == f"the loss or its gradient is not finite at iteration {iteration}"


def test_damaged_and_foreign_files_are_refused(plan, tmp_path):
    run, other = plan.pretrained, plan.trained[0]
    folder = train_here(run, tmp_path, (0, 4, 4))
    state = paths.state(folder, 4)
    whole = state.read_bytes()

    def go_on():
        train_here(run, tmp_path, (4, 8, 4))

    state.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r"0000004\.safetensors: damaged or truncated"):
        go_on()
    state.write_bytes(b"")
    with pytest.raises(UserError, match="damaged or truncated"):
        go_on()
    weights.write(state, "state", other.name, 4, {"network.a": torch.zeros(1)})
    with pytest.raises(UserError, match=f"belongs to run {other.name}, not to {run.name}"):
        go_on()
    weights.write(state, "snapshot", run.name, 4, {"network.a": torch.zeros(1)})
    with pytest.raises(UserError, match="is a snapshot, not a state"):
        go_on()
    weights.write(state, "state", run.name, 4, {"network.a": torch.zeros(1)})
    with pytest.raises(UserError, match="tensors missing for this network"):
        go_on()
    weights.write(state, "state", run.name, 4, {"network.a": torch.zeros(1)}, format=weights.FORMAT + 1)
    with pytest.raises(UserError, match="format 2 is newer than this version's 1"):
        go_on()
    state.unlink()
    with pytest.raises(UserError, match=r"0000004\.safetensors: no such file"):
        go_on()


@contextmanager
def no_space():
    """No file can grow beyond 1000 bytes: not pytest's own output either, so no longer than it takes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)


def test_no_space_left_is_one_line_and_leaves_nothing(tmp_path):
    cannot = pytest.raises(UserError, match=re.escape(f"{tmp_path}/a.safetensors: cannot be written"))
    with cannot, no_space():
        weights.write(tmp_path / "a.safetensors", "snapshot", "run", 1, {"a": torch.zeros(5000)})
    assert not list(tmp_path.iterdir())


def test_a_failed_write_keeps_what_was_there(tmp_path):
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with pytest.raises(RuntimeError), write_beside(path) as beside:
        beside.write_text("new")
        raise RuntimeError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_lease_is_refused_while_another_process_trains(plan, tmp_path, ayt):
    folder = prepare(plan.pretrained, tmp_path)
    training = start(folder, 100_000, 100_000)
    try:
        wait_for_iteration(folder, 5)
        refused = ayt("train", paths.run_record(folder), "--stop", "100000", "--device", "cpu")
        assert refused.returncode == 1
        assert f"is being trained by process {training.pid}" in refused.stderr
        assert len(refused.stderr.splitlines()) == 1
        # a successor that takes over: the first saves its state and leaves
        successor = start(folder, 100_000, 100_000, "--take-over")
        _, errors = training.communicate(timeout=60)
        assert training.returncode == 128 + signal.SIGTERM, errors
        successor.kill()
        _, errors = successor.communicate()
        assert "Traceback" not in errors
    finally:
        training.kill()


def test_a_run_that_is_only_looked_at_is_not_held(tmp_path, monkeypatch):
    (tmp_path / "holder.lock").touch()
    with (tmp_path / "holder.lock").open() as looking:
        fcntl.flock(looking, fcntl.LOCK_SH)
        monkeypatch.setattr(lease.time, "sleep", lambda seconds: looking.close())
        Lease(tmp_path, take_over=False).check()


def test_a_run_of_another_user_cannot_be_taken_over(tmp_path, monkeypatch):
    def refuse(pid, number):
        raise PermissionError

    holder = Lease(tmp_path / "resume", take_over=False)
    monkeypatch.setattr(lease.os, "kill", refuse)
    with pytest.raises(UserError, match=f"^process {os.getpid()} trains this run for another user; only they can stop"):
        Lease(tmp_path / "resume", take_over=True)
    holder.check()


def test_a_training_whose_lease_was_taken_writes_nothing(tmp_path):
    held = Lease(tmp_path / "resume", take_over=False)
    file = tmp_path / "resume" / "lease.json"
    file.write_text(file.read_text().replace('"token": "', '"token": "successor'))
    with pytest.raises(LeaseLostError, match="another process has taken this run over"), held.commit():
        (tmp_path / "harm").touch()
    assert not (tmp_path / "harm").exists()


def test_tensorboard_gets_the_log(plan, tmp_path):
    folder = train_here(plan.pretrained, tmp_path, (0, 4, 4), log_every=2, sinks=["tensorboard"])
    assert list((folder / "tensorboard").glob("events.*"))


def test_another_commits_state_is_warned_of(plan, tmp_path, capsys):
    folder = train_here(plan.pretrained, tmp_path, (0, 2, 2), commit="abc")
    _, metadata = weights.read(paths.state(folder, 2), "state")
    assert metadata["commits"] == ["abc"]
    train_here(plan.pretrained, tmp_path, (2, 4, 2), commit="abc")
    assert "warning" not in capsys.readouterr().err
    train_here(plan.pretrained, tmp_path, (4, 6, 2), commit="def")
    assert "warning: the state was written by commit abc, this is def" in capsys.readouterr().err


def test_a_segment_started_anew_trains_anew(plan, tmp_path):
    """Snakemake removes the outputs and starts the job: what trained before is no source, and is not recorded."""
    folder = train_here(plan.pretrained, tmp_path, (0, 4, 2), commit="abc")
    assert {file.name for file in paths.resume_folder(folder).iterdir() if file.is_file()} <= {
        *("lease.json", "lease.lock", "holder.lock"),
    }
    assert not list(paths.resume_folder(folder).rglob("*.safetensors"))
    before = {file: (file.read_bytes(), file.stat().st_ino) for file in folder.rglob("*.safetensors")}
    for file in before:
        file.unlink()
    train_here(plan.pretrained, tmp_path, (0, 4, 2), commit="def")
    for kind, file in (("state", paths.state(folder, 4)), ("snapshot", paths.snapshot(folder, 2))):
        assert weights.metadata(file, kind)["commits"] == ["def"]
    tensors, _ = weights.read(paths.snapshot(folder, 4), "snapshot")
    assert len(tensors) > 10


def test_commits_of_a_segment_are_those_that_trained_it(plan, tmp_path):
    run = plan.pretrained
    folder = prepare(run, tmp_path)
    stopped = start(folder, 2000, 2000, "--resume-seconds", "0.001")
    wait_for_iteration(folder, 10)
    stopped.send_signal(signal.SIGTERM)
    stopped.communicate(timeout=30)
    metadata = weights.metadata(paths.resume_folder(folder) / "state.safetensors", "state")
    iteration = metadata["iteration"]
    state = TrainingState(work.build_network(run.record), Optimiser.of(run.record.training), run.name)
    under_way = UnderWay(folder, Segment(0, 2000, 2000), run.record.averages, False, ALONE, "def")
    under_way.begin(state)
    assert state.iteration == iteration
    assert state.commits == [*metadata["commits"], "def"]


def test_git_is_asked_before_torch_is_there(plan, tmp_path):
    """Forked from a process with torch, git's would count as much memory again: seen to end jobs on a cluster."""
    folder = prepare(plan.pretrained, tmp_path)
    git = tmp_path / "bin" / "git"
    git.parent.mkdir()
    git.write_text(f"#!/bin/sh\ngrep -c libtorch /proc/$PPID/maps > {tmp_path}/torch\necho abc\n")
    git.chmod(0o755)
    environment = {**os.environ, "PATH": f"{git.parent}:{os.environ['PATH']}"}
    command = [BIN / "ayt", "train", paths.run_record(folder), "--stop", "2", "--device", "cpu"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "torch").read_text() == "0\n"
    _, metadata = weights.read(paths.state(folder, 2), "state")
    assert metadata["commits"] == ["abc"]
