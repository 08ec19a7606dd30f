"""Convolutions, as torch's layers where the weights are in the file."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from niwaki.onnx.call import Call
from niwaki.onnx.errors import Refusal
from niwaki.onnx.functions import windows
from niwaki.onnx.operators.windows import Windows, windows_of
from niwaki.onnx.own_scales import FILE_SCALE
from niwaki.onnx.registry import operator

_LAYERS: dict[int, Any] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
_FUNCTIONS: dict[int, Any] = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_TRANSPOSED: dict[int, Any] = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
_TRANSPOSED_FUNCTIONS: dict[int, Any] = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}


def kernel_of(call: Call, index: int) -> list[int]:
    """The spatial sizes of a weight, which have to be known, and are those of the attribute."""
    dims = call.value(index).dims
    given = call.integers("kernel_shape")
    if dims is None or any(size is None for size in dims[2:]):
        if given is None:
            raise Refusal("the size of its kernel is not known")
        return given
    kernel = [int(size) for size in dims[2:] if size is not None]
    if given is not None and given != kernel:
        raise Refusal(f"its kernel_shape {given} is not that of its weight, {kernel}")
    if not 1 <= len(kernel) <= 3:
        raise Refusal(f"it has {len(kernel)} spatial dimensions; 1 to 3 are supported")
    return kernel


@operator("Conv", since=1)
def _conv(call: Call) -> Any:
    return convolve(call, call.x(0), call.value(1).data, call.x(1), call.optional(2), (call.value(1).data,))


def convolve(call: Call, x: Any, known: Any, weight: Any, bias: Any, key: tuple[Any, ...]) -> Any:
    """A convolution of x with a weight and a bias, of which `known` is a tensor where they are constants."""
    kernel = kernel_of(call, 1)
    shape = windows_of(call, kernel)
    groups = call.integer("group", 1)
    x, padding = _padded(call, x, shape)
    spatial = len(kernel)
    if not isinstance(weight, torch.Tensor) or not (bias is None or isinstance(bias, torch.Tensor)):
        return call.call(_FUNCTIONS[spatial], x, weight, bias, shape.stride, padding, shape.dilation, groups)

    def make() -> nn.Module:
        outputs, inputs = weight.shape[0], weight.shape[1] * groups
        layer = _LAYERS[spatial](
            inputs, outputs, kernel, shape.stride, padding, shape.dilation, groups, bias=bias is not None,
            device="meta",
        )  # fmt: skip
        return with_weights(layer, weight, bias, call.builder.scales.get(id(weight)))

    settings = (tuple(shape.stride), tuple(padding), tuple(shape.dilation), groups)
    return call.layer(("conv", *key, bias, settings), make, x)


def with_weights(
    layer: nn.Module, weight: torch.Tensor, bias: torch.Tensor | None, scale: torch.Tensor | None = None
) -> nn.Module:
    """The layer with the file's tensors as its parameters; `scale` of integers that the weight was made of."""
    if scale is not None:
        setattr(layer, FILE_SCALE, scale)
    layer.weight = nn.Parameter(weight.detach())
    if bias is not None:
        layer.bias = nn.Parameter(bias.detach())
    return layer


def _padded(call: Call, x: Any, shape: Windows) -> tuple[Any, list[int]]:
    """The input with the padding that torch's layers cannot have, and the padding for these."""
    if shape.symmetric is not None:
        return x, shape.symmetric
    none = [0] * len(shape.kernel)
    if shape.pads is None:
        upper = shape.auto == "SAME_UPPER"
        return call.call(windows.pad_same, x, shape.kernel, shape.stride, shape.dilation, upper), none
    return call.call(F.pad, x, [each for pair in reversed(shape.pads) for each in pair]), none


@operator("ConvTranspose", since=1)
def _conv_transpose(call: Call) -> Any:
    kernel = kernel_of(call, 1)
    spatial = len(kernel)
    groups = call.integer("group", 1)
    more = call.integers("output_padding") or [0] * spatial
    sizes = call.integers("output_shape")
    auto = call.only("auto_pad", "NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID", "")
    stride = call.integers("strides") or [1] * spatial
    dilation = call.integers("dilations") or [1] * spatial
    pads = call.integers("pads") or [0] * (2 * spatial)
    around = list(zip(pads[:spatial], pads[spatial:], strict=True))
    if auto == "VALID":
        around = [(0, 0)] * spatial
    x, weight, bias = call.x(0), call.x(1), call.optional(2)
    fits = sizes is None and not auto.startswith("SAME")
    symmetric = fits and all(a == b for a, b in around)
    small = all(m < max(s, d) for m, s, d in zip(more, stride, dilation, strict=True))
    if symmetric and small:
        padding = [a for a, _ in around]
        return _transposed(call, x, weight, bias, (stride, padding, more, groups, dilation))
    none = [0] * spatial
    whole = _transposed(call, x, weight, None, (stride, none, none, groups, dilation))
    if fits:
        cut = call.call(windows.crop, whole, around, more)
    else:
        wanted: Any = sizes[-spatial:] if sizes is not None else None
        if wanted is None:
            wanted = call.call(windows.times, call.dims(0)[2:], stride)
        cut = call.call(windows.crop_to, whole, wanted, more, auto == "SAME_UPPER")
    if bias is None:
        return cut
    return call.call(torch.add, cut, call.method("reshape", bias, [-1] + [1] * spatial))


def _transposed(call: Call, x: Any, weight: Any, bias: Any, settings: tuple[Any, ...]) -> Any:
    stride, padding, more, groups, dilation = settings
    spatial = len(stride)
    if not isinstance(weight, torch.Tensor) or not (bias is None or isinstance(bias, torch.Tensor)):
        function = _TRANSPOSED_FUNCTIONS[spatial]
        return call.call(function, x, weight, bias, stride, padding, more, groups, dilation)

    def make() -> nn.Module:
        inputs, outputs = weight.shape[0], weight.shape[1] * groups
        layer = _TRANSPOSED[spatial](
            inputs, outputs, list(weight.shape[2:]), stride, padding, more, groups, bias is not None, dilation,
            device="meta",
        )  # fmt: skip
        return with_weights(layer, weight, bias, call.builder.scales.get(id(weight)))

    key = ("transposed", weight, bias, tuple(stride), tuple(padding), tuple(more), groups, tuple(dilation))
    return call.layer(key, make, x)
