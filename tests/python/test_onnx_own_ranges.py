"""What a file rounds by the range that it has when it runs: int8 layers, whatever integers the file's weights are."""

from __future__ import annotations

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
from niwaki.onnx.integer_weights import codes_of
from niwaki.onnx.plain import without_rounding

RANDOM = np.random.default_rng(11)
MS = "com.microsoft"


@pytest.fixture(autouse=True)
def _same_numbers() -> None:
    """Whichever other tests run."""
    global RANDOM
    RANDOM = np.random.default_rng(11)
    torch.manual_seed(11)


def file_of(nodes: list[Any], tensors: dict[str, Any], x: list[Any], outputs: tuple[str, ...] = ("y",)) -> bytes:
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, x)],
        [helper.make_empty_tensor_value_info(name) for name in outputs],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in tensors.items()],
    )  # fmt: skip
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid(MS, 1)]
    data: bytes = helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()
    return data


def on_a_grid(*shape: int) -> torch.Tensor:
    """Numbers that lie on the grid of their own range, so that none is halfway between two steps."""
    whole = RANDOM.integers(-97, 159, shape)
    whole.reshape(-1)[[0, -1]] = -97, 158
    return torch.from_numpy((whole / 32).astype(np.float32))


def compiled(data: bytes, x: torch.Tensor) -> tuple[niwaki.Network, Counter[str]]:
    net = niwaki.compile(niwaki.from_onnx(data), (x,), threads=1)
    return net, Counter(node["op"] for node in net.graph.nodes())


def answers(data: bytes, x: torch.Tensor) -> list[np.ndarray[Any, Any]]:
    return list(runtime(onnx.load_from_string(data), {"x": x.numpy()}).values())


WEIGHTS: dict[str, tuple[type, int, int, int]] = {  # type, lowest, highest, zero point
    "int8": (np.int8, -127, 127, 0),
    "int8 with -128": (np.int8, -128, 127, 0),
    "int8 with a zero point": (np.int8, -128, 127, 30),
    "uint8 around 128": (np.uint8, 1, 255, 128),
    "uint8 around 119": (np.uint8, 0, 255, 119),
    "uint8 above 0": (np.uint8, 0, 255, 0),
    "uint8 below 255": (np.uint8, 0, 255, 255),
}


def weights(kind: str, *shape: int, rare: bool = False) -> tuple[np.ndarray[Any, Any], Any]:
    """Integers with both ends among them, and their zero point; `rare`: few are near an end."""
    dtype, low, high, zero = WEIGHTS[kind]
    middle = (low + high) // 2
    found = RANDOM.integers(middle - 40, middle + 40, shape) if rare else RANDOM.integers(low, high + 1, shape)
    found.reshape(-1)[:2] = low, high
    return found.astype(dtype), dtype(zero)


@pytest.mark.parametrize("rare", [False, True])
@pytest.mark.parametrize("kind", WEIGHTS)
def test_integers_of_a_file_are_exact_in_int8(kind: str, rare: bool) -> None:
    whole, zero = weights(kind, 20, 40, 3, rare=rare)
    weight = torch.from_numpy(whole.astype(np.float32) - np.float32(zero))
    codes = codes_of(weight)
    assert codes is not None and codes.weight.dtype == torch.int8 and int(codes.weight.abs().max()) <= 127
    x = torch.from_numpy(RANDOM.integers(-255, 256, (40, 3)).astype(np.float64))
    wide = torch.cat([x, x[list(codes.again)]])
    sums = (codes.weight.double() * wide).sum((1, 2))
    if codes.shift is not None:
        sums = sums[:-1] + codes.shift.double() * sums[-1]
    assert torch.equal(sums, (weight.double() * x).sum((1, 2)))
    assert len(codes.again) <= (2 if rare else 20)


def test_more_integers_than_a_byte_has_are_no_int8() -> None:
    assert codes_of(torch.tensor([[0.0, 1.0, 256.0] * 3])) is None
    assert codes_of(torch.tensor([[0.5, 1.0]])) is None


