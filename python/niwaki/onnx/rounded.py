"""What a file rounds by the range that it has when it runs, in the graph of its module: integers and their products."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import fx

from niwaki.onnx.functions import quantized


@dataclass(frozen=True)
class Integers:
    """Integers without their zero point, and zeros around them.

    Attributes:
        source: what is rounded.
        scale, zero: the nodes of both.
        pads: zeros around, as torch.nn.functional.pad takes them.
    """

    source: fx.Node
    scale: fx.Node
    zero: fx.Node
    pads: tuple[int, ...] = ()

    @classmethod
    def of(cls, value: Any) -> Integers | None:
        """The integers that a node is; None where it is anything else."""
        pads: tuple[int, ...] = ()
        if isinstance(value, fx.Node) and value.target is F.pad:
            given: Any = value.args[1]
            whole = all(isinstance(size, int) and size >= 0 for size in given)
            if len(value.args) != 2 or value.kwargs or not whole or len(given) > 4:
                return None
            value, pads = value.args[0], tuple(given)
        if not isinstance(value, fx.Node) or value.target is not torch.sub or value.kwargs:
            return None
        integers, zero = value.args
        first, second = part_of(integers), part_of(zero)
        if first is None or second is None or first[0] is not second[0] or (first[1], second[1]) != (0, 2):
            return None
        source = first[0].args[0]
        scale = next((each for each in first[0].users if part_of(each) == (first[0], 1)), None)
        if scale is None or not isinstance(source, fx.Node) or not isinstance(zero, fx.Node):
            return None
        return cls(source, scale, zero, pads)


@dataclass(frozen=True)
class Product:
    """A layer's product of such integers, up to its multiplication by both scales.

    Attributes:
        source: what is rounded.
        result: the multiplication by both scales.
        scale: of the weights.
    """

    source: fx.Node
    result: fx.Node
    scale: tuple[float, ...]

    @classmethod
    def of(cls, call: fx.Node, module: fx.GraphModule) -> Product | None:
        """The product of a layer's call; None where that is not one."""
        given = Integers.of(call.args[0])
        if given is None or given.pads or len(call.users) != 1:
            return None
        (result,) = call.users
        scale = weight_scale(result, call, given, module, -1)
        return None if scale is None else cls(given.source, result, scale)

    def scale_of(self, outputs: int) -> torch.Tensor | None:
        """The scale of the weights of each output, float32 [outputs]; None where it is fit for no layer."""
        return each_output(self.scale, outputs)


def each_output(scale: tuple[float, ...], outputs: int) -> torch.Tensor | None:
    """Scales of weights as one for each output; None where they are not positive, or of another number."""
    found = torch.tensor(scale, dtype=torch.float32)
    if found.numel() not in (1, outputs) or not bool((found > 0).all()) or not bool(torch.isfinite(found).all()):
        return None
    return found.expand(outputs)


def weight_scale(
    result: fx.Node, product: fx.Node, given: Integers, module: fx.GraphModule, axis: int
) -> tuple[float, ...] | None:
    """The scale of the weights, where `result` multiplies a product of integers by it and by the integers' own.

    `axis` is that of the outputs, counted from the end.
    """
    if result.target is not torch.mul:
        return None
    units = [value for value in result.args if value is not product]
    if len(units) != 1 or not isinstance(units[0], fx.Node) or units[0].target is not torch.mul:
        return None
    scales = [value for value in units[0].args if part_of(value) != part_of(given.scale)]
    return numbers_of(scales[0], module, axis) if len(scales) == 1 else None


def part_of(value: Any) -> tuple[fx.Node, int] | None:
    """The rounding that a node is a result of, and which: 0 the integers, 1 the scale, 2 the zero point."""
    if not isinstance(value, fx.Node) or value.target is not quantized.item:
        return None
    source: Any = value.args[0]
    index: Any = value.args[1]
    return (source, index) if isinstance(source, fx.Node) and source.target is quantized.dynamic else None


def numbers_of(value: Any, module: fx.GraphModule, axis: int) -> tuple[float, ...] | None:
    """The numbers of a constant, one in all or one for each index of this axis, which counts from the end."""
    if isinstance(value, float):
        return (value,)
    if not isinstance(value, fx.Node) or value.op != "get_attr":
        return None
    held: torch.Tensor = getattr(module, str(value.target))
    if held.numel() != 1 and (held.dim() < -axis or held.numel() != held.shape[axis]):
        return None
    return tuple(held.detach().flatten().tolist())


def constant(module: fx.GraphModule, name: str, value: torch.Tensor) -> fx.Node:
    """A new constant of the module, read where nodes are being inserted."""
    count = 0
    while hasattr(module, f"{name}_{count}"):
        count += 1
    module.register_buffer(f"{name}_{count}", value)
    return module.graph.get_attr(f"{name}_{count}")
