"""Figures drawn from analyses: what they ask for, what they refuse, and what is drawn of transformations."""

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from ayt.base import paths
from ayt.base.arrays import write_arrays
from ayt.base.errors import UserError
from ayt.base.images import to_uint8
from ayt.evaluation.sampling import draw_diffusion_samples
from ayt.experiment import load
from ayt.networks.modules.precond import bind
from ayt.plan.analyses import read_analysis
from ayt.plan.plan import Plan
from ayt.reporting import style
from ayt.reporting.figures.transformations import draw_transformations
from ayt.training.state import Optimiser, TrainingState
from ayt.training.work import build_network

KINDS = ("transformations", "tangents", "oscillation", "manifold", "toy")


@pytest.fixture
def planned(tiny):
    """The plan of the tiny experiment with changes."""
    return lambda **changes: Plan(load([tiny], changes))


def analyses(plan, figure):
    return plan.experiment.figures[figure].analyses(plan)


def shown(plan, figure):
    """The figure's one analysed network."""
    (analysis,) = analyses(plan, figure)
    return analysis.weights["model"].run


def test_each_kind_asks_for_its_networks(planned):
    plan = planned()
    roles = {kind: [list(analysis.weights) for analysis in analyses(plan, kind)] for kind in KINDS}
    assert roles == {
        "transformations": [["classifier"]],
        "tangents": [["model", "classifier"]],
        "oscillation": [["model"], ["model"]],
        "manifold": [["classifier"]],
        "toy": [[]],
    }
    for kind in KINDS:
        figure = plan.experiment.figures[kind]
        assert figure.inputs(plan) == [analysis.path for analysis in analyses(plan, kind)]
        for analysis in analyses(plan, kind):
            assert analysis.path.parent.name == analysis.name
            assert {weights.path for role, weights in analysis.weights.items() if role == "classifier"} <= set(
                analysis.inputs
            )
    # The last training state, and whatever training reads.
    ect, _ = analyses(plan, "oscillation")
    run = ect.weights["model"].run
    assert ect.inputs == (paths.state(run.folder, 8), *run.inputs)


