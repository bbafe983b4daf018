"""The feature networks of the classifier ablation against golden numbers: names, features, distances, gradients."""

import copy

import pytest
import torch
from recipe import apart, golden, listing, load_recipe

from ayt.base.errors import UserError
from ayt.features.distance import freeze, mfd
from ayt.networks.modules.densenet import DenseNet
from ayt.networks.modules.resnet import ResNet
from ayt.networks.modules.vgg import VGG
from ayt.networks.modules.vit import ViT

pytestmark = pytest.mark.golden

# What the reference calls vggmod16 is vgg16, to the last number.
FAMILIES = {
    "vgg16": VGG,
    "vggmod16_nobn_nopool": lambda: VGG(batch_norm=False, pool=False),
    "resnet18": ResNet,
    "densenet": DenseNet,
    "vit": ViT,
}


@pytest.fixture(scope="module", params=FAMILIES)
def family(request):
    return request.param


@pytest.fixture(scope="module")
def network(family):
    return freeze(load_recipe(FAMILIES[family](), 1000, 2**0.5))


@pytest.fixture(scope="module")
def exact(network):
    """The same in float64, in which all CPUs agree."""
    return copy.deepcopy(network).double()


@pytest.fixture(scope="module")
def arrays(family):
    return golden(f"mfd_{family}")


def test_names_and_shapes(family, network):
    ours = {key: "x".join(map(str, value.shape)) or "scalar" for key, value in network.state_dict().items()}
    assert ours == {row["key"]: row["shape"] for row in listing(f"mfd_{family}")}


def test_predictions_and_features(exact, arrays):
    x = arrays["x"].double()
    taps = exact.taps(x)
    assert len(taps) == int(arrays["n_feats"])
    assert torch.equal(exact(x), taps[-1])
    assert torch.equal(exact.head(exact.embed(x)), taps[-1])
    for index, tap in enumerate(taps):
        shape, std = arrays[f"feat{index}_shape"].tolist(), arrays[f"feat{index}_std"].item()
        # The reference gives the logits of some families two more dimensions, of one pixel.
        assert list(tap.shape) == shape[: tap.ndim] and set(shape[tap.ndim :]) <= {1}
        assert tap.mean().item() == pytest.approx(arrays[f"feat{index}_mean"].item(), rel=0, abs=1e-6 * std)
        assert tap.std(correction=0).item() == pytest.approx(std, rel=1e-6)
        values = tap.flatten()[arrays[f"feat{index}_index"].long()]
        torch.testing.assert_close(values, arrays[f"feat{index}_values"].double(), rtol=0, atol=1e-5 * std)


def test_distance_and_its_gradient(family, exact, arrays):
    tolerance = 1e-7 if family == "vit" else 1e-9  # the positions of a ViT's patches are float32 in the reference
    x, y = arrays["x"].double().requires_grad_(), arrays["y"].double()
    torch.testing.assert_close(exact(x), arrays["logits_x_f64"].reshape(3, -1), rtol=tolerance, atol=tolerance)
    distance = mfd(exact)(x, y)
    torch.testing.assert_close(distance, arrays["distance_f64"], rtol=tolerance, atol=0)
    assert distance.mean().item() == pytest.approx(arrays["distance_mean"].item(), rel=2e-6)
    assert torch.equal(mfd(exact)(x, x), torch.zeros_like(distance))
    (grad,) = torch.autograd.grad(distance.mean(), x)
    # y differs from x by 0.2, 0.02 and 0.002: the closer, the fewer digits float32 left the golden numbers.
    assert (apart(grad, arrays["grad_x"]) < torch.tensor([1e-5, 1e-4, 3e-4])).all()


def test_float32(network, arrays):
    """Kernels differ by more than rounding: a ReLU or a max-pool can decide otherwise."""
    x = arrays["x"].clone().requires_grad_()
    for index, tap in enumerate(network.taps(x)):
        values = tap.flatten()[arrays[f"feat{index}_index"].long()]
        std = arrays[f"feat{index}_std"].item()
        torch.testing.assert_close(values, arrays[f"feat{index}_values"], rtol=0, atol=1e-4 * std)
    distance = mfd(network)(x, arrays["y"])
    torch.testing.assert_close(distance, arrays["distance"], rtol=1e-4, atol=0)
    assert torch.equal(mfd(network)(x, x), torch.zeros(3))
    (grad,) = torch.autograd.grad(distance.mean(), x)
    assert (apart(grad, arrays["grad_x"]) < 1e-2).all()


SMALL = {
    "vgg": lambda: VGG(16, 1, 4, (8, 16), (1, 2)),
    "vgg without pools": lambda: VGG(16, 1, 4, (8, 16), (1, 2), pool=False),
    "resnet": lambda: ResNet(16, 1, 4, (8, 16), 1),
    "densenet": lambda: DenseNet(16, 1, 4, 4, (2, 2, 2)),
    "vit": lambda: ViT(16, 1, 4, 4, 16, 2, 2, 8, 32),
}


@pytest.mark.parametrize("name", SMALL)
def test_other_sizes_train(name):
    network = SMALL[name]().train()
    network(torch.randn(3, 1, 16, 16)).square().mean().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters() if p.ndim > 1)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ResNet(12, widths=(8, 16, 32, 64)), r"widths \[8, 16, 32, 64\]: 3 halvings do not divide"),
        (lambda: DenseNet(16), r"blocks \[3, 6, 12, 8\]: 3 transitions need images of 32 pixels, not 16"),
        (lambda: ViT(30), "patch 4: does not divide resolution 30"),
        (lambda: ViT(dim=6), "dim 6: must be a multiple of 4"),
        (lambda: VGG(12, widths=(8, 8, 8), convs=(1, 1, 1)), "3 halvings do not divide resolution 12"),
    ],
)
def test_sizes_that_cannot_work_are_refused(make, message):
    with pytest.raises(UserError, match=message):
        make()
