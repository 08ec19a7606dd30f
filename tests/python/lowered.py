"""What the tests of lowering share: a function of tensors, captured, lowered twice, and run at several sizes.

Once into the core's graph, and once into that of core_reference.py, which computes in torch what the operators are
defined to compute.
"""

from __future__ import annotations

import copy
import dataclasses
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch
from core_reference import Graph
from torch import nn
from torch.fx import GraphModule, Interpreter, Node
from torch.utils import _pytree as pytree

import niwaki.nn
from niwaki import _core
from niwaki.capture import Captured, capture
from niwaki.lower import NativeStage, Program, build_program
from niwaki.lower.canonical import canonicalize
from niwaki.lower.foreseen import foreseen
from niwaki.lower.nodes import name_nodes, origin
from niwaki.quantization import Ranges

Call = tuple[Any, ...]


class Of(nn.Module):
    """A module of a function, which gets the module itself first where it has parts: modules, parameters, buffers."""

    def __init__(self, function: Callable[..., Any], **parts: Any) -> None:
        super().__init__()
        self.function = function
        for name, part in parts.items():
            if isinstance(part, torch.Tensor) and not isinstance(part, nn.Parameter):
                self.register_buffer(name, part)
            else:
                setattr(self, name, part)
        self.own = bool(parts)

    def forward(self, *args: torch.Tensor) -> Any:
        return self.function(self, *args) if self.own else self.function(*args)


@contextmanager
def reference() -> Any:
    """Lowering fills graphs of core_reference.py."""
    with mock.patch.object(_core, "Graph", Graph):
        yield


def lower(captured: Captured, ranges: Ranges | None = None) -> Program:
    """The stages of a captured module."""
    return build_program(captured, Ranges() if ranges is None else ranges, "a test")


