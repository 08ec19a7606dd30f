"""Sums, extremes, norms, softmax, sorting: over axes, against torch, at several sizes."""

from __future__ import annotations

import math

import pytest
import torch
from lowered import Of as Module
from lowered import capture, check, in_torch, lower
from torch import nn
from torch.nn import functional as F


def inputs() -> list[tuple[torch.Tensor]]:
    return [(torch.randn(shape),) for shape in ((2, 6, 4, 5), (3, 6, 7, 2), (1, 6, 1, 9))]


REDUCED = {
    "sum": lambda x: (x.sum(), x.sum(1), x.sum((0, 2)), x.sum(-1, keepdim=True), x.sum((1, 2, 3), keepdim=True)),
    "sums of other types": lambda x: ((x > 0).sum(), (x > 0).sum(1), x.long().sum((1, 2)), x.int().sum(-1)),
    "mean": lambda x: (x.mean(), x.mean(1), x.mean((2, 3)), x.mean((-1, -2), keepdim=True), (x > 0).float().mean(0)),
    "extremes": lambda x: (x.max(), x.min(), x.amax(1), x.amin((2, 3), keepdim=True), x.long().amax(1),
                           x.aminmax(dim=1)),
    "extremes and places": lambda x: (*x.max(1), *x.min(-1, keepdim=True), *x.long().max(1)),
    "places": lambda x: (x.argmax(), x.argmin(1), x.argmax(-1, keepdim=True), x.long().argmax(1),
                         x.argmax(keepdim=True)),
    "extremes of int32": lambda x: (x.int().max(), x.int().amin((2, 3), keepdim=True), *x.int().max(1), x.int().min()),
    "bools in order": lambda x: (*(x > 0).sort(dim=1, stable=True), (x > 0)[..., 0].sort(1)[0],
                                 (x > 1).argsort(dim=2, descending=True, stable=True)),
    "products": lambda x: (x.prod(1), x.prod(-1, keepdim=True), x[0, 0].prod()),
    "any and all": lambda x: ((x > 2).any(), (x > 0).all(1), (x > 1).any(-1, keepdim=True), x.long().any(1),
                              (x > 0).all((1, 2)),
                              (x > 0).amax(1), torch.count_nonzero(x > 0, 1)),
    "norms": lambda x: (x.norm(), x.norm(dim=1), torch.linalg.vector_norm(x, 1, (2, 3)), F.normalize(x, dim=1),
                        x.norm(p=3, dim=1, keepdim=True), torch.linalg.vector_norm(x, math.inf, 1),
                        torch.linalg.vector_norm(x, -math.inf, 1), torch.linalg.vector_norm(x, 0, 1),
                        x.flatten(1).norm(dim=1)),
    "variances": lambda x: (x.var(1), x.var((2, 3), unbiased=False), x.std(1, keepdim=True), x.var(correction=2),
                            *torch.var_mean(x, 1),
                            torch.std(x, (0, 1), correction=0)),
    "sums so far": lambda x: (x.cumsum(1), x.cumsum(-1), (x > 0).cumsum(2), x.long().cumsum(0), x[0, 0, 0].cumsum(0)),
    "logsumexp": lambda x: (x.logsumexp(1), x.logsumexp((2, 3), keepdim=True), (x * 100).logsumexp(-1)),
    "softmax": lambda x: (x.softmax(1), x.softmax(-1), x.log_softmax(1), F.softmin(x, 2), F.softmax(x.long(), 1,
        dtype=torch.float32),
                          (x * 50).softmax(-1), x[0, 0, 0, 0].softmax(0)),
    "top k": lambda x: (*x.topk(3, 1), *x.topk(2, 1, largest=False), *x.topk(x.shape[1] - 2, 1)),
    "sort": lambda x: (*x.sort(1), *x.sort(1, descending=True), x.argsort(1), x.msort(), *torch.sort((x * 2).long(),
        1)),
    "cosine similarity": lambda x: (F.cosine_similarity(x, x.flip(1), dim=1), torch.logsumexp(x, 1)),
    "layer norm": lambda x: (F.layer_norm(x.permute(0, 2, 3, 1), (6,)), F.layer_norm(x.transpose(1, 3), (6,),
        eps=1e-3)),
    "group norm": lambda x: (F.group_norm(x, 3), F.group_norm(x.flatten(2), 2), F.group_norm(x, 6, eps=1e-2)),
    "rms norm": lambda x: F.rms_norm(x.movedim(1, -1), (6,)),
}  # fmt: skip


@pytest.mark.parametrize("name", REDUCED)
def test_reductions(name: str) -> None:
    calls = inputs()[:2] if name in ("variances", "rms norm") else inputs()
    check(REDUCED[name], *calls)


