"""Trains consistency models of points on a known manifold, and measures which way their tangents point.

All start from one diffusion model and one feature network; each loss and seed trains a consistency model. Every few
iterations its tangents are measured at fixed points and noise levels.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ayt.analysis.toy.manifolds import MANIFOLDS, Manifold, share_along
from ayt.analysis.toy.networks import PointDenoiser, PointFeatures, as_images
from ayt.base.progress import ProgressLine
from ayt.base.randomness import Draws, derived_seed
from ayt.evaluation.sampling import sample
from ayt.experiment.schema import Toy
from ayt.features.distance import Distance, freeze, mfd
from ayt.methods.formulas.losses import (
    Loss,
    LossOutput,
    consistency_pair,
    denoising_loss,
    direction,
    distance_loss,
    ect_loss,
    pseudo_huber,
    weight,
)
from ayt.methods.formulas.schedules import lognormal_t, t_to_r
from ayt.networks.modules.precond import Denoise, EDMPrecond
from ayt.training.state import MovingAverage, Optimiser, TrainingState

TIMES = (0.1, 0.3, 1.0, 3.0)
"""Noise levels t at which tangents are measured."""

POINTS = 256
"""Number of points measured at each noise level, and of samples drawn."""

FLOW_TIME = 1.0
FLOW_POINTS = 150
"""Number of points, and their noise level, kept for pictures of the flow of tangents."""

PROBABILITY = 0.5
"""Probability of each transformation."""

Lesson = Callable[[nn.Module, Draws], LossOutput]
"""What a network learns: a function from it and an iteration's random numbers, points included, to a loss."""

Network = TypeVar("Network", bound=nn.Module)


class Descent(NamedTuple):
    """A loss, and the distance whose gradient is its direction."""

    loss: Loss
    distance: Distance


class Tangents(NamedTuple):
    """Outputs D_t (B, D) of a network, and the unit gradients (B, D) of a distance there; in float64.

    Training moves the output against them.
    """

    output: Tensor
    direction: Tensor


class Measurement(NamedTuple):
    """Measurements at one iteration: tangents at each of `TIMES`, and the samples' distance from the manifold."""

    tangents: list[Tangents]
    distance: float


def draw_points(manifold: Manifold, draws: Draws) -> Tensor:
    """Points (B, D, 1, 1), uniform in their parameters."""
    u = torch.rand(draws.size, manifold.dimension, generator=draws.generator("points"), device=draws.device)
    return as_images(manifold.embed(2 * math.pi * u))


def denoising_lesson(manifold: Manifold) -> Lesson:
    """EDM's loss, with EDM's noise levels."""

    def lesson(network: nn.Module, draws: Draws) -> LossOutput:
        x = draw_points(manifold, draws)
        sigma = lognormal_t(draws.normal("sigma"), -1.2, 1.2)
        return denoising_loss(network, x, sigma, draws.normal("noise", *x.shape[1:]))

    return lesson


def recognition_lesson(manifold: Manifold) -> Lesson:
    """Mean squared error of the predicted parameters of random transformations."""

    def lesson(network: nn.Module, draws: Draws) -> LossOutput:
        x, labels = transform_points(draw_points(manifold, draws), draws)
        error = F.mse_loss(network(x), labels)
        return LossOutput(error, error.detach().sqrt())

    return lesson


def consistency_lesson(manifold: Manifold, loss: Loss) -> Lesson:
    """A loss of consistency training, with the times of the paper."""

    def lesson(network: nn.Module, draws: Draws) -> LossOutput:
        x = draw_points(manifold, draws)
        t = lognormal_t(draws.normal("t"))
        r = t_to_r(t)
        D_t, D_r = consistency_pair(network, x, t, r, draws.normal("noise", *x.shape[1:]))
        return loss(D_t, D_r, weight(t, r), draws.iteration)

    return lesson


