"""Training steps and scoring on a GPU: milliseconds, kernels, memory, images per second.

Steps of the paper's networks on made-up weights: one by one, replayed as one CUDA graph, and compiled besides. Scoring
in one step through Inception with random weights. Both in processes of their own, which prepare together and measure
one after another. Whole jobs, from their start. Tables go to standard output, as JSON and Markdown into --output.
Measurements that do not fit into --minutes are left out, and said to be.

    python benchmarks/gpu.py --output benchmarks/ --baseline EARLIER-gpu.json
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import date
from itertools import chain, product
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import torch
from torch.profiler import ProfilerActivity, profile

sys.path.insert(0, str(Path(__file__).parent))

import score
import step_time

from ayt.base import paths
from ayt.base.files import write_text
from ayt.base.images import Images
from ayt.base.progress import ProgressLine
from ayt.cli.common import choose_device
from ayt.evaluation.extractors import build_extractor, read_real_features
from ayt.evaluation.fixed_batches import FixedBatches
from ayt.evaluation.score import Scorer, Values, compute_beside
from ayt.evaluation.snapshots import call_denoiser
from ayt.experiment import load
from ayt.networks.modules.precond import bind
from ayt.plan.evaluations import Score
from ayt.plan.plan import Plan
from ayt.plan.references import FeatureSpace, Reference
from ayt.plan.runs import Run
from ayt.training import work
from ayt.training.iteration import Passes
from ayt.training.loop import peak_memory
from ayt.training.recording import WARM_UP, Trainer
from ayt.training.state import Optimiser, TrainingState, device_name

WAYS = {"one by one": (False, False), "replayed": (True, False), "replayed, compiled": (True, True)}
"""How steps are run: whether they are replayed, and compiled."""

BEFORE = WARM_UP + 5
"""Steps before measurements: RAdam's first five are different, after which they are recorded anew."""

Row = dict[str, str | int | float]
Measure = Callable[[], Row]
Kernels = dict[str, tuple[int, float]]
"""How often each kernel ran, and microseconds in all."""
OPEN = ExitStack()
"""What stays open until the process ends."""


class Cell(NamedTuple):
    """A row of the table: its name, and what is measured."""

    what: str
    settings: tuple[Any, ...]


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", help="default: %(default)s")
    parser.add_argument(
        "--size", choices=step_time.SIZES, default="paper", help="whose networks (default: %(default)s)"
    )
    parser.add_argument("--methods", nargs="*", default=["ayt", "ect"], help="default: ayt ect")
    parser.add_argument(
        "--others",
        nargs="*",
        default=["tcm", "ccd", "ccd_ayt", "sct", "scd"],
        help="replayed beside ECT at the first batch size and precision (default: tcm ccd ccd_ayt sct scd)",
    )
    parser.add_argument("--batch-sizes", nargs="+", type=int, default=[16, 128], help="default: 16 128")
    parser.add_argument("--precisions", nargs="+", default=["tf32", "bf16"], help="default: tf32 bf16")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS), help="default: all")
    parser.add_argument("--steps", type=int, default=10, help="steps in each of 3 measurements (default: %(default)s)")
    parser.add_argument("--samples", type=int, default=5000, help="images to score; 0: none (default: %(default)s)")
    parser.add_argument("--no-jobs", action="store_true", help="leave out whole jobs, their starts and several GPUs")
    parser.add_argument("--together", type=int, default=8, help="rows to prepare at a time (default: %(default)s)")
    parser.add_argument("--profiles", type=Path, help="folder for a list of each row's kernels")
    parser.add_argument("--minutes", type=float, default=6.0, help="begin nothing after that (default: %(default)s)")
    parser.add_argument("--output", type=Path, help="folder for DATE-gpu.json and DATE-gpu.md")
    parser.add_argument("--baseline", type=Path, help="an earlier JSON file: prints ratios to it")
    return parser.parse_args()


def plan_of(size: str, precision: str, methods: list[str]) -> Plan:
    """The experiment, plus methods that it lacks, at their defaults."""
    overrides = dict(step_time.WITHOUT_DOWNLOADS) if size == "paper" else {}
    known = dict(overrides.get("methods", {}))
    overrides["methods"] = {**known, **{name: {} for name in methods if name not in ("ect", "ayt")}}
    return Plan(load([Path(step_time.SIZES[size])], {**overrides, "training": {"precision": precision}}))


