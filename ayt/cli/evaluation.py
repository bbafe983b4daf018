"""Verbs that measure: ``reference``, ``score``, ``recognise``, ``gather``, ``sample``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from ayt.cli.common import Verbs, add_device, add_record, choose_device, count, verb, whole
from ayt.base.sections import Metric

if TYPE_CHECKING:
    import torch

    from ayt.evaluation.extractors import Extractor
    from ayt.networks.modules.precond import EDMPrecond
    from ayt.plan.evaluations import Evaluation
    from ayt.plan.records import ClassifierSpec, ConsistencySpec, PretrainSpec


def steps_and_mids(text: str) -> tuple[int, tuple[float, ...]]:
    """``1``, or ``2:0.821``: a number of steps, and the noise levels between them."""
    head, _, tail = text.partition(":")
    try:
        steps, mids = int(head), tuple(float(part) for part in tail.split(",") if part)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not like 1 or 2:0.821") from None
    if steps < 1 or len(mids) != steps - 1:
        raise argparse.ArgumentTypeError(f"{text!r}: {steps} steps need {max(steps - 1, 0)} noise levels between them")
    return steps, mids


def record_and_iteration(text: str) -> tuple[Path, int] | None:
    """``inception`` to None; ``RUN.YAML@ITERATION`` to both."""
    if text == "inception":
        return None
    record, _, iteration = text.rpartition("@")
    if not record or not iteration.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is not like inception or RUN.YAML@ITERATION")
    return Path(record), int(iteration)


def add_features(to: argparse.ArgumentParser) -> None:
    """The network in whose features images are compared."""
    to.add_argument(
        "--features",
        type=record_and_iteration,
        required=True,
        metavar="NETWORK",
        help="the network in whose features images are compared: inception, or RUN.YAML@ITERATION of a classifier",
    )


def add_verbs(verbs: Verbs) -> None:
    """Add the verbs to the command line."""
    reference = verb(
        verbs,
        "reference",
        run_reference,
        "Compute the statistics of a dataset's features that scores compare with.",
        "ayt reference --dataset cifar10 --features inception --output reference.npz",
    )
    reference.add_argument("--dataset", required=True, help="digits, photos, cifar10; options as '{name: photos, ...}'")
    add_features(reference)
    reference.add_argument(
        "--statistics", type=Path, metavar="NPZ", help="published mu and sigma, taken instead of the dataset's own"
    )
    reference.add_argument(
        "--kept", type=whole, default=0, help="features to keep whole, for KID and the like (default: %(default)s)"
    )
    reference.add_argument("--output", type=Path, required=True, metavar="NPZ", help="the file to write")
    reference.add_argument("--batch-size", type=count, default=500, help="images at a time (default: %(default)s)")
    add_device(reference)

    score = verb(
        verbs,
        "score",
        run_score,
        "Score snapshots of a run: sample, and compare features with the dataset's.",
        "ayt score results/runs/digits/RUN/run.yaml --iteration 400 --iteration 800 --steps 1 --steps 2:0.821 \\\n"
        "      --features results/runs/digits/classifier_labels-RUN/run.yaml@600 --reference REFERENCE.npz",
    )
    add_record(score)
    score.add_argument("--iteration", type=count, action="append", required=True, help="of a snapshot; may be repeated")
    add_features(score)
    score.add_argument(
        "--reference", type=Path, required=True, metavar="NPZ", help="features of real images, from ayt reference"
    )
    score.add_argument(
        "--metric",
        action="append",
        choices=get_args(Metric),
        required=True,
        help="may be given several times; with Inception features, frechet is FID and denoised_frechet is dFID",
    )
    score.add_argument(
        "--denoise",
        type=float,
        action="append",
        default=[],
        metavar="T",
        help="a noise level of denoised_frechet and lpips; may be given several times",
    )
    score.add_argument("--repeats", type=count, default=3, help="sampling runs (default: %(default)s)")
    score.add_argument("--grid", type=count, default=64, help="samples kept as images (default: %(default)s)")
    add_sampling(score, samples=50_000)

    recognise = verb(
        verbs,
        "recognise",
        run_recognise,
        "Measure how well a transformation classifier recognises transformations, and show them.",
        "ayt recognise results/runs/digits/classifier_geo_deg-RUN/run.yaml --iteration 3000",
    )
    add_record(recognise)
    recognise.add_argument("--iteration", type=count, required=True, help="of the classifier's snapshot")
    add_device(recognise)

    gather = verb(
        verbs,
        "gather",
        run_gather,
        "Gather an experiment's scores in one table.",
        "ayt gather results/embedded/experiment.yaml",
    )
    gather.add_argument(
        "experiment",
        type=Path,
        metavar="EXPERIMENT.YAML",
        help="results/EXPERIMENT/experiment.yaml, written when the workflow starts",
    )

    export = verb(
        verbs,
        "export",
        run_export,
        "Write a snapshot as a folder to give away: weights, configuration, and a card with scores and provenance.",
        "ayt export results/runs/digits/RUN/run.yaml --iteration 600 --output release\n"
        "  ayt sample --model release --steps 1 --output samples.png",
    )
    add_record(export)
    export.add_argument("--iteration", type=count, required=True, help="of the snapshot")
    export.add_argument("--output", type=Path, required=True, metavar="FOLDER", help="the folder to write")

    sample = verb(
        verbs,
        "sample",
        run_sample,
        "Sample a grid of images from a snapshot into a PNG, or from several, with the same noise, into an animation.",
        "ayt sample results/runs/digits/RUN/run.yaml --iteration 600 --steps 2:0.821 --output grid.png\n"
        "  ayt sample results/runs/digits/RUN/run.yaml --steps 1 --output training.gif",
        aliases=["samples"],
    )
    sample.add_argument(
        "record", type=Path, nargs="?", metavar="RUN.YAML", help="the run's record, results/runs/DATASET/RUN/run.yaml"
    )
    sample.add_argument(
        "--iteration",
        type=count,
        action="append",
        help="of a snapshot; may be repeated for a GIF (default: the last for a PNG, all for a GIF)",
    )
    sample.add_argument("--model", type=Path, metavar="FOLDER", help="made by ayt export, instead of a run's snapshot")
    sample.add_argument("--output", type=Path, required=True, help="the .png or .gif to write")
    sample.add_argument("--columns", type=count, help="images of a row (default: a square)")
    sample.add_argument(
        "--scale", type=count, help="side of the square that each pixel becomes (default: for 320 pixels in all)"
    )
    add_sampling(sample, samples=64)


def add_sampling(to: argparse.ArgumentParser, samples: int) -> None:
    """How samples are drawn."""
    to.add_argument(
        "--steps",
        type=steps_and_mids,
        action="append",
        metavar="N[:MID,...]",
        required=True,
        help="sampling steps, with the noise levels between them",
    )
    to.add_argument("--samples", type=count, default=samples, help="images for each repeat (default: %(default)s)")
    to.add_argument("--batch-size", type=count, default=500, help="images at a time (default: %(default)s)")
    to.add_argument("--seed", type=whole, default=0, help="of the noise (default: %(default)s)")
    to.add_argument(
        "--convention", choices=["ayt", "ect"], default="ayt", help="where steps end (default: %(default)s)"
    )
    add_device(to)


def run_reference(options: argparse.Namespace) -> None:
    """Write the statistics."""
    from ayt.datasets import images as data
    from ayt.base import yamlio
    from ayt.experiment import dataset
    from ayt.evaluation import extractors as features

    what = dataset(yamlio.parse(options.dataset, "--dataset"), "--dataset")
    device = choose_device(options)
    extractor = _extractor(options.features, device)
    images = data.load(what).to(device)
    reference = features.compute_reference(extractor, images, options.batch_size, options.kept, options.statistics)
    features.write_reference(options.output, reference)


def run_score(options: argparse.Namespace) -> None:
    """Write a score and a grid of samples for each snapshot and number of steps."""
    from ayt.datasets import images as data
    from ayt.base import paths
    from ayt.datasets.base import facts
    from ayt.base.errors import UserError
    from ayt.evaluation import score
    from ayt.evaluation import extractors as features
    from ayt.evaluation.neighbours import LARGEST_K
    from ayt.features.lpips import lpips
    from ayt.base.processes import joined
    from ayt.base.progress import ProgressLine
    from ayt.plan.evaluations import DENOISING_METRICS, KEPT_METRICS
    from ayt.plan.records import read_record

    spec = read_record(options.record)
    device = choose_device(options)
    denoises = bool(DENOISING_METRICS & set(options.metric))
    if denoises and not (options.denoise and any(steps == 1 for steps, _ in options.steps)):
        names = ", ".join(sorted(DENOISING_METRICS & set(options.metric)))
        raise UserError(f"--metric {names}: needs --denoise T and --steps 1")
    against = score.Against(
        extractor=_extractor(options.features, device),
        inception=options.features is None,
        reference=features.read_reference(options.reference),
        data=data.load(spec.dataset).to(device) if denoises else None,
        lpips=lpips(paths.VGG16, device) if "lpips" in options.metric else None,
    )
    kept, needs = len(against.reference.kept), KEPT_METRICS & set(options.metric)
    if needs and min(kept, options.samples) <= LARGEST_K:
        raise UserError(
            f"--metric {', '.join(sorted(needs))}: needs more than {LARGEST_K} features; {options.reference} keeps"
            f" {kept} (ayt reference --kept), --samples is {options.samples}"
        )
    shape = facts(spec.dataset).shape
    evaluations = _evaluations(options)
    real = len(against.data) if against.data else 0
    each = [options.samples + len(e.denoise) * min(options.samples, real) for e in evaluations]
    images = options.repeats * len(options.iteration) * sum(each)
    with joined() as processes, ProgressLine(f"scoring {spec.name}", images) as line:
        for iteration in options.iteration:
            network = _denoiser(spec, options.record, iteration).to(device)
            for evaluation in evaluations:
                values, grid = score.score_snapshot(
                    network, against, evaluation, spec.dataset.name, shape, options.batch_size, device, line, processes
                )
                if not processes.first:
                    continue
                about = {"run": spec.name, "dataset": spec.dataset.name, "iteration": iteration}
                record = score.score_record(about, evaluation, values)
                folder = options.record.parent
                score.write_images(paths.sample_grid(folder, evaluation.name, iteration), grid)
                score.write_score(paths.score(folder, evaluation.name, iteration), record)
        processes.wait()  # whose first writes last


def run_recognise(options: argparse.Namespace) -> None:
    """Write the classifier's report beside its run."""
    from ayt.datasets import images as data
    from ayt.training import work as models
    from ayt.base import paths
    from ayt.analysis import recognition
    from ayt.plan.records import ClassifierUpstream

    spec = _classifier_spec(options.record, "transformations")
    assert spec.group is not None and spec.probability is not None
    device = choose_device(options)
    folder = options.record.parent
    upstream = ClassifierUpstream(iteration=options.iteration, run=spec)
    network = models.frozen_classifier(upstream, spec.dataset, folder, device)
    images = data.load(spec.dataset).to(device)
    recognition.write_report(
        paths.classifier_report(folder, options.iteration, "csv"),
        paths.classifier_report(folder, options.iteration, "npz"),
        recognition.r_squared(network, images, spec.group, spec.probability, device),
        recognition.strip(images, spec.group, device),
    )


