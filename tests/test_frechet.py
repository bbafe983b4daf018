"""The Frechet distance against golden numbers."""

import numpy as np
import pytest
import torch
from recipe import golden

from ayt.errors import UserError
from ayt.evaluation.frechet import FeatureStatistics, frechet_distance

ARRAYS = golden("frechet")
CASES = [key.removesuffix("_fd") for key in ARRAYS if key.endswith("_fd")]


@pytest.mark.parametrize("case", CASES)
def test_golden_distance(case):
    ours = frechet_distance(*(ARRAYS[f"{case}_{part}"] for part in ("mu1", "sigma1", "mu2", "sigma2")))
    # where covariances are singular the references lose half the digits, in roots of eigenvalues of 0
    tolerance = 1e-10 if "full" in case or "identity" in case else 1e-7
    assert ours == pytest.approx(float(ARRAYS[f"{case}_fd"]), rel=tolerance, abs=tolerance)


def test_singular_covariances_are_exact():
    low = torch.diag(torch.tensor([4.0, 9.0, 0.0, 0.0]))
    other = torch.diag(torch.tensor([1.0, 0.0, 16.0, 0.0]))
    assert frechet_distance(torch.zeros(4), low, torch.ones(4), other) == pytest.approx(4 + 30 - 2 * 2, rel=1e-14)


def test_statistics_equal_numpys():
    features = torch.randn(100, 5, dtype=torch.float64)
    gathered = FeatureStatistics(5)
    for part in features.split(33):
        gathered.update(part)
    np.testing.assert_allclose(gathered.mean, features.mean(0))
    np.testing.assert_allclose(gathered.covariance, np.cov(features.numpy(), rowvar=False))


def test_what_cannot_be_compared_is_refused():
    mu, sigma = torch.zeros(3), torch.eye(3)
    with pytest.raises(UserError, match="do not fit together"):
        frechet_distance(mu, sigma, torch.zeros(2), torch.eye(2))
    with pytest.raises(UserError, match="not finite"):
        frechet_distance(mu, sigma * torch.nan, mu, sigma)
    lonely = FeatureStatistics(3)
    lonely.update(torch.zeros(1, 3))
    with pytest.raises(UserError, match="at least 2 samples, not 1"):
        _ = lonely.covariance
