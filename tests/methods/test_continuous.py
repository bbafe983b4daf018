"""Consistency training in continuous time: golden numbers of distillation, and runs of all its methods."""

import pytest
import torch
from recipe import golden, listing, load_recipe
from torch import nn

from ayt.base import paths, weights
from ayt.base.files import write_text
from ayt.base.images import Images
from ayt.experiment import load
from ayt.features.distance import all_features, freeze
from ayt.methods.ccd import Ccd
from ayt.methods.formulas.continuous import normalise_tangent, tangent, tangent_loss, velocity
from ayt.methods.scd import Scd
from ayt.networks.modules.ddpmpp import DDPMpp
from ayt.networks.modules.precond import EDMPrecond
from ayt.networks.modules.vgg import VGG
from ayt.plan.plan import Plan
from ayt.plan.runs import Segment
from ayt.training.loop import train

CPU = torch.device("cpu")


class Analytic(nn.Module):
    """net(x, t) = a (x 0.5 / (1 + t) + 0.1 tanh(x) cos(t))."""

    def __init__(self, a):
        super().__init__()
        self.a = nn.Parameter(torch.tensor(float(a)))

    def forward(self, x, t):
        t = t[:, None, None, None]
        return self.a * (x * (0.5 / (1 + t)) + 0.1 * x.tanh() * t.cos())


def teacher(x, t):
    return x * (0.25 / (0.25 + t**2))[:, None, None, None]


