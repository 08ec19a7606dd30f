"""What is quantized in a file, as int8 layers and uint8 values: the form in which such a module is compiled.

`from_onnx` gives a module that computes on the file's grids in float32, so that it can be pruned, trained and rounded
anew. For compilation a pair of quantize and dequantize becomes niwaki::grid, and a convolution or linear layer that
reads a grid and has its weights on one becomes a layer of niwaki.nn, with the file's own scales.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
import torch.nn.functional as F
from torch import fx, nn

from niwaki.nn import Conv2d, Embedding, Linear
from niwaki.nn import grid as _grid_operator  # noqa: F401 (registers niwaki::grid)
from niwaki.nn.layers import QuantizedLayer
from niwaki.onnx import own_convolutions
from niwaki.onnx.functions import quantized
from niwaki.onnx.integer_weights import LARGEST, Wide, wide
from niwaki.onnx.own_ranges import make_dynamic
from niwaki.onnx.rounded import constant
from niwaki.onnx.rounded_lstm import RoundedLSTM, make_native
from niwaki.quantization.ranges import ranges_of

FILE_SCALE = "file_scale"
"""The attribute of a layer whose weights are a file's: their scale, float32, which broadcasts to them."""

_MOST = 66_311  # products that a sum takes in int32
_INT32 = 2**31 - 1
_MOVES: set[Any] = {F.max_pool1d, F.max_pool2d, torch.permute, torch.transpose, torch.flatten, torch.reshape}
_MOVING_METHODS = {"reshape", "permute", "transpose", "flatten", "view", "unsqueeze", "squeeze", "contiguous"}


def with_own_scales(module: nn.Module) -> nn.Module:
    """The module as it is compiled: a copy, where a part of it is a quantized file; else itself.

    A compressed module is left as it is: the ranges of its values have been observed.
    """
    if len(ranges_of(module)) or not any(_is_quantized(part) for part in module.modules()):
        return module
    copied = copy.deepcopy(module)
    for part in list(copied.modules()):
        if _is_quantized(part):
            assert isinstance(part, fx.GraphModule)
            _Rewriter(part).run()
    return copied


def _is_quantized(module: nn.Module) -> bool:
    if not isinstance(module, fx.GraphModule):
        return False
    rounds = any(node.target in (quantized.quantize, quantized.dynamic) for node in module.graph.nodes)
    return rounds or any(type(part) is RoundedLSTM or _table_scale(part) is not None for part in module.modules())


def _table_scale(part: nn.Module) -> torch.Tensor | None:
    """The scale of a table whose rows are a file's integers."""
    return vars(part).get(FILE_SCALE) if type(part) is nn.Embedding else None