def trainer(run: Run, batch_size: int, root: Path, images: Images, replays: bool, compiled: bool) -> Trainer:
    record = replace(run.record, batch_size=batch_size)
    device = images.pixels.device
    network, called, objective, auxiliary = work.prepare(record, root / run.name, device, compiled=compiled)
    state = TrainingState(network, Optimiser.of(record.training), run.name, auxiliary=auxiliary)
    passes = Passes(objective, [slice(0, batch_size)], called)
    return Trainer(state, passes, record, images, replays)


def synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds(do: Callable[[], object], device: torch.device) -> float:
    synchronise(device)
    begin = time.perf_counter()
    do()
    synchronise(device)
    return time.perf_counter() - begin


def kernels(do: Callable[[], object], device: torch.device) -> Kernels:
    """Kernels, copies and fills that the device ran; on a CPU, PyTorch's operations."""
    on_gpu = device.type == "cuda"
    with profile(activities=[ProfilerActivity.CUDA if on_gpu else ProfilerActivity.CPU]) as seen:
        do()
        synchronise(device)
    found: Kernels = {}
    for event in seen.events() or []:
        if not on_gpu or event.device_type == torch.autograd.DeviceType.CUDA:
            count, taken = found.get(event.name, (0, 0.0))
            found[event.name] = (count + 1, taken + event.time_range.elapsed_us())
    return found


def write_profile(folder: Path, cell: Cell, found: Kernels) -> None:
    """Write a row's kernels by the time that they take."""
    total = sum(taken for _, taken in found.values())
    lines = [f"{total / 1e3:9.3f} ms in {sum(count for count, _ in found.values())} kernels"]
    for name, (count, taken) in sorted(found.items(), key=lambda item: -item[1][1]):
        lines.append(f"{taken / 1e3:9.3f} ms {count:5d} {name[:160]}")
    write_text(folder / f"{cell.what.replace(', ', '-').replace(' ', '_')}.txt", "\n".join(lines) + "\n")


def prepare_steps(options: argparse.Namespace, device: torch.device, cell: Cell, folder: Path) -> Measure:
    """Train until everything is compiled and recorded; returns what then measures further steps."""
    method, batch_size, precision, way = cell.settings
    plan = plan_of(options.size, precision, [*options.methods, *options.others])
    run = next(run for run in plan.trained if run.record.training.name == method)
    step_time.prepare(run, folder)
    images = Images.of(plan.experiment.dataset.load()).to(device)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    trained = trainer(run, batch_size, folder, images, *WAYS[way])
    first = seconds(trained.advance, device)
    for _ in range(BEFORE):
        trained.advance()

    def measure() -> Row:
        taken = statistics.median(
            seconds(lambda: [trained.advance() for _ in range(options.steps)], device) / options.steps for _ in range(3)
        )
        found = kernels(trained.advance, device)
        if options.profiles:
            write_profile(options.profiles, cell, found)
        return {
            "what": cell.what if trained.replays == WAYS[way][0] else f"{cell.what} (not recorded)",
            "ms": round(1e3 * taken, 2),
            "images/s": round(batch_size / taken),
            "kernels": sum(count for count, _ in found.values()),
            "GB at most": round(peak_memory(device) / 1e9, 2),
            "s of first step": round(first, 1),
        }

    return measure


