"""Analyses of trained networks: from their records to figures."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from PIL import Image

from ayt import cli
from ayt.analysis import manifold, oscillation, spaces, tangents
from ayt.base import paths
from ayt.base.arrays import read_arrays
from ayt.base.errors import UserError
from ayt.base.images import Images
from ayt.datasets.digits import Digits
from ayt.datasets.photos import Photos
from ayt.experiment import load
from ayt.features.distance import freeze, mfd
from ayt.methods.ect import Ect
from ayt.networks.modules.ddpmpp import DDPMpp
from ayt.networks.modules.precond import EDMPrecond, bind
from ayt.networks.modules.vgg import VGG
from ayt.plan.plan import Plan
from ayt.plan.runs import Snapshot
from ayt.reporting.figures.manifold import draw_manifold
from ayt.reporting.figures.oscillation import Followed, draw_oscillation
from ayt.reporting.figures.tangents import draw_tangents
from ayt.training.loop import train
from ayt.training.state import Optimiser, TrainingState
from ayt.training.work import build_network, work_of

CPU = torch.device("cpu")
ECT = Ect(batch_sizes=[4])

CLASSIFIER = {"widths": [8, 8], "convs": [1, 1], "iterations": 8, "batch_size": 16}
EXPERIMENT = {
    "dataset": "digits",
    "network": {"channels": 16, "channel_mult": [1], "blocks": 1, "attention": [], "conditional": True},
    "start": {"pretrain": {"iterations": 8, "batch_size": 16}},
    "classifiers": {
        "transformations": {"group": "geo_deg", **CLASSIFIER},
        "labels": {"task": "labels", **CLASSIFIER},
    },
    "training": {"iterations": 8, "segment": 4, "ema": 0.9, "lr": 0.01},
    "batch_sizes": [4],
    "methods": {"ect": None, "ayt": None, "hybrid": {"ramp": 4}},
    "figures": {
        "tangents": {"kind": "tangents", "images": 5, "times": [1.0, 0.2]},
        "oscillation": {
            "kind": "oscillation",
            "methods": ["ect", "ayt"],
            "classifier": "transformations",
            "iterations": 3,
            "images": 2,
            "times": [0.5, 3.0],
            "neighbours": 12,
            "dimensions": 5,
        },
        "manifold": {"kind": "manifold", "images": 5},
        "transformations": {"kind": "transformations"},
    },
    "tables": {},
    "evaluation": {"samples": 32, "grid": 16},
}


def digits():
    return Images.of(Digits().load())


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The plan of `EXPERIMENT`, in whose folder its runs were trained and its records written."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("trained"))
        with Path("small.yaml").open("w") as file:
            yaml.safe_dump(EXPERIMENT, file, sort_keys=False)
        plan = Plan(load([Path("small.yaml")]))
        plan.write_records()
        images = digits()
        for run in plan.runs.values():
            if run.name.startswith("classifier_labels"):
                continue
            for segment in run.segments:
                train(run.record, run.folder, segment, images, CPU)
        yield plan


def run_of(plan, method):
    return next(run for name, run in plan.methods_and_runs() if name == method)


def files(folder):
    return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("method", ["ect", "ayt", "hybrid"])
def test_training_further_trains_as_training_does_and_writes_nothing(trained, method):
    run = run_of(trained, method)
    images, points = digits(), tangents.choose_points(digits(), 2, 0)
    before = files(paths.RESULTS)
    reached = []
    for state in oscillation.train_further(Snapshot(run.record, 4), 4, images):
        reached.append(state.iteration)
        # What is looked at in between leaves no trace.
        work = work_of(run.record, run.folder, CPU, state.network)
        followed = oscillation.choose_tangents(run.record.training.pair_loss(work), None)
        oscillation.take_tangents(work.bound_denoiser(points.labels), points, 1.0, ECT, 0, followed, state.iteration)
    assert reached == [4, 5, 6, 7, 8]
    whole = TrainingState(build_network(run.record), Optimiser.of(run.record.training), run.name)
    whole.load(paths.state(run.folder, 8))
    for ours, theirs in zip(
        [*state.parameters, *state.average.parameters()], [*whole.parameters, *whole.average.parameters()], strict=True
    ):
        assert torch.equal(ours, theirs)
    assert files(paths.RESULTS) == before


def test_training_further_needs_a_state(trained):
    with pytest.raises(UserError, match=r"0000006.safetensors: no such file; .* here at iterations: 4, 8"):
        next(oscillation.train_further(Snapshot(run_of(trained, "ect").record, 6), 4, digits()))


def check_pictures(out, columns):
    pixels = np.asarray(Image.open(out.with_suffix(".png")).convert("L"))
    assert pixels.shape[1] == 1400
    assert pixels.std() > 5
    assert set(columns) <= set(pd.read_csv(out.with_suffix(".csv")).columns)


def analyse(record):
    return cli.main(["analyse", str(record), "--device", "cpu", "--threads", "1"])


def carry_out(plan, name, columns, out):
    """Carry out the analyses of a figure and draw it; returns what was found."""
    figure = plan.experiment.figures[name]
    for analysis in figure.analyses(plan):
        assert all(path.exists() for path in analysis.inputs)
        assert analyse(analysis.record) == 0
    figure.make(plan, "small", out)
    check_pictures(out, columns)
    return [read_arrays(path) for path in figure.inputs(plan)]


def test_tangents_from_record_to_figure(trained, tmp_path):
    (found,) = carry_out(trained, "tangents", ["t", "direction", "mean", "images"], tmp_path / "a")
    assert found["t"].tolist() == pytest.approx([0.2, 1])
    assert found["feature"].shape == (2, 5, 1, 8, 8)
    for name in ("difference", "derivative", "feature"):
        np.testing.assert_allclose(np.linalg.norm(found[name], axis=(3, 4)), 1, rtol=1e-5)
    assert found["cosine_derivative"].min() > 0.99
    one = {
        name: values[:1] if name == "x" else values[:, :1] if values.ndim > 1 else values
        for name, values in found.items()
    }
    draw_tangents(one, tmp_path / "one", "Title", "the network")
    check_pictures(tmp_path / "one", ["t"])


def test_oscillation_from_records_to_figure(trained, tmp_path):
    ect, ayt = carry_out(trained, "oscillation", ["label", "kind", "lag", "value", "chance"], tmp_path / "a")
    assert ect["kinds"].tolist() == ["own", "pixel", "feature"]
    assert ect["lag"].shape == ect["successive"].shape == (3, 2, 2, 3)
    assert ect["shares"].shape == (2, 3, 4, 2, 2)
    np.testing.assert_allclose(ect["successive"].mean(3), ect["lag"][..., 0], rtol=1e-5)
    np.testing.assert_allclose(ect["lag"][0], ect["lag"][1], atol=1e-5)
    assert (ect["space_dimension"][0] == 5).all()
    assert ((ect["shares"] > 0) & (ect["shares"] < 1)).all()
    assert not np.allclose(ayt["lag"][0], ayt["lag"][1], atol=1e-4)
    np.testing.assert_allclose(ayt["lag"][0], ayt["lag"][2], atol=1e-3)  # what AYT's loss follows is AYT's direction
    runs = [Followed("ECT", 4, 8, ect), Followed("L1", 4, 8, {**ect, "t": ect["t"] * 2})]
    with pytest.raises(UserError, match="different noise levels"):
        draw_oscillation(runs, tmp_path / "b", "")


def test_oscillation_is_drawn_from_the_runs_that_are_there(trained, tmp_path):
    figure = trained.experiment.figures["oscillation"]
    first, second = figure.analyses(trained)
    for analysis in (first, second):
        analysis.path.unlink(missing_ok=True)
    with pytest.raises(UserError, match="no such file, nor those of the other runs"):
        figure.make(trained, "small", tmp_path / "a")
    assert analyse(second.record) == 0
    figure.make(trained, "small", tmp_path / "a")
    assert set(pd.read_csv(tmp_path / "a.csv")["label"]) == {"AYT"}
    assert "Not there yet: ECT, batch size 4, seed 0." in (tmp_path / "a.html").read_text()


def test_manifold_from_record_to_figure(trained, tmp_path):
    (found,) = carry_out(trained, "manifold", ["kind", "image_distance", "mfd", "ratio"], tmp_path / "a")
    assert found["mfd"].shape == found["untrained_ratio"].shape == (8, 8, 5)
    assert not np.allclose(found["ratio"], found["untrained_ratio"], rtol=1e-2, equal_nan=True)


def test_transformations_from_record_to_figure(trained, tmp_path):
    (found,) = carry_out(trained, "transformations", ["label", "r2", "images"], tmp_path / "a")
    assert found["names"].tolist() == ["scale", "rotate", "aniso", "translate", "blur", "mixup", "noise"]
    assert found["transformed"].shape == (7, 8, 1, 8, 8)
    assert len(found["r2"]) == len(found["label"]) == 10


def test_a_network_is_told_the_labels_of_the_images(trained):
    run = run_of(trained, "ect")
    network = build_network(run.record)
    points = tangents.choose_points(digits(), 3, 0)
    for parameter in network.parameters():  # else the last layers make 0 of everything
        torch.nn.init.normal_(parameter, std=0.1)
    outputs = [
        tangents.pair_at(bind(network, labels), points, 1.0, ECT, 0)[0]
        for labels in (points.labels, (points.labels + 1) % 10)
    ]
    assert not torch.allclose(*outputs, atol=1e-3)


def test_the_same_record_gives_the_same_bytes(trained):
    (analysis,) = trained.experiment.figures["tangents"].analyses(trained)
    contents = []
    for _ in range(2):
        assert analyse(analysis.record) == 0
        contents.append(analysis.path.read_bytes())
    assert contents[0] == contents[1]


def test_colour_images(tmp_path):
    """Untrained networks for photographs, through everything."""
    images = Images.of(Photos(crops=40).load())
    torch.manual_seed(0)
    network = EDMPrecond(DDPMpp(32, 3, channels=8, channel_mult=(1, 1), blocks=1, attention=()))
    features = mfd(freeze(VGG(32, 3, 15, widths=[8, 8], convs=[1, 1])))
    points = tangents.choose_points(images, 4, 0)
    found = tangents.measure_tangents(network.eval().requires_grad_(False), points, [0.1, 1.0, 10.0], ECT, 0, features)
    assert found["feature"].shape == (3, 4, 3, 32, 32)
    draw_tangents(found, tmp_path / "a", "", "the network")
    check_pictures(tmp_path / "a", ["t"])
    responses = manifold.measure_responses(features, images, points, "geo_clr_deg")
    assert len(responses["kinds"]) == 10
    control = {f"untrained_{name}": responses[name] for name in ("ratio", "pair_ratio")}
    draw_manifold({**responses, **control}, tmp_path / "b", "", "the network")
    check_pictures(tmp_path / "b", ["kind"])
    assert spaces.dimension(spaces.neighbour_space(points.x, images, 20, 6)).tolist() == [6] * 4


def test_mistakes_are_one_line(trained, tmp_path, capfd):
    (analysis,) = trained.experiment.figures["tangents"].analyses(trained)
    edited, elsewhere = tmp_path / "edited.yaml", tmp_path / "elsewhere" / "record.yaml"
    edited.write_text(analysis.text.replace("images: 5", "images: 6"))
    moved = analysis.inputs[0].rename(analysis.inputs[0].with_suffix(".moved"))
    cases = {
        tmp_path / "nowhere.yaml": "nowhere.yaml: no such file",
        paths.run_record(run_of(trained, "ect").folder): "is not the record of",
        edited: "was edited: its content belongs to tangents-",
        analysis.record: "0000008.safetensors: no such file",
    }
    for record, message in cases.items():
        assert analyse(record) == 1
        (line,) = capfd.readouterr().err.splitlines()
        assert line.startswith("error: ")
        assert message in line
    moved.rename(analysis.inputs[0])
    assert not elsewhere.exists()