class _Rewriter:
    def __init__(self, module: fx.GraphModule) -> None:
        self._module = module
        self._graph = module.graph
        self._grids: dict[fx.Node, fx.Node] = {}

    def run(self) -> None:
        for node in list(self._graph.nodes):
            if node.target is quantized.dequantize and _numbers(node) is not None:
                self._round(node)
        calls: dict[str, list[fx.Node]] = {}
        for node in self._graph.nodes:
            if node.op == "call_module":
                calls.setdefault(str(node.target), []).append(node)
        for path, nodes in calls.items():
            self._quantize_layer(path, nodes)
            self._quantize_table(path, nodes)
        make_dynamic(self._module)
        make_native(self._module)
        self._graph.eliminate_dead_code()
        self._graph.lint()
        self._module.recompile()

    # Values

    def _round(self, node: fx.Node) -> None:
        """Puts a grid in the place of a dequantize, where a quantize is behind it, or behind what moves elements."""
        moves: list[fx.Node] = []
        source = node.args[0]
        while isinstance(source, fx.Node) and moves_elements(source):
            moves.append(source)
            source = source.args[0]
        if not isinstance(source, fx.Node) or source.target is not quantized.quantize:
            return
        scale, zero = _numbers(node) or (0.0, 0)
        found = _grid_of_quantize(source)
        if found is None or found[:2] != (scale, zero):
            return
        made = self._grid(source, scale, zero - found[2])
        for move in reversed(moves):
            with self._graph.inserting_before(node):
                made = self._graph.create_node(move.op, move.target, (made, *move.args[1:]), dict(move.kwargs))
        node.replace_all_uses_with(made)

    def _grid(self, source: fx.Node, scale: float, zero_point: int) -> fx.Node:
        if source not in self._grids:
            with self._graph.inserting_after(source):
                self._grids[source] = self._graph.call_function(
                    torch.ops.niwaki.grid.default, (source.args[0], scale, zero_point)
                )
        return self._grids[source]

    # Layers

    def _quantize_layer(self, path: str, calls: list[fx.Node]) -> None:
        layer = self._module.get_submodule(path)
        inputs = [_grid_behind(node.args[0]) for node in calls]
        if type(layer) in own_convolutions.KINDS:
            self._quantize_other(path, layer, set(inputs))
        if type(layer) not in (nn.Conv2d, nn.Linear) or None in inputs:
            return
        scale, zero_point = next(each for each in inputs if each is not None)
        largest = max(each[0] for each in inputs if each is not None)
        smallest = min(each[0] for each in inputs if each is not None)
        found = _layer(layer, scale, zero_point, smallest)
        if found is None or not largest > 0:
            return
        made, codes = found
        self._module.set_submodule(path, made)
        for node, own in zip(calls, inputs, strict=True):
            if own is not None and (codes.slices or codes.order):
                self._again(node, own, codes, 1 if isinstance(layer, nn.Conv2d) else -1)

    def _quantize_other(self, path: str, layer: nn.Module, inputs: set[tuple[float, int] | None]) -> None:
        """Puts a two-dimensional convolution in the place of another kind of it, whose inputs have one grid."""
        (grid, *others), scale = inputs, vars(layer).get(FILE_SCALE)
        found = own_convolutions.as_conv2d(layer, scale) if scale is not None and grid and not others else None
        if found is None or grid is None:
            return
        made, scales = found
        setattr(made.conv, FILE_SCALE, scales)
        quantized = _layer(made.conv, *grid, grid[0])
        if quantized is not None:
            made.set_submodule("conv", own_convolutions.OnGrid(*quantized, grid))
            self._module.set_submodule(path, made.eval())

    def _again(self, node: fx.Node, own: tuple[float, int], codes: Wide, axis: int) -> None:
        """Gives a layer the inputs that it takes again; `own` is the grid of its inputs."""
        call = self._graph.call_function
        with self._graph.inserting_before(node):
            x = node.args[0]
            if codes.order:
                x = call(torch.index_select, (x, axis, constant(self._module, "order", torch.tensor(codes.order))))
            else:
                again = [call(torch.narrow, (x, axis, first, last - first)) for first, last in codes.slices]
                x = call(torch.cat, ([x, *again], axis))
            node.update_arg(0, call(torch.ops.niwaki.grid.default, (x, *own)))

    def _quantize_table(self, path: str, calls: list[fx.Node]) -> None:
        table: Any = self._module.get_submodule(path)
        scale = _table_scale(table)
        if scale is None or scale.numel() != 1:
            return
        q = torch.round(table.weight.detach() / scale)
        if not torch.equal(q * scale, table.weight.detach()) or not bool(q.max() - q.min() <= 2 * LARGEST + 1):
            return
        # Integers of uint8 have their middle taken off, which is added to the rows.
        middle = 0.0 if bool((q.abs() <= LARGEST).all()) else float(q.min()) + LARGEST + 1
        made = Embedding(table)
        made.weight.copy_(q - middle)
        made.weight_scale.fill_(float(scale))
        self._module.set_submodule(path, made.eval())
        for call in calls if middle else ():
            with self._graph.inserting_after(call):
                added = self._graph.call_function(torch.add, (call, middle * float(scale)))
            call.replace_all_uses_with(added)
            added.update_arg(0, call)


