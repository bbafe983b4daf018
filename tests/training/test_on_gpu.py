"""What only a GPU can show: iterations that are replayed, segments, precisions, memory that runs out."""

import os
import subprocess
import sys

import forked
import pytest
import torch
import torch.nn.functional as F
from recipe import golden, load_recipe
from test_recording import NAMES, TINY, plan, run_of, trainer, with_weights  # noqa: F401 - plan is a fixture

from ayt.base import paths, weights
from ayt.base.errors import UserError
from ayt.base.files import write_text
from ayt.base.images import Images
from ayt.base.progress import ProgressLine
from ayt.base.streaming import place_data
from ayt.cli.common import explain_memory_errors
from ayt.evaluation.extractors import Extractor
from ayt.evaluation.fixed_batches import FixedBatches
from ayt.evaluation.sampling import draw_samples
from ayt.evaluation.score import Scorer, compute_beside
from ayt.experiment import load
from ayt.metrics.formulas.feature_sets import FeatureSet
from ayt.networks.modules.ddpmpp import DDPMpp
from ayt.networks.modules.precond import EDMPrecond, bind
from ayt.plan.evaluations import Sampling, Score
from ayt.plan.plan import Plan
from ayt.plan.runs import Segment
from ayt.training.loop import train
from ayt.training.recording import Trainer
from ayt.training.work import build_denoiser

os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when CUDA starts

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")]

GPU = torch.device("cuda")