def product(kind: str, columns: int, form: str, *, each: bool = False) -> tuple[bytes, int]:
    """A product of a matrix of `kind`, of one of the forms in which files have it; `each`: scale of each column."""
    whole, zero = weights(kind, 48, columns)
    outputs = (columns,) if each else ()
    tensors = {
        "w": whole, "z": np.full(outputs, zero), "s": RANDOM.uniform(0.01, 0.02, outputs).astype(np.float32),
        "b": RANDOM.standard_normal(columns).astype(np.float32),
    }  # fmt: skip
    if form == "DynamicQuantizeMatMul":
        nodes = [helper.make_node(form, ["x", "w", "s", "z", "b"], ["y"], domain=MS)]
        return file_of(nodes, tensors, ["n", "t", 48]), columns
    nodes = [helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "qs", "qz"])]
    if form == "MatMulIntegerToFloat":
        given = ["q", "w", "qs", "s", "qz", "z", "b"]
        nodes.append(helper.make_node(form, given, ["y"], domain=MS))
    else:
        nodes += [
            helper.make_node("MatMulInteger", ["q", "w", "qz", "z"], ["i"], name="/fc/MatMul"),
            helper.make_node("Cast", ["i"], ["f"], to=TensorProto.FLOAT),
            helper.make_node("Mul", ["qs", "s"], ["u"]), helper.make_node("Mul", ["f", "u"], ["m"]),
            helper.make_node("Add", ["m", "b"], ["y"]),
        ]  # fmt: skip
    return file_of(nodes, tensors, ["n", "t", 48]), columns


FORMS = ["MatMulInteger", "MatMulIntegerToFloat", "DynamicQuantizeMatMul"]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", WEIGHTS)
def test_product(kind: str, form: str) -> None:
    """Dynamic layers, whatever integers the weights are."""
    data, _ = product(kind, 10, form)
    x = on_a_grid(2, 3, 48)
    net, found = compiled(data, x)
    assert (found["dynamic_linear"], found["matmul"], found["linear"]) == (1, 0, 0), found
    for rows in (x, on_a_grid(1, 5, 48)):
        (wanted,) = answers(data, rows)
        assert np.abs(net(rows).numpy() - wanted).max() <= 2e-6 * np.abs(wanted).max()


@pytest.mark.parametrize("kind", ["int8 with -128", "uint8 around 119"])
def test_product_with_a_scale_and_a_zero_point_for_each_column(kind: str) -> None:
    data, _ = product(kind, 10, "MatMulInteger", each=True)
    x = on_a_grid(2, 3, 48)
    net, found = compiled(data, x)
    assert (found["dynamic_linear"], found["matmul"]) == (1, 0), found
    (wanted,) = answers(data, x)
    assert np.abs(net(x).numpy() - wanted).max() <= 2e-6 * np.abs(wanted).max()


def convolution(kind: str, *, groups: int = 1, bias: bool = True, **attributes: Any) -> bytes:
    """As the first versions of ONNX Runtime's quantizer wrote one: the bias is rounded when it runs."""
    whole, zero = weights(kind, 8, 4 // groups, 3, 3)
    tensors = {
        "w": whole, "z": zero, "s": np.float32(0.01), "b": RANDOM.standard_normal(8).astype(np.float32),
        "shape": np.array([1, -1, 1, 1]),
    }  # fmt: skip
    nodes = [
        helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "qs", "qz"]),
        helper.make_node("Mul", ["qs", "s"], ["u"]),
        helper.make_node("ConvInteger", ["q", "w", "qz", "z"], ["i"], name="/conv/Conv", group=groups, **attributes),
    ]  # fmt: skip
    if bias:
        nodes += [
            helper.make_node("Div", ["b", "u"], ["bd"]), helper.make_node("Floor", ["bd"], ["bf"]),
            helper.make_node("Cast", ["bf"], ["bi"], to=TensorProto.INT32),
            helper.make_node("Reshape", ["bi", "shape"], ["br"]), helper.make_node("Add", ["i", "br"], ["a"]),
        ]  # fmt: skip
    nodes.append(helper.make_node("Cast", ["a" if bias else "i"], ["f"], to=TensorProto.FLOAT))
    nodes.append(helper.make_node("Mul", ["f", "u"], ["y"]))
    return file_of(nodes, tensors, ["n", 4, "h", "w_"])


