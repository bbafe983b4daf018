"""Mid-training: trajectories against exact ones, the loss by hand, and a run between pretraining and ECT."""

import numpy as np
import pytest
import torch
from published import write_vgg16
from scipy.integrate import solve_ivp

from ayt.base import paths, weights
from ayt.base.errors import UserError
from ayt.base.files import write_text
from ayt.base.images import Images
from ayt.base.randomness import Draws
from ayt.experiment import load
from ayt.features.lpips import lpips_network
from ayt.methods.formulas.losses import l2
from ayt.methods.formulas.trajectories import dpm_solver, log_snr_levels, trajectory_loss
from ayt.networks.modules.precond import bind
from ayt.plan.plan import Plan
from ayt.plan.runs import Segment, read_run
from ayt.training.loop import train
from ayt.training.work import load_snapshot, prepare

CPU = torch.device("cpu")
MEANS, STD = torch.tensor([[-0.6, 0.3], [0.5, 0.7], [0.2, -0.8]], dtype=torch.float64), 0.15


def mixture(x, sigma):
    """The exact denoiser of a mixture of three Gaussians in the plane, as images of two pixels."""
    flat, variance = x.flatten(1), (STD**2 + sigma**2)[:, None]
    apart = flat[:, None] - MEANS
    shares = (-apart.square().sum(2) / (2 * variance)).softmax(1)
    means = MEANS + (STD**2 / variance)[..., None] * apart
    return (shares[..., None] * means).sum(1).view_as(x)


def exact(x, levels):
    """Where the probability flow of the mixture leads from the first level to the last, by an adaptive solver."""

    def slope(log_sigma, flat):
        sigma = torch.full((len(x),), float(np.exp(log_sigma)), dtype=torch.float64)
        points = torch.from_numpy(flat).view_as(x)
        return (points - mixture(points, sigma)).flatten().numpy()  # dx / d ln sigma = x - D

    ends = np.log([levels[0], levels[-1]])
    found = solve_ivp(slope, ends, x.flatten().numpy(), rtol=1e-10, atol=1e-12, method="DOP853")
    return torch.from_numpy(found.y[:, -1]).view_as(x)


def test_levels_are_even_in_the_logarithm():
    levels = log_snr_levels(16, 80.0, 0.002)
    assert (levels[0], len(levels)) == (80.0, 17)
    assert levels[-1] == pytest.approx(0.002)
    np.testing.assert_allclose(np.diff(np.log(levels)), np.log(0.002 / 80) / 16)


