"""Products of matrices and attention, against torch, at several sizes."""

from __future__ import annotations

import math

import pytest
import torch
from lowered import check
from torch import nn
from torch.nn import functional as F


def numbers(*shape: int) -> torch.Tensor:
    return torch.randn(shape)


def test_products_of_all_ranks() -> None:
    x, y = numbers(2, 3, 4), numbers(2, 3, 4)
    check(
        lambda x, y: (x @ y.mT, torch.bmm(x, y.mT), x[0] @ y[0].t(), torch.mm(x[0], y[0].t()), x @ y[0, 0], x[0,
            0] @ y.mT,
                      torch.dot(x[0, 0], y[0, 0]), torch.mv(x[0], y[0, 0]), x[:, None] @ y.mT, torch.outer(x[0, 0],
                          y[0, 0]),
                      torch.inner(x, y[0, 0])),
        (x, y), (numbers(3, 5, 4), numbers(3, 5, 4)),
    )  # fmt: skip


def test_products_that_are_added() -> None:
    x, y = numbers(2, 3, 4), numbers(2, 4, 3)
    check(
        lambda x, y: (torch.addmm(x[0, :, :3], x[0], y[0]), torch.baddbmm(x[:, :, :3], x, y, beta=0.5, alpha=2),
                      torch.addmv(x[0, :, 0], x[0], y[0, :, 0]), torch.baddbmm(x[:, :, :3], x, y, beta=0)),
        (x, y),
    )  # fmt: skip


EINSUMS = ["bij,bkj->bik", "bij,bkj->bki", "bij,bij->b", "bij,bij->bij", "bij,ckj->bcik", "bij,kj->bik", "bij->bji",
           "bij->i",
           "bij,bik->bjk", "bij,bik,bil->bjkl", "bij,bkj->"]  # fmt: skip


@pytest.mark.parametrize("equation", EINSUMS)
def test_einsum(equation: str) -> None:
    parts = equation.split("->")[0].split(",")

    def function(x: torch.Tensor) -> torch.Tensor:
        return torch.einsum(equation, *[x if len(part) == 3 else x[0] for part in parts])

    check(function, (numbers(2, 3, 4),), (numbers(5, 2, 4),))


def test_linear_layers_of_floats() -> None:
    x = numbers(2, 5, 6)
    check(nn.Linear(6, 4), (x,), (numbers(1, 9, 6),))
    check(nn.Linear(6, 4, bias=False), (x[0],), (numbers(7, 6),))
    check(lambda x: F.linear(x, x[0]), (x,), (numbers(3, 2, 6),))


def test_attention_with_masks() -> None:
    def function(q: torch.Tensor, k: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, ...]:
        bias = mask[:, None, None].float() * -1e9
        return (
            F.scaled_dot_product_attention(q, k, k),
            F.scaled_dot_product_attention(q, k, k, scale=0.3),
            F.scaled_dot_product_attention(q, k, k, attn_mask=mask[:, None, None]),
            F.scaled_dot_product_attention(q, k, k, attn_mask=bias),
            F.scaled_dot_product_attention(q, q, q, is_causal=True),
            F.scaled_dot_product_attention(q[0], k[0], k[0, :, :, :3]),
        )

    def call(batch: int, queries: int, keys: int) -> tuple[torch.Tensor, ...]:
        mask = torch.rand(batch, keys) > 0.3
        mask[:, 0] = True
        return numbers(batch, 3, queries, 8), numbers(batch, 3, keys, 8), mask

    check(function, call(2, 5, 7), call(1, 6, 4))


def test_attention_to_nothing() -> None:
    q = numbers(1, 1, 3, 4)
    seen = torch.tensor([[True, False, True], [False, False, False], [True, True, True]])
    check(lambda q, m: (F.scaled_dot_product_attention(q, q, q, attn_mask=m),
                        F.scaled_dot_product_attention(q, q, q, attn_mask=torch.where(m, 0.0, -math.inf))), (q,
                            seen))  # fmt: skip


def test_heads_that_share_keys() -> None:
    check(lambda q, k: F.scaled_dot_product_attention(q, k, k, enable_gqa=True),
          (numbers(2, 6, 5, 4), numbers(2, 2, 5, 4)), (numbers(1, 6, 7, 4), numbers(1, 2, 7, 4)))  # fmt: skip


@pytest.mark.parametrize("weights", [False, True])
def test_multi_head_attention(weights: bool) -> None:
    layer = nn.MultiheadAttention(8, 2, batch_first=True)
    check(lambda m, x: m.layer(x, x, x, need_weights=weights), (numbers(2, 5, 8),), (numbers(3, 5, 8),), layer=layer)


def test_transformer_layers() -> None:
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, norm_first=True, activation="gelu")
    check(nn.TransformerEncoder(layer, 2, enable_nested_tensor=False), (numbers(2, 5, 8),), (numbers(1, 5, 8),))


@pytest.mark.parametrize("rows", [5, 40])
def test_distances_between_rows(rows: int) -> None:
    def function(x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, ...]:
        others = [torch.cdist(x, y, power) for power in (1.0, 3.0, math.inf)]
        return (
            torch.cdist(x, y),
            torch.cdist(x[0], y),
            torch.cdist(x, y, compute_mode="use_mm_for_euclid_dist"),
            *others,
        )

    check(function, (numbers(2, rows, 4), numbers(2, 6, 4)), (numbers(3, 7, 4), numbers(3, 2, 4)))


@pytest.mark.parametrize("size", [(3, 5), (8, 4)])
def test_norms_of_matrices(size: tuple[int, int]) -> None:
    def function(x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        norm, matrix_norm = torch.linalg.norm, torch.linalg.matrix_norm
        found = [
            matrix_norm(x, order, keepdim=keep) for order in (1, -1, math.inf, -math.inf) for keep in (False, True)
        ]
        more = [matrix_norm(x, 1, (0, 2)), matrix_norm(x, -math.inf, (-1, 0)), norm(x[0], 1), norm(x, -1, (1, 2))]
        return (*found, *more, matrix_norm(x), norm(x))

    check(function, (numbers(2, *size),), (numbers(3, 7, 6),), (numbers(1, 1, 2),))


@pytest.mark.parametrize("order", [1, 2])
def test_gradients_of_grids(order: int) -> None:
    def function(x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        by_axes = torch.gradient(x, spacing=(0.5, 3), dim=(2, -2), edge_order=order)
        return (
            *torch.gradient(x, edge_order=order),
            *by_axes,
            *torch.gradient(x[0], spacing=2, dim=0, edge_order=order),
        )

    check(function, (numbers(4, 5, 6),), (numbers(3, 3, 7),), (numbers(6, 8, 3),))


def test_bilinear_layers() -> None:
    layer, bare = nn.Bilinear(4, 5, 6), nn.Bilinear(4, 5, 3, bias=False)
    calls = [(numbers(2, 3, 4), numbers(2, 3, 5)), (numbers(1, 7, 4), numbers(1, 7, 5))]
    check(lambda m, x, y: (m.layer(x, y), m.layer(x[0], y[0]), m.bare(x, y)), *calls, layer=layer, bare=bare)