def test_records_say_all_that_an_analysis_is(planned, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    plan = planned(figures={"samples": {"teacher_steps": 3}})
    plan.write_records()
    for analysis in plan.analyses.values():
        read = read_analysis(analysis.record)
        assert (read.name, read.text) == (analysis.name, analysis.text)
        assert {role: weights.path for role, weights in read.weights.items()} == {
            role: weights.path for role, weights in analysis.weights.items()
        }


def test_what_a_figure_is_called_and_which_run_it_looks_into_by_what_name_changes_no_result(planned):
    named = {
        "tangents": {"title": "Other", "method": "ayt", "batch_size": 8, "seed": 0},
        "oscillation": {"methods": ["ect", "ayt"], "batch_size": 4, "seed": 0},
        "transformations": {"title": "Other", "classifier": "transformations"},
        "manifold": {"classifier": "transformations"},
        "toy": {"toy": "curve", "title": "Other"},
    }
    assert set(planned(figures=named).analyses) == set(planned().analyses)
    others = {
        "tangents": {"images": 2},
        "oscillation": {"neighbours": 31},
        "manifold": {"images": 17},
    }
    plan, changed = planned(), planned(figures=others)
    for kind in KINDS:
        same = [one.name for one in analyses(plan, kind)] == [one.name for one in analyses(changed, kind)]
        assert same == (kind not in others)
    seeded = planned(evaluation={"seed": 1})
    assert set(seeded.analyses) & set(plan.analyses) == {analysis.name for analysis in analyses(plan, "toy")}


def test_tangents_look_at_the_first_method_that_looks_through_the_classifier(planned):
    run = shown(planned(), "tangents")
    assert (run.training.name, run.batch_size, run.seed) == ("ayt", 8, 0)
    ours = {"methods": {"mine": {"loss": "hybrid", "classifier": "others"}}, "seeds": [3, 1]}
    ours["classifiers"] = {"others": {"group": "geo", "widths": [8, 8], "convs": [1, 1]}}
    assert shown(planned(**ours, figures={"tangents": {"classifier": "others"}}), "tangents").training.name == "hybrid"
    ours["classifiers"]["unused"] = ours["classifiers"]["others"]
    run = shown(planned(**ours, figures={"tangents": {"classifier": "unused"}}), "tangents")
    assert (run.training.name, run.seed) == ("ect", 3)
    run = shown(planned(figures={"tangents": {"method": "ect", "batch_size": 4}}), "tangents")
    assert (run.training.name, run.batch_size) == ("ect", 4)


def test_oscillation_shows_each_method_that_has_the_batch_size_and_the_seed(planned):
    def runs(**options):
        plan = planned(methods={"ayt": {"batch_sizes": [8], "seeds": [0, 5]}}, figures={"oscillation": options})
        found = [analysis.weights["model"].run for analysis in analyses(plan, "oscillation")]
        return [(run.training.name, run.batch_size, run.seed) for run in found]

    assert runs() == [("ect", 4, 0), ("ayt", 8, 0)]
    assert runs(batch_size=8) == [("ect", 8, 0), ("ayt", 8, 0)]
    assert runs(seed=5) == [("ayt", 8, 5)]
    assert runs(methods=["ect"]) == [("ect", 4, 0)]


def test_oscillation_follows_ayts_direction_if_asked(planned):
    plan = planned(figures={"oscillation": {"classifier": "transformations"}})
    for analysis in analyses(plan, "oscillation"):
        assert list(analysis.weights) == ["model", "classifier"]
        assert analysis.weights["classifier"].path in analysis.inputs


def test_published_classifiers_do_where_nothing_of_their_training_is_asked(planned):
    published = {"published": {"checkpoint": "vgg-of-others", "widths": [8, 8], "convs": [1, 1]}}
    for kind in ("tangents", "oscillation"):
        plan = planned(classifiers=published, figures={kind: {"classifier": "published"}})
        for analysis in analyses(plan, kind):
            assert analysis.weights["classifier"].name == "vgg-of-others"
            assert paths.checkpoint("vgg-of-others") in analysis.inputs
    for kind in ("manifold", "transformations"):
        with pytest.raises(UserError, match="is a published checkpoint; only classifiers trained here"):
            planned(classifiers=published, figures={kind: {"classifier": "published"}})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tangents": {"method": "ct"}}, "tangents.method = 'ct': not in this experiment; did you mean ect?"),
        ({"tangents": {"batch_size": 5}}, "tangents.batch_size = 5: not in this experiment; choose from 4, 8"),
        ({"tangents": {"seed": 5}}, "tangents.seed = 5: not in this experiment; choose from 0"),
        ({"tangents": {"images": 2000}}, "tangents.images = 2000: more than the dataset has (1797 images)"),
        ({"tangents": {"times": [1.0, 1.0]}}, "tangents.times: 1.0 is listed twice"),
        ({"tangents": {"times": [0.0]}}, "tangents.times.0 = 0.0: must be greater than 0"),
        ({"tangents": {"classifier": "labels"}}, "tangents.classifier = 'labels': its task is not 'transformations'"),
        ({"oscillation": {"methods": ["ct"]}}, "oscillation.methods = 'ct': not in this experiment"),
        ({"oscillation": {"batch_size": 5}}, "oscillation.batch_size = 5: not in this experiment; choose from 4, 8"),
        ({"oscillation": {"images": 2000}}, "oscillation.images = 2000: more than the dataset has (1797 images)"),
        ({"oscillation": {"neighbours": 1798}}, "oscillation.neighbours = 1798: more than the dataset has"),
        ({"oscillation": {"dimensions": 32}}, "oscillation.dimensions = 32: must be below neighbours = 32"),
        ({"oscillation": {"classifier": "none"}}, "oscillation.classifier = 'none': unknown classifier"),
        ({"manifold": {"images": 2000}}, "manifold.images = 2000: more than the dataset has (1797 images)"),
        ({"manifold": {"classifier": "labels"}}, "manifold.classifier = 'labels': its task is not 'transformations'"),
        ({"toy": {"toy": "torus"}}, "toy.toy = 'torus': not in this experiment; choose from curve"),
    ],
)
def test_mistakes_are_told_in_a_line(planned, changes, message):
    with pytest.raises(UserError) as error:
        planned(figures=changes)
    (line,) = str(error.value).splitlines()
    assert f"--config: figures.{message}" in line