def test_trajectories_of_a_mixture_converge_with_the_square_of_the_steps():
    x = 80 * torch.randn(8, 1, 1, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    ends = exact(x, [80.0, 0.002])
    errors = [float((dpm_solver(mixture, x, log_snr_levels(n, 80.0, 0.002))[-1] - ends).norm()) for n in (64, 128, 256)]
    assert errors[0] < 0.05 * float(ends.norm())
    assert 3 < errors[0] / errors[1] < 5.5
    assert 3 < errors[1] / errors[2] < 5.5
    short = dpm_solver(mixture, x, log_snr_levels(16, 80.0, 0.002))
    assert len(short) == 17
    assert torch.equal(short[0], x)


def test_a_gaussian_is_scaled_along_its_trajectory():
    def gaussian(x, sigma):
        return x * (0.25 / (0.25 + sigma**2))[:, None, None, None]

    x = torch.randn(2, 1, 2, 2, dtype=torch.float64)
    levels = log_snr_levels(2000, 5.0, 0.1)
    expected = x * ((0.25 + 0.1**2) / (0.25 + 5.0**2)) ** 0.5
    torch.testing.assert_close(dpm_solver(gaussian, x, levels)[-1], expected, rtol=1e-5, atol=0)


def test_the_loss_by_hand():
    levels = [4.0, 2.0, 1.0]
    states = [torch.full((3, 1, 2, 2), value) for value in (8.0, 6.0, 5.0)]
    seen = []

    def D(x, sigma):
        seen.append((x[:, 0, 0, 0].tolist(), sigma.tolist()))
        return x / 2

    loss, watched = trajectory_loss(D, states, levels, l2)
    assert seen == [([8.0] * 3 + [6.0] * 3, [4.0] * 3 + [2.0] * 3)]
    assert loss == watched == (4 * 1 + 4 * 4) / 2


MIDDLE = {"iterations": 4, "segment": 2, "batch_size": 8, "points": 4, "distance": "features", "ema": 0.5}


def test_a_run_of_it_is_the_start_of_others(tiny, tmp_path):
    plan = Plan(load([tiny], {"start": {"mid_train": MIDDLE}, "batch_sizes": [4]}))
    middle, ect = plan.mid_trained, dict(plan.methods_and_runs())["ect"]
    assert plan.start == middle.last == ect.record.upstream["start"]
    assert plan.diffusion == plan.pretrained.last == middle.record.upstream["start"]
    order = list(plan.runs)
    classifier = middle.record.upstream["classifier"].run.name
    assert max(order.index(plan.pretrained.name), order.index(classifier)) < order.index(middle.name)
    assert order.index(middle.name) < order.index(ect.name)

    def make(root, run, *segments):
        folder = root / run.name
        write_text(paths.run_record(folder), run.record.text)
        for segment in segments:
            train(run.record, folder, segment, Images.of(run.record.dataset.load()), CPU)
        return folder

    for name in (plan.pretrained.name, classifier):
        make(tmp_path, plan.runs[name], *plan.runs[name].segments)
    cut = make(tmp_path, middle, *middle.segments)
    assert read_run(cut / "run.yaml").name == middle.name
    (tmp_path / "whole").mkdir()
    for name in (plan.pretrained.name, classifier):
        (tmp_path / "whole" / name).symlink_to(tmp_path / name)
    whole = make(tmp_path / "whole", middle, Segment(0, 4, 2))
    assert paths.snapshot(cut, 4).read_bytes() == paths.snapshot(whole, 4).read_bytes()
    before = weights.read(paths.snapshot(tmp_path / plan.pretrained.name, 8), "snapshot")[0]
    after = weights.read(paths.snapshot(cut, 4), "snapshot")[0]
    assert sum((before[name] - after[name]).abs().sum() for name in before) > 0


def test_in_lpips_as_published(tiny, tmp_path, monkeypatch):
    vgg16 = tmp_path / "vgg16.pth"
    write_vgg16(vgg16)
    monkeypatch.setattr(paths, "VGG16", vgg16)
    middle = {"iterations": 2, "batch_size": 8, "points": 4, "dropout": 0.0}
    photos = {"dataset": {"name": "photos", "crops": 64}, "methods": {"ect": {}}, "start": {"mid_train": middle}}
    plan = Plan(load([tiny], photos))
    run = plan.mid_trained
    assert vgg16 in run.record.inputs
    data = Images.of(run.record.dataset.load())
    for each in (plan.pretrained, run):
        folder = tmp_path / each.name
        write_text(paths.run_record(folder), each.record.text)
        train(each.record, folder, each.segments[-1], data, CPU)
    before, after = prepare(run.record, folder, CPU), prepare(run.record, folder, CPU)
    load_snapshot(after.network, paths.snapshot(folder, 2), run.name)
    images, labels = data.batch(8, 0, 0)
    draws = Draws(0, 0, 8, CPU)
    D = bind(before.network)
    noise, levels = draws.normal("noise", 3, 32, 32)[:2], log_snr_levels(4, 80.0, 0.002)
    *points, end = dpm_solver(D, images[:2] + 80 * noise, levels)
    network = lpips_network(vgg16).eval()
    errors = [network(D(x, torch.full((2,), t)), end) for x, t in zip(points, levels, strict=False)]
    found = before.objective(images, labels, draws)
    torch.testing.assert_close(found.loss, torch.cat(errors).mean(), rtol=1e-4, atol=0)
    assert after.objective(images, labels, draws).loss != found.loss


MISTAKES = {
    "LPIPS on grey images": (
        {"distance": "perceptual"},
        {},
        "mid_train.distance = 'perceptual': needs images of 3 channels",
    ),
    "broken trajectories": ({"points": 3}, {}, "start.mid_train: points 3 does not divide batch_size 8"),
    "no classifier": ({"classifier": "mine"}, {}, "start.mid_train.classifier = 'mine': unknown classifier"),
    "too large": ({"batch_size": 4000}, {}, "start.mid_train.batch_size = 4000: larger than the dataset"),
    "a teacher that is none": (
        {},
        {"ccd": {}},
        "ccd.loss = 'ccd': has the start as its teacher, which must be",
    ),
    "a teacher in TrigFlow that is none": (
        {},
        {"sct": {}, "scd": {}},
        "scd.loss = 'scd': has the start as its teacher, which must be",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_wrong_one_is_one_line(tiny, mistake):
    change, methods, expected = MISTAKES[mistake]
    with pytest.raises(UserError) as caught:
        load([tiny], {"start": {"mid_train": {**MIDDLE, **change}}, "methods": methods})
    (line,) = str(caught.value).splitlines()
    assert expected in line
