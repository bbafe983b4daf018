"""The Frechet distance of many features against pytorch-fid's, in turn, as a ratio of times and a difference of values.

Covariances of made-up features whose spectrum falls by seven orders of magnitude, as Inception's do; of more samples
than dimensions, and of fewer (singular).

    python benchmarks/frechet.py
"""

from __future__ import annotations

import argparse
import platform
import statistics
import time
import warnings
from collections.abc import Callable

import numpy as np
import torch
from pytorch_fid.fid_score import calculate_frechet_distance

from ayt.metrics.formulas.frechet import frechet_distance


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each, in turn (default: %(default)s)")
    parser.add_argument(
        "--dimension", type=int, default=2048, help="of the features (default: Inception's %(default)s)"
    )
    return parser.parse_args()


def features(count: int, dimension: int, seed: int) -> np.ndarray:
    """Points with standard deviations from 1 down to 10^-3.5 in random directions, about a random mean."""
    random = np.random.default_rng(seed)
    directions, _ = np.linalg.qr(random.standard_normal((dimension, dimension)))
    points = random.standard_normal((count, dimension)) * np.logspace(0, -3.5, dimension)
    return points @ directions.T + 0.01 * random.standard_normal(dimension)


def time_call(work: Callable[[], float]) -> tuple[float, float]:
    begin = time.perf_counter()
    value = work()
    return time.perf_counter() - begin, value


def main() -> None:
    options = parse()
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads ({platform.machine()})")
    print(f"{options.dimension} dimensions, {options.rounds} rounds in turn\n")
    for counts in ((5000, 5000), (5000, 500), (500, 300)):
        points = [features(count, options.dimension, seed) for seed, count in enumerate(counts)]
        means, covariances = [p.mean(0) for p in points], [np.cov(p, rowvar=False) for p in points]
        numpys = [means[0], covariances[0], means[1], covariances[1]]
        tensors = [torch.from_numpy(part) for part in numpys]
        rounds = []
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # pytorch-fid's call of scipy
            for _ in range(options.rounds):
                ours = time_call(lambda given=tensors: frechet_distance(*given))
                theirs = time_call(lambda given=numpys: float(calculate_frechet_distance(*given)))
                rounds.append((ours, theirs))
        ratios = sorted(ours[0] / theirs[0] for ours, theirs in rounds)
        ours, theirs = rounds[0][0][1], rounds[0][1][1]
        # The cross term by the points themselves: the nuclear norm of the product of the centred points.
        # Their triangular factors have the same, and are no larger than the dimension.
        x, y = (np.linalg.qr((p - p.mean(0)) / (len(p) - 1) ** 0.5, mode="r") for p in points)
        cross = np.linalg.svd(x @ y.T, compute_uv=False).sum()
        exact = ((means[0] - means[1]) ** 2).sum() + (x**2).sum() + (y**2).sum() - 2 * cross
        print(f"{counts[0]} and {counts[1]} samples: {statistics.median(ratios):.3f} of pytorch-fid's time", end=" ")
        print(f"({ratios[0]:.3f} to {ratios[-1]:.3f}); relative error {ours / exact - 1:+.1e}", end=", ")
        print(f"pytorch-fid's {theirs / exact - 1:+.1e}", flush=True)


if __name__ == "__main__":
    main()
