"""Verbs that convert published files for the workflow: ``prepare``, ``import-checkpoint``."""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ayt.cli.common import Verbs, verb

if TYPE_CHECKING:
    from torch import nn

DROPPED = ("model.map_augment.",)
"""Parts of EDM's denoiser for augmentation labels, which consistency training does not use, as in the paper."""

NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}"
"""Names that experiments may use for weights."""


def add_verbs(verbs: Verbs) -> None:
    """Add the verbs to the command line."""
    prepare = verb(
        verbs,
        "prepare",
        run_prepare,
        "Convert a dataset's archive into the arrays that training reads; nothing in it is extracted or executed.",
        "ayt prepare cifar10 cifar-10-python.tar.gz",
    )
    prepare.add_argument("dataset", metavar="DATASET", help="the archive's dataset, for example cifar10")
    prepare.add_argument("archive", metavar="ARCHIVE", type=Path, help="for example cifar-10-python.tar.gz")
    prepare.add_argument("--output", type=Path, metavar="NPZ", help="default: where the workflow looks for it")
    convert = verb(
        verbs,
        "import-checkpoint",
        run_import,
        "Convert foreign weights (EDM, ECT or TCM pickles, PyTorch state dicts, safetensors) without executing them.",
        "ayt import-checkpoint edm-cifar10-32x32-uncond-vp.pkl --for config/batch_size_ablation.yaml",
    )
    convert.add_argument("file", metavar="FILE", type=Path, help="the weights")
    convert.add_argument("--name", help="their name in experiments (default: the file's name without its suffix)")
    convert.add_argument(
        "--for",
        dest="experiment",
        type=Path,
        metavar="EXPERIMENT.YAML",
        help="compare with this experiment's network: missing or unexpected tensors are an error that lists them",
    )
    convert.add_argument(
        "--classifier", metavar="NAME", help="the weights are of this classifier of the experiment, not its denoiser"
    )
    convert.add_argument("--output", type=Path, metavar="FILE", help="default: where the workflow looks for them")


def run_prepare(options: argparse.Namespace) -> None:
    """Write the arrays."""
    from ayt.base import paths
    from ayt.base.arrays import write_arrays
    from ayt.base.errors import UserError
    from ayt.base.sections import choices
    from ayt.datasets.base import DATASETS

    prepared = {name: kind for name, kind in DATASETS.kinds.items() if kind.archive}
    if options.dataset not in prepared:
        problem = f"no dataset that is made from an archive; {choices(options.dataset, prepared)}"
        raise UserError(f"{options.dataset!r}: {problem}")

    arrays = prepared[options.dataset].prepare(options.archive)
    write_arrays(options.output or paths.dataset(options.dataset), arrays._asdict(), compressed=False)


def run_import(options: argparse.Namespace) -> None:
    """Write the tensors as safetensors, and report what was dropped."""
    from ayt.base import paths, weights
    from ayt.base.errors import UserError
    from ayt.base.files import sha256
    from ayt.foreign.checkpoints import compare, read_checkpoint

    if options.classifier and not options.experiment:
        raise UserError("--classifier: says which of the experiment's classifiers; name the experiment with --for")
    name = options.file.stem if options.name is None else options.name
    if options.name is not None or options.output is None:
        _check_name(name, options.name)
    found = read_checkpoint(options.file)
    dropped = [name for name in found if name.startswith(DROPPED)]
    tensors = {name: tensor for name, tensor in found.items() if name not in dropped}
    if dropped:
        print(f"dropped on purpose, for augmentation labels: {', '.join(dropped)}", file=sys.stderr)
    if options.experiment:
        comparison = compare(tensors, _network(options.experiment, options.classifier).state_dict())
        problems = [f"{len(names)} {what}: {', '.join(names)}" for what, names in comparison._asdict().items() if names]
        if problems:
            raise UserError(f"{options.file}: does not fit the network of {options.experiment}: {'; '.join(problems)}")
    output = options.output or paths.checkpoint(name)
    weights.write(output, "checkpoint", name, 0, tensors, source=options.file.name, sha256=sha256(options.file))
    numbers = sum(tensor.numel() for tensor in tensors.values())
    print(f"{output}: {len(tensors)} tensors, {numbers:,} numbers", file=sys.stderr)


def _check_name(name: str, given: str | None) -> None:
    """Refuse a name that no experiment could use for the weights, or that would be written elsewhere."""
    from ayt.base.errors import UserError
    from ayt.foreign.text import one_line

    if not re.fullmatch(NAME, name):
        where = f"--name {one_line(name)!r}" if given is not None else f"the file's name, {one_line(name)!r}"
        problem = "a name has letters, digits, _ . and -, at most 100, and begins with a letter or digit"
        raise UserError(f"{where}: cannot be the name of weights: {problem}" + ("" if given else "; give --name"))


def _network(file: Path, classifier: str | None) -> nn.Module:
    """The denoiser of an experiment, or one of its classifiers."""
    from ayt.base.errors import UserError
    from ayt.base.sections import choices
    from ayt.experiment import load

    experiment = load([file])
    if classifier is None:
        return experiment.network.build(experiment.dataset, dropout=0.0)
    if classifier not in experiment.classifiers:
        raise UserError(f"--classifier {classifier}: not in {file}; {choices(classifier, experiment.classifiers)}")
    entry = experiment.classifiers[classifier]
    return entry.network.build(experiment.dataset, entry.training.outputs(experiment.dataset))
