"""Chooses how each value is held, by what it costs at the network's results: with which range, and whether in 8 bits.

Costs of single values are estimates (costs.py); what they propose is simulated and measured, and taken back where the
errors of the results do not fall. Nothing is changed where 8 bits are good enough everywhere.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from torch.fx import Node

from niwaki.lower.nodes import data_inputs, origin
from niwaki.lower.types import Types
from niwaki.nn.layers import QuantizedLayer
from niwaki.quantization.arithmetic import FloatRun
from niwaki.quantization.costs import Costs, Estimate, Rounding
from niwaki.quantization.errors import Check
from niwaki.quantization.observers import Observer
from niwaki.quantization.programs import source_of
from niwaki.quantization.ranges import Ranges
from niwaki.quantization.simulate import keeps_numbers, types_of

# Relative errors of a result. Below the first, all is well. A value by itself, and all that are unlike together, may
# cost so much; from the third on, ranges for rows pay for what a linear layer reads, where they cost so much less.
_FINE, _MUCH, _ROWS, _APART = 0.01, 0.015, 0.003, 0.5
# A value's parts are unlike where numbers of their own for its channels would cost less by this factor.
_UNLIKE = 4.0
# A layer whose input costs more is left in float32, if float32 is what helps.
_TOO_MUCH = 0.03
# The share of a layer's input that its range may cut off where sequences are shorter, by norms.
_CUT = 0.03
# What is given up for it has to lower the errors to this share.
_BETTER = 0.9


@dataclass(frozen=True)
class Structure:
    """What is chosen for layers, which makes another graph.

    Attributes:
        dynamic: linear layers whose inputs have a range for each row.
        exact: layers that stay in float32.
        costs: by the layer, what 8 bits with one range for all of its input would cost.
        shorter: of `dynamic`, those for sequences shorter than the calibration's; the cost is what is cut off there.
    """

    dynamic: tuple[QuantizedLayer, ...] = ()
    shorter: frozenset[QuantizedLayer] = frozenset()
    exact: tuple[QuantizedLayer, ...] = ()
    costs: Mapping[QuantizedLayer, float] = field(default_factory=dict)


class _Groups:
    """Values that have their numbers in common, for they are made of one another without rounding (union-find)."""

    def __init__(self, types: Types) -> None:
        self._parent: dict[Node, Node] = {}
        for node in types.quantized:
            if keeps_numbers(node, types):
                for source in data_inputs(node):
                    self._join(self.find(node), self.find(source))

    def _join(self, one: Node, other: Node) -> None:
        if one is not other:
            self._parent[one] = other

    def find(self, node: Node) -> Node:
        root = node
        while root in self._parent:
            root = self._parent[root]
        while node is not root:  # the next one who asks has a shorter way
            self._parent[node], node = root, self._parent[node]
        return root


def choose_kinds(check: Check, observers: Mapping[str, Observer], fingerprint: str) -> dict[str, str]:
    """Which of the ranges that its observer offers each value has: the one that costs least.

    Args:
        check: calls to measure on, best those that the observers have not seen: what is cut off shows there.
        observers: of the values, by their names at capture.
        fingerprint: of the graph.
    """
    offered = {name: observer.candidates() for name, observer in observers.items()}
    kinds = list(dict.fromkeys(itertools.chain.from_iterable(offered.values())))
    choices = [
        {name: kind if kind in ranges else next(iter(ranges)) for name, ranges in offered.items()} for kind in kinds
    ]
    if len(kinds) < 2:
        return choices[0] if choices else {}
    types = [types_of(check.program, ranges_of_kinds(observers, choice, fingerprint)) for choice in choices]
    found = check.estimates(types)
    if found is not None:
        groups = _Groups(types[0])
        sums: dict[Node, list[float]] = {}
        for index, costs in enumerate(found.static):
            for place, cost in costs.items():
                sums.setdefault(groups.find(place.node), [0.0] * len(kinds))[index] += float(cost.sum())
        best = dict(choices[-1])
        for node in (*types[0].quantized, *types[0].entering):
            known = sums.get(groups.find(node), [0.0] * len(kinds))
            # The last kind is what an observer gives by itself: it stays where nothing speaks against it.
            best[origin(node)] = kinds[min(reversed(range(len(kinds))), key=lambda kind: known[kind])]
        choices.insert(0, best)
    return min(choices, key=lambda choice: _total(check.errors(ranges_of_kinds(observers, choice, fingerprint))))


def ranges_of_kinds(observers: Mapping[str, Observer], kinds: Mapping[str, str], fingerprint: str) -> Ranges:
    """The range of each value, of the kind that was chosen for it."""
    values = {}
    for name, observer in observers.items():
        offered = observer.candidates()
        values[name] = offered.get(kinds.get(name, ""), observer.range())
    return Ranges(fingerprint, values)


def choose_structure(check: Check, ranges: Ranges, short: Check | None = None) -> Structure:
    """Linear layers whose inputs have a range for each row, and layers that stay in float32.

    Args:
        check: calls to measure on.
        ranges: of the values.
        short: calls of shorter sequences. What attention averages over fewer tokens spans more, so that a range of the
            calibration's length would cut it off.
    """
    before = check.errors(ranges)
    found = None
    dynamic: dict[QuantizedLayer, float] = {}
    exact: dict[QuantizedLayer, float] = {}
    if max(before, default=0.0) > _FINE:
        types, found = check.costs(ranges)
    if found is not None:
        dynamic = _rows(check, types, found)
        if dynamic:
            after = _changed(check, ranges, dynamic, {})
            if _total(after) > _BETTER**2 * _total(before):
                dynamic, after = {}, before
            before = after
        exact = {layer: cost for layer, cost in _layers(check, types, found).items() if layer not in dynamic}
        if exact and _total(_changed(check, ranges, dynamic, exact)) > _BETTER**2 * _total(before):
            exact = {}
    more = {} if short is None else _cut_off(short, ranges, {**dynamic, **exact})
    return Structure((*dynamic, *more), frozenset(more), tuple(exact), {**dynamic, **exact, **more})


def _cut_off(short: Check, ranges: Ranges, chosen: Mapping[QuantizedLayer, float]) -> dict[QuantizedLayer, float]:
    """Linear layers, others than are chosen, whose inputs the ranges cut off where sequences are shorter: how much."""
    before = short.errors(ranges)
    if max(before, default=0.0) <= _MUCH:
        return {}
    program, types = short.program, types_of(short.program, ranges)
    read: dict[Node, set[QuantizedLayer]] = {}
    for call, layer in program.layers.items():
        if source_of(call) in types.quantized or source_of(call) in types.entering:
            read.setdefault(source_of(call), set()).add(layer)
    able = {
        source: layers
        for source, layers in read.items()
        if all(layer.may_be_dynamic and not layer.dynamic and layer not in chosen for layer in layers)
    }
    run = FloatRun(program, short.floats, list(able))
    cut, whole = dict.fromkeys(able, 0.0), dict.fromkeys(able, 0.0)
    for given in short.calls:
        run.call(given)
        for source in able:
            value, numbers = run.seen[source].double(), types.qparams(source)
            low, high = (numbers.scale * (end - numbers.zero_point) for end in (0, 255))
            cut[source] += float((value - value.clamp(low, high)).square().sum())
            whole[source] += float(value.square().sum())
    more = {
        layer: math.sqrt(cut[source] / whole[source])
        for source, layers in able.items()
        if cut[source] > _CUT**2 * whole[source]
        for layer in layers
    }
    if not more or _total(_changed(short, ranges, more, {})) > _BETTER**2 * _total(before):
        return {}
    return more


def _changed(
    check: Check, ranges: Ranges, dynamic: Mapping[QuantizedLayer, float], exact: Mapping[QuantizedLayer, float]
) -> list[float]:
    """The errors if some layers took float32 inputs."""
    calls = check.program.layers.items()
    floats = {origin(source_of(call)) for call, layer in calls if layer in dynamic or layer in exact}
    tried = Ranges(ranges.fingerprint, ranges.values, ranges.floats | floats)
    return check.errors(tried, dynamic=dynamic, exact=exact)


def _read(check: Check, types: Types, found: Estimate) -> dict[Node, tuple[list[Node], Costs, Rounding]]:
    """Values that layers read: the calls, the cost of rounding the value, and where it is rounded.

    Where each call rounds for itself, the costs are added, and the place is that of the first.
    """
    groups = _Groups(types)
    values: dict[Node, tuple[list[Node], Costs, Rounding]] = {}
    for call in check.program.layers:
        source = source_of(call)
        inside = source in types.quantized
        place = Rounding(groups.find(source)) if inside else Rounding(source, call)
        cost = found.static[0].get(place)
        if cost is None:
            continue
        if source not in values:
            values[source] = ([call], cost, place)
        else:
            calls, before, first = values[source]
            values[source] = ([*calls, call], before if inside else before + cost, first)
    return values


def _rows(check: Check, types: Types, found: Estimate) -> dict[QuantizedLayer, float]:
    """Linear layers that are to have a range for each row, with what one range for all would cost."""
    chosen: dict[QuantizedLayer, float] = {}
    for source, (calls, cost, _) in _read(check, types, found).items():
        layers = {check.program.layers[call] for call in calls}
        if not all(layer.may_be_dynamic and not layer.dynamic for layer in layers):
            continue
        rows = sum((found.rows[call] for call in calls if call in found.rows), np.zeros_like(cost))
        # What is computed in 8 bits anyway would have to be computed in float32.
        least = _MUCH if source in types.quantized else _ROWS
        much = cost - rows > (_FINE if source not in types.quantized else _MUCH) ** 2
        if bool((much | ((cost > least**2) & (rows < _APART**2 * cost))).any()):
            chosen |= dict.fromkeys(layers, float(np.sqrt(cost.max())))
    return chosen


def _layers(check: Check, types: Types, found: Estimate) -> dict[QuantizedLayer, float]:
    """Layers whose inputs have parts so unlike that no range suits them, with what their rounding costs."""
    chosen: dict[QuantizedLayer, float] = {}
    for _, (calls, cost, place) in _read(check, types, found).items():
        channels = found.channels.get(place)
        if channels is None or place not in found.static[0]:
            continue
        unlike = found.static[0][place] > _UNLIKE**2 * channels
        if bool(((cost > _TOO_MUCH**2) & unlike).any()):
            chosen |= dict.fromkeys((check.program.layers[call] for call in calls), float(np.sqrt(cost.max())))
    return chosen


def choose_floats(check: Check, ranges: Ranges) -> tuple[Ranges, dict[str, float]]:
    """The ranges with the values that stay float32, and by their names what 8 bits would cost.

    Float32 is proposed for values that cost too much by themselves, and for those of unlike parts (a residual stream
    with a few large channels, say) that do together.
    """
    costs: dict[str, float] = {}
    before = check.errors(ranges)
    for _ in range(4):
        if max(before, default=0.0) <= _FINE:
            break
        types, found = check.costs(ranges)
        proposed = {} if found is None else _proposed(check, types, found)
        if not proposed:
            break
        tried = Ranges(ranges.fingerprint, ranges.values, ranges.floats | proposed.keys())
        after = check.errors(tried)
        if _total(after) > _BETTER**2 * _total(before):
            break
        ranges, before, costs = tried, after, {**costs, **proposed}
    return ranges, costs


def _proposed(check: Check, types: Types, found: Estimate) -> dict[str, float]:
    """Names of values that are better float32, with what 8 bits cost."""
    groups = _Groups(types)
    members: dict[Node, list[Node]] = {}
    for node in types.quantized:
        members.setdefault(groups.find(node), []).append(node)
    # A value that layers alone read is rounded for them, whatever it is.
    places = [
        place
        for place in found.static[0]
        if place.reader is None and not _only_layers(check, members.get(place.node, [place.node]))
    ]
    chosen: dict[str, float] = {}
    everything = sum(found.static[0].values())
    for place in places:
        cost = found.static[0][place]
        if bool(((cost > (2 * _FINE) ** 2) & (cost > 0.5 * everything)).any()):
            chosen[origin(place.node)] = float(np.sqrt(cost.max()))
    for result in range(len(np.atleast_1d(everything))):
        unlike = {
            place: float(found.static[0][place][result])
            for place in places
            if found.static[0][place][result] > _UNLIKE**2 * found.channels[place][result]
        }
        left = sum(unlike.values())
        if left <= _MUCH**2:
            continue
        for place, part in sorted(unlike.items(), key=lambda item: -item[1]):
            if left <= _FINE**2:
                break
            name = origin(place.node)
            chosen[name] = max(chosen.get(name, 0.0), math.sqrt(part))
            left -= part
    return chosen


def _only_layers(check: Check, group: list[Node]) -> bool:
    users = {user for node in group for user in node.users}
    return all(user in check.program.layers or user in group for user in users)


def _total(errors: list[float]) -> float:
    return sum(error**2 for error in errors)