def run(program: Program, call: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """The tensors that the network returns, in order."""
    values: dict[int, torch.Tensor] = dict(enumerate(call))
    for stage in program.stages:
        inputs = [values[number].contiguous() for number in stage.inputs]
        if isinstance(stage, NativeStage):
            outputs = stage.graph.run(*inputs) if isinstance(stage.graph, Graph) else _run_core(stage.graph, inputs)
        else:
            with torch.no_grad():
                outputs = stage.module(*inputs)
        values.update(zip(stage.outputs, outputs, strict=True))
    results = [values[number] for number in program.results]
    kinds: Mapping[str, Sequence[torch.Tensor]] = {"input": call, "output": results}
    return [kinds[leaf.kind][leaf.index] for leaf in program.result_leaves if hasattr(leaf, "kind")]


def _run_core(graph: _core.Graph, inputs: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    session = _core.Session(_core.Model(graph), 1)
    shapes = [tuple(tensor.shape) for tensor in inputs]
    outputs = [
        torch.empty(tuple(shape), dtype=getattr(torch, port["dtype"]))
        for shape, port in zip(session.output_shapes(shapes), graph.output_ports, strict=True)
    ]
    session.run(
        [(tensor.data_ptr(), shape) for tensor, shape in zip(inputs, shapes, strict=True)],
        [tensor.data_ptr() for tensor in outputs],
    )
    return outputs


def quantized(module: nn.Module, *calls: Call) -> tuple[nn.Module, Ranges]:
    """The module with int8 layers, and the ranges of its values in these calls: lowest and highest."""
    module = copy.deepcopy(module).eval()
    layers = {name: part for name, part in module.named_modules() if isinstance(part, (nn.Conv2d, nn.Linear))}
    seen: dict[str, list[float]] = {name: [] for name in layers}
    for name, part in layers.items():
        part.register_forward_pre_hook(lambda _, given, name=name: seen[name].extend(map(float, given[0].aminmax())))
    with torch.no_grad():
        for call in calls:
            module(*call)
    for name, part in layers.items():
        kind = niwaki.nn.Conv2d if isinstance(part, nn.Conv2d) else niwaki.nn.Linear
        owner, _, attribute = name.rpartition(".")
        new = kind.from_float(part, (min(seen[name]), max(seen[name])), name=name)
        setattr(module.get_submodule(owner), attribute, new)
    captured = capture(module, calls[0])
    program = captured.program()
    name_nodes(program)
    canonicalize(program)
    found: dict[str, tuple[float, float]] = {}
    with torch.no_grad():
        for call in calls:
            _Observing(program, found).run(*call, enable_io_processing=False)
    return module, Ranges(captured.fingerprint, found)


class _Observing(Interpreter):
    """Remembers the lowest and the highest element of each value."""

    def __init__(self, program: GraphModule, found: dict[str, tuple[float, float]]) -> None:
        super().__init__(program)
        self._found = found

    def run_node(self, n: Node) -> Any:
        value = super().run_node(n)
        if isinstance(value, torch.Tensor) and value.dtype == torch.float32 and value.numel():
            low, high = self._found.get(origin(n), (math.inf, -math.inf))
            self._found[origin(n)] = min(low, float(value.min())), max(high, float(value.max()))
        return value


def check_u8(module: nn.Module, *calls: Call, floats: Sequence[str] = (), error: float = 0.03) -> Graph:
    """Quantized by its ranges in the calls and lowered, the module gives the bits that its graph is defined to give.

    Args:
        module: whose float32 values, if any, do not depend on how the last bits of float32 turn out.
        calls: inputs, at several sizes.
        floats: names of values that stay float32.
        error: relative, allowed against the module in float32.

    Returns:
        The graph of core_reference.py.
    """
    small, ranges = quantized(module, *calls)
    ranges = dataclasses.replace(ranges, floats=frozenset(floats))
    captured = capture(small, calls[0])
    with reference():
        program = lower(captured, ranges)
    other = lower(captured, ranges)
    (stage,) = program.stages
    for call in calls:
        found = run(program, call)
        assert all(torch.equal(a, b) for a, b in zip(found, run(other, call), strict=True))
        with torch.no_grad():
            wanted = pytree.tree_leaves(module.eval()(*call))
        for a, b in zip(found, wanted, strict=True):
            assert a.shape == b.shape
            assert float((a - b).norm() / b.norm().clamp_min(1e-9)) <= error
    graph = stage.graph
    assert isinstance(graph, Graph)
    return graph


def in_torch(program: Program) -> list[str]:
    """The reasons of what stays in torch."""
    return [reason for stage in program.stages if not isinstance(stage, NativeStage) for reason in stage.reasons]


def check(
    function: Callable[..., Any] | nn.Module,
    *calls: Call,
    tolerance: float = 2e-5,
    whole: bool = True,
    **parts: Any,
) -> Program:
    """Captured from the first call and lowered, the function answers all of them as torch does, both times.

    Args:
        function: of tensors; or a module.
        calls: its arguments, at several sizes.
        tolerance: of the largest difference, as a share of the largest element.
        whole: nothing of it may stay in torch.
        parts: see `Of`.

    Returns:
        The program, with graphs of core_reference.py.
    """
    module = (function if isinstance(function, nn.Module) else Of(function, **parts)).eval()
    captured = capture(module, calls[0])
    with reference():
        program = lower(captured)
    programs = [program, lower(captured)]
    if whole:
        assert not in_torch(program), in_torch(program)
        assert len(program.stages) <= 1
        assert foreseen(module, calls[0]) == []
    for call in calls:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch tells which of its own kernels it takes
            wanted = [leaf for leaf in pytree.tree_leaves(module(*call)) if isinstance(leaf, torch.Tensor)]
        for each in programs:
            agree(run(each, pytree.tree_leaves(call)), wanted, tolerance)
    return program


def agree(found: Sequence[torch.Tensor], wanted: Sequence[torch.Tensor], tolerance: float) -> None:
    """Same types, shapes, infinities and NaN, and numbers within a share of the largest."""
    assert len(found) == len(wanted)
    for a, b in zip(found, wanted, strict=True):
        assert (a.dtype, a.shape) == (b.dtype, b.shape)
        if not b.is_floating_point():
            assert torch.equal(a, b)
            continue
        finite = b.isfinite()
        assert torch.equal(a[~finite].nan_to_num(0.5), b[~finite].nan_to_num(0.5))
        largest = float(b[finite].abs().max()) if finite.any() else 0.0
        assert torch.allclose(a[finite], b[finite], rtol=0, atol=tolerance * max(largest, 1e-3)), (
            float((a - b)[finite].abs().max()),
            largest,
        )
