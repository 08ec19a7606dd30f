"""Packed sequences (`pack_padded_sequence`), captured as the padded batches that they were made of, and lengths.

How many rows a packed sequence has depends on the values of its lengths, which no graph's sizes can follow. So while a
network is captured, what packs, reads and pads such rows is done to the padded batch, in operators that take lengths.
The rows themselves are a value that nothing may read: `rows_are_read` says whether something does.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import _VF, nn
from torch.fx import Graph
from torch.nn import functional as F

from niwaki.capture.recurrent import KINDS, is_packed, recurrent
from niwaki.nn.recurrent_op import dynamic_packed, dynamic_recurrent


@torch.library.custom_op(
    "niwaki::sequence_lengths",
    mutates_args=(),
    schema="(Tensor lengths, SymInt steps, bool falling, bool full) -> Tensor",
)
def sequence_lengths(lengths: torch.Tensor, steps: int, falling: bool, full: bool) -> torch.Tensor:
    """Lengths of sequences, after a look at them.

    Args:
        lengths: int64 [N].
        steps: how many the padded batch has.
        falling: none may be longer than the one before.
        full: the longest must have all the steps.

    Raises:
        ValueError: a length is not 1 to steps, or not as `falling` and `full` want it.
    """
    given = lengths.tolist()
    if not all(1 <= length <= steps for length in given):
        raise ValueError(f"The lengths of sequences must be 1 to {steps}, the steps that they have, not {given}.")
    if falling and given != sorted(given, reverse=True):
        raise ValueError(
            f"The lengths of sequences are {given}: sort the sequences from the longest to the shortest, or pack them "
            "with enforce_sorted=False."
        )
    if full and given and max(given) < steps:
        raise ValueError(f"The longest sequence must have all {steps} steps; the lengths are {given}.")
    return lengths.clone()


@sequence_lengths.register_fake
def _(lengths, steps, falling, full):  # type: ignore[no-untyped-def]
    return lengths.new_empty(lengths.shape)


@torch.library.custom_op(
    "niwaki::packed_rows",
    mutates_args=(),
    schema="(Tensor padded, Tensor lengths, bool batch_first) -> (Tensor, Tensor)",
)
def packed_rows(padded: torch.Tensor, lengths: torch.Tensor, batch_first: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Data and batch sizes of a packed sequence. In a graph they stand for themselves, and nobody reads them."""
    data, batch_sizes = _VF._pack_padded_sequence(padded, lengths, batch_first)
    return data, batch_sizes


@packed_rows.register_fake
def _(padded, lengths, batch_first):  # type: ignore[no-untyped-def]
    first, second, *rest = padded.shape
    return padded.new_empty([first * second, *rest]), lengths.new_empty([second if batch_first else first])


def rows_are_read(graph: Graph) -> bool:
    """Whether a captured graph reads the rows of a packed sequence otherwise than recurrent layers and padding do."""
    rows = [node for node in graph.nodes if node.target is torch.ops.niwaki.packed_rows.default]
    return any(part.users for node in rows for part in node.users)


@dataclasses.dataclass(frozen=True)
class _Sequences:
    """What a packed sequence stands for.

    Attributes:
        padded: [T, N, ...], or [N, T, ...] with batch_first.
        lengths: int64 [N], looked at.
        batch_first: see there.
        ended: what lies behind the end of each sequence is 0.
    """

    padded: torch.Tensor
    lengths: torch.Tensor
    batch_first: bool
    ended: bool

    @property
    def steps(self) -> Any:
        return self.padded.shape[1 if self.batch_first else 0]

    @property
    def batch(self) -> Any:
        return self.padded.shape[0 if self.batch_first else 1]


class _Longest:
    """How long the longest sequence is, where it is not known: as long as there are steps, or what pads shall say."""

    def __gt__(self, other: Any) -> bool:
        return isinstance(other, int) and other < 1


class _LongestNumber(_Longest, int):
    pass


class _LongestSize(_Longest, torch.SymInt):
    pass


def _longest(steps: Any) -> Any:
    kind: Any = _LongestSize if isinstance(steps, torch.SymInt) else _LongestNumber
    return kind(steps.node if isinstance(steps, torch.SymInt) else steps)


