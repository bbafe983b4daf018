"""Objectives of training: functions from a batch's images, labels and random numbers to a loss."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ayt.base.errors import UserError
from ayt.base.processes import ALONE
from ayt.base.randomness import Draws
from ayt.features.groups import names_for
from ayt.features.transformations import draw, transform
from ayt.features.transformations.denoising import denoise_some
from ayt.methods.formulas.losses import LossOutput, consistency_pair, denoising_loss
from ayt.methods.formulas.schedules import lognormal_t, ramp, stage_at
from ayt.networks.modules.precond import Denoise, EDMPrecond, bind

if TYPE_CHECKING:
    from ayt.methods.base import Method
    from ayt.networks.modules.autoencoder import Autoencoder
    from ayt.networks.modules.feature_network import FeatureModule

Objective = Callable[[Tensor, Tensor, Draws], LossOutput]
"""From images (B, C, H, W) in [-1, 1], class labels (B,) and their random numbers to a loss."""

Function = TypeVar("Function", bound=Callable[..., Tensor])

Sampled = Callable[[Tensor | None], Denoise]
"""From class labels (B,), or None, to the denoiser to sample from."""


@dataclass(frozen=True)
class Work:
    """What an objective is built from: the network in training, and frozen upstream networks.

    Attributes:
        device: where everything is.
        network: in train mode during training, in eval mode during sampling.
        called: its callable form: compiled, or with gradients summed over the processes that share a batch.
        load: returns a frozen upstream network, by role.
        bf16: whether a feature network in training computes in bfloat16; denoisers handle this themselves.
        auxiliary: networks trained alongside it, by role, in train mode; empty during sampling.
        total: sums a tensor over the processes that share a batch, in place.
        call: returns the callable form of a frozen denoiser; None: the denoiser itself.
        compiled: whether other functions than the network in training go through ``torch.compile`` too.
    """

    device: torch.device
    network: nn.Module
    called: Callable[..., Tensor]
    load: Callable[[str], nn.Module]
    bf16: bool = False
    auxiliary: Mapping[str, nn.Module] = field(default_factory=dict)
    total: Callable[[Tensor], Tensor] = ALONE.sum
    call: Callable[[EDMPrecond], Callable[..., Tensor]] | None = None
    compiled: bool = False

    def compile(self, compute: Function) -> Function:
        """A function of tensors as it is called in each iteration, for example a distance."""
        return cast("Function", torch.compile(compute, dynamic=False)) if self.compiled else compute

    def denoiser(self, labels: Tensor, draws: Draws) -> Denoise:
        """The network in training, conditioned on the labels, with one dropout mask for all calls."""
        network = cast(EDMPrecond, self.network)
        return bind(network, labels, draws, self.called, network.cast_weights())

    def differentiable_denoiser(self, labels: Tensor, draws: Draws) -> Denoise:
        """The same, but neither compiled nor wrapped, as forward-mode derivatives require."""
        network = cast(EDMPrecond, self.network)
        return bind(network, labels, draws, network.forward)

    def bound_denoiser(self, labels: Tensor | None) -> Denoise:
        """The network itself, conditioned on the labels, without dropout."""
        return bind(cast(EDMPrecond, self.network), labels, called=self.called)

    def predict(self, images: Tensor, *more: Tensor) -> Tensor:
        """The predictions of a feature network in training, in float32, for images and any further arguments."""
        with torch.autocast(images.device.type, torch.bfloat16, enabled=self.bf16):
            predictions: Tensor = self.called(images, *more)
        return predictions.float()

    def frozen_denoiser(self, role: str) -> Sampled:
        """An upstream denoiser as a teacher, for example with role ``start``, the one that training starts from."""
        network = cast(EDMPrecond, self.load(role))
        called = self.call(network) if self.call else self.compile(network.forward)
        return lambda labels: bind(network, labels, called=called)

    def teacher(self, role: str) -> Callable[[Tensor, Draws], Denoise]:
        """An upstream denoiser, conditioned on the labels, with the dropout masks of the network in training."""
        network, student = cast(EDMPrecond, self.load(role)), cast(EDMPrecond, self.network)
        called = self.compile(network.forward)
        return lambda labels, draws: bind(student, labels, draws, called)

    def feature_network(self, role: str) -> FeatureModule:
        """An upstream feature network."""
        return cast("FeatureModule", self.load(role))

    def auxiliary_network(self, role: str) -> FeatureModule:
        """A network trained alongside the denoiser.

        An objective adds its loss to the denoiser's, and detaches whatever should not train either of them.
        """
        return cast("FeatureModule", self.auxiliary[role])


def consistency(method: Method, work: Work) -> Objective:
    """The loss of a method that compares two outputs of the network, at noise levels t and r.

    Raises:
        UserError: the method defines no loss.
    """
    pair_loss = method.pair_loss(work)
    if pair_loss is None:
        raise UserError(f"method {method.name!r} defines neither pair_loss nor objective")

    def objective(images: Tensor, labels: Tensor, draws: Draws) -> LossOutput:
        t = method.draw_t(draws)
        r = method.pair_with(t, stage_at(draws.iteration, method.stage_iterations))
        eps = draws.normal("noise", *images.shape[1:])
        D_t, D_r = consistency_pair(work.denoiser(labels, draws), images, t, r, eps)
        return pair_loss(D_t, D_r, method.weigh(t, r), draws.iteration, draws.size)

    return objective


def denoising(work: Work, sigma_mean: float, sigma_std: float) -> Objective:
    """EDM's denoising loss at noise levels with ln sigma ~ N(sigma_mean, sigma_std^2)."""

    def objective(images: Tensor, labels: Tensor, draws: Draws) -> LossOutput:
        sigma = lognormal_t(draws.normal("sigma"), sigma_mean, sigma_std)
        eps = draws.normal("noise", *images.shape[1:])
        return denoising_loss(work.denoiser(labels, draws), images, sigma, eps, draws.size)

    return objective


