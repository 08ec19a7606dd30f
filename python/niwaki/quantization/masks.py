"""Which values of a graph carry a mask: numbers such as -1e4 or -inf, put there to leave elements out.

They are no data. Whatever reads them (a softmax, a maximum) only asks whether they are far below the rest, so a range
that holds them would waste all of its steps on nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch.fx import GraphModule, Node
from torch.utils import _pytree as pytree

from niwaki.lower.nodes import constant_of, short_name, tensor_of

# What is as low as this, where a mask comes from, is a mask.
MASK = -1e4
# What is below this, where a mask has been added to data, was masked.
MASKED = MASK / 2

_FILLS = {"full", "full_like", "new_full", "scalar_tensor", "masked_fill", "where", "pad", "constant_pad_nd", "fill"}
_KEEPS = {
    "add", "sub", "div", "neg", "where", "masked_fill", "minimum", "maximum", "min", "max", "amax", "clamp",
    "clamp_max", "cat", "stack", "view", "reshape", "_unsafe_view", "flatten", "unflatten", "expand", "expand_as",
    "permute", "transpose", "t", "squeeze", "unsqueeze", "slice", "select", "index_select", "gather", "index", "split",
    "chunk", "split_with_sizes", "unbind", "getitem", "repeat", "tile", "flip", "roll", "triu", "tril", "pad",
    "constant_pad_nd", "max_pool1d", "max_pool2d", "max_pool3d", "clone", "contiguous", "alias", "detach", "to",
    "_to_copy", "fill",
}  # fmt: skip


def masked_values(program: GraphModule, inputs: Mapping[Node, Any]) -> set[Node]:
    """The nodes whose values hold masks.

    Args:
        program: a captured graph.
        inputs: what its placeholders are given.
    """
    found: set[Node] = set()
    flags: set[Node] = set()  # nodes that hold nothing but 0 and 1
    for node in program.graph.nodes:
        if _is_flag(node, flags):
            flags.add(node)
        if _begins(node, flags, inputs) or (_keeps(node) and any(source in found for source in node.all_input_nodes)):
            found.add(node)
    return found


def _is_flag(node: Node, flags: set[Node]) -> bool:
    """Whether a float32 value was true and false, or is one minus such a value."""
    value = tensor_of(node)
    if value is None:
        return False
    if not value.is_floating_point():
        return True
    if node.op != "call_function":
        return False
    sources = [source for source in node.all_input_nodes if tensor_of(source) is not None]
    passes = short_name(node) in _KEEPS | {"rsub", "mul"} and short_name(node) not in _FILLS
    return passes and bool(sources) and all(source in flags for source in sources)


def _begins(node: Node, flags: set[Node], inputs: Mapping[Node, Any]) -> bool:
    """Whether the node brings a mask in."""
    if node.op == "placeholder":
        value = inputs.get(node)
        return isinstance(value, torch.Tensor) and value.is_floating_point() and bool(_only_mask(value))
    if node.op == "get_attr":
        value = constant_of(node)
        return isinstance(value, torch.Tensor) and value.is_floating_point() and _low(value)
    if node.op != "call_function":
        return False
    name = short_name(node)
    numbers = [leaf for leaf in pytree.tree_leaves((node.args, node.kwargs)) if isinstance(leaf, (int, float))]
    low = any(number <= MASK for number in numbers if not isinstance(number, bool))
    if name in _FILLS:
        return low
    if name != "mul":
        return False
    # (1 - mask) * -1e4: no other product is known to be a mask.
    sources = [source for source in node.all_input_nodes if tensor_of(source) is not None]
    constants = [source for source in sources if source.op == "get_attr"]
    low = low or any(_low(constant_of(source)) for source in constants)
    return low and any(source in flags for source in sources if source not in constants)


def _keeps(node: Node) -> bool:
    return node.op == "call_function" and short_name(node) in _KEEPS


def _low(value: torch.Tensor) -> bool:
    return value.numel() > 0 and value.is_floating_point() and float(value.min()) <= MASK


def _only_mask(value: torch.Tensor) -> bool:
    """Nothing but 0 and numbers as low as a mask, and some of these."""
    return _low(value) and bool(((value == 0) | (value <= MASK)).all())
