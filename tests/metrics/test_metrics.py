"""KID, precision, recall, density, coverage and Inception Score against independent means."""

import itertools
import math

import numpy as np
import pytest
import torch

from ayt.base.errors import UserError
from ayt.metrics.formulas.inception_score import Predictions
from ayt.metrics.formulas.kernel import kid
from ayt.metrics.formulas.neighbours import precision_recall_density_coverage


def normals(count, dimension, seed, shift=0.0):
    return torch.randn(count, dimension, generator=torch.Generator().manual_seed(seed)) + shift


def mmd_by_loops(x, y):
    def kernel(a, b):
        return (float(a @ b) / len(a) + 1) ** 3

    n = len(x)
    pairs = list(itertools.permutations(range(n), 2))
    within = sum(kernel(part[i], part[j]) for part in (x, y) for i, j in pairs) / (n * (n - 1))
    return within - 2 * sum(kernel(a, b) for a in x for b in y) / n**2


def test_kid_of_whole_sets_is_the_unbiased_mmd():
    x, y = normals(7, 3, 0).double(), normals(7, 3, 1, 0.5).double()
    assert kid(x, y, subsets=3) == pytest.approx(mmd_by_loops(x.numpy(), y.numpy()), rel=1e-12)


def test_kid_is_0_on_average_for_equal_distributions_and_grows_with_distance():
    x, y = normals(4000, 8, 0), normals(4000, 8, 1)
    near = kid(x, y, subsets=50, subset_size=500)
    assert abs(near) < 0.005
    assert near < kid(x, y + 0.2, subsets=50, subset_size=500) < kid(x, y + 0.5, subsets=50, subset_size=500)


def test_kid_draws_its_subsets_from_the_seed():
    x, y = normals(60, 4, 0), normals(60, 4, 1)
    few = {"subsets": 2, "subset_size": 20}
    assert kid(x, y, **few) == kid(x, y, **few)
    assert kid(x, y, **few) != kid(x, y, **few, seed=1)


def neighbourhoods_by_loops(fake, real, k_precision, k_density):
    def radii(points, k):
        return [sorted(math.dist(p, q) for j, q in enumerate(points) if j != i)[k - 1] for i, p in enumerate(points)]

    distance = np.array([[math.dist(f, r) for r in real] for f in fake])
    precise = (distance <= np.array(radii(real, k_precision))).any(1).mean()
    recalled = (distance <= np.array(radii(fake, k_precision))[:, None]).any(0).mean()
    within = distance <= np.array(radii(real, k_density))
    return precise, recalled, within.sum() / (k_density * len(fake)), within.any(0).mean()


@pytest.mark.parametrize(("n", "m"), [(40, 25), (25, 40), (30, 30)])
def test_neighbourhoods_by_loops(n, m):
    fake, real = normals(n, 2, 0, 0.8), normals(m, 2, 1)
    expected = neighbourhoods_by_loops(fake.tolist(), real.tolist(), 3, 5)
    found = precision_recall_density_coverage(fake, real)
    assert found == pytest.approx(expected, abs=1e-12)
    assert min(found) > 0 and found.precision < 1 and found.recall < 1


def test_neighbourhoods_do_not_depend_on_blocks(monkeypatch):
    fake, real = normals(70, 5, 0, 0.3), normals(50, 5, 1)
    whole = precision_recall_density_coverage(fake, real)
    monkeypatch.setattr("ayt.metrics.formulas.neighbours.BLOCK", 7)
    assert precision_recall_density_coverage(fake, real) == whole


def test_neighbourhoods_of_equal_and_of_distant_sets():
    points = normals(50, 4, 0)
    assert precision_recall_density_coverage(points, points)[:2] == (1.0, 1.0)
    assert precision_recall_density_coverage(points, points + 100) == (0.0, 0.0, 0.0, 0.0)


def test_neighbourhoods_far_from_0_keep_their_digits():
    fake, real = normals(40, 3, 0, 0.5), normals(40, 3, 1)
    near = precision_recall_density_coverage(fake.double(), real.double())
    assert precision_recall_density_coverage(fake.double() + 1e6, real.double() + 1e6) == near


def test_inception_score_of_closed_forms():
    uniform, certain = Predictions(5), Predictions(5)
    uniform.update(torch.zeros(7, 5))
    certain.update(1000 * torch.eye(5)[:3])
    certain.update(1000 * torch.eye(5)[3:])
    assert uniform.value == pytest.approx(1, abs=1e-12)
    assert certain.value == pytest.approx(5, rel=1e-12)


def test_inception_score_by_its_definition():
    logits = normals(30, 6, 0)
    p = logits.double().softmax(1)
    expected = (p * (p / p.mean(0)).log()).sum(1).mean().exp().item()
    score = Predictions(6)
    for part in logits.split(7):
        score.update(part)
    assert score.value == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("metric", [kid, precision_recall_density_coverage])
def test_too_few_features_are_refused(metric):
    with pytest.raises(UserError, match="features"):
        metric(normals(1, 3, 0), normals(1, 3, 1))
