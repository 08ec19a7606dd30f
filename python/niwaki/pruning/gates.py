"""Which weights of a recurrent layer go, by second order: its matrices as linear layers on what they multiply.

A gate's sum is W x + U h, of an input and the state before it. Both matrices add to the same sums, so they are one
matrix of rows [W U], on columns of both, and zeros go where these lose least: where inputs come from a small table, W
is hardly needed. What an error of a sum counts is the squared gradient of the network's outputs there, through all
later steps. The new gate of a GRU adds U h only in part; its rows of U count as much less as their gradients do.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from niwaki.layerwise.sequences import Seen
from niwaki.layerwise.solve import DAMPING
from niwaki.layerwise.unrolled import Steps, unroll
from niwaki.layerwise.walk import Visit
from niwaki.modules.layer import LinearLayer
from niwaki.pruning.config import PruneConfig
from niwaki.pruning.low_rank import directions, forward_order, keep_forward
from niwaki.pruning.problem import Problem, units_of
from niwaki.pruning.select import BLOCK

# Sequences whose gradients tell what rows count, evenly chosen.
_COUNTED = 128
# Inputs that span less than this share of their dimensions are few; wider matrices are not looked at.
_LOW, _WIDEST = 0.5, 2048
# Of zeros that can be in the matrix of states, beside one of few inputs, and in that.
_SHARES = (0.0, 0.06, 0.12, 0.18, 0.25, 0.35, 0.5, 0.7, 1.0)
# Columns that say what inputs span, and steps of conjugate gradients, for few inputs need more.
_COLUMNS, _STEPS = 1 << 16, 100

Masks = dict[str, torch.Tensor]


def pattern_of(weight: torch.Tensor, config: PruneConfig) -> Literal["block4", "unstructured"]:
    """The pattern of a matrix of a recurrent layer: single weights, where its inputs don't come in fours."""
    return "block4" if config.pattern == "block4" and weight.shape[1] % BLOCK == 0 else "unstructured"


@dataclass(frozen=True)
class Counts:
    """What errors of one layer and direction's sums count.

    Attributes:
        rows: float32 [G H], of the sums.
        states: [G H], the root of how much less an error of U h counts than one of W x.
    """

    rows: torch.Tensor
    states: torch.Tensor


def counts_of(before: nn.RNNBase, seen: Seen) -> list[Counts]:
    """Of each layer and direction of a plain form, in the order of `unroll`."""
    few = torch.linspace(0, len(seen.before) - 1, min(len(seen.before), _COUNTED)).round().long()
    part = seen.of(few)
    layer = copy.deepcopy(before).requires_grad_(False)
    with torch.enable_grad():
        results, steps = unroll(layer, part.before, moved=True)
        pulled = [(a * g).sum() for a, g in zip(results.parts, part.pulls.parts, strict=True)]
        torch.stack(pulled).sum().backward()
    found = []
    for one in steps:
        assert one.moves is not None
        squares = [torch.zeros_like(x) if x.grad is None else x.grad.square() for x in one.moves]
        a, b = (square[one.active].mean(0) for square in squares)
        states = torch.where(a > 0, (b / a.clamp_min(1e-30)).sqrt().clamp(0.05, 1), 1.0)
        found.append(Counts(a, states))
    return found


