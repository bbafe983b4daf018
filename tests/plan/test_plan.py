"""What a run is: its identity, and what follows from an experiment."""

import pytest
import yaml
from plans import config, plan, score_names

from ayt.base.errors import UserError
from ayt.experiment import resolved
from ayt.methods.ayt import Ayt
from ayt.methods.base import METHODS
from ayt.methods.ect import Ect
from ayt.plan.analyses import read_analysis
from ayt.plan.anchors import read_anchor
from ayt.plan.evaluations import read_evaluation, read_grid
from ayt.plan.references import read_reference
from ayt.plan.runs import parse_run, read_run

READERS = {
    "run": read_run,
    "score": read_evaluation,
    "denoising": read_evaluation,
    "grid": read_grid,
    "reference": read_reference,
    "anchor": read_anchor,
    "analysis": read_analysis,
}


def names(plan):
    return {run.name for run in plan.trained}


PINNED = {
    "embedded": [
        "pretrain-bs64-seed0-e7850ba1",
        "classifier_geo_clr_deg-bs128-seed0-cafdc47f",
        "ect-bs8-seed0-af904c3e",
        "ayt-bs8-seed0-6e4ef553",
    ],
    "embedded_ablations": [
        "ayt-bs8-seed0-6e4ef553",
        "classifier_geo-bs128-seed0-48a98575",
    ],
    "batch_size_ablation": [
        "classifier_geo_clr_deg-bs512-seed0-fab2ae6b",
        "ect-bs16-seed0-514975a1",
        "lpips-bs128-seed0-2fd48762",
    ],
    "classifier_ablation": [
        "classifier_geo_clr_deg-bs512-seed0-fab2ae6b",
        "classifier_geo_clr_deg-bs512-seed0-344f0dda",
        "ayt-bs128-seed0-93468d37",
        "ayt-bs128-seed0-63459a7f",
    ],
    "loss_comparison": [
        "classifier_geo_clr_deg-bs512-seed0-fab2ae6b",
        "ect-bs128-seed0-d041ccca",
        "hybrid-bs128-seed0-a6c47862",
    ],
    "transformation_ablation": [
        "classifier_geo-bs512-seed0-6a4d2d2f",
        "classifier_deg-bs512-seed0-7e0a6d45",
        "ect-bs128-seed0-d041ccca",
        "ayt-bs128-seed0-93468d37",
    ],
    "truncated": ["ect-bs512-seed0-18233735", "tcm-bs1024-seed0-86c3c0e6", "tcm-bs1024-seed0-287b399f"],
    "continuous_time": [
        "ect-bs128-seed0-d041ccca",
        "ccd-bs128-seed0-98f63b7f",
        "ccd_ayt-bs128-seed0-ee03b2e0",
        "sct-bs128-seed0-51e282d7",
        "scd-bs128-seed0-4702856c",
    ],
    "embedded_methods": ["ayt-bs8-seed0-6e4ef553", "scd-bs8-seed0-e47b1940"],
    "mid_training": ["mid_train-bs512-seed0-2a7e2076", "ect-bs128-seed0-44b397ad"],
    "averages": ["ect-bs128-seed0-5c0e80a9", "ayt-bs128-seed0-4745b0aa"],
    "other_distances": [
        "classifier_reconstruction-bs512-seed0-2b195a69",
        "ayt-bs128-seed0-93468d37",
        "adversarial-bs128-seed0-97f971e4",
        "autoencoder_features-bs128-seed0-579b0695",
        "classifier_geo_clr_deg_denoised-bs512-seed0-d5192435",
        "ayt-bs128-seed0-b8f58776",
    ],
    "method_comparison": [
        "classifier_geo_clr_deg-bs512-seed0-fab2ae6b",
        "ect-bs128-seed0-d041ccca",
        "ayt-bs128-seed2-2fc4a142",
    ],
}


@pytest.mark.parametrize("name", PINNED)
def test_names_of_runs_are_what_they_were(name):
    """Results that exist are found again; raise a version where a change of the code changes results."""
    assert set(PINNED[name]) <= set(config(name).runs)


@pytest.mark.parametrize("name", ["embedded_ablations", "embedded_methods"])
def test_other_embedded_experiments_find_the_demos_runs_and_scores(name):
    demo, other = (
        {run.name for method, run in plan.methods_and_runs() if method in ("ect", "ayt")}
        for plan in (config("embedded"), config(name))
    )
    assert other == {run for run in demo if "-bs8-" in run}
    assert score_names(config(name)) == score_names(config("embedded"))


