"""Tangents, their oscillation and what features respond to: formulas, golden numbers, verbs and figures."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import ROOT
from PIL import Image
from recipe import golden, load_recipe

from ayt import cli, data, models, paths
from ayt.analysis import manifold, oscillation, spaces, tangents
from ayt.config import load
from ayt.config.schema import Dataset
from ayt.consistency.losses import distance_loss, ect_loss, l2
from ayt.consistency.schedules import t_to_r
from ayt.data import Images
from ayt.errors import UserError
from ayt.features.distance import frozen, mfd
from ayt.figures import manifold as manifold_figure
from ayt.figures import oscillation as oscillation_figure
from ayt.figures import tangents as tangents_figure
from ayt.files import write_text
from ayt.networks.classifier import VGG
from ayt.networks.precond import EDMPrecond
from ayt.networks.unet import DDPMpp
from ayt.plan import Plan
from ayt.specs import Times, read_record, record_text
from ayt.training import tasks
from ayt.training.loop import Segment, train
from ayt.training.state import TrainingState

CPU = torch.device("cpu")
TIMES = Times(mean=-1.1, std=2.0, q=256.0, n="sigmoid", k=8.0, b=1.0, stage_iterations=None)


def small_network():
    network = EDMPrecond(DDPMpp(16, 1, channels=32, channel_mult=(1, 2), blocks=1, attention=(8,)))
    return load_recipe(network).requires_grad_(False)


# Tangents


@pytest.mark.golden
def test_derivative_of_the_analytic_network():
    arrays = golden("ccd")
    x_t, v, t, a = (arrays[f"an_{name}"] for name in ("x_t", "v", "t", "a"))

    def network(x, t):
        t = t[:, None, None, None]
        return float(a) * (x * 0.5 / (1 + t) + 0.1 * torch.tanh(x) * torch.cos(t))

    found = tangents.derivative(network, x_t - t[:, None, None, None] * v, v, t)
    torch.testing.assert_close(found, arrays["an_raw_tangent"], rtol=1e-4, atol=1e-5)


@pytest.mark.golden
def test_derivative_of_the_network():
    arrays = golden("ccd")
    x_0, eps, t, v = (arrays[f"unet_{name}"] for name in ("x0", "eps", "t", "v"))
    T = t[:, None, None, None]
    found = tangents.derivative(small_network(), x_0 + T * eps - T * v, v, t)
    rms = found.square().mean((1, 2, 3), keepdim=True).sqrt()
    torch.testing.assert_close(found / (rms + 0.1), arrays["unet_tangent"], rtol=1e-3, atol=1e-4)


def test_the_difference_goes_to_the_derivative_with_its_step():
    network = small_network().double()
    points = tangents.Points(
        torch.arange(3), torch.zeros(3, 4), torch.randn(3, 1, 16, 16).double(), torch.randn(3, 1, 16, 16).double()
    )
    errors = []
    for q in (256.0, 2560.0, 25600.0):
        found = tangents.measure(network, points, [0.5, 2.0], TIMES.model_copy(update={"q": q}), 0, l2)
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
        oscillation.in_features(distance)(D_t, D_r, w, 0),
        oscillation.of_loss(distance_loss(distance, weighted=False))(D_t, D_r, w, 0),
    ):
        assert ((found - aligned).flatten(1).norm(dim=1) < 5e-3).all()  # what float32 left the golden numbers
    ect = oscillation.of_loss(ect_loss(0.0))(D_t, D_r, w, 0)
    torch.testing.assert_close(ect, oscillation.in_pixels(D_t, D_r, w, 0))
    torch.testing.assert_close(tangents.cosine(ect, D_t - D_r), torch.ones(len(ect)).double())


def test_a_tangent_of_nothing_is_nothing():
    zero = torch.zeros(2, 1, 4, 4)
    assert not tangents.unit(zero).any()
    assert not tangents.cosine(zero, torch.ones_like(zero)).any()
    assert not spaces.share(zero, torch.eye(16)[:3].expand(2, 3, 16)).any()


def test_points_are_images_of_the_dataset_with_others():
    images = data.load(Dataset(name="digits"))
    points = tangents.choose(images, 20, seed=1)
    assert torch.equal(points.x, data.to_float(images.pixels[points.places]))
    assert (points.others != points.places[:, None]).all()
    assert not torch.equal(points.x, tangents.choose(images, 20, seed=2).x)
    with pytest.raises(UserError, match="--images 2000: the dataset has 1797"):
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
    points = data.to_float(images.pixels[:2])
    space = spaces.neighbour_space(points, images, neighbours=12, dimensions=4)
    assert spaces.dimension(space).tolist() == [2, 2]
    torch.testing.assert_close(spaces.share(directions, space), torch.ones(2))
    noise = torch.randn(2, 1, 8, 8)
    outside = noise - sum((noise * v).sum((1, 2, 3), keepdim=True) / 64 * v for v in directions)
    assert (spaces.share(outside, space) < 1e-10).all()
    between = 3 * tangents.unit(outside) + 4 * tangents.unit(directions)
    torch.testing.assert_close(spaces.share(between, space), torch.full((2,), 0.64))


def test_the_nearest_images_are_found_in_blocks(monkeypatch):
    images = data.load(Dataset(name="digits"))
    x = data.to_float(images.pixels[[5, 1700]])
    expected = torch.cdist(x.flatten(1), data.to_float(images.pixels).flatten(1)).topk(6, largest=False)
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
    """The folders of tiny runs, trained to iteration 8: ECT from 4 on to 6 and 8, and what they are made from."""
    root = tmp_path_factory.mktemp("runs")
    tiny = ROOT / "tests" / "experiments" / "tiny.yaml"
    plan = Plan(load([tiny], {"training": {"dropout": 0.2}, "methods": {"hybrid": {"ramp": 4}}, "batch_sizes": [4]}))
    chosen = {name: next(run for run in plan.trained if run.name.startswith(name)) for name in ("ect", "ayt", "hybrid")}
    classifier = next(run for run in plan.runs.values() if "geo_deg" in run.name)
    for run in (plan.pretrained, classifier, *chosen.values()):
        folder = root / run.name
        write_text(paths.run_record(folder), record_text(run.spec))
        segments = [(0, 4), (4, 6), (6, 8)] if run in chosen.values() else [(0, run.iterations)]
        for start, stop in segments:
            train(run.spec, folder, Segment(start, stop, stop - start), data.load(run.spec.dataset), CPU)
    return {name: root / run.name for name, run in {**chosen, "classifier": classifier}.items()}


def record(folder):
    return paths.run_record(folder)


def files(folder):
    return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("method", ["ect", "ayt", "hybrid"])
def test_the_probe_trains_as_training_does_and_writes_nothing(trained, method):
    folder = trained[method]
    spec = read_record(record(folder))
    images = data.load(spec.dataset)
    before = files(folder.parent)
    states = oscillation.further(spec, folder, 4, 2, images, CPU)
    reached = []
    for state in states:
        reached.append(state.iteration)
        # What the probe looks at in between leaves no trace.
        points = tangents.choose(images, 2, 0)
        tangent = oscillation.of_loss(tasks.consistency_loss(spec.loss, l2))
        oscillation._tangents(state.network, spec, points, 1.0, 0, {"own": tangent}, state.iteration)
    assert reached == [4, 5, 6]
    whole = TrainingState(models.build(spec), spec.optimiser, spec.name)
    whole.load(paths.state(folder, 6))
    for ours, theirs in zip(
        [*state.parameters, *state.average.parameters()], [*whole.parameters, *whole.average.parameters()], strict=True
    ):
        assert torch.equal(ours, theirs)
    assert files(folder.parent) == before


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
    images = data.load(Dataset(name="photos", crops=64))
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


# Verbs and figures


def check_pictures(out, columns):
    pixels = np.asarray(Image.open(out.with_suffix(".png")).convert("L"))
    assert pixels.shape[1] == 1400
    assert pixels.std() > 5
    assert set(columns) <= set(pd.read_csv(out.with_suffix(".csv")).columns)


def run(*arguments):
    return cli.main([*map(str, arguments), "--device", "cpu", "--threads", "1"])


def read(path):
    with np.load(path, allow_pickle=False) as arrays:
        return dict(arrays)


def test_tangents_from_snapshot_to_figure(trained, tmp_path):
    by_record = f"{record(trained['classifier'])}@8"
    by_json = json.dumps(read_record(record(trained["ayt"])).model_dump(mode="json")["classifier"])
    for name, options in (("a", []), ("b", ["--classifier", by_record]), ("c", ["--classifier", by_json])):
        where = tmp_path / f"{name}.npz"
        common = ["--iteration", 8, "--images", 5, "--time", 1, "--time", 0.2, "--output", where]
        assert run("tangents", record(trained["ayt"]), *common, *options) == 0
    a, b, c = (read(tmp_path / f"{name}.npz") for name in "abc")
    assert all(np.array_equal(a[name], other[name]) for name in a for other in (b, c))
    assert a["t"].tolist() == pytest.approx([0.2, 1])
    assert a["feature"].shape == (2, 5, 1, 8, 8)
    for name in ("difference", "derivative", "feature"):
        np.testing.assert_allclose(np.linalg.norm(a[name], axis=(3, 4)), 1, rtol=1e-5)
    assert a["cosine_derivative"].min() > 0.99
    for images in (1, 3, 5):
        fewer = {k: v[:, :images] if v.ndim > 1 and k != "x" else v[:images] if k == "x" else v for k, v in a.items()}
        tangents_figure.tangents(fewer, tmp_path / f"figure{images}", "Title")
        check_pictures(tmp_path / f"figure{images}", ["t", "direction", "mean", "images"])


def test_oscillation_from_states_to_figure(trained, tmp_path):
    runs = []
    for method, options in (("ect", ["--classifier", f"{record(trained['classifier'])}@8"]), ("ayt", [])):
        where = tmp_path / f"{method}.npz"
        common = ["--iteration", 4, "--iterations", 3, "--images", 2, "--time", 0.5, "--time", 3, "--output", where]
        spaces_ = ["--neighbours", 12, "--dimensions", 5]
        assert run("oscillation", record(trained[method]), *common, *spaces_, *options) == 0
        runs.append((method.upper(), 4, read(where)))
    ect, ayt = runs[0][2], runs[1][2]
    assert ect["kinds"].tolist() == ["own", "pixel", "feature"]
    assert ect["lag"].shape == ect["successive"].shape == (3, 2, 2, 3)
    assert ect["shares"].shape == (2, 3, 4, 2, 2)
    np.testing.assert_allclose(ect["successive"].mean(3), ect["lag"][..., 0], rtol=1e-5)
    np.testing.assert_allclose(ect["lag"][0], ect["lag"][1], atol=1e-5)
    assert (ect["space_dimension"][0] == 5).all()
    assert ((ect["shares"] > 0) & (ect["shares"] < 1)).all()
    assert not np.allclose(ayt["lag"][0], ayt["lag"][1], atol=1e-4)
    oscillation_figure.oscillation(runs, tmp_path / "figure", "Title")
    check_pictures(tmp_path / "figure", ["label", "kind", "lag", "value", "chance"])
    with pytest.raises(UserError, match="different noise levels"):
        oscillation_figure.oscillation([*runs, ("L1", 4, {**ect, "t": ect["t"] * 2})], tmp_path / "b", "")


def test_manifold_from_snapshot_to_figure(trained, tmp_path):
    where = tmp_path / "a.npz"
    assert run("manifold", record(trained["classifier"]), "--iteration", 8, "--images", 5, "--output", where) == 0
    found = read(where)
    assert found["mfd"].shape == found["untrained_ratio"].shape == (8, 8, 5)
    assert not np.allclose(found["ratio"], found["untrained_ratio"], rtol=1e-2, equal_nan=True)
    manifold_figure.manifold(found, tmp_path / "figure", "Title")
    check_pictures(tmp_path / "figure", ["kind", "image_distance", "mfd", "ratio"])


def test_colour_images(tmp_path):
    """Untrained networks for photographs, through everything."""
    images = data.load(Dataset(name="photos", crops=40))
    torch.manual_seed(0)
    network = EDMPrecond(DDPMpp(32, 3, channels=8, channel_mult=(1, 1), blocks=1, attention=()))
    features = mfd(frozen(VGG(32, 3, 15, widths=[8, 8], convs=[1, 1])))
    points = tangents.choose(images, 4, 0)
    about = {"run": np.array("run"), "iteration": np.array(1)}
    found = tangents.measure(network.eval().requires_grad_(False), points, [0.1, 1.0, 10.0], TIMES, 0, features)
    assert found["feature"].shape == (3, 4, 3, 32, 32)
    tangents_figure.tangents({**found, **about}, tmp_path / "a", "")
    check_pictures(tmp_path / "a", ["t"])
    responses = manifold.measure(features, images, points, "geo_clr_deg")
    assert len(responses["kinds"]) == 10
    control = {f"untrained_{name}": responses[name] for name in ("ratio", "pair_ratio")}
    manifold_figure.manifold({**responses, **control, **about}, tmp_path / "b", "")
    check_pictures(tmp_path / "b", ["kind"])
    assert spaces.dimension(spaces.neighbour_space(points.x, images, 20, 6)).tolist() == [6] * 4


@pytest.mark.parametrize(
    ("verb", "who", "options", "message"),
    [
        ("tangents", "ect", ["--time", 1], "has no transformation classifier of its own; name one: --classifier"),
        ("tangents", "classifier", ["--time", 1], "is not the run of a consistency model"),
        ("tangents", "ect", ["--time", 1, "--classifier", "run.yaml"], "is not like RUN.YAML@ITERATION, nor JSON"),
        ("tangents", "ect", ["--time", 1, "--classifier", "{iteration: 8}"], "as run.yaml has it: run: Field required"),
        ("tangents", "ect", ["--time", 1, "--classifier", "nowhere.yaml@8"], "nowhere.yaml: no such file"),
        ("tangents", "ayt", ["--time", 1, "--images", 2000], "--images 2000: the dataset has 1797"),
        ("oscillation", "ect", ["--time", 1, "--dimensions", 32], "--neighbours 32: is not above --dimensions 32"),
        ("oscillation", "ect", ["--time", 1, "--iteration", 5], "here at iterations: 4, 6, 8"),
        ("manifold", "ect", [], "is not the run of a classifier"),
        ("manifold", "classifier", ["--iteration", 9], "0000009.safetensors: no such file"),
    ],
)
def test_mistakes_are_one_line(trained, tmp_path, capfd, verb, who, options, message):
    out = tmp_path / "a.npz"
    assert run(verb, record(trained[who]), "--iteration", 8, "--output", out, *options) == 1
    errors = capfd.readouterr().err.splitlines()
    assert len(errors) == 1
    assert errors[0].startswith("error: ")
    assert message in errors[0]
    assert not out.exists()


def test_a_noise_level_is_above_0(trained, tmp_path, capsys):
    for text in ("0", "-1", "inf", "x"):
        with pytest.raises(SystemExit):
            run("tangents", record(trained["ayt"]), "--iteration", 8, "--output", tmp_path / "a", "--time", text)
        assert f"'{text}' is not a noise level" in capsys.readouterr().err
