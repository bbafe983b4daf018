"""Files of a run that were damaged, renamed, removed or left half-written; places that cannot be written to."""

import json
import struct

import pytest
import torch

from ayt.base import paths, weights
from ayt.base.errors import UserError
from ayt.base.files import write_text
from ayt.base.images import Images
from ayt.base.processes import ALONE
from ayt.experiment import load
from ayt.operations.estimate import estimate
from ayt.plan.plan import Plan
from ayt.plan.runs import Segment
from ayt.reporting.costs import read_costs
from ayt.training import work
from ayt.training.iteration import Passes
from ayt.training.lease import Lease
from ayt.training.log import COLUMNS, CsvLog, open_sinks, read_rows
from ayt.training.loop import train
from ayt.training.recording import Trainer
from ayt.training.state import Optimiser, TrainingState
from ayt.training.under_way import UnderWay

CPU = torch.device("cpu")
WHOLE = Segment(0, 8, 2)


@pytest.fixture
def run(tiny):
    return Plan(load([tiny])).pretrained


def train_here(run, folder, segment=WHOLE):
    train(run.record, folder, segment, Images.of(run.record.dataset.load()), CPU, log_every=1)


def stop_at(run, folder, iteration):
    """What a training leaves that is killed after it saved its state."""
    network, called, objective, auxiliary = work.prepare(run.record, folder, CPU)
    state = TrainingState(network, Optimiser.of(run.record.training), run.name, auxiliary=auxiliary)
    under_way = UnderWay(folder, WHOLE, run.record.averages, False, ALONE, None)
    under_way.begin(state)
    data = Images.of(run.record.dataset.load())
    passes = Passes(objective, [slice(0, run.record.batch_size)], called)
    trainer = Trainer(state, passes, run.record, data)
    with under_way.logs(state, []) as log:
        while state.iteration < iteration:
            trainer.advance()
            log({**dict.fromkeys(COLUMNS, 1.0), "iteration": state.iteration})
            if state.iteration % WHOLE.every == 0:
                under_way.save_snapshots(state)
    under_way.save(state)


@pytest.fixture
def stopped(run, tmp_path):
    folder = tmp_path / run.name
    stop_at(run, folder, 5)
    return folder


def flip_last_byte(path):
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def test_files_know_the_numbers_that_were_written(tmp_path):
    path = tmp_path / "a.safetensors"
    tensors = {"a": torch.arange(3.0), "steps": torch.tensor(2), "none": torch.zeros(0), "b": torch.ones(2).bfloat16()}
    weights.write(path, "snapshot", "run", 1, tensors, commits=["abc"])
    assert weights.read(path, "snapshot", "run")[0].keys() == tensors.keys()
    whole = path.read_bytes()
    flip_last_byte(path)
    with pytest.raises(UserError, match=r"a\.safetensors: damaged: .*; delete it to have it made again$"):
        weights.read(path, "snapshot", "run")
    path.write_bytes(whole.replace(b"abc", b"abd"))
    with pytest.raises(UserError, match="damaged"):
        weights.read(path, "snapshot", "run")
    for damaged in (whole.replace(b'\\"format\\"', b'\\"farmat\\"'), whole.replace(b'\\"format\\":', b'\\"format\\";')):
        path.write_bytes(damaged)
        with pytest.raises(UserError, match="damaged"):
            weights.metadata(path, "snapshot", "run")


def test_files_of_older_versions_have_no_digest_and_are_read(tmp_path):
    path = tmp_path / "a.safetensors"
    weights.write(path, "snapshot", "run", 1, {"a": torch.ones(2)})
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    metadata = json.loads(header["__metadata__"]["ayt"])
    del metadata["digest"]
    header["__metadata__"]["ayt"] = json.dumps(metadata)
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + content[8 + length :])
    assert weights.read(path, "snapshot", "run")[0]["a"].tolist() == [1, 1]