class GatePruner:
    """Prunes a recurrent layer: each layer of it and each direction, with states as they are before that.

    Args:
        before: the layer as it was, a plain form (sequences.py).
        seen: its calls.
        config: sparsity and pattern. The share is that of all matrices of a layer and direction together.
        name: of the layer, for messages.
    """

    def __init__(self, before: nn.RNNBase, seen: Seen, config: PruneConfig, name: str) -> None:
        self._before, self._seen, self._config, self._name = before, seen, config, name
        with torch.no_grad():
            self._references = unroll(before, seen.before)[1]
        self._counts = counts_of(before, seen)

    def prune(self, *, damping: float = DAMPING, masks: Masks | None = None) -> tuple[nn.RNNBase, Masks]:
        """The pruned layer and its masks, by name of the matrix.

        Args:
            damping: how far weights are pulled towards the trained ones; see quadratic.
            masks: instead of new ones.
        """
        layer = copy.deepcopy(self._before)
        found: Masks = {}
        with torch.no_grad():
            for index, (reference, counts) in enumerate(zip(self._references, self._counts, strict=True)):
                now = unroll(layer, self._seen.now)[1][index]
                found |= self._gates(layer, (now, reference), counts, damping, masks)
                if reference.m is not None:
                    now = unroll(layer, self._seen.now)[1][index]
                    found |= self._projection(layer, (now, reference), damping, masks)
        return layer, found

    def _gates(
        self, layer: nn.RNNBase, steps: tuple[Steps, Steps], counts: Counts, damping: float, masks: Masks | None
    ) -> Masks:
        end = steps[0].suffix
        names = [f"weight_{kind}_{end}" for kind in ("ih", "hh")]
        factors = [torch.ones_like(counts.rows)[:, None], counts.states[:, None]]
        parts = [getattr(self._before, name) * factor for name, factor in zip(names, factors, strict=True)]
        bias = getattr(self._before, f"bias_ih_{end}", None)
        columns = [torch.cat([one.x, one.h], 2)[one.active] for one in steps]
        problem = _problem(self._name, torch.cat(parts, 1), bias, columns, counts.rows, "unstructured", damping)
        if masks is None:
            keep = self._mask(parts, bias, columns, counts.rows)
        else:
            keep = torch.cat([masks[name] for name in names], 1)
        problem.write(torch.where(keep, problem.solve(keep[None], _STEPS) / problem.form.scale, 0))
        solved = problem.seen.layer
        sizes = [part.shape[1] for part in parts]
        for name, part, factor in zip(names, solved.weight.split(sizes, 1), factors, strict=True):
            getattr(layer, name).copy_(part / factor)
        if solved.bias is not None:
            getattr(layer, f"bias_ih_{end}").copy_(solved.bias)
        return dict(zip(names, keep.split(sizes, 1), strict=True))

    def _projection(self, layer: nn.RNNBase, steps: tuple[Steps, Steps], damping: float, masks: Masks | None) -> Masks:
        """What an LSTM's output is projected by."""
        name = f"weight_hr_{steps[0].suffix}"
        weight = getattr(self._before, name)
        columns = [one.m[one.active] for one in steps if one.m is not None]
        pattern = pattern_of(weight, self._config)
        problem = _problem(self._name, weight, None, columns, None, pattern, damping)
        if masks is None:
            keep = problem.search(round(self._config.share * units_of(problem.seen.layer, pattern)))[0]
        else:
            keep = masks[name]
        getattr(layer, name).copy_(torch.where(keep, problem.solve(keep[None], _STEPS) / problem.form.scale, 0)[0])
        return {name: keep}

    def _mask(
        self, parts: list[torch.Tensor], bias: torch.Tensor | None, columns: list[torch.Tensor], rows: torch.Tensor
    ) -> torch.Tensor:
        """The mask of [W U], bool [G H, I + P]."""
        width = parts[0].shape[1]
        z = _directions(columns[0][:, :width], centered=bias is not None)
        patterns = [pattern_of(part, self._config) for part in parts]
        if z is not None:
            return self._few_inputs(z, parts, bias, columns, rows)
        if patterns[0] == patterns[1]:
            problem = _problem(self._name, torch.cat(parts, 1), bias, columns, rows, patterns[0])
            return problem.search(round(self._config.share * units_of(problem.seen.layer, patterns[0])))[0]
        found = []
        for part, pattern, own in zip(parts, patterns, _split(columns, width), strict=True):
            problem = _problem(self._name, part, bias, own, rows, pattern)
            found.append(problem.search(round(self._config.share * units_of(problem.seen.layer, pattern)))[0])
        return torch.cat(found, 1)

    def _few_inputs(
        self,
        z: torch.Tensor,
        parts: list[torch.Tensor],
        bias: torch.Tensor | None,
        columns: list[torch.Tensor],
        rows: torch.Tensor,
    ) -> torch.Tensor:
        """The mask, where inputs span few directions: zeros are shared out so that the sum of losses is least."""
        w, u = parts
        patterns = [pattern_of(part, self._config) for part in parts]
        blocks = [BLOCK if pattern == "block4" else 1 for pattern in patterns]
        order = forward_order(w, z, blocks[0])
        own = _split(columns, w.shape[1])[1]
        problem = _problem(self._name, u, bias, own, rows, patterns[1], quick=True)
        problem.keep_inverses()
        total = round(self._config.share * (w.numel() + u.numel()))
        best: tuple[float, int, int] | None = None
        for zeros, kept in _shared_out(total, (w.numel(), u.numel()), blocks):
            keep = problem.search(zeros)
            loss = (
                problem.loss(torch.where(keep, problem.solve(keep), 0))
                + keep_forward(w, order, rows, blocks[0], kept)[1]
            )
            if best is None or loss < best[0]:
                best = loss, zeros, kept
        assert best is not None
        _, zeros, kept = best
        first = keep_forward(w, order, rows, blocks[0], kept)[0]
        second = _problem(self._name, u, bias, own, rows, patterns[1]).search(zeros)[0]
        return torch.cat([first & (w != 0), second], 1)


def _shared_out(total: int, sizes: tuple[int, int], blocks: list[int]) -> list[tuple[int, int]]:
    """In which ways W and U, of so many weights, can have so many zeros: blocks of U that go, and of W that stay."""
    least, most = max(0, total - sizes[0]), min(total, sizes[1])
    there, ways = sizes[0] // blocks[0], []
    for share in _SHARES:
        zeros = min(round((least + share * (most - least)) / blocks[1]), sizes[1] // blocks[1])
        kept = there - round((total - zeros * blocks[1]) / blocks[0])
        ways.append((zeros, min(max(kept, 0), there)))
    return list(dict.fromkeys(ways))


def _split(columns: list[torch.Tensor], width: int) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Columns of inputs, and those of states."""
    return [x[:, :width] for x in columns], [x[:, width:] for x in columns]


def _directions(x: torch.Tensor, *, centered: bool) -> torch.Tensor | None:
    """What inputs [R, I] span, where that is little."""
    if x.shape[1] > _WIDEST or not bool(torch.isfinite(x).all()):
        return None
    x = x[:: -(-len(x) // _COLUMNS)].double()
    x = x - x.mean(0) if centered else x
    z = directions(x.T @ x / len(x))
    return z if 0 < z.shape[1] <= _LOW * x.shape[1] else None


def _problem(
    name: str,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    columns: list[torch.Tensor],
    rows: torch.Tensor | None,
    pattern: str,
    damping: float = DAMPING,
    *,
    quick: bool = False,
) -> Problem:
    """A matrix as a linear layer of its own, on columns as they are now and as they were, [R, K] each."""
    linear = nn.utils.skip_init(nn.Linear, weight.shape[1], weight.shape[0], bias=bias is not None)
    linear.weight.copy_(weight)
    if bias is not None:
        linear.bias.copy_(bias)
    kept = None if bias is None else bias.clone()
    seen = Visit(name, LinearLayer(linear), [columns[0]], [columns[1]], weight.clone(), kept)
    return Problem(seen, pattern, rows, quick=quick, damping=damping)
