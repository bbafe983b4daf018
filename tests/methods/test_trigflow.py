"""Continuous-time consistency models in TrigFlow: the paper's formulas in its own variables, and Gaussians."""

import pytest
import torch
from recipe import load_recipe

from ayt.methods.formulas.continuous import normalise_tangent, tangent, velocity
from ayt.methods.formulas.trigflow import trigflow_loss, trigflow_tangent
from ayt.networks.modules.ddpmpp import DDPMpp
from ayt.networks.modules.noise_weight import LogWeight
from ayt.networks.modules.precond import EDMPrecond

S = 0.5


def u_net(seed):
    network = EDMPrecond(DDPMpp(8, 1, channels=16, channel_mult=(1, 2), blocks=1, attention=(4,)))
    return load_recipe(network, seed).double().requires_grad_(False)


def at(a):
    """An angle as factors of images."""
    return a.cos()[:, None, None, None], a.sin()[:, None, None, None]


def raw(D, y, a):
    """TrigFlow's network F(y / s, a), from D(y / cos a; s tan a) = cos(a) y - s sin(a) F."""
    cos, sin = at(a)
    return (cos * y - D(y / cos, S * a.tan())) / (S * sin)


@pytest.fixture
def points():
    torch.manual_seed(0)
    x_0, eps = torch.randn(2, 5, 1, 8, 8, dtype=torch.float64)
    a = torch.tensor([0.02, 0.3, 0.9, 1.4, 1.56], dtype=torch.float64)
    return 0.5 * x_0, eps, a


def along(D, v, x_0, eps, a, warmup):
    t = S * a.tan()
    x_t = x_0 + t[:, None, None, None] * eps
    return trigflow_tangent(D(x_t, t), tangent(D, x_t, v, t), x_t, v, t, warmup)


