"""Times t and r."""

import pytest
import torch
from recipe import golden

from ayt.methods.formulas.losses import weight
from ayt.methods.formulas.schedules import lognormal_t, ramp, stage_at, t_to_r

pytestmark = pytest.mark.golden


def test_r_and_weight_against_golden_numbers():
    arrays = golden("schedule")
    for precision in ("f32", "f64"):
        t = arrays[f"t_{precision}"]
        for i, q in enumerate(arrays["ayt_q"].double().tolist()):
            for j, stage in enumerate(arrays["ayt_stage"].tolist()):
                expected = arrays[f"ayt_r_sigmoid_{precision}"][i, j]
                r = t_to_r(t, q, int(stage))
                torch.testing.assert_close(r, expected, rtol=2e-7, atol=1e-9)
                # 1 / (t - r) divides by what the subtraction left: the exact r of the golden numbers goes in
                torch.testing.assert_close(weight(t, expected), arrays[f"ayt_w_sigmoid_{precision}"][i, j])
                constant = arrays[f"ect_r_const_{precision}"][i, j]
                torch.testing.assert_close(t_to_r(t, q, int(stage), n="const"), constant, rtol=2e-7, atol=1e-9)


def test_r_is_below_t_in_one_stage_at_q_256():
    t = golden("schedule")["t_f32"]
    r = t_to_r(t)
    assert (r > 0).all()
    assert (r < t).all()


def test_float32_cannot_tell_r_from_t_from_stage_3_on():
    t = golden("schedule")["t_f32"]
    assert (t_to_r(t, stage=2) < t).any()
    assert torch.equal(t_to_r(t, stage=3), t)


def test_t_is_lognormal():
    arrays = golden("schedule")
    t = lognormal_t(arrays["ayt_sample_z"])
    torch.testing.assert_close(t, arrays["ayt_sample_t"].to(t.dtype))
    torch.testing.assert_close(t_to_r(t), arrays["ayt_sample_r"].to(t.dtype))


def test_stages_against_golden_numbers():
    arrays = golden("schedule")
    length = int(arrays["ayt_stage_n_train_iter"]) // int(arrays["ayt_stage_n_stages"])
    ours = [stage_at(iteration, length) for iteration in arrays["ayt_stage_iteration"].tolist()]
    assert ours == arrays["ayt_stage_of_iteration"].tolist()


def test_stages_and_ramps():
    assert [stage_at(i, 10) for i in (0, 9, 10, 25)] == [0, 0, 1, 2]
    assert stage_at(10**6, None) == 0
    assert [ramp(i, 4) for i in (0, 1, 3, 9)] == [0.25, 0.5, 1, 1]
    assert ramp(0, 0) == 1


def test_ratios_limits_and_weights_of_tcm_against_golden_numbers():
    arrays = golden("schedule")
    cases = zip(*(arrays[f"tcm_{name}"].tolist() for name in ("q", "stage", "ratio_limit")), strict=True)
    for i, (q, stage, limit) in enumerate(cases):
        for precision, tolerance in (("f64", 1e-12), ("f32", 3e-7)):
            t, expected = arrays[f"t_{precision}"], arrays[f"tcm_r_{precision}"][i]
            r = t_to_r(t, q, stage, max_ratio=limit, min_r=1e-6)
            assert ((r - expected).abs() <= tolerance * t).all()
    t, r = arrays["tcm_cout_sigma"], arrays["tcm_cout_sigma"] / 2
    torch.testing.assert_close(weight(t, r, "c_out"), arrays["tcm_weight_cout"])
    torch.testing.assert_close(weight(t, r, "c_out_squared"), arrays["tcm_weight_cout_sq"])
    torch.testing.assert_close(weight(t, r, "root"), (2 / t).sqrt())
    assert weight(t, r, "one").eq(1).all()


def test_t_of_tcms_first_stage_against_golden_quantiles():
    arrays = golden("schedule")
    z = torch.special.ndtri(arrays["tcm_stage2_sample_quantile_levels"])
    t = lognormal_t(z, -1.1, 2.0, 0.002, 80.0)
    torch.testing.assert_close(t, arrays["tcm_stage1_exact_quantiles_t"], rtol=1e-9, atol=0)
    far = lognormal_t(torch.tensor([-9.0, 9.0]), -1.1, 2.0, 0.002, 80.0)
    torch.testing.assert_close(far, torch.tensor([0.002, 80.0]), rtol=1e-3, atol=0)
    assert lognormal_t(torch.tensor([9.0]), high=5.0) <= 5
    assert lognormal_t(torch.tensor([-9.0]), low=0.1) >= 0.0999
