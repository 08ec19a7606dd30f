"""Functions of elements, alone and in pairs, of every type, against torch."""

from __future__ import annotations

import math

import pytest
import torch
from lowered import Of, capture, check, lower, run
from torch.nn import functional as F

UNARY = [
    torch.abs, torch.neg, torch.sign, torch.exp, torch.expm1, torch.sin, torch.cos, torch.tan, torch.atan, torch.sinh,
    torch.cosh, torch.tanh, torch.sigmoid, F.logsigmoid, F.hardsigmoid, F.hardswish, F.silu, F.gelu, F.mish, F.relu,
    F.relu6, F.selu, F.softsign, F.tanhshrink, F.softplus, F.elu, F.celu, F.hardshrink, F.softshrink, F.leaky_relu,
    torch.square, torch.erf, torch.erfc, torch.exp2, torch.floor, torch.ceil, torch.round, torch.trunc, torch.frac,
    torch.reciprocal, torch.isnan, torch.isinf, torch.isfinite, torch.nan_to_num, torch.logical_not, F.hardtanh,
    F.rrelu, torch.relu_, torch.positive,
]  # fmt: skip
OF_POSITIVE = [torch.log, torch.log1p, torch.log2, torch.log10, torch.sqrt, torch.rsqrt, torch.logit]


def numbers(*shape: int, scale: float = 2.0) -> torch.Tensor:
    return torch.randn(shape) * scale


@pytest.mark.parametrize("function", UNARY, ids=lambda function: function.__name__)
def test_functions_of_one_element(function) -> None:
    check(lambda x: function(x + 0), (numbers(2, 5, 7),), (numbers(3, 1, 9),), (numbers(1, 16, 2),))


@pytest.mark.parametrize("function", OF_POSITIVE, ids=lambda function: function.__name__)
def test_functions_of_positive_numbers(function) -> None:
    check(function, (torch.rand(3, 5) * 0.9 + 0.05,), (torch.rand(1, 17) * 0.9 + 0.05,))


@pytest.mark.parametrize("function", [torch.asin, torch.acos])
def test_functions_of_sines(function) -> None:
    check(function, (torch.rand(3, 5) * 2 - 1,), (torch.rand(4, 1) * 2 - 1,))


def test_functions_of_what_is_no_finite_number() -> None:
    x = torch.tensor([math.nan, math.inf, -math.inf, 0.0, -0.0, 1e-40, 3.0])
    for function in (
        torch.exp,
        torch.tanh,
        torch.sigmoid,
        torch.relu,
        F.gelu,
        F.silu,
        torch.abs,
        torch.sqrt,
        torch.erf,
    ):
        check(function, (x,))


def test_functions_with_numbers() -> None:
    check(
        lambda x: (
            F.leaky_relu(x, 0.3), F.elu(x, 1.7), F.celu(x, 0.6), F.softplus(x, 2.0, 3.0), F.hardshrink(x, 0.8),
            F.softshrink(x, 0.2), F.threshold(x, 0.1, -3.0), F.hardtanh(x, -0.5, 2.0), x.clamp(min=-1),
            x.clamp(max=0.5),
            x.clamp(-0.3, 0.9), F.gelu(x, approximate="tanh"), torch.round(x, decimals=2), torch.round(x * 100,
                decimals=-1),
        ),
        (numbers(2, 9),), (numbers(5, 4),),
    )  # fmt: skip


def test_functions_of_integers() -> None:
    x = torch.randint(-9, 9, (3, 7))
    check(
        lambda x: (x.abs(), -x, x.sign(), x * x, F.relu(x), x.clamp(-2, 5), torch.exp(x), torch.sqrt(x.abs()),
                   torch.logical_not(x), x.float().floor(), x.floor()),
        (x,), (x[:, :2],),
    )  # fmt: skip


def test_functions_of_bools_have_the_type_of_torch() -> None:
    x = torch.rand(3, 7) > 0.4
    check(lambda x: (x.sign(), x.square(), torch.logical_not(x), x.float()), (x,), (x[:, :2],))


def test_the_hypotenuse_of_what_has_no_square() -> None:
    x = torch.tensor([0.0, -0.0, 1.0, -3.0, 1e-30, 1e30, -3e38, math.inf, -math.inf, math.nan])
    check(torch.hypot, (x[:, None], x[None]), (x[:6, None], x[None, 2:]))


def test_parametric_relu() -> None:
    for rank, channels in ((2, 5), (3, 5), (4, 5), (4, 1)):
        shape = (2, 5, 3, 4)[:rank]
        weight = torch.rand(channels) - 0.3
        check(lambda m, x: F.prelu(x, m.weight), (numbers(*shape),), (numbers(3, *shape[1:]),), weight=weight)


PAIRS = [torch.add, torch.sub, torch.mul, torch.div, torch.maximum, torch.minimum, torch.atan2, torch.remainder,
         torch.fmod, torch.rsub, torch.true_divide, torch.hypot]  # fmt: skip


@pytest.mark.parametrize("function", PAIRS, ids=lambda function: function.__name__)
def test_pairs_broadcast(function) -> None:
    check(
        lambda a, b: (function(a, b), function(a, b[:1]), function(a[0], b), function(a[:, :1], b[0]), function(a,
            b.sum()),
                      function(a[0, :, :1], b)),
        (numbers(2, 3, 4), numbers(2, 3, 4) + 0.1), (numbers(5, 1, 7), numbers(5, 1, 7) + 0.1),
    )  # fmt: skip


