"""Training curves from logs."""

import numpy as np
import pytest
from PIL import Image

from ayt import cli
from ayt.base import paths
from ayt.base.errors import UserError
from ayt.experiment import load
from ayt.plan.plan import Plan
from ayt.reporting.training_curves import draw_training, read_log

HEAD = "iteration,images,loss,distance,gradient_norm,images_per_second,gpus,peak_memory_mb\n"


@pytest.fixture
def run(tiny, tmp_path, monkeypatch):
    """A run whose first segment is finished, and whose second is under way: its last row is being written."""
    monkeypatch.chdir(tmp_path)
    run = Plan(load([tiny])).trained[0]
    (run.folder / "logs").mkdir(parents=True)
    paths.resume_folder(run.folder).mkdir()
    paths.run_record(run.folder).write_text(run.record.text)
    paths.training_log(run.folder, 4).write_text(HEAD + "2,8,4,2,1,10,0,5\n4,16,3,1.5,1,20,0,5\n")
    (paths.resume_folder(run.folder) / "log.csv").write_text(HEAD + "6,24,2,1,0.5,20,0,5\n8,32,1.")
    return run


def test_rows_of_all_segments_but_for_the_one_being_written(run):
    rows = read_log(run.folder)
    assert rows["iteration"].tolist() == [2, 4, 6]
    assert rows["loss"].tolist() == [4, 3, 2]


def test_a_picture_of_runs_and_their_folders(run, tmp_path, capsys):
    assert cli.main(["plot-log", str(run.folder), str(paths.run_record(run.folder)), "--output", "curves.png"]) == 0
    assert capsys.readouterr().out == "curves.png\n"
    first = np.array(Image.open("curves.png"))
    assert first.shape[0] > 400 and len(np.unique(first)) > 50
    (paths.resume_folder(run.folder) / "log.csv").write_text(HEAD + "6,24,9,1,0.5,20,0,5\n")
    draw_training({run.folder: run.record}, tmp_path / "curves.png")
    assert (np.array(Image.open("curves.png")) != first).any()


def test_no_log_yet_is_one_line(run):
    paths.training_log(run.folder, 4).unlink()
    (paths.resume_folder(run.folder) / "log.csv").write_text(HEAD)
    with pytest.raises(UserError, match=f"{run.name}: has no training log yet"):
        read_log(run.folder)


def test_mistakes(run, capsys):
    assert cli.main(["plot-log", "nowhere/run.yaml"]) == 1
    assert "error: nowhere/run.yaml: no such file" in capsys.readouterr().err
    assert cli.main(["plot-log", "runs/ect-*"]) == 1  # as a shell leaves what matches nothing
    assert "error: runs/ect-*/run.yaml: no such file" in capsys.readouterr().err
    assert cli.main(["plot-log", str(run.folder), "--output", "curves.pdf"]) == 1
    assert "--output curves.pdf: must end in .png" in capsys.readouterr().err
