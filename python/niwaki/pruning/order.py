"""An order of inner channels in which blocks of four hold weights that can go together.

Four consecutive input channels are zero together in the pattern 'block4', and which channels are neighbours is chance.
Where nothing but layers sees them, their order is free (niwaki.optimization.inner), and is searched for: as in Pool &
Yu, "Channel permutations for N:M sparsity" (2021), pairs of channels change places while that makes the network lose
less, here at blocks and for all layers that read the channels together.

The same four channels are a set of the layer that writes them. With PruneConfig(balance=True) they keep equally many
blocks there, which costs least where they would keep about as many anyway.

Single zeros go whatever the order is. There it decides how many blocks are left that hold anything, and how much longer
than the others the longest list of a set is: what a sparse kernel multiplies.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from torch.fx import GraphModule, Interpreter, Node
from torch.utils import _pytree as pytree

from niwaki.capture import capture, evaluating, shapes_of
from niwaki.errors import NiwakiError
from niwaki.layerwise.sensitivity import sensitivities
from niwaki.layerwise.walk import first as first_inputs
from niwaki.modules.layer import Layer
from niwaki.modules.names import matches
from niwaki.optimization.inner import Inner, find_inner
from niwaki.pruning.config import PruneConfig
from niwaki.pruning.select import BLOCK, SET
from niwaki.quantization.inputs import Batch
from niwaki.runs.checkpoint import Checkpoint
from niwaki.runs.progress import track

_log = logging.getLogger("niwaki")

# Inputs that are looked at.
INPUTS = 64
# Rounds of the search, each with all blocks in random pairs; it ends when in so many nothing changed.
_ROUNDS, _STILL = 500, 20
# Rows of weights that the search looks at, and values that it holds at a time.
_ROWS, _PART = 512, 1 << 22
# Layers that have more zeros than this already keep their order.
_MOST_ZEROS = 0.02
# Of the blocks that a layer may be asked to lose, whatever the network's share is.
_LEAST_SHARE, _MOST_SHARE = 0.3, 0.9


def order_channels(
    model: nn.Module,
    calls: Sequence[Batch],
    config: PruneConfig,
    *,
    checkpoint: Path | None = None,
    progress: bool = True,
) -> dict[str, float]:
    """Reorders the inner channels of a network in place, for zeros in blocks of four.

    What a weight counts is its square times the variance of its input and what its output counts at the network's
    output; what a block costs is their sum, and no more than that of the blocks which are about to stay. Where single
    weights go, a block costs 1 if one of its weights is about to stay.

    Args:
        model: float32, in eval mode, with plain parameters; it computes the same afterwards, but for rounding.
        calls: inputs; the first 64 of the first one's shape are looked at.
        config: sparsity, and layers to skip. Nothing is done for other patterns than 'block4' and 'unstructured', or no
            zeros.
        checkpoint: a folder that keeps the orders.
        progress: tells on stderr how far it is.

    Returns:
        By the name of each layer that reads reordered channels, what its blocks to go cost of what they cost before;
        with single zeros, the blocks that are about to stay.
    """
    if config.pattern not in ("block4", "unstructured") or not 0 < config.share < 1:
        return {}
    call = calls[0].copy()
    try:
        program = capture(model, call.args, call.kwargs, free=False).program()
    except NiwakiError as error:
        _log.info("prune: channels keep their order: %s", error)
        return {}
    assert isinstance(program, GraphModule)
    names = {id(module): name for name, module in model.named_modules()}

    def blocked(layer: Layer) -> bool:
        skipped = matches(names[id(layer.module)], config.skip)
        return layer.inputs % BLOCK == 0 and layer.inputs > BLOCK and not skipped

    def in_sets(layer: Layer) -> bool:
        bound = config.balance or config.pattern == "unstructured"
        return bound and blocked(layer) and len(layer.weight) % SET == 0 and _zeros(layer) <= _MOST_ZEROS

    def matters(found: Inner) -> bool:
        return in_sets(found.writer) or any(blocked(reader) for reader, _ in found.readers)

    inner = [found for found in find_inner(program, model) if matters(found)]
    # Zeros in blocks stay where they are.
    inner = [found for found in inner if all(_zeros(reader) <= _MOST_ZEROS for reader, _ in found.readers)]
    if not inner:
        return {}
    kept = None if checkpoint is None else Checkpoint(checkpoint, model, config, what="niwaki.compress")
    known = None if kept is None else kept.load("order")
    if known is not None:
        for found, order in zip(inner, known["orders"], strict=True):
            found.reorder(order)
        return dict(known["gains"])
    readers = [[(reader, node) for reader, node in found.readers if blocked(reader)] for found in inner]
    wanted = dict(pair for pairs in readers for pair in pairs)
    wanted |= {found.writer: found.source for found in inner if in_sets(found.writer)}
    spreads, counts = _measure(model, program, calls, wanted, progress)
    share = min(max(config.share, _LEAST_SHARE), _MOST_SHARE)
    gains: dict[str, float] = {}
    orders = []
    for found, pairs in zip(track(inner, "ordering channels", progress), readers, strict=True):
        channels, writer = len(found.writer.weight), found.writer

        def rows_of(layer: Layer, node: Node) -> torch.Tensor:
            return _rows(layer, spreads[node], counts.get(layer), share, config.pattern)

        rows = [rows_of(reader, node) for reader, node in pairs]
        own = rows_of(writer, found.source) if in_sets(writer) else None
        if all(bool(torch.isfinite(part).all()) for part in (*rows, *([] if own is None else [own]))):
            some = torch.cat([torch.zeros(0, channels), *(_some(part) for part in rows)])
            lists = None
            if own is not None:
                all_rows = sum(len(part) for part in rows)
                seen = len(some) / all_rows if all_rows else 1.0
                lists = _lists(own.reshape(channels, -1), seen, config.pattern)
            order = _search(some, lists)
        else:
            order = torch.arange(channels)  # pruning names inputs that are not finite
        found.reorder(order)
        for node in {node for _, node in found.readers} & spreads.keys():
            spreads[node] = spreads[node][order]
        orders.append(order)
        for (reader, _), part in zip(pairs, rows, strict=True):
            lost = (_lost(each, share, config.pattern) for each in (part[:, order], part))
            gains[names[id(reader.module)]] = next(lost) / max(next(lost), 1e-30)
    if kept is not None:
        kept.save("order", {"orders": orders, "gains": gains})
    return gains


def _measure(
    model: nn.Module, program: GraphModule, calls: Sequence[Batch], readers: Mapping[Layer, Node], progress: bool
) -> tuple[dict[Node, torch.Tensor], dict[Layer, torch.Tensor]]:
    """Variances of the channels that layers read, and what their outputs count."""
    shape = shapes_of(calls[0].args, calls[0].kwargs)
    same = [one for one in calls if shapes_of(one.args, one.kwargs) == shape]
    frozen = {parameter: parameter.requires_grad for parameter in model.parameters()}
    counts = sensitivities(model, list(readers), same, inputs=INPUTS, progress=progress) or {}
    for parameter, trained in frozen.items():
        parameter.requires_grad_(trained)
    seen = _Spreads(program, set(readers.values()))
    with evaluating(model):
        for one in first_inputs(same, INPUTS):
            seen.look(one)
    return {node: seen.variance(node) for node in readers.values()}, counts


def _zeros(layer: Layer) -> float:
    return float((layer.weight == 0).float().mean())


class _Spreads(Interpreter):
    """Variances of the channels of some values, over batches."""

    def __init__(self, program: GraphModule, nodes: set[Node]) -> None:
        super().__init__(program)
        self._nodes = nodes
        self._dims: dict[Node, int] = {}
        self._sums: dict[Node, tuple[int, torch.Tensor, torch.Tensor]] = {}

    def look(self, batch: Batch) -> None:
        """Runs one batch."""
        copied = batch.copy()
        self.run(*pytree.tree_leaves((copied.args, copied.kwargs)), enable_io_processing=False)

    def run_node(self, n: Node) -> object:
        value = super().run_node(n)
        if n in self._nodes and isinstance(value, torch.Tensor):
            rows = value.movedim(1 if value.dim() == 4 else -1, 0).flatten(1).double()
            count, total, squares = self._sums.get(n, (0, torch.zeros(len(rows)), torch.zeros(len(rows))))
            self._sums[n] = (count + rows.shape[1], total + rows.sum(1), squares + rows.square().sum(1))
        return value

    def variance(self, node: Node) -> torch.Tensor:
        """float32 [C]."""
        count, total, squares = self._sums[node]
        return (squares / count - (total / count).square()).clamp_min(0).float()


def _rows(
    reader: Layer, variance: torch.Tensor, counts: torch.Tensor | None, share: float, pattern: str
) -> torch.Tensor:
    """float32 [O * taps, C]: what weights cost, in units of a block that is about to stay.

    With single zeros, 1 for a weight that is about to stay, and 0.
    """
    outputs = len(reader.weight)
    counts = torch.ones(outputs) if counts is None else counts + 1e-3 * counts.mean() + 1e-30
    cost = reader.weight.detach().square().reshape(outputs, reader.inputs, -1) * variance[None, :, None]
    rows = (cost * counts[:, None, None]).transpose(1, 2).reshape(-1, reader.inputs)
    units = rows.reshape(-1, BLOCK).sum(1) if pattern == "block4" else rows.flatten()
    most = units.kthvalue(max(1, round(share * len(units)))).values
    if pattern == "unstructured":
        return torch.where(rows.isfinite(), (rows > most).float(), rows)
    return rows / most.clamp_min(1e-30)


def _some(rows: torch.Tensor) -> torch.Tensor:
    if len(rows) <= _ROWS:
        return rows
    return rows[torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))[:_ROWS]]


def _lost(rows: torch.Tensor, share: float, pattern: str) -> float:
    """What the blocks to go cost: so many of the cheapest ones. With single zeros, how many blocks are left."""
    blocks = rows.reshape(-1, BLOCK).sum(1).sort().values
    if pattern == "unstructured":
        return float((blocks > 0).sum())
    return float(blocks[: round(share * len(blocks))].sum())


@dataclass(frozen=True)
class _Lists:
    """What it costs that sets of the layer which writes the channels balance, or that they don't.

    Attributes:
        lengths: float32 [C], how many blocks more than the mean each channel would keep.
        price: of a block more or less than that, squared.
    """

    lengths: torch.Tensor
    price: float

    def cost(self, lengths: torch.Tensor) -> torch.Tensor:
        """Of sets whose lengths add up to these; less what is the same in every order.

        A set keeps the mean m of its lengths c: the sum of (c - m)^2 is that of c^2, less 4 m^2.
        """
        return lengths.square() * (-self.price / SET)


def _lists(costs: torch.Tensor, part: float, pattern: str) -> _Lists:
    """Of the costs of a layer's weights, [O, taps * I].

    Args:
        costs: as from _rows.
        part: of the readers' rows that the search looks at.
        pattern: of zeros.
    """
    blocks = costs.reshape(len(costs), -1, BLOCK).sum(2)
    if pattern == "unstructured":
        lengths = (blocks > 0).sum(1).float()
        # Of four lists whose lengths vary by s, the longest is about s longer than the mean: as many zeros for each of
        # the four. The sum of squares of (c - m) is about 3 s^2.
        return _Lists(lengths - lengths.mean(), part * SET / 3 / max(float(lengths.std()), 1.0))
    # Of so many blocks that are about to stay, the d-th costs d / `dense` more or less than the first.
    dense = ((blocks > 0.5) & (blocks < 2)).sum(1).float().mean() / 1.5
    lengths = (blocks >= 1).sum(1).float()
    return _Lists(lengths - lengths.mean(), part / (2 * max(float(dense), 1.0)))


def _search(rows: torch.Tensor, lists: _Lists | None = None) -> torch.Tensor:
    """The order of channels, int64 [C], in which blocks cost least, no more than 1 each; found by swaps of pairs."""
    order = torch.arange(rows.shape[1]).reshape(-1, BLOCK)
    generator = torch.Generator().manual_seed(0)
    half = len(order) // 2
    step = max(1, _PART // (max(1, len(rows)) * BLOCK * BLOCK))
    still = 0
    for _ in range(_ROUNDS if half else 0):
        pairs = torch.randperm(len(order), generator=generator)[: 2 * half].reshape(2, half)
        moved = 0
        for one, other in zip(pairs[0].split(step), pairs[1].split(step), strict=True):
            moved += _swap(rows, order, one, other, lists)
        still = 0 if moved else still + 1
        if still >= _STILL:
            break
    return order.flatten()


def _swap(rows: torch.Tensor, order: torch.Tensor, one: torch.Tensor, other: torch.Tensor, lists: _Lists | None) -> int:
    """Of each pair of blocks, swaps those two channels that make it cheapest, if any do. Returns how many pairs did."""
    first, second = rows[:, order[one]], rows[:, order[other]]  # [rows, pairs, 4]
    sums = first.sum(2), second.sum(2)
    before = (sums[0].clamp_max(1) + sums[1].clamp_max(1)).sum(0)
    change = second[:, :, None, :] - first[:, :, :, None]
    after = (sums[0][:, :, None, None] + change).clamp_max_(1).add_((sums[1][:, :, None, None] - change).clamp_max_(1))
    total = after.sum(0)
    noise = 1e-6 * before
    if lists is not None:
        mine, theirs = lists.lengths[order[one]], lists.lengths[order[other]]  # [pairs, 4]
        change = theirs[:, None, :] - mine[:, :, None]
        both = mine.sum(1), theirs.sum(1)
        before = before + lists.cost(both[0]) + lists.cost(both[1])
        total = total + lists.cost(both[0][:, None, None] + change) + lists.cost(both[1][:, None, None] - change)
        noise = noise - 1e-6 * (lists.cost(both[0]) + lists.cost(both[1]))
    least, at = total.flatten(1).min(1)
    better = torch.nonzero(least < before - noise).flatten()
    i, j = at[better] // BLOCK, at[better] % BLOCK
    mine, theirs = order[one[better], i].clone(), order[other[better], j].clone()
    order[one[better], i], order[other[better], j] = theirs, mine
    return len(better)
