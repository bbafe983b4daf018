"""What `ayt status` and `ayt plan` say of a folder, against what is in it."""

import fcntl
import os
import re
import subprocess
import sys
import time

import forked
import pytest
from conftest import ROOT

from ayt import cli
from ayt.base import paths, weights
from ayt.base.errors import UserError
from ayt.base.files import write_text
from ayt.experiment import load, resolved
from ayt.operations.disk import bytes_left
from ayt.operations.estimate import estimate
from ayt.operations.status import statuses
from ayt.plan.plan import Plan
from ayt.plan.scored import read_score
from ayt.reporting.scores import read_failure

HEAD = "iteration,images,loss,distance,gradient_norm,images_per_second\n"


@pytest.fixture
def plan(tiny, tmp_path, monkeypatch):
    """The tiny experiment in a folder where nothing was done."""
    monkeypatch.chdir(tmp_path)
    experiment = load([tiny])
    resolved.write(paths.resolved_experiment("tiny"), experiment)
    return Plan(experiment)


def run_of(plan, method="ect"):
    return next(run for run in plan.trained if run.name.startswith(f"{method}-bs8"))


def status_of(plan, run):
    return next(status for status in statuses(plan) if status.name == run.name)


def write(path, text=""):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def begin(run):
    """A training that is at iteration 6 of 8, at 12 images a second."""
    write_text(paths.run_record(run.folder), run.record.text)
    write(paths.training_log(run.folder, 4), HEAD + "2,16,1,1,1,2\n4,32,1,1,1,4\n")
    write(paths.resume_folder(run.folder) / "log.csv", HEAD + "6,48,1,1,1,12\n8,64,1,")


def test_nothing_was_begun(plan):
    status = status_of(plan, run_of(plan))
    assert (status.iteration, status.iterations, status.state, status.age) == (0, 8, "waiting", None)