# What works on each row by itself, and reads rows as its first argument alone.
_OF_ROWS = frozenset({
    F.linear, F.embedding, F.relu, F.gelu, F.silu, F.elu, F.leaky_relu, F.tanh, F.sigmoid, F.layer_norm, F.dropout,
    torch.relu, torch.tanh, torch.sigmoid, torch.dropout, torch.Tensor.relu, torch.Tensor.tanh, torch.Tensor.sigmoid,
    torch.Tensor.float,
})  # fmt: skip
# niwaki's own, wherever its rows are among its arguments.
_OWN_OF_ROWS = frozenset({"niwaki::linear", "niwaki::dynamic_linear", "niwaki::embedding"})
# Sums and products of rows, with each other or with a number.
_OF_ELEMENTS = frozenset({
    torch.add, torch.sub, torch.mul, torch.Tensor.add, torch.Tensor.sub, torch.Tensor.mul, torch.Tensor.__add__,
    torch.Tensor.__sub__, torch.Tensor.__mul__, torch.Tensor.__radd__, torch.Tensor.__rmul__,
})  # fmt: skip
_OF_BATCH_SIZES = (torch.Tensor.__getitem__, torch.Tensor.size)


class Packed:
    """The packed sequences of a network that is being captured, by the tensors that stand for their rows."""

    def __init__(self) -> None:
        self._rows: dict[int, tuple[torch.Tensor, _Sequences]] = {}
        self._sizes: dict[int, tuple[torch.Tensor, _Sequences]] = {}
        self._kinds = {function: kind for kind, function in KINDS.items()}

    def replacement(self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Callable[..., Any] | None:
        """What does the same with padded batches; None where a call has nothing to do with packed sequences."""
        if func is _VF._pack_padded_sequence:
            return self._pack
        if not self._rows or not args:
            return None
        if func is _VF._pad_packed_sequence and self._of(args[0]):
            return self._pad
        if func is dynamic_packed and self._of(args[0]):
            return self._dynamic
        if is_packed(func, args) and self._of(args[0]):
            kind = self._kinds[func]
            return lambda *given: self._layer(kind, *given)
        if func in _OF_BATCH_SIZES and id(args[0]) in self._sizes and tuple(args[1:]) == (0,):
            found = self._sizes[id(args[0])][1]
            return lambda *_: found.batch if func is torch.Tensor.__getitem__ else _longest(found.steps)
        if func in _OF_ROWS and self._of(args[0]):
            return lambda *given, **named: self._each(func, given, named)
        if isinstance(func, torch._ops.OpOverload) and func.name().removesuffix(".default") in _OWN_OF_ROWS:
            return (lambda *given: self._each(func, given, {})) if any(map(self._of, args)) else None
        if func in _OF_ELEMENTS and self._alike(args) and not kwargs:
            return lambda *given: self._each(func, given, {})
        return None

    def _of(self, rows: Any) -> _Sequences | None:
        return self._rows[id(rows)][1] if id(rows) in self._rows else None

    def _alike(self, args: Sequence[Any]) -> bool:
        """Whether these are rows of the same sequences, and numbers."""
        tensors = [self._of(each) for each in args if isinstance(each, torch.Tensor)]
        first = tensors[0] if tensors else None
        return first is not None and all(
            each is not None and each.lengths is first.lengths and each.batch_first == first.batch_first
            for each in tensors
        )

    def _keep(self, found: _Sequences) -> tuple[torch.Tensor, torch.Tensor]:
        data, sizes = packed_rows(found.padded, found.lengths, found.batch_first)
        self._rows[id(data)], self._sizes[id(sizes)] = (data, found), (sizes, found)
        return data, sizes

    def _pack(
        self, input: torch.Tensor, lengths: torch.Tensor, batch_first: bool = False
    ) -> tuple[torch.Tensor, torch.Tensor]:
        found = _Sequences(input, lengths, batch_first, ended=False)
        if lengths.dim() != 1 or lengths.shape[0] != found.batch:
            raise ValueError(
                f"pack_padded_sequence takes a length for each sequence of the batch: lengths of shape "
                f"[{found.batch}], not {list(lengths.shape)}."
            )
        looked_at = sequence_lengths(lengths, found.steps, True, False)
        return self._keep(dataclasses.replace(found, lengths=looked_at))

    def _pad(
        self, data: torch.Tensor, batch_sizes: torch.Tensor, batch_first: bool, value: float, total: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        found = self._rows[id(data)][1]
        padded, lengths, axis = found.padded, found.lengths, 1 if found.batch_first else 0
        longest = isinstance(total, _Longest)
        shorter = not longest and bool(total < found.steps)
        if longest or shorter:  # what is returned must depend on this look
            lengths = sequence_lengths(lengths, found.steps if longest else total, False, longest)
        if shorter:
            padded = padded.narrow(axis, 0, total)
        if longest or shorter or not found.ended or value != 0:
            steps = torch.arange(padded.shape[axis])
            inside = steps < lengths[:, None] if found.batch_first else steps[:, None] < lengths
            inside = inside.reshape([*inside.shape, *[1] * (padded.dim() - 2)])
            padded = torch.where(inside, padded, padded.new_full([], value))
        if not longest and total > found.steps:
            after = total - found.steps
            padded = F.pad(padded, [0] * 2 * (padded.dim() - 1 - axis) + [0, after], value=value)
        if found.batch_first != batch_first:
            padded = padded.transpose(0, 1)
        return padded, lengths

    def _recurrent(
        self, data: torch.Tensor, weight: torch.Tensor, run: Callable[[_Sequences], Any]
    ) -> tuple[torch.Tensor, ...]:
        found = self._rows[id(data)][1]
        if data.dim() != 2 or found.padded.shape[2] != weight.shape[1]:
            raise ValueError(f"A recurrent layer of {weight.shape[1]} inputs got rows of shape {list(data.shape[1:])}.")
        y, *last = run(found)
        return self._keep(dataclasses.replace(found, padded=y, ended=True))[0], *last

    def _layer(
        self, kind: str, data: torch.Tensor, batch_sizes: torch.Tensor, states: Any, weights: Any, *rest: Any
    ) -> tuple[torch.Tensor, ...]:
        biases, layers, _, _, bidirectional = rest
        given = list(states) if kind == "lstm" else [states]
        return self._recurrent(
            data,
            weights[0],
            lambda found: recurrent(
                found.padded, given, list(weights), kind, biases, layers, bidirectional, found.batch_first,
                found.lengths,
            ),
        )  # fmt: skip

    def _dynamic(self, data: torch.Tensor, batch_sizes: torch.Tensor, *rest: Any) -> tuple[torch.Tensor, ...]:
        return self._recurrent(
            data, rest[1][0], lambda found: dynamic_recurrent(found.padded, *rest, found.batch_first, found.lengths)
        )

    def _each(self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> torch.Tensor:
        sequences = [self._of(each) for each in args]
        padded = [each if found is None else found.padded for each, found in zip(args, sequences, strict=True)]
        first = next(found for found in sequences if found is not None)
        return self._keep(dataclasses.replace(first, padded=func(*padded, **kwargs), ended=False))[0]


@contextlib.contextmanager
def free_batches() -> Iterator[None]:
    """Recurrent layers take the number of packed sequences for the size that it is, not for a number."""
    own, own_of_cells = nn.RNNBase.get_expected_hidden_size, nn.LSTM.get_expected_cell_size

    def hidden(layer: Any, input: torch.Tensor, batch_sizes: Any) -> Any:
        return own(layer, input, None) if batch_sizes is None else (_states(layer), batch_sizes[0], layer.hidden_size)

    def cells(layer: Any, input: torch.Tensor, batch_sizes: Any) -> Any:
        return own_of_cells(layer, input, None) if batch_sizes is None else hidden(layer, input, batch_sizes)

    layers: Any = nn.RNNBase
    lstm: Any = nn.LSTM
    layers.get_expected_hidden_size, lstm.get_expected_cell_size = hidden, cells
    try:
        yield
    finally:
        layers.get_expected_hidden_size, lstm.get_expected_cell_size = own, own_of_cells


def _states(layer: nn.RNNBase) -> int:
    return layer.num_layers * (2 if layer.bidirectional else 1)
