"""ECT beside a discriminator: gradients by hand, and runs in which two networks are trained."""

import pytest
import torch

from ayt.analysis.oscillation import train_further
from ayt.base import paths, weights
from ayt.base.errors import UserError
from ayt.base.files import write_text
from ayt.base.images import Images
from ayt.base.processes import Processes
from ayt.base.randomness import Draws
from ayt.experiment import load
from ayt.methods.formulas.adversarial import discriminator_loss, generator_loss
from ayt.methods.formulas.losses import LossOutput, consistency_pair, ect_loss
from ayt.networks.modules.precond import bind
from ayt.operations.disk import bytes_left
from ayt.plan.plan import Plan
from ayt.plan.runs import Segment, Snapshot, read_run
from ayt.training.iteration import Passes, iterate
from ayt.training.loop import train
from ayt.training.state import Optimiser, TrainingState
from ayt.training.work import load_denoiser, prepare

CPU = torch.device("cpu")


class Linear(torch.nn.Module):
    """C(x) = <a, x> + b."""

    def __init__(self):
        super().__init__()
        self.a = torch.nn.Parameter(torch.randn(12, dtype=torch.float64))
        self.b = torch.nn.Parameter(torch.tensor(0.3, dtype=torch.float64))

    def forward(self, x):
        return (x.flatten(1) @ self.a + self.b)[:, None]


@pytest.fixture
def pair():
    torch.manual_seed(0)
    D_t, D_r = torch.randn(2, 5, 3, 2, 2, dtype=torch.float64)
    return D_t.requires_grad_(), D_r, torch.rand(5, dtype=torch.float64) + 0.5, Linear()


def test_the_gradient_of_both_by_hand(pair):
    D_t, D_r, w, C = pair
    found = generator_loss(D_t, D_r, w, C, 0.0, 0.1, lambda sums: sums)
    found.loss.backward()
    apart = (D_t - D_r).detach()
    lengths = apart.flatten(1).norm(dim=1)
    g = (w / lengths)[:, None, None, None] * apart / 5
    falls = torch.sigmoid(-C(D_t.detach())).detach()  # of softplus(-C), against C
    g_adv = -(falls * C.a.detach()).view_as(g) / 5
    lambda_ = 0.1 * g.abs().mean() / (g_adv.abs().mean() + 1e-5)
    torch.testing.assert_close(D_t.grad, g + lambda_ * g_adv)
    torch.testing.assert_close(found.loss.detach(), (w * lengths).mean())
    torch.testing.assert_close(found.distance, lengths.mean())
    assert C.a.grad is None


def test_the_discriminators_loss_by_hand(pair):
    fake, real, _, C = pair
    loss = discriminator_loss(C, real, fake, 10.0)
    loss.backward()
    a, b = C.a.detach(), C.b.detach()
    of_real, of_fake = ((x.detach().flatten(1) @ a) + b for x in (real, fake))
    expected = torch.log1p(torch.exp(-of_real)) + torch.log1p(torch.exp(of_fake)) + 10 * a.square().sum()
    torch.testing.assert_close(loss.detach(), expected.mean())
    moves = torch.sigmoid(of_fake)[:, None] * fake.detach().flatten(1)
    moves -= torch.sigmoid(-of_real)[:, None] * real.flatten(1)
    torch.testing.assert_close(C.a.grad, moves.mean(0) + 20 * a)
    assert fake.grad is None


def test_shares_of_a_batch_have_the_whole_ones_gradient(pair):
    D_t, D_r, w, C = pair
    seen = []
    generator_loss(D_t, D_r, w, C, 0.0, 0.1, lambda sums: seen.append(sums) or sums).loss.backward()
    whole, D_t.grad = D_t.grad, None
    losses = [
        generator_loss(D_t[part], D_r[part], w[part], C, 0.0, 0.1, lambda sums: sums.copy_(seen[0]), 5).loss
        for part in (slice(0, 2), slice(2, 5))
    ]
    sum(losses).backward()
    torch.testing.assert_close(D_t.grad, whole)


PLAIN = {"widths": [8, 8], "convs": [1, 1], "batch_norm": False}


