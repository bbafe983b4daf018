"""What is scored: names of scores and of anchors, and what changes them."""

import pytest
from plans import cifar, config, plan, score_names

from ayt.base.errors import UserError
from ayt.plan import evaluations
from ayt.plan.evaluations import read_evaluation
from ayt.plan.missing import results


def denoising_names(plan):
    return [score.name for score in plan.denoising_scores_of("")]


@pytest.mark.parametrize(
    "change",
    [
        {"metrics": ["frechet", "kid"]},
        {"metrics": ["coverage"]},
        {"metrics": ["frechet", "lpips"]},
        {"denoise": [0.5]},
        {"grid": 100},
        {"batch_size": 7},
    ],
    ids=str,
)
def test_what_changes_no_score_changes_no_name(change):
    assert score_names(cifar(**change)) == score_names(cifar())


@pytest.mark.parametrize(
    "change",
    [
        {"samples": 64},
        {"repeats": 2},
        {"seed": 1},
        {"convention": "ect"},
        {"reference": "dataset"},
        {"precision": "bf16"},
    ],
    ids=str,
)
def test_what_changes_scores_changes_their_names(change):
    assert not set(score_names(cifar(**change))) & set(score_names(cifar()))


def test_the_precision_of_sampling_is_in_names_and_read_back(tmp_path):
    exact, low = (cifar(precision=precision, metrics=["frechet", "denoised_frechet"]) for precision in ("tf32", "bf16"))
    assert not set(denoising_names(exact)) & set(denoising_names(low))
    for made, expected in ((exact, "tf32"), (low, "bf16")):
        for record in [*made.scores_of("run"), *made.denoising_scores_of("run")]:
            (tmp_path / "record.yaml").write_text(record.text)
            assert ("bf16" in record.text) == (expected == "bf16")
            again = read_evaluation(tmp_path / "record.yaml")
            assert (again.precision, again.name) == (expected, record.name)
    (tmp_path / "record.yaml").write_text(record.text.replace("bf16", "fp16"))
    with pytest.raises(UserError, match=r"precision = 'fp16': unknown; choose from tf32, bf16"):
        read_evaluation(tmp_path / "record.yaml")


def test_as_many_real_features_are_kept_as_there_are_samples_up_to_a_bound():
    assert [cifar(samples=samples).reference.kept for samples in (64, 10_000, 50_000)] == [64, 10_000, 10_000]
    assert cifar(samples=20_000).reference.name == cifar().reference.name


def test_another_middle_time_is_another_score_of_two_steps(tiny):
    before, after = plan(tiny), plan(tiny, evaluation={"mids": {2: [0.5]}})
    assert [a == b for a, b in zip(score_names(before), score_names(after), strict=True)] == [True, False]


def test_each_noise_level_of_a_denoising_metric_is_a_score_of_its_own():
    metrics = ["frechet", "lpips", "denoised_frechet"]
    few, many = (cifar(metrics=metrics, denoise=levels) for levels in ([0.2], [0.2, 0.8]))
    assert [name.rpartition("-")[0] for name in denoising_names(many)] == [
        *("lpips-t0.2", "lpips-t0.8"),
        *("denoised_frechet-t0.2", "denoised_frechet-t0.8"),
    ]
    assert set(denoising_names(few)) < set(denoising_names(many))
    assert denoising_names(cifar()) == []


def test_another_version_of_the_evaluation_is_another_score(tiny, monkeypatch, tmp_path):
    score = plan(tiny).scores_of("run")[0]
    path = tmp_path / "record.yaml"
    path.write_text(score.text)
    monkeypatch.setattr(evaluations, "EVALUATION_VERSION", evaluations.EVALUATION_VERSION + 1)
    assert plan(tiny).scores_of("run")[0].name != score.name
    with pytest.raises(UserError, match=r"was written for version \d+; this is version \d+, whose results differ"):
        read_evaluation(path)


def test_another_first_metric_is_drawn_anew_another_order_of_the_others_is_not():
    first, second, third = (
        cifar(metrics=metrics).digest()
        for metrics in (["kid", "recall", "frechet"], ["recall", "kid", "frechet"], ["kid", "frechet", "recall"])
    )
    assert first != second
    assert first == third


# Anchors


def anchored(change=None, **evaluation):
    settings = {"checkpoint": "edm", "sampler": "heun", "steps": 18, **(change or {})}
    return cifar(**evaluation), config("batch_size_ablation", evaluation=evaluation, anchors={"a": settings})


def test_an_anchors_name_is_what_it_was_and_says_all_that_changes_its_scores():
    without, plan = anchored()
    anchor = plan.anchors["a"]
    assert anchor.name == "heun18-f2f4889d"
    assert "edm" in plan.checkpoints
    assert plan.checkpoint_use("edm") == ""
    assert set(plan.runs) == set(without.runs)
    assert plan.scores() == without.scores()
    assert (plan.digest() == without.digest(), plan.contents()[: len(without.contents())]) == (
        False,
        without.contents(),
    )
    same = ({"label": "EDM"}, {"iterations": 400_000})
    assert {anchored(change)[1].anchors["a"].name for change in same} == {anchor.name}
    others = ({"checkpoint": "other"}, {"steps": 9}, {"sampler": "consistency", "steps": 2})
    scored = (
        {"samples": 100},
        {"repeats": 1},
        {"seed": 1},
        {"precision": "bf16"},
        {"metrics": ["precision"]},
        {"features": "labels", "reference": "dataset"},
    )
    found = {anchored(change)[1].anchors["a"].name for change in others}
    found |= {anchored(**change)[1].anchors["a"].name for change in scored}
    assert len(found - {anchor.name}) == len(others) + len(scored) - 1  # precision is computed anyway


def test_the_start_may_be_an_anchor(tiny):
    found = plan(tiny, anchors={"start": {"sampler": "heun", "steps": 2}})
    assert found.anchors["start"].weights == found.pretrained.last
    assert found.anchors["start"].evaluations == 3
    assert found.checkpoints == []
    assert found.anchors["start"].path in results(found)  # removed, it is made again
