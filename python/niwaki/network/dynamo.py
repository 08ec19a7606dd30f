"""torch.compile(small, backend="niwaki"): a compressed network runs compiled wherever the rest of a program calls it.

torch hands a backend the operators that it saw while the network ran, with weights among their inputs. niwaki compiles
a network as `niwaki.compile` does, from the module that these weights are of, and only where what torch saw is all of
it: where both give the same answers for these inputs.
"""

from __future__ import annotations

import gc
import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import nn
from torch.fx import GraphModule, Node
from torch.utils import _pytree as pytree

from niwaki.errors import NiwakiError
from niwaki.network.compilation import compile
from niwaki.quantization.ranges import RANGES_NAME
from niwaki.runtime.network import Network

# What has been compiled of a module, by the names of its arguments, and what its weights were. It serves all sizes.
_networks: WeakKeyDictionary[nn.Module, dict[tuple[str, ...], tuple[Any, Network]]] = WeakKeyDictionary()
# How torch names what an argument of the module's forward is: L['x'], or L['args'][0] and L['kwargs']['x'].
_NAMED = re.compile(r"L\['(\w+)'\]")
_POSITION = re.compile(r"L\['args'\]\[(\d+)\]")
_KEYWORD = re.compile(r"L\['kwargs'\]\['(\w+)'\]")


def backend(
    graph: GraphModule, inputs: Sequence[Any], *, options: Mapping[str, Any] | None = None, mode: str | None = None
) -> Callable[..., Any]:
    """Compiles what torch.compile captured of a compressed network.

    Args:
        graph: the operators.
        inputs: examples of what the graph is called with: the network's inputs, its weights, and sizes.
        options: of torch.compile: {"threads": 2}, as for niwaki.compile.
        mode: of torch.compile; niwaki has none.

    Returns:
        What is called in the graph's place.

    Raises:
        NiwakiError: the network is not one that niwaki.compress or niwaki.quantize returned, or torch saw a part of it
            only.
    """
    options = dict(options or {})
    unknown = set(options) - {"threads"} or ({"mode"} if mode is not None else ())
    if unknown:
        raise TypeError(f"torch.compile with backend 'niwaki' has no option {sorted(unknown)[0]!r}; there is threads.")
    nodes = [node for node in graph.graph.nodes if node.op == "placeholder"]
    module = _owner(inputs)
    positions = {}
    for position, (node, value) in enumerate(zip(nodes, inputs, strict=True)):
        if isinstance(value, torch.Tensor) and not _is_weight(module, value):
            positions[_argument(node, module)] = position
    calls = {name: inputs[position] for name, position in positions.items()}
    if not _is_whole(module, calls, graph, inputs):
        raise NiwakiError(
            f"torch.compile saw a part of {type(module).__name__} only, or another call than its tensors alone make; "
            "use niwaki.compile(module, inputs), which says what it cannot capture."
        )
    key = (*sorted(calls), str(options))

    def run(*given: Any) -> list[Any]:
        arguments = {name: given[position] for name, position in positions.items()}
        known = _networks.setdefault(module, {})
        state = _state(module)
        if key not in known or known[key][0] != state:
            # Not before: torch.compile does not bear torch.export while it compiles.
            known[key] = state, compile(module, (), arguments, **options)
        return pytree.tree_leaves(known[key][1](**arguments))

    disabled: Callable[..., Any] = torch.compiler.disable(run)
    return disabled


def _is_whole(module: nn.Module, calls: dict[str, Any], graph: GraphModule, inputs: Sequence[Any]) -> bool:
    """Whether the module gives for these arguments what the graph does for its inputs."""
    try:
        inspect.signature(module.forward).bind(**calls)
    except TypeError:
        return False  # others are made in a part of the module that torch did not see
    with torch.no_grad():
        seen = pytree.tree_leaves(graph(*inputs))
        whole = pytree.tree_leaves(module(**calls))
    return len(seen) == len(whole) and all(_equal(a, b) for a, b in zip(seen, whole, strict=True))


def _owner(inputs: Sequence[Any]) -> nn.Module:
    """The compressed network that some of the inputs are weights of."""
    given = {id(value) for value in inputs if isinstance(value, torch.Tensor)}
    found: list[nn.Module] = [
        module
        for module in gc.get_objects()
        if issubclass(type(module), nn.Module) and RANGES_NAME in vars(module) and given & _weights(module)
    ]
    if len(found) != 1:
        raise NiwakiError(
            "torch.compile with backend 'niwaki' takes a network that niwaki.compress or niwaki.quantize returned, and "
            f"{'several share' if found else 'none of these has'} the weights that it is called with."
        )
    return found[0]


def _weights(module: nn.Module) -> set[int]:
    return {id(value) for value in (*module.parameters(), *module.buffers())}


def _state(module: nn.Module) -> tuple[Any, ...]:
    """Another one after weights or ranges were changed, such as by load_state_dict."""
    weights = [(id(value), value._version) for value in (*module.parameters(), *module.buffers())]
    return id(vars(module)[RANGES_NAME]), *weights


def _is_weight(module: nn.Module, value: torch.Tensor) -> bool:
    return id(value) in _weights(module)


def _argument(node: Node, module: nn.Module) -> str:
    """The name of the argument of the module's forward that an input of the graph is."""
    source = node.meta["grapharg"].source.name
    source = source() if callable(source) else source
    names = list(inspect.signature(module.forward).parameters)
    for pattern in (_POSITION, _KEYWORD, _NAMED):
        match = pattern.fullmatch(source)
        if match is not None:
            text = match[1]
            if pattern is not _POSITION:
                return text
            if int(text) < len(names):
                return names[int(text)]
    raise NiwakiError(
        f"torch.compile calls {type(module).__name__} with {source}, which is no tensor among its arguments; use "
        "niwaki.compile(module, inputs)."
    )


def _equal(a: Any, b: Any) -> bool:
    if not isinstance(a, torch.Tensor) or not isinstance(b, torch.Tensor):
        return bool(a == b)
    return a.shape == b.shape and a.dtype == b.dtype and bool(((a == b) | ((a != a) & (b != b))).all())
