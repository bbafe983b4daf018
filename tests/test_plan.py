"""What a run is: its identity, and what follows from an experiment."""

import json

import pytest
import yaml
from conftest import ROOT

from ayt.plan.plan import records as specs
from ayt.assets import table as assets
from ayt.experiment import load
from ayt.base.errors import UserError
from ayt.plan.plan import Plan
from ayt.plan.records import parse_spec, read_record, record_text


def plan(tiny, **overrides):
    return Plan(load([tiny], overrides))


def names(plan):
    return {run.name for run in plan.trained}


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
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_does_not_change_weights_does_not_change_names(tiny, change):
    assert names(plan(tiny, **change)) == names(plan(tiny))


@pytest.mark.parametrize(
    "change",
    [
        {"training": {"lr": 5e-4}},
        {"training": {"ema": 0.5}},
        {"training": {"dropout": 0.1}},
        {"training": {"q": 2.0}},
        {"network": {"channels": 32}},
        {"start": {"pretrain": {"iterations": 16}}},
        {"start": {"pretrain": {"sigma_mean": -1.0}}},
    ],
    ids=lambda change: f"{next(iter(change))}",
)
def test_what_changes_weights_changes_every_name(tiny, change):
    assert not names(plan(tiny, **change)) & names(plan(tiny))


def test_the_classifier_is_part_of_ayt_and_not_of_ect(tiny):
    before, after = plan(tiny), plan(tiny, classifiers={"transformations": {"lr": 5e-4}})
    assert {name for name in names(before) if name.startswith("ect")} <= names(after)
    assert not {name for name in names(before) if name.startswith("ayt")} & names(after)


def test_the_order_of_keys_does_not_matter(tiny, tmp_path):
    text = tiny.read_text().replace("{iterations: 8, segment: 4, ", "{segment: 4, iterations: 8, ")
    (tmp_path / "tiny.yaml").write_text(text)
    assert names(plan(tmp_path / "tiny.yaml")) == names(plan(tiny))


def test_another_version_of_the_training_is_another_run(tiny):
    spec = plan(tiny).trained[0].spec
    newer = spec.model_copy(update={"version": specs.TRAINING_VERSION + 1})
    assert newer.name != spec.name


def test_segments_and_snapshots(tiny):
    run = plan(tiny).trained[0]
    assert [(s.start, s.stop, s.iterations) for s in run.segments] == [(0, 4, [2, 4]), (4, 8, [6, 8])]
    assert [snapshot.iteration for snapshot in run.snapshots] == [2, 4, 6, 8]


def test_longer_training_keeps_the_segments_before(tiny):
    before, after = (plan(tiny, training={"iterations": n}).trained[0].segments for n in (8, 16))
    assert after[: len(before)] == before


def test_scores_are_named_by_what_changes_them(tiny):
    before = plan(tiny).evaluations
    after = plan(tiny, evaluation={"samples": 64}).evaluations
    assert [evaluation.argument for evaluation in before] == ["1", "2:0.821"]
    assert not {e.name for e in before} & {e.name for e in after}
    other_mid = plan(tiny, evaluation={"mids": {2: [0.5]}}).evaluations
    assert [a.name == b.name for a, b in zip(before, other_mid, strict=True)] == [True, False]


def test_record_survives_writing_and_refuses_edits(tiny, tmp_path):
    run = plan(tiny).trained[-1]
    record = tmp_path / "run.yaml"
    record.write_text(record_text(run.spec))
    assert read_record(record) == run.spec
    assert parse_spec(json.loads(run.record), "text") == run.spec
    record.write_text(record_text(run.spec).replace("lr: 0.0001", "lr: 0.5", 1))
    with pytest.raises(UserError, match="was edited"):
        read_record(record)
    record.write_text(record_text(run.spec).replace("format: 2", "format: 3"))
    with pytest.raises(UserError, match="format 3 is not known"):
        read_record(record)
    record.write_text("a: 1\n")
    with pytest.raises(UserError, match="not a run's record"):
        read_record(record)


