"""Verbs that look into trained networks: ``tangents``, ``oscillation``, ``manifold``."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import TYPE_CHECKING

from ayt.cli.common import Verbs, add_device, add_record, choose_device, count, verb, whole

if TYPE_CHECKING:
    import numpy as np
    import torch

    from ayt.features.distance import Distance
    from ayt.plan.records import ClassifierCheckpoint, ClassifierUpstream, ConsistencySpec


def noise_level(text: str) -> float:
    """A number above 0."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a noise level, a number above 0")
    return value


def add_verbs(verbs: Verbs) -> None:
    """Add the verbs to the command line."""
    tangents = verb(
        verbs,
        "tangents",
        run_tangents,
        "Take the tangents of a snapshot along trajectories, and the direction that AYT takes in their place.",
        "ayt tangents results/runs/digits/RUN/run.yaml --iteration 600 --images 64 --time 0.2 --time 1 --time 5 \\\n"
        "      --classifier results/runs/digits/classifier_geo_clr_deg-RUN/run.yaml@2500 --output tangents.npz",
    )
    add_record(tangents)
    tangents.add_argument("--iteration", type=count, required=True, help="of the run's snapshot")
    add_classifier(tangents, "of AYT's direction", "the run's own")
    add_points(tangents, images=64)
    add_times(tangents)

    oscillation = verb(
        verbs,
        "oscillation",
        run_oscillation,
        "Train a run a little further, in memory, and follow the tangents of fixed trajectories.",
        "ayt oscillation results/runs/digits/RUN/run.yaml --iteration 600 --iterations 64 --images 16 \\\n"
        "      --time 0.2 --time 1 --time 5 --output oscillation.npz",
    )
    add_record(oscillation)
    oscillation.add_argument("--iteration", type=count, required=True, help="of the training state to start from")
    oscillation.add_argument(
        "--iterations", type=count, default=64, help="how many further iterations (default: %(default)s)"
    )
    add_classifier(oscillation, "of AYT's direction, to follow that too", "only the run's own tangent is followed")
    oscillation.add_argument(
        "--neighbours", type=count, default=32, help="of the local PCA, in the dataset (default: %(default)s)"
    )
    oscillation.add_argument(
        "--dimensions", type=count, default=8, help="that the local PCA keeps (default: %(default)s)"
    )
    add_points(oscillation, images=16)
    add_times(oscillation)

    manifold = verb(
        verbs,
        "manifold",
        run_manifold,
        "Compare a classifier's feature distance with image distance, along the data manifold and off it.",
        "ayt manifold results/runs/digits/classifier_geo_deg-RUN/run.yaml --iteration 3000 --output manifold.npz",
    )
    add_record(manifold)
    manifold.add_argument("--iteration", type=count, required=True, help="of the classifier's snapshot")
    add_points(manifold, images=256)


def add_classifier(to: argparse.ArgumentParser, purpose: str, default: str) -> None:
    """The network of MFD."""
    to.add_argument(
        "--classifier",
        metavar="NETWORK",
        help=f"the transformation classifier {purpose}: RUN.YAML@ITERATION, or what run.yaml has below"
        f" spec.classifier, as JSON (default: {default})",
    )


def add_points(to: argparse.ArgumentParser, images: int) -> None:
    """Images to look at, and the file to write."""
    to.add_argument("--images", type=count, default=images, help="images of the dataset (default: %(default)s)")
    to.add_argument("--seed", type=whole, default=0, help="of the images and their noise (default: %(default)s)")
    to.add_argument("--output", type=Path, required=True, metavar="NPZ", help="the file to write")
    add_device(to)


def add_times(to: argparse.ArgumentParser) -> None:
    """Noise levels to look at."""
    to.add_argument(
        "--time",
        type=noise_level,
        action="append",
        required=True,
        metavar="T",
        help="a noise level; may be given several times",
    )


def run_tangents(options: argparse.Namespace) -> None:
    """Write the tangents."""
    import torch

    from ayt.datasets import images as data
    from ayt.training import work as models
    from ayt.base import paths
    from ayt.analysis import tangents
    from ayt.methods.formulas.schedules import stage_at
    from ayt.base.errors import UserError
    from ayt.networks.modules.precond import EDMPrecond

    spec = _consistency_spec(options.record)
    distance_of = _upstream(options, spec)
    if distance_of is None:
        raise UserError(
            f"{options.record}: has no transformation classifier of its own; name one: --classifier RUN.YAML@ITERATION"
        )
    device = choose_device(options)
    # The difference of two outputs that nearly agree would be lost in TF32's rounding.
    torch.backends.cudnn.allow_tf32 = False
    distance = _distance(distance_of, spec, device)
    points = tangents.choose(data.load(spec.dataset).to(device), options.images, options.seed)
    network = models.build(spec)
    assert isinstance(network, EDMPrecond)
    models.load_snapshot(network, paths.snapshot(options.record.parent, options.iteration), spec.name)
    network = network.to(device).eval().requires_grad_(False)
    stage = stage_at(options.iteration - 1, spec.times.stage_iterations)
    found = tangents.measure(network, points, sorted(set(options.time)), spec.times, stage, distance)
    _write(options, found, run=spec.name, classifier=_name(distance_of[0]))


