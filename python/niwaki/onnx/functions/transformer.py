"""Attention."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F


def item(made: Sequence[torch.Tensor], index: int) -> torch.Tensor:
    """One of several results."""
    return made[index]


def _split(x: torch.Tensor, heads: int) -> torch.Tensor:
    """[batch, heads, length, size] of [batch, length, heads size]."""
    return x if x.dim() == 4 else x.unflatten(-1, (heads, -1)).transpose(1, 2)


def _repeated(x: torch.Tensor, heads: int) -> torch.Tensor:
    """Keys or values for as many heads as queries have."""
    return x if x.shape[1] == heads else x.repeat_interleave(heads // x.shape[1], 1)


def plain(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    heads: int,
    kv_heads: int,
    scale: float | None,
    causal: bool,
) -> torch.Tensor:
    """softmax(q k' scale) v, of [batch, heads, length, size] or [batch, length, heads size]."""
    flat = q.dim() == 3
    q, k, v = _split(q, heads), _split(k, kv_heads), _split(v, kv_heads)
    k, v = _repeated(k, q.shape[1]), _repeated(v, q.shape[1])
    found = F.scaled_dot_product_attention(q, k, v, is_causal=causal, scale=scale)
    return found.transpose(1, 2).flatten(2) if flat else found


def attention(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    mask: torch.Tensor | None,
    past_k: torch.Tensor | None,
    past_v: torch.Tensor | None,
    lengths: torch.Tensor | None,
    heads: int,
    kv_heads: int,
    scale: float | None,
    causal: bool,
    softcap: float,
    left: int,
    right: int,
) -> list[torch.Tensor]:
    """Attention with all that ONNX allows, and the keys and values with those of the past.

    Args:
        q, k, v: as for `plain`.
        mask: bool or float, broadcasts to [batch, heads, queries, keys]; short ones hide the keys that they lack.
        past_k, past_v: [batch, kv_heads, past, size].
        lengths: [batch], how many keys count.
        heads, kv_heads: of q, and of k and v.
        scale: 1 / sqrt(size) by default.
        causal: a query sees keys up to its own place.
        softcap: scores s become softcap tanh(s / softcap); 0 leaves them.
        left, right: how many keys before and after its own place a query sees; -1 is all.
    """
    flat = q.dim() == 3
    q, k, v = _split(q, heads), _split(k, kv_heads), _split(v, kv_heads)
    past: Any = 0
    if past_k is not None and past_v is not None:
        past = past_k.shape[2]
        k, v = torch.cat([past_k, k], 2), torch.cat([past_v, v], 2)
    all_k, all_v = _repeated(k, q.shape[1]), _repeated(v, q.shape[1])
    scores = torch.matmul(q, all_k.transpose(2, 3)) * (q.shape[-1] ** -0.5 if scale is None else scale)
    if softcap:
        scores = softcap * torch.tanh(scores / softcap)
    if mask is not None:
        missing = scores.shape[-1] - mask.shape[-1]
        if mask.dtype == torch.bool:
            scores = scores.masked_fill(~F.pad(mask, [0, missing], value=False), float("-inf"))
        else:
            scores = scores + F.pad(mask, [0, missing], value=float("-inf"))
    keys, queries = torch.arange(scores.shape[-1]), torch.arange(q.shape[2]).unsqueeze(1)
    places = queries + past
    if lengths is not None:
        counts = lengths.reshape(-1, 1, 1, 1)
        scores = scores.masked_fill(keys >= counts, float("-inf"))
        if past_k is None:
            places = queries + (counts - q.shape[2])
    if causal:
        scores = scores.masked_fill(keys > places, float("-inf"))
    if left >= 0:
        scores = scores.masked_fill(keys < places - left, float("-inf"))
    if right >= 0:
        scores = scores.masked_fill(keys > places + right, float("-inf"))
    # A query that sees no key has zeros.
    seen = (scores > float("-inf")).any(-1, keepdim=True)
    found = torch.matmul(torch.where(seen, torch.softmax(scores, -1), torch.zeros_like(scores)), all_v)
    return [found.transpose(1, 2).flatten(2) if flat else found, k, v]