@pytest.mark.parametrize("warmup", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("distilled", [False, True])
def test_the_papers_tangent_by_finite_differences_in_its_own_variables(points, warmup, distilled):
    x_0, eps, a = points
    D, teacher = u_net(1), u_net(2)
    cos, sin = at(a)
    y, t = cos * x_0 + sin * S * eps, S * a.tan()
    slope = S * raw(teacher, y, a) if distilled else cos * S * eps - sin * x_0  # dy / da
    step = 1e-6
    ahead, behind = (raw(D, y + h * slope, a + h) for h in (step, -step))
    dF = (ahead - behind) / (2 * step)
    expected = -(cos**2) * (S * raw(D, y, a) - slope) - warmup * cos * sin * (y + S * dF)
    v = velocity(teacher, y / cos, t) if distilled else eps
    torch.testing.assert_close(along(D, v, x_0, eps, a, warmup), expected, rtol=1e-5, atol=1e-6)


def test_the_loss_moves_the_raw_network_against_its_normalised_tangent(points):
    x_0, eps, a = points
    D, t = u_net(1), S * a.tan()
    x_t = x_0 + t[:, None, None, None] * eps
    D_t, g = D(x_t, t).requires_grad_(), torch.randn_like(x_t)
    loss, watched = trigflow_loss(D_t, g, t, 0.1)
    loss.backward()
    F = raw(lambda *_: D_t, at(a)[0] * x_t, a)
    target = (F + normalise_tangent(g, 0.1)[0]).detach()
    (expected,) = torch.autograd.grad((F - target).square().mean(), D_t)
    torch.testing.assert_close(D_t.grad, expected)
    torch.testing.assert_close(loss, (F - target).square().mean())
    assert watched == pytest.approx(float(g.square().mean((1, 2, 3)).sqrt().mean()))


def test_a_learned_weight_scales_the_gradient_and_is_trained_towards_the_inverse_of_the_loss(points):
    x_0, eps, a = points
    D, t = u_net(1), S * a.tan()
    x_t = x_0 + t[:, None, None, None] * eps
    g, w = torch.randn_like(x_t), torch.linspace(-1, 1, 5, dtype=torch.float64).requires_grad_()
    gradients = []
    for log_weight in (None, w):
        D_t = D(x_t, t).requires_grad_()
        trigflow_loss(D_t, g, t, 0.1, log_weight).loss.backward()
        gradients.append(D_t.grad)
    torch.testing.assert_close(gradients[1], gradients[0] * w.detach().exp()[:, None, None, None])
    errors = normalise_tangent(g, 0.1)[0].square().mean((1, 2, 3))
    torch.testing.assert_close(w.grad, (w.detach().exp() * errors - 1) / 5)


def test_the_learned_weight_ends_at_one_over_the_mean_loss_of_each_noise_level():
    torch.manual_seed(0)
    log_weight = LogWeight()
    assert not log_weight(torch.tensor([0.1, 1.0])).any()
    optimiser = torch.optim.Adam(log_weight.parameters(), lr=1e-2)
    mean_loss = lambda t: t.sqrt() / (1 + t)  # noqa: E731
    for _ in range(300):
        t = (-1.0 + 1.4 * torch.randn(64)).exp()
        w = log_weight(t)
        optimiser.zero_grad()
        (w.exp() * mean_loss(t) * torch.rand(64) * 2 - w).mean().backward()
        optimiser.step()
    t = torch.tensor([0.05, 0.2, 1.0, 4.0])
    torch.testing.assert_close(log_weight(t).detach().exp(), 1 / mean_loss(t), rtol=0.2, atol=0)


def gaussian(power, tau=0.7):
    """x (tau^2 / (tau^2 + t^2))^power: of N(0, tau^2) the denoiser for power 1, the consistency function for 1/2."""
    return lambda x, t: x * ((tau**2 / (tau**2 + t**2)) ** power)[:, None, None, None]


def test_tangents_of_a_gaussian_in_closed_form(points):
    x_0, eps, a = points
    tau, t = 0.7, (S * a.tan())[:, None, None, None]
    x_t = x_0 + t * eps
    v = velocity(gaussian(1), x_t, S * a.tan())
    torch.testing.assert_close(v, x_t * t / (tau**2 + t**2))
    # The consistency function does not change along the probability flow.
    found = along(gaussian(0.5), v, x_0, eps, a, 1.0)
    torch.testing.assert_close(found, torch.zeros_like(found), rtol=0, atol=1e-12)
    # The denoiser's slope is the flow's, so that its tangent has the second part alone.
    second = -((t**2 + S**2).sqrt()) * t * tau**2 / (tau**2 + t**2) ** 2 * x_t
    for warmup in (0.0, 0.5, 1.0):
        torch.testing.assert_close(along(gaussian(1), v, x_0, eps, a, warmup), warmup * second)


@pytest.mark.parametrize("distilled", [False, True])
def test_training_on_a_gaussian_ends_at_its_consistency_function(distilled):
    """Of the family x (tau^2 / (tau^2 + t^2))^power, from the denoiser: the power falls from 1 to 1/2."""
    torch.manual_seed(0)
    power = torch.nn.Parameter(torch.ones((), dtype=torch.float64))
    optimiser = torch.optim.SGD([power], lr=0.05)
    for _ in range(150):
        x_0, eps = torch.randn(2, 16, 1, 32, 32, dtype=torch.float64)
        t = (-1.0 + 1.4 * torch.randn(16, dtype=torch.float64)).exp()
        x_t = 0.7 * x_0 + t[:, None, None, None] * eps
        v = velocity(gaussian(1), x_t, t) if distilled else eps
        D = gaussian(power)
        D_t = D(x_t, t)
        g = trigflow_tangent(D_t.detach(), tangent(D, x_t, v, t), x_t, v, t, 1.0)
        optimiser.zero_grad()
        trigflow_loss(D_t, g, t, 0.1).loss.backward()
        optimiser.step()
    assert float(power.detach()) == pytest.approx(0.5, abs=0.02)
