"""The ledger: who owns what, and what is left of it after a crash. And the files that go with jobs."""

import json
import os
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

import pytest

from snakemake_executor_plugin_submitit import logs
from snakemake_executor_plugin_submitit.cluster import Submitted
from snakemake_executor_plugin_submitit.files import Files
from snakemake_executor_plugin_submitit.identity import Identity, _canonical, shorten
from snakemake_executor_plugin_submitit.ledger import Entry, Ledger, LedgerError


def entry(folder, job="7", cluster="slurm"):
    identity = Identity(frozenset({f"/out/{job}"}), "f")
    return Entry(Submitted(job, "n", folder / "0123456789ab", 1.0), identity, 1, cluster, "here")


def ids(ledger):
    return [entry.job.id for entry in ledger.entries()]


def ledger(folder, workdir="/work/one", cluster="slurm"):
    return Ledger(folder, workdir, cluster)


def killed(ledger):
    """What a process does to its locks when it dies."""
    ledger._guard.close()


def test_what_a_dead_snakemake_left_is_taken_over_by_one(tmp_path):
    first = ledger(tmp_path)
    first.note_submitting("a")
    first.note_submitted("a", [entry(tmp_path), entry(tmp_path, "8")])
    first.note_submitting("b")
    first.note_ended([entry(tmp_path)])
    killed(first)
    second, third = ledger(tmp_path), ledger(tmp_path)
    assert (ids(second), second.unanswered) == (["8"], {"b": "slurm"})
    assert second.entries() == [entry(tmp_path, "8")]
    assert (ids(third), third.unanswered) == ([], {})


def test_a_living_snakemakes_jobs_are_its_own(tmp_path):
    first = ledger(tmp_path)
    first.note_submitted("a", [entry(tmp_path)])
    assert ids(ledger(tmp_path)) == []


def test_another_working_folders_jobs_are_not_seen(tmp_path):
    first = ledger(tmp_path)
    first.note_submitted("a", [entry(tmp_path)])
    killed(first)
    assert ids(ledger(tmp_path, "/work/two")) == []
    assert ids(ledger(tmp_path)) == ["7"]


def test_the_lock_is_gone_with_its_process(tmp_path):
    code = f"""
import os, sys
sys.path[:0] = {[str(folder) for folder in Path(__file__).parents[:2]]!r}
from test_plugin_ledger import entry, ledger
from pathlib import Path
ledger(Path({str(tmp_path)!r})).note_submitted("a", [entry(Path({str(tmp_path)!r}))])
os.kill(os.getpid(), 9)
"""
    subprocess.run([sys.executable, "-c", code], check=False)
    assert ids(ledger(tmp_path)) == ["7"]


def test_a_submission_under_way_is_not_unanswered(tmp_path):
    own = ledger(tmp_path)
    own.note_submitting("a")
    assert own.unanswered == {}
    own.no_answer("a")
    assert own.unanswered == {"a": "slurm"}


def test_a_line_cut_in_its_middle_is_passed_over(tmp_path):
    first = ledger(tmp_path)
    first.note_submitted("a", [entry(tmp_path)])
    with first._path.open("a") as file:
        file.write('{"event": "ended", "jobs": [["slu')
    killed(first)
    assert ids(ledger(tmp_path)) == ["7"]


def test_another_format_is_refused_in_one_line(tmp_path):
    first = ledger(tmp_path)
    killed(first)
    first._path.write_text('{"format": 3}\n')
    with pytest.raises(LedgerError, match=r"format 3, but this version of the plugin reads 2"):
        ledger(tmp_path)


def test_a_long_ledger_is_read_in_seconds_and_written_short(tmp_path):
    first = ledger(tmp_path)
    first.note_submitted("a", [entry(tmp_path)])
    killed(first)
    with first._path.open("a") as file:
        for number in range(225_000):
            rows = [entry(tmp_path, f"{number}_x").to_json()]
            file.write(json.dumps({"event": "submitted", "token": "t", "jobs": rows}) + "\n")
            file.write(json.dumps({"event": "ended", "jobs": [["slurm", f"{number}_x"]]}) + "\n")
    begin = time.monotonic()
    second = ledger(tmp_path)
    assert time.monotonic() - begin < 30
    assert (ids(second), len(second._path.read_text().splitlines())) == (["7"], 2)


def test_a_ledger_does_not_grow_with_what_is_past(tmp_path):
    own = ledger(tmp_path)
    for number in range(1500):
        own.note_submitted(f"t{number}", [entry(tmp_path, str(number))])
        own.note_ended([entry(tmp_path, str(number))])
    assert len(own._path.read_text().splitlines()) < 2100


def test_a_ledger_with_nothing_to_say_is_removed(tmp_path):
    own = ledger(tmp_path)
    own.note_submitted("a", [entry(tmp_path)])
    own.note_ended([entry(tmp_path)])
    own.close()
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_files_of_a_batch_go_with_its_last_success(tmp_path):
    folder = tmp_path / "0123456789ab"
    folder.mkdir()
    jobs = [entry(tmp_path, "7_0"), entry(tmp_path, "7_1")]
    for job in ("7_0", "7_1"):
        for name in ("submitted.pkl", "0_result.pkl", "0_log.out", "0_log.err"):
            (folder / f"{job}_{name}").touch()
    files = Files(tmp_path, 10)
    files.expect(jobs)
    files.remove(jobs[0], tmp_path / "x")
    assert len(list(folder.iterdir())) == 4
    files.remove(jobs[1], tmp_path / "x")
    assert not folder.exists()


def test_old_files_are_removed_but_not_those_of_jobs_that_may_go_on(tmp_path):
    for name in ("0123456789ab", "ba9876543210", "keep"):
        (tmp_path / name).mkdir()
        os.utime(tmp_path / name, (0, 0))
    Files(tmp_path, 10).remove_old([tmp_path / "ba9876543210"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ba9876543210", "keep"]


def test_of_a_huge_log_the_end_is_read(tmp_path):
    log = tmp_path / "log"
    with log.open("wb") as file:
        file.truncate(1_500_000_000)
        file.seek(0, os.SEEK_END)
        file.write(b"\nwhat is wrong\n")
    tracemalloc.start()
    shown = logs.tail(log, 1)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert shown.endswith("    what is wrong\n") and peak < 2_000_000


def test_names_have_room_in_a_files_name():
    long = shorten("a" + "字" * 180)
    assert len(long.encode()) <= 150 and long != shorten("a" + "字" * 181)
    assert shorten("rule.a b/c") == "rule.a-b-c"


def test_equal_params_have_equal_texts():
    assert _canonical({"a": {1, "x"}}) == _canonical({"a": {"x", 1}})
    assert _canonical(1) != _canonical("1")
    assert _canonical([1, 2]) == _canonical((1, 2))
