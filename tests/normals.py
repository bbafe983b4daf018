"""Standard normals that are the same to the last bit on every CPU, which ``torch.randn``'s are not."""

import math

import numpy as np
import torch


def rounded(*numbers):
    """The float32 nearest to each."""
    return np.float32(numbers).tolist()


# Cephes' polynomials for the logarithm, the sine and the cosine, highest power first.
LOGARITHM = rounded(
    0.070376836, -0.1151461, 0.116769984, -0.12420141, 0.14249323, -0.16668057, 0.20000714, -0.24999994, 0.3333333
)
SINE = rounded(-0.00019515296, 0.008332161, -0.16666655)
COSINE = rounded(2.4433157e-05, -0.0013887316, 0.041666646)
LN_2 = rounded(0.693359375, -0.00021219444)  # in two parts
QUARTER_PI = rounded(0.78515625, 0.00024187565, 3.774895e-08)  # in three parts
FOUR_OVER_PI, TWO_PI = rounded(4 / math.pi, 2 * math.pi)


def fused(a, b, c):
    """``a b + c``, rounded to float32 once."""
    return (a.double() * b + c).float()


def polynomial(x, first, *others):
    value = torch.full_like(x, first)
    for coefficient in others:
        value = fused(value, x, coefficient)
    return value


def logarithm(x):
    mantissa, exponent = torch.frexp(x)
    small = mantissa < 0.5**0.5
    x, exponent = torch.where(small, mantissa - 1 + mantissa, mantissa - 1), (exponent - small.int()).float()
    square = x * x
    y = fused(polynomial(x, *LOGARITHM) * x, square, exponent * LN_2[1])
    return fused(exponent, LN_2[0], x + fused(square, -0.5, y))


def cosine_and_sine(x):
    octant = (x * FOUR_OVER_PI).int() + 1 & ~1
    for part in QUARTER_PI:
        x = fused(octant.float(), -part, x)
    square = x * x
    cosine = 1 + fused(polynomial(square, *COSINE) * square, square, -0.5 * square)
    sine = fused(polynomial(square, *SINE) * square, x, x)
    swapped, lower, left = octant & 2 != 0, octant & 4 != 0, (octant + 2) & 4 != 0
    cosine, sine = torch.where(swapped, sine, cosine), torch.where(swapped, cosine, sine)
    return torch.where(left, -cosine, cosine), torch.where(lower, -sine, sine)


def box_muller(u):
    """Normals (N, 16) from uniforms (N, 16)."""
    radius = (-2 * logarithm(1 - u[:, :8])).double().sqrt().float()  # float32 roots depend on the CPU too
    cosine, sine = cosine_and_sine(u[:, 8:] * TWO_PI)
    return torch.cat([radius * cosine, radius * sine], 1)


def normals(shape, generator):
    """What ``torch.randn`` gives where CPUs have AVX2, as where the golden numbers were made."""
    count = math.prod(shape)
    if count < 16:
        return torch.randn(shape, generator=generator)
    n = torch.rand(count, generator=generator)
    for part in n[: count - count % 16].split(1 << 17):
        part.copy_(box_muller(part.view(-1, 16)).flatten())
    if count % 16:
        n[-16:] = box_muller(torch.rand(1, 16, generator=generator))
    return n.view(shape)
