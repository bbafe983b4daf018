"""Iterations from places that stay the same, as a GPU replays them: the same bits as one by one, for every method."""

from pathlib import Path

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from ayt.base import paths, weights
from ayt.base.errors import UserError
from ayt.base.images import Images
from ayt.base.processes import ALONE
from ayt.base.randomness import Draws, derived_seed
from ayt.base.recorded import NotRecordableError, Recorded
from ayt.base.streaming import place_data
from ayt.cli.common import explain_memory_errors
from ayt.cli.training import LOWER
from ayt.experiment import load
from ayt.methods.base import METHODS
from ayt.methods.formulas.schedules import ramp, stage_at
from ayt.networks.modules.precond import EDMPrecond
from ayt.plan.plan import Plan
from ayt.plan.runs import Snapshot
from ayt.training import work
from ayt.training.iteration import Passes
from ayt.training.recording import Trainer, hindrance
from ayt.training.state import Optimiser, TrainingState

CPU = torch.device("cpu")
TINY = Path(__file__).parents[1] / "experiments" / "tiny.yaml"
NAMES = [name for name in METHODS.kinds if name != "lpips"]  # whose network must be downloaded
CHANGING = {
    "hybrid": {"ramp": 12},
    "sct": {"tangent_warmup": 12},
    "scd": {"adaptive": False},
    "ect": {"stage_iterations": 12},
}


@pytest.fixture(scope="module")
def plan():
    methods = {name: CHANGING.get(name, {}) for name in NAMES}
    training = {"iterations": 20, "segment": 20, "snapshot_every": 20, "dropout": 0.2, "ema": 0.9}
    classifiers = {"reconstruction": {"task": "reconstruction", "widths": [8, 8], "blocks": 1, "batch_size": 16}}
    overrides = {"network": {"channels": 8}, "classifiers": classifiers, "training": training, "batch_sizes": [4, 18]}
    return Plan(load([TINY], {**overrides, "methods": methods}))


def with_weights(run, root):
    """Fresh weights where a run expects those that it starts from and looks through."""
    for upstream in run.record.upstream.values():
        assert isinstance(upstream, Snapshot)
        path = paths.snapshot(root / upstream.run.name, upstream.iteration)
        if not path.exists():
            torch.manual_seed(0)
            network = work.build_network(upstream.run)
            weights.write(path, "snapshot", upstream.run.name, upstream.iteration, network.state_dict())


