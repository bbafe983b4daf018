"""Networks against golden numbers: names, shapes, outputs, gradients."""

import pytest
import torch
from recipe import golden, listing, load_recipe

from ayt.base.errors import UserError
from ayt.networks.modules.ddpmpp import Block, DDPMpp
from ayt.networks.modules.precond import EDMPrecond, scalings
from ayt.networks.modules.vgg import VGG

pytestmark = pytest.mark.golden

SMALL = {"plain": {}, "aug": {"augment_labels": 9}, "cond": {"classes": 4}}


def shapes(module):
    return {key: "x".join(map(str, value.shape)) for key, value in module.state_dict().items()}


def listed(name):
    return {row["key"]: "" if row["shape"] in ("", "scalar", "()") else row["shape"] for row in listing(name)}


def small(kind):
    network = EDMPrecond(DDPMpp(16, 1, 32, (1, 2), 1, (8,), **SMALL[kind]))
    return load_recipe(network, golden(f"edm_unet_small_{kind}")["seed"])


def denoise(network, arrays):
    labels = {key: arrays[key] for key in ("augment_labels", "class_labels") if key in arrays}
    return network(arrays["x"], arrays["sigma"], **labels)


def test_scalings():
    arrays = golden("precond")
    for ours, name in zip(scalings(arrays["sigma"]), ("c_skip", "c_out", "c_in", "c_noise"), strict=True):
        torch.testing.assert_close(ours, arrays[f"edm_{name}"].to(ours.dtype), rtol=2e-6, atol=1e-7)


def check_gradients(network, name, tolerance):
    gradients = {name: parameter.grad for name, parameter in network.named_parameters()}
    for row in listing(name):
        ours = gradients[row["key"]].flatten()
        found = [float(number) for number in (ours.norm(), ours.sum(), ours[0], ours[-1])]
        theirs = [float(row[f"grad_{what}"]) for what in ("l2norm", "sum", "first", "last")]
        assert found == pytest.approx(theirs, rel=0, abs=tolerance * theirs[0]), row["key"]


@pytest.mark.parametrize("kind", SMALL)
def test_small_unet_output_and_gradients(kind):
    arrays, network = golden(f"edm_unet_small_{kind}", torch.float64), small(kind).double()
    assert shapes(network) == listed(f"edm_unet_small_{kind}")
    D = denoise(network, arrays)
    torch.testing.assert_close(D, arrays["D_f64"], atol=1e-9, rtol=0)
    (D * arrays["grad_G"]).sum().backward()
    check_gradients(network, f"edm_unet_small_{kind}_grads", 5e-5)


@pytest.mark.parametrize("kind", SMALL)
def test_small_unet_in_float32(kind):
    arrays, network = golden(f"edm_unet_small_{kind}"), small(kind)
    D = denoise(network, arrays)
    torch.testing.assert_close(D, arrays["D"], atol=1e-5, rtol=0)
    (D * arrays["grad_G"]).sum().backward()
    check_gradients(network, f"edm_unet_small_{kind}_grads", 2e-4)


def test_channels_last_is_the_same_network():
    arrays = golden("edm_unet_small_plain")
    network = small("plain").to(memory_format=torch.channels_last)
    images = arrays["x"].contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        torch.testing.assert_close(network(images, arrays["sigma"]), arrays["D"], atol=1e-5, rtol=0)


@pytest.fixture(scope="module")
def cifar10():
    """EDM's network at full size with 9 augmentation labels."""
    arrays = golden("edm_unet_ddpmpp_cifar10_aug9")
    return load_recipe(EDMPrecond(DDPMpp(32, 3, augment_labels=9)), arrays["seed"]).requires_grad_(False)


def test_cifar10_unet_at_full_size(cifar10):
    arrays = golden("edm_unet_ddpmpp_cifar10_aug9")
    assert shapes(cifar10) == listed("edm_unet_ddpmpp_cifar10_aug9")
    torch.testing.assert_close(denoise(cifar10, arrays), arrays["D"], atol=1e-5, rtol=0)
    plain = cifar10(arrays["x"], arrays["sigma"])
    torch.testing.assert_close(plain, arrays["D_no_labels"], atol=1e-5, rtol=0)


def test_cifar10_unet_without_augmentation_labels(cifar10):
    arrays, network = golden("edm_unet_ddpmpp_cifar10"), EDMPrecond(DDPMpp(32, 3)).eval()
    assert shapes(network) == listed("edm_unet_ddpmpp_cifar10")
    network.load_state_dict({key: value for key, value in cifar10.state_dict().items() if "map_augment" not in key})
    few = {key: arrays[key][[0, 3]].double() for key in ("x", "sigma", "D_f64")}
    with torch.no_grad():
        torch.testing.assert_close(denoise(network.double(), few), few["D_f64"], atol=1e-9, rtol=0)


def test_dropout_is_what_its_masks_say():
    network = load_recipe(EDMPrecond(DDPMpp(8, 1, 16, (1, 2), 1, (4,), dropout=0.5))).train()
    x, sigma = torch.randn(2, 1, 8, 8), torch.ones(2)
    shapes = network.model.mask_shapes
    assert shapes == [(16, 8, 8), (16, 4, 4), (32, 4, 4), *[(32, 4, 4)] * 4, (32, 8, 8), *[(16, 8, 8)] * 2]
    everything = [torch.ones(2, *shape, dtype=torch.bool) for shape in shapes]
    # Whatever the module's mode: without masks nothing is dropped; masks that keep everything double what they keep.
    assert torch.equal(network(x, sigma), network.eval()(x, sigma))
    assert not torch.equal(network(x, sigma, masks=everything), network(x, sigma))
    for index in range(len(shapes)):
        one = [mask.clone() for mask in everything]
        one[index][0] = False
        changed = (network(x, sigma, masks=one) != network(x, sigma, masks=everything)).flatten(1).any(1)
        assert changed.tolist() == [True, False], shapes[index]


