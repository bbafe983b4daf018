"""RAdam and the average of the weights: torch's numbers in a few operations, and the states of older versions."""

import pytest
import torch
from recipe import golden
from torch.utils._python_dispatch import TorchDispatchMode

from ayt.base import weights
from ayt.training.radam import StepSizes, step_sizes
from ayt.training.state import MovingAverage, Optimiser, TrainingState, learning_rate, power_exponent

SETTINGS = Optimiser(lr=1e-2, warmup=20, decay=300, averages=(MovingAverage(0.9),))


def network():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(5, 7), torch.nn.SiLU(), torch.nn.Linear(7, 3))


def give_gradients(module, iteration):
    source = torch.Generator().manual_seed(iteration)
    for parameter in module.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=source)


def torchs(module, iterations):
    """torch's own RAdam and a plain average, for so many iterations; the optimiser and the averages."""
    optimiser = torch.optim.RAdam(module.parameters(), foreach=True)
    averages = [parameter.detach().clone() for parameter in module.parameters()]
    for iteration in range(iterations):
        give_gradients(module, iteration)
        optimiser.param_groups[0]["lr"] = learning_rate(iteration, SETTINGS)
        optimiser.step()
        for average, parameter in zip(averages, module.parameters(), strict=True):
            average.mul_(0.9).add_(parameter.detach(), alpha=1 - 0.9)
    return optimiser, averages


def ours(state, iterations):
    while state.iteration < iterations:
        give_gradients(state.network, state.iteration)
        state.step()
    return state


def test_it_is_torchs_radam_on_both_sides_of_the_threshold():
    assert [step_sizes(iteration, 1.0, ()).tractable for iteration in (0, 4, 5, 199)] == [False, False, True, True]
    for iterations in (1, 5, 6, 200):
        theirs = network()
        _, averages = torchs(theirs, iterations)
        state = ours(TrainingState(network(), SETTINGS, "run"), iterations)
        start = network()
        for name, parameter in state.network.named_parameters():
            expected = theirs.get_parameter(name)
            moved = (expected - start.get_parameter(name)).norm()
            assert (parameter - expected).norm() < 1e-5 * moved, (iterations, name)
        for average, expected in zip(state.average.parameters(), averages, strict=True):
            torch.testing.assert_close(average, expected, rtol=1e-5, atol=1e-7)


