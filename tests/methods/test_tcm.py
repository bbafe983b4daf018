"""The second stage of truncated consistency models: golden numbers, and a run of it from a run of the first."""

import pytest
import torch
from conftest import ROOT
from recipe import golden
from torch import nn

from ayt.base import paths, weights
from ayt.base.errors import UserError
from ayt.base.files import write_text
from ayt.base.images import Images
from ayt.base.randomness import Draws
from ayt.evaluation.sampling import sample
from ayt.experiment import load
from ayt.methods.formulas.losses import average, consistency_pair, ect_loss, l2, pseudo_huber, weight
from ayt.methods.formulas.schedules import t_to_r
from ayt.methods.formulas.truncation import (
    TruncatedStudentT,
    boundary_samples,
    combine,
    select,
    separate_means,
)
from ayt.operations.release import export, load_sampled
from ayt.plan.plan import Plan
from ayt.plan.runs import Segment, read_run
from ayt.reporting.costs import read_costs
from ayt.training.loop import train
from ayt.training.work import load_denoiser, work_of

CPU = torch.device("cpu")


class Analytic(nn.Module):
    """net(x, t) = a x 0.5 / (1 + t) + b tanh(x) cos(t), in float32."""

    def __init__(self, a, b):
        super().__init__()
        self.a, self.b = nn.Parameter(torch.tensor(float(a))), float(b)

    def forward(self, x, t):
        x, t = x.float(), t.float()[:, None, None, None]
        return self.a * x * (0.5 / (1 + t)) + self.b * x.tanh() * t.cos()


@pytest.fixture
def arrays():
    return golden("tcm_loss")


@pytest.fixture
def networks(arrays):
    return [Analytic(arrays[f"{name}_a"], arrays[f"{name}_b"]) for name in ("student", "teacher")]


