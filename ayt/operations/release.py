"""A snapshot as a separate folder: weights, configuration and a model card, to share and to load anywhere."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

import ayt
from ayt.assets.table import find_table, read_table
from ayt.base import paths, weights
from ayt.base.errors import UserError
from ayt.base.files import sha256, write_beside, write_text
from ayt.methods.formulas.objective import Sampled
from ayt.metrics.base import METRICS
from ayt.networks.base import Denoiser
from ayt.networks.modules.precond import EDMPrecond
from ayt.plan.references import INCEPTION
from ayt.plan.runs import RunRecord, read_run
from ayt.training.work import find_origin, load_denoiser, work_of

WEIGHTS = "model.safetensors"
RECORD = "run.yaml"
CARD = "README.md"

EXAMPLE = """\
import torch
from PIL import Image
from ayt.base.images import to_uint8
from ayt.evaluation.sampling import sample
from ayt.operations.release import load_sampled

denoiser, run = load_sampled({folder!r})
noise = torch.randn(1, 16, *run.dataset.shape)  # steps, images, channels, height, width
for number, image in enumerate(to_uint8(sample(denoiser(None), noise))):
    Image.fromarray(image.permute(1, 2, 0).squeeze(-1).numpy()).save(f"{{number:02d}}.png")
"""


def load_network(folder: Path | str) -> tuple[EDMPrecond, RunRecord]:
    """The network D(x; sigma) of a folder made by `export`, on the CPU in eval mode, and how it was trained.

    It is only the trained one: `load_sampled` gives the denoiser if that combines several networks.

    Raises:
        UserError: a file is missing or damaged, or the folder is of another version or kind.
    """
    folder = Path(folder)
    run = read_run(folder / RECORD)
    return load_denoiser(run, folder / WEIGHTS), run


def load_sampled(folder: Path | str, device: torch.device | str = "cpu") -> tuple[Sampled, RunRecord]:
    """The denoiser of a folder made by `export`, ready for sampling on a device, and how it was trained.

    The denoiser is a function from class labels (B,), or None, to D(x; sigma).

    Raises:
        UserError: as `load_network`.
    """
    folder, device = Path(folder), torch.device(device)
    network, run = load_network(folder)
    files = {role: folder / f"{role}.safetensors" for role in run.training.sampled_with}
    return run.training.sampled_denoiser(work_of(run, folder, device, network.to(device), files)), run


def export(
    record: Path, iteration: int, folder: Path, table: Path = paths.ASSET_TABLE, average: str | None = None
) -> None:
    """Write a snapshot of a run as a folder: its weights, the run's record, and a card with scores and provenance.

    If sampling needs further networks, as in the second stage of TCM, there is a file for each of them too.

    Args:
        record: ``run.yaml`` of the run.
        iteration: of the snapshot.
        folder: the folder to write; may exist if empty.
        table: table of published files, for the licences of those that the run was made from.
        average: of the weights, named as in `RunRecord.average_names`; None: the run's first.

    Raises:
        UserError: the snapshot is missing or damaged, the run is a classifier's or keeps no such average, or the
            folder is not empty.
    """
    run = read_run(record)
    average = run.average_names[0] if average is None else average
    kept = run.average_called(average)
    snapshot = paths.snapshot(record.parent, iteration, kept)
    if not isinstance(run.network, Denoiser):
        raise UserError(f"{record}: is a classifier; only denoisers can be exported")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder}: is not an empty folder; name a new one")
    metadata = weights.metadata(snapshot, "snapshot", run.name)
    for source, name in [(snapshot, WEIGHTS), (record, RECORD), *_others(run, record.parent)]:
        with write_beside(folder / name) as beside:
            shutil.copyfile(source, beside)
    write_text(folder / CARD, _card(run, average, metadata, _scores(record.parent, iteration, kept), folder, table))
    load_sampled(folder)


def _others(run: RunRecord, folder: Path) -> Iterator[tuple[Path, str]]:
    """The files of upstream networks needed to sample a run in a folder, and their names in an exported folder."""
    for role in run.training.sampled_with:
        yield run.upstream[role].path_from(folder), f"{role}.safetensors"


def _scores(run: Path, iteration: int, average: str) -> list[dict[str, Any]]:
    """The score files of a snapshot, one per evaluation."""
    places = (paths.average_folder(evaluation, average) for evaluation in sorted((run / "scores").glob("*")))
    files = [file for place in places if (file := paths.numbered_file(place, iteration, "json")).exists()]
    try:
        return [json.loads(file.read_bytes()) for file in files]
    except (ValueError, OSError) as error:
        raise UserError(f"{run / 'scores'}: a score cannot be read ({error})") from None


def _card(
    run: RunRecord,
    average: str,
    metadata: dict[str, Any],
    scores: list[dict[str, Any]],
    folder: Path,
    table: Path,
) -> str:
    pretrained = run.training.stage == "pretrain"
    method = "a diffusion model, EDM's denoising loss" if pretrained else run.training.name
    commits = metadata.get("commits", [])
    # The recipient will have the folder elsewhere.
    name = folder.resolve().name
    lines = [
        f"# {run.name}, {metadata['iteration']:,} iterations",
        "",
        f"- method: {method}",
        f"- dataset: {run.dataset.name}; batch size {run.batch_size}, seed {run.seed}",
        f"- weights: {_weights(average)}, float32, `{WEIGHTS}`, SHA-256 `{sha256(folder / WEIGHTS)}`",
        f"- every number of the training: `{RECORD}`",
        f"- written by ayt {metadata['versions']['ayt']} with torch {metadata['versions']['torch']}, exported by ayt"
        f" {ayt.__version__}",
        *([f"- trained by commit {', '.join(commits)}"] if commits else []),
        *_origin(run, table),
        "",
        "## Scores",
        "",
        *_score_table(scores),
        "",
        "## Use",
        "",
        f"`ayt sample --model {name} --steps 1 --samples 16 --output samples.png`, or:",
        "",
        "```python",
        *EXAMPLE.format(folder=name).splitlines(),
        "```",
    ]
    return "\n".join(lines) + "\n"


def _weights(average: str) -> str:
    return "as trained, not averaged" if average == "0" else f"averaged (EMA {average})"


def _origin(run: RunRecord, table: Path) -> list[str]:
    """The published weights that a run is made from, with their licences."""
    assets = read_table(table) if find_table(table).exists() else {}
    lines = []
    for name, digest in find_origin(run).items():
        licence = assets[name].licence if name in assets else "see where it comes from"
        lines.append(
            f"- made from {name} (licence: {licence}), SHA-256 `{digest}`: its terms hold for these weights too"
        )
    return lines


def _score_table(scores: list[dict[str, Any]]) -> list[str]:
    """A table of the metrics in score files, one row each."""
    if not scores:
        return ["Not scored."]
    lines = ["| metric | steps | mean | std over repeats | samples |", "|---|---:|---:|---:|---:|"]
    for found in scores:
        record = found["record"]
        inception = record["reference"]["features"] == {"published": INCEPTION}
        steps = len(record["sampling"]["mids"]) + 1 if "sampling" in record else 1
        for name, metric in found["metrics"].items():
            kind = METRICS.get(name)
            title = kind().title(found["dataset"], inception, record.get("t")) if kind else name
            std = "" if metric["std"] is None else f"{metric['std']:.3g}"
            samples = f"{record['repeats']} x {record['samples']:,}"
            mean = "failed" if metric["mean"] is None else f"{metric['mean']:.4g}"
            lines.append(f"| {title} | {steps} | {mean} | {std} | {samples} |")
    return lines
