"""The autoencoder: its parts, its loss and its distance by hand, and a run that looks through it."""

import numpy as np
import pytest
import torch

from ayt.base import paths, weights
from ayt.base.errors import UserError
from ayt.base.files import write_text
from ayt.base.images import Images
from ayt.base.randomness import Draws
from ayt.experiment import load
from ayt.features.distance import freeze, mfd
from ayt.methods.classification import ClassifierTraining
from ayt.networks.classifiers.autoencoder import Autoencoder as Settings
from ayt.networks.modules.autoencoder import Autoencoder
from ayt.plan.plan import Plan
from ayt.plan.runs import Published, Segment, read_run
from ayt.training.loop import train
from ayt.training.work import load_denoiser, prepare

CPU = torch.device("cpu")
SMALL = {"task": "reconstruction", "widths": [8, 8], "blocks": 1, "latent": 4, "iterations": 4, "batch_size": 16}


def small(**more):
    torch.manual_seed(0)
    return Autoencoder(8, 1, **{"widths": (8, 16), "blocks": 2, "latent": 4, **more})


def test_the_paper_s_shapes():
    network = Autoencoder()
    assert network.latent_shape == (32, 4, 4)
    assert [len(stage) for stage in network.encoder] == [2, 2, 2, 2]
    x = torch.rand(2, 3, 32, 32)
    assert [tuple(tap.shape) for tap in freeze(network).taps(x)] == [
        (2, 64, 32, 32),
        (2, 128, 16, 16),
        (2, 256, 8, 8),
        (2, 512, 4, 4),
    ]
    assert network.embed(x).shape == (2, 512)
    assert network(x).shape == x.shape
    assert Settings().model_dump() == {"widths": [64, 128, 256, 512], "blocks": 2, "latent": 32}


def test_latents_have_unit_variance_and_noise_reaches_the_images():
    network, x = small().train(), torch.randn(32, 1, 8, 8)
    z = network.embed(x).unflatten(1, network.latent_shape)
    torch.testing.assert_close(z.mean((0, 2, 3)), torch.zeros(4), rtol=0, atol=1e-5)
    torch.testing.assert_close(z.var((0, 2, 3), correction=0), torch.ones(4), rtol=0, atol=2e-3)
    noise = 0.05 * torch.randn(32, *network.latent_shape)
    torch.testing.assert_close(network(x, noise), network.head((z + noise).flatten(1)))
    assert not torch.allclose(network(x, noise), network(x), atol=1e-4)


def test_a_block_by_hand():
    block = small().encoder[0][1]
    x = torch.randn(2, 8, 8, 8)

    def gelu_of_norm(x, norm):
        grouped = x.reshape(len(x), norm.norm.num_groups, -1)
        mean, variance = grouped.mean(2, keepdim=True), grouped.var(2, correction=0, keepdim=True)
        h = ((grouped - mean) / (variance + 1e-6).sqrt()).view_as(x)
        return h * 0.5 * (1 + torch.erf(h / 2**0.5))

    expected = x + block.conv1(gelu_of_norm(block.conv0(gelu_of_norm(x, block.norm0)), block.norm1))
    torch.testing.assert_close(block(x), expected, rtol=1e-5, atol=1e-5)


def test_the_distance_by_numpy():
    network = freeze(small())
    a, b = torch.randn(2, 3, 1, 8, 8)
    expected = np.zeros(3)
    for x, y in zip(network.taps(a), network.taps(b), strict=True):
        apart = (x - y).double().numpy()
        expected += (np.sqrt((apart**2).sum((2, 3)) + 1e-10) - 1e-5).sum(1)
    np.testing.assert_allclose(mfd(network)(a, b).numpy(), expected, rtol=1e-5)
    assert len(network.taps(a)) == 2


def make(plan, run, root, *segments, **options):
    folder = root / run.name
    write_text(paths.run_record(folder), run.record.text)
    for segment in segments or run.segments:
        train(run.record, folder, segment, Images.of(run.record.dataset.load()), CPU, **options)
    return folder


@pytest.fixture
def plan(tiny):
    training = {"iterations": 4, "segment": 4, "snapshot_every": 2, "dropout": 0.2}
    classifiers = {"reconstruction": {**SMALL, "segment": 4, "ema": 0.5}}
    methods = {"autoencoder_features": {}, "ect": {}}
    overrides = {"methods": methods, "classifiers": classifiers, "training": training, "batch_sizes": [4]}
    return Plan(load([tiny], overrides))


def test_its_loss_by_hand(plan, tmp_path):
    record = plan.classifier("reconstruction").record
    prepared = prepare(record, tmp_path, CPU)
    images, labels = Images.of(record.dataset.load()).batch(16, 0, 2)
    found = prepared.objective(images, labels, Draws(0, 2, 16, CPU))
    z = prepared.network.embed(images)
    noise = Draws(0, 2, 16, CPU).normal("noise of latents", *prepared.network.latent_shape)
    errors = prepared.network.head(z + 0.05 * noise.flatten(1)) - images
    torch.testing.assert_close(found.loss, errors.square().mean() + errors.abs().mean())
    torch.testing.assert_close(found.distance, errors.square().mean().sqrt())