def test_a_new_optional_setting_renames_nothing(tiny, monkeypatch):
    before = plan(tiny)

    class EctWithMore(Ect):
        more: float = 0.5

    class AytWithMore(Ayt):
        mode: str | None = None

    monkeypatch.setitem(METHODS._kinds, "ect", EctWithMore)
    monkeypatch.setitem(METHODS._kinds, "ayt", AytWithMore)
    after = plan(tiny)
    assert isinstance(after.experiment.methods["ect"], EctWithMore)
    assert list(after.runs) == list(before.runs)
    assert after.scores() == before.scores()
    assert not names(plan(tiny, methods={"ect": {"more": 0.25}})) >= names(before)


def test_another_version_of_a_kind_renames_what_uses_it(tiny, monkeypatch):
    before = names(plan(tiny))
    monkeypatch.setattr(Ect, "version", 2)
    after = names(plan(tiny))
    assert {name for name in before if name.startswith("ayt")} <= after
    assert not {name for name in before if name.startswith("ect")} & after


def test_settings_of_one_dataset_are_not_in_the_names_of_another(tiny):
    record = plan(tiny).trained[0].record
    assert "crops" not in str(record.content())
    photos = {"dataset": {"name": "photos", "crops": 100}, "evaluation": {"metrics": ["kid"]}}
    other = {"dataset": {"name": "photos", "crops": 200}, "evaluation": {"metrics": ["kid"]}}
    assert not names(plan(tiny, **photos)) & names(plan(tiny, **other))


def test_names_say_method_batch_and_seed(tiny):
    first = plan(tiny).trained[0]
    assert first.name.startswith("ect-bs4-seed0-")
    assert len(first.name.rpartition("-")[2]) == 8
    assert str(first.folder) == f"results/runs/digits/{first.name}"