def run_oscillation(options: argparse.Namespace) -> None:
    """Write what became of the tangents."""
    from ayt.datasets import images as data
    from ayt.analysis import oscillation, tangents
    from ayt.base.errors import UserError

    spec = _consistency_spec(options.record)
    device = choose_device(options)
    images = data.load(spec.dataset).to(device)
    if not options.dimensions < options.neighbours <= len(images):
        raise UserError(
            f"--neighbours {options.neighbours}: is not above --dimensions {options.dimensions}, and at most the"
            f" {len(images)} images of the dataset"
        )
    upstream = _upstream(options, spec) if options.classifier else None
    found = oscillation.probe(
        spec,
        options.record.parent,
        options.iteration,
        options.iterations,
        images,
        device,
        tangents.choose(images, options.images, options.seed),
        sorted(set(options.time)),
        options.neighbours,
        options.dimensions,
        _distance(upstream, spec, device) if upstream else None,
    )
    _write(options, found, run=spec.name)


def run_manifold(options: argparse.Namespace) -> None:
    """Write both distances, and what an untrained network of the same shape makes of the same images."""
    import torch

    from ayt.datasets import images as data
    from ayt.training import work as models
    from ayt.analysis import manifold, tangents
    from ayt.base.errors import UserError
    from ayt.features.distance import frozen, mfd
    from ayt.plan.records import ClassifierSpec, ClassifierUpstream, read_record

    spec = read_record(options.record)
    if not isinstance(spec, ClassifierSpec):
        raise UserError(f"{options.record}: is not the run of a classifier")
    device = choose_device(options)
    upstream = ClassifierUpstream(iteration=options.iteration, run=spec)
    network = models.frozen_classifier(upstream, spec.dataset, options.record.parent, device)
    images = data.load(spec.dataset).to(device)
    points = tangents.choose(images, options.images, options.seed)
    found = manifold.measure(mfd(network), images, points, spec.group)
    torch.manual_seed(options.seed)
    fresh = frozen(models.classifier(spec.network, spec.dataset, spec.group).to(device))
    control = manifold.measure(mfd(fresh), images, points, spec.group)
    found |= {f"untrained_{name}": control[name] for name in ("ratio", "pair_ratio")}
    _write(options, found, run=spec.name)


def _consistency_spec(record: Path) -> ConsistencySpec:
    from ayt.base.errors import UserError
    from ayt.plan.records import ConsistencySpec, read_record

    spec = read_record(record)
    if not isinstance(spec, ConsistencySpec):
        raise UserError(f"{record}: is not the run of a consistency model")
    return spec


def _upstream(
    options: argparse.Namespace, spec: ConsistencySpec
) -> tuple[ClassifierUpstream | ClassifierCheckpoint, Path] | None:
    """The transformation classifier that ``--classifier`` names, or the run's own, and the folder beside its; or None.

    Raises:
        UserError: it is not one, or is of another dataset.
    """
    from ayt.base import yamlio
    from ayt.base.errors import UserError
    from ayt.plan.records import ClassifierSpec, ClassifierUpstream, read_record

    text: str | None = options.classifier
    if text is None:
        own = spec.classifier
        return (own, options.record.parent) if own and _group(own) else None
    if text.lstrip().startswith("{"):
        upstream, folder = _parse_upstream(yamlio.parse(text, "--classifier")), options.record.parent
    else:
        path, _, iteration = text.rpartition("@")
        if not path or not iteration.isdigit():
            raise UserError(f"--classifier {text}: is not like RUN.YAML@ITERATION, nor JSON")
        run = read_record(Path(path))
        if not isinstance(run, ClassifierSpec):
            raise UserError(f"--classifier {text}: is not the run of a classifier")
        upstream, folder = ClassifierUpstream(iteration=int(iteration), run=run), Path(path).parent
    if not _group(upstream):
        raise UserError(f"--classifier {text}: recognises class labels, not transformations")
    if isinstance(upstream, ClassifierUpstream) and upstream.run.dataset != spec.dataset:
        raise UserError(f"--classifier {text}: sees {upstream.run.dataset.name}, the run {spec.dataset.name}")
    return upstream, folder


def _parse_upstream(value: object) -> ClassifierUpstream | ClassifierCheckpoint:
    from pydantic import ValidationError

    from ayt.base.errors import UserError
    from ayt.plan.records import ClassifierCheckpoint, ClassifierUpstream

    published = isinstance(value, dict) and "checkpoint" in value
    try:
        return (ClassifierCheckpoint if published else ClassifierUpstream).model_validate(value)
    except ValidationError as error:
        detail = error.errors(include_url=False)[0]
        key = ".".join(map(str, detail["loc"])) or "the whole"
        raise UserError(f"--classifier: not a classifier as run.yaml has it: {key}: {detail['msg']}") from None


def _group(upstream: ClassifierUpstream | ClassifierCheckpoint) -> str | None:
    """The transformations that it recognises; None: class labels."""
    from ayt.plan.records import ClassifierCheckpoint

    return upstream.group if isinstance(upstream, ClassifierCheckpoint) else upstream.run.group


def _distance(
    upstream: tuple[ClassifierUpstream | ClassifierCheckpoint, Path], spec: ConsistencySpec, device: torch.device
) -> Distance:
    from ayt.training import work as models
    from ayt.features.distance import mfd

    classifier, folder = upstream
    return mfd(models.frozen_classifier(classifier, spec.dataset, folder, device))


def _name(upstream: ClassifierUpstream | ClassifierCheckpoint) -> str:
    from ayt.plan.records import ClassifierCheckpoint

    if isinstance(upstream, ClassifierCheckpoint):
        return upstream.checkpoint
    return f"{upstream.run.name}@{upstream.iteration}"


def _write(options: argparse.Namespace, arrays: dict[str, np.ndarray], **about: str) -> None:
    """Write arrays, and what they tell of."""
    import numpy as np

    from ayt.base.files import written_beside

    told = {name: np.array(value) for name, value in {"iteration": options.iteration, **about}.items()}
    with written_beside(options.output) as beside:
        np.savez_compressed(beside, **told, **arrays)  # type: ignore[arg-type]
