"""Quantized files, compiled with their own scales: int8 layers, and within a step of ONNX Runtime's answers."""

from __future__ import annotations

import sys
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

pytest.importorskip("onnx", reason="the extra niwaki[onnx] is not installed")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")

import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx_written import runtime

import niwaki
from niwaki.onnx.plain import without_rounding

RANDOM = np.random.default_rng(5)


class File:
    """A Q/DQ file in the making. Values have grids by their names: scale and zero point."""

    def __init__(self, kind: type = np.uint8) -> None:
        self.kind = kind
        self.nodes: list[Any] = []
        self.tensors: dict[str, Any] = {}

    def grid(self, x: str, scale: float, zero: int) -> str:
        """x, rounded to a grid of 256 numbers whose lowest is `zero` steps below 0."""
        point = zero if self.kind is np.uint8 else zero - 128
        self.tensors |= {f"{x}_s": np.float32(scale), f"{x}_z": self.kind(point)}
        self.nodes.append(helper.make_node("QuantizeLinear", [x, f"{x}_s", f"{x}_z"], [f"{x}_q"]))
        self.nodes.append(helper.make_node("DequantizeLinear", [f"{x}_q", f"{x}_s", f"{x}_z"], [f"{x}_d"]))
        return f"{x}_d"

    def weight(self, *shape: int, kind: type = np.int8, axis: int | None = 0, name: str = "w") -> str:
        """Weights of integers, with a scale for each index of an axis, or one."""
        outputs = () if axis is None else (shape[axis],)
        zero = np.full(outputs, 128 if kind is np.uint8 else 0, kind)
        whole = RANDOM.integers(-127, 128, shape)
        self.tensors |= {
            name: (whole + (128 if kind is np.uint8 else 0)).astype(kind), f"{name}_z": zero,
            f"{name}_s": RANDOM.uniform(0.002, 0.008, outputs).astype(np.float32),
        }  # fmt: skip
        names = [name, f"{name}_s", f"{name}_z"]
        self.nodes.append(helper.make_node("DequantizeLinear", names, [f"{name}_d"], axis=axis or 0))
        return f"{name}_d"

    def bias(self, x: str, outputs: int, weight: str = "w") -> str:
        self.tensors |= {"b": RANDOM.integers(-900, 900, outputs).astype(np.int32), "b_z": np.zeros(outputs, np.int32)}
        scale = np.broadcast_to(self.tensors[f"{x}_s"] * self.tensors[f"{weight}_s"], (outputs,))
        self.tensors["b_s"] = np.ascontiguousarray(scale)
        self.nodes.append(helper.make_node("DequantizeLinear", ["b", "b_s", "b_z"], ["b_d"], axis=0))
        return "b_d"

    def op(self, op: str, *inputs: str, made: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(op, list(inputs), [made], name=f"/{made}/{op}", **attributes))
        return made

    def finish(self, y: str, *shape: Any, domains: tuple[str, ...] = ()) -> bytes:
        graph = helper.make_graph(
            self.nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
            [helper.make_empty_tensor_value_info(y)],
            [numpy_helper.from_array(np.asarray(value), name) for name, value in self.tensors.items()],
        )  # fmt: skip
        opsets = [helper.make_opsetid("", 17), *(helper.make_opsetid(each, 1) for each in domains)]
        data: bytes = helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()
        return data


def check(data: bytes, x: torch.Tensor, step: float, ops: dict[str, int], *, away: float = 0.01) -> niwaki.Network:
    """The operators of the compiled network, and its answer within a step, most of it the same."""
    net = niwaki.compile(niwaki.from_onnx(data), (x,), threads=1)
    found = Counter(node["op"] for node in net.graph.nodes())
    assert {op: found[op] for op in ops} == ops, found
    assert not found["unary"] and not found["binary"], found
    (wanted,) = runtime(onnx.load_from_string(data), {"x": x.numpy()}).values()
    apart = np.abs(net(x).numpy() - wanted)
    assert apart.max() <= 1.001 * step, apart.max() / step
    assert (apart > 0.5 * step).mean() <= away
    return net


