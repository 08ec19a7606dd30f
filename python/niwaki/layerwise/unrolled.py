"""A recurrent layer step by step, with what its matrices multiply and the sums that they add to."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from niwaki.layerwise.sequences import Results, Sequences


@dataclass(frozen=True)
class Steps:
    """What the matrices of one layer and direction multiply, at all steps.

    Attributes:
        suffix: of the matrices' names: 'l0', 'l1_reverse'.
        x, h: float32 [T, N, I] and [T, N, P], the input and the state before; a matrix each.
        m: [T, N, H], what the projection of an LSTM multiplies; None where there is none.
        active: bool [T, N]: the steps that there are. In the other direction they are as the layer takes them.
        moves: zeros [T, N, G H] that were added to the sums of x and of h; None where nobody asked.
    """

    suffix: str
    x: torch.Tensor
    h: torch.Tensor
    m: torch.Tensor | None
    active: torch.Tensor
    moves: tuple[torch.Tensor, torch.Tensor] | None


def unroll(layer: nn.RNNBase, given: Sequences, *, moved: bool = False) -> tuple[Results, list[Steps]]:
    """The results of a plain form (see sequences.py), and its steps, for each layer and direction.

    Args:
        layer: an LSTM, GRU or RNN, time first.
        given: its inputs.
        moved: whether gradients with respect to the sums are wanted.
    """
    x, found = given.x, []
    last: tuple[list[torch.Tensor], ...] = ([], [])
    ways = ("", "_reverse") if layer.bidirectional else ("",)
    for number in range(layer.num_layers):
        outputs = []
        for way, end in enumerate(ways):
            index = number * len(ways) + way
            states = [state[index] for state in given.states]
            taken = flipped(x, given.lengths) if end else x
            y, state, steps = _one(layer, f"l{number}{end}", taken, states, given.active, moved)
            found.append(steps)
            outputs.append(flipped(y, given.lengths) if end else y)
            for kept, part in zip(last, state, strict=False):
                kept.append(part)
        x = torch.cat(outputs, 2)
    return Results(x, tuple(torch.stack(parts) for parts in last if parts)), found


def flipped(x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Sequences [T, N, ...] from their last step to their first; what is behind the end stays there."""
    steps = torch.arange(len(x))[:, None]
    order = torch.where(steps < lengths, lengths - 1 - steps, steps)
    return x[order, torch.arange(x.shape[1])]


def _one(
    layer: nn.RNNBase, suffix: str, x: torch.Tensor, states: list[torch.Tensor], active: torch.Tensor, moved: bool
) -> tuple[torch.Tensor, list[torch.Tensor], Steps]:
    """One layer and direction: y [T, N, P], its last states, and its steps."""
    w_hh, w_hr = getattr(layer, f"weight_hh_{suffix}"), getattr(layer, f"weight_hr_{suffix}", None)
    b_ih, b_hh = (getattr(layer, f"bias_{kind}_{suffix}", None) for kind in ("ih", "hh"))
    a = F.linear(x, getattr(layer, f"weight_ih_{suffix}"), b_ih)
    moves = None
    if moved:
        moves = torch.zeros_like(a).requires_grad_(True), torch.zeros_like(a).requires_grad_(True)
        a = a + moves[0]
    h, ys, before, multiplied = states[0], [], [], []
    rest = states[1:]
    for step in range(len(x)):
        before.append(h)
        b = F.linear(h, w_hh, b_hh)
        b = b if moves is None else b + moves[1][step]
        new, now = _step(layer, a[step], b, h, rest)
        if w_hr is not None:
            multiplied.append(new)
            new = F.linear(new, w_hr)
        there = active[step][:, None]
        ys.append(torch.where(there, new, 0))
        h = torch.where(there, new, h)
        rest = [torch.where(there, part, old) for part, old in zip(now, rest, strict=True)]
    m = torch.stack(multiplied) if multiplied else None
    return torch.stack(ys), [h, *rest], Steps(suffix, x, torch.stack(before), m, active, moves)


def _step(
    layer: nn.RNNBase, a: torch.Tensor, b: torch.Tensor, h: torch.Tensor, rest: list[torch.Tensor]
) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """The next state, before its projection, and the next cell, from the sums of inputs and of states."""
    if isinstance(layer, nn.LSTM):
        i, f, g, o = (a + b).chunk(4, 1)
        c = f.sigmoid() * rest[0] + i.sigmoid() * g.tanh()
        return o.sigmoid() * c.tanh(), [c]
    if isinstance(layer, nn.GRU):
        (ra, za, na), (rb, zb, nb) = a.chunk(3, 1), b.chunk(3, 1)
        r, z = (ra + rb).sigmoid(), (za + zb).sigmoid()
        n = (na + r * nb).tanh()
        return n + z * (h - n), []
    y = a + b
    return (y.tanh() if layer.nonlinearity == "tanh" else y.relu()), []
