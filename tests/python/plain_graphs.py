"""Small graphs of the operators that small_graphs.py leaves out, on values of any type and rank."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from niwaki import _core


class Plain:
    """A graph whose values all become outputs where nothing else reads them."""

    def __init__(self, seed: int) -> None:
        self.graph = _core.Graph()
        self.random = np.random.default_rng(seed)
        self.unread: dict[int, str] = {}
        self.batch = self.graph.add_size("batch", 0, 2**31 - 1, 2)

    def input(self, name: str, *dims: int | _core.Dim, dtype: str = "float32") -> int:
        return self.graph.add_input(name, dtype, [self.batch, *dims])

    def add(
        self,
        op: str,
        inputs: Sequence[int] = (),
        tensors: Mapping[str, np.ndarray] | None = None,
        outputs: Sequence[tuple[float, int] | None] = (),
        **attributes: Any,
    ) -> int:
        """The first of the values that the node makes."""
        name = f"{op}.{len(self.graph.nodes())}"
        values = self.graph.add_node(op, name, inputs, attributes, tensors or {}, outputs)
        for value in inputs:
            self.unread.pop(value, None)
        self.unread.update({value: f"{name}.{index}" for index, value in enumerate(values)})
        return values[0]

    def floats(self, *shape: int) -> np.ndarray:
        return self.random.standard_normal(shape).astype(np.float32)

    def finish(self) -> _core.Graph:
        for value, name in self.unread.items():
            self.graph.add_output(value, name)
        return self.graph


def tokens() -> _core.Graph:
    """Indices, masks, expressions, a guard, a state, nodes of several outputs, constants of every type."""
    plain = Plain(11)
    graph, batch = plain.graph, plain.batch
    length = graph.add_size("length", 2, 128)
    ids, mask = plain.input("ids", length, dtype="int64"), plain.input("mask", length, dtype="bool")
    kinds = plain.input("kinds", length, dtype="int32")
    shifted = plain.input("shifted", _core.Dim.max(length - 3, 1) // 2 + batch % 4, 4)
    seen = graph.add_state("seen", np.arange(4, dtype=np.float32))
    cases = [[(length % 2, "==", 0)], [(length, "<=", 8), (batch, "!=", length)]]
    graph.add_guard(cases, "Input 'ids': its length must be even.")

    taken = plain.add("take", [plain.add("constant", tensors={"value": plain.floats(9, 4)}), ids], axis=0)
    columns = plain.add("reshape", [mask], shape=[batch, length, 1])
    never = plain.add("constant", tensors={"value": np.array(-np.inf, dtype=np.float32)})
    chances = plain.add("softmax", [plain.add("where", [columns, taken, never])], axis=1)
    plain.add("topk", [chances], k=2, axis=1)
    sums = plain.add("reduce", [shifted], function="sum", axes=[0, 1])
    graph.set_state(seen, plain.add("binary", [seen, sums], function="add"))
    numbers = plain.add("arange", start=0, end=length, dtype="int64")
    far = plain.add("constant", tensors={"value": np.array([-(2**63)], dtype=np.int64)})
    plain.add("binary", [numbers, far], function="maximum")
    plain.add("constant", tensors={"value": np.array([True, False]).reshape(1, 1, 1, 2, 1, 1, 1, 1)})
    plain.add("constant", tensors={"value": np.zeros((0, 3), dtype=np.int32)})
    plain.add("unary", [plain.add("cast", [kinds], dtype="float32")], function="clamp", alpha=-1.5, beta=float("inf"))
    graph.add_output(mask, "mask")
    return plain.finish()


def moves() -> _core.Graph:
    plain = Plain(12)
    batch, width = plain.batch, plain.graph.add_size("width", 1, 2**31 - 1, 5)
    x = plain.input("x", 4, width)
    for axes in ([2, 0, 1], [0, 2, 1]):
        plain.add("permute", [x], axes=axes)
    plain.add("expand", [x], shape=[3, -1, -1, -1])
    plain.add("concat", [x, x, plain.add("flip", [x], axes=[1, 2])], axis=2)
    plain.add("slice", [x], axis=2, start=width // 2, end=-1, step=2)
    for mode in ("constant", "reflect", "replicate", "circular"):
        plain.add("pad", [x], padding=[0, 0, 1, 1, 0, width // 3], mode=mode, value=0.5)
    plain.add("roll", [x], shifts=[width - 1, 3], axes=[2, 1])
    plain.add("tile", [x], repeats=[2, 1, 2])
    index = plain.input("index", 4, 2, dtype="int64")
    found = plain.add("gather", [x, index], axis=2)
    plain.add("scatter", [x, index, found], axis=2)
    plain.add("scatter", [x, plain.add("slice", [index], axis=1, start=3), found], axis=2, function="max")
    plain.add("take", [x, index], axis=1, wrap=1)
    plain.add("unfold", [plain.add("reshape", [x], shape=[batch, 2, 2, width])], kernel=[2, 1], padding=[1, 0])
    return plain.finish()


def values() -> _core.Graph:
    plain = Plain(13)
    count = plain.graph.add_size("count", 1, 2**31 - 1, 3)
    plain.input("x", count)
    plain.add("full", shape=[plain.batch, count], dtype="float32", value=2.5)
    plain.add("full", shape=[2], dtype="bool", value=1)
    plain.add("arange", start=count, end=count * 5, step=3, dtype="int32")
    plain.add("arange", start=0, end=count, dtype="float32")
    plain.add("linspace", start=-1.0, end=1.0, steps=count + 1)
    plain.add("size", value=count * plain.batch - 7)
    return plain.finish()


def elements() -> _core.Graph:
    plain = Plain(14)
    height = plain.graph.add_size("height", 1, 2**31 - 1, 3)
    x, y = plain.input("x", 3, height), plain.input("y", 1, height)
    n, m = plain.input("n", 3, height, dtype="int64"), plain.input("m", 3, 1, dtype="int32")
    for function in ("exp", "gelu", "rsqrt", "sin", "isnan", "round", "log1p", "hardswish"):
        plain.add("unary", [x], function=function)
    plain.add("unary", [x], function="leaky_relu", alpha=0.1)
    plain.add("unary", [m], function="clamp", alpha=-2, beta=5)
    for function in ("div", "pow", "atan2", "minimum", "remainder", "lt", "prelu"):
        plain.add("binary", [x, y], function=function)
    for function in ("floor_div", "trunc_div", "fmod", "mul"):
        plain.add("binary", [n, plain.add("cast", [m], dtype="int64")], function=function)
    less = plain.add("binary", [x, y], function="le")
    plain.add("where", [plain.add("unary", [less], function="logical_not"), x, y])
    plain.add("cast", [x], dtype="int32")
    plain.add("channel_affine", [x], {"gain": plain.floats(3), "shift": plain.floats(3)}, axis=1)
    return plain.finish()


def axes() -> _core.Graph:
    plain = Plain(15)
    length = plain.graph.add_size("length", 1, 2**31 - 1, 7)
    x, n = plain.input("x", length, 6), plain.input("n", length, dtype="int64")
    for function in ("mean", "max", "prod", "norm2", "sum_abs", "var"):
        plain.add("reduce", [x], function=function, axes=[1], keepdims=1)
    plain.add("reduce", [n], function="sum", axes=[])
    plain.add("reduce", [plain.add("cast", [n], dtype="bool")], function="any", axes=[0, 1])
    plain.add("arg_reduce", [x], function="argmin", axis=1)
    plain.add("cumsum", [x], axis=1)
    plain.add("cumprod", [x], axis=2)
    plain.add("cumextreme", [x], axis=1, largest=0)
    plain.add("softmax", [x], axis=2, log=1)
    plain.add("layer_norm", [x], {"weight": plain.floats(6), "bias": plain.floats(6)}, axes=1, eps=1e-5)
    plain.add("rms_norm", [x], {"weight": plain.floats(6)}, axes=1, eps=1e-6)
    plain.add(
        "group_norm", [plain.add("permute", [x], axes=[0, 2, 1])], {"weight": plain.floats(6)}, groups=3, eps=1e-5
    )
    plain.add("topk", [x], k=(length + 1) // 2, axis=1, largest=0)
    plain.add("sort", [n], axis=1, descending=1)
    return plain.finish()


def products() -> _core.Graph:
    plain = Plain(16)
    length = plain.graph.add_size("length", 1, 2**31 - 1, 5)
    x, mask = plain.input("x", length, 8), plain.input("mask", 1, length, dtype="bool")
    weight = plain.random.integers(-127, 127, (6, 8), dtype=np.int8)
    scale, bias = np.full(6, 0.01, np.float32), plain.floats(6)
    plain.add("matmul", [x, x], transpose_b=1)
    plain.add("matmul", [x, plain.add("constant", tensors={"value": plain.floats(8)})])
    plain.add("attention", [x, x, x, mask], scale=0.35)
    plain.add("attention", [x, x, x], scale=0.35, causal=1)
    plain.add("dynamic_linear", [x], {"weight": weight, "weight_scale": scale, "bias": bias})
    return plain.finish()


def heads() -> _core.Graph:
    """Attention between permutations: of one value, of three, and of a result that is quantized before it is moved."""
    plain = Plain(18)
    length = plain.graph.add_size("length", 1, 2**31 - 1, 20)
    x, mask = plain.input("x", length, 3, 2, 4), plain.input("mask", 1, 1, length)
    parts = plain.add("permute", [x], axes=[2, 0, 3, 1, 4])
    q, k, v = (
        plain.add(
            "reshape",
            [plain.add("slice", [parts], axis=0, start=i, end=i + 1)],
            shape=[plain.batch, 2, length, 4],
        )
        for i in range(3)
    )
    y = plain.add("attention", [q, k, v], scale=0.5, precision="int8")
    y = plain.add("permute", [y], axes=[0, 2, 1, 3])
    turned = plain.add("permute", [y], axes=[0, 2, 1, 3])
    y = plain.add("attention", [turned, k, turned, mask], scale=0.5, precision="int8", nan_rows=1)
    y = plain.add("quantize", [y], outputs=[(0.02, 128)])
    plain.add("dequantize", [plain.add("permute", [y], axes=[0, 2, 1, 3], outputs=[(0.02, 128)])])
    plain.add("attention", [turned, q, v], scale=0.5, precision="int8", causal=1)
    return plain.finish()


def windows() -> _core.Graph:
    plain = Plain(17)
    height, width = (plain.graph.add_size(name, 1, 2**31 - 1, 6) for name in ("height", "width"))
    x, grid = plain.input("x", 4, height, width), plain.input("grid", 3, 5, 2)
    plain.add("convolution", [x], {"weight": plain.floats(6, 2, 3, 2), "bias": plain.floats(6)}, groups=2, padding=1)
    plain.add(
        "convolution", [x], {"weight": plain.floats(4, 3, 2, 2)}, transposed=1, stride=[2, 1], output_padding=[1, 0]
    )
    row = plain.add("reshape", [x], shape=[plain.batch, 4, height * width])
    plain.add("convolution", [row], {"weight": plain.floats(3, 4, 2)}, dilation=2, padding=[height % 2, 1])
    plain.add("pool", [x], function="max", kernel=[2, 3], padding=[1, 0, 1, 1], ceil_mode=1)
    plain.add("pool", [row], function="average", kernel=2, stride=2, count_include_pad=0)
    plain.add("adaptive_pool", [x], function="average", size=[2, (width + 1) // 2])
    for mode in ("nearest", "nearest-exact", "linear", "cubic"):
        plain.add("interpolate", [x], mode=mode, size=[height * 2, 3])
    plain.add("grid_sample", [x, grid], mode="bicubic", padding_mode="reflection")
    return plain.finish()


def recurrent() -> _core.Graph:
    plain = Plain(18)
    length = plain.graph.add_size("length", 1, 2**31 - 1, 4)
    x = plain.input("x", length, 3)

    def weights(gates: int, suffix: str, inputs: int = 3) -> dict[str, np.ndarray]:
        shapes = {"w_ih": (gates * 4, inputs), "w_hh": (gates * 4, 4), "b_ih": (gates * 4,), "b_hh": (gates * 4,)}
        return {f"{name}_l0{suffix}": plain.floats(*shape) for name, shape in shapes.items()}

    both = weights(4, "") | weights(4, "_reverse")
    plain.add("recurrent", [x], both, kind="lstm", hidden=4, bidirectional=1, batch_first=1)
    plain.add("recurrent", [x], weights(3, ""), kind="gru", hidden=4, batch_first=1)
    cell = plain.graph.add_state("cell", np.zeros((1, 1, 4), np.float32))
    step = plain.add("reshape", [plain.add("reduce", [x], function="sum", axes=[0, 1])], shape=[1, 1, 3])
    plain.add("recurrent", [step, cell], weights(1, ""), kind="rnn_tanh", hidden=4)
    plain.graph.set_state(cell, max(plain.unread))
    again = weights(1, "")  # two calls of one cell, whose tensors are stored once
    first = plain.add("recurrent", [step], again, kind="rnn_relu", hidden=4)
    plain.add("recurrent", [step, first], again, kind="rnn_relu", hidden=4)
    ones = plain.add("full", shape=[plain.batch], dtype="int64", value=1)
    lengths = plain.add("sequence_lengths", [ones], steps=length, falling=1)
    plain.add("recurrent", [x, -1, -1, lengths], weights(4, ""), kind="lstm", hidden=4, batch_first=1)
    return plain.finish()


def pictures() -> _core.Graph:
    """Integers of eight bits: pictures and offsets come in, classes of pixels and colours go out, one is kept."""
    plain = Plain(19)
    height, width = (plain.graph.add_size(name, 1, 2**31 - 1, 6) for name in ("height", "width"))
    x, y = plain.input("x", 3, height, width, dtype="byte"), plain.input("y", 3, 1, 1, dtype="int8")
    scores = plain.add("binary", [plain.add("cast", [each], dtype="float32") for each in (x, y)], function="sub")
    classes = plain.add("cast", [plain.add("arg_reduce", [scores], function="argmax", axis=1)], dtype="byte")
    palette = plain.add("constant", tensors={"value": plain.random.integers(0, 256, (3, 4), dtype=np.uint8)})
    plain.add("take", [palette, plain.add("cast", [classes], dtype="int64")], axis=0)
    plain.add("cast", [scores], dtype="int8")
    offsets = plain.add("constant", tensors={"value": np.array([[-128, 127, 0]], np.int8)})
    plain.add("where", [plain.add("cast", [y], dtype="bool"), plain.add("reshape", [offsets], shape=[3, 1, 1]), y])
    turned = plain.add("flip", [x], axes=[3])
    joined = plain.add("concat", [x, turned, plain.add("roll", [x], shifts=[1], axes=[2])], axis=1)
    plain.add("pad", [joined], padding=[0, 0, 0, 0, 1, 0, 0, 2], mode="constant", value=255)
    plain.add("tile", [plain.add("slice", [joined], axis=1, start=1, end=9, step=3)], repeats=[1, 2, 1, 1])
    plain.add("expand", [y], shape=[-1, -1, height, width])
    last = plain.graph.add_state("last", np.array([[0, 255]], np.uint8))
    plain.graph.set_state(last, plain.add("permute", [plain.add("flip", [last], axes=[0, 1])], axes=[0, 1]))
    plain.graph.add_output(classes, "classes")
    return plain.finish()


GRAPHS: dict[str, Callable[[], _core.Graph]] = {
    make.__name__: make
    for make in (tokens, moves, values, elements, axes, products, heads, windows, recurrent, pictures)
}
