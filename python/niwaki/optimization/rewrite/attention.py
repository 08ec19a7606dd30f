"""nn.MultiheadAttention, whose weights torch reads itself, as linear layers that are called."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F


class MultiheadAttention(nn.Module):
    """Computes what nn.MultiheadAttention does, with `q_proj`, `k_proj`, `v_proj` and `out_proj`, four nn.Linear.

    Args:
        module: without bias_k, bias_v and add_zero_attn. It is not changed.

    Attributes:
        shows_weights: whether those who ask get the weights that nn.MultiheadAttention has. Encoders of torch, which
            only want to know whether they might use a fused kernel, would seem to read them.
    """

    # Read by nn.TransformerEncoder and its layers, which hand all weights to a fused kernel where they may.
    _qkv_same_embed_dim = False
    shows_weights = _joined = True

    def __init__(self, module: nn.MultiheadAttention) -> None:
        super().__init__()
        self.embed_dim, self.num_heads, self.head_dim = module.embed_dim, module.num_heads, module.head_dim
        self.kdim, self.vdim = module.kdim, module.vdim
        self.batch_first, self.dropout = module.batch_first, module.dropout
        self._joined = module._qkv_same_embed_dim
        weights: Sequence[torch.Tensor]
        if module._qkv_same_embed_dim:
            weights = module.in_proj_weight.chunk(3)
        else:
            weights = (module.q_proj_weight, module.k_proj_weight, module.v_proj_weight)
        biases = (None,) * 3 if module.in_proj_bias is None else module.in_proj_bias.chunk(3)
        self.q_proj, self.k_proj, self.v_proj = map(_linear, weights, biases)
        self.out_proj = _linear(module.out_proj.weight, module.out_proj.bias)

    @property
    def in_proj_weight(self) -> torch.Tensor | None:
        """That of the attention that it stands for, which networks' code may read: [3 E, E]. None if it had three."""
        if not (self.shows_weights and self._joined):
            return None
        return torch.cat([self.q_proj.weight, self.k_proj.weight, self.v_proj.weight])

    @property
    def in_proj_bias(self) -> torch.Tensor | None:
        """As `in_proj_weight`: [3 E]."""
        if not self.shows_weights or self.q_proj.bias is None:
            return None
        return torch.cat([self.q_proj.bias, self.k_proj.bias, self.v_proj.bias])

    @property
    def q_proj_weight(self) -> torch.Tensor | None:
        """As `in_proj_weight`, where queries, keys and values have weights of their own."""
        return None if self._joined else self.q_proj.weight

    @property
    def k_proj_weight(self) -> torch.Tensor | None:
        """As `q_proj_weight`."""
        return None if self._joined else self.k_proj.weight

    @property
    def v_proj_weight(self) -> torch.Tensor | None:
        """As `q_proj_weight`."""
        return None if self._joined else self.v_proj.weight

    def forward(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        key_padding_mask: torch.Tensor | None = None,
        need_weights: bool = True,
        attn_mask: torch.Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """As torch.nn.MultiheadAttention.forward."""
        if is_causal and attn_mask is None:
            raise ValueError("MultiheadAttention: is_causal says of attn_mask that it is causal; give attn_mask, too.")
        batched = query.dim() == 3
        if not batched:
            axis = 0 if self.batch_first else 1
            query, key, value = (x.unsqueeze(axis) for x in (query, key, value))
            key_padding_mask = None if key_padding_mask is None else key_padding_mask.unsqueeze(0)
        if not self.batch_first:
            query, key, value = (x.transpose(0, 1) for x in (query, key, value))
        q, k, v = (
            part(x).unflatten(-1, (self.num_heads, self.head_dim)).transpose(1, 2)
            for part, x in ((self.q_proj, query), (self.k_proj, key), (self.v_proj, value))
        )
        causal = is_causal and key_padding_mask is None and not need_weights
        mask = None if causal else self._mask(attn_mask, key_padding_mask, q.dtype)
        weights = None
        dropout = self.dropout if self.training else 0.0
        if need_weights:
            scores = q @ k.transpose(-2, -1) * self.head_dim**-0.5
            weights = (scores if mask is None else scores + mask).softmax(-1)
            weights = F.dropout(weights, dropout)
            y = weights @ v
            weights = weights.mean(1) if average_attn_weights else weights
        else:
            y = F.scaled_dot_product_attention(q, k, v, mask, dropout, causal)
        y = self.out_proj(y.transpose(1, 2).flatten(2))
        if not self.batch_first:
            y = y.transpose(0, 1)
        if not batched:
            y = y.squeeze(0 if self.batch_first else 1)
            weights = None if weights is None else weights.squeeze(0)
        return y, weights

    def _mask(self, mask: torch.Tensor | None, padding: torch.Tensor | None, dtype: torch.dtype) -> torch.Tensor | None:
        """What is added to the scores, as [N, heads, L, S] or what broadcasts to it; -inf where a bool is True."""
        mask, padding = _added(mask, dtype), _added(padding, dtype)
        if mask is not None and mask.dim() == 3:
            mask = mask.unflatten(0, (-1, self.num_heads))
        if padding is not None:
            padding = padding[:, None, None, :]
        return padding if mask is None else mask if padding is None else mask + padding


def _added(mask: torch.Tensor | None, dtype: torch.dtype) -> torch.Tensor | None:
    if mask is None or mask.dtype != torch.bool:
        return mask
    return torch.zeros_like(mask, dtype=dtype).masked_fill(mask, float("-inf"))


def _linear(weight: torch.Tensor, bias: torch.Tensor | None) -> nn.Linear:
    outputs, inputs = weight.shape
    linear = nn.Linear(inputs, outputs, bias is not None)
    with torch.no_grad():
        linear.weight.copy_(weight).requires_grad_(weight.requires_grad)
        if bias is not None:
            linear.bias.copy_(bias).requires_grad_(bias.requires_grad)
    return linear


def rewritten(module: nn.Module) -> nn.Module | None:
    """What stands for an nn.MultiheadAttention of the usual kind."""
    if not isinstance(module, nn.MultiheadAttention) or type(module).forward is not nn.MultiheadAttention.forward:
        return None
    more = module.bias_k is not None or module.bias_v is not None or module.add_zero_attn
    return None if more else MultiheadAttention(module)
