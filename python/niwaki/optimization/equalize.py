"""Cross-layer equalization: channels are scaled between layers so that rounding to few bits costs least.

As in Nagel et al., "Data-free quantization through weight equalization and bias correction" (2019),
https://arxiv.org/abs/1906.04721, and Xiao et al., "SmoothQuant" (2023), https://arxiv.org/abs/2211.10438: a factor that
a channel gets where it is written, and loses where it is read, changes nothing in float32. Here the factors follow
channels through sums and concatenations, and are found by descent on what rounding is expected to cost.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn
from torch.fx import GraphModule, Interpreter, Node
from torch.utils import _pytree as pytree

from niwaki.capture import capture, evaluating, shapes_of
from niwaki.errors import NiwakiError
from niwaki.layerwise.sensitivity import sensitivities
from niwaki.layerwise.walk import first as first_inputs
from niwaki.modules.checks import check_model, config_or_default
from niwaki.modules.names import check_skips, matches
from niwaki.optimization.balance import Side, balance
from niwaki.optimization.plain_copy import plain_copy
from niwaki.optimization.ties import Reader, Ties
from niwaki.quantization.config import QuantizeConfig
from niwaki.quantization.inputs import Batch, batches, check_calibration
from niwaki.runs.progress import track

_log = logging.getLogger("niwaki")

# Inputs whose values are looked at, and those of backward passes.
EQUALIZED = 128
_BACKWARD = 32
# Of the bound of a ReLU6, which a channel may reach after it was scaled.
_ROOM = 0.98


def equalize(
    model: nn.Module, calibration: Any, config: QuantizeConfig | None = None, *, progress: bool = True
) -> nn.Module:
    """A copy that computes the same in float32, and loses less when it is rounded.

    Between two layers, a channel can be multiplied by a factor where it is written and divided by it where it is read,
    if all in between lets the factor through: ReLU, pools, sums and concatenations (whose channels then share factors),
    and ReLU6 as long as the channel stays below 6 on the calibration inputs. The factors are those for which rounding
    the layers' inputs to 8 bits and their weights to those of `config` is expected to cost least at the network's
    output. Fold batch norms first (niwaki.optimize).

    Args:
        model: a float32 network on the CPU. It is not changed.
        calibration: as in niwaki.compress; the first 128 inputs are used.
        config: bits, per_channel, skip and transform; QuantizeConfig() where None.
        progress: tells on stderr how far it is.

    Returns:
        The network, in eval mode, without parametrizations. Where its graph cannot be found, the copy is as it was, and
        the logger 'niwaki' says why.

    Raises:
        TypeError, ValueError: an argument is not fit; says which and why.
        NiwakiError: the network cannot be copied.
    """
    model = check_model(model, "equalize")
    config = config_or_default(config, QuantizeConfig, "equalize")
    check_skips(model, config.skip, "equalize")
    return equalize_with(
        model, equalization_calls(check_calibration(calibration, model), config, model), config, progress=progress
    )


def equalization_calls(items: Iterable[Any], config: QuantizeConfig, model: nn.Module) -> list[Batch]:
    """The calls of the network that equalization looks at. No more items are taken than it needs."""
    return list(first_inputs(batches(items, config.transform, model), EQUALIZED))


def equalize_with(model: nn.Module, calls: list[Batch], config: QuantizeConfig, *, progress: bool = True) -> nn.Module:
    """As `equalize`, on calls of the network."""
    copied = plain_copy(model).requires_grad_(False)
    call = calls[0].copy()
    try:
        program = capture(copied, call.args, call.kwargs, free=False).program()
    except NiwakiError as error:
        _log.warning("equalize: %s", error)
        return copied
    assert isinstance(program, GraphModule)
    ties = Ties(program, copied)
    shape = shapes_of(call.args, call.kwargs)
    same = [one for one in calls if shapes_of(one.args, one.kwargs) == shape]
    readers = [reader for reader in ties.readers if reader.layer.weight.numel()]
    seen = _Seen(program, {r.source: r.dim for r in readers} | {c.node: c.value.dim for c in ties.clamps})
    with evaluating(copied):
        for one in track(same, "looking at channels", progress):
            seen.look(one)
    layers = [reader.layer for reader in readers]
    counts = sensitivities(copied, layers, same, inputs=_BACKWARD, progress=progress) or {}
    if len(counts) < len(readers):
        counts = {}  # energies and Jacobians have other units
    copied.requires_grad_(False)
    # Inputs that are not finite say nothing; quantization names them.
    if any(not bool(torch.isfinite(found).all()) for found in seen.squares.values()):
        return copied
    free, caps = _bounds(ties, seen)
    rounded = [reader for reader in readers if not matches(reader.name, config.skip)]
    sides = [_side(ties, reader, seen, counts.get(reader.layer), config) for reader in rounded]
    scales, share = balance(sides, free, caps, progress=progress)
    _log.info("equalize: rounding is expected to cost %.3g of what it did; %d channels are scaled", share,
              int((scales != 1).sum()))  # fmt: skip
    if share < 1:
        _apply(ties, scales)
    return copied


class _Seen(Interpreter):
    """Greatest magnitudes and mean squares of the channels of some values, over batches."""

    def __init__(self, program: GraphModule, dims: dict[Node, int]) -> None:
        super().__init__(program)
        self._dims = dims
        self.reach: dict[Node, torch.Tensor] = {}
        self.squares: dict[Node, torch.Tensor] = {}
        self._rows: dict[Node, int] = {}

    def look(self, batch: Batch) -> None:
        """Runs one batch."""
        copied = batch.copy()
        self.run(*pytree.tree_leaves((copied.args, copied.kwargs)), enable_io_processing=False)

    def run_node(self, n: Node) -> Any:
        value = super().run_node(n)
        dim = self._dims.get(n)
        if dim is not None and isinstance(value, torch.Tensor) and value.numel():
            rows = value.movedim(dim, 0).flatten(1)
            most, total = rows.abs().amax(1), rows.double().square().sum(1)
            known = n in self.reach
            self.reach[n] = torch.maximum(self.reach[n], most) if known else most
            self.squares[n] = self.squares[n] + total if known else total
            self._rows[n] = self._rows.get(n, 0) + rows.shape[1]
        return value

    def mean_square(self, node: Node) -> torch.Tensor:
        """float32 [C]."""
        return (self.squares[node] / self._rows[node]).float()


def _bounds(ties: Ties, seen: _Seen) -> tuple[torch.Tensor, torch.Tensor]:
    """Which variables are free, and the most that each may be."""
    roots = torch.from_numpy(ties.roots(torch.arange(ties.count()).numpy()))
    free = roots == torch.arange(ties.count())
    free[0] = False
    caps = torch.full((ties.count(),), torch.inf)
    for clamp in ties.clamps:
        ids = torch.from_numpy(ties.roots(clamp.value.ids))
        reach = seen.reach[clamp.node]
        # What reaches the bound is cut off there, and its scale cannot change.
        free[ids[reach >= _ROOM * clamp.most]] = False
        caps.scatter_reduce_(0, ids, _ROOM * clamp.most / reach.clamp_min(1e-30), "amin")
    free &= caps > 0
    return free, caps


def _side(ties: Ties, reader: Reader, seen: _Seen, counts: torch.Tensor | None, config: QuantizeConfig) -> Side:
    layer = reader.layer
    groups, outputs = layer.groups, len(layer.weight)
    weight = layer.by_input(layer.weight.detach())
    if counts is None:
        # Without a gradient, errors count by their share of the layer's outputs, about.
        power = weight.square().sum((1, 3)) * seen.mean_square(reader.source).reshape(groups, -1)
        counts = torch.full((outputs,), 1 / float(power.sum().clamp_min(1e-30)))
    rows = (counts + 1e-3 * counts.mean() + 1e-30).reshape(groups, -1)
    bits = 4 if config.codebook is not None else config.bits_of(reader.name)
    inputs = torch.from_numpy(ties.roots(reader.inputs)).reshape(groups, -1)
    return Side(
        inputs=inputs,
        outputs=torch.from_numpy(ties.roots(reader.outputs)).reshape(groups, -1),
        largest=weight.abs().amax(3),
        energy=(weight.square().sum(3) * rows[:, :, None]).sum(1),
        reach=_expected(seen.reach[reader.source]).reshape(groups, -1),
        square=seen.mean_square(reader.source).reshape(groups, -1) * weight.shape[3],
        counts=rows,
        levels=2 ** (bits - 1) - 1,
        per_channel=config.per_channel,
    )


def _expected(reach: torch.Tensor) -> torch.Tensor:
    """How far channels may reach on other inputs: a few of them say little of channels that hardly ever fire."""
    most = reach.max()
    return torch.where(reach < 1e-3 * most, 0.25 * most, reach.clamp_min(0.02 * most))


def _apply(ties: Ties, scales: torch.Tensor) -> None:
    with torch.no_grad():
        for reader in ties.readers:
            layer = reader.layer
            s = scales[torch.from_numpy(ties.roots(reader.inputs))].double()
            t = scales[torch.from_numpy(ties.roots(reader.outputs))].double()
            weight = layer.by_input(layer.weight.double())
            weight = weight / s.reshape(layer.groups, 1, -1, 1) * t.reshape(layer.groups, -1, 1, 1)
            layer.weight.copy_(weight.reshape(layer.weight.shape).float())
            if layer.bias is not None:
                layer.bias.copy_((layer.bias.double() * t).float())
        for norm in ties.norms:
            t = scales[torch.from_numpy(ties.roots(norm.outputs))]
            norm.module.weight.mul_(t)
            if norm.module.bias is not None:
                norm.module.bias.mul_(t)