def trainer(run, root, replays, parts=1, device=CPU, compiled=False):
    """The training of a run on networks with fresh weights."""
    with_weights(run, root)
    network, called, objective, auxiliary = work.prepare(run.record, root / run.name, device, compiled=compiled)
    state = TrainingState(network, Optimiser.of(run.record.training), run.name, auxiliary=auxiliary)
    size = run.record.batch_size
    cuts = [slice(start, min(start + -(-size // parts), size)) for start in range(0, size, -(-size // parts))]
    data = Images.of(run.record.dataset.load()).to(device)
    return Trainer(state, Passes(objective, cuts, called), run.record, data, replays)


def run_of(plan, name, batch_size=4):
    found = [run for run in plan.trained if run.record.training.name == name]
    return next(run for run in found if run.record.batch_size == batch_size)


@pytest.mark.parametrize(("name", "parts"), [*((name, 1) for name in NAMES), ("hybrid", 3)])
def test_the_same_bits_as_one_by_one(plan, tmp_path, name, parts):
    run = run_of(plan, name, 18 if parts > 1 else 4)  # parts that share a chunk of 16 images, and another chunk
    plainly, recorded = (trainer(run, tmp_path, replays, parts) for replays in (False, True))
    for _ in range(20):
        expected = [float(value) for value in plainly.advance()]
        assert [float(value) for value in recorded.advance()] == expected
    assert recorded.replays
    pairs = zip(plainly.state.parameters, recorded.state.parameters, strict=True)
    assert all(torch.equal(ours, theirs) for ours, theirs in pairs)


def test_several_averages_are_those_of_one_by_one(tmp_path):
    ema = [0.9, {"power": 0.1}, {"power": 0.05}]
    training = {"iterations": 20, "segment": 20, "snapshot_every": 20, "ema": ema}
    several = Plan(load([TINY], {"network": {"channels": 8}, "training": training, "batch_sizes": [4]}))
    run = run_of(several, "ect")
    plainly, recorded = (trainer(run, tmp_path, replays) for replays in (False, True))
    for _ in range(20):
        plainly.advance()
        recorded.advance()
    for averages in zip(plainly.state.averages, recorded.state.averages, strict=True):
        for average, other in zip(*(network.parameters() for network in averages), strict=True):
            torch.testing.assert_close(average, other, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("replays", [False, True])
def test_the_same_bits_from_data_that_stays_on_the_host(plan, tmp_path, replays):
    run = run_of(plan, "ect")
    whole, streamed = (trainer(run, tmp_path, replays) for _ in range(2))
    data = place_data(streamed.data, CPU, "host")
    streamed = Trainer(streamed.state, streamed.passes, run.record, data, replays)
    for _ in range(4):
        assert [float(value) for value in streamed.advance()] == [float(value) for value in whole.advance()]


def test_an_iteration_never_asks_the_host(plan, tmp_path):
    for name in ("ayt", "tcm"):
        trained = trainer(run_of(plan, name), tmp_path, replays=True)
        trained.advance()
        with Unasked():
            trained.advance()


class Casts(TorchDispatchMode):
    """Counts how often each of some tensors is turned into bfloat16."""

    def __init__(self, tensors):
        super().__init__()
        self.found = {tensor.data_ptr(): 0 for tensor in tensors}

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function is torch.ops.aten._foreach_copy_.default:
            sources = [source for target, source in zip(*args[:2], strict=True) if target.dtype == torch.bfloat16]
        else:
            casts = function is torch.ops.aten._to_copy.default and (kwargs or {}).get("dtype") == torch.bfloat16
            sources = [args[0]] if casts else []
        for source in sources:
            if source.data_ptr() in self.found:
                self.found[source.data_ptr()] += 1
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("parts", [1, 2])
def test_weights_are_cast_to_bfloat16_once_for_all_passes(tmp_path, parts, monkeypatch):
    """With the bits of autocast, which casts them in every pass."""
    changes = {"network": {"channels": 8}, "methods": {"ect": {}}, "training": {"precision": "bf16"}}
    run = Plan(load([TINY], {**changes, "batch_sizes": [32]})).trained[0]
    once = trainer(run, tmp_path, replays=True, parts=parts)
    once.advance()
    layers = [m for m in once.state.network.modules() if isinstance(m, torch.nn.Conv2d | torch.nn.Linear)]
    with Casts([weight for layer in layers for weight in layer.parameters()]) as casts:
        once.advance()
    assert set(casts.found.values()) == {parts}
    monkeypatch.setattr(EDMPrecond, "cast_weights", lambda self: {})
    by_autocast = trainer(run, tmp_path, replays=False, parts=parts)
    by_autocast.advance(), by_autocast.advance()
    pairs = zip(once.state.parameters, by_autocast.state.parameters, strict=True)
    assert all(torch.equal(ours, theirs) for ours, theirs in pairs)


def test_what_cannot_be_recorded_is_done_one_by_one(plan, tmp_path, capsys):
    run = run_of(plan, "ect")
    plainly, recorded = (trainer(run, tmp_path, replays) for replays in (False, True))
    for trained in (plainly, recorded):
        objective = trained.passes.objective
        odd = lambda images, labels, draws, objective=objective: objective(  # noqa: E731
            images if draws.iteration % 2 else -images, labels, draws
        )
        trained.passes = Passes(odd, trained.passes.parts, trained.passes.called)
        for _ in range(3):
            trained.advance()
    assert not recorded.replays
    assert recorded.state.iteration == 3
    pairs = zip(plainly.state.parameters, recorded.state.parameters, strict=True)
    assert all(torch.equal(ours, theirs) for ours, theirs in pairs)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"{run.name}: iterations are done one by one: the iteration's number is used")


def test_classifiers_and_cpus_are_not_recorded(plan):
    classifier, method = plan.classifier("transformations").record, run_of(plan, "ect").record
    assert hindrance(method, CPU, ALONE) == "CUDA alone records"
    assert hindrance(method, torch.device("cuda"), ALONE) is None
    assert "--replay=never" in hindrance(method, torch.device("cuda"), ALONE, wanted=False)
    assert "asks the host" in hindrance(classifier, torch.device("cuda"), ALONE)


def test_a_recorded_number_knows_what_depends_on_it():
    recorded = Recorded(CPU, 3)
    draws = Draws(5, recorded, 20, CPU, slice(0, 20))
    first = (draws.normal("noise", 2), stage_at(recorded, 10), ramp(recorded, 40))
    assert [source.initial_seed() for source in recorded.generators] == [
        derived_seed(5, 3, f"noise, chunk {number}") for number in (0, 1)
    ]
    assert torch.equal(first[0], Draws(5, 3, 20, CPU).normal("noise", 2))
    assert (first[1], float(first[2])) == (0, pytest.approx(0.1))
    assert recorded.move(4)
    assert float(first[2]) == 0.125
    assert torch.equal(draws.normal("noise", 2), Draws(5, 4, 20, CPU).normal("noise", 2))
    assert not recorded.move(10)
    for use in (
        lambda: recorded + 1,
        lambda: recorded < 3,
        lambda: f"{recorded}",
        lambda: int(recorded),
        lambda: 2**recorded,
    ):
        with pytest.raises(NotRecordableError):
            use()
    with pytest.raises(NotRecordableError, match="in a varying order"):
        draws.normal("another noise", 2)


class Unasked(TorchDispatchMode):
    """Fails where the host asks for a number, or a tensor goes to another device."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        assert function is not torch.ops.aten._local_scalar_dense.default
        assert function is not torch.ops.aten.nonzero.default
        assert "device" not in (kwargs or {}) or function is not torch.ops.aten._to_copy.default
        return function(*args, **(kwargs or {}))


def test_memory_that_runs_out_is_told_with_what_to_lower():
    too_little = pytest.raises(
        UserError, match=r"^run: cuda:1 has too little memory for it; lower execution.microbatch"
    )
    with too_little, explain_memory_errors("run", torch.device("cuda:1"), LOWER):
        raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate 20 GiB")
