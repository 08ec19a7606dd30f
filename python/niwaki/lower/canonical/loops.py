"""Recurrent cells and layers that a network calls step after step become one layer over all of these steps."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch.fx import GraphModule, Node

from niwaki.lower.canonical.parts import consecutive, same_numbers, texts
from niwaki.lower.canonical.sizes import SizeNodes
from niwaki.lower.nodes import Size, arguments, inherit, is_getitem, operator_name, place_within, rank_of, shape_of

_aten = torch.ops.aten
_RECURRENT = {"niwaki::recurrent", "niwaki::dynamic_recurrent"}


def join_steps(module: GraphModule, sizes: SizeNodes) -> None:
    """Joins calls of one recurrent layer each of which begins with the states that the one before it ended with.

    What the steps take, none of which may depend on what they make, follows each other along time. What a step makes is
    a part of what the layer makes; of a cell state within, and of the states of several layers, there is no such part:
    where somebody reads one, the run of steps ends there.
    """
    for first in list(module.graph.nodes):
        if not first._erased and _may_join(first):
            steps = _run(first)
            if len(steps) > 1:
                _Joined(steps, sizes).replace()
    module.graph.eliminate_dead_code()


def _may_join(node: Node) -> bool:
    if node.op != "call_function" or operator_name(node) not in _RECURRENT or not all(map(is_getitem, node.users)):
        return False
    given = arguments(node)
    return (
        not given["bidirectional"]
        and given.get("lengths") is None
        and rank_of(given["x"]) == 3
        and isinstance(_length(node), int)
    )


def _time(node: Node) -> int:
    return 1 if arguments(node)["batch_first"] else 0


def _length(node: Node) -> Size:
    """Steps that a call takes."""
    return shape_of(arguments(node)["x"])[_time(node)]


def _layer(node: Node) -> Any:
    """What two calls of one layer have in common: all arguments but inputs and states. Weights may be made of int8."""

    def plain(value: Any) -> Any:
        if isinstance(value, (list, tuple)):
            return tuple(map(plain, value))
        if isinstance(value, Node):
            return value.target if value.op == "get_attr" else (operator_name(value), plain(value.args))
        return value

    return operator_name(node), *(plain(v) for k, v in arguments(node).items() if k not in ("x", "states"))


def _run(first: Node) -> list[Node]:
    """The calls that one layer can stand for, from the first one on."""
    steps, layer = [first], _layer(first)
    tainted: set[Node] = set()
    while True:
        _taint(steps[-1], tainted)
        following = _following(steps[-1], layer)
        if following is None or arguments(following)["x"] in tainted or not _alike(first, following):
            return steps
        steps.append(following)


def _alike(a: Node, b: Node) -> bool:
    """Whether the inputs of two calls differ along time alone."""
    shapes = [texts(arguments(node)["x"]) for node in (a, b)]
    return all(x == y for axis, (x, y) in enumerate(zip(*shapes, strict=True)) if axis != _time(a))


def _taint(node: Node, tainted: set[Node]) -> None:
    """Adds what depends on a node."""
    left = [node]
    while left:
        for user in left.pop().users:
            if user not in tainted:
                tainted.add(user)
                left.append(user)


def _parts(node: Node) -> dict[int, list[Node]]:
    """Who reads which result of a call."""
    found: dict[int, list[Node]] = {}
    for user in node.users:
        index = user.args[1]
        assert isinstance(index, int)
        found.setdefault(index, []).append(user)
    return found


def _result(value: Any) -> tuple[Any, int] | None:
    """Of which call this is which result, if it has the numbers of one."""
    value = same_numbers(value)
    if not isinstance(value, Node) or not is_getitem(value):
        return None
    call, index = value.args
    return (call, index) if isinstance(index, int) else None


def _following(step: Node, layer: Any) -> Node | None:
    """The call that goes on where a call ended; None where there is none, or somebody else needs that state, too."""
    count = len(arguments(step)["states"])
    ends = [(step, 1 + i) for i in range(count)]
    parts = _parts(step)
    found: Node | None = None
    for i in range(count):
        # The h of one layer is the last of its outputs.
        free = i == 0 and arguments(step)["layers"] == 1
        for reader in _readers(parts.get(1 + i, [])):
            goes_on = (
                found in (None, reader)
                and _may_join(reader)
                and [_result(state) for state in arguments(reader)["states"]] == ends
                and _layer(reader) == layer
            )
            if goes_on:
                found = reader
            elif not free:
                return None
    return found


def _readers(nodes: Iterable[Node]) -> list[Node]:
    """Who reads the numbers of nodes, also behind reshapes."""
    found = []
    for node in nodes:
        for user in node.users:
            moved = user.op == "call_function" and user.args[:1] == (node,) and same_numbers(user) is not user
            found += _readers([user]) if moved else [user]
    return found


class _Joined:
    """A recurrent layer for calls of its steps.

    Args:
        steps: the calls.
        sizes: of the graph.
    """

    def __init__(self, steps: Sequence[Node], sizes: SizeNodes) -> None:
        self._steps, self._place, self._sizes = steps, steps[0], sizes
        self._graph = steps[0].graph
        self._x = [arguments(step)["x"] for step in steps]
        self._time = _time(steps[0])
        self._lengths = [int(_length(step)) for step in steps]
        layer = _layer(steps[0])
        # Where the layer is called otherwise, too, all of its calls take time along one axis: it is packed once.
        self._alone = not any(
            _may_join(node) and node not in steps and _layer(node) == layer for node in self._graph.nodes
        )

    def replace(self) -> None:
        """Puts the layer in the place of the first step."""
        _bring_forward(self._x, self._place)
        x, time = self._along_time()
        options = {**arguments(self._place), "x": x, "batch_first": time == 1}
        target = self._place.target
        assert isinstance(target, torch._ops.OpOverload)
        like = self._place.meta["val"]
        shape = list(like[0].shape)
        batch, shape[self._time] = shape[1 - self._time], 1
        width = shape[2]
        whole = [batch, sum(self._lengths), width] if time == 1 else [sum(self._lengths), batch, width]
        joined = self._make(target, [options[argument.name] for argument in target._schema.arguments], None)
        joined.meta["val"] = [like[0].new_empty(whole), *(state.new_empty(state.shape) for state in like[1:])]
        inherit_name(joined, self._place)
        y = self._make(operator.getitem, (joined, 0), whole)
        start = 0
        for step, length in zip(self._steps, self._lengths, strict=True):
            parts, end = _parts(step), start + length
            for index, readers in parts.items():
                if index == 0:
                    new = self._outputs(y, time, start, end)
                elif index == 1 and arguments(step)["layers"] == 1:
                    new = self._one(y, time, end - 1, 0)
                elif step is self._steps[-1]:
                    new = self._make(operator.getitem, (joined, index), like[index].shape)
                else:
                    continue
                for reader in readers:
                    inherit_name(new, reader)
                    reader.replace_all_uses_with(new)
            start = end
        for step in reversed(self._steps):
            _erase(step)

    def _along_time(self) -> tuple[Node, int]:
        """The inputs of all steps, and the axis of time."""
        module = self._graph.owning_module
        assert module is not None
        places = consecutive(self._x)
        rest = texts(self._x[0])
        del rest[self._time]
        if places is not None and places.single:
            whole = texts(places.whole)
            del whole[places.axis]
            with self._graph.inserting_before(self._place):
                if whole == rest and places.axis < 2 and (self._alone or places.axis == self._time):
                    return self._named(places.part(module), places.whole), places.axis
                inner = [size for axis, size in enumerate(shape_of(self._x[0])) if axis != self._time]
                if all(map(self._sizes.knows, inner)) and (self._alone or self._time == 0):
                    return self._in_front(self._named(places.part(module), places.whole), places.axis, inner), 0
        if places is not None and places.axis == self._time and all(same_numbers(x) is x for x in self._x):
            with self._graph.inserting_before(self._place):
                return self._named(places.part(module), places.whole), self._time
        shape = shape_of(self._x[0])
        shape[self._time] = sum(self._lengths)
        return self._make(_aten.cat.default, (self._x, self._time), shape), self._time

    def _in_front(self, part: Node, axis: int, inner: list[Size]) -> Node:
        """[T, N, I] of a part whose steps lie along any axis."""
        shape = shape_of(part)
        order = [axis, *(each for each in range(len(shape)) if each != axis)]
        if axis > 0:
            part = self._make(_aten.permute.default, (part, order), [shape[each] for each in order])
        wanted = [shape[axis], *inner]
        return self._make(_aten.reshape.default, (part, [self._sizes.make(size) for size in wanted]), wanted)

    def _outputs(self, y: Node, time: int, start: int, end: int) -> Node:
        """Those of some steps, as a call of these gives them."""
        if end - start == 1:
            return self._one(y, time, start, self._time)
        assert time == self._time  # steps that are brought into another order are single ones
        shape = shape_of(y)
        shape[time] = end - start
        return self._make(_aten.slice.Tensor, (y, time, start, end), shape)

    def _one(self, y: Node, time: int, step: int, axis: int) -> Node:
        """Those of one step, with an axis of 1."""
        shape = shape_of(y)
        del shape[time]
        found = self._make(_aten.select.int, (y, time, step), shape)
        shape.insert(axis, 1)
        return self._make(_aten.unsqueeze.default, (found, axis), shape)

    def _make(self, target: Any, args: Sequence[Any], shape: Sequence[Size] | None) -> Node:
        with self._graph.inserting_before(self._place):
            node = self._graph.call_function(target, tuple(args))
        if shape is not None:
            node.meta["val"] = self._place.meta["val"][0].new_empty(list(shape))
        return self._named(node, None)

    def _named(self, node: Node, known: Node | None) -> Node:
        if node is not known:
            place_within(node, self._place)
        return node


def inherit_name(node: Node, source: Node) -> None:
    """`node` stands for `source`, and keeps its own value."""
    value = node.meta["val"]
    inherit(node, source)
    node.meta["val"] = value


def _bring_forward(nodes: Sequence[Node], place: Node) -> None:
    """Moves nodes, and what they are made of, in front of a node that none of them depends on."""
    needed, left = set(nodes), list(nodes)
    while left:
        for source in left.pop().all_input_nodes:
            if source not in needed:
                needed.add(source)
                left.append(source)
    behind, node = [], place
    while node.op != "output":
        behind += [node] if node in needed else []
        node = node.next
    for node in behind:
        place.prepend(node)


def _erase(node: Node) -> None:
    """Takes a node away, and those that read it, which nobody reads."""
    for user in list(node.users):
        _erase(user)
    node.graph.erase_node(node)