@pytest.mark.golden
def test_draws_of_t():
    arrays = golden("schedule")
    parameters = arrays["tcm_t_params_mu_sigma_lo_hi_df"].tolist()
    for (mean, std, low, high, df), expected in zip(parameters, arrays["tcm_t_logt"], strict=True):
        draw = TruncatedStudentT(df, mean, std, low, high)
        torch.testing.assert_close(draw.log_t(arrays["tcm_t_u"]), expected, rtol=0, atol=1e-10)
        extremes = draw(torch.tensor([-12.0, 0.0, 12.0]))
        assert extremes[[0, 2]].tolist() == pytest.approx([low, high], rel=1e-6)
        torch.testing.assert_close(extremes[1].log().double(), expected[len(expected) // 2], rtol=1e-3, atol=1e-6)
    levels = torch.special.ndtri(arrays["tcm_stage2_sample_quantile_levels"])
    drawn = TruncatedStudentT(0.01, 0.0, 0.2, 1.0, 80.0)(levels)
    torch.testing.assert_close(drawn, arrays["tcm_stage2_sample_quantiles_t"], rtol=0.03, atol=0)


@pytest.mark.golden
def test_two_networks_as_one(arrays, networks):
    for D in (combine(*networks, 1.0), select(*networks, 1.0)):
        found = D(arrays["pre_x"], arrays["pre_t"])
        torch.testing.assert_close(found.detach(), arrays["pre_out"], rtol=1e-6, atol=1e-7)
    for t in (0.3, 3.0):  # below t' and above it only one is asked
        asked = [nn.Identity(), networks[1]] if t < 1 else [networks[0], nn.Identity()]
        x, times = arrays["pre_x"], torch.full((6,), t)
        torch.testing.assert_close(combine(*asked, 1.0)(x, times), networks[t < 1](x, times))


def distance_of(arrays, i):
    """The distance (B,) of a configuration: pseudo-Huber, or the squared norm."""
    c = float(arrays["conf_c"][i])
    squared = c == 0 and not arrays["conf_sqrt"][i]
    return l2 if squared else lambda D_t, D_r: pseudo_huber(D_t, D_r, c)


@pytest.mark.golden
@pytest.mark.parametrize("i", range(4))
def test_second_stages_loss(arrays, networks, i):
    y, eps, size, share = arrays["y"], arrays["eps"], len(arrays["y"]), float(arrays["boundary_prob"])
    ranks = torch.empty(size, dtype=torch.long)
    ranks[arrays["perm"]] = torch.arange(size)
    is_boundary = boundary_samples(ranks, size, share)
    assert torch.equal(is_boundary.long(), arrays["boundary_mask"])
    log_t = TruncatedStudentT(0.01, 0.0, 0.2, 1.0, 80.0).log_t(arrays["u"])
    t = log_t.exp().masked_fill(is_boundary, 1.0)
    torch.testing.assert_close(t, arrays["t"], rtol=2e-8, atol=0)
    stage, limit, q = int(arrays["conf_stage"][i]), float(arrays["conf_ratio_limit"][i]), float(arrays["conf_q"][i])
    r = t_to_r(t, q, stage, max_ratio=limit, min_r=1e-6)
    if i == 0:
        torch.testing.assert_close(r, arrays["c0_r"], rtol=2e-8, atol=0)
    student, teacher = networks
    D_t, D_r = consistency_pair(student, y, t, r, eps, select(student, teacher, 1.0))
    distances = distance_of(arrays, i)(D_t, D_r)
    w = weight(t, r, "difference" if i < 2 else "c_out_squared")
    torch.testing.assert_close(distances[~is_boundary].detach(), arrays[f"c{i}_loss_unweighted"], rtol=2e-5, atol=1e-6)
    losses = (w * distances).detach()
    torch.testing.assert_close(losses[~is_boundary], arrays[f"c{i}_loss"], rtol=2e-5, atol=1e-6)
    torch.testing.assert_close(losses[is_boundary], arrays[f"c{i}_loss_boundary"], rtol=2e-5, atol=1e-6)
    total = average(separate_means(w, is_boundary, size, share, float(arrays["w_boundary"])) * distances, size)
    torch.testing.assert_close(total.detach(), arrays[f"c{i}_total"], rtol=1e-5, atol=0)
    total.backward()
    torch.testing.assert_close(student.a.grad, arrays[f"c{i}_grad_student_a"], rtol=2e-4, atol=0)


@pytest.mark.golden
@pytest.mark.parametrize(
    ("i", "stage", "settings", "weighting"),
    [
        (0, 0, {"q": 2.0}, "difference"),
        (1, 0, {"q": 1000.0}, "difference"),
        (2, 2, {"q": 4.0}, "c_out_squared"),
    ],
)
def test_first_stages_loss(arrays, networks, i, stage, settings, weighting):
    t, student = arrays[f"s1_{i}_t"], networks[0]
    r = t_to_r(t, stage=stage, max_ratio=0.999, min_r=1e-6, **settings)
    torch.testing.assert_close(r, arrays[f"s1_{i}_r"], rtol=1e-7, atol=1e-12)
    D_t, D_r = consistency_pair(student, arrays["y"], t, r, arrays["eps"])
    loss = ect_loss(float(arrays[f"s1_{i}_c"]))(D_t, D_r, weight(t, r, weighting), 0).loss
    torch.testing.assert_close(loss.detach(), arrays[f"s1_{i}_loss"].mean(), rtol=1e-4, atol=0)
    loss.backward()
    torch.testing.assert_close(student.a.grad, arrays[f"s1_{i}_grad_a"], rtol=2e-3, atol=0)


def test_no_boundary_samples_leave_one_mean():
    w, none = torch.rand(5), boundary_samples(torch.arange(5), 5, 0.1)
    torch.testing.assert_close(separate_means(w, none, 5, 0.1, 0.1), w)


def test_ranks_of_a_part_are_the_wholes():
    whole = Draws(3, 7, 37, CPU)
    ranks = whole.ranks("boundary")
    assert sorted(ranks.tolist()) == list(range(37))
    assert ranks.tolist() != Draws(3, 8, 37, CPU).ranks("boundary").tolist()
    assert torch.equal(Draws(3, 7, 37, CPU, slice(5, 20)).ranks("boundary"), ranks[5:20])


STAGES = {
    "methods": {
        "ect": {"q": 2.0, "stage_iterations": 2, "max_ratio": 0.99, "t_min": 0.002, "t_max": 80.0, "min_r": 1e-6},
        "tcm": {"boundary_share": 0.5},
    },
    "training": {"iterations": 4, "segment": 4, "snapshot_every": 2, "dropout": 0.2},
    "batch_sizes": [8],
    "figures": {},
}


def make(root, run, *segments, **options):
    """Train a run below a folder as the workflow does."""
    folder = root / run.folder
    write_text(paths.run_record(folder), run.record.text)
    for segment in segments or run.segments:
        train(run.record, folder, segment, Images.of(run.record.dataset.load()), CPU, **options)
    return folder


@pytest.fixture(scope="module")
def plan():
    return Plan(load([ROOT / "tests" / "experiments" / "tiny.yaml"], STAGES))


@pytest.fixture(scope="module")
def stages(plan):
    """The runs of the first and of the second stage."""
    runs = dict(plan.methods_and_runs())
    return runs["ect"], runs["tcm"]


@pytest.fixture(scope="module")
def finished(plan, stages, tmp_path_factory):
    """A folder in which both stages were trained."""
    root = tmp_path_factory.mktemp("tcm")
    for run in (plan.pretrained, *stages):
        make(root, run)
    return root


def after_the_first_stage(root, finished, plan, stages):
    """A folder in which the first stage alone was trained."""
    for run in (plan.pretrained, stages[0]):
        (root / run.folder).parent.mkdir(parents=True, exist_ok=True)
        (root / run.folder).symlink_to(finished / run.folder)
    return root


def test_the_second_stage_starts_from_the_first(plan, stages, finished, monkeypatch):
    ect, tcm = stages
    assert tcm.record.upstream["start"].run is ect.record
    assert tcm.record.sampling_inputs == [paths.snapshot(ect.folder, 4)]
    assert list(plan.runs).index(ect.name) < list(plan.runs).index(tcm.name)
    assert read_run(finished / tcm.folder / "run.yaml").name == tcm.name
    monkeypatch.chdir(finished)
    costs = read_costs(plan).set_index("label")
    assert costs["start_hours"]["TCM"] == pytest.approx(costs["total_hours"]["ECT"])


def test_cut_into_segments_and_parts_it_is_the_same(plan, stages, finished, tmp_path):
    first, tcm = stages
    cut = make(after_the_first_stage(tmp_path / "cut", finished, plan, stages), tcm, Segment(0, 2, 2), Segment(2, 4, 2))
    assert paths.snapshot(cut, 4).read_bytes() == paths.snapshot(finished / tcm.folder, 4).read_bytes()
    parts = make(after_the_first_stage(tmp_path / "parts", finished, plan, stages), tcm, microbatch=3)
    in_parts, expected, before = (
        weights.read(paths.snapshot(folder, 4), "snapshot")[0]
        for folder in (parts, finished / tcm.folder, finished / first.folder)
    )
    moved = sum((expected[name] - before[name]).abs().sum() for name in expected)
    assert moved > 0
    assert sum((expected[name] - in_parts[name]).abs().sum() for name in expected) < 2e-3 * moved


def test_samples_use_both_networks_and_so_does_an_export(stages, finished, tmp_path, monkeypatch):
    monkeypatch.chdir(finished)
    ect, tcm = stages
    student, teacher = (load_denoiser(run.record, paths.snapshot(run.folder, 4)) for run in (tcm, ect))
    D = tcm.record.training.sampled_denoiser(work_of(tcm.record, tcm.folder, CPU, student))(None)
    x = torch.randn(2, 1, 8, 8)
    for t, network in ((0.5, teacher), (1.0, student), (2.0, student)):
        levels = torch.full((2,), t)
        torch.testing.assert_close(D(x, levels), network(x, levels))
    assert not torch.allclose(student(x, levels), teacher(x, levels))
    export(paths.run_record(tcm.folder), 4, tmp_path / "release", tmp_path / "none.yaml")
    monkeypatch.chdir(tmp_path)
    exported, _ = load_sampled("release")
    noise = torch.randn(2, 2, 1, 8, 8)
    torch.testing.assert_close(sample(exported(None), noise, [0.5]), sample(D, noise, [0.5]))


MISTAKES = {
    "no first stage": ({"teacher": "ctm"}, "tcm.teacher = 'ctm': unknown method; choose from ect, ayt"),
    "itself": ({"teacher": "tcm"}, "tcm.teacher = 'tcm': is the method itself"),
    "another batch size": ({"batch_sizes": [16]}, "teacher_batch_size: ect has no run with batch size 16; choose"),
    "another seed": ({"teacher_seed": 3}, "tcm.teacher_seed = 3: ect has no run with seed 3; choose from 0"),
    "no such snapshot": ({"teacher_iteration": 3}, "teacher_iteration = 3: ect has snapshots every 2 iterations up to"),
    "t' above all": ({"t_boundary": 90.0}, "methods.tcm: t_boundary 90 must lie between 0.002 and t_max 80"),
    "t' below all": ({"t_boundary": 0.001}, "methods.tcm: t_boundary 0.001 must lie between 0.002 and"),
    "draws below t'": ({"t_min": 0.1}, "methods.tcm: t_min 0.1: noise levels are drawn from t_boundary 1 on"),
    "r above t": ({"min_r": 2.0}, "methods.tcm: min_r 2 must lie below t_boundary 1"),
    "no boundary sample": ({"boundary_share": 0.1}, "boundary_share = 0.1: no sample of a batch of 8 would be"),
    "no classifier": ({"distance": "features", "classifier": "mine"}, "tcm.classifier = 'mine': unknown classifier"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_wrong_second_stage_is_one_line(tiny, mistake):
    options, expected = MISTAKES[mistake]
    methods = {"ect": {}, "ayt": {}, "tcm": {"boundary_share": 0.5, **options}}
    with pytest.raises(UserError) as caught:
        load([tiny], {"methods": methods, "batch_sizes": [8]})
    (line,) = str(caught.value).splitlines()
    assert expected in line


def test_without_any_first_stage_there_are_none_to_choose_from(tiny, tmp_path):
    alone = tmp_path / "alone.yaml"
    alone.write_text(tiny.read_text().replace("  ect:\n  ayt:\n", "  tcm: {boundary_share: 0.5}\n"))
    with pytest.raises(UserError, match=r"tcm\.teacher = 'ect': unknown method; there are none to choose from"):
        load([alone])


def test_a_first_stage_of_two_networks_or_of_several_variants_is_refused(tiny):
    methods = {"tcm": {"boundary_share": 0.5}, "more": {"loss": "tcm", "teacher": "tcm", "boundary_share": 0.5}}
    with pytest.raises(UserError, match=r"more\.teacher = 'tcm': is tcm, itself of two networks"):
        load([tiny], {"methods": methods, "batch_sizes": [8]})
    swept = {"ect": {"lr": [1e-3, 1e-4]}, "tcm": {"boundary_share": 0.5}}
    with pytest.raises(UserError, match=r"tcm\.teacher = 'ect': is swept into 2 methods"):
        load([tiny], {"methods": swept, "batch_sizes": [8]})


def test_truncated_ayt(tiny):
    """AYT as the first stage, its distance in the second."""
    methods = {"ayt": {}, "tcm": {"teacher": "ayt", "distance": "features", "boundary_share": 0.5}}
    plan = Plan(load([tiny], {"methods": methods, "batch_sizes": [8]}))
    run = next(run for name, run in plan.methods_and_runs() if name == "tcm")
    assert {role: weights.run.training.name for role, weights in run.record.upstream.items()} == {
        "start": "ayt",
        "classifier": "classifier",
    }
