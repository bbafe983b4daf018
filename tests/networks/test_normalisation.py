"""Group norm without a change of layout, as it runs on CUDA: PyTorch's numbers, channels last from end to end."""

import pytest
import torch
from recipe import golden, load_recipe
from torch.utils._python_dispatch import TorchDispatchMode

from ayt.networks.modules import ddpmpp
from ayt.networks.modules.ddpmpp import DDPMpp
from ayt.networks.modules.precond import EDMPrecond


@pytest.fixture
def layout_free(monkeypatch):
    monkeypatch.setattr(ddpmpp, "LAYOUT_FREE_ON", {"cpu"})


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_it_is_group_norm_with_its_derivatives(monkeypatch, layout):
    source = torch.Generator().manual_seed(0)
    norm = torch.nn.GroupNorm(4, 12, eps=1e-6).double()
    for parameter in norm.parameters():
        torch.nn.init.normal_(parameter, generator=source)
    x = torch.randn(3, 12, 5, 4, generator=source, dtype=torch.float64).contiguous(memory_format=layout)
    shift = torch.randn(3, 12, generator=source, dtype=torch.float64)
    mask = torch.rand(x.shape, generator=source) < 0.5
    towards = torch.randn(x.shape, generator=source, dtype=torch.float64)
    found = []
    for devices in (set(), {"cpu"}):
        monkeypatch.setattr(ddpmpp, "LAYOUT_FREE_ON", devices)
        inputs = [x.clone().requires_grad_(), shift.clone().requires_grad_(), *norm.parameters()]
        y = ddpmpp.norm_silu(norm, *inputs[:2], mask, 0.5)
        found.append([y, *torch.autograd.grad(y, inputs, towards)])
    for plain, free in zip(*found, strict=True):
        torch.testing.assert_close(free, plain, rtol=1e-10, atol=1e-12)
    assert found[1][0].is_contiguous(memory_format=layout)

    def by_torch(x):
        return torch.nn.functional.silu(norm(x + shift[:, :, None, None])) * mask / 0.5

    monkeypatch.setattr(ddpmpp, "LAYOUT_FREE_ON", set())  # in forward mode, the layout does not matter on a CPU either
    forward = torch.func.jvp(lambda x: ddpmpp.norm_silu(norm, x, shift, mask, 0.5), (x,), (towards,))[1]
    expected = torch.func.jvp(by_torch, (x.contiguous(),), (towards.contiguous(),))[1]
    torch.testing.assert_close(forward, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.golden
def test_the_network_on_golden_numbers(layout_free):
    arrays = golden("edm_unet_small_plain")
    network = load_recipe(EDMPrecond(DDPMpp(16, 1, 32, (1, 2), 1, (8,))), arrays["seed"])
    with torch.no_grad():
        torch.testing.assert_close(network(arrays["x"], arrays["sigma"]), arrays["D"], atol=1e-5, rtol=0)


def test_no_activation_changes_its_layout(layout_free):
    network = DDPMpp(8, 3, 16, (1, 2), 1, (4, 8), dropout=0.5).to(memory_format=torch.channels_last)
    last = {"memory_format": torch.channels_last}
    masks = [torch.ones(2, *shape, dtype=torch.bool).contiguous(**last) for shape in network.mask_shapes]
    x = torch.randn(2, 3, 8, 8).contiguous(**last)
    with Layouts() as layouts:
        network(x, torch.rand(2), masks=masks).square().sum().backward()
    assert layouts.convolutions > 60
    assert layouts.others == []


class Layouts(TorchDispatchMode):
    """Notes the activations, and their gradients, that come to a convolution otherwise than with channels last."""

    def __init__(self):
        super().__init__()
        self.convolutions = 0
        self.others = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if "convolution" in str(function):
            self.convolutions += 1
            seen = args[:2]  # images and weights; gradients and images
            self.others += [
                (str(function), tuple(x.shape), x.stride())
                for x in seen
                if not x.is_contiguous(memory_format=torch.channels_last)
            ]
        return function(*args, **(kwargs or {}))
