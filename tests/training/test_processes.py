"""Several processes that share one training or scoring: the same weights and scores as one process alone."""

import json
import os
import signal
import socket
from pathlib import Path

import forked
import pandas as pd
import pytest
import torch
from conftest import ROOT

from ayt.base import paths, processes, weights
from ayt.base.errors import UserError
from ayt.base.files import write_text
from ayt.base.processes import Processes
from ayt.experiment import load
from ayt.plan.plan import Plan
from ayt.plan.runs import Segment
from ayt.training.loop import train as train_here
from ayt.training.work import build_auxiliary

CPU = torch.device("cpu")


def start(count, *arguments, cwd):
    """Start ``ayt`` in so many processes, told of each other as a launcher does."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {**os.environ, "WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    options = ("--device", "cpu", "--threads", 1)
    return [
        forked.Started(*arguments, *options, cwd=cwd, env={**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)})
        for rank in range(count)
    ]


def finish(processes):
    """Their exit statuses and what they said."""
    said = [process.communicate(timeout=120)[1] for process in processes]
    return [process.returncode for process in processes], said


def run_ayt(count, *arguments, cwd):
    statuses, said = finish(start(count, *arguments, cwd=cwd))
    assert statuses == [0] * count, said
    return said


@pytest.fixture(scope="module")
def plan():
    tiny = ROOT / "tests" / "experiments" / "tiny.yaml"
    training = {"iterations": 6, "segment": 6, "snapshot_every": 3, "dropout": 0.2}
    methods = {
        "ect": {},
        "ayt": {},
        "ccd": {"ema": [0.9, {"power": 0.1}]},
        "scd": {"tangent_warmup": 3},
        "tcm": {"boundary_share": 0.5},
        "adversarial": {"discriminator": "plain", "share": 1.0},
    }
    plain = {"widths": [8, 8], "convs": [1, 1], "batch_norm": False}
    overrides = {"methods": methods, "training": training, "batch_sizes": [8], "classifiers": {"plain": plain}}
    return Plan(load([tiny], overrides))


@pytest.fixture(scope="module")
def upstream(plan, tmp_path_factory):
    """A folder with everything that AYT's run starts from."""
    root = tmp_path_factory.mktemp("upstream")
    for run in plan.runs.values():
        write_text(root / paths.run_record(run.folder), run.record.text)
    for run in plan.runs.values():
        if run.record.training.stage != "train":
            run_ayt(1, "train", paths.run_record(run.folder), "--stop", run.iterations, cwd=root)
    return root


@pytest.fixture
def folder(upstream, tmp_path):
    for path in upstream.rglob("*"):
        other = tmp_path / path.relative_to(upstream)
        if path.is_dir():
            other.mkdir(parents=True, exist_ok=True)
        else:
            other.hardlink_to(path)
    return tmp_path


def chosen(plan, method="ayt"):
    return next(run for run in plan.trained if run.name.startswith(f"{method}-"))


def trained(root, run, iteration=6):
    return weights.read(root / paths.snapshot(run.folder, iteration), "snapshot", run.name)[0]


def train(count, root, run, *more):
    return run_ayt(count, "train", paths.run_record(run.folder), "--stop", 6, "--snapshot-every", 3, *more, cwd=root)


def distance(one, other):
    return sum((one[name] - other[name]).abs().sum() for name in one)


@pytest.fixture(scope="module")
def alone(plan, upstream):
    """Weights that one process trains, and how far they moved."""
    found = {}
    for method in ("ect", "ayt", "ccd", "scd", "tcm", "adversarial"):  # tcm starts from ect
        run = chosen(plan, method)
        train(1, upstream, run)
        before = weights.read(upstream / paths.snapshot(plan.pretrained.folder, 8), "snapshot")[0]
        found[method] = trained(upstream, run)
        assert distance(found[method], before) > 0
    return {method: (found[method], distance(found[method], before)) for method in found}


