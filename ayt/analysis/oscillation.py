"""Do tangents oscillate near convergence? Follows the tangents of fixed trajectories while training continues briefly.

It measures how similar the tangent after one iteration is to those after later ones, and which share of it lies along
the data manifold (see `ayt.analysis.spaces` for how uncertain that is).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import torch
from torch import Tensor

from ayt.analysis.spaces import dimension, neighbour_space, share, transformation_space
from ayt.analysis.tangents import Points, pair_at, unit
from ayt.base import paths
from ayt.base.errors import UserError
from ayt.base.images import Images, to_float
from ayt.base.progress import ProgressLine
from ayt.features.distance import Distance
from ayt.methods.base import Method
from ayt.methods.formulas.losses import Loss, direction
from ayt.methods.formulas.schedules import stage_at
from ayt.networks.modules.precond import Denoise
from ayt.plan.runs import Snapshot
from ayt.training.iteration import Passes
from ayt.training.recording import Trainer
from ayt.training.state import Optimiser, TrainingState
from ayt.training.work import find_origin, prepare, work_of

Tangent = Callable[[Tensor, Tensor, Tensor, int], Tensor]
"""From D_t, D_r (K, C, H, W), w (K,) and the iteration to unit vectors (K, C, H, W)."""

SPACES = ("neighbours", "transformations")


@dataclass(frozen=True)
class Probe:
    """Where tangents are measured, and which spaces they are compared with.

    Attributes:
        data: the dataset, on the device.
        points: K images and their noise, on the device.
        noise_levels: T noise levels.
        neighbours: k of the local PCA.
        dimensions: d of the local PCA.
    """

    data: Images
    points: Points
    noise_levels: Sequence[float]
    neighbours: int
    dimensions: int

    def estimate_spaces(self, images: Tensor) -> list[Tensor]:
        """The `SPACES` at images (K, C, H, W), one `basis` each."""
        return [neighbour_space(images, self.data, self.neighbours, self.dimensions), transformation_space(images)]


def train_further(model: Snapshot, iterations: int, data: Images) -> Iterator[TrainingState]:
    """Continue training from the state at a snapshot; yields the state before the first and after each iteration.

    Iterations are identical to those of ``ayt train``. Nothing is written.

    Args:
        model: the snapshot.
        iterations: how many more.
        data: the dataset, on the device to train on.

    Raises:
        UserError: there is no such state, or the loss stops being finite.
    """
    run = model.run
    path = paths.state(run.folder, model.iteration)
    if not path.exists():
        there = ", ".join(str(int(file.stem)) for file in sorted(path.parent.glob("*.safetensors"))) or "none"
        raise UserError(f"{path}: no such file; states are kept at the ends of segments, here at iterations: {there}")
    network, called, objective, auxiliary = prepare(run, run.folder, data.pixels.device)
    state = TrainingState(network, Optimiser.of(run.training), run.name, find_origin(run), auxiliary)
    state.load(path)
    trainer = Trainer(state, Passes(objective, [slice(0, run.batch_size)], called), run, data)
    yield state
    for _ in range(iterations):
        loss, _, norm = trainer.advance()
        if not torch.isfinite(loss + norm):
            raise UserError(f"{run.name}: the loss or its gradient is not finite at iteration {state.iteration}")
        yield state


def loss_tangent(loss: Loss) -> Tangent:
    """The gradient of a loss with respect to D_t, at unit length: the tangent that its training follows.

    For ECT it is (D_t - D_r) / |D_t - D_r|_2; for a loss in a distance, `direction`, rescaled if it is shorter.
    """

    def tangent(D_t: Tensor, D_r: Tensor, w: Tensor, iteration: int) -> Tensor:
        point = D_t.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(loss(point, D_r, w, iteration).loss, point)
        return unit(gradient)

    return tangent


def pixel_tangent(D_t: Tensor, D_r: Tensor, w: Tensor, iteration: int) -> Tensor:
    """(D_t - D_r) / |D_t - D_r|_2, whatever the loss."""
    return unit(D_t - D_r)


def feature_tangent(distance: Distance) -> Tangent:
    """`direction` in a distance, whatever the loss."""

    def tangent(D_t: Tensor, D_r: Tensor, w: Tensor, iteration: int) -> Tensor:
        return unit(direction(D_t, D_r, distance)[0])

    return tangent


def follow(model: Snapshot, iterations: int, probe: Probe, distance: Distance | None = None) -> dict[str, np.ndarray]:
    """Follow the tangents of fixed trajectories over further iterations of a training run.

    They use the weights in training rather than their average, no dropout, the run's own precision, and the r of the
    stage of the first of these iterations.

    Args:
        model: the snapshot of a consistency model to continue from.
        iterations: M.
        probe: where to measure.
        distance: MFD, to follow AYT's tangent along this run's trajectory too.

    Returns:
        ``kinds`` (S,): ``own`` (what the run's loss follows; absent where the method compares no two outputs),
        ``pixel``, and with a distance ``feature``.
        ``t`` (T,), ``index`` (K,), ``pixels`` (n = C H W), ``neighbours``, ``dimensions``.
        ``successive`` (S, T, K, M): cosines between the tangents after iterations i and i + 1.
        ``lag`` (S, T, K, M): mean cosine between tangents 1 to M iterations apart; longer lags have fewer pairs to
        average.
        ``spaces`` (E,) = neighbours, transformations; ``shares`` (E, S, M+1, T, K): `share` of each tangent's energy
        in each space at its D_t; ``space_dimension`` (E, M+1, T, K): divided by n, the chance level;
        ``image_shares`` (E, T, K): the share of the difference of two random images of the dataset in the first spaces,
        as a baseline for any smooth direction.
    """
    run, points, data = model.run, probe.points, probe.data
    method = run.training
    assert isinstance(method, Method)
    states = train_further(model, iterations, data)
    start = next(states)
    work = work_of(run, run.folder, data.pixels.device, start.network)
    followed = choose_tangents(method.pair_loss(work), distance)
    D = method.sampled_denoiser(work)(points.labels)
    stage = stage_at(model.iteration, method.stage_iterations)
    apart = points.x - to_float(data.pixels[points.others[:, 0].to(data.pixels.device)])
    taken, shares, sizes, image_shares = [], [], [], []
    with ProgressLine(f"following {run.name}", iterations) as line:
        for done, state in enumerate(chain([start], states)):
            for noise_level in probe.noise_levels:
                D_t, tangents = take_tangents(D, points, noise_level, method, stage, followed, state.iteration)
                spaces = probe.estimate_spaces(D_t)
                taken.append(tangents.flatten(2).cpu())
                shares.append(torch.stack([torch.stack([share(v, space) for v in tangents]) for space in spaces]).cpu())
                sizes.append(torch.stack([dimension(space) for space in spaces]).cpu())
                if done == 0:
                    image_shares.append(torch.stack([share(apart, space) for space in spaces]).cpu())
            line.update(done)
    levels = (iterations + 1, len(probe.noise_levels))
    lags, successive = _cosines(torch.stack(taken).reshape(*levels, *taken[0].shape))
    return {
        "kinds": np.array(list(followed)),
        "t": np.array(probe.noise_levels),
        "index": points.places.numpy(),
        "pixels": np.array(points.x[0].numel()),
        "neighbours": np.array(probe.neighbours),
        "dimensions": np.array(probe.dimensions),
        "successive": successive.numpy(),
        "lag": lags.numpy(),
        "spaces": np.array(SPACES),
        "shares": torch.stack(shares).reshape(*levels, *shares[0].shape).permute(2, 3, 0, 1, 4).numpy(),
        "space_dimension": torch.stack(sizes).reshape(*levels, *sizes[0].shape).permute(2, 0, 1, 3).numpy(),
        "image_shares": torch.stack(image_shares).transpose(0, 1).numpy(),
    }


def choose_tangents(loss: Loss | None, distance: Distance | None) -> dict[str, Tangent]:
    """The tangents that are followed, by their kinds; see `follow`."""
    followed: dict[str, Tangent] = {"own": loss_tangent(loss)} if loss else {}
    followed["pixel"] = pixel_tangent
    if distance:
        followed["feature"] = feature_tangent(distance)
    return followed


def take_tangents(
    D: Denoise,
    points: Points,
    noise_level: float,
    method: Method,
    stage: int,
    followed: Mapping[str, Tangent],
    iteration: int,
) -> tuple[Tensor, Tensor]:
    """D_t (K, C, H, W) and the tangents of each kind there, (S, K, C, H, W)."""
    D_t, D_r, t, r = pair_at(D, points, noise_level, method, stage)
    w = method.weigh(t, r)
    return D_t, torch.stack([tangent(D_t, D_r, w, iteration) for tangent in followed.values()])


def _cosines(tangents: Tensor) -> tuple[Tensor, Tensor]:
    """For unit vectors (M+1, T, S, K, n): mean cosine by lag 1 to M, and of successive ones, (S, T, K, M) each."""
    vectors = tangents.permute(2, 1, 3, 0, 4)  # (S, T, K, M+1, n)
    products = vectors @ vectors.transpose(3, 4)
    diagonals = [products.diagonal(lag, 3, 4) for lag in range(1, products.shape[3])]
    return torch.stack([diagonal.mean(3) for diagonal in diagonals], dim=3), diagonals[0]