def plan_of(tiny, more=(), **overrides):
    training = {"iterations": 4, "segment": 4, "snapshot_every": 2, "dropout": 0.2, "lr": 1e-3}
    methods = {"adversarial": dict(more)}
    return Plan(load([tiny], {"methods": methods, "training": training, "batch_sizes": [6], **overrides}))


def run_of(plan):
    return dict(plan.methods_and_runs())["adversarial"]


def make(plan, run, root, *segments, **options):
    """The folder of a run that is trained here, after what it starts from."""
    folder = root / run.name
    if "start" in run.record.upstream and not (root / plan.pretrained.name).exists():
        make(plan, plan.pretrained, root)
    write_text(paths.run_record(folder), run.record.text)
    for segment in segments or run.segments:
        train(run.record, folder, segment, Images.of(run.record.dataset.load()), CPU, **options)
    return folder


def test_a_run_trains_both_and_its_snapshots_are_denoisers(tiny, tmp_path):
    plan = plan_of(tiny)
    run = run_of(plan)
    assert list(run.record.upstream) == ["start"]
    assert plan.experiment.classifiers["transformations"].network == run.record.auxiliary["discriminator"]
    asked = bytes_left(plan)[run.name]
    folder = make(plan, run, tmp_path)
    assert read_run(folder / "run.yaml").name == run.name
    cut = make(plan, run, tmp_path / "cut", Segment(0, 2, 2), Segment(2, 4, 2))
    assert paths.snapshot(cut, 4).read_bytes() == paths.snapshot(folder, 4).read_bytes()
    early, late, again = (weights.read(paths.state(*of), "state")[0] for of in ((cut, 2), (cut, 4), (folder, 4)))
    assert all(torch.equal(late[name], again[name]) for name in late)
    beside = [name for name in late if name.startswith("auxiliary.discriminator.layers.") and late[name].ndim == 4]
    assert len(beside) == 2
    assert not any(torch.equal(early[name], late[name]) for name in beside)
    assert {f"optimiser.{key}.{beside[0]}" for key in ("exp_avg", "exp_avg_sq")} < set(late)
    assert all(torch.isfinite(tensor).all() for tensor in late.values())
    network = load_denoiser(run.record, paths.snapshot(folder, 4))
    assert set(network.state_dict()) == set(weights.read(paths.snapshot(folder, 4), "snapshot")[0])
    wrote = sum(path.stat().st_size for path in (*folder.rglob("0*.safetensors"),))
    assert wrote == pytest.approx(asked, rel=0.1)


def test_the_discriminator_moves_the_denoiser(tiny, tmp_path):
    found = []
    for share in (1e-9, 1.0):
        plan = plan_of(tiny, {"share": share})
        folder = make(plan, run_of(plan), tmp_path / str(share))
        found.append(weights.read(paths.snapshot(folder, 4), "snapshot")[0])
    start = weights.read(paths.snapshot(tmp_path / "1.0" / plan.pretrained.name, 8), "snapshot")[0]
    moved, apart = (sum((found[0][name] - other[name]).abs().sum() for name in start) for other in (start, found[1]))
    assert apart > 0.01 * moved > 0


def test_an_analysis_trains_on_as_the_run_did(tiny, tmp_path, monkeypatch):
    plan = plan_of(tiny)
    run = run_of(plan)
    folder = make(plan, run, tmp_path, Segment(0, 2, 2), Segment(2, 4, 2))
    monkeypatch.setattr(type(run.record), "folder", folder)
    *_, state = train_further(Snapshot(run.record, 2), 2, Images.of(run.record.dataset.load()))
    expected = weights.read(paths.state(folder, 4), "state")[0]
    for name, tensor in state.auxiliary.state_dict().items():
        assert torch.equal(tensor, expected[f"auxiliary.{name}"])
    for name, tensor in state.network.state_dict().items():
        assert torch.equal(tensor, expected[f"network.{name}"])


def test_a_state_without_the_discriminator_is_refused(tiny, tmp_path):
    plan = plan_of(tiny)
    run = run_of(plan)
    folder = make(plan, run, tmp_path, Segment(0, 2, 2))
    state = paths.state(folder, 2)
    tensors, metadata = weights.read(state, "state")
    kept = {name: tensor for name, tensor in tensors.items() if not name.startswith("auxiliary.")}
    weights.write(state, "state", run.name, 2, kept, origin=metadata["origin"], commits=[])
    with pytest.raises(UserError, match=r"tensors missing for this network, first discriminator\.layers"):
        make(plan, run, tmp_path, Segment(2, 4, 2))


