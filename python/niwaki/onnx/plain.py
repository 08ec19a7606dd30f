"""Quantized files for compression: what a file rounds when it runs is rounded no more.

Compression finds ranges of its own. A layer of integers, between DynamicQuantizeLinear and the multiplication by both
scales, becomes one of float32 with its bias; DynamicQuantizeLSTM becomes an LSTM. Of QuantizeLinear and
DequantizeLinear with one scale stay the bounds: a ReLU may be meant by them.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import fx, nn

from niwaki.onnx.functions import quantized
from niwaki.onnx.own_ranges import calls_of
from niwaki.onnx.own_scales import moves_elements
from niwaki.onnx.rounded import Integers, each_output, numbers_of, part_of, weight_scale
from niwaki.onnx.rounded_lstm import RoundedLSTM, plain_form


def without_rounding(module: nn.Module) -> nn.Module:
    """A copy that rounds nothing, where a part of the module is such a file; else the module itself."""
    if not any(map(_rounds, module.modules())):
        return module
    copied = copy.deepcopy(module)
    for part in list(copied.modules()):
        if isinstance(part, fx.GraphModule) and any(map(_rounds, part.modules())):
            _make_plain(part)
    return copied


def _rounds(part: nn.Module) -> bool:
    if type(part) is RoundedLSTM:
        return True
    if not isinstance(part, fx.GraphModule):
        return False
    return any(node.target in (quantized.dynamic, quantized.quantize) for node in part.graph.nodes)


def _make_plain(module: fx.GraphModule) -> None:
    for node in list(module.graph.nodes):
        if node.target is quantized.quantize:
            _only_bound(module, node)
    for path, calls in calls_of(module).items():
        layer = module.get_submodule(path)
        if type(layer) is RoundedLSTM:
            module.set_submodule(path, plain_form(layer))
        elif type(layer) in (nn.Linear, nn.Conv2d, nn.Conv1d, nn.Conv3d) and "weight" in layer._parameters:
            found = [_Layer.of(call, layer, module) for call in calls]
            if None not in found:
                _replace(module, path, found)  # type: ignore[arg-type]
    module.graph.eliminate_dead_code()
    module.graph.lint()
    module.recompile()


def _only_bound(module: fx.GraphModule, node: fx.Node) -> None:
    """Bounds a value instead of rounding it, where all that reads it takes its numbers off again."""
    x, scale, zero, low, high = node.args
    if not isinstance(scale, float) or not isinstance(zero, (int, float)) or not scale > 0:
        return
    moved, ends = [node], []
    for each in moved:  # grows
        for user in each.users:
            if user.target is quantized.dequantize and (user.args[1], user.args[2] or 0) == (scale, zero):
                ends.append(user)
            elif moves_elements(user) and user.args[0] is each and each not in user.args[1:]:
                moved.append(user)
            else:
                return
    with module.graph.inserting_before(node):
        bounds: list[Any] = [(end - zero) * scale for end in (low, high)]  # type: ignore[operator]
        node.replace_all_uses_with(module.graph.call_function(torch.clamp, (x, *bounds)))
    for end in ends:
        end.replace_all_uses_with(end.args[0])  # type: ignore[arg-type]


@dataclass(frozen=True)
class _Layer:
    """A call of a layer of integers, up to its bias.

    Attributes:
        call: the layer's.
        given: what it reads.
        result: the last node of it.
        scale: of the weights, for each output.
        bias: None where it has none.
    """

    call: fx.Node
    given: Integers
    result: fx.Node
    scale: torch.Tensor
    bias: torch.Tensor | None

    @classmethod
    def of(cls, call: fx.Node, layer: Any, module: fx.GraphModule) -> _Layer | None:
        """None where its integers are used in another way."""
        given = Integers.of(call.args[0])
        axis = -1 if isinstance(layer, nn.Linear) else -layer.weight.dim() + 1
        outputs = len(layer.weight)
        if given is None or layer.bias is not None:
            return None
        end: fx.Node | None = call
        bias = None
        integers = _only(call, "to", torch.int32)
        if integers is not None:  # the integers of a bias may be added to them
            added, end = _only(integers, torch.add), integers
            if added is not None:
                end, bias = added, _bias_of(_other(added, integers), given, outputs, module)
                if bias is None:
                    return None
            end = _only(end, "to", torch.float32)
        result = None if end is None else _only(end, torch.mul)
        if end is None or result is None:
            return None
        numbers = weight_scale(result, end, given, module, axis)
        scale = None if numbers is None else each_output(numbers, outputs)
        if scale is None:
            return None
        added = _only(result, torch.add)
        if bias is None and added is not None:
            found = numbers_of(_other(added, result), module, axis)
            if found is not None and len(found) == outputs:
                bias, result = torch.tensor(found), added
        return cls(call, given, result, scale, bias)


def _other(added: fx.Node, node: fx.Node) -> Any:
    """What a node is added to; itself, where it is added to itself."""
    return next((value for value in added.args if value is not node), node)


def _only(node: fx.Node, target: Any, *args: Any) -> fx.Node | None:
    """The only user of a node, where it is this function or method of it, with these further arguments."""
    if len(node.users) != 1:
        return None
    (user,) = node.users
    fits = user.target == target and not user.kwargs and (not args or user.args == (node, *args))
    return user if fits else None


def _bias_of(value: Any, given: Integers, outputs: int, module: fx.GraphModule) -> torch.Tensor | None:
    """The bias in float32 that a file rounds to integers of both scales when it runs: floor(bias / scale)."""
    names: Sequence[Any] = ("reshape", "to", torch.floor, torch.round)
    while isinstance(value, fx.Node) and value.target in names:
        value = value.args[0]
    if not isinstance(value, fx.Node) or value.target is not torch.div or value.kwargs:
        return None
    bias, unit = value.args
    if not isinstance(unit, fx.Node) or unit.target is not torch.mul:
        return None
    if part_of(given.scale) not in map(part_of, unit.args):
        return None
    found = numbers_of(bias, module, -1)
    return torch.tensor(found) if found is not None and len(found) == outputs else None


def _replace(module: fx.GraphModule, path: str, found: Sequence[_Layer]) -> None:
    layer: Any = module.get_submodule(path)
    first = found[0]
    for each in found[1:]:
        alike = torch.equal(each.scale, first.scale) and (each.bias is None) == (first.bias is None)
        if not alike or (each.bias is not None and first.bias is not None and not torch.equal(each.bias, first.bias)):
            return
    weight = layer.weight.detach()
    layer.weight = nn.Parameter(weight * first.scale.reshape(-1, *[1] * (weight.dim() - 1)))
    if first.bias is not None:
        layer.bias = nn.Parameter(first.bias)
    for each in found:
        with module.graph.inserting_before(each.call):
            x = each.given.source
            if any(each.given.pads):
                x = module.graph.call_function(F.pad, (x, list(each.given.pads)))
            made = module.graph.call_module(path, (x,))
        each.result.replace_all_uses_with(made)