KINDS = [np.uint8, np.int8]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("zero", "made"), [(128, 131), (0, 0), (37, 3), (255, 90)])
@pytest.mark.parametrize(("weights", "axis"), [(np.int8, 0), (np.int8, None), (np.uint8, None)])
def test_convolution(kind: type, zero: int, made: int, weights: type, axis: int | None) -> None:
    file = File(kind)
    x = file.grid("x", 0.02, zero)
    w = file.weight(6, 4, 3, 3, kind=weights, axis=axis)
    file.op("Conv", x, w, file.bias("x", 6), made="c", pads=[1, 1, 1, 1], strides=[2, 1])
    data = file.finish(file.grid("c", 0.03, made), "n", 4, "h", "w_")
    check(data, torch.randn(2, 4, 9, 8), 0.03, {"conv2d": 1, "quantize": 1, "dequantize": 1, "convolution": 0})


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("op", ["Gemm", "MatMul"])
def test_product(kind: type, op: str) -> None:
    file = File(kind)
    x = file.grid("x", 0.02, 120)
    w = file.weight(12, 6, axis=1)
    more = [file.bias("x", 6)] if op == "Gemm" else []
    file.op(op, x, w, *more, made="c")
    data = file.finish(file.grid("c", 0.03, 140), "n", 12)
    check(data, torch.randn(5, 12), 0.03, {"linear": 1, "quantize": 1, "matmul": 0})


def test_product_of_tokens_and_a_relu_before_the_grid() -> None:
    file = File()
    x = file.grid("x", 0.02, 120)
    file.op("MatMul", x, file.weight(12, 6, axis=1), made="c")
    file.op("Relu", "c", made="r")
    data = file.finish(file.grid("r", 0.02, 0), "n", "t", 12)
    check(data, torch.randn(2, 5, 12), 0.02, {"linear": 1, "quantize": 1, "dequantize": 1})