def test_a_gradient_beside_it_that_is_not_finite_shows():
    network, beside = torch.nn.Linear(12, 1), torch.nn.ModuleDict({"beside": torch.nn.Linear(12, 1)})
    state = TrainingState(network, Optimiser(lr=0.1, warmup=0, decay=None), "run", auxiliary=beside)

    def objective(images, labels, draws):
        loss = (network(images.flatten(1)) + beside["beside"](images.flatten(1))).mean()
        return LossOutput(loss, loss.detach())

    images, labels = torch.randn(4, 3, 2, 2), torch.zeros(4)
    found = []
    for gradient in (1.0, torch.inf):
        beside["beside"].weight.register_hook(lambda g, gradient=gradient: g * gradient)
        draws, sizes = Draws(0, 0, 4, CPU), state.step_sizes()
        loss, _, norm = iterate(state, Passes(objective, [slice(0, 4)]), images, labels, draws, sizes)
        assert loss.isfinite()
        found.append(bool(norm.isfinite()))
    assert found == [True, False]


def test_the_objective_is_both_losses_of_one_pair(tiny, tmp_path):
    plan = plan_of(tiny, {"discriminator": "plain", "c": 0.1}, classifiers={"plain": PLAIN})
    run = run_of(plan)
    make(plan, plan.pretrained, tmp_path)
    prepared = prepare(run.record, tmp_path / run.name, CPU)
    images, labels = Images.of(run.record.dataset.load()).batch(6, 0, 3)
    draws, method = Draws(0, 3, 6, CPU), run.record.training
    t = method.draw_t(draws)
    r, eps = method.pair_with(t, 0), draws.normal("noise", *images.shape[1:])
    D_t, D_r = consistency_pair(bind(prepared.network, labels, draws), images, t, r, eps)
    ect = ect_loss(0.1)(D_t, D_r, 1 / (t - r), 3)
    its_own = discriminator_loss(prepared.auxiliary["discriminator"], images, D_t, 10.0)
    found = prepared.objective(images, labels, draws)
    torch.testing.assert_close(found.loss, ect.loss + its_own)
    torch.testing.assert_close(found.distance, ect.distance)


def test_batches_that_cannot_be_cut_are_refused(tiny, tmp_path):
    run = run_of(plan_of(tiny))
    whole = Segment(0, 4, 4)
    with pytest.raises(UserError, match=r"--microbatch 4 \(execution.microbatch\): adversarial looks at the 6 images"):
        train(run.record, tmp_path, whole, None, CPU, microbatch=4)
    with pytest.raises(UserError, match="its discriminator has batch norm, which needs a whole batch: train in one"):
        train(run.record, tmp_path, whole, None, CPU, processes=Processes(0, 2))


MISTAKES = {
    "unknown": (
        {"discriminator": "mine"},
        {},
        "discriminator = 'mine': unknown classifier; choose from labels",
    ),
    "too deep": ({"discriminator": "deep"}, {}, "classifiers.deep.widths = [8, 8, 8, 8]: 4 halvings do not divide"),
    "in parts": (
        {},
        {"microbatch": 2},
        "execution.microbatch = 2: adversarial looks at the 6 images of a",
    ),
    "shared": ({}, {"processes": 2}, "adversarial.discriminator = 'transformations': has batch norm, which needs a"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_wrong_one_is_one_line(tiny, mistake):
    more, execution, expected = MISTAKES[mistake]
    classifiers = {"deep": {"widths": [8] * 4, "convs": [1] * 4}} if "deep" in more.values() else {}
    if execution.get("processes"):
        more = {"discriminator": "transformations"}
    with pytest.raises(UserError) as caught:
        plan_of(tiny, more, execution=execution, classifiers=classifiers, figures={}, tables={})
    (line,) = str(caught.value).splitlines()
    assert expected in line
    assert len(line) <= 300


def test_another_network_is_another_run(tiny):
    names = {
        run_of(plan_of(tiny, more, classifiers={"plain": PLAIN})).name
        for more in ({}, {"discriminator": "transformations"}, {"discriminator": "plain"}, {"penalty": 1.0})
    }
    assert len(names) == 3
