"""The rules, run by a real Snakemake: what an edit makes rerun, and what a crash leaves."""

import json
import os
import re
import shutil
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest
import yaml
from conftest import BIN, ROOT
from forked import wait_until
from workflows import Workflow

from ayt.experiment import load, resolved
from ayt.training.log import read_rows

# Jobs that look at what is there; none of them trains or scores.
GATHERING = {"gather", "analyse", "grid_steps1", "figure", "table", "about", "all"}
FIGURES = ("curves", "final", "samples", "transformations", "tangents", "oscillation", "manifold", "toy")
TABLES = ("scores", "methods", "speed", "reach", "cost")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished tiny experiment; tests may look, and plan, but not compute in it."""
    workflow = Workflow(tmp_path_factory.mktemp("finished"))
    tiny = (ROOT / "tests" / "experiments" / "tiny.yaml").read_text()
    anchor = "anchors: {diffusion: {sampler: heun, steps: 2, label: Diffusion}}\n"
    (workflow.folder / "tiny.yaml").write_text(tiny + anchor)
    done = workflow.run(workflow.folder / "tiny.yaml")
    assert done.returncode == 0, done.stderr
    return workflow


@pytest.fixture
def experiment(finished):
    return finished.folder / "tiny.yaml"


def edited(experiment, name, change):
    """A copy of an experiment with some keys changed."""
    content = yaml.safe_load(experiment.read_text())
    for key, value in change.items():
        content[key] = {**content[key], **value} if isinstance(content.get(key), dict) else value
    path = experiment.parent / "edits" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(yaml.safe_dump(content))
    return path


def test_an_anchor_is_scored_once_and_stands_in_tables(finished, experiment):
    score, record = sorted((finished.folder / "results" / "anchors" / "digits").iterdir())
    assert (score.suffix, record.suffix) == (".json", ".yaml")
    found = json.loads(score.read_text())
    assert len(found["metrics"]["frechet"]["values"]) == 2
    assert found["origin"].startswith("pretrain-")
    for table in ("scores", "methods"):
        text = (finished.folder / f"results/tiny/tables/{table}.md").read_text()
        assert f"| {found['metrics']['frechet']['mean']:.4f} |" in next(
            line for line in text.splitlines() if line.startswith("| Diffusion (not trained here) |")
        )
    called = edited(
        experiment, "called.yaml", {"name": "tiny", "anchors": {"diffusion": {"steps": 2, "label": "Start"}}}
    )
    assert {"table"} <= finished.rules(called) <= GATHERING
    more = edited(experiment, "more.yaml", {"name": "tiny", "anchors": {"b": {"sampler": "heun", "steps": 3}}})
    made = finished.rules(more) - GATHERING
    assert [name.startswith("anchor_heun3_") for name in made] == [True]


def test_everything_is_made_and_nothing_is_left_to_do(finished, experiment):
    made = {
        str(path.relative_to(finished.folder / "results/tiny")) for path in finished.folder.glob("results/tiny/**/*.*")
    }
    assert {f"figures/{figure}.{suffix}" for figure in FIGURES for suffix in ("pdf", "png", "csv", "html")} <= made
    assert {f"tables/{table}.{suffix}" for table in TABLES for suffix in ("csv", "md", "tex", "html")} <= made
    assert {"scores.csv", "about.rst"} <= made
    assert finished.planned(experiment) == []
    rows = (finished.folder / "results/tiny/scores.csv").read_text().splitlines()
    assert len(rows) == 1 + 4 * 4 * 2  # runs x snapshots x numbers of steps


def test_the_experiment_file_is_the_whole_experiment(finished, experiment):
    # the profile names the embedded experiment: nothing of it may leak into another
    assert resolved.read(finished.folder / "results/tiny/experiment.yaml") == load([experiment])


def test_a_batch_size_more_computes_only_it(finished, experiment):
    planned = finished.planned(edited(experiment, "tiny.yaml", {"batch_sizes": [4, 8, 16]}))
    rules = {rule for rule, _ in planned}
    assert rules - GATHERING == {
        "train_0_to_4_by_2",
        "train_4_to_8_by_2",
        "score_0_to_4_by_2",
        "score_4_to_8_by_2",
    }
    assert {run.split("-")[1] for rule, run in planned if run} == {"bs16"}


def test_a_batch_size_less_only_gathers(finished, experiment):
    rules = finished.rules(edited(experiment, "tiny.yaml", {"batch_sizes": [8]}))
    assert rules <= GATHERING
    assert {"gather", "figure", "table"} <= rules


@pytest.mark.parametrize("name", FIGURES)
def test_a_title_redraws_its_figure(finished, experiment, name):
    figures = yaml.safe_load(experiment.read_text())["figures"]
    figures[name]["title"] = "Another title"
    planned = finished.planned(edited(experiment, "tiny.yaml", {"figures": figures}))
    assert [rule for rule, _ in planned].count("figure") == 1
    assert {rule for rule, _ in planned} == {"figure", "about", "all"}


def test_another_noise_level_takes_other_tangents_only(finished, experiment):
    figures = yaml.safe_load(experiment.read_text())["figures"]
    figures["tangents"]["times"] = [0.1, 5.0]
    planned = finished.rules(edited(experiment, "tiny.yaml", {"figures": figures}))
    assert planned == {"analyse", "figure", "about", "all"}


def test_a_failed_training_leaves_the_others_to_look_at(experiment, tmp_path):
    workflow = Workflow(tmp_path)
    content = yaml.safe_load(experiment.read_text())
    content["methods"] = {"ect": {"lr": 1e30, "label": "ECT that fails"}, "ayt": None}
    content.update(figures={"curves": {"kind": "curves"}}, tables={"scores": {}}, batch_sizes=[4])
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(content))
    done = workflow.run(path)
    assert done.returncode != 0
    place = tmp_path / "results/tiny/so_far"
    text = (place / "tables/scores.md").read_text()
    assert "| AYT | **" in text
    assert re.search(r"Failed: ECT that fails, batch size 4, seed 0 \(the loss or its gradient is not finite at", text)
    assert (place / "figures/curves.png").exists()
    assert "results/tiny/so_far/index.html" in done.stderr + done.stdout
    assert not (tmp_path / "results/tiny/tables").exists()


def test_more_iterations_train_new_segments(finished, experiment):
    rules = finished.rules(edited(experiment, "tiny.yaml", {"training": {"iterations": 12}}))
    assert rules - GATHERING == {"train_8_to_12_by_2", "score_8_to_12_by_2"}


def test_coarser_segments_and_snapshots_train_nothing_again(finished, experiment):
    rules = finished.rules(edited(experiment, "tiny.yaml", {"training": {"segment": 8, "snapshot_every": 4}}))
    assert rules <= {*GATHERING, "score_0_to_8_by_4"}


def test_another_metric_of_the_samples_computes_nothing(finished, experiment):
    shown = {"evaluation": {"metrics": ["kid", "coverage", "inception_score", "frechet"]}}
    assert finished.rules(edited(experiment, "tiny.yaml", shown)) <= GATHERING


def test_another_noise_level_denoises_at_that_alone(finished, experiment):
    shown = {"evaluation": {"metrics": ["frechet", "denoised_frechet"], "denoise": [0.25]}}
    rules = finished.rules(edited(experiment, "tiny.yaml", shown)) - GATHERING
    assert {re.sub("_[0-9a-f]{8}_", "_", rule) for rule in rules} == {
        "score_denoised_frechet_t0_25_0_to_4_by_2",
        "score_denoised_frechet_t0_25_4_to_8_by_2",
    }


def test_a_byte_more_in_a_record_reruns_nothing(finished, experiment):
    for record in finished.folder.glob("results/**/*.yaml"):
        with record.open("a") as file:
            file.write("#")
    assert finished.planned(experiment) == []


@pytest.mark.parametrize(
    ("pattern", "rule"),
    [
        ("runs/*/ect-*/scores/steps1-*/0000002.json", "score_0_to_4_by_2"),
        ("runs/*/ect-*/grids/*/0000008.npz", "grid_steps1"),
        ("analyses/tangents-*/result.npz", "analyse"),
        ("tiny/figures/curves.pdf", "figure"),
        ("tiny/tables/scores.tex", "table"),
    ],
)
def test_what_was_removed_is_made_again(finished, experiment, pattern, rule):
    gone = next((finished.folder / "results").glob(pattern))
    gone.rename(finished.folder / "away")
    try:
        rules = finished.rules(experiment)
    finally:
        (finished.folder / "away").rename(gone)
    assert rule in rules
    assert not any(name.startswith(("train", "pretrain", "classifier")) for name in rules)


def test_a_removed_snapshot_is_said_to_be_gone_and_made_again_when_asked_for(finished, experiment):
    """Unasked nobody trains again what others may have removed to have room."""
    gone = sorted((finished.folder / "results").glob("runs/*/ect-*/snapshots/0000002.safetensors"))[0]
    shown = gone.relative_to(finished.folder)
    gone.rename(finished.folder / "away")
    try:
        done = finished.run(experiment, "--dry-run")
        assert finished.rules(experiment, shown) == {"train_0_to_4_by_2"}
    finally:
        (finished.folder / "away").rename(gone)
    assert "Nothing to be done" in done.stdout + done.stderr
    assert f"1 snapshots of finished training runs are gone, the first {shown}; what needs" in done.stderr
    assert f"To have one made again: the same command, ended by -- {shown}" in done.stderr


def test_a_second_experiment_trains_nothing_again(finished, experiment):
    rules = finished.rules(edited(experiment, "other.yaml", {"methods": {"ect": None}}))
    assert rules <= GATHERING


def test_a_learning_rate_reruns_what_it_must_and_set_back_nothing(finished, experiment):
    planned = finished.planned(edited(experiment, "tiny.yaml", {"training": {"lr": 5e-4}}))
    assert {rule for rule, _ in planned} - GATHERING == {
        "train_0_to_4_by_2",
        "train_4_to_8_by_2",
        "score_0_to_4_by_2",
        "score_4_to_8_by_2",
    }
    classifier = {
        "classifiers": {
            "transformations": {"group": "geo", "widths": [8, 8], "convs": [1, 1], "iterations": 8, "batch_size": 16}
        }
    }
    runs = {run.split("-")[0] for _, run in finished.planned(edited(experiment, "tiny.yaml", classifier)) if run}
    assert runs == {"classifier_geo", "ayt"}
    assert finished.planned(experiment) == []


def test_what_changes_no_result_reruns_nothing(finished, experiment, tmp_path):
    same = edited(experiment, "tiny.yaml", {"execution": {"log_every": 1, "resume_seconds": 5.0}})
    assert finished.planned(same) == []
    content = yaml.safe_load(experiment.read_text())
    reordered = experiment.parent / "edits" / "tiny.yaml"
    reordered.write_text(yaml.safe_dump(dict(reversed(content.items())), sort_keys=False))
    assert finished.planned(reordered) == []
    for path in [experiment, *finished.folder.glob("results/runs/**/*.*")]:
        os.utime(path)
    assert finished.planned(experiment) == []
    shutil.copytree(ROOT / "workflow", tmp_path / "workflow")
    for rules in (tmp_path / "workflow" / "rules").glob("*.smk"):
        rules.write_text(rules.read_text().replace(" > {log:q} 2>&1", "   >  {log:q}  2>&1"))
    assert Workflow(finished.folder, tmp_path / "workflow" / "Snakefile").planned(experiment) == []


def test_nested_config_on_the_command_line(finished, experiment):
    planned = finished.planned(experiment, "--config", "training={iterations: 12}", "batch_sizes=[8]")
    assert {rule for rule, _ in planned} - GATHERING == {"train_8_to_12_by_2", "score_8_to_12_by_2"}
    assert {run.split("-")[1] for rule, run in planned if run} == {"bs8"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"trainig": {}}, "tiny.yaml: trainig = {}: unknown key; did you mean training?"),
        ({"batch_sizes": [4, 4000]}, "tiny.yaml: batch_sizes = 4000: larger than the dataset (1797 images)"),
        # With nothing to do no device is needed.
        ({"execution": {"device": "cuda:99"}, "seeds": [7]}, "execution.device = 'cuda:99': this machine has"),
    ],
)
def test_a_mistake_stops_before_any_job(finished, experiment, change, message):
    done = finished.run(edited(experiment, "tiny.yaml", change))
    assert done.returncode != 0
    assert message in done.stderr + done.stdout
    assert "Traceback" not in done.stderr
    assert "rule " not in done.stdout


def test_no_experiment_is_an_error_that_says_so(tmp_path):
    command = [BIN / "snakemake", "--snakefile", ROOT / "workflow" / "Snakefile", "--cores", "1", "--dry-run"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode != 0
    assert "name one with --configfile" in done.stderr + done.stdout


def test_results_may_lie_anywhere(tiny, tmp_path):
    # a path with a space, reached through a link, from a folder that has no results
    target, place = tmp_path / "large disk" / "results", tmp_path / "link"
    target.mkdir(parents=True)
    place.symlink_to(target)
    workflow = Workflow(tmp_path / "empty")
    workflow.folder.mkdir()
    environment = {**os.environ, "AYT_RESULTS": str(place)}

    def started(*more, **options):  # not forked: paths are named when the package is imported
        command = workflow.command(tiny, "--until", "pretrain_0_to_8_by_8", *more)
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=600, **options)

    done = started("--config", f"results={place}")
    assert done.returncode == 0, done.stderr
    assert len(list(target.glob("runs/digits/*/snapshots/0000008.safetensors"))) == 1
    assert not (workflow.folder / "results").exists()
    assert "rule pretrain" not in started("--dry-run", env=environment).stdout
    status = subprocess.run([BIN / "ayt", "status"], capture_output=True, text=True, check=False, env=environment)
    assert status.stdout.startswith("tiny"), status.stderr


def test_results_must_be_a_folder(tiny, tmp_path):
    done = Workflow(tmp_path).run(tiny, "--dry-run", "--config", "results=''")
    assert "results = '': must be a folder" in done.stdout + done.stderr


def test_published_files_are_known_in_any_folder(tmp_path):
    done = Workflow(tmp_path).run(ROOT / "config" / "batch_size_ablation.yaml", "--dry-run", "--quiet", "all")
    assert (done.returncode, "error" in done.stderr.lower()) == (0, False), done.stderr


def test_report_is_one_page(finished, experiment):
    page = finished.folder / "report.html"
    done = finished.run(experiment, "--report", page)
    assert done.returncode == 0, done.stderr
    text = page.read_text()
    assert "curves.png" in text
    assert len(text) > 100_000


def longer(experiment):
    """One pretraining that takes seconds, and nothing else."""
    content = yaml.safe_load(experiment.read_text())
    content["start"] = {"pretrain": {"iterations": 300, "batch_size": 16, "segment": 150}}
    content["execution"] = {"device": "cpu", "log_every": 5, "resume_seconds": 0.2}
    content.update(figures={}, tables={}, batch_sizes=[4])
    path = experiment.parent / "edits" / "longer.yaml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(yaml.safe_dump(content))
    return path


def trained(folder):
    """How many iterations of the pretraining are saved."""
    logs = folder.glob("results/runs/digits/pretrain-*/resume/log.csv")
    return max((row["iteration"] for log in logs for row in read_rows(log)), default=0)


def processes(folder):
    """Ids of processes that train in this folder; forked ones end with who asked for them."""
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                if "ayt train " in command and (entry / "cwd").readlink() == folder:
                    found.add(int(entry.name))
            except OSError:  # it has ended
                continue
    return found


def target(experiment):
    """The snapshot that ends the pretraining of an experiment."""
    from ayt.plan.plan import Plan

    return Plan(load([experiment])).pretrained.last.path


def test_a_second_workflow_says_so_and_harms_nothing(experiment, tmp_path):
    workflow, slow = Workflow(tmp_path), longer(experiment)
    first = workflow.start(slow, target(slow))
    try:
        wait_until(lambda: trained(tmp_path))
        second = workflow.run(slow, target(slow))
        assert second.returncode != 0
        assert "cannot be locked" in second.stderr + second.stdout
        _, errors = first.communicate(timeout=200)
    finally:
        first.kill()
    assert first.returncode == 0, errors


def test_killed_workflows_give_the_same_bytes(experiment, tmp_path):
    slow = longer(experiment)
    whole = Workflow(tmp_path / "whole")
    assert whole.run(slow, target(slow)).returncode == 0
    expected = (tmp_path / "whole" / target(slow)).read_bytes()

    workflow = Workflow(tmp_path / "killed")
    result = tmp_path / "killed" / target(slow)
    for moment, victims in ((1, "main"), (75, "training"), (200, "both")):  # 200: of the second segment
        before = processes(workflow.folder)  # those of a killed main go on
        main = workflow.start(slow, target(slow))
        wait_until(lambda: trained(workflow.folder) >= moment and processes(workflow.folder) - before)  # noqa: B023
        if victims != "main":
            for pid in processes(workflow.folder):
                with suppress(ProcessLookupError):  # some end with others
                    os.kill(pid, signal.SIGKILL)
        if victims != "training":
            main.kill()
        main.wait(timeout=120)
        workflow.run(slow, "--unlock")
    done = workflow.run(slow, target(slow))
    assert done.returncode == 0, done.stderr
    assert result.read_bytes() == expected
