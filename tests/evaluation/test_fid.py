"""FID against pytorch-fid's own command, and the other metrics from the same pass over the samples."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from published import write_inception, write_reference

from ayt.base import paths
from ayt.base.errors import UserError
from ayt.base.images import Images
from ayt.base.progress import ProgressLine
from ayt.datasets.cifar10 import Cifar10
from ayt.evaluation import extractors
from ayt.evaluation.sampling import draw_samples
from ayt.evaluation.score import Scorer, cut, write_score
from ayt.methods.pretraining import Pretraining
from ayt.metrics.base import DenoisingMetric
from ayt.metrics.denoised_frechet import DenoisedFrechet
from ayt.metrics.formulas.frechet import FeatureStatistics, frechet_distance
from ayt.metrics.frechet import Frechet
from ayt.metrics.recall import Recall
from ayt.networks.denoisers.ddpmpp import DDPMpp
from ayt.networks.modules.inception import Inception
from ayt.plan.evaluations import DenoisingScore, Sampling, Score
from ayt.plan.references import FeatureSpace, Reference
from ayt.plan.runs import RunRecord

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
    return extractors.Extractor(network.embed, network.head)


@pytest.fixture(scope="module")
def extractor():
    """Stands for Inception: means over 8 x 8 pixels, and colours as classes."""

    def embed(images):
        return torch.nn.functional.avg_pool2d(images.float() / 255, 8).flatten(1)

    return extractors.Extractor(embed, lambda means: means.unflatten(1, (3, 16)).sum(2))


def photos(count, seed):
    """Smooth random images: unlike noise, they have features that differ."""
    coarse = torch.rand((count, 3, 4, 4), generator=torch.Generator().manual_seed(seed))
    smooth = torch.nn.functional.interpolate(coarse, size=32, mode="bicubic")
    return (smooth.clamp(0, 1) * 255).to(torch.uint8)


def statistics(extractor, images):
    gathered = FeatureStatistics(2048)
    gathered.update(extractor.embed(images))
    return gathered


def test_fid_is_pytorch_fids(root, inception, tmp_path, monkeypatch):
    """Its statistics of a folder, and its distance: of 64 directions, as its matrix root of all 2048 takes a minute."""
    from pytorch_fid import fid_score
    from pytorch_fid import inception as theirs

    monkeypatch.setenv("TORCH_HOME", str(root / paths.TORCH_HOME))
    for index, image in enumerate(made := photos(12, 1)):
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(tmp_path / f"{index:04d}.png")
    network = theirs.InceptionV3()
    mu, sigma = fid_score.compute_statistics_of_path(str(tmp_path), network, 5, 2048, "cpu", num_workers=0)
    ours, real = statistics(inception, made), statistics(inception, photos(12, 0))
    torch.testing.assert_close(ours.mean, torch.from_numpy(mu), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(ours.covariance, torch.from_numpy(sigma), rtol=1e-3, atol=1e-5)

    directions = torch.linalg.qr(
        torch.randn(2048, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    )[0]
    sides = [(side.mean @ directions, directions.T @ side.covariance @ directions) for side in (ours, real)]
    expected = fid_score.calculate_frechet_distance(*(part.numpy() for side in sides for part in side))
    assert expected > 0.01
    assert frechet_distance(*sides[0], *sides[1]) == pytest.approx(expected, abs=1e-4, rel=1e-4)


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


class Distance(DenoisingMetric):
    """Stands for LPIPS, which has its own test."""

    name = "distance"
    label = "distance"
    in_features = False

    def compute(self, denoised, real):
        return denoised.mean(lambda images, result: (images - result).abs().flatten(1).mean(1))


ALWAYS = {"frechet", "kid", "precision", "recall", "density", "coverage", "inception_score"}
SAMPLED = Sampling(mids=(), convention="ayt", seed=0)
REFERENCE = Reference(Cifar10(), FeatureSpace(None), None)


def denoising(metric, t):
    return DenoisingScore("run", metric, t, 20, 2, "ayt", 0, REFERENCE)


@pytest.fixture(scope="module")
def scorer(extractor):
    data = Images(photos(24, 3), torch.zeros(24))
    reference = extractors.compute_reference(extractor, data, 7, 24)
    with ProgressLine("scoring", 40) as line:
        yield Scorer(Cifar10(), 0, extractor, reference, 8, CPU, line, data)


def sampled(network):
    return lambda labels: network


def score_all(scorer, network):
    """Every metric's values at both repeats."""
    scores = [denoising(metric, t) for metric in (DenoisedFrechet(), Distance()) for t in (0.2, 0.8)]
    found = scorer.score(sampled(network), Score("run", SAMPLED, 20, 2, REFERENCE))()
    return found | {score.name.rpartition("-")[0]: scorer.score(sampled(network), score)() for score in scores}


@pytest.fixture(scope="module")
def values(scorer):
    found = score_all(scorer, Perfect(scorer.data.pixels))
    return {name: next(iter(value.values())) if isinstance(value, dict) else value for name, value in found.items()}


def test_one_pass_gives_every_metric_at_every_repeat(values):
    denoised = {f"{name}-t{t}" for name in ("denoised_frechet", "distance") for t in (0.2, 0.8)}
    assert set(values) == ALWAYS | denoised
    assert all(len(found) == 2 and np.isfinite(found).all() for found in values.values())


