"""Max, average and global pooling."""

from __future__ import annotations

from collections.abc import Sequence

from torch.fx import Node

from niwaki.lower.builder import Builder
from niwaki.lower.nodes import arguments, data_inputs, shape_of
from niwaki.lower.operators.registry import Operator, register


def pair(value: int | Sequence[int] | None, otherwise: list[int]) -> list[int]:
    """[y, x] of a number, of one or two of them, or of an empty list."""
    if value is None or (not isinstance(value, int) and len(value) == 0):
        return otherwise
    values = [value] if isinstance(value, int) else list(value)
    return [int(values[0]), int(values[-1])]


def _window(node: Node) -> dict[str, int | list[int]]:
    given = arguments(node)
    kernel = pair(given["kernel_size"], [1, 1])
    y, x = pair(given["padding"], [0, 0])
    return {
        "kernel": kernel,
        "stride": pair(given["stride"], kernel),
        "padding": [y, x, y, x],
        "ceil_mode": int(bool(given["ceil_mode"])),
    }


class _Pool(Operator):
    def refusal(self, node: Node) -> str:
        return "" if len(shape_of(node)) == 4 else "works on a tensor of another rank than 4"


@register("aten::max_pool2d")
class MaxPool2d(_Pool):
    def shared(self, node: Node) -> Sequence[Node]:
        return data_inputs(node)

    def emit(self, builder: Builder, node: Node) -> int:
        dilation = pair(arguments(node)["dilation"], [1, 1])
        return builder.add("max_pool2d", node, data_inputs(node), {**_window(node), "dilation": dilation})


@register("aten::avg_pool2d")
class AvgPool2d(_Pool):
    bounds = True

    def refusal(self, node: Node) -> str:
        divisor = arguments(node)["divisor_override"]
        if divisor is not None and divisor < 1:
            return "has a negative divisor"
        return super().refusal(node)

    def emit(self, builder: Builder, node: Node) -> int:
        given = arguments(node)
        attributes = {
            **_window(node),
            "count_include_pad": int(bool(given["count_include_pad"])),
            "divisor": int(given["divisor_override"] or 0),
        }
        return builder.add("avg_pool2d", node, data_inputs(node), attributes)


@register("aten::adaptive_avg_pool2d")
class AdaptiveAvgPool2d(_Pool):
    bounds = True

    def emit(self, builder: Builder, node: Node) -> int:
        size = pair(arguments(node)["output_size"], [1, 1])
        return builder.add("adaptive_avg_pool2d", node, data_inputs(node), {"size": size})


@register("aten::mean")
class Mean(Operator):
    """The mean over rows and columns, with or without them in the result."""

    bounds = True

    def refusal(self, node: Node) -> str:
        given = arguments(node)
        source = data_inputs(node)[0]
        axes = given.get("dim")
        if len(shape_of(source)) != 4 or axes is None or sorted(int(axis) % 4 for axis in axes) != [2, 3]:
            return "takes the mean over other dimensions than rows and columns"
        return "" if given.get("dtype") is None else "asks for a type of its own"

    def emit(self, builder: Builder, node: Node) -> int:
        keep = bool(arguments(node).get("keepdim"))
        pooled = builder.add("adaptive_avg_pool2d", node, data_inputs(node), {"size": [1, 1]})
        return pooled if keep else builder.add("reshape", node, [pooled], {"shape": [-1]}, suffix=".flatten")
