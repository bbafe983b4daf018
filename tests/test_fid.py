"""FID against pytorch-fid's own command, and the other metrics from the same pass over the samples."""

import json
import os
import re
import subprocess
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import BIN
from PIL import Image
from published import write_inception, write_reference

from ayt.base import paths
from ayt.base.images import Images
from ayt.base.errors import UserError
from ayt.evaluation import extractors as features
from ayt.metrics.formulas.frechet import FeatureStatistics, frechet_distance
from ayt.evaluation.naming import metric
from ayt.evaluation.score import Against, score_record, score_snapshot
from ayt.networks.modules.inception import Inception
from ayt.base.progress import ProgressLine
from ayt.plan.evaluations import evaluation

CPU = torch.device("cpu")
SHAPE = (3, 32, 32)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A folder with Inception weights, of the published shape, where the workflow puts them."""
    root = tmp_path_factory.mktemp("fid")
    write_inception(root / paths.INCEPTION)
    return root


@pytest.fixture(scope="module")
def inception(root):
    network = Inception(root / paths.INCEPTION)
    return features.Extractor(network.embed, network.head)


@pytest.fixture(scope="module")
def extractor():
    """Stands for Inception: means over 8 x 8 pixels, and colours as classes."""

    def embed(images):
        return torch.nn.functional.avg_pool2d(images.float() / 255, 8).flatten(1)

    return features.Extractor(embed, lambda means: means.unflatten(1, (3, 16)).sum(2))


def photos(count, seed):
    """Smooth random images: unlike noise, they have features that differ."""
    coarse = torch.rand((count, 3, 4, 4), generator=torch.Generator().manual_seed(seed))
    smooth = torch.nn.functional.interpolate(coarse, size=32, mode="bicubic")
    return (smooth.clamp(0, 1) * 255).to(torch.uint8)


def statistics(extractor, images):
    gathered = FeatureStatistics(2048)
    gathered.update(extractor.embed(images))
    return gathered


def pytorch_fid(root, images, other):
    """What the command prints for images written as PNG."""
    folder = root / "png"
    folder.mkdir(exist_ok=True)
    for index, image in enumerate(images):
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(folder / f"{index:04d}.png")
    command = [BIN / "python", "-m", "pytorch_fid", folder, other, "--device", "cpu", "--num-workers", "0"]
    environment = {**os.environ, "TORCH_HOME": str(root / paths.TORCH_HOME)}
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    return float(re.search(r"FID:\s+(\S+)", done.stdout)[1])


def test_fid_is_what_pytorch_fid_prints(root, inception):
    real, made = photos(12, 0), photos(12, 1)
    reference = statistics(inception, real)
    write_reference(root / "reference.npz", reference.mean.numpy(), reference.covariance.numpy())
    mu, sigma = features.read_statistics(root / "reference.npz")
    ours = statistics(inception, made)
    fid = frechet_distance(ours.mean, ours.covariance, mu, sigma)
    assert fid > 0.1
    assert fid == pytest.approx(pytorch_fid(root, made, root / "reference.npz"), abs=1e-3, rel=0)


def test_features_are_those_of_pytorch_fid(root, inception, monkeypatch):
    from pytorch_fid.inception import InceptionV3

    monkeypatch.setenv("TORCH_HOME", str(root / paths.TORCH_HOME))
    theirs = InceptionV3().eval()
    images = photos(4, 2)
    expected = theirs(images.float() / 255)[0].flatten(1)
    torch.testing.assert_close(inception.embed(images), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("damage", ["missing", "cut", "other"])
def test_wrong_weights_are_one_error(root, tmp_path, damage):
    path = tmp_path / "weights.pth"
    if damage == "cut":
        path.write_bytes((root / paths.INCEPTION).read_bytes()[:1000])
    elif damage == "other":
        torch.save({"a": torch.zeros(1)}, path)
    with pytest.raises(UserError, match=r"weights\.pth: (no such file|not pytorch-fid's weights)"):
        Inception(path)


class Perfect(torch.nn.Module):
    """A denoiser that knows the data: it answers with the image of the dataset that is nearest."""

    def __init__(self, data):
        super().__init__()
        self.data = data.float() / 127.5 - 1

    def forward(self, x, sigma):
        nearest = torch.cdist(x.flatten(1), self.data.flatten(1)).argmin(1)
        return self.data[nearest]


METRICS = ["frechet", "kid", "precision", "recall", "density", "coverage", "inception_score"]


@pytest.fixture(scope="module")
def scored(extractor):
    data = Images(photos(24, 3), torch.zeros(24))
    reference = features.compute_reference(extractor, data, 7, kept=24)
    how = evaluation(
        steps=1,
        mids=(),
        samples=20,
        repeats=2,
        seed=0,
        convention="ayt",
        grid=5,
        metrics=[*METRICS, "denoised_frechet", "lpips"],
        denoise=(0.2, 0.8),
        features="inception",
        reference="",
    )
    distance = lambda a, b: (a - b).abs().flatten(1).mean(1)  # noqa: E731 - stands for LPIPS, which has its own test
    against = Against(extractor, True, reference, data, distance)
    with ProgressLine("scoring", 40) as line:
        values, grid = score_snapshot(Perfect(data.pixels), against, how, "cifar10", SHAPE, 8, CPU, line)
    return SimpleNamespace(values=values, grid=grid, reference=reference, data=data, against=against, how=how)


def test_one_pass_gives_every_metric_at_every_repeat(scored):
    labels = [metric(key, "cifar10", True).label for key in METRICS]
    labels += [f"{name} (t = {t})" for name in ("dFID", "LPIPS") for t in (0.2, 0.8)]
    assert sorted(found.label for found in scored.values) == sorted(labels)
    assert all(len(values) == 2 and np.isfinite(values).all() for values in scored.values.values())
    assert scored.grid.shape == (5, *SHAPE)
    assert "FID" in labels


def test_metrics_of_what_is_perfect(scored):
    values = {found.key if "t =" not in found.label else found.label: scored.values[found] for found in scored.values}
    assert values["precision"] == [1.0, 1.0]
    # Every image is found again, but for what noise is left at 0.002: 0.002 E|z|.
    assert values["LPIPS (t = 0.2)"] == pytest.approx([0.002 * (2 / np.pi) ** 0.5] * 2, rel=0.05)
    assert max(values["dFID (t = 0.2)"]) < min(values["frechet"])


class Broken(Perfect):
    """The same, but for one number of one image."""

    def forward(self, x, sigma):
        images = super().forward(x, sigma).clone()
        images[0, 0, 0, 0] = torch.nan
        return images


def test_scores_of_samples_that_are_not_finite_are_failures(scored):
    with ProgressLine("scoring", 40) as line:
        values, _ = score_snapshot(
            Broken(scored.data.pixels), scored.against, scored.how, "cifar10", SHAPE, 8, CPU, line
        )
    assert set(values) == set(scored.values)
    assert all(np.isnan(found).all() for found in values.values())
    record = json.loads(json.dumps(score_record({}, scored.how, values), allow_nan=False))
    assert record["metrics"]["FID"]["mean"] is None


def test_reference_keeps_features_of_the_dataset(scored, extractor):
    every = extractor.embed(scored.data.pixels)
    reference = features.compute_reference(extractor, scored.data, 7, kept=16)
    assert reference.kept.shape == (16, 48)
    nearest = torch.cdist(reference.kept, every).min(1).values
    assert nearest.max() < 1e-3 * every.norm(dim=1).mean()
    torch.testing.assert_close(reference.mu, every.double().mean(0), rtol=1e-4, atol=1e-5)


def test_reference_survives_writing(scored, tmp_path):
    features.write_reference(tmp_path / "r.npz", scored.reference)
    again = features.read_reference(tmp_path / "r.npz")
    assert all(torch.equal(a, b) for a, b in zip(again, scored.reference, strict=True))
    (tmp_path / "r.npz").write_bytes((tmp_path / "r.npz").read_bytes()[:5000])
    with pytest.raises(UserError, match=r"r\.npz: not statistics of features"):
        features.read_reference(tmp_path / "r.npz")


def test_published_statistics_replace_the_datasets_own(scored, extractor, tmp_path):
    write_reference(tmp_path / "published.npz", np.arange(48.0), np.eye(48))
    found = features.compute_reference(extractor, scored.data, 8, 3, tmp_path / "published.npz")
    assert torch.equal(found.mu, torch.arange(48).double())
    assert found.kept.shape == (3, 48)
    write_reference(tmp_path / "small.npz", np.arange(8.0), np.eye(8))
    with pytest.raises(UserError, match="of 8 features, but the network gives 48"):
        features.compute_reference(extractor, scored.data, 8, 3, tmp_path / "small.npz")


def test_only_inception_features_make_an_fid():
    assert metric("frechet", "cifar10", True).label == "FID"
    assert metric("frechet", "photos", False).label == "FD (photos features)"
    assert metric("denoised_frechet", "photos", False, 0.2).label == "dFD (t = 0.2, photos features)"
    assert metric("recall", "photos", False) == ("recall", "recall (photos features)", "higher")
