"""Tangents, their oscillation and what features respond to: formulas, golden numbers, and from record to figure."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from PIL import Image
from recipe import golden, load_recipe

from ayt import cli
from ayt.analysis import manifold, oscillation, recognition, spaces, tangents
from ayt.base import paths
from ayt.base.arrays import read_arrays
from ayt.base.errors import UserError
from ayt.base.images import Images, to_float
from ayt.datasets.digits import Digits
from ayt.datasets.photos import Photos
from ayt.experiment import load
from ayt.features.distance import frozen, mfd
from ayt.methods.ect import Ect
from ayt.methods.formulas.losses import distance_loss, ect_loss, l2
from ayt.methods.formulas.schedules import t_to_r
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


def small_network():
    network = EDMPrecond(DDPMpp(16, 1, channels=32, channel_mult=(1, 2), blocks=1, attention=(8,)))
    return load_recipe(network).requires_grad_(False)


# Tangents


@pytest.mark.golden
def test_derivative_of_the_analytic_network():
    arrays = golden("ccd")
    x_t, v, t, a = (arrays[f"an_{name}"] for name in ("x_t", "v", "t", "a"))

    def D(x, t):
        t = t[:, None, None, None]
        return float(a) * (x * 0.5 / (1 + t) + 0.1 * torch.tanh(x) * torch.cos(t))

    found = tangents.differentiate(D, x_t - t[:, None, None, None] * v, v, t)
    torch.testing.assert_close(found, arrays["an_raw_tangent"], rtol=1e-4, atol=1e-5)


@pytest.mark.golden
def test_derivative_of_the_network():
    arrays = golden("ccd")
    x_0, eps, t, v = (arrays[f"unet_{name}"] for name in ("x0", "eps", "t", "v"))
    T = t[:, None, None, None]
    found = tangents.differentiate(small_network(), x_0 + T * eps - T * v, v, t)
    rms = found.square().mean((1, 2, 3), keepdim=True).sqrt()
    torch.testing.assert_close(found / (rms + 0.1), arrays["unet_tangent"], rtol=1e-3, atol=1e-4)


def test_the_difference_goes_to_the_derivative_with_its_step():
    network = small_network().double()
    x, eps = torch.randn(2, 3, 1, 16, 16).double()
    points = tangents.Points(torch.arange(3), torch.zeros(3, 4), x, torch.zeros(3).long(), eps)
    errors = []
    for q in (256.0, 2560.0, 25600.0):
        found = tangents.measure(network, points, [0.5, 2.0], ECT.model_copy(update={"q": q}), 0, l2)
        lengths = np.abs(found["difference_norm"] / found["derivative_norm"] - 1).max()
        errors.append(max(lengths, np.linalg.norm(found["difference"] - found["derivative"], axis=(3, 4)).max()))
    assert errors[0] < 0.1
    assert errors[1] < 0.15 * errors[0]
    assert errors[2] < 0.15 * errors[1]
    assert found["cosine_derivative"].min() > 1 - 1e-6
    np.testing.assert_allclose(found["feature"], found["difference"], atol=1e-9)  # for the squared L2 distance
    np.testing.assert_allclose(found["cosine_feature"], 1)
    np.testing.assert_allclose(found["r"], t_to_r(torch.tensor([0.5, 2.0]).double(), 25600.0))


@pytest.mark.golden
def test_aligned_tangents_are_the_gradients_of_their_losses():
    arrays = golden("losses_step", torch.float64)
    D_t, D_r, w = (arrays[f"ayt_{key}"] for key in ("Dt", "Dr", "w"))
    distance = mfd(frozen(load_recipe(VGG(), 1000, 2**0.5).double()))
    aligned = tangents.unit(arrays["ayt_mfd_unit_g"])
    for found in (
        oscillation.feature_tangent(distance)(D_t, D_r, w, 0),
        oscillation.loss_tangent(distance_loss(distance, weighted=False))(D_t, D_r, w, 0),
    ):
        assert ((found - aligned).flatten(1).norm(dim=1) < 5e-3).all()  # what float32 left the golden numbers
    ect = oscillation.loss_tangent(ect_loss(0.0))(D_t, D_r, w, 0)
    torch.testing.assert_close(ect, oscillation.pixel_tangent(D_t, D_r, w, 0))
    torch.testing.assert_close(tangents.cosine(ect, D_t - D_r), torch.ones(len(ect)).double())


def test_a_tangent_of_nothing_is_nothing():
    zero = torch.zeros(2, 1, 4, 4)
    assert not tangents.unit(zero).any()
    assert not tangents.cosine(zero, torch.ones_like(zero)).any()
    assert not spaces.share(zero, torch.eye(16)[:3].expand(2, 3, 16)).any()


def test_points_are_images_of_the_dataset_with_their_labels_and_others():
    images = digits()
    points = tangents.choose(images, 20, seed=1)
    assert torch.equal(points.x, to_float(images.pixels[points.places]))
    assert torch.equal(points.labels, images.labels[points.places])
    assert (points.others != points.places[:, None]).all()
    assert not torch.equal(points.x, tangents.choose(images, 20, seed=2).x)
    with pytest.raises(UserError, match="cannot look at 2000 images: the dataset has 1797"):
        tangents.choose(images, 2000, 0)


# The data manifold


@pytest.fixture(scope="module")
def plane():
    """Images in a plane through the middle grey, spanned by a horizontal and a vertical step."""
    across = torch.ones(8, 8)
    across[:, :4] = -1
    steps = torch.randint(-100, 101, (300, 2), generator=torch.Generator().manual_seed(0))
    pixels = 127 + (steps[:, :1, None] * across + steps[:, 1:, None] * across.T).clamp(-127, 128)
    # Where the two add up to more than a pixel holds, the plane would be left.
    pixels = pixels[(steps.abs().sum(1) <= 127)]
    return Images(pixels[:, None].to(torch.uint8), torch.zeros(len(pixels))), torch.stack([across, across.T])[:, None]


def test_shares_of_directions_in_and_out_of_a_plane(plane):
    images, directions = plane
    points = to_float(images.pixels[:2])
    space = spaces.neighbour_space(points, images, neighbours=12, dimensions=4)
    assert spaces.dimension(space).tolist() == [2, 2]
    torch.testing.assert_close(spaces.share(directions, space), torch.ones(2))
    noise = torch.randn(2, 1, 8, 8)
    outside = noise - sum((noise * v).sum((1, 2, 3), keepdim=True) / 64 * v for v in directions)
    assert (spaces.share(outside, space) < 1e-10).all()
    between = 3 * tangents.unit(outside) + 4 * tangents.unit(directions)
    torch.testing.assert_close(spaces.share(between, space), torch.full((2,), 0.64))


def test_the_nearest_images_are_found_in_blocks(monkeypatch):
    images = digits()
    x = to_float(images.pixels[[5, 1700]])
    expected = torch.cdist(x.flatten(1), to_float(images.pixels).flatten(1)).topk(6, largest=False)
    monkeypatch.setattr(spaces, "BLOCK", 100)
    index, distances = spaces.nearest(x, images, 6)
    assert torch.equal(index, expected.indices)
    assert index[:, 0].tolist() == [5, 1700]
    torch.testing.assert_close(distances, expected.values)


def blob():
    """A smooth image (1, 3, 32, 32), and its derivatives to the right and down."""
    y, x = torch.meshgrid(torch.arange(32.0) - 14, torch.arange(32.0) - 17, indexing="ij")
    image = torch.exp(-(x**2 + 2 * y**2) / 60)
    image, right, down = (part.expand(1, 3, 32, 32) for part in (image, -x / 30 * image, -y / 15 * image))
    return image * torch.tensor([1.0, 0.5, -0.5])[:, None, None], right, down


def test_transformations_have_their_derivatives_as_directions():
    image, right, down = blob()
    colours = torch.tensor([1.0, 0.5, -0.5])[:, None, None]
    found = spaces.transformation_directions(image)
    names = [name for name, _ in spaces._parameters(3)]
    assert names[:6] == ["scale", "rotate", "aniso", "aniso", "translate", "translate"]
    assert names[6:] == ["brightness", "contrast", "hue", "saturation"]
    width = 0.125 * 32
    for place, expected in ((4, -width * right * colours), (5, -width * down * colours)):
        error = (found[:, place] - expected)[..., 4:-4, 4:-4]  # at the edges images are reflected
        assert error.norm() < 0.01 * expected.norm()
    torch.testing.assert_close(found[:, 6], torch.full_like(image, 0.2), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(found[:, 7], 0.5 * np.log(2) * image, rtol=1e-3, atol=1e-3)
    space = spaces.transformation_space(image)
    assert spaces.dimension(space).tolist() == [10]
    assert spaces.share(right * colours, space) > 0.99
    grey = spaces.transformation_space(image.mean(1, keepdim=True))
    assert spaces.dimension(grey).tolist() == [8]
    # On a uniform image nothing but its brightness can change.
    assert spaces.dimension(spaces.transformation_space(torch.full((1, 1, 8, 8), 0.5))).tolist() == [1]


# Oscillation


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
    images, points = digits(), tangents.choose(digits(), 2, 0)
    before = files(paths.RESULTS)
    reached = []
    for state in oscillation.train_further(Snapshot(run.record, 4), 4, images):
        reached.append(state.iteration)
        # What is looked at in between leaves no trace.
        work = work_of(run.record, run.folder, CPU, state.network)
        followed = oscillation.choose_tangents(run.record.training.pair_loss(work), None)
        oscillation.take_tangents(work.bound(points.labels), points, 1.0, ECT, 0, followed, state.iteration)
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


def test_a_method_that_compares_no_outputs_has_no_tangent_of_its_own():
    assert list(oscillation.choose_tangents(None, None)) == ["pixel"]
    assert list(oscillation.choose_tangents(ect_loss(0.0), l2)) == ["own", "pixel", "feature"]


def test_cosines_by_lag_by_hand():
    v, u = torch.eye(4)[0], torch.eye(4)[1]
    swinging = torch.stack([v, -v, v, u])[:, None, None, None]  # (M+1, T, S, K, n)
    lags, successive = oscillation._cosines(swinging)
    assert successive.flatten().tolist() == [-1, -1, 0]
    assert lags.flatten().tolist() == pytest.approx([-2 / 3, 0.5, 0])


# What features respond to


def test_noise_has_exactly_the_norms_stated():
    images = torch.rand(3, 3, 8, 8)
    eps = torch.randn(3, 3, 8, 8)
    for norm in (1e-2, 1.0, 30.0):
        added = manifold.add_noise(images, eps, norm) - images
        torch.testing.assert_close(added.flatten(1).norm(dim=1), torch.full((3,), norm), rtol=1e-4, atol=0)
        torch.testing.assert_close(tangents.cosine(added, eps), torch.ones(3), rtol=1e-4, atol=0)


def test_the_image_distance_itself_responds_to_everything_alike():
    """With the L2 distance in MFD's place every ratio is 1, and at twice the strength mixup is twice as far."""
    images = Images.of(Photos(crops=64).load())
    points = tangents.choose(images, 6, 0)
    found = manifold.measure(lambda a, b: (a - b).flatten(1).norm(dim=1), images, points, "geo")
    for name in ("ratio", "pair_ratio"):
        known = found[name][np.isfinite(found[name])]
        assert len(known) > 0.8 * found[name].size
        np.testing.assert_allclose(known, 1, rtol=1e-4)
    kinds = list(found["kinds"])
    assert kinds[:8] == ["scale", "rotate", "aniso", "translate", "brightness", "contrast", "hue", "saturation"]
    assert found["learnt"].tolist() == [True] * 4 + [False] * 6
    mixup = found["image"][kinds.index("mixup")]
    np.testing.assert_allclose(mixup[0], 2 * mixup[1], rtol=1e-4)
    brightness = found["image"][kinds.index("brightness")]
    np.testing.assert_allclose(brightness, np.outer(0.5 ** np.arange(8), np.full(6, 0.2 * 3072**0.5)), rtol=1e-3)
    np.testing.assert_allclose(found["noise_mfd"], np.repeat(found["noise_image"][:, None], 6, 1), rtol=1e-4)
    assert (found["pair_image"][0] <= found["pair_image"][1] + 1e-4).all()