def test_weights_in_channels_last_are_updated_like_others():
    """PyTorch's fused Adam takes a weight's numbers in the order in which they lie: gradients must lie in the same."""
    fixed = torch.randn(4, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    trained = []
    for layout in (torch.contiguous_format, torch.channels_last):
        torch.manual_seed(0)
        state = TrainingState(torch.nn.Conv2d(3, 4, 2).to(memory_format=layout), SETTINGS, "run")
        for _ in range(10):
            state.zero_grad()
            (state.network.weight * fixed).square().sum().backward()
            state.step()
        assert state.network.weight.is_contiguous(memory_format=layout)
        trained.append(state.network.weight.detach())
    assert torch.equal(*trained)


def test_states_of_older_versions_load(tmp_path):
    """They hold what torch's RAdam did, with a step count for each tensor."""
    theirs = network()
    optimiser, averages = torchs(theirs, 20)
    tensors = {f"network.{name}": tensor for name, tensor in theirs.state_dict().items()}
    for (name, parameter), average in zip(theirs.named_parameters(), averages, strict=True):
        tensors[f"average.{name}"] = average
        tensors |= {f"optimiser.{key}.{name}": value for key, value in optimiser.state[parameter].items()}
    weights.write(tmp_path / "state.safetensors", "state", "run", 20, tensors)
    state = TrainingState(network(), SETTINGS, "run")
    state.load(tmp_path / "state.safetensors")
    went_on = ours(state, 40)
    expected = network()
    torchs(expected, 40)
    for parameter, other in zip(went_on.network.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(parameter, other, rtol=1e-5, atol=1e-6)


POWER = SETTINGS._replace(averages=(MovingAverage(gamma=6.94),))
SEVERAL = SETTINGS._replace(averages=(MovingAverage(0.9), MovingAverage(gamma=6.94), MovingAverage(0.5)))


@pytest.mark.golden
def test_power_averages_and_falling_rates_against_golden_numbers():
    arrays = golden("tcm_ema_lr")
    falling = Optimiser(lr=1e-3, warmup=0, decay=None, root_decay=2000)
    iterations = arrays["iteration"].tolist()
    found = [1 - MovingAverage(gamma=16.97).share(iteration - 1) for iteration in iterations]
    assert found == pytest.approx(arrays["beta_gamma_16p97"].tolist(), rel=1e-12, abs=1e-15)
    found = [learning_rate(iteration, falling) for iteration in iterations]
    assert found == pytest.approx(arrays["lr_ref_1e3_decay2000"].tolist(), rel=1e-12)
    exponents = [power_exponent(width) for width in (0.01, 0.05, 0.1)]
    assert exponents == pytest.approx([96.99, 16.97, 6.94], abs=0.005)


def test_a_power_average_is_that_of_its_profile_and_goes_on_where_it_stopped(tmp_path):
    state, seen = TrainingState(network(), POWER, "run"), []
    for iterations in range(1, 31):
        ours(state, iterations)
        seen.append(next(state.network.parameters()).detach().clone())
        if iterations == 12:
            state.save(tmp_path / "state.safetensors")
    # Weights of the profile by its definition: the k-th gets (k / n)^(gamma + 1) - ((k - 1) / n)^(gamma + 1).
    ends = (torch.arange(31, dtype=torch.float64) / 30) ** (6.94 + 1)
    expected = sum(share * weight for share, weight in zip(ends.diff().tolist(), seen, strict=True))
    torch.testing.assert_close(next(state.average.parameters()), expected, rtol=1e-4, atol=1e-6)
    resumed = TrainingState(network(), POWER, "run")
    resumed.load(tmp_path / "state.safetensors")
    for average, other in zip(ours(resumed, 30).average.parameters(), state.average.parameters(), strict=True):
        assert torch.equal(average, other)


def test_several_averages_of_one_training_are_those_of_separate_ones(tmp_path):
    state = ours(TrainingState(network(), SEVERAL, "run"), 12)
    state.save(tmp_path / "state.safetensors")
    resumed = TrainingState(network(), SEVERAL, "run")
    resumed.load(tmp_path / "state.safetensors")
    for together in (ours(state, 30), ours(resumed, 30)):
        for average, settings in zip(together.averages, SEVERAL.averages, strict=True):
            alone = ours(TrainingState(network(), SETTINGS._replace(averages=(settings,)), "run"), 30)
            for parameter, other in zip(average.parameters(), alone.average.parameters(), strict=True):
                assert torch.equal(parameter, other)
    assert together.average is together.averages[0]


@pytest.mark.parametrize("settings", [SETTINGS, POWER, SEVERAL], ids=["constant", "power", "several"])
def test_step_sizes_may_be_tensors_that_are_filled(settings):
    """A recorded iteration is replayed with other numbers: the same bits as with Python's."""
    plainly, filled = (TrainingState(network(), settings, "run") for _ in range(2))
    step, *shares = (torch.zeros(()) for _ in plainly.step_sizes().numbers)
    for iteration in range(20):
        sizes = StepSizes(step, tuple(shares), plainly.step_sizes().tractable)
        for tensor, value in zip(sizes.numbers, plainly.step_sizes().numbers, strict=True):
            tensor.fill_(value)
        for state in (plainly, filled):
            give_gradients(state.network, iteration)
        plainly.step()
        filled.apply(sizes)
    for parameter, other in zip(plainly.network.parameters(), filled.network.parameters(), strict=True):
        assert torch.equal(parameter, other)
    for averages in zip(plainly.averages, filled.averages, strict=True):
        for average, other in zip(*(each.parameters() for each in averages), strict=True):
            torch.testing.assert_close(average, other, rtol=1e-6, atol=1e-7)


def test_its_operations_do_not_grow_with_the_network():
    counts = []
    for layers in (1, 20):
        module = torch.nn.Sequential(*(torch.nn.Linear(3, 3) for _ in range(layers)))
        state = TrainingState(module, SETTINGS, "run")
        give_gradients(module, 0)
        with Counted() as counted:
            state.step()
        counts.append(counted.number)
    assert counts[0] == counts[1] <= 60


class Counted(TorchDispatchMode):
    """Counts the operations that PyTorch is asked for."""

    number = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.number += 1
        return function(*args, **(kwargs or {}))
