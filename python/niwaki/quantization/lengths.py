"""Calls of sequences as calls of shorter ones: what is averaged over fewer tokens spans more."""

from __future__ import annotations

from collections.abc import Sequence

from niwaki.capture.trial import resized
from niwaki.quantization.inputs import Batch
from niwaki.quantization.programs import Program

_SHARE = 16  # a shorter sequence is that part of the one that was given


def shorter(program: Program, calls: Sequence[Batch]) -> list[Batch]:
    """The calls with the first sixteenth of their sequences; none where lengths are not free, or vary as much anyway.

    Args:
        program: the graph; it accepts the calls.
        calls: of the network.
    """
    inputs = program.captured.inputs
    # Images are as large as they are: what a network makes of a corner is no measure.
    symbols = {
        str(dim)
        for info in inputs
        if len(info.dims) <= 3
        for dim in info.dims[1:]
        if not isinstance(dim, int) and dim.is_Symbol
    } - {str(dim) for info in inputs if len(info.dims) > 3 for dim in info.dims if not isinstance(dim, int)}
    known = [_sizes(program, call) for call in calls]
    symbols = {name for name in symbols if all(name in sizes for sizes in known)}
    found: list[Batch] = []
    for name in symbols:
        lengths = [sizes[name] for sizes in known]
        if _SHARE * min(lengths) <= max(lengths):
            return []
    for call, sizes in zip(calls, known, strict=True):
        small = sizes | {
            name: max(program.captured.sizes[name].low, sizes[name] // _SHARE, 1) for name in sizes if name in symbols
        }
        if small == sizes or any(str(each) not in small for info in inputs for each in _free(info.dims)):
            return []
        parts = iter([resized(x, info.dims, small) for x, info in zip(call.tensors, inputs, strict=True)])
        piece = call.mapped(lambda _, parts=parts: next(parts))  # type: ignore[misc]
        if not program.accepts(piece):
            return []
        found.append(piece)
    return found


def _free(dims: tuple[object, ...]) -> set[object]:
    return {symbol for dim in dims for symbol in getattr(dim, "free_symbols", ())}


def _sizes(program: Program, call: Batch) -> dict[str, int]:
    """What the sizes that are dims by themselves are in a call."""
    return {
        str(dim): size
        for info, tensor in zip(program.captured.inputs, call.tensors, strict=True)
        for dim, size in zip(info.dims, tensor.shape, strict=True)
        if not isinstance(dim, int) and dim.is_Symbol
    }
