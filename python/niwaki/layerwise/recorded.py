"""The calls of a recurrent layer or cell while a network runs, and which of them are steps of one sequence.

A loop that hands a cell the state that the cell has just made goes through one sequence, as the layer of that kind
does. A gradient reaches such a state on two ways: from what the network reads, and from the next step. Only the first
is what an error of it counts by itself; so the next step gets the state on a way of its own.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.nn.utils.rnn import PackedSequence


@dataclass(eq=False)
class Call:
    """A call of a layer.

    Attributes:
        args, kwargs: what it was given.
        made: what it gave.
        output: the same, as the network got it.
        before: the call whose states it goes on from; None where they are others.
        followed: whether another call goes on from it.
        read: the gradients that reach each of its results from what the network reads.
        onward: those that reach its states from the next step.
    """

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    made: Any
    output: Any
    before: Call | None
    followed: bool = False
    read: dict[int, torch.Tensor] = field(default_factory=dict)
    onward: dict[int, torch.Tensor] = field(default_factory=dict)

    def gradients(self, *, inner: bool) -> list[torch.Tensor]:
        """Those at each of its results; of an inner step of a sequence, what the network reads alone."""
        ways = (self.read,) if inner else (self.read, self.onward)
        found = []
        for index, value in enumerate(tensors_of(self.output)):
            parts = [way[index] for way in ways if index in way]
            found.append(torch.stack(parts).sum(0) if parts else torch.zeros_like(value))
        return found


@contextlib.contextmanager
def recorded(layer: nn.Module) -> Iterator[list[Call]]:
    """The calls of a layer while this lasts, with the gradients that reach their results."""
    calls: list[Call] = []
    going: list[Call | None] = []

    def begin(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        given = args[1] if len(args) > 1 else kwargs.get("hx")
        free = (call for call in reversed(calls) if not call.followed)
        before = next((call for call in free if _same(_states(layer, call.output), given)), None)
        going.append(before)
        if before is None:
            return None
        before.followed, own = True, _apart(_states(layer, before.made))
        first = len(tensors_of(before.made)) - len(_flat(own))
        _keep_gradients(_flat(own), before.onward, first)
        return ((args[0], own, *args[2:]), kwargs) if len(args) > 1 else (args, {**kwargs, "hx": own})

    def keep(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
        # What the network reads: the cell of an LSTM is part of how its state is made, too.
        call = Call(args, kwargs, output, _apart(output), going.pop())
        _keep_gradients(tensors_of(call.output), call.read)
        calls.append(call)
        return call.output

    hooks = [
        layer.register_forward_pre_hook(begin, with_kwargs=True),
        layer.register_forward_hook(keep, with_kwargs=True),
    ]
    try:
        yield calls
    finally:
        for hook in hooks:
            hook.remove()


def chains(layer: nn.Module, old: Sequence[Call], new: Sequence[Call]) -> list[list[int]]:
    """The numbers of calls that are one sequence each, in the network as it was and as it is.

    A sequence ends where the network reads a state that the layer over all steps would not give: a cell within, or
    states of several layers.
    """
    places = [{id(call): number for number, call in enumerate(calls)} for calls in (old, new)]
    found: list[list[int]] = []
    of: dict[int, list[int]] = {}
    for number, pair in enumerate(zip(old, new, strict=True)):
        firsts = [
            None if call.before is None else place[id(call.before)] for call, place in zip(pair, places, strict=True)
        ]
        first = firsts[0]
        if first is not None and firsts[1] == first and not _hidden(layer, old[first]):
            of[number] = of[first]
        else:
            of[number] = []
            found.append(of[number])
        of[number].append(number)
    return found


def _states(layer: nn.Module, output: Any) -> Any:
    """The states among results; None where no call goes on from them: of packed sequences, and of both directions."""
    if not isinstance(layer, nn.RNNBase):
        return output
    return None if layer.bidirectional or isinstance(output[0], PackedSequence) else output[1]


def _flat(states: Any) -> tuple[Any, ...]:
    return (states,) if isinstance(states, torch.Tensor) else tuple(states or ())


def _keep_gradients(parts: Sequence[torch.Tensor], kept: dict[int, torch.Tensor], first: int = 0) -> None:
    """Into `kept`, by their numbers from the first one on, once there are any."""
    for index, part in enumerate(parts, first):
        if part.requires_grad:
            part.register_hook(lambda g, index=index: kept.__setitem__(index, g.detach()))


def _same(states: Any, given: Any) -> bool:
    """Whether a call was given these very states."""
    own, others = _flat(states), _flat(given)
    return 0 < len(own) == len(others) and all(a is b for a, b in zip(own, others, strict=True))


def _hidden(layer: nn.Module, call: Call) -> bool:
    """Whether the network reads states that a layer over more steps would not give."""
    cells = 1 if not isinstance(layer, nn.RNNBase) else 2 if layer.num_layers == 1 else 1
    return any(index >= cells and bool(gradient.any()) for index, gradient in call.read.items())


def _apart(output: Any) -> Any:
    """The same results as tensors of their own."""
    if isinstance(output, PackedSequence):
        return output._replace(data=output.data.clone())
    return tuple(map(_apart, output)) if isinstance(output, tuple) else output.clone()


def tensors_of(output: Any) -> list[torch.Tensor]:
    """y, h and c of what a layer returned, or h and c of a cell; y of a packed sequence is its rows."""
    if isinstance(output, torch.Tensor):
        return [output]
    first, last = output
    first = first.data if isinstance(first, PackedSequence) else first
    return [first, *(last if isinstance(last, tuple) else (last,))]
