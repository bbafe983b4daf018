"""What figures and scores need: published files, analyses, sample grids."""

import pytest
import yaml
from conftest import ROOT
from plans import cifar, config, plan

from ayt.assets import table as assets
from ayt.base.errors import UserError


def test_published_files_that_are_needed(tiny):
    assert plan(tiny).assets == []
    needed = ["cifar10", "edm-cifar10-32x32-uncond-vp", "edm-cifar10-32x32-reference", "pytorch-fid-inception"]
    assert cifar().assets == [*needed, "torchvision-vgg16"]
    assert config("batch_size_ablation", methods={"lpips": {"loss": "l1"}}).assets == needed
    with_lpips = {"methods": {"lpips": {"loss": "l1"}}, "evaluation": {"metrics": ["frechet", "lpips"]}}
    assert config("batch_size_ablation", **with_lpips).assets == [*needed, "torchvision-vgg16"]


def test_a_file_that_the_table_lacks_is_one_error(tmp_path):
    table = yaml.safe_load((ROOT / "config" / "assets.yaml").read_text())
    del table["torchvision-vgg16"]
    (tmp_path / "assets.yaml").write_text(yaml.safe_dump(table))
    changed = config("batch_size_ablation", assets={"table": str(tmp_path / "assets.yaml")})
    with pytest.raises(UserError, match=r"assets\.yaml: has no asset 'torchvision-vgg16'; choose from"):
        assets.read_needed(changed)


# Figures


def looked_into(plan, name):
    return [weights.run for one in plan.experiment.figures[name].analyses(plan) for weights in one.weights.values()]


def test_figures_choose_their_runs(tiny):
    figures = {"wide": {"kind": "tangents"}, "narrow": {"kind": "tangents", "batch_size": 4}}
    found = plan(tiny, figures=figures)
    sizes = {
        name: [run.batch_size for run in looked_into(found, name) if run.training.stage == "train"]
        for name in found.experiment.figures
    }
    assert (sizes["wide"], sizes["narrow"], sizes["oscillation"]) == ([8], [4], [4, 4])
    assert [run.training.name for run in looked_into(found, "oscillation")] == ["ect", "ayt"]
    assert [run.training.stage for run in looked_into(found, "manifold")] == ["classifier"]
    assert looked_into(found, "curves") == []


def test_equal_analyses_are_done_once(tiny):
    figures = {name: {"kind": "tangents", "title": name, "images": 3} for name in ("a", "b")}
    found = plan(tiny, figures=figures).analyses
    assert sum(name.startswith("tangents") for name in found) == 2  # and the file's own


def test_a_variant_of_a_sweep_can_be_named(tiny):
    change = {"methods": {"hybrid": {"lambda": [0.1, 1.0]}}, "figures": {"a": {"kind": "tangents"}}}
    change["figures"]["a"]["method"] = "hybrid lambda=1.0"
    run = next(run for run in looked_into(plan(tiny, **change), "a") if run.training.stage == "train")
    assert run.training.lambda_ == 1.0


def test_sample_grids_are_made_for_figures_alone(tiny):
    assert [run.title for run, _ in plan(tiny).grids()] == [
        f"{label}, batch size {size}, seed 0" for label in ("ECT", "AYT") for size in (4, 8)
    ]
    assert plan(tiny, figures={"samples": {"kind": "final"}}).grids() == []