def prepare_scoring(options: argparse.Namespace, device: torch.device, cell: Cell, folder: Path) -> Measure:
    """Score one batch; returns what measures images per second from noise to statistics of features.

    The time of the metrics, which overlaps with the next score's samples, is measured besides.
    """
    precision, way = cell.settings
    settings = argparse.Namespace(channels=128 if options.size == "paper" else 32, inception=None)
    os.chdir(folder)
    run = score.describe_run(settings)
    reference = Reference(run.dataset, FeatureSpace(None), "reference")
    score.prepare(settings)
    recorded, compiled = WAYS[way]
    batches = FixedBatches(min(500, options.samples), compiled, recorded)
    network = score.build(run, device)
    called, _ = call_denoiser(network, batches, precision)
    extractor, real = build_extractor(reference, device, batches), read_real_features(Path("reference.npz")).to(device)
    asked = Score(run.name, score.ONE_STEP, options.samples, 1, reference)

    def draw(score: Score) -> Callable[[], Values]:
        with ProgressLine("scoring", score.samples) as line:
            scorer = Scorer(run.dataset, run.classes, extractor, real, batches.size, device, line, beside=executor)
            return scorer.score(lambda labels: bind(network, labels, called=called), score)

    executor = OPEN.enter_context(compute_beside(device))
    one_batch = replace(asked, samples=batches.size)
    first = seconds(lambda: draw(one_batch), device)

    def measure() -> Row:
        drawn: list[Callable[[], Values]] = []
        taken = seconds(lambda: drawn.append(draw(asked)), device)
        metrics = seconds(drawn.pop(), device)
        if options.profiles:
            write_profile(options.profiles, cell, kernels(lambda: draw(one_batch), device))
        return {
            "what": cell.what,
            "images/s": round(options.samples / taken),
            "s of first batch": round(first, 1),
            "s of metrics": round(metrics, 1),
        }

    return measure


def all_cells(options: argparse.Namespace) -> list[Cell]:
    """What is measured, in order."""
    found = [
        Cell(f"scoring of {options.samples} images, {precision}, {way}", (precision, way))
        for way, precision in product(options.ways, options.precisions)
        if options.samples
    ]
    steps = list(product(options.ways, options.methods, options.batch_sizes, options.precisions))
    if options.others:
        beside = product(["replayed"], ["ect", *options.others], options.batch_sizes[:1], options.precisions[:1])
        steps += [cell for cell in beside if cell not in steps]
    return found + [
        Cell(f"{method}, batch {batch_size}, {precision}, {way}", (method, batch_size, precision, way))
        for way, method, batch_size, precision in steps
    ]


def work_on(options: argparse.Namespace, cell: Cell, pipe: Connection) -> None:
    """Prepare a cell in a process of its own, say so, and measure it when told to."""
    device = choose_device(argparse.Namespace(device=options.device, threads=None))
    with TemporaryDirectory() as folder:
        prepare = prepare_scoring if cell.what.startswith("scoring") else prepare_steps
        measure = prepare(options, device, cell, Path(folder))
        pipe.send("ready")
        pipe.recv()
        pipe.send(measure())


def cell_rows(options: argparse.Namespace, cells: list[Cell], until: float) -> Iterator[Row]:
    """Cells are prepared together, as compilation hardly needs the device, and measured one after another."""
    context = multiprocessing.get_context("spawn")
    for start in range(0, len(cells), options.together):
        part = cells[start : start + options.together]
        if time.monotonic() > until:
            print("\n".join(f"left out, no time: {cell.what}" for cell in part), flush=True)
            continue
        works = []
        for cell in part:
            ours, theirs = context.Pipe()
            process = context.Process(target=work_on, args=(options, cell, theirs))
            process.start()
            theirs.close()
            works.append((cell, process, ours))
        answered = {cell.what: answer(ours, until) for cell, _, ours in works}
        for cell, process, _ in works:
            if answered[cell.what] != "ready":
                process.terminate()  # else it would go on beside the measurements
        for cell, _, ours in works:
            row = None
            if answered[cell.what] == "ready":
                ours.send("go")
                row = answer(ours, time.monotonic() + 60)
            if isinstance(row, dict):
                yield row
            else:
                print(f"failed, or not ready in time: {cell.what}", flush=True)
        for _, process, _ in works:
            process.terminate()
            process.join()


def answer(pipe: Connection, until: float) -> Row | str | None:
    """What a process says until then; None: nothing, or it failed."""
    try:
        found: Row | str | None = pipe.recv() if pipe.poll(max(0.0, until - time.monotonic())) else None
    except EOFError:
        return None
    return found