@pytest.mark.parametrize("mode", [None, "floor", "trunc"])
def test_division_rounds(mode: str | None) -> None:
    a, b = numbers(4, 6, scale=9.0), numbers(6) + 0.2
    i, j = torch.randint(-20, 20, (4, 6)), torch.tensor([1, -2, 3, -4, 5, 7])
    check(lambda a, b, i, j: (torch.div(a, b, rounding_mode=mode), torch.div(i, j, rounding_mode=mode), a // b, i // j,
                              i % j, torch.fmod(i, j)), (a, b, i, j))  # fmt: skip


def test_powers() -> None:
    x = torch.rand(3, 5) + 0.2
    check(lambda x, y: (x**2, x**3, x**0.5, x**-0.5, x**-1, x**1, x**2.5, x**y, 2**x, torch.pow(1.5, x)), (x, x * 3))


COMPARISONS = [torch.eq, torch.ne, torch.lt, torch.le, torch.gt, torch.ge]


@pytest.mark.parametrize("function", COMPARISONS, ids=lambda function: function.__name__)
def test_comparisons_of_every_type(function) -> None:
    a, b = torch.randint(-2, 3, (4, 5)), torch.randint(-2, 3, (5,))
    check(
        lambda a, b: (function(a, b), function(a.float(), b), function(a, 1), function(a.float(), 0.5),
                      function(a > 0, b > 0), function(a.int(), b), function(a > 0, b)),
        (a, b), (a[:1], b),
    )  # fmt: skip


def test_types_are_promoted_as_torch_does() -> None:
    f, i, b = numbers(3, 4), torch.randint(-5, 5, (3, 4)), torch.rand(3, 4) > 0.5
    check(
        lambda f, i, b: (
            f + i, i + f, i * b, f * b, i + 1, i + 1.5, i / 2, i / i.abs().clamp(min=1), b + b, b * b, b + 1, b * 2.5,
            i.int() + i, i - b.long(), 1 - b.float(), 2 - i, f + True, torch.maximum(i, i * -1), i.int() * 2.0,
        ),
        (f, i, b), (f[:1], i[:1], b[:1]),
    )  # fmt: skip


def test_logic() -> None:
    a, b = torch.rand(3, 4) > 0.5, torch.rand(4) > 0.5
    check(lambda a, b: (a & b, a | b, a ^ b, ~a, torch.logical_and(a, b), torch.logical_or(a, b.float()),
                        torch.logical_xor(a, b), torch.logical_not(b)), (a, b))  # fmt: skip


def test_where_and_masked_fill() -> None:
    x, y, m = numbers(3, 4), numbers(4), torch.rand(3, 1) > 0.5
    check(
        lambda x, y, m: (
            torch.where(m, x, y), torch.where(x > 0, x, 0.0), torch.where(m, 1.0, y), torch.where(x > y, x.long(), y),
            x.masked_fill(m, -1e9), x.masked_fill(x > 0, float("-inf")), x.masked_fill(m, y.sum()),
            torch.where(m, torch.tensor(2), 3),
        ),
        (x, y, m), (x[:2], y, m[:2]),
    )  # fmt: skip


def test_added_products_and_mixtures() -> None:
    x, y = numbers(3, 4), numbers(3, 4)
    check(lambda x, y: (torch.addcmul(x, y, y, value=0.5), torch.addcdiv(x, y, y.abs() + 1), torch.lerp(x, y, 0.3),
                        torch.add(x, y, alpha=2), torch.sub(x, y, alpha=0.5), torch.clamp(x, y - 1, y + 1)), (x,
                            y))  # fmt: skip


def test_casts() -> None:
    x = numbers(3, 4, scale=40.0)
    check(
        lambda x: (x.long(), x.int(), x.bool(), x.long().float(), (x > 0).float(), (x > 0).long(), x.type_as(x.long()),
                   x.to(torch.int32).to(torch.int64), x.to(x.dtype)),
        (x,),
    )  # fmt: skip


def test_sizes_as_numbers() -> None:
    check(
        lambda x: (x * x.shape[0], x / x.shape[-1], x + x.shape[0] * x.shape[1], x.sum() / x.numel(), x.shape[0] - x,
                   x / (x.shape[0] / x.shape[1])),
        (numbers(3, 4),), (numbers(2, 7),), (numbers(5, 1),),
    )  # fmt: skip


def test_logarithms_of_the_gamma_function() -> None:
    """Also at its poles, and where it is infinite or no number."""
    ends = torch.tensor([0.0, 1, 2, 3, -3, 1e-30, 1e8, torch.inf, torch.nan])
    for x in (torch.linspace(-9, 12, 2001), ends):
        captured = capture(Of(lambda x: (x.lgamma(), x.digamma())), (x[None],))
        for found, wanted in zip(run(lower(captured), (x[None],)), (x.lgamma(), x.digamma()), strict=True):
            assert torch.allclose(found[0], wanted, rtol=2e-5, atol=3e-6, equal_nan=True)
    check(lambda x: (torch.mvlgamma(x + 2, 3), torch.special.gammaln(x), torch.special.psi(x)), (x[None, 1:4],))


def test_products_with_logarithms() -> None:
    x = torch.tensor([[0.0, 1, 2, torch.nan, torch.inf], [0.5, 0, 3, 1, 2]])
    check(lambda x: (torch.xlogy(x, x.flip(0)), torch.xlogy(2, x), torch.xlogy(x, 3.0), torch.xlogy(0, x)), (x,))


def test_shifts_by_numbers() -> None:
    x = torch.tensor([[0, 1, -1, 7, -8, 1 << 20], [3, -3, 255, -256, 2, 5]])
    check(lambda x: (x << 3, x >> 2, (x.int() << 1) >> 3, torch.bitwise_left_shift(x, 2)), (x,), (x[:, :4],))
