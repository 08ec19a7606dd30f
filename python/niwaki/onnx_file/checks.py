"""What a core graph refuses of its inputs, as nodes that a runtime stumbles over.

ONNX has no operator that refuses sizes. But Gather refuses an index beyond its table: where a condition does not hold,
it is asked for the second row of a table of one. The row is "all sizes as they are", with which the input is reshaped,
so that nothing can leave the check out; and the node is called as the sentence for the caller, which ONNX Runtime says.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from niwaki.onnx_file.writer import Writer

_MOST = 2**31 - 1  # what no size reaches
_NEGATED = {"==": ("Equal", True), "!=": ("Equal", False), "<": ("GreaterOrEqual", False), "<=": ("Greater", False)}


def checked_inputs(writer: Writer) -> None:
    """Makes the inputs go through checks of ranges and guards, where the graph has any."""
    broken = [*_ranges(writer), *_guards(writer)]
    first = next((port for port in writer.graph.input_ports if writer.values[port["value"]].rank), None)
    if not broken or first is None:
        return
    name, rank = first["name"], writer.values[first["value"]].rank
    table = writer.constant(np.zeros((1, rank), np.int64), "as_it_is")
    for sentence, condition in broken:
        index = writer.op("Squeeze", writer.op("Cast", condition, to=7), writer.integers([0]))
        writer.begin(sentence)
        shape = writer.op("Gather", table, index, axis=0)
        writer.begin("inputs")
        name = writer.op("Reshape", name, shape)
    writer.replace(first["value"], name)


def _ranges(writer: Writer) -> list[tuple[str, str]]:
    """A sentence and a bool [1] that says whether it has to be said, for each free size with a range."""
    found = []
    for number, size in enumerate(writer.graph.sizes):
        name, dim = size["name"], ("size", number)
        if size["low"] > 1:
            below = writer.op("Less", writer.size(dim), writer.integers([size["low"]]))
            found.append((f"{name} must be at least {size['low']}", below))
        if size["high"] < _MOST:
            above = writer.op("Greater", writer.size(dim), writer.integers([size["high"]]))
            found.append((f"{name} must be at most {size['high']}", above))
    return found


def _guards(writer: Writer) -> list[tuple[str, str]]:
    found = []
    for guard in writer.graph.guards:
        fails = [_any_fails(writer, case) for case in guard["trees"]]
        broken = fails[0]
        for other in fails[1:]:
            broken = writer.op("And", broken, other)
        found.append((guard["message"].rstrip("."), broken))
    return found


def _any_fails(writer: Writer, case: list[tuple[Any, str, Any]]) -> str:
    """A bool [1]: whether one of the comparisons does not hold."""
    failed = ""
    for left, relation, right in case:
        op, negate = _NEGATED[relation]
        here = writer.op(op, writer.size(left), writer.size(right))
        here = writer.op("Not", here) if negate else here
        failed = writer.op("Or", failed, here) if failed else here
    return failed or writer.constant(np.array([False]))
