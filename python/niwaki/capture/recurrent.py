"""Recurrent layers as operators of their own, which torch.export leaves whole: niwaki::recurrent."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.nn import functional as F
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

KINDS = {"lstm": torch.lstm, "gru": torch.gru, "rnn_tanh": torch.rnn_tanh, "rnn_relu": torch.rnn_relu}
_SCHEMA = (
    "(Tensor x, Tensor[] states, Tensor[] weights, str kind, bool biases, int layers, bool bidirectional, "
    "bool batch_first, Tensor? lengths=None) -> Tensor[]"
)


def _run(
    x: torch.Tensor,
    states: Sequence[torch.Tensor],
    weights: Sequence[torch.Tensor],
    kind: str,
    biases: bool,
    layers: int,
    bidirectional: bool,
    batch_first: bool,
    lengths: torch.Tensor | None = None,
) -> list[torch.Tensor]:
    function: Any = KINDS[kind]

    def initial(given: Sequence[torch.Tensor]) -> Any:
        return list(given) if kind == "lstm" else given[0]

    options = (list(weights), biases, layers, 0.0, False, bidirectional)
    if lengths is None:
        return list(function(x, initial(states), *options, batch_first))
    packed = pack_padded_sequence(x, lengths, batch_first, enforce_sorted=False)
    data, batch_sizes, order, back = packed
    assert order is not None and back is not None
    data, *last = function(data, batch_sizes, initial([state.index_select(1, order) for state in states]), *options)
    packed = PackedSequence(data, batch_sizes, order, back)
    y, _ = pad_packed_sequence(packed, batch_first, total_length=x.shape[1 if batch_first else 0])
    return [y, *(state.index_select(1, back) for state in last)]


@torch.library.custom_op("niwaki::recurrent", mutates_args=(), schema=_SCHEMA)
def recurrent(
    x: torch.Tensor,
    states: Sequence[torch.Tensor],
    weights: Sequence[torch.Tensor],
    kind: str,
    biases: bool,
    layers: int,
    bidirectional: bool,
    batch_first: bool,
    lengths: torch.Tensor | None = None,
) -> list[torch.Tensor]:
    """torch.lstm, torch.gru, torch.rnn_tanh and torch.rnn_relu, as one operator of a graph.

    Args:
        x: float32 [T, N, I], or [N, T, I] with batch_first.
        states: h [L * D, N, H or P], and c [L * D, N, H] of an LSTM.
        weights: of all layers and directions, in torch's order.
        kind: "lstm", "gru", "rnn_tanh" or "rnn_relu".
        biases: whether there are any among the weights.
        layers, bidirectional, batch_first: as in torch.nn.LSTM.
        lengths: int64 [N]: sequences end there; all of them at the last step where it is not given.

    Returns:
        The outputs of all steps, 0 behind a sequence's end, the last h, and the last c of an LSTM.
    """
    options = (kind, biases, layers, bidirectional, batch_first, lengths)
    return [part.clone() for part in _run(x, states, weights, *options)]


@recurrent.register_fake
def _(x, states, weights, kind, biases, layers, bidirectional, batch_first, lengths=None):  # type: ignore[no-untyped-def]
    features = states[0].shape[2] * (2 if bidirectional else 1)
    return [x.new_empty([x.shape[0], x.shape[1], features]), *(state.new_empty(state.shape) for state in states)]


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    ctx.given = inputs


def _backward(ctx: Any, gradients: Sequence[torch.Tensor | None]) -> tuple[Any, ...]:
    x, states, weights, *rest = ctx.given
    with torch.enable_grad():
        leaves = [tensor.detach().requires_grad_(True) for tensor in (x, *states, *weights)]
        between = 1 + len(states)
        outputs = _run(leaves[0], leaves[1:between], leaves[between:], *rest)
        wanted = [(out, gradient) for out, gradient in zip(outputs, gradients, strict=True) if gradient is not None]
        found = torch.autograd.grad([out for out, _ in wanted], leaves, [g for _, g in wanted], allow_unused=True)
    others = len(ctx.needs_input_grad) - 3  # those that the call gave: `rest` has what it left out, too
    return (found[0], list(found[1:between]), list(found[between:]), *[None] * others)


recurrent.register_autograd(_backward, setup_context=_keep)


def _layer(kind: str) -> Callable[..., Any]:
    def call(x: torch.Tensor, states: Any, weights: Any, biases: bool, layers: int, *rest: Any) -> Any:
        _, _, bidirectional, batch_first = rest
        given = list(states) if kind == "lstm" else [states]
        return tuple(recurrent(x, given, list(weights), kind, biases, layers, bidirectional, batch_first))

    return call


def _gates(x: torch.Tensor, h: torch.Tensor, w_ih: Any, w_hh: Any, b_ih: Any, b_hh: Any) -> tuple[Any, Any]:
    return F.linear(x, w_ih, b_ih), F.linear(h, w_hh, b_hh)


def _lstm_cell(x: torch.Tensor, states: Any, w_ih: Any, w_hh: Any, b_ih: Any = None, b_hh: Any = None) -> Any:
    h, c = states
    a, b = _gates(x, h, w_ih, w_hh, b_ih, b_hh)
    i, f, g, o = (a + b).chunk(4, 1)
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    return o.sigmoid() * c.tanh(), c


def _gru_cell(x: torch.Tensor, h: torch.Tensor, w_ih: Any, w_hh: Any, b_ih: Any = None, b_hh: Any = None) -> Any:
    a, b = _gates(x, h, w_ih, w_hh, b_ih, b_hh)
    (ra, za, na), (rb, zb, nb) = a.chunk(3, 1), b.chunk(3, 1)
    r, z = (ra + rb).sigmoid(), (za + zb).sigmoid()
    n = (na + r * nb).tanh()
    return n + z * (h - n)


def _rnn_cell(activation: Callable[[torch.Tensor], torch.Tensor]) -> Callable[..., Any]:
    def call(x: torch.Tensor, h: torch.Tensor, w_ih: Any, w_hh: Any, b_ih: Any = None, b_hh: Any = None) -> Any:
        a, b = _gates(x, h, w_ih, w_hh, b_ih, b_hh)
        return activation(a + b)

    return call


_REPLACEMENTS: dict[Any, Callable[..., Any]] = {
    **{function: _layer(kind) for kind, function in KINDS.items()},
    torch.lstm_cell: _lstm_cell,
    torch.gru_cell: _gru_cell,
    torch.rnn_tanh_cell: _rnn_cell(torch.tanh),
    torch.rnn_relu_cell: _rnn_cell(torch.relu),
}


def is_packed(function: Any, args: Sequence[Any]) -> bool:
    """Whether this is a recurrent layer of a packed sequence: batch sizes come before its states and weights."""
    return function in KINDS.values() and isinstance(args[3], (list, tuple))


def replacement(function: Any, args: Sequence[Any]) -> Callable[..., Any] | None:
    """What computes the same as a call of torch's in operators that keep sizes free; None where nothing has to.

    Sequences that are packed (`pack_padded_sequence`) have other arguments: see packed.py.
    """
    found = _REPLACEMENTS.get(function)
    if found is None or is_packed(function, args):
        return None
    return found