def test_a_batch_size_and_a_seed_that_no_method_has_together(planned):
    own = {"ect": {"batch_sizes": [4], "seeds": [0]}, "ayt": {"batch_sizes": [8], "seeds": [5]}}
    with pytest.raises(UserError, match="batch_size = 4: no method has it together with seed 5"):
        planned(methods=own, figures={"oscillation": {"batch_size": 4, "seed": 5}})


def test_a_figure_of_a_toy_needs_one(tmp_path):
    file = tmp_path / "none.yaml"
    file.write_text("{dataset: cifar10, methods: [ect], batch_sizes: [8], figures: {toy: {kind: toy}}}")
    with pytest.raises(UserError, match=r"figures\.toy\.toy: the experiment has no toys"):
        load([file])


def test_transformations_and_recognition(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (2, 8, 1, 8, 8), dtype=np.uint8)
    arrays = {
        "data": pixels[0],
        "names": np.array(["scale", "blur"]),
        "transformed": pixels,
        "label": np.array(["scale", "blur"]),
        "r2": np.array([0.5, -0.2]),
        "images": np.array(4096),
    }
    draw_transformations(arrays, tmp_path / "a", "Title")
    picture = np.asarray(Image.open(tmp_path / "a.png").convert("L"))
    assert picture.shape[1] == 1400
    assert picture.std() > 5
    rows = pd.read_csv(tmp_path / "a.csv")
    assert list(rows["r2"]) == [0.5, -0.2]
    assert set(rows["images"]) == {4096}


def test_the_diffusion_model_is_sampled_for_the_figure_of_samples_if_asked(planned):
    assert analyses(planned(), "samples") == []
    (analysis,) = analyses(planned(figures={"samples": {"teacher_steps": 3}}), "samples")
    assert list(analysis.weights) == ["start"]
    assert analysis.inputs == (analysis.weights["start"].path,)
    for shown, same in (({"methods": ["ect"], "steps": 2, "title": "x"}, True), ({"columns": 3}, False)):
        (other,) = analyses(planned(figures={"samples": {"teacher_steps": 3, **shown}}), "samples")
        assert (other.name == analysis.name) == same
    (published,) = analyses(
        planned(start={"checkpoint": "of-others", "pretrain": None}, figures={"samples": {"teacher_steps": 3}}),
        "samples",
    )
    assert published.content()["dataset"]["name"] == "digits"
    assert published.inputs == (paths.checkpoint("of-others"),)


def test_samples_of_the_diffusion_model_are_the_first_row(planned, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    plan = planned(figures={"samples": {"teacher_steps": 3, "columns": 5}})
    figure = plan.experiment.figures["samples"]
    start = plan.pretrained
    torch.manual_seed(0)
    network = build_network(start.record)
    state = TrainingState(network, Optimiser.of(start.record.training), start.name)
    state.iteration = start.iterations
    state.save_snapshots({"": plan.start.path})
    (analysis,) = analyses(plan, "samples")
    found = figure.compute(analysis, torch.device("cpu"))
    assert found["images"].shape == (5, 1, 8, 8)
    where = (range(5), (1, 8, 8), 0, torch.device("cpu"))
    theirs = draw_diffusion_samples(lambda labels: bind(network.eval(), labels), 3, 0, *where)
    assert (found["images"] == to_uint8(theirs).numpy()).mean() > 0.99  # memory's layout may round otherwise

    for run, grid in plan.grids():
        write_arrays(grid.result(run.folder, run.iterations), {"images": np.zeros((5, 1, 8, 8), np.uint8)})
    said = []
    monkeypatch.setattr(style, "finish", lambda drawn, out, title, caption, table: said.append((caption, table)))
    figure.make(plan, "tiny", tmp_path / "samples")
    assert "the diffusion model" in said[0][0]
    write_arrays(analysis.path, found)
    figure.make(plan, "tiny", tmp_path / "samples")
    (missing, few), (caption, table) = said
    assert "Not there yet: the diffusion model." in missing
    assert "First row: the diffusion model that all start from, 3 Euler steps." in caption
    assert list(table["label"]) == ["diffusion model", *few["label"]]
    assert table.loc[0, "run"] == start.name
