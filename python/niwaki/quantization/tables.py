"""Tables of embeddings of few bits, several values to a byte.

A file's tables stay in its mapping, and a call touches the rows that it needs. So they are not coded as weights are,
which are unpacked when a network is loaded: rows stay bytes, and what each byte stands for is looked up as well.
"""

from __future__ import annotations

import torch

# How many values fit a byte, and the largest of them.
_FITTING = ((4, 1), (2, 7))


def values_in_a_byte(table: torch.Tensor) -> int:
    """How many neighbouring values of a table, int8 [V, D], are stored in one byte: 4 of 2 bits, 2 of 4, or 1."""
    largest, width = int(table.to(torch.int16).abs().max()) if table.numel() else 127, table.shape[1]
    return next((count for count, most in _FITTING if largest <= most and width % count == 0), 1)


def pack_table(table: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Bytes of several values each, the first in the lowest bits, and what every byte stands for.

    Args:
        table: int8 [V, D], of which values_in_a_byte is n, more than 1.

    Returns:
        uint8 [V, D / n] and float32 [256, n].
    """
    bits = 8 // values_in_a_byte(table)
    middle, shifts = 1 << (bits - 1), torch.arange(0, 8, bits)
    parts = (table.to(torch.int32) + middle).reshape(len(table), -1, len(shifts))
    packed = (parts << shifts).sum(2).to(torch.uint8)
    values = ((torch.arange(256)[:, None] >> shifts) & (2 * middle - 1)) - middle
    return packed, values.float()
