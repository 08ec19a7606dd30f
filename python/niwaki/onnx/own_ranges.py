"""Products whose inputs a file rounds by the range that they have when it runs, as dynamic layers of niwaki.nn.

A file takes one range for all rows of a product (DynamicQuantizeLinear), niwaki's dynamic layer one for each row. So
each row gets two elements more, the smallest and the largest of all, for which there are weights of zero.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import fx, nn

from niwaki.nn import Linear
from niwaki.onnx.functions import quantized

_LARGEST = 127
_MOST = 66_311  # products that a sum takes in int32


def make_dynamic(module: fx.GraphModule) -> None:
    """Puts dynamic layers in the place of integer products of values that are rounded by their own range."""
    calls: dict[str, list[fx.Node]] = {}
    for node in module.graph.nodes:
        if node.op == "call_module":
            calls.setdefault(str(node.target), []).append(node)
    for path, nodes in calls.items():
        layer = module.get_submodule(path)
        found = [_Product.of(node, module) for node in nodes]
        scales = {each.scale for each in found if each is not None}
        if type(layer) is not nn.Linear or None in found or len(scales) != 1:
            continue
        made = _layer(layer, found[0].scale_of(layer.out_features)) if found[0] is not None else None
        if made is not None:
            module.set_submodule(path, made)
            for each in found:
                assert each is not None
                each.replace(module.graph, path)


class _Product:
    """The nodes of a product: what is rounded, the layer's call, and the multiplication by both scales behind it."""

    def __init__(self, source: fx.Node, result: fx.Node, scale: tuple[float, ...]) -> None:
        self.source, self.result, self.scale = source, result, scale

    @classmethod
    def of(cls, call: fx.Node, module: fx.GraphModule) -> _Product | None:
        """The product of a layer's call; None where that is not one."""
        shifted = call.args[0]
        if not isinstance(shifted, fx.Node) or shifted.target is not torch.sub or len(call.users) != 1:
            return None
        integers, point = (_part(value) for value in shifted.args)
        (result,) = call.users
        if integers is None or point is None or result.target is not torch.mul:
            return None
        (dynamic, first), (other, second) = integers, point
        units = [value for value in result.args if value is not call]
        if dynamic is not other or (first, second) != (0, 2) or len(units) != 1 or not isinstance(units[0], fx.Node):
            return None
        unit = units[0]
        if unit.target is not torch.mul:
            return None
        scales = [value for value in unit.args if _part(value) != (dynamic, 1)]
        if len(scales) != 1 or not isinstance(dynamic.args[0], fx.Node):
            return None
        numbers = _numbers(scales[0], module)
        return None if numbers is None else cls(dynamic.args[0], result, numbers)

    def scale_of(self, outputs: int) -> torch.Tensor | None:
        """The scale of the weights of each output."""
        scale = torch.tensor(self.scale, dtype=torch.float32)
        if scale.numel() not in (1, outputs) or not bool((scale > 0).all()) or not bool(torch.isfinite(scale).all()):
            return None
        return scale.expand(outputs)

    def replace(self, graph: fx.Graph, path: str) -> None:
        """Calls the layer with the rows and the range of all of them."""
        with graph.inserting_before(self.result):
            one = graph.call_function(torch.narrow, (self.source, -1, 0, 1))
            ends = [
                graph.call_method("expand_as", (graph.call_function(function, (self.source,)), one))
                for function in (torch.amin, torch.amax)
            ]
            rows = graph.call_function(torch.cat, ([self.source, *ends], -1))
            made = graph.call_module(path, (rows,))
        self.result.replace_all_uses_with(made)


def _part(value: Any) -> tuple[fx.Node, int] | None:
    """The rounding that a node is a result of, and which: 0 the integers, 1 the scale, 2 the zero point."""
    if not isinstance(value, fx.Node) or value.target is not quantized.item:
        return None
    source: Any = value.args[0]
    index: Any = value.args[1]
    return (source, index) if isinstance(source, fx.Node) and source.target is quantized.dynamic else None


def _numbers(value: Any, module: fx.GraphModule) -> tuple[float, ...] | None:
    """The numbers of a constant that broadcasts along the last axis."""
    if isinstance(value, float):
        return (value,)
    if not isinstance(value, fx.Node) or value.op != "get_attr":
        return None
    held: torch.Tensor = getattr(module, str(value.target))
    if held.dim() and held.numel() != held.shape[-1]:
        return None
    return tuple(held.detach().flatten().tolist())


def _layer(layer: nn.Linear, scale: torch.Tensor | None) -> Linear | None:
    """The layer with int8 weights and two inputs more; None where its weights are no such integers."""
    weight, has_bias = layer.weight.detach(), getattr(layer, "bias", None) is not None
    whole = bool(torch.equal(weight, weight.round())) and bool((weight.abs() <= _LARGEST).all())
    if scale is None or not whole or has_bias or weight.shape[1] + 2 > _MOST:
        return None
    made = Linear(layer.in_features + 2, layer.out_features, bias=False, dynamic=True)
    made.weight[:, :-2].copy_(weight.to(torch.int8))
    made.weight_scale.copy_(scale)
    return made.eval()