def job_rows(options: argparse.Namespace, device: torch.device, late: Callable[[], bool]) -> Iterator[Row]:
    """Whole jobs of a few iterations: start-up with an empty and a full cache, and GPUs that share a batch."""
    run = next(run for run in plan_of(options.size, options.precisions[0], []).trained if run.label == "ECT")
    size = max(options.batch_sizes)
    record = replace(run.record, batch_size=size)
    gpus = torch.cuda.device_count() if device.type == "cuda" else 1
    compiled = "replayed, compiled" in options.ways
    cells = [(1, "--compile=never", f"a job of {options.steps} iterations")]
    if gpus > 1:
        cells.append((gpus, "--compile=never", f"the same by {gpus} GPUs"))
    if compiled:
        cells += [(1, "--compile", f"the same, compiled, {cache}") for cache in ("cold", "warm")]
    with TemporaryDirectory() as folder:
        root = Path(folder) / "runs" / record.dataset.name
        step_time.prepare(run, root)
        write_text(root / record.name / "run.yaml", record.text)
        for processes, how, what in cells:
            if late():
                print(f"left out, no time: {what}", flush=True)
                continue
            shutil.rmtree(root / record.name / "states", ignore_errors=True)
            command = [sys.executable, "-m", "ayt", "train", str(root / record.name / "run.yaml"), how]
            command += ["--stop", str(options.steps), "--log-every", str(max(1, options.steps // 2)), "--take-over"]
            command += ["--device", device.type]
            environment = {
                **os.environ,
                "AYT_RESULTS": folder,
                "TORCHINDUCTOR_CACHE_DIR": f"{folder}/cache",
                "WORLD_SIZE": str(processes),
                "LOCAL_WORLD_SIZE": str(processes),
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": "29533",
            }
            began = time.perf_counter()
            jobs = [
                subprocess.Popen(command, env={**environment, "RANK": str(rank), "LOCAL_RANK": str(rank)})
                for rank in range(processes)
            ]
            codes = [job.wait() for job in jobs]
            if any(codes):
                print(f"failed: {what}", flush=True)
                continue
            last = paths.training_log(root / record.name, options.steps).read_text().splitlines()
            rate = float(last[-1].split(",")[last[0].split(",").index("images_per_second")])
            taken = round(time.perf_counter() - began, 1)
            yield {"what": f"{what}, ect, batch {size}, {options.precisions[0]}", "images/s": round(rate), "s": taken}


def about(device: torch.device) -> Row:
    found: Row = {"date": str(date.today()), "device": device_name(device), "torch": torch.__version__}
    if device.type == "cuda":
        query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        found["driver"] = subprocess.run(query, capture_output=True, text=True, check=True).stdout.split()[0]
        found["CUDA"] = str(torch.version.cuda)
        found["cuDNN"] = int(torch.backends.cudnn.version() or 0)
    return found


def table(rows: list[Row]) -> str:
    columns = list(dict.fromkeys(key for row in rows for key in row))
    lines = [columns, ["---"] * len(columns), *([str(row.get(key, "")) for key in columns] for row in rows)]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def compare(rows: list[Row], baseline: Path) -> list[Row]:
    """Each row's numbers divided by those of the baseline row with the same name."""
    before = {row["what"]: row for row in json.loads(baseline.read_text())["rows"]}
    return [
        {"what": row["what"]}
        | {
            key: round(value / before[row["what"]][key], 3)
            for key, value in row.items()
            if key != "what" and before[row["what"]].get(key)
        }
        for row in rows
        if row["what"] in before
    ]


def main() -> None:
    options = parse()
    device = choose_device(argparse.Namespace(device=options.device, threads=None))
    began = time.monotonic()
    described = about(device)
    print(", ".join(f"{key} {value}" for key, value in described.items()), flush=True)
    rows: list[Row] = []

    def late() -> bool:
        return time.monotonic() - began > 60 * options.minutes

    measured = [cell_rows(options, all_cells(options), began + 60 * options.minutes)]
    measured += [] if options.no_jobs else [job_rows(options, device, late)]
    for row in chain.from_iterable(measured):
        rows.append(row)
        print(json.dumps(row), flush=True)
    print("\n" + table(rows))
    if options.baseline:
        print(f"\nas multiples of {options.baseline.name}:\n\n{table(compare(rows, options.baseline))}")
    if options.output:
        stem = options.output / f"{described['date']}-gpu"
        stem.with_suffix(".json").write_text(json.dumps({"about": described, "rows": rows}, indent=2) + "\n")
        heading = ", ".join(f"{key} {value}" for key, value in described.items())
        stem.with_suffix(".md").write_text(f"{heading}\n\n{table(rows)}\n")


if __name__ == "__main__":
    main()
