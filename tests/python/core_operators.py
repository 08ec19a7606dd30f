"""What each operator of the core computes: of plain values (core_plain.py) and of uint8 (core_quantized.py)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import core_plain
import core_quantized
import torch
from core_plain import DTYPES, Attributes, Values
from core_quantized import Quantization

__all__ = ["DTYPES", "OPERATORS", "compute", "results"]

OPERATORS = {**core_plain.OPERATORS, **core_quantized.OPERATORS}
_MOVES = {"reshape", "permute", "concat", "slice", "pad", "flip", "roll"}


def results(op: str, attributes: Attributes) -> int:
    """How many values an operator makes."""
    if op == "recurrent":
        return 3 if attributes["kind"] == "lstm" else 2
    return 2 if op in ("topk", "sort", "cumextreme") else 1


def compute(
    op: str,
    inputs: Values,
    attributes: Attributes,
    tensors: Mapping[str, torch.Tensor],
    read: Sequence[Quantization | None],
    made: Sequence[Quantization | None],
) -> Values:
    """The values that an operator makes. `read`, `made`: scale and zero point of what is uint8."""
    function = OPERATORS[op]
    if op in core_quantized.OPERATORS or (op in _MOVES and any(read)):
        result = function(inputs, attributes, tensors, read, made[0] if made else None)
    else:
        result = function(inputs, attributes, tensors)
    return list(result) if isinstance(result, tuple) else [result]