def transform_points(x: Tensor, draws: Draws) -> tuple[Tensor, Tensor]:
    """Rescale by 2^(0.2 w), translate by 0.125 w in each coordinate, add noise of norm w sqrt(D).

    Each is applied with `PROBABILITY`, else its label is 0; w is standard normal, U(0, 0.5) for noise.

    Args:
        x: points (B, D, 1, 1).
        draws: the iteration's random numbers.

    Returns:
        The transformed points, and the labels w (B, D + 2): of scale, translation and noise.
    """
    size, D = x.shape[:2]
    uniform = torch.rand(size, 4, generator=draws.generator("transformations"), device=x.device)
    applied = (uniform[:, :3] < PROBABILITY).float()
    scale = applied[:, :1] * draws.normal("scale", 1)
    translation = applied[:, 1:2] * draws.normal("translation", D)
    strength = applied[:, 2:] * 0.5 * uniform[:, 3:]
    noise = strength * D**0.5 * F.normalize(draws.normal("direction", D))
    moved = x.flatten(1) * 2 ** (0.2 * scale) + 0.125 * translation + noise
    return as_images(moved), torch.cat([scale, translation, strength], dim=1)


def toy_tangents(D: Denoise, distance: Distance, x: Tensor, t: float, eps: Tensor) -> Tangents:
    """A denoiser's output for points (B, C, 1, 1) at noise level t, and the direction of a distance there."""
    level = torch.full((len(x),), t, dtype=x.dtype, device=x.device)
    with torch.no_grad():
        D_t, D_r = consistency_pair(D, x, level, t_to_r(level), eps)
    g, _ = direction(D_t, D_r, distance)
    return Tangents(D_t.flatten(1).double(), g.flatten(1).double())


def compare_with_manifold(manifold: Manifold, found: Tangents) -> tuple[float, float]:
    """Where tangents point, as means over the points.

    Returns:
        The share of their energy along the manifold at the point nearest to the output; and the cosine between where
        the loss pushes the output, which is against the direction, and the way to the nearest point.
    """
    nearest = manifold.nearest(found.output)
    share = share_along(found.direction, manifold.tangent_basis(nearest))
    towards = F.cosine_similarity(-found.direction, manifold.embed(nearest) - found.output)
    return float(share.nanmean()), float(towards.mean())


def measure_training(manifold: Manifold, state: TrainingState, distance: Distance, device: torch.device) -> Measurement:
    """Measure a training run, each time with the same points, noise and starting noise of samples.

    Tangents use the weights in training, samples their average.
    """
    draws = Draws(derived_seed(0, 0, "measurements"), 0, POINTS, device)
    x = draw_points(manifold, draws)
    eps, start = (draws.normal(purpose, *x.shape[1:]) for purpose in ("noise", "start"))
    found = [toy_tangents(state.network, distance, x, t, eps) for t in TIMES]
    samples = sample(state.average, start[None]).flatten(1)
    return Measurement(found, float(manifold.distance(samples).mean()))


def summarise(manifold: Manifold, measurements: Sequence[Measurement]) -> dict[str, np.ndarray]:
    """Results of `run_toy` for one training run: ``parallel``, ``towards``, ``cosine`` (M, T), ``distance`` (M,)."""
    energies = np.array([[compare_with_manifold(manifold, found) for found in each.tangents] for each in measurements])
    cosine = np.full(energies.shape[:2], np.nan)
    for index, (before, after) in enumerate(pairwise(measurements), 1):
        pairs = zip(before.tangents, after.tangents, strict=True)
        cosine[index] = [float(F.cosine_similarity(old.direction, new.direction).mean()) for old, new in pairs]
    distance = np.array([each.distance for each in measurements])
    return {"parallel": energies[..., 0], "towards": energies[..., 1], "cosine": cosine, "distance": distance}


@dataclass(frozen=True)
class ToyTrainer:
    """Trains networks on points of a manifold, freshly drawn in each iteration."""

    settings: Toy
    manifold: Manifold
    device: torch.device
    line: ProgressLine

    def states(self, network: nn.Module, lesson: Lesson, iterations: int, seed: int) -> Iterator[TrainingState]:
        """The state of a training run before its first iteration and after each."""
        average = MovingAverage(self.settings.ema)
        optimiser = Optimiser(lr=self.settings.lr, warmup=0, decay=None, averages=(average,) if average.decay else ())
        state = TrainingState(network.to(self.device).train().requires_grad_(), optimiser, "toy")
        yield state
        while state.iteration < iterations:
            state.zero_grad()
            draws = Draws(seed, state.iteration, self.settings.batch_size, self.device)
            torch.autograd.backward(lesson(network, draws).loss)
            state.step()
            self.line.advance(1)
            yield state

    def train(self, network: Network, lesson: Lesson, iterations: int) -> Network:
        """Train with seed 0; returns the same network with its final averaged weights."""
        *_, state = self.states(network, lesson, iterations, 0)
        network.load_state_dict(state.average.state_dict())
        return freeze(network)

    def train_and_measure(self, start: nn.Module, descent: Descent, seed: int) -> list[Measurement]:
        """Train a consistency model, and measure it at the start and at regular intervals."""
        lesson = consistency_lesson(self.manifold, descent.loss)
        return [
            measure_training(self.manifold, state, descent.distance, self.device)
            for state in self.states(copy.deepcopy(start), lesson, self.settings.iterations, seed)
            if state.iteration % self.settings.measure_every == 0
        ]


