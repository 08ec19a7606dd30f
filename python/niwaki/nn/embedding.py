"""An embedding whose table is int8: a quarter of the size."""

from __future__ import annotations

import torch
from torch import nn

from niwaki.quantization.weights import quantize_weight

_INDICES = (torch.int32, torch.int64)


@torch.library.custom_op("niwaki::embedding", mutates_args=())
def embedding(weight: torch.Tensor, weight_scale: torch.Tensor, indices: torch.Tensor) -> torch.Tensor:
    """Rows of a table, each times its scale.

    Args:
        weight: int8 [V, D].
        weight_scale: float32 [V].
        indices: int32 or int64 [...], 0 to V - 1.

    Returns:
        float32 [..., D].

    Raises:
        TypeError: indices are of another type.
        IndexError: one is out of range.
    """
    if indices.dtype not in _INDICES:
        given = str(indices.dtype).removeprefix("torch.")
        raise TypeError(f"niwaki::embedding: indices must be int64 or int32, not {given}.")
    rows, where = len(weight), indices.reshape(-1)
    low, high = map(int, where.aminmax()) if where.numel() else (0, 0)
    if where.numel() and not 0 <= low <= high < rows:
        raise IndexError(f"niwaki::embedding: indices must be 0 to {rows - 1}; they are {low} to {high}.")
    found = weight.index_select(0, where).float() * weight_scale.index_select(0, where)[:, None]
    return found.reshape(*indices.shape, weight.shape[1])


@embedding.register_fake
def _(weight, weight_scale, indices):  # type: ignore[no-untyped-def]
    return weight_scale.new_empty([*indices.shape, weight.shape[1]])


class Embedding(nn.Module):
    """torch.nn.Embedding with an int8 table, a scale for each row.

    Args:
        table: a torch.nn.Embedding, float32, on the CPU, without max_norm. It is not changed.
        bits: of the weights, 2 to 8.
        name: its place in the network, for reports.

    Attributes:
        weight: int8 [V, D].
        weight_scale: float32 [V].

    Shape:
        int64 or int32 [...] to float32 [..., D].
    """

    weight: torch.Tensor
    weight_scale: torch.Tensor

    def __init__(self, table: nn.Embedding, *, bits: int = 8, name: str = "") -> None:
        super().__init__()
        self.name = name
        self.num_embeddings, self.embedding_dim, self.padding_idx = (
            table.num_embeddings, table.embedding_dim, table.padding_idx,
        )  # fmt: skip
        with torch.inference_mode(False):
            q, scale = quantize_weight(table.weight, None, 1.0, bits=bits)
            self.register_buffer("weight", q)
            self.register_buffer("weight_scale", scale)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = embedding(self.weight, self.weight_scale, input)
        return found

    def extra_repr(self) -> str:
        return f"{self.num_embeddings}, {self.embedding_dim}, int8"
