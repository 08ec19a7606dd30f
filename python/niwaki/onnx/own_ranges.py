"""Products of what a file rounds by the range that it has when it runs, as int8 layers of niwaki.nn.

A file takes one range for all rows of a product (DynamicQuantizeLinear), niwaki's dynamic layer one for each row. So
each row gets two elements more, the smallest and the largest of all, for which there are weights of zero.

Convolutions, and products of which more is done to the integers than a multiplication by both scales, are layers on
the grid of the integers themselves: x / scale + zero point is rounded to uint8, and what the zero point adds to each
sum is taken away again. So a sum is exact, whatever becomes of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import fx, nn

from niwaki.nn import Conv2d, Linear
from niwaki.nn import grid as _grid_operator  # noqa: F401 (registers niwaki::grid)
from niwaki.onnx.integer_weights import Codes, codes_of
from niwaki.onnx.rounded import Integers, Product, constant

_MOST = 66_311  # products that a sum takes in int32


def make_dynamic(module: fx.GraphModule) -> None:
    """Puts int8 layers in the place of integer products of values that are rounded by their own range."""
    for path, nodes in calls_of(module).items():
        layer = module.get_submodule(path)
        if type(layer) not in (nn.Linear, nn.Conv2d) or "weight" not in layer._parameters:
            continue
        given = [Integers.of(node.args[0]) for node in nodes]
        if None in given or (isinstance(layer, nn.Conv2d) and not _plain(layer)):
            continue
        if type(layer) is nn.Linear:
            products = [Product.of(node, module) for node in nodes]
            scales = {each.scale for each in products if each is not None}
            if None not in products and len(scales) == 1 and _dynamic(module, path, products):  # type: ignore[arg-type]
                continue
        _on_its_grid(module, path, nodes, given)  # type: ignore[arg-type]


def calls_of(module: fx.GraphModule) -> dict[str, list[fx.Node]]:
    """The calls of each layer."""
    calls: dict[str, list[fx.Node]] = {}
    for node in module.graph.nodes:
        if node.op == "call_module":
            calls.setdefault(str(node.target), []).append(node)
    return calls


def with_range(graph: fx.Graph, source: fx.Node, again: fx.Node | None = None) -> fx.Node:
    """Rows with the smallest and the largest element of all behind them; `again`: elements that come once more."""
    one = graph.call_function(torch.narrow, (source, -1, 0, 1))
    ends = [
        graph.call_method("expand_as", (graph.call_function(function, (source,)), one))
        for function in (torch.amin, torch.amax)
    ]
    more = [] if again is None else [graph.call_function(torch.index_select, (source, -1, again))]
    return graph.call_function(torch.cat, ([source, *more, *ends], -1))


# Dynamic layers


def _dynamic(module: fx.GraphModule, path: str, products: Sequence[Product]) -> bool:
    """A dynamic layer, if the weights and their scale are fit for one."""
    layer: Any = module.get_submodule(path)
    outputs, inputs = layer.out_features, layer.in_features
    scale = products[0].scale_of(outputs)
    codes = codes_of(layer.weight.detach())
    if scale is None or codes is None or codes.weight.shape[1] + 2 > _MOST or layer.bias is not None:
        return False
    made = Linear(inputs + len(codes.again) + 2, len(codes.weight), bias=False, dynamic=True)
    made.weight[:, :-2].copy_(codes.weight)
    made.weight_scale[:outputs].copy_(scale)
    module.set_submodule(path, made.eval())
    graph = module.graph
    for product in products:
        with graph.inserting_before(product.result):
            rows = with_range(graph, product.source, _again(module, codes))
            y = graph.call_module(path, (rows,))
            y = _with_sum(module, y, codes, -1, outputs, scale)
        product.result.replace_all_uses_with(y)
    return True


# Layers on the grid of the integers


def _plain(layer: nn.Conv2d) -> bool:
    return layer.padding_mode == "zeros" and not isinstance(layer.padding, str)


def _on_its_grid(module: fx.GraphModule, path: str, calls: Sequence[fx.Node], given: Sequence[Integers]) -> None:
    layer: Any = module.get_submodule(path)
    weight = layer.weight.detach()
    codes = codes_of(weight)
    groups = getattr(layer, "groups", 1)
    if codes is None or codes.weight[0].numel() > _MOST or layer.bias is not None:
        return
    if groups > 1 and (codes.again or codes.shift is not None):
        return  # each group would need inputs and an output of its own
    outputs, inputs = len(codes.weight), codes.weight.shape[1] * groups
    made: Conv2d | Linear
    if isinstance(layer, nn.Conv2d):
        sizes: Any = {"stride": layer.stride, "dilation": layer.dilation}
        made = Conv2d(inputs, outputs, layer.kernel_size, groups=groups, bias=False, **sizes)  # type: ignore[arg-type]
    else:
        made = Linear(inputs, outputs, bias=False)
    made.weight.copy_(codes.weight)
    made.input_scale.fill_(1)
    module.set_submodule(path, made.eval())
    sums = weight.flatten(1).double().sum(1).float()
    for call, integers in zip(calls, given, strict=True):
        _replace(module, call, integers, layer, codes, sums)


def _replace(
    module: fx.GraphModule, call: fx.Node, given: Integers, layer: Any, codes: Codes, sums: torch.Tensor
) -> None:
    graph, axis = module.graph, 1 if isinstance(layer, nn.Conv2d) else -1
    pads = list(given.pads)
    if isinstance(layer, nn.Conv2d) and any(layer.padding):
        padding: Any = layer.padding
        own = [size for size in reversed(padding) for _ in range(2)]
        pads = [a + b for a, b in zip([*pads, *[0] * (4 - len(pads))], own, strict=True)]
    with graph.inserting_before(call):
        # Rounded before the zero point is added: halves go to the even integer of those without it.
        x = graph.call_function(torch.round, (graph.call_function(torch.div, (given.source, given.scale)),))
        if any(pads):
            x = graph.call_function(torch.nn.functional.pad, (x, pads))
        x = graph.call_function(torch.add, (x, given.zero))
        again = _again(module, codes)
        if again is not None:
            x = graph.call_function(torch.cat, ([x, graph.call_function(torch.index_select, (x, axis, again))], axis))
        x = graph.call_function(torch.ops.niwaki.grid.default, (x, 1.0, 0))
        y = graph.call_module(str(call.target), (x,))
        y = _with_sum(module, y, codes, axis, len(sums), torch.ones(len(sums)))
        shape = [-1, 1, 1] if axis == 1 else [-1]
        zeros = graph.call_function(torch.mul, (constant(module, "zero_point_sums", sums.reshape(shape)), given.zero))
    after = _added(call)
    if after is None:
        with graph.inserting_before(call):
            y = graph.call_function(torch.sub, (y, zeros))
        call.replace_all_uses_with(y)
        return
    addend, result = after
    with graph.inserting_before(result):
        bias = graph.call_method("to", (addend, torch.float32)) if isinstance(addend, fx.Node) else addend
        y = graph.call_function(torch.add, (y, graph.call_function(torch.sub, (bias, zeros))))
    result.replace_all_uses_with(y)


def _added(call: fx.Node) -> tuple[Any, fx.Node] | None:
    """What is added to the integers of a product alone, and the node of the sum in float32."""
    node = call
    others: list[Any] = []
    for kind in ("to", torch.add, "to"):
        if len(node.users) != 1:
            return None
        (user,) = node.users
        if user.target != kind or user.kwargs:
            return None
        if kind == "to" and user.args[1:] != ((torch.int32,) if node is call else (torch.float32,)):
            return None
        if kind is torch.add:
            others = [value for value in user.args if value is not node]
        node = user
    return (others[0], node) if len(others) == 1 else None


# Both


def _again(module: fx.GraphModule, codes: Codes) -> fx.Node | None:
    return constant(module, "again", torch.tensor(codes.again)) if codes.again else None


def _with_sum(
    module: fx.GraphModule, y: fx.Node, codes: Codes, axis: int, outputs: int, scale: torch.Tensor
) -> fx.Node:
    """What is due of the last output added to each of the others."""
    if codes.shift is None:
        return y
    graph = module.graph
    share = codes.shift * scale
    share = share if axis == -1 else share.reshape(-1, 1, 1)
    one = bool((share == share.flatten()[0]).all())
    factor: Any = float(share.flatten()[0]) if one else constant(module, "shift", share)
    own = graph.call_function(torch.narrow, (y, axis, 0, outputs))
    total = graph.call_function(torch.narrow, (y, axis, outputs, 1))
    return graph.call_function(torch.add, (own, graph.call_function(torch.mul, (total, factor))))