BETWEEN: dict[str, tuple[str, dict[str, Any]]] = {
    "MaxPool": ("max_pool2d", {"kernel_shape": [2, 2], "strides": [2, 2], "pads": [1, 1, 1, 1]}),
    "AveragePool": ("avg_pool2d", {"kernel_shape": [2, 2], "strides": [2, 2]}),
    "GlobalAveragePool": ("adaptive_avg_pool2d", {}),
    "Sigmoid": ("table", {}),
    "Relu": ("table", {}),
    "Add": ("add", {}),
    "Mul": ("mul", {}),
    "Concat": ("concat", {"axis": 1}),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("op", BETWEEN)
def test_what_is_between_layers(kind: type, op: str) -> None:
    """Grids of their own for what is read and what is made; a pool may keep that of what it reads."""
    name, options = BETWEEN[op]
    file = File(kind)
    x = file.grid("x", 0.02, 128)
    more = [file.grid(file.op("Neg", x, made="n"), 0.03, 100)] if op in ("Add", "Mul", "Concat") else []
    scale, zero = {"MaxPool": (0.02, 128), "Sigmoid": (1 / 256, 0), "Relu": (0.02, 128)}.get(op, (0.035, 110))
    y = file.grid(file.op(op, x, *more, made="y", **options), scale, zero)
    wanted = {name: 1, "quantize": 1, "dequantize": 1}
    check(file.finish(y, "n", 4, 8, 8), torch.randn(2, 4, 8, 8), scale, wanted, away=0.02)


def test_a_block_of_a_network() -> None:
    """A sum is not fused into the layer before it, whose grid cuts off what lies outside of it."""
    file = File()
    x = file.grid("x", 0.02, 128)
    a = file.grid(file.op("Conv", x, file.weight(4, 4, 3, 3), made="a", pads=[1, 1, 1, 1]), 0.05, 120)
    s = file.grid(file.op("Add", a, x, made="s"), 0.06, 100)
    data = file.finish(s, "n", 4, 8, 8)
    net = check(data, torch.randn(2, 4, 8, 8), 0.06, {"conv2d": 1, "add": 1, "quantize": 1}, away=0.06)
    assert [step for step in net.plan if step.op == "add"]


def test_operators_of_quantized_values() -> None:
    """QLinearConv, QLinearAdd, MaxPool of bytes, QLinearGlobalAveragePool, QGemm."""
    file = File()
    file.grid("x", 0.02, 120)
    file.weight(6, 4, 3, 3)
    file.bias("x", 6)
    file.tensors |= {"ys": np.float32(0.05), "yz": np.uint8(131), "zs": np.float32(0.08), "zz": np.uint8(120)}
    weights = ["w", "w_s", "w_z"]
    file.op("QLinearConv", "x_q", "x_s", "x_z", *weights, "ys", "yz", "b", made="a", pads=[1, 1, 1, 1])
    ms = "com.microsoft"
    file.op("QLinearAdd", "a", "ys", "yz", "a", "ys", "yz", "zs", "zz", made="s", domain=ms)
    file.op("MaxPool", "s", made="m", kernel_shape=[2, 2])
    file.op("QLinearGlobalAveragePool", "m", "zs", "zz", "zs", "zz", made="p", domain=ms)
    file.op("Reshape", "p", "flat", made="f")
    file.weight(6, 5, axis=1, name="v")
    file.tensors |= {
        "flat": np.array([0, 6]), "vb": RANDOM.integers(-900, 900, 5).astype(np.int32), "gs": np.float32(0.01),
        "gz": np.uint8(99),
    }  # fmt: skip
    file.op("QGemm", "f", "zs", "zz", "v", "v_s", "v_z", "vb", "gs", "gz", made="g", domain=ms)
    file.op("DequantizeLinear", "g", "gs", "gz", made="y")
    file.nodes = [each for each in file.nodes if each.output[0] not in ("x_d", "w_d", "b_d", "v_d")]
    data = file.finish("y", "n", 4, 8, 8, domains=(ms,))
    check(data, torch.randn(3, 4, 8, 8), 0.01, {"conv2d": 1, "add": 1, "max_pool2d": 1, "linear": 1}, away=0.1)


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1), nn.ReLU())
        self.deep = nn.Sequential(
            nn.Conv2d(16, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1, groups=16)
        )
        self.head = nn.Linear(16, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        x = torch.relu(x + self.deep(x))
        return self.head(nn.functional.max_pool2d(x, 2).mean((2, 3)))


@pytest.mark.parametrize("form", ["QDQ", "QOperator"])
@pytest.mark.parametrize("per_channel", [True, False])
def test_files_of_onnx_runtime_s_quantizer(form: str, per_channel: bool, tmp_path: Path) -> None:
    tools = pytest.importorskip("onnxruntime.quantization", reason="onnxruntime has no quantizer here")
    torch.manual_seed(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            Residual().eval(), (torch.randn(1, 3, 16, 16),), tmp_path / "f.onnx", input_names=["x"], opset_version=17,
            dynamo=False, dynamic_axes={"x": {0: "n"}},
        )  # fmt: skip

    class Reader(tools.CalibrationDataReader):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            self.left = iter([{"x": RANDOM.standard_normal((4, 3, 16, 16)).astype(np.float32)} for _ in range(4)])

        def get_next(self) -> Any:
            return next(self.left, None)

    tools.quantize_static(
        str(tmp_path / "f.onnx"), str(tmp_path / "q.onnx"), Reader(), quant_format=getattr(tools.QuantFormat, form),
        per_channel=per_channel, activation_type=tools.QuantType.QUInt8, weight_type=tools.QuantType.QInt8,
    )  # fmt: skip
    x = torch.randn(8, 3, 16, 16)
    net = niwaki.compile(niwaki.from_onnx(tmp_path / "q.onnx"), (x,), threads=1)
    found = Counter(node["op"] for node in net.graph.nodes())
    assert (found["conv2d"], found["linear"], found["add"], found["quantize"]) == (3, 1, 1, 1), found
    (wanted,) = runtime(str(tmp_path / "q.onnx"), {"x": x.numpy()}).values()
    net.save(tmp_path / "q.niwaki")
    answers = niwaki.load(tmp_path / "q.niwaki")(x.numpy())
    step = float(np.unique(np.abs(np.diff(np.unique(wanted)))).min())
    assert np.abs(answers - wanted).max() <= 1.01 * step


@pytest.mark.parametrize("per_channel", [True, False])
def test_products_that_are_rounded_when_they_run(per_channel: bool, tmp_path: Path) -> None:
    """One range for all rows, as ONNX Runtime takes it: what rows beside large ones lose there, they lose here."""
    tools = pytest.importorskip("onnxruntime.quantization", reason="onnxruntime has no quantizer here")
    file = File()
    file.tensors |= {
        "w": RANDOM.standard_normal((32, 64)).astype(np.float32), "b": RANDOM.standard_normal(64).astype(np.float32),
        "v": RANDOM.standard_normal((64, 8)).astype(np.float32),
    }  # fmt: skip
    file.op("MatMul", file.op("Relu", file.op("Add", file.op("MatMul", "x", "w", made="a"), "b", made="s"), made="r"),
            "v", made="y")  # fmt: skip
    (tmp_path / "f.onnx").write_bytes(file.finish("y", "n", "t", 32))
    tools.quantize_dynamic(tmp_path / "f.onnx", tmp_path / "q.onnx", per_channel=per_channel)
    x = torch.randn(2, 5, 32)
    x[0, 0] *= 30
    net = niwaki.compile(niwaki.from_onnx(tmp_path / "q.onnx"), (x,), threads=1)
    found = Counter(node["op"] for node in net.graph.nodes())
    assert (found["dynamic_linear"], found["matmul"]) == (2, 0), found
    for rows in (x, torch.randn(3, 4, 32)):
        (wanted,) = runtime(str(tmp_path / "q.onnx"), {"x": rows.numpy()}).values()
        apart = np.abs(net(rows).numpy() - wanted).max(-1) / np.abs(wanted).max(-1)
        assert apart.max() <= 5e-3 and np.median(apart) <= 1e-6, apart  # where an input is halfway, it is a step


def test_weights_that_left_the_grid_are_float32_again() -> None:
    file = File()
    x = file.grid("x", 0.02, 128)
    file.op("Conv", x, file.weight(6, 4, 3, 3), made="c")
    module = niwaki.from_onnx(file.finish(file.grid("c", 0.03, 131), "n", 4, 8, 8))
    image = torch.randn(1, 4, 8, 8)
    layer = module.get_submodule("c")
    with torch.no_grad():
        layer.weight[:3] = 0  # type: ignore[union-attr, operator, index]
    pruned = Counter(node["op"] for node in niwaki.compile(module, (image,)).graph.nodes())
    assert pruned["conv2d"] == 1 and not pruned["convolution"]
    with torch.no_grad():
        layer.weight += 1e-4  # type: ignore[union-attr, operator]
    tuned = Counter(node["op"] for node in niwaki.compile(module, (image,)).graph.nodes())
    assert tuned["convolution"] == 1 and not tuned["conv2d"]


def test_compression_rounds_on_no_grid_of_the_file() -> None:
    """Its bounds stay, which may be all that there is of a ReLU; a value that is moved has them, too."""
    file = File()
    x = file.grid("x", 0.02, 128)
    a = file.grid(file.op("Conv", x, file.weight(6, 4, 3, 3), file.bias("x", 6), made="a"), 0.03, 0)
    file.op("MaxPool", "a_q", made="m", kernel_shape=[2, 2])
    file.op("DequantizeLinear", "m", "a_s", "a_z", made="p")
    file.nodes = [each for each in file.nodes if each.output[0] != a]
    y = file.grid(file.op("Conv", "p", file.weight(5, 6, 1, 1, name="v"), made="c"), 0.02, 0)
    module, image = niwaki.from_onnx(file.finish(y, "n", 4, 9, 9)), torch.randn(16, 4, 9, 9)
    plain = without_rounding(module)
    assert not any("quantize" in str(node.target) for node in plain.graph.nodes), plain.code  # type: ignore[union-attr]
    found, wanted = plain(image), module(image)
    assert found.min() == 0 and found.max() <= 255 * 0.02 + 1e-6 and (wanted == 0).any()
    assert 0 < (found - wanted).abs().max() <= 0.1
    small = niwaki.quantize(module, [image], progress=False)
    ops = Counter(node["op"] for node in niwaki.compile(small, (image,), threads=1).graph.nodes())
    assert (ops["conv2d"], ops["quantize"], ops["binary"], ops["max_pool2d"]) == (2, 1, 0, 1), ops


def test_a_module_that_was_compressed_keeps_its_own_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[__name__], "RANDOM", np.random.default_rng(0))  # whichever other tests run
    torch.manual_seed(0)
    file = File()
    x = file.grid("x", 0.02, 128)
    file.op("Conv", x, file.weight(6, 4, 3, 3), made="c")
    module = niwaki.from_onnx(file.finish(file.grid("c", 0.03, 131), "n", 4, 8, 8))
    image = torch.randn(8, 4, 8, 8)
    small, _ = niwaki.compress(module, [image], progress=False)
    net = niwaki.compile(small, (image,))
    assert (net(image) - without_rounding(module)(image)).abs().max() <= 0.1  # what compression began with
