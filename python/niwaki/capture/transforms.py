"""Transforms of functions within a network, torch.vmap and torch.func, of which a graph holds no more than traces."""

from __future__ import annotations

from torch._subclasses import FakeTensor
from torch.export import ExportedProgram
from torch.fx import GraphModule

WORDS = (
    "It maps a function over an axis or takes its derivative (torch.vmap, torch.func), which torch.export does not "
    "carry into a graph. Write the axis or the derivative out, or do it outside of the network."
)


def is_transformed(exported: ExportedProgram) -> bool:
    """Whether the graph has calls that only torch's transforms can run, or constants without values, their remains."""
    graphs = [part.graph for part in exported.graph_module.modules() if isinstance(part, GraphModule)]
    calls = (getattr(node.target, "__module__", None) for graph in graphs for node in graph.nodes)
    if any(str(module).startswith("torch._functorch") for module in calls):
        return True
    return any(isinstance(value, FakeTensor) for value in exported.constants.values())
