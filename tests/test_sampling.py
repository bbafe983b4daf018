"""Samplers against golden numbers."""

import torch
from recipe import golden

from ayt.sampling import euler, euler_levels, sample, to_uint8


def analytic(x, s):
    s = s[:, None, None, None]
    return x * 0.5 / (1 + s) + 0.1 * x.tanh() * s.cos()


def noises(arrays, count):
    latent = arrays["latent"]
    return torch.cat([latent[None], arrays["noise"][: count - 1].to(latent.dtype)])


def test_one_and_two_steps_of_both_conventions():
    arrays = golden("samplers")
    cases = {
        "ayt_euler1": ((), "ayt"),
        "ayt_em2": ((0.821,), "ayt"),
        "ect_1step": ((), "ect"),
        "ect_2step": ((0.821,), "ect"),
        "ect_3step": ((5.0, 0.5), "ect"),
    }
    for name, (mids, convention) in cases.items():
        ours = sample(analytic, noises(arrays, 1 + len(mids)), mids, convention)
        torch.testing.assert_close(ours, arrays[name].float(), atol=2e-5, rtol=1e-4, msg=lambda m, n=name: f"{n}: {m}")


def test_three_steps_follow_the_levels():
    arrays = golden("samplers")
    levels = arrays["ayt_em3_disc"].tolist()
    mids = sorted((level for level in levels if 0.002 < level < 79.9), reverse=True)
    ours = sample(analytic, noises(arrays, 1 + len(mids)), mids)
    torch.testing.assert_close(ours, arrays["ayt_em3"].float(), atol=2e-5, rtol=1e-4)


def test_many_step_euler():
    arrays = golden("samplers")
    theirs = arrays["ayt_euler4_disc"]
    torch.testing.assert_close(torch.tensor(euler_levels(4), dtype=theirs.dtype), theirs, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(euler(analytic, arrays["latent"], 4), arrays["ayt_euler4_auto"], atol=5e-5, rtol=1e-4)


def test_uint8():
    arrays = golden("uint8")
    assert torch.equal(to_uint8(arrays["x"]).permute(0, 2, 3, 1), arrays["img_nhwc"])