def test_a_mask_scales_what_it_keeps():
    block = load_recipe(Block(16, 16, 16, dropout=0.2))
    x, e = torch.randn(1, 16, 4, 4), torch.randn(1, 16)
    kept, dropped = (block(x, e, torch.full((1, 16, 4, 4), keep)) for keep in (True, False))
    plain = block(x, e)
    # The branch's last layer is linear: 1 / 0.8 of its input makes 1 / 0.8 of its output.
    torch.testing.assert_close(kept - dropped, (plain - dropped) / 0.8, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("bf16", [False, True])
def test_bfloat16_changes_little_and_only_where_asked(bf16):
    network = load_recipe(EDMPrecond(DDPMpp(8, 1, 16, (1, 2), 1, (4,)), bf16=bf16))
    x, sigma = torch.randn(2, 1, 8, 8), torch.tensor([0.5, 5.0])
    D, exact = network(x, sigma), load_recipe(EDMPrecond(DDPMpp(8, 1, 16, (1, 2), 1, (4,))))(x, sigma)
    assert D.dtype == torch.float32
    assert torch.equal(D, exact) is not bf16
    torch.testing.assert_close(D, exact, rtol=0.05, atol=0.05)


def test_fresh_denoiser_begins_near_c_skip_x():
    x, sigma = torch.randn(2, 1, 8, 8), torch.tensor([0.5, 5.0])
    D = EDMPrecond(DDPMpp(8, 1, 32, (1, 1), 1, (4,)))(x, sigma)
    torch.testing.assert_close(D, x * scalings(sigma)[0][:, None, None, None], atol=1e-3, rtol=0)


def test_fresh_residual_branches_and_attention_begin_small():
    weights = DDPMpp(8, 1, 32, (1, 2), 1, (4,)).state_dict()
    for name, weight in weights.items():
        bound = (6 / (weight[0].numel() + weight[:, 0].numel())) ** 0.5 if weight.ndim > 1 else 0.0  # xavier's
        if name.endswith(("conv1.weight", "proj.weight", "aux_conv.weight")):
            assert 0 < weight.abs().max() <= 1.01e-5 * bound, name
        elif name.endswith("qkv.weight"):
            assert 0.4 * bound < weight.abs().max() <= 0.2**0.5 * bound * 1.01, name


def test_forward_mode_derivative_is_a_difference_quotient():
    arrays, network = golden("edm_unet_small_plain"), small("plain").double()
    x, sigma = arrays["x"].double(), arrays["sigma"].double()
    along = (torch.randn(x.shape, dtype=x.dtype), 0.1 * sigma)
    _, tangent = torch.func.jvp(network, (x, sigma), along)
    h = 1e-5
    ahead, behind = (network(x + step * along[0], sigma + step * along[1]) for step in (h, -h))
    torch.testing.assert_close(tangent, (ahead - behind) / (2 * h), rtol=1e-5, atol=1e-6)


def test_vgg16_names_and_logits():
    arrays = golden("mfd_vgg16", torch.float64)
    network = load_recipe(VGG(), arrays["seed"], 2**0.5).double()
    assert shapes(network) == listed("mfd_vgg16")
    with torch.no_grad():
        torch.testing.assert_close(network(arrays["x"]), arrays["logits_x_f64"], atol=1e-9, rtol=1e-9)
        torch.testing.assert_close(network(arrays["y"]), arrays["logits_y"], atol=3e-6, rtol=1e-5)
        for index, tap in enumerate(network.taps(arrays["x"])):
            assert tap.numel() == arrays[f"feat{index}_shape"].prod()
            values = tap.flatten()[arrays[f"feat{index}_index"]]
            torch.testing.assert_close(values, arrays[f"feat{index}_values"], atol=3e-6, rtol=1e-4)


def test_small_classifier_taps_and_features():
    network = VGG(8, 1, 10, widths=(4, 6), convs=(1, 2), batch_norm=False)
    taps = network.taps(torch.zeros(3, 1, 8, 8))
    assert [tuple(tap.shape) for tap in taps] == [(3, 4, 4, 4), (3, 6, 2, 2), (3, 10)]
    assert network.embed(torch.zeros(3, 1, 8, 8)).shape == (3, 6)


def test_classifier_averages_the_last_pool():
    network, x = VGG(8, 1, 10, widths=(4,), convs=(1,), batch_norm=False), torch.randn(2, 1, 8, 8)
    mean = network.taps(x)[0].mean((2, 3))
    torch.testing.assert_close(network.embed(x), mean)
    torch.testing.assert_close(network(x), network.layers["classifier"](mean))


def test_sizes_that_do_not_fit_are_refused():
    with pytest.raises(UserError, match="2 halvings do not divide 6"):
        DDPMpp(6, 1, channel_mult=(1, 1, 1))
    with pytest.raises(UserError, match="one entry per stage"):
        VGG(widths=(4,), convs=(1, 1))
    with pytest.raises(UserError, match="do not divide resolution 6"):
        VGG(6, widths=(4, 4), convs=(1, 1))