def _layer(layer: Any, scale: float, zero_point: int, smallest: float) -> tuple[QuantizedLayer, Wide] | None:
    """The layer in int8, and its weights; None where they are on no grid of it, or its sums could overflow.

    Args:
        scale, zero_point: of its input.
        smallest: scale of all inputs that it is called with.
    """
    found = _weights(layer)
    if found is None:
        return None
    weight, weight_scale = found
    sums = weight.flatten(1).abs().sum(1).double() * 255
    bias = None if layer.bias is None else layer.bias.detach().double().abs() / (smallest * weight_scale.double())
    codes = wide(weight, getattr(layer, "groups", 1))
    if codes.weight[0].numel() > _MOST or bool((sums + (0 if bias is None else bias) >= _INT32).any()):
        return None
    made = _like(layer, codes)
    made.weight.copy_(codes.weight)
    made.weight_scale.copy_(weight_scale)
    made.input_scale.fill_(scale)
    made.input_zero_point.fill_(zero_point)
    if made.bias is not None:
        made.bias.copy_(layer.bias.detach())
    return made.eval(), codes


def _like(layer: Any, codes: Wide) -> QuantizedLayer:
    """A layer like this one, for inputs of which some are there again."""
    if not codes.slices and not codes.order:
        return Conv2d.like(layer) if isinstance(layer, nn.Conv2d) else Linear.like(layer)
    inputs, bias = codes.weight.shape[1], layer.bias is not None
    if isinstance(layer, nn.Linear):
        return Linear(inputs, layer.out_features, bias)
    return Conv2d(
        inputs * layer.groups, layer.out_channels, layer.kernel_size, layer.stride, layer.padding,
        layer.dilation, layer.groups, bias,
    )  # fmt: skip


def _weights(layer: Any) -> tuple[torch.Tensor, torch.Tensor] | None:
    """Weights as integers and a scale for each output; None where they are no longer those of the file."""
    scale = vars(layer).get(FILE_SCALE)
    if scale is None:
        return None
    weight = layer.weight.detach()
    outputs = weight.shape[0]
    each = scale.expand(outputs, *scale.shape[1:]).reshape(outputs, -1) if scale.dim() else scale.expand(outputs, 1)
    if each.shape[1] != 1:
        return None
    q = torch.round(weight / scale)
    same = bool(torch.equal(q * scale, weight)) and bool(torch.isfinite(scale).all()) and bool((scale > 0).all())
    return (q, each.reshape(-1).float()) if same else None


def _numbers(node: fx.Node) -> tuple[float, int] | None:
    """Scale and zero point of a node that has one of each, known now."""
    scale, zero = node.args[1], node.args[2]
    zero = 0 if zero is None else zero
    if isinstance(scale, float) and isinstance(zero, (int, float)):
        return scale, int(zero)
    return None


def _grid_of_quantize(node: fx.Node) -> tuple[float, int, int] | None:
    """Scale, zero point and lowest number of a node that rounds to 256 of them."""
    numbers, low, high = _numbers(node), node.args[3], node.args[4]
    if numbers is None or (low, high) not in ((0, 255), (-128, 127)) or not numbers[0] > 0:
        return None
    assert isinstance(low, int)
    return (*numbers, low)


def moves_elements(node: fx.Node) -> bool:
    """Whether it leaves the elements of its first argument as they are, and takes or orders them."""
    if node.op == "call_method":
        return node.target in _MOVING_METHODS
    return node.op == "call_function" and node.target in _MOVES and not node.kwargs.get("return_indices", False)


def _pads(node: fx.Node) -> bool:
    """Whether it adds zeros around a value."""
    if node.op != "call_function" or node.target is not F.pad:
        return False
    more: tuple[Any, ...] = tuple(node.args[2:])
    return more in ((), ("constant",), ("constant", 0), ("constant", 0.0)) and not node.kwargs


def _grid_behind(value: Any) -> tuple[float, int] | None:
    """Scale and zero point of a value whose elements are all on a grid."""
    while isinstance(value, fx.Node) and (moves_elements(value) or _pads(value)):
        value = value.args[0]
    if isinstance(value, fx.Node) and value.target is torch.ops.niwaki.grid.default:
        return float(value.args[1]), int(value.args[2])  # type: ignore[arg-type]
    return None
