"""What attention in 8 bits makes of its inputs.

The core makes the codes whenever it runs (csrc/kernels/byte_attention): of queries, and of keys less their mean, a row
has a scale of its own; of values, a channel. So no range has to be calibrated.
"""

from __future__ import annotations

import torch

# As kLeastByteQueries and kMostByteWidth of the core.
_LEAST_QUERIES, _MOST_WIDTH = 16, 1024
_MOST_CODE = 127.0


def as_codes(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """What codes of 8 bits make of queries [.., L, E], keys [.., S, E] and values [.., S, V], float32.

    The keys are those less their mean, which softmax does not tell apart. Weights of 14 bits are taken to be exact.
    Gradients go through as if nothing were rounded.
    """
    if query.shape[-2] < _LEAST_QUERIES or key.shape[-2] == 0 or query.shape[-1] > _MOST_WIDTH:
        return query, key, value
    centered = key - key.mean(-2, keepdim=True)
    return _rounded(query, -1), _rounded(centered, -1), _rounded(value, -2)


def _rounded(x: torch.Tensor, dim: int) -> torch.Tensor:
    fixed = x.detach()
    scale = fixed.abs().amax(dim, keepdim=True) / _MOST_CODE if fixed.shape[dim] else fixed.new_zeros(())
    codes = torch.where(scale > 0, fixed / scale, 0.0).round()
    return x + (codes * scale - fixed)
