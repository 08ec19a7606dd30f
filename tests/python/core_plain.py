"""What operators of plain values compute, in torch's own; those that move elements, of uint8 values, too."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F

DTYPES = {
    "float32": torch.float32, "int64": torch.int64, "int32": torch.int32, "bool": torch.bool, "byte": torch.uint8,
    "int8": torch.int8,
}  # fmt: skip
Values = list[Any]
Attributes = Mapping[str, Any]
OPERATORS: dict[str, Callable[..., Any]] = {}


def adds_to(operators: dict[str, Callable[..., Any]]) -> Callable[[str], Callable[[Callable[..., Any]], Any]]:
    """A decorator that puts functions into a table under a name."""

    def named(name: str) -> Callable[[Callable[..., Any]], Any]:
        def add(function: Callable[..., Any]) -> Callable[..., Any]:
            operators[name] = function
            return function

        return add

    return named


_operator = adds_to(OPERATORS)


# Moving elements


def _moving(name: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def add(function: Callable[[Values, Attributes], Any]) -> Callable[..., Any]:
        def call(x: Values, a: Attributes, t: Any, read: Any = (), made: Any = None) -> Any:
            assert all(each == made for each in read), (name, read, made)
            return function(x, a)

        OPERATORS[name] = call
        return call

    return add


@_moving("reshape")
def _reshape(x: Values, a: Attributes) -> torch.Tensor:
    return x[0].reshape(a["shape"])


@_moving("permute")
def _permute(x: Values, a: Attributes) -> torch.Tensor:
    return x[0].permute(a["axes"]).contiguous()


@_moving("expand")
def _expand(x: Values, a: Attributes) -> torch.Tensor:
    return x[0].expand(a["shape"]).contiguous()


@_moving("concat")
def _concat(x: Values, a: Attributes) -> torch.Tensor:
    assert len({each.dtype for each in x}) == 1
    return torch.cat(x, a["axis"])


@_moving("slice")
def _slice(x: Values, a: Attributes) -> torch.Tensor:
    size = x[0].shape[a["axis"]]
    places = torch.arange(size)[slice(a["start"], min(a["end"], size), a.get("step", 1))]
    return x[0].index_select(a["axis"], places)


@_moving("pad")
def _pad(x: Values, a: Attributes) -> torch.Tensor:
    pads, value = a["padding"], x[0]
    assert len(pads) == 2 * value.dim()
    if a.get("mode", "constant") == "constant":
        if value.dtype == torch.uint8:
            assert a["q"] >= -1
            return F.pad(value.int(), _torch_order(pads), value=max(a["q"], 0)).to(torch.uint8)
        return F.pad(value, _torch_order(pads), value=a.get("value", 0.0))
    for axis in range(value.dim()):
        value = _pad_axis(value, axis, *pads[2 * axis : 2 * axis + 2], a["mode"])
    return value


def _torch_order(pads: Sequence[int]) -> list[int]:
    pairs = [pads[at : at + 2] for at in range(0, len(pads), 2)]
    return [end for pair in pairs[::-1] for end in pair]


def _pad_axis(x: torch.Tensor, axis: int, before: int, after: int, mode: str) -> torch.Tensor:
    size = x.shape[axis]
    places = torch.arange(-before, size + after)
    if mode == "reflect":
        period = max(2 * (size - 1), 1)
        places = places.remainder(period)
        places = torch.where(places >= size, period - places, places)
    elif mode == "replicate":
        places = places.clamp(0, size - 1)
    else:
        places = places.remainder(size)
    return x.index_select(axis, places)


@_moving("flip")
def _flip(x: Values, a: Attributes) -> torch.Tensor:
    return x[0].flip(a["axes"])


@_moving("roll")
def _roll(x: Values, a: Attributes) -> torch.Tensor:
    return x[0].roll(a["shifts"], a["axes"])


@_moving("tile")
def _tile(x: Values, a: Attributes) -> torch.Tensor:
    return x[0].repeat(a["repeats"])


@_operator("take")
def _take(x: Values, a: Attributes, t: Any) -> torch.Tensor:
    data, places = x[0], x[1].long()
    size = data.shape[a["axis"]]
    low = -size if a.get("wrap") else 0
    if places.numel() and (int(places.min()) < low or int(places.max()) >= size):
        raise ValueError(f"an index lies outside of {low} to {size - 1}")
    places = torch.where(places < 0, places + size, places)
    shape = [*data.shape[: a["axis"]], *places.shape, *data.shape[a["axis"] + 1 :]]
    return data.index_select(a["axis"], places.reshape(-1)).reshape(shape)


@_operator("gather")
def _gather(x: Values, a: Attributes, t: Any) -> torch.Tensor:
    return torch.gather(x[0], a["axis"], x[1])


@_operator("scatter")
def _scatter(x: Values, a: Attributes, t: Any) -> torch.Tensor:
    data, indices, updates = x
    if updates.numel() == 0:
        return data.clone()
    places, axis, name = indices.expand(updates.shape), a["axis"], a.get("function", "set")
    if name == "set":
        return data.scatter(axis, places, updates)
    reduce = {"add": "sum", "mul": "prod", "max": "amax", "min": "amin"}[name]
    return data.scatter_reduce(axis, places, updates, reduce)


@_operator("unfold")
def _unfold(x: Values, a: Attributes, t: Any) -> torch.Tensor:
    return F.unfold(x[0], a["kernel"], a["dilation"], a["padding"], a["stride"])


# Making values


@_operator("constant")
def _constant(x: Values, a: Attributes, t: Any) -> torch.Tensor:
    return t["value"]


@_operator("full")
def _full(x: Values, a: Attributes, t: Any) -> torch.Tensor:
    return torch.full(a["shape"], a["value"], dtype=DTYPES[a["dtype"]])


@_operator("arange")
def _arange(x: Values, a: Attributes, t: Any) -> torch.Tensor:
    return torch.arange(a["start"], a["end"], a["step"]).to(DTYPES[a["dtype"]])


@_operator("linspace")
def _linspace(x: Values, a: Attributes, t: Any) -> torch.Tensor:
    return torch.linspace(a["start"], a["end"], a["steps"])


@_operator("size")
def _size(x: Values, a: Attributes, t: Any) -> torch.Tensor:
    return torch.tensor(a["value"])


# Element by element

_UNARY: dict[str, Callable[..., torch.Tensor]] = {
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "log_sigmoid": F.logsigmoid,
    "softplus": lambda x, a, b: F.softplus(x, a, b),
    "threshold": lambda x, a, b: F.threshold(x, a, b),
    "clamp": lambda x, a, b: x.clamp(*(None if math.isinf(end) else x.new_tensor(end).item() for end in (a, b))),
    "leaky_relu": lambda x, a: F.leaky_relu(x, a),
    "elu": lambda x, a: F.elu(x, a),
    "celu": lambda x, a: F.celu(x, a),
    "hardshrink": lambda x, a: F.hardshrink(x, a),
    "softshrink": lambda x, a: F.softshrink(x, a),
}


@_operator("unary")
def _unary(x: Values, a: Attributes, t: Any) -> torch.Tensor:
    name = a["function"]
    found = _UNARY.get(name) or getattr(F, name, None) or getattr(torch, name)
    if name in ("softplus", "threshold", "clamp"):
        return found(x[0], a["alpha"], a["beta"])
    if name in ("leaky_relu", "elu", "celu", "hardshrink", "softshrink"):
        return found(x[0], a["alpha"])
    if not x[0].is_floating_point():
        integers = ("abs", "neg", "sign", "square", "relu")
        assert name in (integers if x[0].dtype != torch.bool else ("logical_not",)), (name, x[0].dtype)
    return found(x[0])


_BINARY: dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "floor_div": lambda a, b: torch.div(a, b, rounding_mode="floor"),
    "trunc_div": lambda a, b: torch.div(a, b, rounding_mode="trunc"),
    "prelu": lambda a, b: torch.where(a > 0, a, b * a),
}


@_operator("binary")
def _binary(x: Values, a: Attributes, t: Any) -> torch.Tensor:
    name = a["function"]
    assert x[0].dtype == x[1].dtype, (name, x[0].dtype, x[1].dtype)
    function = _BINARY.get(name) or getattr(torch, name)
    return function(x[0], x[1])


@_operator("where")
def _where(x: Values, a: Attributes, t: Any) -> torch.Tensor:
    assert x[0].dtype == torch.bool and x[1].dtype == x[2].dtype
    return torch.where(*x)


@_operator("cast")
def _cast(x: Values, a: Attributes, t: Any) -> torch.Tensor:
    return x[0].to(DTYPES[a["dtype"]])


@_operator("channel_affine")
def _channel_affine(x: Values, a: Attributes, t: Any) -> torch.Tensor:
    shape = [-1 if axis == a["axis"] else 1 for axis in range(x[0].dim())]
    return x[0] * t["gain"].reshape(shape) + t["shift"].reshape(shape)


# Along axes


@_operator("reduce")
def _reduce(x: Values, a: Attributes, t: Any) -> torch.Tensor:
    value, name, keep = x[0], a["function"], bool(a["keepdims"])
    axes = list(a["axes"]) or list(range(value.dim()))
    if name == "var":
        return value.var(axes, correction=a["correction"], keepdim=keep)
    if name in ("sum", "mean"):
        return getattr(value, name)(axes, keepdim=keep)
    if name in ("max", "min"):
        return getattr(value, f"a{name}")(axes, keepdim=keep)
    if name in ("norm2", "sum_abs"):
        return torch.linalg.vector_norm(value, 2 if name == "norm2" else 1, axes, keep)
    assert value.dtype == torch.bool or name == "prod"
    for axis in sorted(axes, reverse=True):
        value = getattr(value, name)(axis, keepdim=keep)
    return value


@_operator("arg_reduce")
def _arg_reduce(x: Values, a: Attributes, t: Any) -> torch.Tensor:
    return getattr(x[0], a["function"])(a["axis"], keepdim=bool(a["keepdims"]))


@_operator("cumsum")
def _cumsum(x: Values, a: Attributes, t: Any) -> torch.Tensor:
    return x[0].cumsum(a["axis"])


@_operator("cumprod")
def _cumprod(x: Values, a: Attributes, t: Any) -> torch.Tensor:
    return x[0].cumprod(a["axis"])


@_operator("cumextreme")
def _cumextreme(x: Values, a: Attributes, t: Any) -> tuple[torch.Tensor, ...]:
    return tuple((torch.cummax if a["largest"] else torch.cummin)(x[0], a["axis"]))


@_operator("softmax")
def _softmax(x: Values, a: Attributes, t: Any) -> torch.Tensor:
    return F.log_softmax(x[0], a["axis"]) if a.get("log") else F.softmax(x[0], a["axis"])


@_operator("layer_norm")
def _layer_norm(x: Values, a: Attributes, t: Any) -> torch.Tensor:
    return F.layer_norm(x[0], x[0].shape[-a["axes"] :], t.get("weight"), t.get("bias"), a["eps"])


@_operator("rms_norm")
def _rms_norm(x: Values, a: Attributes, t: Any) -> torch.Tensor:
    return F.rms_norm(x[0], x[0].shape[-a["axes"] :], t.get("weight"), a["eps"])


@_operator("group_norm")
def _group_norm(x: Values, a: Attributes, t: Any) -> torch.Tensor:
    return F.group_norm(x[0], a["groups"], t.get("weight"), t.get("bias"), a["eps"])


@_operator("topk")
def _topk(x: Values, a: Attributes, t: Any) -> tuple[torch.Tensor, ...]:
    return tuple(torch.topk(x[0], a["k"], a["axis"], bool(a["largest"])))


@_operator("sort")
def _sort(x: Values, a: Attributes, t: Any) -> tuple[torch.Tensor, ...]:
    return tuple(torch.sort(x[0], dim=a["axis"], descending=bool(a["descending"]), stable=True))


# Products


@_operator("matmul")
def _matmul(x: Values, a: Attributes, t: Any) -> torch.Tensor:
    return torch.matmul(x[0], x[1].mT if a.get("transpose_b") else x[1])


@_operator("attention")
def _attention(x: Values, a: Attributes, t: Any) -> torch.Tensor:
    mask = x[3] if len(x) > 3 else None
    if mask is not None and a["causal"]:
        length, keys = x[0].shape[-2], x[1].shape[-2]
        seen = torch.ones(length, keys, dtype=torch.bool).tril()
        mask = mask & seen if mask.dtype == torch.bool else mask.masked_fill(~seen, -math.inf)
    causal = bool(a["causal"]) and mask is None
    return F.scaled_dot_product_attention(*x[:3], attn_mask=mask, is_causal=causal, scale=a["scale"])


@_operator("dynamic_linear")
def _dynamic_linear(x: Values, a: Attributes, t: Any) -> torch.Tensor:
    rows = x[0]
    low, high = rows.amin(-1, keepdim=True).clamp_max(0), rows.amax(-1, keepdim=True).clamp_min(0)
    scale = (2 * (high / 510 - low / 510)).clamp_min(1e-30)
    zero = (-low / scale).round()
    steps = ((rows / scale).round() + zero).clamp(0, 255) - zero
    return F.linear(steps.double(), t["weight"].double()).float() * t["weight_scale"] * scale + t["bias"]


# Windows


def _pairs(padding: Sequence[int]) -> list[tuple[int, int]]:
    return [(padding[at], padding[at + 1]) for at in range(0, len(padding), 2)]


@_operator("convolution")
def _convolution(x: Values, a: Attributes, t: Any) -> torch.Tensor:
    axes = x[0].dim() - 2
    pads = _pairs(a["padding"])
    if a["transposed"]:
        function = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)[axes - 1]
        whole = function(
            x[0], t["weight"], t.get("bias"), a["stride"], 0, a["output_padding"], a["groups"], a["dilation"]
        )
        return F.pad(whole, [-end for pair in pads[::-1] for end in pair])
    function = (F.conv1d, F.conv2d, F.conv3d)[axes - 1]
    padded = F.pad(x[0], [end for pair in pads[::-1] for end in pair])
    return function(padded, t["weight"], t.get("bias"), a["stride"], 0, a["dilation"], a["groups"])


def _uneven(x: torch.Tensor, a: Attributes, value: float) -> tuple[torch.Tensor, list[int]]:
    """Padding that differs before and after is added by hand; what torch takes itself is returned."""
    pads = _pairs(a.get("padding", [0, 0] * len(a["kernel"])))
    if all(before == after for before, after in pads):
        return x, [before for before, _ in pads]
    return F.pad(x, [end for pair in pads[::-1] for end in pair], value=value), [0] * len(pads)


def pool_max(x: torch.Tensor, a: Attributes) -> torch.Tensor:
    x, padding = _uneven(x, a, -math.inf)
    function = (F.max_pool1d, F.max_pool2d, F.max_pool3d)[len(a["kernel"]) - 1]
    dilation = a.get("dilation", [1] * len(a["kernel"]))
    return function(x, a["kernel"], a["stride"], padding, dilation, bool(a.get("ceil_mode")))


def _pool_average(x: torch.Tensor, a: Attributes) -> torch.Tensor:
    axes = len(a["kernel"])
    function = (F.avg_pool1d, F.avg_pool2d, F.avg_pool3d)[axes - 1]
    padding = [before for before, _ in _pairs(a["padding"])]
    rest = {} if axes == 1 else {"divisor_override": a.get("divisor") or None}
    return function(x, a["kernel"], a["stride"], padding, bool(a["ceil_mode"]), bool(a["count_include_pad"]), **rest)


@_operator("pool")
def _pool(x: Values, a: Attributes, t: Any) -> torch.Tensor:
    return pool_max(x[0], a) if a["function"] == "max" else _pool_average(x[0], a)


@_operator("adaptive_pool")
def _adaptive_pool(x: Values, a: Attributes, t: Any) -> torch.Tensor:
    kind = "max" if a["function"] == "max" else "avg"
    return getattr(F, f"adaptive_{kind}_pool{len(a['size'])}d")(x[0], a["size"])


@_operator("interpolate")
def interpolate(x: Values, a: Attributes, t: Any) -> torch.Tensor:
    axes = x[0].dim() - 2
    mode = {"linear": ("linear", "bilinear", "trilinear")[axes - 1], "cubic": "bicubic"}.get(a["mode"], a["mode"])
    align = None if mode.startswith("nearest") else bool(a["align_corners"])
    scales = [scale or None for scale in a["scales"]]
    names = {"nearest": "upsample_nearest", "nearest-exact": "_upsample_nearest_exact"}
    function = getattr(torch.ops.aten, f"{names.get(mode, f'upsample_{mode}')}{axes}d")
    if align is None:
        return function(x[0], a["size"], *scales)
    return function(x[0], a["size"], align, *scales)


@_operator("grid_sample")
def _grid_sample(x: Values, a: Attributes, t: Any) -> torch.Tensor:
    return F.grid_sample(x[0], x[1], a["mode"], a["padding_mode"], bool(a["align_corners"]))


@_operator("sequence_lengths")
def _sequence_lengths(x: Values, a: Attributes, t: Any) -> torch.Tensor:
    given = x[0].tolist()
    assert all(1 <= length <= a["steps"] for length in given), given
    assert not a.get("falling") or given == sorted(given, reverse=True), given
    assert not a.get("full") or max(given, default=a["steps"]) == a["steps"], given
    return x[0].clone()


def _by_sequence(x: Values, a: Attributes, t: Any) -> tuple[torch.Tensor, ...]:
    """Recurrent layers of sequences of different lengths: one after the other."""
    rows, axis = x[0], 0 if a["batch_first"] else 1
    made: list[list[torch.Tensor]] = []
    for row, length in enumerate(x[3].tolist()):
        one = rows.narrow(axis, row, 1).narrow(1 - axis, 0, length)
        states = [None if state is None else state[:, row : row + 1] for state in x[1:3]]
        y, *last = _recurrent([one, *states], a, t)
        after = [0, 0] * (2 - (1 - axis)) + [0, rows.shape[1 - axis] - length]
        made.append([F.pad(y, after), *last])
    y, *last = (list(each) for each in zip(*made, strict=True))
    return torch.cat(y, axis), *(torch.cat(state, 1) for state in last)


@_operator("recurrent")
def _recurrent(x: Values, a: Attributes, t: Any) -> tuple[torch.Tensor, ...]:
    if len(x) > 3 and x[3] is not None:
        return _by_sequence(x, a, t)
    x = [each for each in x if each is not None]
    kind, layers, both = a["kind"], a["layers"], bool(a["bidirectional"])
    batch = x[0].shape[0 if a["batch_first"] else 1]
    count = layers * (2 if both else 1)
    outputs = t["w_hr_l0"].shape[0] if "w_hr_l0" in t else a["hidden"]
    states = list(x[1:]) or [torch.zeros(count, batch, outputs)]
    if kind == "lstm" and len(states) == 1:
        states.append(torch.zeros(count, batch, a["hidden"]))
    biases = "b_ih_l0" in t
    kinds = ["w_ih", "w_hh", *(("b_ih", "b_hh") if biases else ()), *(("w_hr",) if "w_hr_l0" in t else ())]
    ends = [f"l{layer}{side}" for layer in range(layers) for side in (("", "_reverse") if both else ("",))]
    weights = [t[f"{each}_{end}"] for end in ends for each in kinds]
    function = getattr(torch, kind)
    initial = states if kind == "lstm" else states[0]
    with warnings.catch_warnings():  # of oneDNN, on some CPUs: that it takes no projections
        warnings.simplefilter("ignore")
        return tuple(function(x[0], initial, weights, biases, layers, 0.0, False, both, bool(a["batch_first"])))