def test_a_renamed_snapshot_is_not_taken_for_another(run, tmp_path):
    folder = tmp_path / run.name
    train_here(run, folder)
    copy = paths.snapshot(folder, 2)
    copy.write_bytes(paths.snapshot(folder, 8).read_bytes())
    with pytest.raises(UserError, match=r"0000002\.safetensors: is named 2 but holds iteration 8; delete it"):
        work.load_denoiser(run.record, copy)
    elsewhere = tmp_path / "model.safetensors"
    elsewhere.write_bytes(copy.read_bytes())
    work.load_denoiser(run.record, elsewhere)


def test_parts_that_a_kill_left_are_removed(run, stopped):
    left = [
        paths.resume_folder(stopped) / ".state.123.part.safetensors",
        stopped / "snapshots" / ".1.9.part.safetensors",
    ]
    for file in left:
        write_text(file, "half")
    train_here(run, stopped)
    assert not list(stopped.rglob(".*.part*"))


@pytest.mark.parametrize("damage", [b"\xff\xfe\x00\x80" * 40, b"\xb2,\xb2\n5\n\n1,2,3,4,5,6,7,8,9\n"])
def test_a_damaged_log_stops_no_training(run, stopped, damage):
    log = paths.resume_folder(stopped) / "log.csv"
    whole = log.read_bytes()
    log.write_bytes(whole + damage)
    train_here(run, stopped)
    rows = read_rows(paths.training_log(stopped, 8))
    assert [row["iteration"] for row in rows] == [1, 2, 3, 4, 5, 6, 7, 8]


def test_a_missing_log_throws_no_state_away(run, stopped, capsys):
    (paths.resume_folder(stopped) / "log.csv").unlink()
    train_here(run, stopped)
    errors = capsys.readouterr().err
    assert "log.csv: is gone; the log begins anew at iteration 5" in errors
    assert "resuming at iteration 5" in errors
    assert [row["iteration"] for row in read_rows(paths.training_log(stopped, 8))] == [6, 7, 8]


def test_what_was_kept_is_published_whole_or_not_at_all(run, stopped, capsys):
    kept = paths.resume_folder(stopped) / "snapshots" / "0000004.safetensors"
    flip_last_byte(kept)
    with pytest.raises(UserError, match=r"0000004\.safetensors: damaged: .*; delete it"):
        train_here(run, stopped)
    assert not paths.snapshot(stopped, 4).exists()
    kept.unlink()
    train_here(run, stopped)
    assert f"0000004.safetensors: is gone; {run.name} is trained again from iteration 0" in capsys.readouterr().err
    weights.read(paths.snapshot(stopped, 4), "snapshot", run.name)


def test_logs_keep_their_rows_as_they_are(tmp_path):
    path = tmp_path / "log.csv"
    rows = ["2,8,0.5,1.25e-05,3,100.5,0,93.1", "4,16,nan,1,3,1e+06,0,93.1"]
    path.write_text("\n".join([",".join(COLUMNS), *rows, "6,24,1,1,1"]))
    CsvLog(path, 4).close()
    assert path.read_text().splitlines() == [",".join(COLUMNS), *rows]


def test_damaged_logs_cost_nobody_a_table(tiny, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    plan = Plan(load([tiny]))
    run = plan.trained[0]
    write_text(paths.run_record(run.folder), run.record.text)
    for segment in run.segments:
        log = paths.training_log(run.folder, segment.stop)
        log.parent.mkdir(exist_ok=True)
        log.write_bytes(b"\x00\xff,\x01\n")
    assert read_costs(plan).empty
    assert estimate(plan).runs[-1].images_per_second is None


def test_places_that_cannot_be_written_to_are_one_line(tmp_path):
    """A file stands where a folder should: nobody may write there, root neither."""
    (tmp_path / "results").write_text("")
    place = tmp_path / "results" / "run" / "resume"
    with pytest.raises(UserError, match=r"results/run/resume: cannot be written: Not a directory"):
        Lease(place, take_over=False)
    with pytest.raises(UserError, match=r"a\.txt: cannot be written: Not a directory"):
        write_text(place / "a.txt", "")


def test_a_sink_that_cannot_be_opened_is_one_line(tmp_path):
    (tmp_path / "tensorboard").write_text("")
    with pytest.raises(UserError, match=r"^execution\.sinks: tensorboard cannot be opened: \w+Error: [^\n]*$"):
        open_sinks(["tensorboard"], tmp_path, 0)
