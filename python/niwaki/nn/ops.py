"""The operators niwaki::conv2d, linear, dynamic_linear: a quantized layer, float32 in and out, run by the native core.

They are torch.library operators with fake implementations, so torch.compile and torch.export see one node per layer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from niwaki._core import Dim, Graph
from niwaki.nn.sessions import session_for

# The core refuses a bias beyond this: it is added to a sum in int32.
_INT32 = 2**31 - 1

_CONV2D = (
    "(Tensor x, Tensor weight, Tensor weight_scale, Tensor? bias, Tensor input_scale, Tensor input_zero_point, "
    "int[2] stride, int[4] padding, int[2] dilation, int groups) -> Tensor"
)
_LINEAR = (
    "(Tensor x, Tensor weight, Tensor weight_scale, Tensor? bias, Tensor input_scale, Tensor input_zero_point) "
    "-> Tensor"
)
_DYNAMIC_LINEAR = "(Tensor x, Tensor weight, Tensor weight_scale, Tensor? bias) -> Tensor"


_TENSORS = ("weight", "weight_scale", "bias", "input_scale", "input_zero_point")
_DTYPES = {"weight": torch.int8, "input_zero_point": torch.int32}  # of the others, float32


def _check(op: str, x: torch.Tensor, tensors: Mapping[str, torch.Tensor | None]) -> None:
    for name, tensor in {"x": x, **tensors}.items():
        if tensor is not None and tensor.device.type not in ("cpu", "meta"):
            raise ValueError(
                f"{op}: {name} is on device '{tensor.device}'; niwaki runs on CPUs, so move it with .cpu()."
            )
    if x.dtype != torch.float32:
        raise TypeError(
            f"{op}: x must be float32, not {str(x.dtype).removeprefix('torch.')}; convert it with x.float()."
        )
    for name, tensor in tensors.items():
        wanted = _DTYPES.get(name, torch.float32)
        if tensor is not None and tensor.dtype != wanted:
            raise TypeError(
                f"{op}: {name} must be {str(wanted).removeprefix('torch.')}, "
                f"not {str(tensor.dtype).removeprefix('torch.')}; "
                "a niwaki layer cannot be converted with .half(), .double() or .to(dtype)."
            )


def _check_conv2d(x: torch.Tensor, weight: torch.Tensor, groups: int) -> None:
    if weight.dim() != 4:
        raise ValueError(f"niwaki::conv2d: weight must be [out, in / groups, height, width], not {list(weight.shape)}.")
    channels = weight.shape[1] * groups
    if x.dim() != 4 or x.shape[1] != channels:
        raise ValueError(f"niwaki::conv2d: x must be [N, {channels}, H, W], not {list(x.shape)}.")


def _check_linear(x: torch.Tensor, weight: torch.Tensor) -> None:
    if weight.dim() != 2:
        raise ValueError(f"niwaki::linear: weight must be [out, in], not {list(weight.shape)}.")
    if x.dim() < 1 or x.shape[-1] != weight.shape[1]:
        raise ValueError(f"niwaki::linear: the last dimension of x must be {weight.shape[1]}; x is {list(x.shape)}.")


def _conv2d_shape(
    x: torch.Tensor, weight: torch.Tensor, stride: Sequence[int], padding: Sequence[int], dilation: Sequence[int]
) -> list[int]:
    top, left, bottom, right = padding
    height = (x.shape[2] + top + bottom - dilation[0] * (weight.shape[2] - 1) - 1) // stride[0] + 1
    width = (x.shape[3] + left + right - dilation[1] * (weight.shape[3] - 1) - 1) // stride[1] + 1
    return [x.shape[0], weight.shape[0], height, width]


def _check_room(x: torch.Tensor, shape: Sequence[int]) -> None:
    if shape[2] < 1 or shape[3] < 1:
        raise ValueError(f"niwaki::conv2d: x is {list(x.shape)}, too small for the kernel, even padded.")


def _bias(bias: torch.Tensor | None, weight_scale: torch.Tensor, input_scale: torch.Tensor) -> torch.Tensor:
    """int32 [O], in units of input_scale * weight_scale."""
    if bias is None:
        return torch.zeros(weight_scale.shape, dtype=torch.int32)
    unit = (input_scale * weight_scale).double()
    steps = (bias.double() / unit).round()
    if not bool((steps.abs() <= _INT32).all()):
        raise ValueError(
            "niwaki: a bias is too large for its layer's scales, or not finite; use a larger weight_scale there."
        )
    return steps.to(torch.int32)


def _graph(
    op: str,
    channels: int,
    attributes: dict[str, int | Sequence[int]],
    tensors: tuple[torch.Tensor, torch.Tensor, torch.Tensor | None, torch.Tensor, torch.Tensor],
) -> Graph:
    """quantize -> the layer -> float32."""
    with torch.inference_mode(False), torch.no_grad():
        weight, weight_scale, bias, input_scale, input_zero_point = tensors
        arrays = {
            "weight": weight.detach().contiguous().numpy(),
            "weight_scale": weight_scale.detach().contiguous().numpy(),
            "bias": _bias(bias, weight_scale, input_scale).numpy(),
        }
    graph = Graph()
    batch = graph.add_size("batch")
    dims: list[int | Dim] = [batch, channels]
    if op == "conv2d":
        dims += [graph.add_size("height"), graph.add_size("width")]
    x = graph.add_input("x", "float32", dims)
    (x,) = graph.add_node("quantize", "quantize", [x], {}, {}, [(float(input_scale), int(input_zero_point))])
    (y,) = graph.add_node(op, op, [x], attributes, arrays)
    graph.add_output(y, "y")
    return graph


@torch.library.custom_op("niwaki::conv2d", mutates_args=(), schema=_CONV2D)
def conv2d(
    x: torch.Tensor,
    weight: torch.Tensor,
    weight_scale: torch.Tensor,
    bias: torch.Tensor | None,
    input_scale: torch.Tensor,
    input_zero_point: torch.Tensor,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
) -> torch.Tensor:
    """A quantized convolution.

    Args:
        x: float32 [N, C, H, W]. It is quantized with input_scale and input_zero_point; NaN becomes the lowest value.
        weight: int8 [O, C / groups, kh, kw], in -127 to 127.
        weight_scale: float32 [O].
        bias: float32 [O] or None.
        input_scale, input_zero_point: float32 [] and int32 [] in 0 to 255.
        stride, dilation: vertical, horizontal.
        padding: top, left, bottom, right, with zeros.
        groups: as in torch.nn.Conv2d.

    Returns:
        float32 [N, O, H', W'], contiguous.

    Raises:
        TypeError, ValueError: a dtype, device or shape does not fit.
    """
    tensors = (weight, weight_scale, bias, input_scale, input_zero_point)
    _check("niwaki::conv2d", x, dict(zip(_TENSORS, tensors, strict=True)))
    _check_conv2d(x, weight, groups)
    shape = _conv2d_shape(x, weight, stride, padding, dilation)
    _check_room(x, shape)
    y = x.new_empty(shape)
    if y.numel() == 0:
        return y
    attributes: dict[str, int | Sequence[int]] = {
        "stride": list(stride), "padding": list(padding), "dilation": list(dilation), "groups": groups,
    }  # fmt: skip
    tensors = (weight, weight_scale, bias, input_scale, input_zero_point)
    session = session_for(
        weight,
        tensors[1:],
        (*stride, *padding, *dilation, groups),
        lambda: _graph("conv2d", x.shape[1], attributes, tensors),
    )
    x = x.detach().contiguous()
    session.run([(x.data_ptr(), tuple(x.shape))], [y.data_ptr()])
    return y


@conv2d.register_fake
def _(x, weight, weight_scale, bias, input_scale, input_zero_point, stride, padding, dilation, groups):  # type: ignore[no-untyped-def]
    _check_conv2d(x, weight, groups)
    return x.new_empty(_conv2d_shape(x, weight, stride, padding, dilation))


@torch.library.custom_op("niwaki::linear", mutates_args=(), schema=_LINEAR)
def linear(
    x: torch.Tensor,
    weight: torch.Tensor,
    weight_scale: torch.Tensor,
    bias: torch.Tensor | None,
    input_scale: torch.Tensor,
    input_zero_point: torch.Tensor,
) -> torch.Tensor:
    """A quantized linear layer.

    Args:
        x: float32 [..., I]. It is quantized with input_scale and input_zero_point; NaN becomes the lowest value.
        weight: int8 [O, I], in -127 to 127.
        weight_scale: float32 [O].
        bias: float32 [O] or None.
        input_scale, input_zero_point: float32 [] and int32 [] in 0 to 255.

    Returns:
        float32 [..., O], contiguous.

    Raises:
        TypeError, ValueError: a dtype, device or shape does not fit.
    """
    tensors = (weight, weight_scale, bias, input_scale, input_zero_point)
    _check("niwaki::linear", x, dict(zip(_TENSORS, tensors, strict=True)))
    _check_linear(x, weight)
    y = x.new_empty([*x.shape[:-1], weight.shape[0]])
    if y.numel() == 0:
        return y
    session = session_for(weight, tensors[1:], (), lambda: _graph("linear", weight.shape[1], {}, tensors))
    x = x.detach().contiguous()
    session.run([(x.data_ptr(), (x.numel() // x.shape[-1], x.shape[-1]))], [y.data_ptr()])
    return y


@linear.register_fake
def _(x, weight, weight_scale, bias, input_scale, input_zero_point):  # type: ignore[no-untyped-def]
    _check_linear(x, weight)
    return x.new_empty([*x.shape[:-1], weight.shape[0]])


def _dynamic_graph(weight: torch.Tensor, weight_scale: torch.Tensor, bias: torch.Tensor | None) -> Graph:
    with torch.inference_mode(False), torch.no_grad():
        tensors = {
            "weight": weight.detach().contiguous().numpy(),
            "weight_scale": weight_scale.detach().contiguous().numpy(),
            "bias": (torch.zeros(weight_scale.shape) if bias is None else bias.detach().contiguous()).numpy(),
        }
    graph = Graph()
    x = graph.add_input("x", "float32", [graph.add_size("batch"), weight.shape[1]])
    (y,) = graph.add_node("dynamic_linear", "dynamic_linear", [x], {}, tensors)
    graph.add_output(y, "y")
    return graph


@torch.library.custom_op("niwaki::dynamic_linear", mutates_args=(), schema=_DYNAMIC_LINEAR)
def dynamic_linear(
    x: torch.Tensor, weight: torch.Tensor, weight_scale: torch.Tensor, bias: torch.Tensor | None
) -> torch.Tensor:
    """A quantized linear layer whose inputs are rounded with the range of their own row.

    So what a row gives hangs on no other row, nor on what calibration saw.

    Args:
        x: float32 [..., I]. Each row is quantized to uint8, with the scale and zero point of its range; a row with an
            element that is not finite becomes NaN.
        weight: int8 [O, I], in -127 to 127.
        weight_scale: float32 [O].
        bias: float32 [O] or None.

    Returns:
        float32 [..., O], contiguous.

    Raises:
        TypeError, ValueError: a dtype, device or shape does not fit.
    """
    _check("niwaki::dynamic_linear", x, {"weight": weight, "weight_scale": weight_scale, "bias": bias})
    _check_linear(x, weight)
    y = x.new_empty([*x.shape[:-1], weight.shape[0]])
    if y.numel() == 0:
        return y
    session = session_for(weight, (weight_scale, bias), (), lambda: _dynamic_graph(weight, weight_scale, bias))
    x = x.detach().contiguous()
    session.run([(x.data_ptr(), (x.numel() // x.shape[-1], x.shape[-1]))], [y.data_ptr()])
    return y


@dynamic_linear.register_fake
def _(x, weight, weight_scale, bias):  # type: ignore[no-untyped-def]
    _check_linear(x, weight)
    return x.new_empty([*x.shape[:-1], weight.shape[0]])