def run_toy(settings: Toy, device: torch.device) -> dict[str, np.ndarray]:
    """Train and measure.

    Args:
        settings: the toy experiment's settings.
        device: the device to train on.

    Returns:
        For losses L, seeds S, measurements M and noise levels T: their names ``losses``, ``seeds``, ``iterations`` and
        ``times``; ``parallel`` and ``towards``, see `compare_with_manifold`, and ``cosine``, between the directions of
        a measurement and the previous one, NaN at the first, (L, S, M, T); ``distance`` (L, S, M), of one-step samples
        to the manifold; ``chance``, the share of a random direction along the manifold; ``points``, how many are
        measured. In the plane also ``manifold`` (n, 2), and of the first seed ``outputs`` and ``directions``
        (L, 2, n, 2), at noise level ``flow_time``, of the ``flow_measurements``: an early and the last one.
    """
    manifold = MANIFOLDS[settings.manifold]()
    upstream = settings.pretrain_iterations + settings.classifier_iterations
    total = upstream + 2 * len(settings.seeds) * settings.iterations
    with ProgressLine(f"toy {settings.manifold}", total) as line:
        trainer = ToyTrainer(settings, manifold, device, line)
        denoiser, features = build_networks(settings, manifold)
        start = trainer.train(denoiser, denoising_lesson(manifold), settings.pretrain_iterations)
        trainer.train(features, recognition_lesson(manifold), settings.classifier_iterations)
        compared = choose_descents(mfd(features))
        followed = [
            [trainer.train_and_measure(start, descent, seed) for seed in settings.seeds]
            for descent in compared.values()
        ]
    results = [[summarise(manifold, measurements) for measurements in seeds] for seeds in followed]
    arrays = {name: np.array([[one[name] for one in seeds] for seeds in results]) for name in results[0][0]}
    iterations = np.arange(0, settings.iterations + 1, settings.measure_every)
    return {
        "losses": np.array(list(compared)),
        "seeds": np.array(settings.seeds),
        "iterations": iterations,
        "times": np.array(TIMES),
        "chance": np.array(manifold.dimension / manifold.coordinates),
        "points": np.array(POINTS),
        **arrays,
        **(picture_flow(manifold, [seeds[0] for seeds in followed]) if manifold.coordinates == 2 else {}),
    }


def choose_descents(features: Distance) -> dict[str, Descent]:
    """The losses to compare; ``features`` is the distance of AYT's loss."""
    return {
        "ect": Descent(ect_loss(0), pseudo_huber),
        "ayt": Descent(distance_loss(features, weighted=False), features),
    }


def build_networks(settings: Toy, manifold: Manifold) -> tuple[EDMPrecond, PointFeatures]:
    """A denoiser and a feature network with initial weights."""
    torch.manual_seed(derived_seed(0, 0, "initial weights"))
    D = manifold.coordinates
    denoiser = EDMPrecond(PointDenoiser(D, settings.width, settings.depth))
    return denoiser, PointFeatures(D, D + 2, settings.width, settings.depth)


def picture_flow(manifold: Manifold, followed: Sequence[Sequence[Measurement]]) -> dict[str, np.ndarray]:
    """The flow of tangents in the plane, for the measurements of each loss; see `run_toy`."""
    last = len(followed[0]) - 1
    moments = (min(1, last - 1), last)
    shown = [[each[moment].tangents[TIMES.index(FLOW_TIME)] for moment in moments] for each in followed]
    u = torch.linspace(0, 2 * math.pi, 400, dtype=torch.float64)[:, None]
    return {
        "manifold": manifold.embed(u).numpy(),
        "flow_time": np.array(FLOW_TIME),
        "flow_measurements": np.array(moments),
        "outputs": np.array([[found.output[:FLOW_POINTS].cpu().numpy() for found in each] for each in shown]),
        "directions": np.array([[found.direction[:FLOW_POINTS].cpu().numpy() for found in each] for each in shown]),
    }
