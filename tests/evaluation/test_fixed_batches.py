"""Networks that a GPU records or compiles at one batch size: the same images, scores and snapshots as one by one."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from recipe import load_recipe

from ayt.base import paths, weights
from ayt.base.progress import ProgressLine
from ayt.evaluation.extractors import Extractor
from ayt.evaluation.fixed_batches import FixedBatches
from ayt.evaluation.sampling import draw_samples
from ayt.evaluation.score import Scorer
from ayt.evaluation.snapshots import Snapshots
from ayt.experiment import load
from ayt.metrics.formulas.feature_sets import FeatureSet, Gatherer
from ayt.networks.modules.precond import bind
from ayt.plan.evaluations import Sampling, Score
from ayt.plan.plan import Plan
from ayt.training.work import build_denoiser

CPU = torch.device("cpu")
TINY = Path(__file__).parents[1] / "experiments" / "tiny.yaml"
TWO_STEPS = Sampling(mids=(0.821,), convention="ayt", seed=0)
PLAIN, PLACES = FixedBatches(4), FixedBatches(4, recorded=True)


@pytest.fixture(scope="module")
def runs():
    """A run of ECT, and one of TCM, which is sampled with it."""
    changes = {"methods": {"ect": {}, "tcm": {}}, "network": {"channels": 16, "conditional": True}}
    return {run.record.training.name: run for run in Plan(load([TINY], changes)).trained}


@pytest.fixture(scope="module")
def root(runs, tmp_path_factory):
    """A folder with two snapshots of each run."""
    root = tmp_path_factory.mktemp("runs")
    for run in runs.values():
        for iteration in (2, run.iterations):
            state = load_recipe(build_denoiser(run.record), iteration).state_dict()
            path = paths.snapshot(root / run.name, iteration)
            weights.write(path, "snapshot", run.name, iteration, state)
    return root


def draw(run, root, batches, *iterations):
    """Ten images of the last of some snapshots that are loaded in turn; the last batch has two."""
    snapshots = Snapshots(run.record, root / run.name, CPU, batches)
    network, dataset = [snapshots.load(iteration) for iteration in iterations][-1], run.record.dataset
    parts = [range(0, 4), range(4, 8), range(8, 10)]
    classes = run.record.classes
    return [draw_samples(network, TWO_STEPS, 0, part, dataset.shape, classes, CPU) for part in parts]


@pytest.mark.parametrize("name", ["ect", "tcm"])
def test_snapshots_in_turn_give_the_images_that_they_give_alone(runs, root, name):
    run = runs[name]
    plain, placed = draw(run, root, PLAIN, run.iterations), draw(run, root, PLACES, 2, run.iterations)
    assert [len(part) for part in placed] == [4, 4, 2]
    torch.testing.assert_close(torch.cat(placed), torch.cat(plain), rtol=1e-5, atol=1e-5)
    others = torch.cat(draw(run, root, PLACES, 2))
    assert (others - torch.cat(plain)).norm() > 0.1 * others.norm()


@pytest.mark.parametrize("batches", [PLAIN, PLACES], ids=["plain", "places"])
def test_bfloat16_of_each_snapshot(runs, root, batches):
    run = runs["tcm"]  # sampled with two networks

    def drawn(precision, *iterations):
        snapshots = Snapshots(run.record, root / run.name, CPU, batches, precision=precision)
        network = [snapshots.load(iteration) for iteration in iterations][-1]
        return draw_samples(network, TWO_STEPS, 0, range(4), run.record.dataset.shape, run.record.classes, CPU)

    exact, low = drawn("tf32", 2), drawn("bf16", run.iterations, 2)
    assert 1e-4 * exact.norm() < (low - exact).norm() < 0.05 * exact.norm()
    assert torch.equal(low, drawn("bf16", 2))


def test_results_are_not_overwritten_and_fillings_have_no_effect():
    seen = []

    def add(x, y):
        seen.append(x.clone())
        return x.add_(y)  # a result that lies where the next one will

    function = PLACES.function(add)
    first = function(torch.ones(4, 3), torch.zeros(4, 3))
    last = function(torch.full((1, 3), 5.0), torch.ones(1, 3))
    assert torch.equal(first, torch.ones(4, 3))
    assert torch.equal(last, torch.full((1, 3), 6.0))
    assert [len(x) for x in seen] == [4, 4]
    assert torch.equal(seen[1], torch.full((4, 3), 5.0))
    assert PLAIN.function(add) is add


def embed(images):
    return torch.nn.functional.avg_pool2d(images.float() / 255, 2).flatten(1)


def test_scores_are_those_of_batches_of_any_size(runs):
    run = runs["ect"].record
    network = load_recipe(build_denoiser(run), 1)
    score = Score(run.name, TWO_STEPS, 10, 2, Plan(load([TINY])).reference)
    real = FeatureSet(torch.zeros(16).double(), torch.eye(16).double(), torch.rand(12, 16))
    extractor = Extractor(embed, lambda features: features)
    found = []
    with ProgressLine("scoring", 60) as line:
        plain = Scorer(run.dataset, run.classes, extractor, real, 4, CPU, line)
        for batches in (PLAIN, PLACES):
            scorer = replace(plain, extractor=extractor._replace(embed=batches.function(embed)))
            called, _ = batches.denoiser(network)
            found.append(scorer.score(lambda labels, called=called: bind(network, labels, called=called), score)())
    assert len(found[0]["frechet"]) == 2
    for name, values in found[0].items():
        assert found[1][name] == pytest.approx(values, rel=1e-4), name


def test_a_denoiser_and_a_classifier_are_compiled_whole(runs, monkeypatch):
    """No part is left to Python, and the second batch, of another size, needs no other compilation."""
    compile_whole, compilations = torch.compile, []

    def backend(graph, inputs):
        compilations.append(graph)
        return graph.forward

    monkeypatch.setattr(torch, "compile", lambda f, **how: compile_whole(f, fullgraph=True, backend=backend, **how))
    run = runs["ect"].record
    network, shape = load_recipe(build_denoiser(run), 1), run.dataset.shape
    called, _ = FixedBatches(4, compiled=True).denoiser(network)
    told = torch.nn.functional.one_hot(torch.arange(4), run.classes).float() if run.classes else None
    for count in (4, 3):
        x, sigma = torch.randn(count, *shape), torch.rand(count) + 0.1
        classes = told if told is None else told[:count]
        expected = network(x, sigma, class_labels=classes)
        torch.testing.assert_close(called(x, sigma, classes), expected, rtol=1e-5, atol=1e-5)
    assert len(compilations) == 1


def test_statistics_stay_on_the_device():
    gatherer = Gatherer(3, lambda features: features)
    for _ in range(2):
        gatherer.update(torch.empty(4, 8, device="meta"))  # whose numbers nobody can have
    found = gatherer.finish()
    assert {part.device.type for part in (found.mean, found.covariance, found.kept)} == {"meta"}
    assert found.kept.shape == (3, 8)
