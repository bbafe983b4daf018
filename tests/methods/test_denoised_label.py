"""The 16th label of the transformation classifier: images that the diffusion model denoised once."""

import pytest
import torch

from ayt.base import paths, weights
from ayt.base.errors import UserError
from ayt.base.files import write_text
from ayt.base.images import Images
from ayt.base.randomness import Draws
from ayt.experiment import load
from ayt.features.groups import names_for
from ayt.features.transformations import draw, transform
from ayt.features.transformations.denoising import denoise_some
from ayt.methods.classification import ClassifierTraining
from ayt.networks.modules.running_maximum import RunningMaximum
from ayt.plan.plan import Plan
from ayt.plan.runs import Segment, read_run
from ayt.training.loop import train
from ayt.training.work import load_denoiser, prepare

CPU = torch.device("cpu")
SMALL = {"group": "geo_deg", "widths": [8, 8], "convs": [1, 1], "iterations": 8, "batch_size": 16, "denoised": True}


def test_some_images_are_denoised_once():
    torch.manual_seed(0)
    images, eps, uniform = torch.randn(6, 1, 2, 2), torch.randn(6, 1, 2, 2), torch.rand(2, 6)
    uniform[0, 0], uniform[1] = 1e-4, torch.tensor([0.1, 0.9, 0.2, 0.3, 0.9, 0.1])
    asked = []

    def denoiser(labels):
        asked.append(labels.tolist())
        return lambda x, sigma: x / (1 + sigma[:, None, None, None])

    found, strength = denoise_some(images, torch.arange(6), denoiser, 0.3, uniform, eps)
    for index, level in enumerate([0.002, 0, 0.5 * float(uniform[0, 2]), 0, 0, 0.5 * float(uniform[0, 5])]):
        assert strength[index] == pytest.approx(level)
        expected = (images[index] + level * eps[index]) / (1 + level) if level else images[index]
        torch.testing.assert_close(found[index], expected)
    assert asked == [[0, 2, 5]]
    untouched, none = denoise_some(images, torch.arange(6), denoiser, 0.0, uniform, eps)
    assert torch.equal(untouched, images)
    assert not none.any()


def test_labels_are_divided_by_the_largest_so_far():
    scale = RunningMaximum(3)
    first = scale(torch.tensor([[2.0, 0.0, -1.0], [-4.0, 0.0, 0.5]]))
    assert first.tolist() == [[0.5, 0, -1], [-1, 0, 0.5]]
    assert scale(torch.tensor([[1.0, 3.0, -2.0]])).tolist() == [[0.25, 1, -1]]
    assert scale.state_dict()["maximum"].tolist() == [4, 3, 2]


@pytest.fixture
def plan(tiny):
    training = {"iterations": 2, "segment": 2, "snapshot_every": 2}
    classifiers = {"denoised": {**SMALL, "segment": 8, "probability": 0.9, "ramp": 2}}
    methods = {"mine": {"loss": "ayt", "classifier": "denoised", "label": "AYT, 16 labels"}}
    return Plan(
        load([tiny], {"methods": methods, "classifiers": classifiers, "training": training, "batch_sizes": [4]})
    )


def make(plan, run, root, *segments):
    folder = root / run.name
    write_text(paths.run_record(folder), run.record.text)
    for segment in segments or run.segments:
        train(run.record, folder, segment, Images.of(run.record.dataset.load()), CPU)
    return folder


def test_a_run_of_it_has_the_diffusion_model_upstream(plan, tmp_path):
    run, start = plan.classifier("denoised"), plan.pretrained
    assert run.name.startswith("classifier_geo_deg_denoised-bs16-seed0-")
    assert run.record.upstream == {"denoiser": start.last}
    assert start.last.path in run.record.inputs
    order = list(plan.runs)
    assert order.index(start.name) < order.index(run.name)
    make(plan, start, tmp_path)
    whole = make(plan, run, tmp_path)
    assert read_run(whole / "run.yaml").name == run.name
    (tmp_path / "cut").mkdir()
    (tmp_path / "cut" / start.name).symlink_to(tmp_path / start.name)
    cut = make(plan, run, tmp_path / "cut", Segment(0, 3, 3), Segment(3, 8, 5))
    assert paths.snapshot(cut, 8).read_bytes() == paths.snapshot(whole, 8).read_bytes()
    early, late = (weights.read(paths.state(cut, at), "state")[0]["auxiliary.scale.maximum"] for at in (3, 8))
    assert (early <= late).all()
    assert (early < late).any()
    assert 0.25 < late[-1] <= 0.5
    tensors = weights.read(paths.snapshot(whole, 8), "snapshot")[0]
    assert tensors["layers.classifier.bias"].shape == early.shape == (11,)  # 10 of geo and deg, and denoising
    mine = dict(plan.methods_and_runs())["mine"]
    assert mine.record.upstream["classifier"] == run.last
    folder = make(plan, mine, tmp_path)
    assert paths.snapshot(folder, 2).exists()


def test_its_loss_by_hand(plan, tmp_path):
    record, start = plan.classifier("denoised").record, plan.pretrained
    make(plan, start, tmp_path)
    prepared = prepare(record, tmp_path / "run", CPU)
    images, labels = Images.of(record.dataset.load()).batch(16, 0, 5)
    draws, names, seen = Draws(0, 5, 16, CPU), names_for("geo_deg", 1), []
    prepared.network.register_forward_hook(lambda module, given, output: seen.append((given[0], output)))
    loss = prepared.objective(images, labels, draws).loss
    drawn = draw(names, images.shape, draws.generator("transformations"), draws.generator("transformations, noise"))
    x, targets = transform(images, drawn, 0.9, names)
    uniform = torch.rand(2, 16, generator=draws.generator("denoised images"))
    chosen, sigma = uniform[1] < 0.9, (0.5 * uniform[0]).clamp(min=0.002)
    assert 8 < chosen.sum() < 16
    D = load_denoiser(start.record, paths.snapshot(tmp_path / start.name, 8))
    noisy = x + sigma[:, None, None, None] * draws.normal("noise of denoised images", 1, 8, 8)
    with torch.no_grad():
        x = torch.where(chosen[:, None, None, None], D(noisy, sigma), x)
    targets = torch.cat([targets, torch.where(chosen, sigma, 0)[:, None]], dim=1)
    (transformed, predicted), largest = seen[0], targets.abs().amax(0)
    torch.testing.assert_close(transformed, x, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(loss, (predicted - targets / largest).square().mean(), rtol=1e-4, atol=0)


def test_names_are_what_they_were_without_it():
    assert "denoised" not in ClassifierTraining().settings()
    assert ClassifierTraining().stem == "classifier_geo_clr_deg"
    assert ClassifierTraining(denoised=True).identity() == {**ClassifierTraining().identity(), "denoised": True}


MISTAKES = {
    "labels": ({"task": "labels", "denoised": True}, {}, "denoised is for the task transformations, not labels"),
    "published": ({"checkpoint": "theirs", "denoised": True}, {}, "is not trained here, so denoised means nothing"),
    "shown": (SMALL, {"mine": {"kind": "transformations", "classifier": "mine"}}, "'mine': also knows denoised images"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_wrong_one_is_one_line(tiny, mistake):
    mine, figures, expected = MISTAKES[mistake]
    with pytest.raises(UserError) as caught:
        load([tiny], {"classifiers": {"mine": mine}, "figures": figures})
    (line,) = str(caught.value).splitlines()
    assert expected in line