def test_a_run_looks_through_a_run_of_it(plan, tmp_path):
    features = plan.classifier("reconstruction")
    run = dict(plan.methods_and_runs())["autoencoder_features"]
    assert features.name.startswith("classifier_reconstruction-bs16-seed0-")
    assert run.record.upstream["classifier"] == features.last
    folder = make(plan, features, tmp_path)
    assert read_run(folder / "run.yaml").name == features.name
    cut = make(plan, features, tmp_path / "cut", Segment(0, 2, 2), Segment(2, 4, 2))
    assert paths.snapshot(cut, 4).read_bytes() == paths.snapshot(folder, 4).read_bytes()
    make(plan, plan.pretrained, tmp_path)
    whole = make(plan, run, tmp_path)
    for name in (plan.pretrained.name, features.name):
        target = tmp_path / "cut" / name
        if not target.exists():
            target.symlink_to(tmp_path / name)
    again = make(plan, run, tmp_path / "cut", Segment(0, 2, 2), Segment(2, 4, 2))
    assert paths.snapshot(again, 4).read_bytes() == paths.snapshot(whole, 4).read_bytes()
    network = load_denoiser(run.record, paths.snapshot(whole, 4))
    before = weights.read(paths.snapshot(tmp_path / plan.pretrained.name, 8), "snapshot")[0]
    moved = sum((network.state_dict()[name] - before[name]).abs().sum() for name in before)
    assert 0 < moved < torch.inf


def test_it_learns_to_reconstruct(tiny, tmp_path):
    more = {"reconstruction": {**SMALL, "iterations": 60, "batch_size": 64, "lr": 3e-3}}
    plan = Plan(load([tiny], {"classifiers": more, "methods": {"autoencoder_features": {}}}))
    run = plan.classifier("reconstruction")
    folder = make(plan, run, tmp_path, Segment(0, 60, 60), log_every=10)
    rows = [line.split(",") for line in paths.training_log(folder, 60).read_text().splitlines()[1:]]
    assert float(rows[-1][3]) < 0.8 * float(rows[0][3])


def test_defaults_are_those_of_the_task():
    given = ClassifierTraining(task="reconstruction")
    assert (given.ema, given.noise, given.iterations, given.batch_size, given.lr) == (0.9999, 0.05, 400_000, 512, 1e-4)
    assert ClassifierTraining(task="reconstruction", ema=0.9).ema == 0.9
    assert ClassifierTraining().ema == 0.0
    assert "noise" not in ClassifierTraining(noise=0.2).settings()
    assert given.identity() != ClassifierTraining(task="reconstruction", noise=0.1).identity()
    assert given.identity() == ClassifierTraining(task="reconstruction", group="geo", probability=0.5).identity()


def test_published_weights_of_one_are_its_network_s(plan, tmp_path):
    """What puts out images has no number of outputs to fit."""
    dataset, settings = plan.experiment.dataset, Settings(widths=[8, 8])
    assert Published("theirs", settings).recognises is None
    shapes = [[tuple(p.shape) for p in settings.build(dataset, outputs).parameters()] for outputs in (1, 10)]
    assert shapes[0] == shapes[1]


MISTAKES = {
    "task": (
        {"family": "autoencoder"},
        {},
        "classifiers.mine: a network of the family autoencoder learns reconstruction",
    ),
    "family": (
        {"family": "vgg", "task": "reconstruction"},
        {},
        "family vgg learns transformations or labels, not reco",
    ),
    "groups": ({**SMALL, "widths": [6]}, {}, "classifiers.mine: widths [6]: each must be a multiple of 4, and of 32"),
    "halvings": ({**SMALL, "widths": [8] * 5}, {"autoencoder_features": {"classifier": "mine"}}, "4 halvings do not"),
    "of AYT": (SMALL, {"ayt": {"classifier": "mine"}}, "ayt.classifier = 'mine': its task is not 'transformations'"),
    "of it": (
        {"widths": [8], "convs": [1]},
        {"autoencoder_features": {"classifier": "mine"}},
        "'mine': its task is not 'reconstruction'; choose",
    ),
    "critic": (SMALL, {"adversarial": {"discriminator": "mine"}}, "'mine': is of the family autoencoder, which puts"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_wrong_one_is_one_line(tiny, mistake):
    mine, methods, expected = MISTAKES[mistake]
    with pytest.raises(UserError) as caught:
        load([tiny], {"classifiers": {"mine": mine}, "methods": methods, "figures": {}})
    (line,) = str(caught.value).splitlines()
    assert expected in line
    assert len(line) <= 300
