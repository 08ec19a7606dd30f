"""Rows of a report for what has parameters and is no compressed layer: norms, skipped tables, bare parameters."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import nn

from niwaki.report.rows import LayerReport

_STAYS = "stays in float32: not a convolution, linear or recurrent layer or table"
_TABLES = (nn.Embedding, nn.RNNBase)


def with_rest(
    rows: Sequence[LayerReport], optimized: nn.Module, module: nn.Module, reasons: Mapping[str, str]
) -> list[LayerReport]:
    """Rows of layers, and one for each part of the network whose parameters none of them counts.

    A part that others are made of has a row for each parameter of its own, such as 'cls_token'. What several parts
    share counts in float32 in the first of them alone.

    Args:
        rows: of layers, with the names of parts.
        optimized: the network before it was pruned and quantized.
        module: the network after that.
        reasons: why a part is as it is, by name.
    """
    known = {row.name: row for row in rows}
    now = dict(module.named_parameters(remove_duplicate=False))
    counted: dict[int, str] = {}
    found = []
    for name, part, own in _parts(optimized, whole="" in known):
        owner = next((counted[id(value)] for value in own.values() if id(value) in counted), "")
        fresh = {key: value for key, value in own.items() if id(value) not in counted}
        counted.update({id(value): name for value in fresh.values()})
        size = 4 * sum(value.numel() for value in fresh.values())
        row = known.pop(name, None)
        if row is None:
            weight = own.get("weight", next(iter(own.values())))
            zeros = _zeros([now.get(name if part is None else f"{name}.{key}", own[key]) for key in _weights(own)])
            op = "parameter" if part is None else type(part).__name__.lower()
            reason = reasons.get(name) or ("stays in float32" if isinstance(part, _TABLES) else _STAYS)
            row = LayerReport(name, op, "float32", zeros, size, size, None, reason, 32, tuple(weight.shape))
        if owner:
            reason = "; ".join(filter(None, (row.reason, f"in float32 its parameters are those of '{owner}'")))
            row = dataclasses.replace(row, float_bytes=size, reason=reason)
        if row.scheme == "float32":
            row = dataclasses.replace(row, bytes=size)
        found.append(row)
    return [*found, *known.values()]


def _weights(own: Mapping[str, nn.Parameter]) -> list[str]:
    """The names of a part's matrices, of which a recurrent layer has several; of its first parameter, without any."""
    return [key for key in own if key.startswith("weight")] or list(own)[:1]


def _zeros(weights: Sequence[torch.Tensor]) -> float:
    return 1 - sum(int(weight.count_nonzero()) for weight in weights) / sum(weight.numel() for weight in weights)


def _parts(module: nn.Module, *, whole: bool) -> Iterator[tuple[str, nn.Module | None, dict[str, nn.Parameter]]]:
    """Name, part and parameters of each leaf; name, None and parameter of what lies beside the parts of a module.

    `whole`: the module itself is a layer with a row.
    """
    for name, part in module.named_modules():
        own = {key: value for key, value in part.named_parameters(recurse=False) if value.numel()}
        if not own:
            continue
        if next(part.children(), None) is None and (name or whole):
            yield name, part, own
        else:
            for key, value in own.items():
                yield f"{name}.{key}".removeprefix("."), None, {key: value}