@pytest.mark.golden
def test_pixels():
    arrays = golden("ccd")
    network, t = Analytic(arrays["an_a"]), arrays["an_t"]
    x_t = arrays["an_x0"] + t[:, None, None, None] * arrays["an_eps"]
    v = velocity(teacher, x_t, t)
    torch.testing.assert_close(v, arrays["an_v"], rtol=1e-5, atol=1e-5)
    g = tangent(network, x_t, v, t)
    torch.testing.assert_close(g, arrays["an_raw_tangent"], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(normalise_tangent(g, 0.1)[0], arrays["an_tangent"], rtol=1e-4, atol=1e-5)
    D = network(x_t, t)
    D.retain_grad()
    loss, watched = tangent_loss(D, g, 1 / t, 0.1)
    torch.testing.assert_close(loss.detach(), arrays["an_loss"], rtol=1e-4, atol=0)
    torch.testing.assert_close(watched, arrays["an_raw_tangent"].square().mean((1, 2, 3)).sqrt().mean())
    loss.backward()
    torch.testing.assert_close(D.grad, arrays["an_grad_D"], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(network.a.grad, arrays["an_grad_a"], rtol=1e-4, atol=0)


@pytest.mark.golden
def test_a_u_net():
    arrays = golden("ccd")
    network, start = (
        load_recipe(EDMPrecond(DDPMpp(16, 1, channels=32, channel_mult=(1, 2), blocks=1, attention=(8,))), seed)
        for seed in (arrays["unet_seed"], arrays["unet_denoiser_seed"])
    )
    t = arrays["unet_t"]
    x_t = arrays["unet_x0"] + t[:, None, None, None] * arrays["unet_eps"]
    g = tangent(network, x_t, velocity(start, x_t, t), t)
    loss = tangent_loss(network(x_t, t), g, 1 / t, 0.1).loss
    torch.testing.assert_close(loss.detach(), arrays["unet_loss"], rtol=1e-3, atol=0)
    loss.backward()
    parameters = dict(network.named_parameters())
    keys = [row["key"] for row in listing("edm_unet_small_plain") if row["key"] in parameters]
    norms = torch.stack([parameters[key].grad.norm() for key in keys]).double()
    expected = arrays["unet_param_grad_l2"]
    torch.testing.assert_close(norms, expected, rtol=2e-3, atol=1e-5 * float(expected.max()))


@pytest.mark.golden
def test_features_weighted_one_by_one():
    arrays = golden("ccd")
    network, t = Analytic(arrays["an_a"]), arrays["ayt_t"]
    embed = all_features(freeze(load_recipe(VGG(), int(arrays["ayt_clf_seed"]), 2**0.5)))
    x_t = arrays["ayt_x0"] + t[:, None, None, None] * arrays["ayt_eps"]
    g = tangent(network, x_t, velocity(teacher, x_t, t), t, embed)
    F, index = embed(network(x_t, t)), arrays["ayt_index"]
    assert F.shape == g.shape == (2, int(arrays["ayt_feat_dim"]))
    direction = normalise_tangent(g, 0.1)[0]
    torch.testing.assert_close(F[:, index].detach(), arrays["ayt_F_values"], rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(direction[:, index], arrays["ayt_tangent_values"], rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(direction.norm(dim=1), arrays["ayt_tangent_norm"], rtol=1e-4, atol=0)
    loss = tangent_loss(F, g, 1 / t, 0.1).loss
    torch.testing.assert_close(loss.detach(), arrays["ayt_loss_per_sample_weight"], rtol=1e-3, atol=0)
    loss.backward()
    torch.testing.assert_close(network.a.grad, arrays["ayt_grad_a_per_sample_weight"], rtol=1e-3, atol=0)


def test_losses_of_parts_add_up():
    torch.manual_seed(0)
    output, g, w = torch.randn(5, 7), torch.randn(5, 7), torch.rand(5)
    whole = tangent_loss(output, g, w, 0.1)
    parts = [tangent_loss(output[part], g[part], w[part], 0.1, 5) for part in (slice(0, 2), slice(2, 5))]
    torch.testing.assert_close(parts[0].loss + parts[1].loss, whole.loss)
    torch.testing.assert_close(parts[0].distance + parts[1].distance, whole.distance)


@pytest.mark.parametrize("kind", [Ccd, Scd])
def test_the_schedule_of_pairs_changes_no_run(kind):
    plain, other = (kind(batch_sizes=[4], **more) for more in ({}, {"q": 2.0, "stage_iterations": 1}))
    assert plain.identity() == other.identity() != kind(batch_sizes=[4], c=0.2).identity()
    assert not list(other.misfits())


@pytest.mark.parametrize("method", ["ccd", "ccd_ayt", "sct", "scd"])
def test_a_run_cut_or_in_parts(tiny, tmp_path, method):
    training = {"iterations": 4, "segment": 4, "snapshot_every": 2, "dropout": 0.2, "lr": 1e-3}
    plan = Plan(load([tiny], {"methods": {method: {}}, "training": training, "batch_sizes": [6]}))
    run = dict(plan.methods_and_runs())[method]

    def make(root, run, *segments, **options):
        folder = root / run.name
        write_text(paths.run_record(folder), run.record.text)
        for segment in segments or run.segments:
            train(run.record, folder, segment, Images.of(run.record.dataset.load()), CPU, **options)
        return paths.snapshot(folder, run.iterations)

    upstream = [plan.runs[snapshot.run.name] for snapshot in run.record.upstream.values()]
    for other in upstream:
        make(tmp_path, other)
        for root in ("cut", "parts"):
            (tmp_path / root).mkdir(exist_ok=True)
            (tmp_path / root / other.name).symlink_to(tmp_path / other.name)
    start = paths.snapshot(tmp_path / plan.pretrained.name, 8)
    whole = make(tmp_path, run)
    assert make(tmp_path / "cut", run, Segment(0, 2, 2), Segment(2, 4, 2)).read_bytes() == whole.read_bytes()
    parts = make(tmp_path / "parts", run, microbatch=4)
    before, expected, found = (weights.read(path, "snapshot")[0] for path in (start, whole, parts))
    assert expected.keys() == before.keys()  # what is trained beside the denoiser is not in its snapshots
    state = weights.read(paths.state(tmp_path / run.name, run.iterations), "state")[0]
    learned = [name for name in state if name.startswith("auxiliary.")]
    assert bool(learned) == (method in ("sct", "scd"))
    assert not learned or state["auxiliary.log_weight.linear.weight"].abs().sum() > 0
    moved = sum((expected[name] - before[name]).abs().sum() for name in expected)
    assert 0 < moved < torch.inf
    assert sum((expected[name] - found[name]).abs().sum() for name in expected) < 2e-3 * moved