def run_gather(options: argparse.Namespace) -> None:
    """Write ``scores.csv`` beside the experiment."""
    from ayt.base import paths
    from ayt.experiment import resolved
    from ayt.reporting.scores import gather_scores, write_table
    from ayt.plan.plan import Plan

    plan = Plan(resolved.read(options.experiment))
    write_table(paths.scores_table(plan.experiment.name), gather_scores(plan))


def run_export(options: argparse.Namespace) -> None:
    """Write the folder."""
    from ayt.operations import release

    release.export(options.record, options.iteration, options.output)


def run_sample(options: argparse.Namespace) -> None:
    """Write one PNG, a row of images below the other, or one GIF with such a grid for each snapshot."""
    import torch

    from ayt.base.errors import UserError
    from ayt.evaluation.score import batches, sampled
    from ayt.reporting import grids
    from ayt.base.progress import ProgressLine
    from ayt.operations.release import image_shape
    from ayt.evaluation.sampling import to_uint8

    if options.output.suffix not in (".png", ".gif"):
        raise UserError(f"--output {options.output}: must end in .png, or in .gif for an animation over training")
    (evaluation, *others) = _evaluations(options)
    if others:
        raise UserError("--steps: sample takes one number of steps")
    device, size = choose_device(options), options.batch_size
    pictures, captions = [], []
    iterations = _iterations(options)
    with ProgressLine("sampling", options.samples * len(iterations)) as line:
        for iteration in iterations:
            network, spec = _model(options, iteration)
            network, images = network.to(device), []
            for part in range(batches(options.samples, size)):
                drawn = sampled(network, evaluation, 0, image_shape(spec), part, size, device)
                images.append(to_uint8(drawn).cpu())
                line.advance(len(drawn))
            pictures.append(grids.tile(torch.cat(images).numpy(), options.columns, options.scale))
            captions.append(f"iteration {iteration:,}")
    if options.output.suffix == ".gif":
        grids.write_animation(options.output, pictures, captions)
    else:
        grids.write_picture(options.output, pictures[0])