def auxiliary(state):
    """The weights in a state of what is trained beside the denoiser."""
    prefix = "auxiliary."
    return {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}


def empty(root, run):
    """Remove what the run's folder has but its record: hard links of a finished one."""
    for path in (root / run.folder).rglob("*"):
        if path.is_file() and path.name != "run.yaml":
            path.unlink()


@pytest.mark.parametrize(
    ("count", "method", "more"),
    [
        *((2, method, ()) for method in ("ect", "ccd", "scd", "tcm", "adversarial")),
        (4, "ayt", ()),
        (2, "ayt", ("--microbatch", 3)),
    ],
)
def test_processes_train_what_one_trains(plan, folder, upstream, alone, count, method, more):
    run = chosen(plan, method)
    empty(folder, run)
    train(count, folder, run, *more)
    expected, moved = alone[method]
    assert distance(trained(folder, run), expected) < 1e-3 * moved
    for average in run.record.averages[1:]:
        places = (root / paths.snapshot(run.folder, 6, average) for root in (folder, upstream))
        assert distance(*(weights.read(path, "snapshot")[0] for path in places)) < 1e-3 * moved
    beside, as_one = (
        auxiliary(weights.read(root / paths.state(run.folder, 6), "state")[0]) for root in (folder, upstream)
    )
    fresh = build_auxiliary(run.record).state_dict()
    assert set(beside) == set(fresh)
    assert distance(beside, as_one) <= 1e-3 * distance(as_one, fresh)
    # The log's losses are those of whole batches.
    logs = [
        pd.read_csv(root / paths.training_log(run.folder, 6)).drop(columns=["images_per_second", "peak_memory_mb"])
        for root in (folder, upstream)
    ]
    pd.testing.assert_frame_equal(*logs, rtol=1e-3)


def test_a_run_goes_on_with_another_number_of_processes(plan, folder, alone):
    run = chosen(plan)
    empty(folder, run)
    record = paths.run_record(run.folder)
    run_ayt(2, "train", record, "--stop", 3, "--snapshot-every", 3, cwd=folder)
    run_ayt(1, "train", record, "--start", 3, "--stop", 6, "--snapshot-every", 3, cwd=folder)
    expected, moved = alone["ayt"]
    assert distance(trained(folder, run), expected) < 1e-3 * moved


def test_a_signal_to_one_of_them_makes_all_save_and_leave(plan, folder):
    """The one that does not write gets it, and the state of all is there to go on from, in one process."""
    run = chosen(plan)
    empty(folder, run)
    arguments = ("train", paths.run_record(run.folder), "--stop", 100_000, "--snapshot-every", 50_000, "--log-every", 1)
    processes = start(2, *arguments, cwd=folder)
    log = folder / paths.resume_folder(run.folder) / "log.csv"
    forked.wait_until(lambda: log.exists() and len(log.read_text().splitlines()) > 3)
    processes[1].send_signal(signal.SIGUSR2)
    statuses, said = finish(processes)
    assert statuses == [128 + signal.SIGUSR2] * 2, said
    _, metadata = weights.read(folder / paths.resume_folder(run.folder) / "state.safetensors", "state", run.name)
    assert metadata["iteration"] == int(log.read_text().splitlines()[-1].split(",")[0])


def test_uneven_batches_and_classifiers_are_refused(plan, tmp_path):
    whole = Segment(0, 8, 8)
    with pytest.raises(UserError, match="a batch of 8 images cannot be divided evenly among 3 processes"):
        train_here(chosen(plan).record, tmp_path, whole, None, CPU, processes=Processes(0, 3))
    classifier = next(run.record for run in plan.runs.values() if run.record.training.stage == "classifier")
    with pytest.raises(UserError, match="its batches cannot be shared; train it in one process"):
        train_here(classifier, tmp_path, whole, None, CPU, processes=Processes(0, 2))


