"""Tangents and how they turn: formulas, and golden numbers."""

import numpy as np
import pytest
import torch
from recipe import golden, load_recipe

from ayt.analysis import oscillation, spaces, tangents
from ayt.base.errors import UserError
from ayt.base.images import Images, to_float
from ayt.datasets.digits import Digits
from ayt.features.distance import freeze, mfd
from ayt.methods.ect import Ect
from ayt.methods.formulas.losses import distance_loss, ect_loss, l2
from ayt.methods.formulas.schedules import t_to_r
from ayt.networks.modules.ddpmpp import DDPMpp
from ayt.networks.modules.precond import EDMPrecond
from ayt.networks.modules.vgg import VGG

ECT = Ect(batch_sizes=[4])


def digits():
    return Images.of(Digits().load())


def small_network():
    network = EDMPrecond(DDPMpp(16, 1, channels=32, channel_mult=(1, 2), blocks=1, attention=(8,)))
    return load_recipe(network).requires_grad_(False)


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
        found = tangents.measure_tangents(network, points, [0.5, 2.0], ECT.model_copy(update={"q": q}), 0, l2)
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
    distance = mfd(freeze(load_recipe(VGG(), 1000, 2**0.5).double()))
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
    points = tangents.choose_points(images, 20, seed=1)
    assert torch.equal(points.x, to_float(images.pixels[points.places]))
    assert torch.equal(points.labels, images.labels[points.places])
    assert (points.others != points.places[:, None]).all()
    assert not torch.equal(points.x, tangents.choose_points(images, 20, seed=2).x)
    with pytest.raises(UserError, match="cannot use 2000 images: the dataset has 1797"):
        tangents.choose_points(images, 2000, 0)


def test_a_method_that_compares_no_outputs_has_no_tangent_of_its_own():
    assert list(oscillation.choose_tangents(None, None)) == ["pixel"]
    assert list(oscillation.choose_tangents(ect_loss(0.0), l2)) == ["own", "pixel", "feature"]


def test_cosines_by_lag_by_hand():
    v, u = torch.eye(4)[0], torch.eye(4)[1]
    swinging = torch.stack([v, -v, v, u])[:, None, None, None]  # (M+1, T, S, K, n)
    lags, successive = oscillation._cosines(swinging)
    assert successive.flatten().tolist() == [-1, -1, 0]
    assert lags.flatten().tolist() == pytest.approx([-2 / 3, 0.5, 0])
