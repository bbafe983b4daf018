"""Two clones of the repository and one results folder."""

import json
import os
import shutil
import signal
import socket

import pytest
from workflows import Workflow

from ayt.base.errors import UserError
from ayt.base.results_lock import SILENT_SECONDS, ResultsLock


def test_the_second_says_who_holds_it(tmp_path):
    first = ResultsLock(tmp_path / "results")
    first.take()
    (tmp_path / "clone").symlink_to(tmp_path / "results")
    who = rf"clone: another workflow works here \(\w+, process {os.getpid()} on {socket.gethostname()}\); wait until"
    with pytest.raises(UserError, match=who):
        ResultsLock(tmp_path / "clone").take()
    first.release()
    second = ResultsLock(tmp_path / "clone")
    second.take()
    second.release()
    second.release()
    assert not (tmp_path / "results/.workflow.json").exists()


def test_who_was_killed_holds_nothing(tmp_path):
    heard, said = os.pipe()
    child = os.fork()
    if not child:
        ResultsLock(tmp_path).take()
        os.write(said, b"!")
        signal.pause()
    os.read(heard, 1)
    with pytest.raises(UserError, match=f"process {child} on"):
        ResultsLock(tmp_path).take()
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert (tmp_path / ".workflow.json").exists()
    ResultsLock(tmp_path).take()
    assert json.loads((tmp_path / ".workflow.json").read_text())["pid"] == os.getpid()


def test_another_machines_signs_of_life_count_where_its_locks_are_not_seen(tmp_path):
    file = tmp_path / ".workflow.json"
    file.write_text('{"user": "me", "pid": 7, "host": "elsewhere"}')
    with pytest.raises(UserError, match="me, process 7 on elsewhere"):
        ResultsLock(tmp_path).take()
    now = file.stat().st_mtime
    os.utime(file, (now, now - SILENT_SECONDS - 1))
    lock = ResultsLock(tmp_path)
    lock.take()
    file.write_text('{"user": "me", "pid": 8, "host": "elsewhere"}')  # it took this one for dead in turn
    lock.release()
    assert file.exists()


@pytest.mark.parametrize("damage", [b"", b"\xff\xfe", b"[1]"])
def test_a_damaged_note_of_a_dead_holder_stops_nobody(tmp_path, damage):
    (tmp_path / ".workflow.json").write_bytes(damage)
    lock = ResultsLock(tmp_path)
    lock.take()
    lock.release()


def test_a_results_folder_that_cannot_be_written_to_is_one_line(tmp_path):
    (tmp_path / "results").write_text("")
    with pytest.raises(UserError, match=r"results/\.workflow\.lock: cannot be written: (Not a directory|File exists)"):
        ResultsLock(tmp_path / "results").take()


def test_a_workflow_leaves_what_another_clones_workflow_works_on(tiny, tmp_path):
    (tmp_path / "shared").mkdir()
    workflow = Workflow(tmp_path / "clone")
    workflow.folder.mkdir()
    (workflow.folder / "results").symlink_to(tmp_path / "shared")
    shutil.copy(tiny, workflow.folder)
    lock = ResultsLock(tmp_path / "shared")
    lock.take()
    try:
        assert workflow.planned(tiny)  # looking is free
        refused = workflow.run(tiny)
    finally:
        lock.release()
    assert refused.returncode == 1
    assert "results: another workflow works here (" in refused.stderr + refused.stdout
    assert "Traceback" not in refused.stderr
    assert {path.name for path in (tmp_path / "shared").iterdir()} == {".workflow.lock"}
