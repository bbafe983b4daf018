"""Samplers against golden numbers."""

from itertools import pairwise

import pytest
import torch
from recipe import golden
from torch import nn

from ayt.base.images import to_uint8
from ayt.evaluation.sampling import draw_diffusion_samples, draw_samples, euler, euler_levels, heun, sample, step
from ayt.plan.anchors import Heun
from ayt.plan.evaluations import Sampling

pytestmark = pytest.mark.golden


def analytic(x, s):
    s = s[:, None, None, None]
    return x * 0.5 / (1 + s) + 0.1 * x.tanh() * s.cos()


def noises(arrays, count):
    latent = arrays["latent"]
    return torch.cat([latent[None], arrays["noise"][: count - 1].to(latent.dtype)])


def test_one_and_two_steps_of_both_conventions():
    arrays = golden("samplers")
    cases = {
        "ayt_euler1": ((), "ayt"),
        "ayt_euler1_auto": ((), "ayt"),
        "ayt_em2": ((0.821,), "ayt"),
        "ect_1step": ((), "ect"),
        "ect_2step": ((0.821,), "ect"),
        "ect_3step": ((5.0, 0.5), "ect"),
    }
    for name, (mids, convention) in cases.items():
        ours = sample(analytic, noises(arrays, 1 + len(mids)), mids, convention)
        torch.testing.assert_close(ours, arrays[name].float(), atol=2e-5, rtol=1e-4, msg=lambda m, n=name: f"{n}: {m}")


def test_three_steps_follow_the_levels():
    arrays = golden("samplers")
    levels = arrays["ayt_em3_disc"].tolist()
    mids = sorted((level for level in levels if 0.002 < level < 79.9), reverse=True)
    ours = sample(analytic, noises(arrays, 1 + len(mids)), mids)
    torch.testing.assert_close(ours, arrays["ayt_em3"].float(), atol=2e-5, rtol=1e-4)


def test_noise_fills_each_level_from_where_the_step_before_ended():
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(2, 1, 1, 4, 4, generator=generator, dtype=torch.float64)
    # D = 0: a step to n scales x by n / s
    ours = sample(lambda x, sigma: 0 * x, z, (0.5,), sigma_min=0.3)
    torch.testing.assert_close(ours, 0.3 / 0.5 * (0.3 * z[0] + 0.4 * z[1]))


def test_a_step_from_a_noisy_image():
    arrays = golden("samplers")
    sigma = float(arrays["ayt_dfid_sigma"])
    ours = step(analytic, arrays["ayt_dfid_image"] + sigma * arrays["latent"], sigma, 0.002)
    torch.testing.assert_close(ours, arrays["ayt_dfid_euler1"], atol=2e-6, rtol=0)


def test_samples_carry_no_graph():
    conv = nn.Conv2d(3, 3, 1)
    z = torch.randn(2, 1, 3, 4, 4)
    assert not sample(lambda x, sigma: conv(x), z, (0.5,)).requires_grad
    assert not euler(lambda x, sigma: conv(x), z[0], 2).requires_grad


def test_many_step_euler():
    arrays = golden("samplers")
    theirs = arrays["ayt_euler4_disc"]
    torch.testing.assert_close(torch.tensor(euler_levels(4), dtype=theirs.dtype), theirs, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(euler(analytic, arrays["latent"], 4), arrays["ayt_euler4_auto"], atol=5e-5, rtol=1e-4)


def test_a_diffusion_model_is_sampled_from_the_noise_that_one_step_begins_with():
    seen = []

    def network(labels):
        def D(x, sigma):
            seen.append((x, labels))
            return analytic(x, sigma)

        return D

    where = (range(2, 5), (1, 4, 4), 10, torch.device("cpu"))
    draw_samples(network, Sampling((), "ayt", seed=3), 0, *where)
    ours = draw_diffusion_samples(network, 4, 3, *where)
    (x, labels), (x_again, labels_again), *_ = seen
    assert torch.equal(x, x_again)
    assert labels.tolist() == labels_again.tolist() == [2, 3, 4]
    assert torch.equal(ours, euler(analytic, x / 80, 4))


def test_heun_step_by_step():
    """EDM's algorithm 1 without churn, written out on the reference's noise levels and latent."""
    arrays = golden("samplers")
    levels = arrays["ayt_euler4_disc"].double().tolist()
    x = levels[0] * arrays["latent"].double()

    def slope(x, t):
        return (x - analytic(x, torch.full((len(x),), t, dtype=x.dtype))) / t

    for t, following in pairwise(levels):
        d = slope(x, t)
        ahead = x + (following - t) * d
        x = ahead if following == 0 else x + (following - t) * (0.5 * d + 0.5 * slope(ahead, following))
    torch.testing.assert_close(heun(analytic, arrays["latent"].double(), 4), x, atol=1e-4, rtol=1e-5)


def test_heun_comes_to_the_end_of_the_exact_trajectory_of_a_gaussian():
    """The end of x(t) = x(80) sqrt((c^2 + t^2) / (c^2 + 80^2)); the error falls with the square of the step."""
    c, seen = 0.5, []

    def D(x, sigma):
        seen.append(float(sigma[0]))
        return x * c**2 / (c**2 + float(sigma[0]) ** 2)

    latent = torch.ones(1, 1, 1, 1, dtype=torch.float64)
    exact = 80 * c / (c**2 + 80**2) ** 0.5
    errors = [abs(float(heun(D, latent, steps)) - exact) for steps in (18, 36)]
    assert errors[0] < 0.06 * exact
    assert 3 < errors[0] / errors[1] < 6
    assert abs(float(euler(D, latent, 36)) - exact) > errors[0]
    assert len(seen) == Heun(18, 0).evaluations + Heun(36, 0).evaluations + 36


def test_anchors_begin_with_the_noise_of_snapshots():
    seen = []

    def network(labels):
        def D(x, sigma):
            seen.append(x)
            return analytic(x, sigma)

        return D

    where = (1, range(2, 5), (1, 4, 4), 0, torch.device("cpu"))
    draw_samples(network, Sampling((), "ayt", seed=3), *where)
    ours = draw_samples(network, Heun(3, seed=3), *where)
    assert torch.equal(seen[0], seen[1])
    assert torch.equal(ours, heun(analytic, seen[0] / 80, 3))


def test_uint8():
    arrays = golden("uint8")
    assert torch.equal(to_uint8(arrays["x"]).permute(0, 2, 3, 1), arrays["img_nhwc"])
