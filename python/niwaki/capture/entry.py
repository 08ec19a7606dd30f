"""A captured module with several entry points, taken apart: for each entry the part of the graph that is its own."""

from __future__ import annotations

import dataclasses
import inspect
import re
from dataclasses import dataclass
from typing import Any

import torch
from torch.fx import GraphModule, Node
from torch.utils import _pytree as pytree

from niwaki.capture.captured import Captured, CapturedInput
from niwaki.capture.keywords import keywords_of
from niwaki.capture.sizes import FreeSize, Guard, named_places
from niwaki.errors import NiwakiError
from niwaki.modules.entries import EntryPoints


@dataclass(frozen=True)
class CapturedEntry(Captured):
    """One entry of a captured module.

    Attributes:
        names: of its inputs, by the names of the whole graph's.
        results: the first and the last but one of the whole graph's results that are its own.
        spec: how these are nested.
    """

    names: dict[str, str]
    results: tuple[int, int]
    spec: pytree.TreeSpec

    def program(self) -> GraphModule:
        """What the entry's results are made of. Nodes have the names that they have in the whole graph."""
        module = super().program()
        graph = module.graph
        (output,) = (node for node in graph.nodes if node.op == "output")
        first, last = self.results
        output.args = (tuple(pytree.tree_leaves(output.args[0], is_leaf=lambda leaf: leaf is None)[first:last]),)
        kept = _needed(output)
        for node in list(graph.nodes):
            if node.op == "placeholder" and node.target in self.names:
                kept.add(node)
                node.target = self.names[node.target]
            elif node.op != "placeholder" and node.is_impure() and set(node.all_input_nodes) <= kept:
                kept.add(node)  # a check, say, of what it computes; those of other entries go with these
        for node in reversed(list(graph.nodes)):
            if node not in kept:
                graph.erase_node(node)
        graph.set_codegen(torch.fx.graph.CodeGen())
        module.recompile()
        return module

    @property
    def result_spec(self) -> pytree.TreeSpec:
        return self.spec


def captured_entries(captured: Captured, module: EntryPoints) -> dict[str, CapturedEntry]:
    """The entries of a module that was captured with the arguments of all of them, by their names.

    Raises:
        NiwakiError: the code of one depends on the sizes of another's inputs.
    """
    calls: dict[str, dict[str, Any]] = captured.arguments[captured.keywords]
    inputs = iter(captured.inputs)
    spec = captured.exported.call_spec.out_spec
    ends = _ends(spec)
    found: dict[str, CapturedEntry] = {}
    for name, arguments in calls.items():
        own = [(path, next(inputs)) for path in _tensor_names(arguments)]
        found[name] = _entry(captured, module, name, own, ends[name])
    return found


def _entry(
    captured: Captured,
    module: EntryPoints,
    name: str,
    inputs: list[tuple[str, CapturedInput]],
    results: tuple[tuple[int, int], pytree.TreeSpec],
) -> CapturedEntry:
    entry = module[name]
    places = named_places([(path, info.dims) for path, info in inputs])
    sizes = {
        symbol: dataclasses.replace(captured.sizes[symbol], name=word, where=where)
        for symbol, (word, where) in places.items()
    }
    renamed = {info.name: path for path, info in inputs}
    renamed |= {captured.sizes[symbol].name: size.name for symbol, size in sizes.items()}
    return CapturedEntry(
        exported=captured.exported,
        inputs=tuple(dataclasses.replace(info, name=path) for path, info in inputs),
        sizes=sizes,
        guards=tuple(_guards(captured, name, sizes, renamed)),
        parameters=tuple(
            each for each, parameter in _signature(entry).items() if parameter.kind is parameter.POSITIONAL_OR_KEYWORD
        ),
        arguments=captured.arguments[captured.keywords][name],
        variadic="",
        keywords=keywords_of(entry),
        fingerprint=captured.fingerprint,
        names={info.name: path for path, info in inputs},
        results=results[0],
        spec=results[1],
    )


def _signature(entry: Any) -> dict[str, Any]:
    return dict(inspect.signature(entry.forward).parameters)


def _guards(captured: Captured, name: str, sizes: dict[str, FreeSize], renamed: dict[str, str]) -> list[Guard]:
    """Those on the entry's sizes, in its own words."""
    known = re.compile("|".join(rf"\b{re.escape(each)}\b" for each in sorted(renamed, key=len, reverse=True)) or "(?!)")
    found = []
    for guard in captured.guards:
        if not set(guard.symbols) & set(sizes):
            continue
        if not set(guard.symbols) <= set(sizes):
            raise NiwakiError(
                f"Entry point '{name}' depends on the sizes of another one's inputs: {guard.message} Entries have to "
                "be independent of each other; pass what one needs of another as an input."
            )
        message = known.sub(lambda match: renamed[match.group()], guard.message)
        found.append(dataclasses.replace(guard, message=message))
    return found


def _ends(spec: pytree.TreeSpec) -> dict[str, tuple[tuple[int, int], pytree.TreeSpec]]:
    """Where the results of each entry lie among all, and how they are nested."""
    found = {}
    first = 0
    for index, name in enumerate(spec.context):
        child = spec.child(index)
        found[name] = (first, first + child.num_leaves), child
        first += child.num_leaves
    return found


def _tensor_names(arguments: dict[str, Any]) -> list[str]:
    """Names of the tensors among the arguments, in their order: "past_0" where they are nested."""
    names = []
    for path, leaf in pytree.tree_flatten_with_path(arguments)[0]:
        if isinstance(leaf, torch.Tensor):
            parts = [str(getattr(key, "key", getattr(key, "idx", getattr(key, "name", "")))) for key in path]
            names.append("_".join(parts))
    return names


def _needed(output: Node) -> set[Node]:
    """The node and all that it is made of."""
    kept: set[Node] = set()
    waiting = [output]
    while waiting:
        node = waiting.pop()
        if node not in kept:
            kept.add(node)
            waiting += node.all_input_nodes
    return kept