def _iterations(options: argparse.Namespace) -> list[int]:
    """The snapshots that ``ayt sample`` is asked for; [0] for a model in a folder of its own."""
    from ayt.base import paths
    from ayt.base.errors import UserError

    if bool(options.model) == bool(options.record) or (options.model and options.iteration):
        raise UserError("name either a run's record, with --iteration if you like, or --model FOLDER")
    animated = options.output.suffix == ".gif"
    if options.model:
        if animated:
            raise UserError("--output: one model makes no animation; name a .png, or a run's record")
        return [0]
    if options.iteration and len(options.iteration) > 1 and not animated:
        raise UserError("--iteration: several make an animation; name a .gif as --output")
    present = paths.snapshots(options.record.parent)
    found = sorted(options.iteration or present)
    if not found:
        raise UserError(f"{options.record.parent}: has no snapshots yet")
    return found if animated else found[-1:]


def _evaluations(options: argparse.Namespace) -> list[Evaluation]:
    """One for each number of steps; a verb that only samples has no metrics."""
    from ayt.plan.evaluations import evaluation

    network = getattr(options, "features", None)
    reference = getattr(options, "reference", None)
    return [
        evaluation(
            steps=steps,
            mids=mids,
            samples=options.samples,
            repeats=getattr(options, "repeats", 1),
            seed=options.seed,
            convention=options.convention,
            grid=getattr(options, "grid", 1),
            metrics=getattr(options, "metric", []),
            denoise=getattr(options, "denoise", []),
            features=f"{network[0].parent.name}@{network[1]}" if network else "inception",
            reference=reference.stem if reference else "",
        )
        for steps, mids in options.steps
    ]