def test_metrics_of_what_is_perfect(values):
    assert values["precision"] == [1.0, 1.0]
    # Every image is found again, but for what noise is left at 0.002: 0.002 E|z|.
    assert values["distance-t0.2"] == pytest.approx([0.002 * (2 / np.pi) ** 0.5] * 2, rel=0.05)
    assert max(values["denoised_frechet-t0.2"]) < min(values["frechet"])


@pytest.mark.parametrize("batch_size", [1, 5, 20])
def test_samples_and_scores_do_not_depend_on_the_batch_size(scorer, values, batch_size):
    network = Perfect(scorer.data.pixels)
    run = scorer.dataset.shape
    whole = draw_samples(sampled(network), SAMPLED, 1, range(20), run, 0, CPU)
    parts = [draw_samples(sampled(network), SAMPLED, 1, places, run, 0, CPU) for places in cut(20, batch_size)]
    assert torch.equal(torch.cat(parts), whole)
    found = replace(scorer, batch_size=batch_size).score(sampled(network), Score("run", SAMPLED, 20, 2, REFERENCE))()
    assert found == {name: pytest.approx(values[name], rel=1e-6) for name in ALWAYS}


class Broken(Perfect):
    """The same, but for one number of one image."""

    def forward(self, x, sigma):
        images = super().forward(x, sigma).clone()
        images[0, 0, 0, 0] = torch.nan
        return images


def test_scores_of_samples_that_are_not_finite_are_failures(scorer, tmp_path):
    score = Score("run", SAMPLED, 20, 2, REFERENCE)
    found = scorer.score(sampled(Broken(scorer.data.pixels)), score)()
    assert set(found) == ALWAYS
    assert all(np.isnan(value).all() for value in found.values())
    denoised = denoising(DenoisedFrechet(), 0.2)
    assert np.isnan(scorer.score(sampled(Broken(scorer.data.pixels)), denoised)()["denoised_frechet"]).all()
    run = RunRecord(Cifar10(), DDPMpp(), Pretraining(), 8, 0)
    write_score(tmp_path / "score.json", run, 8, score, found, {})
    record = json.loads((tmp_path / "score.json").read_text(), parse_constant=pytest.fail)
    assert record["metrics"]["frechet"]["mean"] is None


def test_classes_are_sampled_in_equal_shares(scorer):
    seen = []

    def network(labels):
        seen.extend(labels.tolist())
        return Perfect(scorer.data.pixels)

    for places in cut(20, 7):
        draw_samples(network, SAMPLED, 0, places, SHAPE, 5, CPU)
    assert seen == list(range(5)) * 4


def test_reference_keeps_features_of_the_dataset(scorer, extractor):
    every = extractor.embed(scorer.data.pixels)
    reference = extractors.compute_reference(extractor, scorer.data, 7, 16)
    assert reference.kept.shape == (16, 48)
    nearest = torch.cdist(reference.kept, every).min(1).values
    assert nearest.max() < 1e-3 * every.norm(dim=1).mean()
    torch.testing.assert_close(reference.mean, every.double().mean(0), rtol=1e-4, atol=1e-5)


def test_reference_survives_writing(scorer, tmp_path):
    extractors.write_real_features(tmp_path / "r.npz", scorer.real)
    again = extractors.read_real_features(tmp_path / "r.npz")
    for name in ("mean", "covariance", "kept"):
        assert torch.equal(getattr(again, name), getattr(scorer.real, name))
    (tmp_path / "r.npz").write_bytes((tmp_path / "r.npz").read_bytes()[:5000])
    with pytest.raises(UserError, match=r"r\.npz: not arrays"):
        extractors.read_real_features(tmp_path / "r.npz")


def test_published_statistics_replace_the_datasets_own(scorer, extractor, tmp_path):
    write_reference(tmp_path / "published.npz", np.arange(48.0), np.eye(48))
    published = extractors.read_statistics(tmp_path / "published.npz")
    found = extractors.compute_reference(extractor, scorer.data, 8, 3, published)
    assert torch.equal(found.mean, torch.arange(48).double())
    assert found.kept.shape == (3, 48)
    with pytest.raises(UserError, match="of 8 features, but the network gives 48"):
        extractors.compute_reference(extractor, scorer.data, 8, 3, (torch.zeros(8), torch.eye(8)))


def test_only_inception_features_make_an_fid():
    assert Frechet().title("cifar10", inception=True) == "FID"
    assert Frechet().title("photos", inception=False) == "FD (photos features)"
    assert DenoisedFrechet().title("photos", inception=False, t=0.2) == "dFD (t = 0.2, photos features)"
    assert Recall().title("photos", inception=False) == "recall (photos features)"
    assert (Recall.better, Frechet.better) == ("higher", "lower")


def test_published_statistics_that_are_none_are_one_error(tmp_path):
    np.savez(tmp_path / "half.npz", mu=np.zeros(3))
    np.savez(tmp_path / "flat.npz", mu=np.zeros(3), sigma=np.zeros(3))
    np.save(tmp_path / "bare.npy", np.zeros(3))
    for name, message in (
        ("half.npz", "not statistics of features: has no sigma"),
        ("flat.npz", r"not statistics of features: mu \(3,\), sigma \(3,\)"),
        ("bare.npy", "not an npz file of arrays"),
    ):
        with pytest.raises(UserError, match=f"{name}: {message}"):
            extractors.read_statistics(tmp_path / name)