CONVOLUTIONS: dict[str, dict[str, Any]] = {
    "padded": {"pads": [1, 1, 1, 1]},
    "on one side": {"pads": [0, 1, 2, 0], "strides": [2, 1]},
    "dilated": {"dilations": [2, 1]},
    "without a bias": {"bias": False, "pads": [1, 0, 1, 0]},
}


@pytest.mark.parametrize("options", CONVOLUTIONS)
@pytest.mark.parametrize("kind", WEIGHTS)
def test_convolution(kind: str, options: str) -> None:
    """In int8, and to the bit of float32's rounding of the last product; borders are zeros, not zero points of 0."""
    data = convolution(kind, **CONVOLUTIONS[options])
    x = on_a_grid(2, 4, 9, 8)
    net, found = compiled(data, x)
    assert (found["conv2d"], found["convolution"]) == (1, 0), found
    for image in (x, on_a_grid(1, 4, 11, 7)):
        (wanted,) = answers(data, image)
        assert np.abs(net(image).numpy() - wanted).max() <= 1e-6 * np.abs(wanted).max()


@pytest.mark.parametrize(("kind", "native"), [("int8", True), ("uint8 around 128", True), ("uint8 around 119", False)])
def test_convolution_of_groups(kind: str, native: bool) -> None:
    """Groups whose weights are no int8 of ours stay float32; their answer is the file's."""
    data = convolution(kind, groups=2, pads=[1, 1, 1, 1])
    x = on_a_grid(2, 4, 9, 8)
    net, found = compiled(data, x)
    assert (found["conv2d"], found["convolution"]) == ((1, 0) if native else (0, 1)), found
    (wanted,) = answers(data, x)
    assert np.abs(net(x).numpy() - wanted).max() <= 1e-6 * np.abs(wanted).max()


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1), nn.SiLU())
        self.deep = nn.Sequential(nn.Conv2d(16, 16, 3, padding=1), nn.SiLU(), nn.Conv2d(16, 16, 1))
        self.head = nn.Linear(16, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        return self.head((x + self.deep(x)).mean((2, 3)))


@pytest.mark.parametrize("kind", ["QInt8", "QUInt8"])
@pytest.mark.parametrize("per_channel", [False, True])
def test_files_of_onnx_runtime_s_quantizer(kind: str, per_channel: bool, tmp_path: Path) -> None:
    """Compiled, all layers multiply integers; compressed, they are plain layers with their biases."""
    tools = pytest.importorskip("onnxruntime.quantization", reason="onnxruntime has no quantizer here")
    torch.manual_seed(3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            Block().eval(), (torch.randn(1, 3, 16, 16),), tmp_path / "f.onnx", input_names=["x"], opset_version=17,
            dynamo=False, dynamic_axes={"x": {0: "n"}},
        )  # fmt: skip
    weight = getattr(tools.QuantType, kind)
    tools.quantize_dynamic(tmp_path / "f.onnx", tmp_path / "q.onnx", per_channel=per_channel, weight_type=weight)
    module, x = niwaki.from_onnx(tmp_path / "q.onnx"), torch.randn(4, 3, 16, 16)
    net = niwaki.compile(module, (x,), threads=1)
    found = Counter(node["op"] for node in net.graph.nodes())
    layers = found["conv2d"], found["linear"] + found["dynamic_linear"], found["convolution"], found["matmul"]
    assert layers == (3, 1, 0, 0), found
    (wanted,) = runtime(str(tmp_path / "q.onnx"), {"x": x.numpy()}).values()
    apart = np.abs(net(x).numpy() - wanted).max() / np.abs(wanted).max()
    assert apart <= 1e-2, apart  # where a value is halfway, it is a step
    plain = without_rounding(module)
    kept = [part for part in plain.modules() if isinstance(part, (nn.Conv2d, nn.Linear))]
    assert len(kept) == 4 and all(part.bias is not None for part in kept), plain.code  # type: ignore[union-attr]
    assert (plain(x) - module(x)).abs().max() <= 0.03 * module(x).abs().max()
    small = niwaki.compile(niwaki.quantize(module, [x], progress=False), (x,), threads=1)
    ops = Counter(node["op"] for node in small.graph.nodes())
    assert ops["conv2d"] == 3 and not ops["convolution"] and ops["quantize"] == 1, ops


@pytest.mark.parametrize("kind", ["int8", "int8 with -128", "uint8 around 119"])
def test_table(kind: str) -> None:
    """Rows of integers that are dequantized: an embedding in int8, of the file's integers."""
    whole, zero = weights(kind, 30, 8)
    tensors = {"w": whole, "z": zero, "s": np.float32(0.013)}
    nodes = [
        helper.make_node("Gather", ["w", "i"], ["q"], name="/words/Gather"),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"]),
    ]
    graph = onnx.load_from_string(file_of(nodes, tensors, ["n"])).graph
    del graph.input[:]
    graph.input.append(helper.make_tensor_value_info("i", TensorProto.INT64, ["n", "t"]))
    file = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    ids = torch.from_numpy(RANDOM.integers(0, 30, (2, 5)))
    module = niwaki.from_onnx(file)
    assert type(module.get_submodule("words")) is nn.Embedding
    net = niwaki.compile(module, (ids,), threads=1)
    held = [net.graph.tensor(at, name) for at, node in enumerate(net.graph.nodes()) for name in node["tensors"]]
    assert not net.plan.torch and [each.itemsize for each in held if each.shape == (30, 8)] == [1]
    (wanted,) = runtime(file, {"i": ids.numpy()}).values()
    for found in (module(ids).detach().numpy(), net(ids).numpy()):
        assert np.abs(found - wanted).max() <= 5e-7
    small = niwaki.quantize(module, [ids], progress=False)
    assert isinstance(small.get_submodule("words"), niwaki.nn.Embedding)
    with torch.no_grad():
        module.get_submodule("words").weight[0] += 0.004  # type: ignore[union-attr, operator, index]
    torch.testing.assert_close(niwaki.compile(module, (ids,), threads=1)(ids), module(ids))


def lstm(folder: Path, direction: str, *, states: bool = False) -> bytes:
    """As ONNX Runtime's quantizer writes it, for any length and batch."""
    tools = pytest.importorskip("onnxruntime.quantization", reason="onnxruntime has no quantizer here")
    count, hidden, inputs = 2 if direction == "bidirectional" else 1, 12, 7
    shapes = {
        "W": (count, 4 * hidden, inputs), "R": (count, 4 * hidden, hidden), "B": (count, 8 * hidden),
        "h0": (count, 1, hidden), "c0": (count, 1, hidden),
    }  # fmt: skip
    tensors = {name: RANDOM.uniform(-0.4, 0.4, shape).astype(np.float32) for name, shape in shapes.items()}
    given = ["x", "W", "R", "B", *(["", "h0", "c0"] if states else [])]
    options = {"hidden_size": hidden, "direction": direction}
    nodes = [helper.make_node("LSTM", given, ["y", "h", "c"], name="/rnn/LSTM", **options)]
    used = {name: value for name, value in tensors.items() if name in given}
    shape = ["t", 1 if states else "n", inputs]
    (folder / "f.onnx").write_bytes(file_of(nodes, used, shape, ("y", "h", "c")))
    tools.quantize_dynamic(folder / "f.onnx", folder / "q.onnx", weight_type=tools.QuantType.QInt8)
    return (folder / "q.onnx").read_bytes()


@pytest.mark.parametrize("states", [False, True])
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
def test_lstm(direction: str, states: bool, tmp_path: Path) -> None:
    """One layer in int8, for any length; the module computes as the file says."""
    data = lstm(tmp_path, direction, states=states)
    x = on_a_grid(5, 1, 7) / 4
    module = niwaki.from_onnx(data)
    net, found = compiled(data, x)
    assert (found["recurrent"], found["matmul"]) == (1, 0), found
    assert [node["attributes"]["dynamic"] for node in net.graph.nodes() if node["op"] == "recurrent"] == [[1]]
    for rows in (x, on_a_grid(9, 1, 7) / 4):
        wanted = answers(data, rows)
        for given in (net(rows), module(rows)):
            for one, other in zip(given, wanted, strict=True):
                assert np.abs(one.detach().numpy() - other).max() <= 2e-3  # where a state is halfway, it is a step
                assert np.median(np.abs(one.detach().numpy() - other)) <= 1e-6


def test_sequences_of_an_lstm_have_ranges_of_their_own(tmp_path: Path) -> None:
    """Their states', where the file has one range for the whole batch: less is lost, and no more than a step each."""
    data = lstm(tmp_path, "bidirectional")
    x = on_a_grid(6, 4, 7) / 4
    net, _ = compiled(data, x)
    wanted, *_ = answers(data, x)
    plain, *_ = without_rounding(niwaki.from_onnx(data))(x)
    apart = np.abs(net(x)[0].numpy() - wanted)
    assert 0 < apart.max() <= 0.02
    own, file = (np.abs(found - plain.detach().numpy()).mean() for found in (net(x)[0].numpy(), wanted))
    assert own <= file


def test_an_lstm_whose_weights_left_the_grid_is_float32(tmp_path: Path) -> None:
    module = niwaki.from_onnx(lstm(tmp_path, "forward"))
    x = on_a_grid(5, 1, 7) / 4
    with torch.no_grad():
        module.get_submodule("rnn").weight_hh_l0 += 1e-3  # type: ignore[union-attr, operator]
    net = niwaki.compile(module, (x,), threads=1)
    assert [node["attributes"]["dynamic"] for node in net.graph.nodes() if node["op"] == "recurrent"] == [[0]]
    assert (net(x)[0] - module(x)[0]).abs().max() <= 0.02


@pytest.mark.parametrize("kind", ["int8", "uint8 around 119"])
def test_compression_finds_plain_layers(kind: str) -> None:
    """No range is looked for when the compressed network runs, and the bias is the layer's."""
    data = convolution(kind, pads=[1, 1, 1, 1])
    module, x = niwaki.from_onnx(data), on_a_grid(4, 4, 9, 8)
    plain = without_rounding(module)
    layer = plain.get_submodule("conv")
    assert type(layer) is nn.Conv2d and layer.bias is not None
    assert (plain(x) - module(x)).abs().max() <= 0.02 * module(x).abs().max()
    for small in (niwaki.quantize(module, [x], progress=False), niwaki.compress(module, [x], progress=False)[0]):
        found = Counter(node["op"] for node in niwaki.compile(small, (x,), threads=1).graph.nodes())
        assert (found["conv2d"], found["reduce"], found["convolution"], found["binary"]) == (1, 0, 0, 0), found
    pruned = niwaki.prune(module, sparsity=0.5, pattern="unstructured")
    assert float((pruned.get_submodule("conv").weight == 0).float().mean()) >= 0.45  # type: ignore[union-attr, operator]


@pytest.mark.parametrize("form", FORMS)
def test_compression_finds_plain_products(form: str) -> None:
    data, columns = product("uint8 around 119", 10, form)
    module, x = niwaki.from_onnx(data), on_a_grid(2, 3, 48)
    plain = without_rounding(module)
    (layer,) = [part for part in plain.modules() if isinstance(part, nn.Linear)]
    assert layer.bias is not None and layer.weight.shape == (columns, 48)
    torch.testing.assert_close(plain(x), module(x), rtol=1e-4, atol=1e-4)


def test_compression_finds_a_plain_lstm(tmp_path: Path) -> None:
    module = niwaki.from_onnx(lstm(tmp_path, "bidirectional"))
    x = [torch.randn(6, 2, 7) for _ in range(4)]
    small = niwaki.quantize(module, x, progress=False)
    assert isinstance(small.get_submodule("rnn"), niwaki.nn.LSTM)
    assert type(module.get_submodule("rnn")) is not niwaki.nn.LSTM  # it was not changed
    assert (small(x[0])[0] - module(x[0])[0]).abs().max() <= 0.05