@pytest.fixture(autouse=True)
def deterministic():
    torch.use_deterministic_algorithms(True, warn_only=True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize(("tf32", "tolerance"), [(False, 1e-5), (True, 2e-3)])
def test_golden_numbers(tf32, tolerance, monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", tf32)
    arrays = golden("edm_unet_small_plain")
    network = load_recipe(EDMPrecond(DDPMpp(16, 1, 32, (1, 2), 1, (8,))), arrays["seed"]).to(GPU)
    network = network.to(memory_format=torch.channels_last)
    with torch.no_grad():
        D = network(arrays["x"].to(GPU), arrays["sigma"].to(GPU)).cpu()
    assert (D - arrays["D"]).norm() < tolerance * arrays["D"].norm()


@pytest.mark.parametrize(("name", "parts"), [*((name, 1) for name in NAMES), ("hybrid", 3)])
def test_replayed_as_one_by_one(plan, tmp_path, name, parts):  # noqa: F811
    run = run_of(plan, name, 18 if parts > 1 else 4)
    plainly, replayed = (trainer(run, tmp_path, replays, parts, GPU) for replays in (False, True))
    for _ in range(20):
        expected = [float(value) for value in plainly.advance()]
        assert [float(value) for value in replayed.advance()] == expected
    assert replayed.replays
    pairs = zip(plainly.state.parameters, replayed.state.parameters, strict=True)
    assert all(torch.equal(ours, theirs) for ours, theirs in pairs)


@pytest.mark.parametrize("name", ["ect", "ayt"])
def test_one_segment_two_and_again_same_bytes(plan, tmp_path, name):  # noqa: F811
    run = run_of(plan, name)
    found = []
    for root, segments in (("one", [(0, 20)]), ("again", [(0, 20)]), ("two", [(0, 9), (9, 20)])):
        with_weights(run, tmp_path / root)
        folder = tmp_path / root / run.name
        write_text(paths.run_record(folder), run.record.text)
        for start, stop in segments:
            data = Images.of(run.record.dataset.load())
            train(run.record, folder, Segment(start, stop, stop - start), data, GPU)
        found.append(weights.read(paths.snapshot(folder, 20), "snapshot")[0])
    for other in found[1:]:
        assert all(torch.equal(found[0][key], other[key]) for key in found[0])


def test_killed_and_resumed_same_bytes(plan, tmp_path):  # noqa: F811
    run = run_of(plan, "ayt")
    found = []
    for root in ("whole", "killed"):
        with_weights(run, tmp_path / root)
        folder = tmp_path / root / run.name
        write_text(paths.run_record(folder), run.record.text)
        command = [sys.executable, "-m", "ayt", "train", paths.run_record(folder), "--stop", "400"]
        command += ["--resume-seconds", "0.1", "--device", GPU.type]
        if root == "killed":
            with subprocess.Popen(command) as process:
                forked.wait_until((paths.resume_folder(folder) / "state.safetensors").exists)
                process.kill()
            assert not paths.snapshot(folder, 400).exists()
        done = subprocess.run([*command, "--take-over"], check=True, capture_output=True, text=True)
        assert ("resuming at iteration" in done.stderr) == (root == "killed")
        found.append(weights.read(paths.snapshot(folder, 400), "snapshot")[0])
    assert all(torch.equal(found[0][key], found[1][key]) for key in found[0])


def test_data_that_stays_on_the_host_gives_the_same_bits(plan, tmp_path):  # noqa: F811
    run = run_of(plan, "ect")
    whole, streamed = (trainer(run, tmp_path, True, 1, GPU) for _ in range(2))
    data = place_data(Images.of(run.record.dataset.load()), GPU, "host")
    streamed = Trainer(streamed.state, streamed.passes, run.record, data, True)
    for _ in range(20):
        expected = [float(value) for value in whole.advance()]
        assert [float(value) for value in streamed.advance()] == expected
    assert streamed.replays


def test_compiled_and_replayed_but_for_rounding(plan, tmp_path):  # noqa: F811
    run = run_of(plan, "ayt")
    plainly, compiled = (trainer(run, tmp_path, True, 1, GPU, compiled) for compiled in (False, True))
    before = [parameter.detach().clone() for parameter in plainly.state.parameters]
    for _ in range(6):
        plainly.advance(), compiled.advance()
    assert compiled.replays
    triples = list(zip(before, plainly.state.parameters, compiled.state.parameters, strict=True))
    moved = sum((ours - start).abs().sum() for start, ours, _ in triples)
    assert sum((ours - theirs).abs().sum() for _, ours, theirs in triples) < 1e-2 * moved


def test_images_do_not_depend_on_the_batch_size():
    torch.manual_seed(0)
    network = EDMPrecond(DDPMpp(16, 1, 32, (1, 2), 1, (8,))).to(GPU).eval()

    def sampled(labels):
        return bind(network, labels)

    def draw(places):
        return draw_samples(sampled, Sampling(mids=(), convention="ayt", seed=0), 0, places, (1, 16, 16), 0, GPU)

    together = draw(range(40))
    apart = torch.cat([draw(range(start, min(start + 7, 40))) for start in range(0, 40, 7)])
    assert (together - apart).norm() < 2e-3 * together.norm()


def test_scores_of_recorded_and_of_compiled_batches(tmp_path, monkeypatch):
    """Two snapshots after each other: as one by one, but for rounding, which pixels of 8 bits enlarge."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    run = Plan(load([TINY], {"network": {"channels": 32}})).trained[0].record
    networks = [load_recipe(build_denoiser(run), seed) for seed in (1, 2)]
    score = Score(run.name, Sampling((0.821,), "ayt", 0), 90, 2, Plan(load([TINY])).reference)
    real = FeatureSet(
        torch.zeros(16).double(), torch.eye(16).double(), torch.rand(50, 16, generator=torch.Generator().manual_seed(0))
    )
    extractor = Extractor(lambda images: F.avg_pool2d(images.float() / 255, 2).flatten(1), lambda features: features)

    def scores(batches):
        network = build_denoiser(run).to(GPU)
        (called, _), found = batches.denoiser(network), []
        with ProgressLine("scoring", 720) as line, compute_beside(GPU) as executor:
            scorer = Scorer(
                *(run.dataset, run.classes, extractor._replace(embed=batches.function(extractor.embed))),
                *(real.to(GPU), 40, GPU, line),
                beside=executor,
            )
            for other in networks:
                network.load_state_dict(other.state_dict())
                found.append(scorer.score(lambda labels: bind(network, labels, called=called), score))
        return [values() for values in found]

    expected = scores(FixedBatches(40))
    for batches in (FixedBatches(40, recorded=True), FixedBatches(40, compiled=True, recorded=True)):
        for ours, theirs in zip(scores(batches), expected, strict=True):
            assert {name: pytest.approx(values, rel=0.02, abs=0.02) for name, values in theirs.items()} == ours


def test_memory_that_runs_out_is_one_line():
    with (
        pytest.raises(UserError, match=r"^run: cuda has too little memory.*microbatch") as told,
        explain_memory_errors("run", GPU, "execution.microbatch"),
    ):
        torch.empty(2**50, dtype=torch.uint8, device=GPU)
    assert "\n" not in str(told.value)