def test_processes_score_what_one_scores(plan, folder):
    """32 samples in batches of 5, so that the last round has fewer batches than processes; all kinds of metrics."""
    scoring = {"metrics": ["frechet", "denoised_frechet"], "denoise": [0.4], "samples": 32, "repeats": 2}
    asked = Plan(load([ROOT / "tests" / "experiments" / "tiny.yaml"], {"evaluation": scoring}))
    run, reference = plan.pretrained, asked.reference
    scores = [*asked.scores_of(run.name)[:1], *asked.denoising_scores_of(run.name)]
    for path, record in [(reference.record, reference), *((score.record(run.folder), score) for score in scores)]:
        write_text(folder / path, record.text)
    run_ayt(1, "reference", reference.record, cwd=folder)
    command = ["score", *(score.record(run.folder) for score in scores), "--iteration", 8]
    found = {}
    for count in (1, 3):
        run_ayt(count, *command, "--batch-size", 5, cwd=folder)
        files = [folder / score.result(run.folder, 8) for score in scores]
        found[count] = [file.read_bytes() for file in files]
        for file in [*files, *(folder / score.kept(run.folder, 8) for score in scores)]:
            file.unlink()
    assert found[1] == found[3]
    sampled, denoised = (json.loads(content)["metrics"] for content in found[1])
    assert set(sampled) >= {"frechet", "kid", "precision", "recall", "density", "coverage", "inception_score"}
    assert set(denoised) == {"denoised_frechet"}
    assert all(metric["mean"] is not None for metric in [*sampled.values(), *denoised.values()])


def listening(pid):
    """The addresses at which a process waits for others, as Linux writes them."""
    inodes = {str(link.readlink()) for link in Path(f"/proc/{pid}/fd").iterdir() if link.is_symlink()}
    found = []
    for table in ("tcp", "tcp6"):
        rows = [line.split() for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]]
        found += [row[1] for row in rows if row[3] == "0A" and f"socket:[{row[9]}]" in inodes]
    return found


def test_the_first_process_listens_at_the_jobs_address_alone(monkeypatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    before = set(listening(os.getpid()))
    for host, count, all_here in (("127.0.0.1", 2, ""), ("localhost", 2, "2")):
        monkeypatch.setenv("LOCAL_WORLD_SIZE", all_here)
        with processes._listen(host, port, count):
            assert {place.partition(":")[0] for place in set(listening(os.getpid())) - before} <= {
                "0100007F",
                "00000000000000000000000001000000",
            }
            assert set(listening(os.getpid())) != before
    # On another machine the name may be another address; PyTorch then listens at all.
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "1")
    assert processes._listen("localhost", port, 2) is None


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"WORLD_SIZE": "4"}, "WORLD_SIZE = 4 in the environment: announces 4 processes, but RANK, MASTER_ADDR and"),
        ({"WORLD_SIZE": "four"}, "WORLD_SIZE = 'four' in the environment: is not a whole number; unset it for one"),
        ({"WORLD_SIZE": "2", "RANK": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}, "do not say how they find "),
        (
            {"WORLD_SIZE": "2", "RANK": "0", "MASTER_ADDR": "no.such.host.invalid", "MASTER_PORT": "9"},
            "find each other: ",
        ),
        ({"WORLD_SIZE": "2", "RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "TAKEN"}, "find each other: "),
    ],
)
def test_stray_variables_of_a_launcher_are_one_line(monkeypatch, variables, message):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        for name in ("WORLD_SIZE", "RANK", "MASTER_ADDR", "MASTER_PORT"):
            value = variables.get(name, "").replace("TAKEN", str(taken.getsockname()[1]))
            monkeypatch.setenv(name, value)
        with pytest.raises(UserError, match=message) as error, processes.join_processes():
            pass
    assert "\n" not in str(error.value)


def test_empty_variables_of_a_launcher_say_nothing(monkeypatch):
    for name in ("WORLD_SIZE", "RANK", "LOCAL_RANK"):
        monkeypatch.setenv(name, "")
    with processes.join_processes() as alone:
        assert (alone.count, processes.local_rank()) == (1, 0)