def test_reductions_of_single_numbers() -> None:
    check(lambda x: (x.sum(0).sum(), x.mean().mean(), x.sum().max(), x.sum().norm(), x.sum().softmax(0),
                     x.max().argmax()),
          (torch.randn(5),), (torch.randn(3),))  # fmt: skip


def test_rows_of_minus_infinity() -> None:
    x = torch.randn(3, 4)
    x[1] = -math.inf
    x[2, 1:] = -math.inf
    check(lambda x: (x.softmax(-1), torch.ops.aten._safe_softmax.default(x, -1), x.logsumexp(-1), x.amax(-1)), (x,))


def test_not_a_number_wins() -> None:
    x = torch.tensor([[1.0, math.nan, 3.0], [4.0, 5.0, 6.0]])
    check(lambda x: (x.amax(1), x.argmax(1), x.max(1)[0], x.amin(0)), (x,))


NORMS = [
    (nn.LayerNorm(6), (2, 5, 6), (3, 1, 6)), (nn.LayerNorm((4, 6)), (2, 4, 6), (3, 4, 6)), (nn.LayerNorm(6,
        bias=False), (2, 6), (5, 6)),
    (nn.LayerNorm(6, elementwise_affine=False), (2, 3, 6), (1, 2, 6)), (nn.RMSNorm(6), (2, 3, 6), (1, 2, 6)),
    (nn.GroupNorm(2, 6), (2, 6, 4, 5), (1, 6, 3, 3)), (nn.GroupNorm(3, 6), (2, 6, 7), (3, 6, 2)), (nn.GroupNorm(2, 6,
        affine=False), (2, 6, 4), (3, 6, 4)),
    (nn.InstanceNorm1d(6, affine=True), (2, 6, 8), (3, 6, 5)), (nn.InstanceNorm2d(6), (2, 6, 4, 5), (1, 6, 3, 3)),
    (nn.InstanceNorm2d(6, affine=True, track_running_stats=True), (2, 6, 4, 5), (1, 6, 3, 3)),
    (nn.BatchNorm1d(6), (2, 6), (5, 6)), (nn.BatchNorm1d(6), (2, 6, 7), (3, 6, 4)), (nn.BatchNorm2d(6), (2, 6, 4, 5),
        (1, 6, 3, 3)),
    (nn.BatchNorm3d(6, affine=False), (2, 6, 4, 5, 3), (1, 6, 3, 3, 2)), (nn.LocalResponseNorm(3), (2, 6, 4, 5), (1, 6,
        3, 3)),
    (nn.BatchNorm2d(6, track_running_stats=False), (2, 6, 4, 5), (3, 6, 7, 2)),
    (nn.BatchNorm1d(6, affine=False, track_running_stats=False), (4, 6), (9, 6)),
]  # fmt: skip


@pytest.mark.parametrize(("norm", "first", "second"), NORMS, ids=lambda value: str(value).replace(" ", ""))
def test_normalizations(norm: nn.Module, first: tuple[int, ...], second: tuple[int, ...]) -> None:
    for name, tensor in (*norm.named_parameters(), *norm.named_buffers()):
        if tensor.is_floating_point():
            nn.init.uniform_(tensor, 0.5, 2.0 if "var" in name else 1.5)
    check(norm, (torch.randn(first) * 3 + 1,), (torch.randn(second) - 2,))


def test_weights_of_a_norm_may_be_computed() -> None:
    check(lambda x: (F.layer_norm(x, (6,), x[0, 0], x[0, 1]), F.group_norm(x.transpose(1, 2), 2, x[0, 0], x[0, 1])),
          (torch.randn(2, 4, 6),), (torch.randn(3, 5, 6),))  # fmt: skip


def test_what_is_not_native_says_so() -> None:
    for function in (lambda x: torch.special.i1e(x), lambda x: x.nonzero()):
        assert in_torch(lower(capture(Module(function), (torch.randn(2, 3),))))


def test_running_logarithms_of_sums() -> None:
    """Of which some are far below the largest."""
    x = 40 * torch.randn(2, 5, 9, generator=torch.Generator().manual_seed(1))
    x[0, 1, 2], x[1, 0, 0] = -torch.inf, torch.inf
    check(lambda x: (x.logcumsumexp(-1), x.logcumsumexp(1)), (x,), (x[:, :3, :6],))


def test_the_logarithm_of_no_powers() -> None:
    check(lambda x: (x[:, :0].logsumexp(1), x[:, :0].logsumexp((1, 2), keepdim=True)), (torch.randn(2, 3, 4),))