def cifar(**evaluation):
    return Plan(load([ROOT / "config" / "batch_size_ablation.yaml"], {"evaluation": evaluation}))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({}, {"metrics": ["frechet", "kid"]}),
        ({}, {"reference": "dataset"}),
        ({"metrics": ["kid"]}, {"metrics": ["kid"], "kept": 500}),
        ({"metrics": ["kid", "lpips"]}, {"metrics": ["kid", "lpips"], "denoise": [0.5]}),
    ],
)
def test_what_changes_scores_changes_their_names(before, after):
    first, second = cifar(**before).evaluations[0], cifar(**after).evaluations[0]
    assert first.name != second.name


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({}, {"kept": 500}),
        ({}, {"denoise": [0.5]}),
        ({"metrics": ["kid", "recall"]}, {"metrics": ["recall", "kid"]}),
        ({}, {"batch_size": 7}),
    ],
)
def test_what_changes_no_score_changes_no_name(before, after):
    first, second = cifar(**before).evaluations, cifar(**after).evaluations
    assert [evaluation.name for evaluation in first] == [evaluation.name for evaluation in second]


def test_another_first_metric_is_drawn_anew():
    first, second = (cifar(metrics=metrics).contents() for metrics in (["kid", "recall"], ["recall", "kid"]))
    assert first != second


def test_metrics_of_denoised_images_are_scores_of_one_step():
    one, two = cifar(metrics=["frechet", "lpips"]).evaluations
    assert (one.metrics, one.denoise) == (("frechet", "lpips"), (0.2, 0.4, 0.8))
    assert (two.metrics, two.denoise) == (("frechet",), ())


def test_published_files_that_are_needed(tiny):
    assert plan(tiny).assets == []
    needed = ["cifar10", "edm-cifar10-32x32-uncond-vp", "edm-cifar10-32x32-reference", "pytorch-fid-inception"]
    assert cifar().assets == [*needed, "torchvision-vgg16"]
    methods = {"methods": {"lpips": {"loss": "l1"}}}
    without = Plan(load([ROOT / "config" / "batch_size_ablation.yaml"], methods))
    assert without.assets == needed


def test_a_file_that_the_table_lacks_is_one_error(tmp_path):
    table = yaml.safe_load((ROOT / "config" / "assets.yaml").read_text())
    del table["torchvision-vgg16"]
    (tmp_path / "assets.yaml").write_text(yaml.safe_dump(table))
    overrides = {"assets": {"table": str(tmp_path / "assets.yaml")}}
    with pytest.raises(UserError, match=r"assets\.yaml: has no asset 'torchvision-vgg16'; choose from"):
        assets.needed(Plan(load([ROOT / "config" / "batch_size_ablation.yaml"], overrides)))


def test_figures_choose_their_runs(tiny):
    figures = {"figures": {"wide": {"kind": "tangents"}, "narrow": {"kind": "tangents", "batch_size": 4}}}
    plan = Plan(load([tiny], figures))
    sizes = {name: [one.run.spec.batch_size for one in plan.analyses(name)] for name in plan.experiment.figures}
    assert (sizes["wide"], sizes["narrow"], sizes["oscillation"]) == ([8], [4], [4, 4])
    assert [one.run.spec.loss.name for one in plan.analyses("oscillation")] == ["ect", "ayt"]
    assert plan.analyses("manifold")[0].run.spec.kind == "classifier"
    assert plan.analyses("curves") == []


def test_equal_analyses_are_done_once(tiny):
    figures = {"figures": {name: {"kind": "tangents", "title": name, "images": 3} for name in ("a", "b")}}
    assert sum(key[1].startswith("tangents") for key in Plan(load([tiny], figures)).analysed) == 2  # and the file's own


def test_a_variant_of_a_sweep_can_be_named(tiny):
    change = {"methods": {"hybrid": {"lambda": [0.1, 1.0]}}, "figures": {"a": {"kind": "tangents"}}}
    change["figures"]["a"]["method"] = "hybrid lambda=1.0"
    (one,) = Plan(load([tiny], change)).analyses("a")
    assert one.run.spec.loss.lambda_ == 1.0
