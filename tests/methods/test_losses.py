"""Losses and whole steps against golden numbers."""

import pytest
import torch
from recipe import apart, golden, load_recipe
from torch import nn

from ayt.base.randomness import Draws
from ayt.features.distance import freeze, mfd
from ayt.methods.formulas.losses import (
    consistency_pair,
    denoising_loss,
    distance_loss,
    ect_loss,
    hybrid_loss,
    l1,
    l2,
    pseudo_huber,
    weight,
)
from ayt.methods.formulas.schedules import lognormal_t, t_to_r
from ayt.networks.modules.precond import EDMPrecond, RawNetwork, bind
from ayt.networks.modules.vgg import VGG

pytestmark = pytest.mark.golden


class Analytic(nn.Module):
    """net(x, t) = a x 0.5 / (1 + t), NaN at t = 0: a network must never be asked there."""

    def __init__(self, a):
        super().__init__()
        self.a = nn.Parameter(torch.tensor(float(a)))

    def forward(self, x, t):
        t = torch.where(t == 0, torch.nan, t)
        return self.a * x * (0.5 / (1 + t))[:, None, None, None]


@pytest.fixture(scope="module")
def features():
    """MFD at each precision."""
    return {dtype: mfd(freeze(load_recipe(VGG(), 1000, 2**0.5).to(dtype))) for dtype in (torch.float32, torch.float64)}


def gradient(loss, D_t, D_r, w, iteration=0):
    D_t = D_t.clone().requires_grad_()
    output = loss(D_t, D_r, w, iteration)
    output.loss.backward()
    return output, D_t.grad


