"""Which tensors of a captured graph share memory: what is written into one in place shows in the other."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Mapping
from typing import Any

import sympy
import torch
from torch.export import ExportedProgram
from torch.fx import Graph, GraphModule, Node

from niwaki.capture.settings import is_contiguous_in_example
from niwaki.errors import NiwakiError

_aten = torch.ops.aten
_RESHAPES = ("aten::reshape", "aten::flatten")
_DROPOUTS = ("aten::dropout", "aten::feature_dropout", "aten::alpha_dropout", "aten::feature_alpha_dropout")
# They give back what they take where there is nothing to do; their schemas do not say so.
_AS_THEY_ARE = ("aten::type_as", "aten::conj_physical", "aten::atleast_1d", "aten::atleast_2d", "aten::atleast_3d")


def is_mutable(node: Node) -> bool:
    """Whether the node changes one of its arguments."""
    if node.op != "call_function" or not isinstance(node.target, torch._ops.OpOverload):
        return False
    return bool(node.target._schema.is_mutable)


def viewed(node: Node) -> Node | None:
    """The node whose memory this one shows, if it is a view."""
    if node.op != "call_function" or not isinstance(node.target, torch._ops.OpOverload) or is_mutable(node):
        return None
    source = node.args[0] if node.args else None
    if not isinstance(source, Node) or not node.target._schema.returns:
        return None
    name = str(node.target._schema.name)
    if name in _DROPOUTS:
        return source if node.args[2:] == (False,) else None
    if name == "aten::contiguous":
        plain = [*node.args[1:], *node.kwargs.values()] in ([], [torch.contiguous_format])
        return source if plain and _is_contiguous(source) else None  # else these copy
    if name in _RESHAPES:
        return source if _is_contiguous(source) or _is_view(node, source, _sizes_of(source, node)) else None
    if name in ("aten::to", *_AS_THEY_ARE):
        before, after = source.meta.get("val"), node.meta.get("val")
        copies = True in (node.kwargs.get("copy"), *node.args[3:])
        return source if not copies and _kind(before) == _kind(after) else None
    alias = node.target._schema.returns[0].alias_info
    return source if alias is not None and not alias.is_write else None


def _kind(value: Any) -> Any:
    return (value.dtype, value.device, value.layout) if isinstance(value, torch.Tensor) else None


def copy_that_may_be_none(x: torch.Tensor) -> torch.Tensor:
    """A copy row by row, in the place of what copies where x does not lie so; `settle_copies` finds it in the graph."""
    return _aten.alias(x.clone(memory_format=torch.contiguous_format))  # type: ignore[no-any-return]


def without_chance(x: Any) -> Any:
    """A copy of what lies row by row for the example's sizes alone, as the part of it that was padded to a multiple.

    Operators ask how it lies, and the answer would be a condition on sizes.
    """
    if not isinstance(x, torch.Tensor) or is_contiguous(x) or not is_contiguous_in_example(x):
        return x
    return copy_that_may_be_none(x)


def settle_copies(exported: ExportedProgram) -> list[Any]:
    """Takes away copies that torch does not make, where what is written in place shows it.

    Returns conditions on sizes: that those are not 1 for which torch would not copy, but does for others.

    Raises:
        NiwakiError: the example has such a size.
    """
    found: list[Any] = []
    for module in exported.graph_module.modules():
        marks = [node for node in module.graph.nodes if _is_mark(node)] if isinstance(module, GraphModule) else []
        views, conditions = _views(module.graph, marks) if any(map(is_mutable, module.graph.nodes)) else ([], [])
        found += conditions
        for mark in marks:
            copy = mark.args[0]
            kept = copy.args[0] if mark in views else copy
            mark.replace_all_uses_with(kept)
            exported.graph_signature.replace_all_uses(mark.name, kept.name)
            module.graph.erase_node(mark)
            if kept is not copy:
                module.graph.erase_node(copy)
        if marks:
            module.recompile()
    return found


def _views(graph: Graph, marks: list[Node]) -> tuple[list[Node], list[Any]]:
    """The marks of copies to take away, and conditions for the others."""
    able = {}
    for mark in marks:
        shape, source = _ends(mark)
        able[mark] = _is_view(shape, source, _sizes_of(source, shape))
    apart = {node: _owner(node, {}) for node in graph.nodes}
    whole = {node: _owner(node, able) for node in graph.nodes}
    views = [mark for mark in marks if able[mark] and _shows(apart, {whole[mark]}, whole)]
    conditions: list[Any] = []
    for mark in marks:
        if not able[mark] and _shows(whole, {whole[mark], whole[_ends(mark)[1]]}, whole):
            conditions += _conditions(mark)
    return views, conditions


def _is_mark(node: Node) -> bool:
    if node.op != "call_function" or node.target is not _aten.alias.default:
        return False
    copy = node.args[0]
    return isinstance(copy, Node) and copy.target is _aten.clone.default


def _owner(node: Node, through: Mapping[Node, bool]) -> Node:
    """Whose memory a node shows, what is changed in place among it; copies of marks in `through` may be views."""
    while True:
        first = node.args[0] if node.args else None
        if _is_mark(node):
            source = _ends(node)[1] if through.get(node) else node.args[0]
        elif is_mutable(node) or node.target is operator.getitem:
            source = first
        else:
            source = viewed(node) or _list_of(node)
        if not isinstance(source, Node):
            return node
        node = source


def _list_of(node: Node) -> Node | None:
    """What split and its like show parts of."""
    if node.op != "call_function" or not isinstance(node.target, torch._ops.OpOverload) or not node.args:
        return None
    returns = node.target._schema.returns
    views = bool(returns) and str(returns[0].type) == "List[Tensor]" and "(a" in str(node.target._schema)
    return node.args[0] if views and isinstance(node.args[0], Node) else None


def _shows(owners: Mapping[Node, Node], of: set[Node], whole: Mapping[Node, Node]) -> bool:
    """Whether a tensor is changed and read afterwards as one that has another owner, within the memory of some."""
    inside = [node for node, owner in whole.items() if owner in of]
    place = {node: number for number, node in enumerate(owners)}
    last = dict.fromkeys(map(owners.__getitem__, inside), -1)
    for node in inside:
        last[owners[node]] = max([last[owners[node]], *(place[user] for user in node.users)])
    return any(
        is_mutable(node) and end > place[node] and owner is not owners[node]
        for node in inside
        for owner, end in last.items()
    )


def _ends(mark: Node) -> tuple[Node | None, Node]:
    """The reshape that reads a copy, None where it is read as it is, and what is copied."""
    reader = next(iter(mark.users), None)
    named = reader is not None and isinstance(reader.target, torch._ops.OpOverload)
    shape = reader if reader is not None and named and str(reader.target._schema.name) in _RESHAPES else None  # type: ignore[union-attr]
    copy = mark.args[0]
    assert isinstance(copy, Node) and isinstance(copy.args[0], Node)
    return shape, copy.args[0]


def _conditions(mark: Node) -> list[Any]:
    """That sizes are not 1 for which torch would not copy.

    Raises:
        NiwakiError: the example has such a size.
    """
    shape, source = _ends(mark)
    sizes, found = _sizes_of(source, shape), []
    for symbol in sizes:
        if _is_view(shape, source, {**sizes, symbol: 1}):
            if _hints(source, shape)[symbol] == 1:
                raise NiwakiError(
                    f"'{(shape or mark).name}' shows the memory of '{source.name}' where a size is 1, as in the "
                    "example, and is written in place. Write it without the in-place form, or compile with an example "
                    "of larger sizes."
                )
            found.append(sympy.Ne(symbol, 1))
    return found


def _hints(*nodes: Node | None) -> dict[Any, int]:
    """The symbols in the sizes of tensors and in numbers that a node is given, with what they are in the example."""
    found: dict[Any, int] = {}
    for size in _symbolic(*nodes):
        env = size.node.shape_env
        values = getattr(env, "backed_var_to_val", None) or env.var_to_val
        found |= {symbol: int(values[symbol]) for symbol in size.node.expr.free_symbols if symbol in values}
    return found


def _symbolic(*nodes: Node | None) -> Iterator[torch.SymInt]:
    for node in nodes:
        if node is not None:
            for value in (node.meta.get("val"), *(each.meta.get("val") for each in node.all_input_nodes)):
                sizes = [*value.shape, *value.stride()] if isinstance(value, torch.Tensor) else [value]
                yield from (size for size in sizes if isinstance(size, torch.SymInt))


def _sizes_of(*nodes: Node | None) -> dict[Any, int]:
    """Sizes near those of the example, none of them 1."""
    return {symbol: max(2, hint) for symbol, hint in _hints(*nodes).items()}


def _number(size: Any, sizes: dict[Any, int]) -> Any:
    value = size.meta["val"] if isinstance(size, Node) else size
    return int(value.node.expr.xreplace(sizes)) if isinstance(value, torch.SymInt) else value


def _is_view(reshape: Node | None, source: Node, sizes: dict[Any, int]) -> bool:
    """Whether a reshape, or `contiguous` where there is none, shows the memory of its source, for these sizes."""
    value = source.meta["val"]
    shape, strides = ([_number(size, sizes) for size in each] for each in (value.shape, value.stride()))
    try:
        x = torch.empty_strided(shape, strides, dtype=value.dtype, device="meta")
        if reshape is None:
            return bool(x.is_contiguous())
        args, kwargs = torch.fx.node.map_aggregate(
            (reshape.args[1:], dict(reshape.kwargs)), lambda each: _number(each, sizes)
        )
        found = reshape.target(x, *args, **kwargs)  # type: ignore[operator]
        return bool(found is x or found._is_view())
    except Exception:  # no such sizes
        return False


def _is_contiguous(node: Node) -> bool:
    value = node.meta.get("val")
    return isinstance(value, torch.Tensor) and is_contiguous(value)


def is_contiguous(value: torch.Tensor) -> bool:
    """Whether a tensor lies in memory row by row, as far as that is written; asks nothing of free sizes."""
    wanted: Any = 1
    for size, stride in zip(reversed(value.shape), reversed(value.stride()), strict=True):
        if not isinstance(size, int) or size != 1:
            if expression_of(stride) != expression_of(wanted):
                return False
            wanted = wanted * size
    return True


def expression_of(size: Any) -> Any:
    """The sympy expression of a free size; a number as it is."""
    return size.node.expr if isinstance(size, torch.SymInt) else size