def recognition(work: Work, group: str, probability: float, ramp_iterations: int, denoised: bool = False) -> Objective:
    """Mean over batch and labels of the squared error of the predicted parameters of random transformations.

    ``denoised``: the last transformation is `denoise_some` by the diffusion model; then all labels are scaled.
    """
    denoiser = work.frozen_denoiser("denoiser") if denoised else None

    def objective(images: Tensor, labels: Tensor, draws: Draws) -> LossOutput:
        names = names_for(group, images.shape[1])
        on_host = draws.generator("transformations", torch.device("cpu"))
        drawn = draw(names, images.shape, on_host, draws.generator("transformations, noise"))
        p = probability * ramp(draws.iteration, ramp_iterations)
        transformed, targets = transform(images, drawn, p, names)
        if denoiser:
            source = draws.generator("denoised images", torch.device("cpu"))
            uniform = torch.rand(2, len(images), generator=source)
            eps = draws.normal("noise of denoised images", *images.shape[1:])
            transformed, strength = denoise_some(transformed, labels, denoiser, p, uniform, eps)
            targets = work.auxiliary["scale"](torch.cat([targets, strength[:, None]], dim=1))
        error = F.mse_loss(work.predict(transformed), targets)
        return LossOutput(error, error.detach().sqrt())

    return objective


def reconstruction(work: Work, noise: float) -> Objective:
    """Mean squared plus mean absolute error of images reconstructed from latents with added Gaussian noise."""
    shape = cast("Autoencoder", work.network).latent_shape

    def objective(images: Tensor, labels: Tensor, draws: Draws) -> LossOutput:
        found = work.predict(images, noise * draws.normal("noise of latents", *shape))
        squared = F.mse_loss(found, images)
        return LossOutput(squared + F.l1_loss(found, images), squared.detach().sqrt())

    return objective


def classes(work: Work) -> Objective:
    """Cross-entropy of class labels; the distance to watch is the error rate."""

    def objective(images: Tensor, labels: Tensor, draws: Draws) -> LossOutput:
        logits = work.predict(images)
        wrong = (logits.detach().argmax(1) != labels).float().mean()
        return LossOutput(F.cross_entropy(logits, labels), wrong)

    return objective