@pytest.mark.parametrize(
    "change",
    [
        {"execution": {"log_every": 7, "device": "auto"}},
        {"figures": {"curves": {"kind": "curves", "title": "Another"}}},
        {"evaluation": {"samples": 64}},
        {"training": {"iterations": 16}},
        {"training": {"segment": 8, "snapshot_every": 1}},
        {"methods": {"ect": {"label": "Easy"}}},
        {"seeds": [0, 1]},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_does_not_change_weights_does_not_change_names(tiny, change):
    assert names(plan(tiny)) <= names(plan(tiny, **change))


@pytest.mark.parametrize(
    "change",
    [
        {"training": {"lr": 5e-4}},
        {"training": {"ema": 0.5}},
        {"training": {"dropout": 0.1}},
        {"training": {"q": 2.0}},
        {"training": {"precision": "fp32"}},
        {"network": {"channels": 32}},
        {"network": {"conditional": True}},
        {"start": {"pretrain": {"iterations": 16}}},
        {"start": {"pretrain": {"sigma_mean": -1.0}}},
        {"start": {"pretrain": {"seed": 1}}},
    ],
    ids=str,
)
def test_what_changes_weights_changes_every_name(tiny, change):
    assert not names(plan(tiny, **change)) & names(plan(tiny))


def test_a_training_without_decay_has_the_same_name_whatever_its_length(tiny):
    lengths = [plan(tiny, classifiers={"labels": {"iterations": n, "decay": False}}) for n in (8, 16)]
    first, second = ([name for name in p.runs if name.startswith("classifier_labels")] for p in lengths)
    assert first == second
    lengths = [plan(tiny, classifiers={"labels": {"iterations": n, "decay": True}}) for n in (8, 16)]
    first, second = ([name for name in p.runs if name.startswith("classifier_labels")] for p in lengths)
    assert first != second


def test_the_classifier_is_part_of_ayt_and_not_of_ect(tiny):
    before, after = plan(tiny), plan(tiny, classifiers={"transformations": {"lr": 5e-4}})
    assert {name for name in names(before) if name.startswith("ect")} <= names(after)
    assert not {name for name in names(before) if name.startswith("ayt")} & names(after)


def test_what_the_experiment_calls_a_classifier_changes_nothing(tiny):
    renamed = {"classifiers": {"other": yaml.safe_load(tiny.read_text())["classifiers"]["transformations"]}}
    assert names(plan(tiny, **renamed, methods={"ayt": {"classifier": "other"}})) == names(plan(tiny))


def test_the_order_of_keys_does_not_matter(tiny, tmp_path):
    text = tiny.read_text().replace("{iterations: 8, segment: 4, ", "{segment: 4, iterations: 8, ")
    (tmp_path / "tiny.yaml").write_text(text)
    assert names(plan(tmp_path / "tiny.yaml")) == names(plan(tiny))


def test_segments_and_snapshots(tiny):
    run = plan(tiny).trained[0]
    assert [(s.start, s.stop, s.iterations) for s in run.segments] == [(0, 4, [2, 4]), (4, 8, [6, 8])]
    assert [snapshot.iteration for snapshot in run.snapshots] == [2, 4, 6, 8]


def test_longer_training_keeps_the_segments_before(tiny):
    before, after = (plan(tiny, training={"iterations": n}).trained[0].segments for n in (8, 16))
    assert after[: len(before)] == before


# Records


@pytest.mark.parametrize("name", ["embedded", "batch_size_ablation", "method_comparison"])
def test_every_record_says_what_it_was_made_from(name, tmp_path, monkeypatch):
    found = list(config(name).records())
    monkeypatch.chdir(tmp_path)
    assert {record.kind for _, record in found} >= {"run", "score", "reference"}
    for number, (_, record) in enumerate(found):
        path = tmp_path / f"{number}.yaml"
        path.write_text(record.text)
        again = READERS[record.kind](path)
        assert (again.name, again.text) == (record.name, record.text)


def test_records_are_written_where_they_are_missing_or_changed(tiny, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    places = plan(tiny).write_records()
    before = {path: path.stat().st_mtime_ns for path in places}
    damaged, gone, *others = places
    damaged.write_bytes(damaged.read_bytes() + b"\xff")
    gone.unlink()
    plan(tiny).write_records()
    assert read_run(damaged).folder == damaged.parent
    assert gone.exists()
    assert all(path.stat().st_mtime_ns == before[path] for path in others)


def test_edited_and_foreign_records_are_refused(tiny, tmp_path):
    text = plan(tiny).trained[-1].record.text
    record = tmp_path / "run.yaml"
    record.write_text(text.replace("lr: 0.0001", "lr: 0.5", 1))
    with pytest.raises(UserError, match="was edited"):
        read_run(record)
    record.write_text(text.replace("format: 3", "format: 2"))
    with pytest.raises(UserError, match="has format 2, this version reads 3: results of other versions"):
        read_run(record)
    record.write_text(text.replace("version: 1", "version: 7", 1))
    with pytest.raises(UserError, match="was written for version 7 of the dataset 'digits'; this is version 1"):
        read_run(record)
    record.write_text(text.replace("loss: ayt", "loss: mine"))
    with pytest.raises(UserError, match=r"unknown method; .*if an extension defines it, AYT_EXTENSIONS must name"):
        read_run(record)
    for content in ("a: 1\n", "- 1\n", "format: 3\nname: x\n", "format: 3\nname: x\nrun: {stage: train}\n"):
        record.write_text(content)
        with pytest.raises(UserError, match=r"^[^\n]*run\.yaml[^\n]*$"):
            read_run(record)
    record.write_text(next(iter(plan(tiny).records()))[1].text)
    with pytest.raises(UserError, match="is not the record of a score or denoising"):
        read_evaluation(record)


def test_the_resolved_experiment_is_an_experiment_file(tiny, tmp_path):
    change = {"methods": {"hybrid": {"lambda": [0.1, 1.0]}, "ect": {"label": "None"}}}
    before = plan(tiny, **change)
    resolved.write(tmp_path / "experiment.yaml", before.experiment)
    assert resolved.read(tmp_path / "experiment.yaml") == before.experiment


def test_identity_has_neither_defaults_nor_what_changes_no_result():
    plain = {"loss": "ect", "version": 1}
    assert METHODS.identity(Ect(batch_sizes=[4])) == plain
    assert METHODS.identity(Ect(batch_sizes=[8], seeds=[1], c=0.5, iterations=7, label="x")) == {**plain, "c": 0.5}


def test_a_power_average_is_a_run_of_its_own_and_is_read_back(tiny):
    plain, power = (plan(tiny, training={"ema": ema}) for ema in (0.9, {"power": 0.1}))
    assert not names(plain) & names(power)
    record = power.trained[0].record
    assert parse_run(record.content(), "here").training.ema == record.training.ema
