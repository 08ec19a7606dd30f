"""A walk through the graph of a network, node by node, with the values of all batches.

Layer-by-layer methods need the inputs of each layer as the layers before it are by then. Run from the start for every
layer, that is quadratic in depth; here, each node runs once per batch, and a value is dropped after its last use.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.fx import GraphModule, Node
from torch.fx.node import map_arg
from torch.utils import _pytree as pytree

from niwaki.capture import capture, evaluating, shapes_of
from niwaki.errors import NiwakiError, first_sentence
from niwaki.layerwise.versions import versions_of
from niwaki.modules.layer import LAYER_CALLS, Layer, layer_of, named_layers
from niwaki.modules.names import CELLS, RECURRENT
from niwaki.quantization.inputs import Batch
from niwaki.runs.progress import track

# Values that are alive at a time, of both networks and all batches.
MEMORY = 3 << 30
# With fewer inputs than so many for each weight of an output, a layer sees further versions of them.
_FEW = 0.5


@dataclass(frozen=True)
class Visit:
    """A layer that is about to run for the first time.

    Attributes:
        name: the layer's name in the network.
        layer: the layer itself; its weight and bias may be replaced in place.
        inputs: of each batch, as the layer has them now. After them, of a layer that is called several times, those of
            its later calls: as they were before the walk, for the network has not come so far.
        references: what the layer got in the network as it was before the walk, in the same order.
        weight, bias: of the layer as it was before the walk.
        origins: which batch of the calibration each of the inputs stems from, in the same order: there may be several
            versions of a batch, and calls after the first.
        varied: there are further versions among them.
    """

    name: str
    layer: Layer
    inputs: Sequence[torch.Tensor]
    references: Sequence[torch.Tensor]
    weight: torch.Tensor
    bias: torch.Tensor | None
    origins: Sequence[int] = ()
    varied: bool = False


@dataclass
class _Run:
    """A batch on its way through the network: its graph, and the values that are alive, now and in the reference."""

    batch: Batch
    origin: int
    program: GraphModule
    nodes: list[Node]
    now: dict[str, Any]
    before: dict[str, Any]


class Walk:
    """The graphs of a network for all shapes of the batches, and the walk through them.

    Args:
        model: a float32 network in eval mode without parametrizations; its layers may be changed on the way.
        batches: inputs. Only as many are used as fit `memory`, at least one.
        memory: bytes of values that may be alive at a time.
        vary: whether layers with few inputs see further versions of them, where these are images (see versions.py): as
            many as fit the memory from there on.

    Raises:
        NiwakiError: the network cannot be captured, or its graph is another one for another shape.
    """

    def __init__(self, model: nn.Module, batches: Iterable[Batch], *, memory: int = MEMORY, vary: bool = False) -> None:
        self._model = model
        self._memory = memory
        self._vary = vary
        self._programs: dict[tuple[Any, ...], GraphModule] = {}
        self.batches: list[Batch] = []
        self._graphs: list[GraphModule] = []
        used = 0
        for batch in batches:
            program = self._program(batch)
            # Inputs are held twice, with a copy for networks that write to them.
            used += 2 * _peak(program)
            if self.batches and used > memory:
                break
            self.batches.append(batch)
            self._graphs.append(program)
        if not self.batches:
            raise ValueError("calibration is empty; give at least one input, better some hundred typical ones.")

    def _program(self, batch: Batch) -> GraphModule:
        key = shapes_of(batch.args, batch.kwargs)
        if key not in self._programs:
            copied = batch.copy()
            program = capture(self._model, copied.args, copied.kwargs, free=False).program()
            for known in self._programs.values():
                if _names(known) != _names(program):
                    raise NiwakiError(
                        f"{batch}: the network is another graph for this shape; calibrate with one shape."
                    )
            self._programs[key] = program
        return self._programs[key]

    def layers(self) -> list[Layer]:
        """The layers that the network calls, once each, in order."""
        modules = dict(self._model.named_modules(remove_duplicate=False))
        called = [layer_called(node, modules) for node in self._graphs[0].graph.nodes]
        return list(dict.fromkeys(found[1] for found in called if found is not None))

    def run(
        self,
        visit: Callable[[Visit], None],
        *,
        recurrent: Callable[[str], None] | None = None,
        reference: bool = True,
        what: str = "",
        progress: bool = False,
    ) -> None:
        """Walks through the network and calls `visit` before each layer runs for the first time.

        Args:
            visit: may write to the layer's weight and bias.
            recurrent: is called with the name of each recurrent layer or cell before it runs for the first time, and
                may write to its weights and biases.
            reference: whether the network as it was runs beside it; else, `references` are `inputs`.
            what: names the progress bar.
            progress: tells on stderr how far it is.
        """
        modules = dict(self._model.named_modules(remove_duplicate=False))
        originals = _originals(self._model)
        runs = [self._begin(batch, index, reference) for index, batch in enumerate(self.batches)]
        inputs = sum(batch.inputs for batch in self.batches)
        waiting = versions_of(self._model, self.batches) if self._vary else iter(())
        last = _last_uses(runs[0].nodes)
        seen: set[Layer] = set()
        met: set[nn.Module] = set()
        with evaluating(self._model):
            later = self._later_calls(modules)
            for step, node in enumerate(track(runs[0].nodes, what, progress)):
                for path in () if recurrent is None else _recurrent_read(node, modules):
                    if recurrent is not None and modules[path] not in met:
                        met.add(modules[path])
                        recurrent(path)
                called = layer_called(node, modules)
                if called is not None and called[1] not in seen:
                    name, layer = called
                    seen.add(layer)
                    if inputs < _FEW * layer.weight[0].numel():
                        for run in self._more(waiting, len(runs), step, reference):
                            for at in range(step):
                                self._step(run, at, originals, last, reference)
                            runs.append(run)
                    visit(self._visit(name, layer, node, runs, later.get(layer, []), originals))
                for run in runs:
                    self._step(run, step, originals, last, reference)

    def _begin(self, batch: Batch, origin: int, reference: bool) -> _Run:
        program = self._program(batch)
        now: dict[str, Any] = {}
        return _Run(batch, origin, program, list(program.graph.nodes), now, {} if reference else now)

    def _more(self, waiting: Iterator[tuple[int, Batch]], count: int, step: int, reference: bool) -> Iterator[_Run]:
        """So many further versions as fit the memory from a step on, beside `count` batches."""
        most = max(_peak(program, step) for program in self._graphs) * (2 if reference else 1)
        while (count + 1) * most <= self._memory:
            found = next(waiting, None)
            if found is None:
                return
            count += 1
            yield self._begin(found[1], found[0], reference)

    def _step(
        self,
        run: _Run,
        step: int,
        originals: dict[int, torch.Tensor],
        last: Mapping[str, Sequence[str]],
        reference: bool,
    ) -> None:
        """Runs a node for a batch."""
        node = run.nodes[step]
        run.now[node.name] = self._value(node, run.program, run.now, run.batch, None)
        if reference:
            run.before[node.name] = self._value(node, run.program, run.before, run.batch, originals)
        for name in last.get(node.name, ()):
            run.now.pop(name, None)
            run.before.pop(name, None)

    def _visit(
        self,
        name: str,
        layer: Layer,
        node: Node,
        runs: Sequence[_Run],
        later: Sequence[tuple[int, torch.Tensor]],
        originals: Mapping[int, torch.Tensor],
    ) -> Visit:
        source = _source(node)
        more = [x for _, x in later]
        inputs = [*(run.now[source] for run in runs), *more]
        same = all(run.before is run.now for run in runs)
        references = inputs if same else [*(run.before[source] for run in runs), *more]
        origins = [*(run.origin for run in runs), *(origin for origin, _ in later)]
        weight, bias = originals[id(layer.weight)], originals.get(id(layer.bias))
        return Visit(name, layer, inputs, references, weight, bias, origins, len(runs) > len(self.batches))

    def _later_calls(self, modules: Mapping[str, nn.Module]) -> dict[Layer, list[tuple[int, torch.Tensor]]]:
        """The inputs of layers from their second calls on, with their batch, by the layer. Runs where there are any."""
        nodes = list(self._graphs[0].graph.nodes)
        called = [None if found is None else found[1] for found in (layer_called(node, modules) for node in nodes)]
        later = {node.name for i, node in enumerate(nodes) if called[i] is not None and called[i] in called[:i]}
        inputs: dict[Layer, list[tuple[int, torch.Tensor]]] = {}
        last = _last_uses(nodes)
        for index, batch in enumerate(self.batches if later else ()):
            values: dict[str, Any] = {}
            for layer, node in zip(called, self._graphs[index].graph.nodes, strict=True):
                if node.name in later and layer is not None:
                    inputs.setdefault(layer, []).append((index, values[_source(node)].clone()))
                values[node.name] = self._value(node, self._graphs[index], values, batch, None)
                for name in last.get(node.name, ()):
                    values.pop(name, None)
        return inputs

    def _value(
        self,
        node: Node,
        program: GraphModule,
        values: dict[str, Any],
        batch: Batch,
        originals: dict[int, torch.Tensor] | None,
    ) -> Any:
        if node.op == "placeholder":
            copied = batch.copy()
            leaves = pytree.tree_leaves((copied.args, copied.kwargs))
            position = [n.name for n in program.graph.nodes if n.op == "placeholder"].index(node.name)
            return leaves[position]
        if node.op == "get_attr":
            value = _attribute(program, str(node.target))
            return (
                originals.get(id(value), value) if originals is not None and isinstance(value, torch.Tensor) else value
            )
        if node.op == "output":
            return None
        args, kwargs = map_arg((node.args, node.kwargs), lambda n: values[n.name])
        try:
            if node.op == "call_module":
                return _attribute(program, str(node.target))(*args, **kwargs)
            return node.target(*args, **kwargs)  # type: ignore[operator]
        except (TypeError, RuntimeError, IndexError) as error:
            raise ValueError(f"{batch}: the network cannot be run with it: {first_sentence(error)}.") from error


def _names(program: GraphModule) -> list[tuple[str, str]]:
    return [(node.op, node.name) for node in program.graph.nodes]


def _attribute(root: Any, path: str) -> Any:
    for part in path.split("."):
        root = getattr(root, part)
    return root


def _source(node: Node) -> str:
    assert isinstance(node.args[0], Node)
    return node.args[0].name


def layer_called(node: Node, modules: Mapping[str, nn.Module]) -> tuple[str, Layer] | None:
    """The layer that a node calls: one whose weight is a parameter of a convolution or linear layer."""
    if node.op != "call_function" or node.target not in LAYER_CALLS or len(node.args) < 2:
        return None
    weight = node.args[1]
    while isinstance(weight, Node) and weight.target is torch.ops.aten.to.dtype and weight.args[1] == torch.float32:
        weight = weight.args[0]  # as timm's layers write it: the weight itself
    if not isinstance(weight, Node) or weight.op != "get_attr" or not isinstance(node.args[0], Node):
        return None
    path, _, what = str(weight.target).rpartition(".")
    layer = layer_of(modules[path]) if what == "weight" and path in modules else None
    return None if layer is None else (path, layer)


def _recurrent_read(node: Node, modules: Mapping[str, nn.Module]) -> list[str]:
    """The recurrent layers and cells whose weights a node reads."""
    paths = [str(part.target).rpartition(".")[0] for part in node.all_input_nodes if part.op == "get_attr"]
    return [path for path in dict.fromkeys(paths) if isinstance(modules.get(path), (*RECURRENT, *CELLS))]


def _originals(model: nn.Module) -> dict[int, torch.Tensor]:
    """Copies of the weights and biases of layers and recurrent layers, by id."""
    parameters = [part for _, layer in named_layers(model) for part in (layer.weight, layer.bias) if part is not None]
    recurrent = [part for part in model.modules() if isinstance(part, (*RECURRENT, *CELLS))]
    parameters += [parameter for part in recurrent for parameter in part.parameters(recurse=False)]
    return {id(part): part.detach().clone() for part in parameters}


def _last_uses(nodes: Sequence[Node]) -> dict[str, list[str]]:
    """The values that nothing needs after a node, by its name."""
    last: dict[str, str] = {}
    for node in nodes:
        last[node.name] = node.name
        for used in node.all_input_nodes:
            last[used.name] = node.name
    done: dict[str, list[str]] = {}
    for name, at in last.items():
        done.setdefault(at, []).append(name)
    return done


def _bytes(value: Any) -> int:
    tensors = [x for x in pytree.tree_leaves(value) if isinstance(x, torch.Tensor)]
    return sum(x.element_size() * math.prod(x.shape) for x in tensors)


def _peak(program: GraphModule, begin: int = 0) -> int:
    """The most bytes of values that are alive at once for one batch, from a node on."""
    nodes = list(program.graph.nodes)
    done = _last_uses(nodes)
    sizes = {n.name: 0 if n.op == "get_attr" else _bytes(n.meta.get("val")) for n in nodes}
    alive = most = 0
    for step, node in enumerate(nodes):
        alive += sizes[node.name]
        most = max(most, alive) if step >= begin else 0
        alive -= sum(sizes[name] for name in done.get(node.name, ()))
    return most


def first(items: Iterable[Batch], count: int) -> Iterator[Batch]:
    """Batches until `count` inputs are reached, counted along the first dimension."""
    seen = 0
    for batch in items:
        leaves = [x for x in pytree.tree_leaves((batch.args, batch.kwargs)) if isinstance(x, torch.Tensor)]
        seen += leaves[0].shape[0] if leaves[0].dim() else 1
        yield batch
        # Before the next one is asked for: it may be wanted by someone else.
        if seen >= count:
            return
