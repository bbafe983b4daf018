"""The feature networks of the classifier ablation against golden numbers: names, features, distances, gradients."""

import pytest
import torch
from recipe import golden, listing, load_recipe

from ayt.base.errors import UserError
from ayt.features.distance import frozen, mfd
from ayt.networks.modules.vgg import VGG
from ayt.networks.modules.densenet import DenseNet
from ayt.networks.modules.resnet import ResNet
from ayt.networks.modules.vit import ViT

FAMILIES = {
    "vgg16": VGG,
    "vggmod16": VGG,
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
    return frozen(load_recipe(FAMILIES[family](), 1000, 2**0.5))


@pytest.fixture(scope="module")
def arrays(family):
    return golden(f"mfd_{family}")


def test_names_and_shapes(family, network):
    ours = {key: "x".join(map(str, value.shape)) or "scalar" for key, value in network.state_dict().items()}
    assert ours == {row["key"]: row["shape"] for row in listing(f"mfd_{family}")}


def test_predictions_and_features(network, arrays):
    taps = network.taps(arrays["x"])
    assert len(taps) == int(arrays["n_feats"])
    torch.testing.assert_close(taps[-1], arrays["logits_x"].reshape(taps[-1].shape), rtol=2e-5, atol=2e-6)
    assert torch.equal(network(arrays["x"]), taps[-1])
    assert torch.equal(network.head(network.embed(arrays["x"])), taps[-1])
    for index, tap in enumerate(taps):
        shape = arrays[f"feat{index}_shape"].tolist()
        # The reference gives the logits of some families two more dimensions, of one pixel.
        assert list(tap.shape) == shape[: tap.ndim] and set(shape[tap.ndim :]) <= {1}
        found = tap.double()
        assert found.mean().item() == pytest.approx(arrays[f"feat{index}_mean"].item(), rel=1e-5, abs=1e-7)
        assert found.std(correction=0).item() == pytest.approx(arrays[f"feat{index}_std"].item(), rel=1e-5)
        values = tap.flatten()[arrays[f"feat{index}_index"].long()]
        torch.testing.assert_close(values, arrays[f"feat{index}_values"], rtol=1e-4, atol=1e-5)


def test_distance_and_its_gradient(network, arrays):
    x = arrays["x"].requires_grad_()
    distance = mfd(network)(x, arrays["y"])
    torch.testing.assert_close(distance, arrays["distance"], rtol=2e-5, atol=0)
    assert distance.mean().item() == pytest.approx(arrays["distance_mean"].item(), rel=2e-5)
    assert torch.equal(mfd(network)(x, x), torch.zeros(3))
    (grad,) = torch.autograd.grad(distance.mean(), x)
    # Cancellation: where x and y differ by 0.002, float32 leaves four digits of the gradient.
    apart = (grad - arrays["grad_x"]).flatten(1).norm(dim=1) / arrays["grad_x"].flatten(1).norm(dim=1)
    assert apart.tolist() == pytest.approx([0, 0, 0], abs=2e-3)


def test_float64(family, arrays):
    network = frozen(load_recipe(FAMILIES[family](), 1000, 2**0.5).double())
    x, y = arrays["x"].detach().double(), arrays["y"].double()
    torch.testing.assert_close(mfd(network)(x, y), arrays["distance_f64"], rtol=1e-6, atol=0)
    logits = arrays["logits_x_f64"]
    torch.testing.assert_close(network(x), logits.reshape(3, -1), rtol=1e-6, atol=1e-8)


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
