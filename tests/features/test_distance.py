"""Distances in features against golden numbers."""

import copy

import pytest
import torch
from recipe import apart, golden, load_recipe

from ayt.features.distance import feature_distance, freeze, lpips_like, mfd, ph
from ayt.networks.modules.vgg import VGG

pytestmark = pytest.mark.golden


@pytest.fixture(scope="module")
def vgg16():
    return freeze(load_recipe(VGG(), golden("mfd_vgg16")["seed"], 2**0.5))


def test_pseudo_huber_norm():
    arrays = golden("mfd_ph")
    diff = arrays["diff"].requires_grad_()
    norms = ph(diff, 1e-5, (2, 3))
    torch.testing.assert_close(norms, arrays["ph"])
    norms.sum().backward()
    torch.testing.assert_close(diff.grad, arrays["grad"])


def test_mfd_and_its_gradient(vgg16):
    arrays, network = golden("mfd_vgg16", torch.float64), copy.deepcopy(vgg16).double()
    x = arrays["x"].requires_grad_()
    distances = mfd(network)(x, arrays["y"])
    torch.testing.assert_close(distances, arrays["distance_f64"], rtol=1e-9, atol=0)
    (gradient,) = torch.autograd.grad(distances.mean(), x)
    assert (apart(gradient, arrays["grad_x_f64"]) < 1e-9).all()
    units = gradient / gradient.flatten(1).norm(dim=1).clamp_min(1e-5)[:, None, None, None]
    # y differs from x by 0.2, 0.02 and 0.002: the closer, the fewer digits float32 left the golden numbers.
    assert (apart(units, arrays["unit_grad_x"]) < torch.tensor([1e-5, 1e-4, 3e-4])).all()
    torch.testing.assert_close(feature_distance(network.taps(x), network.taps(arrays["y"])), distances)


def test_equal_images_are_at_distance_zero(vgg16):
    x = golden("mfd_vgg16")["x"].requires_grad_()
    distances = mfd(vgg16)(x, x.detach())
    assert not distances.any()
    (gradient,) = torch.autograd.grad(distances.sum(), x)
    assert torch.isfinite(gradient).all()
    assert not lpips_like(vgg16)(x, x).any()


def test_lpips_like_by_hand():
    network = freeze(VGG(4, 1, 2, widths=(3,), convs=(1,), batch_norm=False))
    x, y = torch.rand(2, 1, 4, 4), torch.rand(2, 1, 4, 4)
    a, b = network.taps(x)[0], network.taps(y)[0]
    a, b = (f / (f.square().sum(1, keepdim=True) + 1e-10).sqrt() for f in (a, b))
    expected = (a - b).square().sum(1).mean((1, 2))
    torch.testing.assert_close(lpips_like(network)(x, y), expected)


def test_frozen_network_does_not_learn():
    network = freeze(VGG(4, 1, 2, widths=(3,), convs=(1,)).train())
    assert not any(module.training for module in network.modules())
    assert not any(parameter.requires_grad for parameter in network.parameters())
