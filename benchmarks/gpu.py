"""What a GPU makes of training steps and of scoring: milliseconds, kernels, memory, images a second.

Steps of the paper's networks on made-up weights: one by one, replayed as one CUDA graph, and compiled besides. Scoring
in one step through Inception with random weights. Tables go to standard output, as JSON and Markdown into --output.
Measurements that do not fit into --minutes are left out, and said to be.

    python benchmarks/gpu.py --output benchmarks/ --baseline EARLIER-gpu.json
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import date
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch.profiler import ProfilerActivity, profile

sys.path.insert(0, str(Path(__file__).parent))

import score
import step_time

from ayt.base.images import Images
from ayt.experiment import load
from ayt.plan.plan import Plan
from ayt.plan.runs import Run
from ayt.training import work
from ayt.training.iteration import Passes
from ayt.training.loop import peak_memory
from ayt.training.recording import WARM_UP, Trainer
from ayt.training.state import Optimiser, TrainingState, device_name

WAYS = {"one by one": (False, False), "replayed": (True, False), "replayed, compiled": (True, True)}
"""How steps are done: whether they are replayed, and compiled."""

Row = dict[str, str | int | float]


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", help="default: %(default)s")
    parser.add_argument(
        "--size", choices=step_time.SIZES, default="paper", help="whose networks (default: %(default)s)"
    )
    parser.add_argument("--methods", nargs="+", default=["ayt", "ect"], help="default: ayt ect")
    parser.add_argument("--batch-sizes", nargs="+", type=int, default=[16, 128], help="default: 16 128")
    parser.add_argument("--precisions", nargs="+", default=["tf32", "bf16"], help="default: tf32 bf16")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS), help="default: all")
    parser.add_argument("--steps", type=int, default=10, help="steps in each of 3 measurements (default: %(default)s)")
    parser.add_argument("--samples", type=int, default=5000, help="images to score; 0: none (default: %(default)s)")
    parser.add_argument("--minutes", type=float, default=6.0, help="begin nothing after that (default: %(default)s)")
    parser.add_argument("--output", type=Path, help="folder for DATE-gpu.json and DATE-gpu.md")
    parser.add_argument("--baseline", type=Path, help="an earlier JSON file: prints ratios to it")
    return parser.parse_args()


def plan_of(size: str, precision: str) -> Plan:
    overrides = step_time.WITHOUT_DOWNLOADS if size == "paper" else {}
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


def kernels(do: Callable[[], object], device: torch.device) -> int:
    """Kernels, copies and fills that the device ran; on a CPU the operations that PyTorch did."""
    on_gpu = device.type == "cuda"
    with profile(activities=[ProfilerActivity.CUDA if on_gpu else ProfilerActivity.CPU]) as seen:
        do()
        synchronise(device)
    events = seen.events() or []
    return sum(not on_gpu or event.device_type == torch.autograd.DeviceType.CUDA for event in events)


def measure_steps(trained: Trainer, steps: int, device: torch.device) -> Row:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    first = seconds(trained.advance, device)
    for _ in range(WARM_UP + 1):
        trained.advance()
    times = [seconds(lambda: [trained.advance() for _ in range(steps)], device) / steps for _ in range(3)]
    best = statistics.median(times)
    return {
        "ms": round(1e3 * best, 2),
        "images/s": round(trained.record.batch_size / best),
        "kernels": kernels(trained.advance, device),
        "GB at most": round(peak_memory(device) / 1e9, 2),
        "s of first step": round(first, 1),
    }


def step_rows(options: argparse.Namespace, device: torch.device, late: Callable[[], bool]) -> Iterator[Row]:
    plans = {precision: plan_of(options.size, precision) for precision in options.precisions}
    images = Images.of(next(iter(plans.values())).experiment.dataset.load()).to(device)
    # The quick ones first: compilation may take all the time there is.
    cells = product(options.ways, options.methods, options.batch_sizes, options.precisions)
    with TemporaryDirectory() as folder:
        for way, method, batch_size, precision in cells:
            what = f"{method}, batch {batch_size}, {precision}, {way}"
            run = next(run for run in plans[precision].trained if run.record.training.name == method)
            replays, compiled = WAYS[way]
            if late():
                print(f"left out, no time: {what}", flush=True)
                continue
            step_time.prepare(run, Path(folder))
            trained = trainer(run, batch_size, Path(folder), images, replays, compiled)
            row = {"what": what, **measure_steps(trained, options.steps, device)}
            if replays and not trained.replays:
                row["what"] = f"{what} (not recorded)"
            yield row
            del trained
            torch.compiler.reset()
            if device.type == "cuda":
                torch.cuda.empty_cache()


def scoring_row(options: argparse.Namespace, device: torch.device) -> Row:
    """Images a second from noise to Fréchet distance, after a batch that warms up."""
    channels = 128 if options.size == "paper" else 32
    settings = argparse.Namespace(channels=channels, inception=None, samples=options.samples, batch_size=500)
    here = Path.cwd()
    with TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            score.prepare(settings)
            score.score_here(argparse.Namespace(**{**vars(settings), "samples": min(500, options.samples)}), device)
            taken = seconds(lambda: score.score_here(settings, device), device)
        finally:
            os.chdir(here)
    return {"what": f"scoring of {options.samples} images, with its start", "images/s": round(options.samples / taken)}


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
    """Each row's numbers divided by those of the baseline's row of the same name."""
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
    device = torch.device(options.device)
    began = time.monotonic()
    described = about(device)
    print(", ".join(f"{key} {value}" for key, value in described.items()), flush=True)
    rows: list[Row] = []
    if options.samples:
        rows.append(scoring_row(options, device))
    for row in step_rows(options, device, lambda: time.monotonic() - began > 60 * options.minutes):
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