def test_pseudo_huber_values_and_gradients():
    arrays = golden("losses")
    D_t, D_r, w = arrays["D_t"], arrays["D_r"], arrays["w"]
    for index, c_mult in enumerate(arrays["ayt_ph_c_mult"].tolist()):
        c = c_mult * D_t[0].numel() ** 0.5
        for weighting, weights in (("w", w), ("nw", torch.ones_like(w))):
            output, grad = gradient(ect_loss(c), D_t, D_r, weights)
            torch.testing.assert_close(
                output.loss.detach(), arrays[f"ayt_ph_loss_{weighting}"][index], rtol=1e-6, atol=0
            )
            torch.testing.assert_close(grad, arrays[f"ayt_ph_grad_{weighting}"][index], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", ["l1", "l2"])
@pytest.mark.parametrize("weighting", ["w", "nw"])
def test_l1_and_l2_values_and_gradients(name, weighting):
    arrays = golden("losses")
    D_t, D_r = arrays["D_t"].requires_grad_(), arrays["D_r"]
    w = arrays["w"] if weighting == "w" else torch.ones(len(D_t))
    loss = (w * {"l1": l1, "l2": l2}[name](D_t, D_r)).mean()
    torch.testing.assert_close(loss.detach(), arrays[f"ayt_{name}_loss_{weighting}"], rtol=1e-6, atol=0)
    loss.backward()
    torch.testing.assert_close(D_t.grad, arrays[f"ayt_{name}_grad_{weighting}"], rtol=1e-5, atol=1e-7)


LOSSES = {
    "ph0": lambda d: ect_loss(0.0),
    "ph00054": lambda d: ect_loss(0.00054 * d**0.5),
    "l1": lambda d: distance_loss(l1, weighted=True),
    "l2": lambda d: distance_loss(l2, weighted=True),
}


@pytest.mark.parametrize("case", ["q2s0", "q256s0"])
@pytest.mark.parametrize("name", LOSSES)
def test_whole_step(case, name):
    arrays = golden("losses_step")
    x_0, eps, t, r = (arrays[f"ecm_{key}"] for key in ("x0", "eps", "t", f"r_{case}"))
    network = Analytic(arrays["net_a"])
    D_t, D_r = consistency_pair(network, x_0, t, r, eps)
    torch.testing.assert_close(D_t.detach(), arrays[f"ecm_{case}_Dt"], rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(D_r, arrays[f"ecm_{case}_Dr"], rtol=1e-6, atol=1e-7)
    w = weight(t, r)
    torch.testing.assert_close(w, arrays[f"ecm_{case}_w"], rtol=1e-6, atol=0)
    loss = LOSSES[name](x_0[0].numel())
    output, grad = gradient(loss, arrays[f"ecm_{case}_Dt"], arrays[f"ecm_{case}_Dr"], w)
    torch.testing.assert_close(output.loss, arrays[f"ecm_{name}_{case}_loss"].float(), rtol=2e-6, atol=0)
    if name.startswith("l"):
        D_t, D_r = arrays[f"ecm_{case}_Dt"], arrays[f"ecm_{case}_Dr"]
        distance = {"l1": l1, "l2": l2}[name](D_t, D_r)
        torch.testing.assert_close(output.distance, distance.mean())
        torch.testing.assert_close((w * distance).mean(), arrays[f"ecm_{name}_{case}_loss_cm"], rtol=2e-6, atol=0)
    torch.testing.assert_close(grad, arrays[f"ecm_{name}_{case}_grad_Dt"], rtol=2e-5, atol=1e-7)


def ayt_step(arrays, features, kind):
    """The loss of one of the reference's training steps, and its gradient."""
    D_t, D_r, w = (arrays[f"ayt_{key}"] for key in ("Dt", "Dr", "w"))
    c, lambda_ = 0.00054 * D_t[0].numel() ** 0.5, float(arrays[f"ayt_{kind}_lmda1"])
    loss = distance_loss(features, weighted=False) if kind == "mfd" else hybrid_loss(c, features, lambda_, 5000)
    return gradient(loss, D_t, D_r, w, int(arrays[f"ayt_{kind}_iteration"]))


KINDS = ["mfd", "hyb", "hybfull"]
# D_t and D_r nearly coincide: what float32 left the golden numbers of the distance and of the gradient, and how much
# more kernels differ in it.
PRECISIONS = [(torch.float64, 2e-5, 5e-3), (torch.float32, 2e-4, 3e-2)]


@pytest.mark.parametrize(("precision", "rounding", "cancellation"), PRECISIONS, ids=["float64", "float32"])
@pytest.mark.parametrize("kind", KINDS)
def test_ayt_and_hybrid_steps(kind, features, precision, rounding, cancellation):
    arrays = golden("losses_step", precision)
    output, grad = ayt_step(arrays, features[precision], kind)
    torch.testing.assert_close(output.loss, arrays[f"ayt_{kind}_loss"], rtol=1e-6, atol=0)
    torch.testing.assert_close(output.distance, arrays[f"ayt_{kind}_loss_dst"], rtol=rounding, atol=0)
    assert (apart(grad, arrays[f"ayt_{kind}_grad_Dt"]) < cancellation).all()


@pytest.fixture(scope="module")
def unit_gradients(features):
    """Of MFD's batch mean, by image."""
    arrays = golden("losses_step", torch.float64)
    x = arrays["ayt_Dt"].requires_grad_()
    (G,) = torch.autograd.grad(features[torch.float64](x, arrays["ayt_Dr"]).mean(), x)
    return torch.stack([g / max(float(g.norm()), 1e-5) for g in G])


@pytest.mark.parametrize("kind", KINDS)
def test_ayt_and_hybrid_steps_by_hand(kind, features, unit_gradients):
    arrays, directions = golden("losses_step", torch.float64), unit_gradients
    D_t, D_r, w = (arrays[f"ayt_{key}"] for key in ("Dt", "Dr", "w"))
    _, grad = ayt_step(arrays, features[torch.float64], kind)
    share = float(arrays[f"ayt_{kind}_lmda1"]) * min(1, (int(arrays[f"ayt_{kind}_iteration"]) + 1) / 5000)
    if kind != "mfd":
        d = D_t - D_r
        lengths = (d.square().sum((1, 2, 3), keepdim=True) + 0.00054**2 * d[0].numel()).sqrt()
        directions = d / lengths + share * directions
    torch.testing.assert_close(grad, w[:, None, None, None] * directions / len(w), rtol=1e-9, atol=1e-12)


def test_the_direction_of_ayt(features):
    arrays = golden("losses_step", torch.float64)
    _, grad = ayt_step(arrays, features[torch.float64], "mfd")
    directions = grad * len(grad) / arrays["ayt_w"][:, None, None, None]
    torch.testing.assert_close(directions.flatten(1).norm(dim=1), torch.ones(len(grad), dtype=torch.float64))
    assert (apart(directions, arrays["ayt_mfd_unit_g"]) < 5e-3).all()


@pytest.mark.parametrize("name", ["l1", "l2"])
def test_short_gradients_are_not_stretched_to_length_1(name):
    """Sample 0 of the golden numbers does not move, sample 1 under L2 by 0.07."""
    arrays = golden("losses_step")
    D_t, D_r = arrays["clamp_D_t"], arrays["clamp_D_r"]
    w = weight(arrays["clamp_t"], arrays["clamp_r"])
    output, grad = gradient(distance_loss({"l1": l1, "l2": l2}[name], weighted=True), D_t, D_r, w)
    torch.testing.assert_close(output.loss.detach(), arrays[f"clamp_{name}_loss"], rtol=2e-6, atol=0)
    torch.testing.assert_close(grad, arrays[f"clamp_{name}_grad_Dt"], rtol=1e-5, atol=1e-6)
    direction = grad * len(w) / w[:, None, None, None]
    torch.testing.assert_close(direction, arrays[f"clamp_{name}_unit_g"], rtol=1e-5, atol=1e-6)


def test_the_weight_lifts_a_direction_over_the_floor_only_if_asked():
    """|G| = w 2e-6 against the floor of 1e-5, of which MFD's direction knows no w."""
    D_t, D_r, w = torch.full((1, 1, 1, 1), 1e-6), torch.zeros(1, 1, 1, 1), torch.tensor([10.0])
    for loss, length in (
        (distance_loss(l2, weighted=True), 1.0),
        (distance_loss(l2, weighted=False), 0.2),
        (hybrid_loss(0.0, l2, 1.0, 0), 1.2),
    ):
        _, grad = gradient(loss, D_t, D_r, w)
        assert float(grad / w) == pytest.approx(length, rel=1e-5)


def test_ect_has_no_gradient_where_its_reference_has_nan():
    arrays = golden("losses_step")
    w = weight(arrays["clamp_t"], arrays["clamp_r"])
    output, grad = gradient(ect_loss(0.0), arrays["clamp_D_t"], arrays["clamp_D_r"], w)
    torch.testing.assert_close(output.loss.detach(), arrays["nan_ph0_loss"])
    lengths = grad.flatten(1).norm(dim=1) * len(w) / w
    torch.testing.assert_close(lengths, 1.0 - arrays["nan_ph0_grad_isnan_per_sample"], check_dtype=False)


@pytest.mark.parametrize("name", ["ect", "l1", "l2", "ayt", "hybrid"])
def test_no_nan_where_both_are_equal(name, features):
    x = golden("mfd_vgg16")["x"]
    loss = {
        "ect": ect_loss(0.0),
        "l1": distance_loss(l1, weighted=True),
        "l2": distance_loss(l2, weighted=True),
        "ayt": distance_loss(features[x.dtype], weighted=False),
        "hybrid": hybrid_loss(0.0, features[x.dtype], 1.0, 0),
    }[name]
    output, grad = gradient(loss, x, x.clone(), torch.ones(len(x)))
    assert output.distance == 0
    assert not grad.any()


def test_ect_loss_object():
    arrays = golden("losses_ect")
    t = lognormal_t(arrays["z"]).to(torch.float32)
    for i, (q, stage) in enumerate(zip(arrays["q"].tolist(), arrays["stage"].tolist(), strict=True)):
        r = t_to_r(t, q, int(stage))
        torch.testing.assert_close(r, arrays[f"r_q{i}"].reshape(-1), rtol=1e-6, atol=1e-8)
        for j, c in enumerate(arrays["c"].tolist()):
            network = Analytic(0.9)
            D_t, D_r = consistency_pair(network, arrays["y"], t, r, arrays["eps"])
            torch.testing.assert_close(D_t.detach(), arrays[f"D_t_q{i}"], rtol=1e-6, atol=1e-7)
            per_sample = pseudo_huber(D_t, D_r, c) * weight(t, r)
            theirs = arrays[f"loss_q{i}_c{j}"].reshape(-1)
            torch.testing.assert_close(per_sample.detach(), theirs, rtol=2e-4, atol=1e-5)
            per_sample.mean().backward()
            torch.testing.assert_close(
                network.a.grad, arrays[f"grad_a_q{i}_c{j}"].reshape(()).float(), rtol=2e-4, atol=1e-5
            )


def test_the_network_is_never_asked_at_noise_level_0():
    asked = []

    def network(x, sigma):
        asked.append(sigma)
        return 0 * x

    x_0, t = torch.ones(2, 1, 4, 4), torch.tensor([1.0, 2.0])
    _, D_r = consistency_pair(network, x_0, t, torch.tensor([0.0, 1.0]), torch.ones_like(x_0))
    assert (torch.stack(asked) > 0).all()
    assert torch.equal(D_r, torch.stack([x_0[0], 0 * x_0[1]]))


def test_both_passes_share_one_dropout_mask():
    seen = []

    class Raw(RawNetwork):
        mask_shapes, dropout, classes = [(1, 4, 4)], 0.5, 0

        def forward(self, x, noise_label, augment_labels=None, class_labels=None, masks=()):
            seen.append(masks[0])
            return x

    x_0, t = torch.ones(2, 1, 4, 4), torch.tensor([1.0, 2.0])
    D = bind(EDMPrecond(Raw()), draws=Draws(0, 3, 2, torch.device("cpu")))
    consistency_pair(D, x_0, t, t / 2, torch.zeros(2, 1, 4, 4))
    assert torch.equal(*seen)
    assert 0 < seen[0].float().mean() < 1


def test_a_conditional_network_is_told_the_labels_and_another_is_not():
    told = []

    class Raw(RawNetwork):
        mask_shapes, dropout = [], 0.0

        def forward(self, x, noise_label, augment_labels=None, class_labels=None, masks=()):
            told.append(class_labels)
            return x

    for classes in (3, 0):
        raw = Raw()
        raw.classes = classes
        bind(EDMPrecond(raw), torch.tensor([2, 0]))(torch.ones(2, 1, 4, 4), torch.ones(2))
    assert told[0].tolist() == [[0, 0, 1], [1, 0, 0]]
    assert told[1] is None


def part_losses(loss, D_t, D_r, w, parts):
    outputs = [loss(D_t[part], D_r[part], w[part], 3, len(D_t)) for part in parts]
    return sum(output.loss for output in outputs), sum(output.distance for output in outputs)


@pytest.mark.parametrize("name", [*LOSSES, "hybrid"])
def test_losses_of_parts_add_up(name):
    torch.manual_seed(0)
    loss = hybrid_loss(0.0, l1, 0.5, 10) if name == "hybrid" else LOSSES[name](192)
    D_r, w = torch.randn(6, 3, 8, 8), torch.rand(6)
    # Differences so small that the floor of the direction's length matters, which knows the batch's size.
    D_t = (D_r + 1e-6 * torch.randn_like(D_r)).requires_grad_()
    whole = loss(D_t, D_r, w, 3)
    (expected,) = torch.autograd.grad(whole.loss, D_t)
    total, distance = part_losses(loss, D_t, D_r, w, [slice(0, 4), slice(4, 6)])
    (found,) = torch.autograd.grad(total, D_t)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-12)
    torch.testing.assert_close(distance, whole.distance)


def test_denoising_loss_by_hand():
    network = Analytic(0.9)
    x_0, eps, sigma = torch.randn(3, 1, 4, 4), torch.randn(3, 1, 4, 4), torch.tensor([0.1, 1.0, 5.0])
    D = network(x_0 + sigma[:, None, None, None] * eps, sigma)
    lambda_ = (sigma**2 + 0.25) / (sigma * 0.5) ** 2
    expected = (lambda_[:, None, None, None] * (D - x_0) ** 2).mean()
    torch.testing.assert_close(denoising_loss(network, x_0, sigma, eps).loss, expected)