def _extractor(network: tuple[Path, int] | None, device: torch.device) -> Extractor:
    """The feature network that ``--features`` names."""
    from ayt.training import work as models
    from ayt.evaluation import extractors as features
    from ayt.plan.records import ClassifierUpstream

    if network is None:
        return features.inception(device)
    record, iteration = network
    spec = _classifier_spec(record, "labels")
    upstream = ClassifierUpstream(iteration=iteration, run=spec)
    return features.of_classifier(models.frozen_classifier(upstream, spec.dataset, record.parent, device))


def _model(options: argparse.Namespace, iteration: int) -> tuple[EDMPrecond, ConsistencySpec | PretrainSpec]:
    """What ``ayt sample`` is asked to sample, and how it was trained."""
    from ayt.operations import release
    from ayt.plan.records import ClassifierSpec, read_record

    if options.model:
        return release.load(options.model)
    spec = read_record(options.record)
    network = _denoiser(spec, options.record, iteration)
    assert not isinstance(spec, ClassifierSpec)  # it was refused
    return network, spec


def _denoiser(spec: PretrainSpec | ClassifierSpec | ConsistencySpec, record: Path, iteration: int) -> EDMPrecond:
    import torch

    from ayt.training import work as models
    from ayt.base import paths
    from ayt.base.errors import UserError
    from ayt.networks.modules.precond import EDMPrecond

    network = models.build(spec)
    if not isinstance(network, EDMPrecond):
        raise UserError(f"{record}: is a classifier; only denoisers can be sampled")
    models.load_snapshot(network, paths.snapshot(record.parent, iteration), spec.name)
    return network.to(memory_format=torch.channels_last).eval().requires_grad_(False)


def _classifier_spec(record: Path, task: str) -> ClassifierSpec:
    from ayt.base.errors import UserError
    from ayt.plan.records import ClassifierSpec, read_record

    spec = read_record(record)
    if not isinstance(spec, ClassifierSpec) or spec.task != task:
        raise UserError(f"{record}: is not the run of a classifier with task {task}")
    return spec
