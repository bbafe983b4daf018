"""How many operations a step is: a GPU needs a few microseconds for each, however small the batch."""

import pytest
from conftest import ROOT
from test_recording import trainer
from torch.utils._python_dispatch import TorchDispatchMode

from ayt.experiment import load
from ayt.networks.modules import ddpmpp
from ayt.plan.plan import Plan

# The paper's networks, as deep as there, with fewer channels, on images that need no download.
CHANGES = {
    "dataset": "photos",
    "network": {"channels": 16},
    "classifiers": {"transformations": {"widths": [8, 8, 8, 8, 8]}},
    "start": {"checkpoint": None},
    "methods": {"ect": {}, "ayt": {}},
    "batch_sizes": [2],
    "evaluation": {"features": "labels", "reference": "dataset"},
    "figures": [],
    "tables": [],
}


class Counted(TorchDispatchMode):
    """Counts operations; those that give another view of the same numbers start nothing on a GPU."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.count += not function.is_view
        return function(*args, **(kwargs or {}))


@pytest.fixture(scope="module")
def runs():
    plan = Plan(load([ROOT / "config" / "batch_size_ablation.yaml"], CHANGES))
    return {run.record.training.name: run for run in plan.trained}


# Measured: 5,382 and 5,640, whatever the width of the networks. On an H100, 2,028 and 2,167 kernels once compiled.
@pytest.mark.parametrize(("name", "most"), [("ect", 5430), ("ayt", 5690)])
def test_operations_of_a_step_of_the_papers_networks(runs, tmp_path, monkeypatch, name, most):
    monkeypatch.setattr(ddpmpp, "LAYOUT_FREE_ON", {"cpu"})  # as on CUDA
    trained = trainer(runs[name], tmp_path, replays=False)
    with Counted() as whole:
        trained.advance()
    trained.state.iteration = 10  # in its first iterations, RAdam does something else
    with Counted() as optimiser:
        trained.state.apply(trained.state.step_sizes())
    assert whole.count <= most
    assert optimiser.count <= 20