def test_a_run_that_somebody_trains(plan):
    run = run_of(plan)
    begin(run)
    assert status_of(plan, run).state == "not running"
    with (paths.resume_folder(run.folder) / "holder.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        status = status_of(plan, run)
    assert (status.state, status.iteration, status.images_per_second) == ("running", 6, 12)
    assert status.seconds_left == pytest.approx(2 * 8 / 12)
    assert 0 <= status.age < 60


def test_a_finished_run_and_its_score(plan):
    run = run_of(plan)
    begin(run)
    for snapshot in run.snapshots:
        write(paths.snapshot(run.folder, snapshot.iteration))
    write(plan.scores_of(run.name)[0].result(run.folder, 4), '{"metrics": {"frechet": {"mean": 3.14159}}}')
    status = status_of(plan, run)
    assert (status.state, status.iteration, status.score) == ("done", 8, "FD (digits features) 3.142 at 4")


def test_a_saved_state_without_a_row_of_the_log_is_a_run_that_began(plan):
    run = run_of(plan)
    assert status_of(plan, run).state == "waiting"
    write(paths.resume_folder(run.folder) / "state.safetensors")
    assert status_of(plan, run).state == "not running"


def test_the_newest_job_and_its_state_in_the_queue(plan, tmp_path, monkeypatch):
    run = run_of(plan)
    begin(run)
    log = paths.job_log("train", "digits", run.name, "0000008")
    for number, age in (("7", 50), ("41_3", 10)):
        path = log.with_suffix(f".slurm-{number}.log")
        write(path)
        os.utime(path, (time.time() - age,) * 2)
    (tmp_path / "squeue").write_text("#!/bin/sh\necho '7 RUNNING'\necho '41_3 PENDING'\n")
    (tmp_path / "squeue").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    status = status_of(plan, run)
    assert (status.job, status.state) == ("41_3", "PENDING")


def test_the_tables_command(plan, tmp_path, ayt):
    begin(run_of(plan))
    done = ayt("status", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert re.search(rf"{run_of(plan).name} +6 / 8 +12 ", done.stdout)
    for given in (paths.resolved_experiment("tiny"), "tiny"):
        assert run_of(plan).name in ayt("status", given, cwd=tmp_path).stdout
    done = ayt("status", "tinny", cwd=tmp_path)
    assert (done.returncode, done.stderr.strip()) == (
        1,
        "error: results: no experiment 'tinny' was started here; did you mean tiny? choose from tiny",
    )


def test_watching_ends_with_ctrl_c(plan, tmp_path):
    watching = forked.Started("status", "--watch", "--every", 1, cwd=tmp_path)
    time.sleep(3)
    watching.send_signal(2)
    _, errors = watching.communicate(timeout=20)
    assert (watching.returncode, errors) == (130, "")


def test_the_plan_counts_what_is_missing(plan):
    found = estimate(plan)
    assert (found.done, len(found.runs), sum(run.segments for run in found.runs)) == (0, 7, 11)
    assert (found.scoring_jobs, found.images_to_sample) == (8, 4 * 4 * 2 * 32 * 2)
    run = run_of(plan)
    write(paths.state(run.folder, 4))
    for score in plan.scores_of(run.name):
        for iteration in (2, 4):
            write(score.result(run.folder, iteration))
    after = estimate(plan)
    assert sum(run.segments for run in after.runs) == 10
    assert after.scoring_jobs == 7


def test_each_noise_level_of_a_denoising_metric_is_a_job_of_its_own(tiny, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    scoring = {"metrics": ["frechet", "denoised_frechet"], "denoise": [0.2, 0.4]}
    assert estimate(Plan(load([tiny], {"evaluation": scoring}))).scoring_jobs == 8 * (1 + 2)


def test_hours_come_from_logs_of_equal_trainings(plan, tiny):
    run = run_of(plan)
    begin(run)
    more = Plan(load([tiny], {"seeds": [3]}))
    by_name = {cost.name: cost for cost in estimate(more).runs}
    cost = by_name[run_of(more).name]
    # The first row of a log has the start in it.
    assert cost.images_per_second == 4
    assert cost.hours == pytest.approx(8 * 8 / 4 / 3600)
    assert by_name[run_of(more, "ayt").name].hours is None


def test_disk_is_what_files_have(plan, tiny, tmp_path, ayt):
    run = plan.pretrained
    write_text(paths.run_record(run.folder), run.record.text)
    expected = bytes_left(plan)[run.name]
    assert ayt("train", paths.run_record(run.folder), "--stop", 8, "--device", "cpu", cwd=tmp_path).returncode == 0
    written = [paths.snapshot(run.folder, 8), paths.state(run.folder, 8)]
    assert sum(path.stat().st_size for path in written) == pytest.approx(expected, rel=0.2)
    assert all(weights.metadata(path, kind) for path, kind in zip(written, ("snapshot", "state"), strict=True))


def test_plan_command(tiny, tmp_path, ayt):
    done = ayt("plan", tiny, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "training runs done: 0; to do: 7, in 11 jobs" in done.stdout
    assert "time to train: never measured here: 7 of 7 runs" in done.stdout


def test_what_is_known_at_once_waits_for_no_torch():
    code = "import sys, ayt.operations.estimate, ayt.plan.plan; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_published_datasets_plan_needs_no_table_in_the_working_folder(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["check", str(ROOT / "config" / "batch_size_ablation.yaml")]) == 0
    assert cli.main(["assets", "list"]) == 0
    assert "edm-cifar10-32x32-uncond-vp" in capsys.readouterr().out


def test_a_damaged_score_or_note_stops_no_status(plan, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = plan.trained[0]
    write_text(plan.scores_of(run.name)[0].result(run.folder, 8), '{"metrics": []}')
    (status,) = [status for status in statuses(plan) if status.name == run.name]
    assert status.score == "unreadable at 8"
    write_text(paths.failure(run.folder), "{")
    with pytest.raises(UserError, match=r"failure\.json: damaged .*; delete it$"):
        read_failure(run.folder)


def test_a_renamed_score_is_not_taken_for_another(plan, tmp_path):
    path = tmp_path / "0000002.json"
    write_text(path, '{"iteration": 8, "metrics": {}}')
    with pytest.raises(UserError, match=r"is named 2 but holds the score of iteration 8; delete it to have it made"):
        read_score(path)


def test_runs_like_those_measured_on_a_card_have_its_hours(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    paper = ROOT / "config" / "batch_size_ablation.yaml"
    costs = estimate(Plan(load([paper]))).runs
    found = {cost.name[:9].rstrip("-"): cost.hours_on_card for cost in costs if cost.hours_on_card}
    of = {"ect-bs16": 36.2, "ect-bs128": 129.8, "ayt-bs16": 23, "ayt-bs128": 131.3}
    assert found == {name: pytest.approx(400_000 * step / 3.6e6) for name, step in of.items()}
    assert cli.main(["plan", str(paper)]) == 0
    told = capsys.readouterr().out
    assert "on one NVIDIA H100 80 GB: 36 hours for 4 of these, by steps measured 2026" in told
    assert "images to sample\non one NVIDIA H100 80 GB: 6.0 hours for 72,000,000 of these, in one step, by" in told


def test_runs_in_bfloat16_have_hours_of_their_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    overrides = {"training": {"precision": "bf16"}, "batch_sizes": [16, 128]}
    costs = estimate(Plan(load([ROOT / "config" / "averages.yaml"], overrides))).runs
    found = {cost.name[:9].rstrip("-"): cost.hours_on_card for cost in costs if cost.hours_on_card}
    of = {"ect-bs128": 68.1, "ayt-bs16": 14.2, "ayt-bs128": 69.9}
    assert found == {name: pytest.approx(400_000 * step / 3.6e6) for name, step in of.items()}


LABELS = {"classifiers": {"labels": {"task": "labels"}}}


@pytest.mark.parametrize(
    ("overrides", "images", "rate"),
    [
        ({}, 600_000, 3330),  # two snapshots each of two runs, in one step; those in two steps were not measured
        ({"evaluation": {"precision": "bf16"}}, 600_000, 4101),
        ({**LABELS, "evaluation": {"features": "labels", "reference": "dataset"}}, 0, 1),
        ({"network": {"channels": 64}}, 0, 1),
    ],
)
def test_one_step_scores_of_the_measured_network_have_hours(overrides, images, rate, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = estimate(Plan(load([ROOT / "config" / "one_hour.yaml"], overrides)))
    assert (found.images_to_sample, found.images_timed) == (1_200_000, images)
    assert found.scoring_hours_on_card == pytest.approx(images / rate / 3600)


def test_what_is_to_be_downloaded_is_listed_until_it_is_there(tiny, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["plan", str(tiny)]) == 0
    assert "\nto download: nothing\n" in capsys.readouterr().out
    plan = Plan(load([ROOT / "config" / "batch_size_ablation.yaml"]))
    before = estimate(plan)
    assert before.to_download.keys() == set(plan.assets)
    assert before.to_download["cifar10"] == 170_498_071
    archive = tmp_path / "results" / "assets" / "downloads" / "cifar-10-python.tar.gz"
    archive.parent.mkdir(parents=True)
    archive.touch()
    after = estimate(plan)
    assert "cifar10" not in after.to_download
    assert after.other_jobs == before.other_jobs - 1
    archive.rename(tmp_path / archive.name)
    overrides = {"assets": {"prefetched": str(tmp_path)}}
    ahead = estimate(Plan(load([ROOT / "config" / "batch_size_ablation.yaml"], overrides)))
    assert ahead.to_download == after.to_download
    assert ahead.other_jobs == before.other_jobs  # it is still to be copied


def test_scores_of_what_was_not_measured_have_no_hours(tiny, tmp_path, monkeypatch, capsys):
    """Of another network, of images noised and denoised, and of two networks that sample together."""
    monkeypatch.chdir(tmp_path)
    assert cli.main(["plan", str(tiny)]) == 0
    assert "scoring: 8 jobs, 2,048 images to sample (time not measured)\nshort jobs" in capsys.readouterr().out
    main_table = Plan(load([ROOT / "config" / "method_comparison.yaml"]))
    assert estimate(main_table).images_timed == 6 * 8 * 150_000
    truncated = Plan(load([ROOT / "config" / "truncated.yaml"]))
    first_stages = [run for run in truncated.trained if not run.record.training.sampled_with]
    assert len(truncated.trained) == 5
    assert estimate(truncated).images_timed == len(first_stages) * 5 * 150_000 == 1_500_000


def test_equal_anchors_are_one_job(tiny, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    anchors = {"a": {"steps": 2}, "same": {"steps": 2}, "other": {"steps": 3}}
    found = estimate(Plan(load([tiny], {"anchors": anchors})))
    assert (found.scoring_jobs, found.images_to_sample) == (8 + 2, (4 * 4 * 2 + 2) * 32 * 2)