def test_r_squared_of_knowing_all_and_of_knowing_nothing(monkeypatch):
    """What is given the labels explains all of their variance, their mean none of it."""
    images = digits()
    seen = []
    transform = recognition.transform

    def remember(*arguments):
        seen.append(transform(*arguments))
        return seen[-1]

    monkeypatch.setattr(recognition, "transform", remember)
    perfect = recognition.measure_r2(lambda x: seen[-1][1], images, "geo", 0.5, seed=3)
    assert perfect["label"].tolist()[:3] == ["scale", "rotation, cos - 1", "rotation, sin"]
    np.testing.assert_allclose(perfect["r2"], 1)
    mean = torch.cat([labels for _, labels in seen]).mean(0)
    constant = recognition.measure_r2(lambda x: mean.expand(len(x), -1), images, "geo", 0.5, seed=3)
    np.testing.assert_allclose(constant["r2"], 0, atol=1e-5)
    assert int(constant["images"]) == 4096


# From records to figures


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
    points = tangents.choose(digits(), 3, 0)
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
    features = mfd(frozen(VGG(32, 3, 15, widths=[8, 8], convs=[1, 1])))
    points = tangents.choose(images, 4, 0)
    found = tangents.measure(network.eval().requires_grad_(False), points, [0.1, 1.0, 10.0], ECT, 0, features)
    assert found["feature"].shape == (3, 4, 3, 32, 32)
    draw_tangents(found, tmp_path / "a", "", "the network")
    check_pictures(tmp_path / "a", ["t"])
    responses = manifold.measure(features, images, points, "geo_clr_deg")
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
        edited: "was edited: what it says belongs to tangents-",
        analysis.record: "0000008.safetensors: no such file",
    }
    for record, message in cases.items():
        assert analyse(record) == 1
        (line,) = capfd.readouterr().err.splitlines()
        assert line.startswith("error: ")
        assert message in line
    moved.rename(analysis.inputs[0])
    assert not elsewhere.exists()
