"""Verbs that measure: ``reference``, ``score``, ``anchor``, ``gather``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, cast

from ayt.cli.common import (
    Verbs,
    add_batch_size,
    add_compilation,
    add_device,
    add_iterations,
    add_resolved,
    choose_average,
    choose_compiled,
    choose_device,
    count,
    explain_memory_errors,
    read_plan,
    verb,
)

if TYPE_CHECKING:
    import torch

    from ayt.evaluation.fixed_batches import FixedBatches

LOWER = "evaluation.batch_size (--batch-size)"
"""How to make scoring use less memory."""


def add_verbs(verbs: Verbs) -> None:
    """Add the verbs to the command line."""
    reference = verb(
        verbs,
        "reference",
        run_reference,
        "Compute the features of real images that samples are compared with.",
        "ayt reference results/references/digits/REFERENCE.yaml",
    )
    reference.add_argument(
        "record", type=Path, metavar="REFERENCE.YAML", help="its record; the features are written beside it, as .npz"
    )
    reference.add_argument(
        "--statistics", type=Path, metavar="NPZ", help="the published mu and sigma that the record names"
    )
    reference.add_argument("--batch-size", type=count, default=500, help="images at a time (default: %(default)s)")
    add_device(reference)

    score = verb(
        verbs,
        "score",
        run_score,
        "Score a run's snapshots: sample, or denoise real images, and compare features with the dataset's.",
        "ayt score results/runs/digits/RUN/scores/steps1-HASH/record.yaml --iteration 320 --iteration 480",
    )
    score.add_argument(
        "records",
        type=Path,
        nargs="+",
        metavar="RECORD.YAML",
        help="records of scores of one run, results/runs/D/RUN/scores/*",
    )
    add_iterations(score)
    add_batch_size(score)
    add_compilation(score, "from 200,000 images on, each counted once per step")
    add_device(score)

    anchor = verb(
        verbs,
        "anchor",
        run_anchor,
        "Score weights that were not trained here: sample, and compare features with the dataset's.",
        "ayt anchor results/anchors/cifar10/heun18-HASH.yaml",
    )
    anchor.add_argument(
        "record", type=Path, metavar="ANCHOR.YAML", help="its record; the scores are written beside it, as .json"
    )
    add_batch_size(anchor)
    add_compilation(anchor, "from 200,000 images on, each counted once per network evaluation")
    add_device(anchor)

    gather = verb(
        verbs,
        "gather",
        run_gather,
        "Gather an experiment's scores into one table.",
        "ayt gather results/embedded/experiment.yaml",
    )
    add_resolved(gather)


def run_reference(options: argparse.Namespace) -> None:
    """Write the features."""
    from ayt.base.errors import UserError
    from ayt.base.images import Images
    from ayt.evaluation import extractors
    from ayt.plan.references import read_reference

    record = read_reference(options.record)
    if bool(record.statistics) != bool(options.statistics):
        named = f"names the statistics {record.statistics!r}" if record.statistics else "names no statistics"
        raise UserError(f"{options.record}: {named}; --statistics must give that file, and only then")
    device = choose_device(options)
    images = Images.of(record.dataset.load()).to(device)
    published = extractors.read_statistics(options.statistics) if options.statistics else None
    extractor = extractors.build_extractor(record, device)
    features = extractors.compute_reference(extractor, images, options.batch_size, record.kept, published)
    extractors.write_real_features(options.record.with_suffix(".npz"), features)


def run_score(options: argparse.Namespace) -> None:
    """Write one score per record and snapshot."""
    from ayt.base import paths
    from ayt.base.errors import UserError
    from ayt.base.processes import join_processes
    from ayt.evaluation.scoring_job import ScoringJob
    from ayt.plan.evaluations import read_evaluation
    from ayt.plan.runs import read_run

    scores = [read_evaluation(path) for path in options.records]
    folder = options.records[0].parents[2]
    run = read_run(paths.run_record(folder))
    for path, score in zip(options.records, scores, strict=True):
        if score.run != run.name or path.parents[2] != folder:
            raise UserError(f"{path}: is of run {score.run}, not of {run.name}, whose snapshots {folder} has")
        if score.reference.name != scores[0].reference.name:
            raise UserError(f"{path}: compares with other features than {options.records[0]}; score it by itself")
        if score.precision != scores[0].precision:
            raise UserError(f"{path}: is in {score.precision}, {options.records[0]} is not; score it by itself")
    job = ScoringJob(run, folder, scores, options.iteration, choose_average(options, run))
    device = choose_device(options)
    batches = choose_batches(options, run.name, device, job.passes)
    with join_processes() as processes, explain_memory_errors(run.name, device, LOWER):
        job.do(device, batches, processes)


def choose_batches(options: argparse.Namespace, name: str, device: torch.device, passes: int) -> FixedBatches:
    """How networks are run in a job in which this many images go through one."""
    from ayt.evaluation.fixed_batches import FixedBatches
    from ayt.training.compilation import scoring_pays

    compiled = choose_compiled(options, name, scoring_pays(device, passes))
    return FixedBatches(options.batch_size, compiled, device.type == "cuda" and options.replay == "auto")


def run_anchor(options: argparse.Namespace) -> None:
    """Write the scores."""
    from ayt.base import weights
    from ayt.base.processes import join_processes
    from ayt.base.progress import ProgressLine
    from ayt.evaluation import extractors
    from ayt.evaluation.score import Scorer, compute_beside, write_anchor
    from ayt.evaluation.snapshots import call_denoiser
    from ayt.methods.formulas.objective import Work
    from ayt.networks.modules.precond import EDMPrecond
    from ayt.plan.anchors import read_anchor
    from ayt.plan.runs import Published
    from ayt.training.work import build_frozen

    anchor = read_anchor(options.record)
    device = choose_device(options)
    found = anchor.weights
    images = anchor.repeats * anchor.samples
    batches = choose_batches(options, found.name, device, images * anchor.evaluations)
    network = cast(EDMPrecond, build_frozen(found, anchor.dataset, device))
    origin = weights.metadata(found.path, "checkpoint")["sha256"] if isinstance(found, Published) else found.name
    with (
        join_processes() as processes,
        explain_memory_errors(found.name, device, LOWER),
        ProgressLine(f"scoring {found.name}", images) as line,
        compute_beside(device) as executor,
    ):
        scorer = Scorer(
            anchor.dataset,
            anchor.classes,
            extractors.build_extractor(anchor.reference, device, batches),
            extractors.read_real_features(anchor.reference.path).to(device),
            options.batch_size,
            device,
            line,
            processes=processes,
            beside=executor,
        )
        called, _ = call_denoiser(network, batches, anchor.sampling.precision)
        work = Work(device, network, called, lambda role: network)
        values = scorer.score(work.bound_denoiser, anchor)
        if processes.first:
            write_anchor(options.record.with_suffix(".json"), anchor, origin, values())
        processes.wait()  # whose first writes last


def run_gather(options: argparse.Namespace) -> None:
    """Write ``scores.csv`` beside the experiment."""
    from ayt.base import paths
    from ayt.reporting.scores import gather_scores, write_scores

    plan = read_plan(options)
    write_scores(paths.scores_table(plan.experiment.name), gather_scores(plan))
