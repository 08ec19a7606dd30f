"""Whole networks as exporters write them, and quantized files, against ONNX Runtime."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

pytest.importorskip("onnx", reason="the extra niwaki[onnx] is not installed")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")

import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

import niwaki

FLOAT = TensorProto.FLOAT


def runtime(model: bytes, given: dict[str, torch.Tensor]) -> list[torch.Tensor]:
    """ONNX Runtime's answers."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return [torch.from_numpy(each) for each in session.run(None, {name: x.numpy() for name, x in given.items()})]


class Convolutions(nn.Module):
    """A residual network with what detectors have: pools, upsampling, concatenation."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(3, 2, 1)
        )
        self.block = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.SiLU(), nn.Conv2d(8, 8, 3, padding=1, groups=2))
        self.up = nn.Upsample(scale_factor=2)
        self.head = nn.Linear(16, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        y = x + self.block(x)
        small = nn.functional.avg_pool2d(y, 2)
        y = torch.cat([y, self.up(small)], 1)
        return self.head(y.mean((2, 3)))


class Encoder(nn.Module):
    """Token embeddings, positions and attention, as encoders of text have them."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens, self.places = nn.Embedding(50, 16), nn.Embedding(64, 16)
        self.norm, self.inner = nn.LayerNorm(16), nn.Linear(16, 48)
        self.out, self.feed = nn.Linear(16, 16), nn.Sequential(nn.Linear(16, 32), nn.GELU(), nn.Linear(32, 16))

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        n, t = ids.shape
        x = self.tokens(ids) + self.places(torch.arange(t))
        q, k, v = self.inner(self.norm(x)).reshape(n, t, 3, 2, 8).permute(2, 0, 3, 1, 4)
        scores = q @ k.transpose(2, 3) / 8**0.5
        scores = scores + (1.0 - mask[:, None, None, :].float()) * -10000.0
        x = x + self.out((scores.softmax(-1) @ v).transpose(1, 2).reshape(n, t, 16))
        return x + self.feed(x)


class Recurrent(nn.Module):
    """LSTM of two layers and both directions, and a GRU."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(6, 8, 2, batch_first=True, bidirectional=True)
        self.gru, self.head = nn.GRU(16, 10, batch_first=True), nn.Linear(10, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y, _ = self.lstm(x)
        z, _ = self.gru(y)
        return self.head(z[:, -1])


def images(n: int, size: int) -> dict[str, torch.Tensor]:
    return {"x": torch.randn(n, 3, size, size + 16)}


def tokens(n: int, t: int) -> dict[str, torch.Tensor]:
    mask = torch.ones(n, t, dtype=torch.int64)
    mask[0, t // 2 + 1 :] = 0
    return {"ids": torch.randint(0, 50, (n, t)), "mask": mask}


def signals(n: int, t: int) -> dict[str, torch.Tensor]:
    return {"x": torch.randn(n, t, 6)}


NETWORKS: dict[str, Any] = {
    "convolutions": (Convolutions, images, [(2, 32), (1, 48)], [0, 2, 3]),
    "encoder": (Encoder, tokens, [(3, 12), (1, 7)], [0, 1]),
    "recurrent": (Recurrent, signals, [(3, 9), (2, 14)], [0, 1]),
}


def exported(name: str, opset: int) -> tuple[bytes, list[dict[str, torch.Tensor]]]:
    """A file of one of torch's exporters, and inputs of several sizes: of opset 18 and more it is torch.export's."""
    kind, make, sizes, free = NETWORKS[name]
    torch.manual_seed(0)
    net = kind().eval()
    inputs = [make(*size) for size in sizes]
    args = tuple(inputs[0].values())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if opset < 18:
            file = io.BytesIO()
            axes = {each: {axis: f"{each}_{axis}" for axis in free} for each in inputs[0]}
            torch.onnx.export(
                net, args, file, dynamo=False, opset_version=opset, input_names=list(axes), dynamic_axes=axes
            )
            return file.getvalue(), inputs
        pytest.importorskip("onnxscript", reason="onnxscript is not installed")
        if name == "convolutions":  # torch.export cannot solve what follows for the height
            free, inputs = [0], [inputs[0], {"x": inputs[0]["x"][:1].clone()}]
        shapes = tuple(dict.fromkeys(free, torch.export.Dim.AUTO) for _ in args)
        program = torch.onnx.export(
            net,
            args,
            dynamo=True,
            opset_version=opset,
            input_names=list(inputs[0]),
            dynamic_shapes=shapes,
            verbose=False,
        )
    assert program is not None
    return program.model_proto.SerializeToString(), inputs


@pytest.mark.parametrize(
    ("name", "opset"),
    [*((name, opset) for name in NETWORKS for opset in (11, 13, 17)), ("convolutions", 18), ("encoder", 18)],
)
def test_networks_answer_as_onnx_runtime_does(name: str, opset: int) -> None:
    data, inputs = exported(name, opset)
    module = niwaki.from_onnx(data)
    for given in inputs:
        with torch.no_grad():
            found = module(*given.values())
        torch.testing.assert_close(found, runtime(data, given)[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", list(NETWORKS))
def test_networks_are_compressed_and_run_natively(name: str) -> None:
    """With all sizes free that the file leaves free."""
    data, inputs = exported(name, 17)
    module = niwaki.from_onnx(data)
    small, _ = niwaki.compress(module, inputs, progress=False)
    net = niwaki.compile(small, tuple(inputs[0].values()), threads=1)
    assert not net.plan.torch
    for given in inputs:
        with torch.no_grad():
            wanted = module(*given.values())
        assert (net(*given.values()) - wanted).norm() < 0.1 * wanted.norm()


def test_layers_are_called_after_the_modules() -> None:
    names = {name for name, each in niwaki.from_onnx(exported("convolutions", 17)[0]).named_modules()
             if isinstance(each, (nn.Conv2d, nn.Linear))}  # fmt: skip
    assert names == {"stem.0", "block.0", "block.2", "head"}


@pytest.mark.parametrize("mode", ["linear", "cubic"])
@pytest.mark.parametrize("where", ["half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric"])
@pytest.mark.parametrize("size", [(1, 5), (7, 1), (3, 9)])
def test_resize_to_sizes(mode: str, where: str, size: tuple[int, int]) -> None:
    node = helper.make_node("Resize", ["x", "", "", "s"], ["y"], mode=mode, coordinate_transformation_mode=where)
    data = quantized([node], [1, 2, "h", "w"], {"s": np.array([1, 2, *size])})
    x = torch.randn(1, 2, 6, 5)
    wanted = runtime(data, {"x": x})[0]
    torch.testing.assert_close(niwaki.from_onnx(data)(x), wanted, rtol=1e-4, atol=1e-5)


# Quantized files.


def quantized(nodes: list[Any], shape: Any, constants: dict[str, Any], domains: tuple[str, ...] = ()) -> bytes:
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", FLOAT, shape)], [helper.make_empty_tensor_value_info("y")],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )  # fmt: skip
    opsets = [helper.make_opsetid("", 17), *(helper.make_opsetid(domain, 1) for domain in domains)]
    data: bytes = helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()
    return data


RANDOM = np.random.default_rng(0)
SCALES = {"xs": np.float32(0.02), "xz": np.uint8(120), "ys": np.float32(0.05), "yz": np.uint8(131)}
WEIGHT = {
    "w": RANDOM.integers(-127, 128, (6, 4, 3, 3)).astype(np.int8),
    "ws": RANDOM.uniform(0.002, 0.01, 6).astype(np.float32),
    "wz": np.zeros(6, dtype=np.int8), "b": RANDOM.integers(-500, 500, 6).astype(np.int32),
}  # fmt: skip


def check_within_a_step(data: bytes, x: torch.Tensor, step: float) -> nn.Module:
    """The answer is ONNX Runtime's but for few elements that are a step away, where a sum was in the middle of two."""
    module = niwaki.from_onnx(data)
    (wanted,) = runtime(data, {"x": x})
    with torch.no_grad():
        found = module(x)
    away = (found - wanted).abs()
    assert found.dtype == wanted.dtype and away.max() <= 1.001 * step
    assert (away > 0.5 * step).float().mean() < 0.01
    return module


def test_q_dq_convolution() -> None:
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "xs", "xz"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "xs", "xz"], ["d"]),
        helper.make_node("DequantizeLinear", ["w", "ws", "wz"], ["dw"], axis=0),
        helper.make_node("Conv", ["d", "dw"], ["c"], name="/conv/Conv", pads=[1, 1, 1, 1]),
        helper.make_node("QuantizeLinear", ["c", "ys", "yz"], ["qy"]),
        helper.make_node("DequantizeLinear", ["qy", "ys", "yz"], ["y"]),
    ]
    constants = {**SCALES, **{name: WEIGHT[name] for name in ("w", "ws", "wz")}}
    module = check_within_a_step(quantized(nodes, ["n", 4, "h", "w_"], constants), torch.randn(2, 4, 9, 8), 0.05)
    layer = module.get_submodule("conv")
    assert isinstance(layer, nn.Conv2d)
    assert torch.equal(layer.weight, torch.from_numpy(WEIGHT["w"] * WEIGHT["ws"].reshape(-1, 1, 1, 1)))


def test_qlinear_conv_and_add() -> None:
    names = ["q", "xs", "xz", "w", "ws", "wz", "ys", "yz", "b"]
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "xs", "xz"], ["q"]),
        helper.make_node("QLinearConv", names, ["a"], name="c", pads=[1, 1, 1, 1]),
        helper.make_node("QLinearAdd", ["a", "ys", "yz", "a", "ys", "yz", "zs", "zz"], ["s"], domain="com.microsoft"),
        helper.make_node("QLinearGlobalAveragePool", ["s", "zs", "zz", "zs", "zz"], ["p"], domain="com.microsoft"),
        helper.make_node("DequantizeLinear", ["p", "zs", "zz"], ["y"]),
    ]
    constants = {**SCALES, **WEIGHT, "zs": np.float32(0.1), "zz": np.uint8(128)}
    data = quantized(nodes, ["n", 4, 8, 8], constants, ("com.microsoft",))
    check_within_a_step(data, torch.randn(2, 4, 8, 8), 0.1)


@pytest.mark.parametrize("zero", [0, 3])
def test_dynamically_quantized_product(zero: int) -> None:
    nodes = [
        helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"]),
        helper.make_node("MatMulInteger", ["q", "w", "z", "wz"], ["i"], name="/fc/MatMul"),
        helper.make_node("Cast", ["i"], ["f"], to=FLOAT),
        helper.make_node("Mul", ["s", "ws"], ["u"]),
        helper.make_node("Mul", ["f", "u"], ["y"]),
    ]
    weight = RANDOM.integers(-100, 100, (40, 7)).astype(np.int8)
    constants = {"w": weight, "wz": np.int8(zero), "ws": np.float32(0.01)}
    data = quantized(nodes, ["n", 40], constants)
    x = torch.randn(5, 40)
    module = niwaki.from_onnx(data)
    torch.testing.assert_close(module(x), runtime(data, {"x": x})[0], rtol=1e-6, atol=1e-6)
    assert any(isinstance(each, nn.Linear) for each in module.modules())


def test_qlinear_matmul() -> None:
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "xs", "xz"], ["q"]),
        helper.make_node("QLinearMatMul", ["q", "xs", "xz", "w", "ws", "wz", "ys", "yz"], ["a"], name="m"),
        helper.make_node("DequantizeLinear", ["a", "ys", "yz"], ["y"]),
    ]
    weight = RANDOM.integers(-100, 100, (12, 6)).astype(np.int8)
    constants = {**SCALES, "w": weight, "ws": WEIGHT["ws"], "wz": np.zeros(6, dtype=np.int8)}
    check_within_a_step(quantized(nodes, ["n", 12], constants), torch.randn(5, 12), 0.05)


def test_a_quantized_file_compiles_and_answers_within_a_step(tmp_path: Path) -> None:
    """As it is, without niwaki.compress, in float32 on the file's grid."""
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "xs", "xz"], ["q"]),
        helper.make_node("QLinearConv", ["q", "xs", "xz", "w", "ws", "wz", "ys", "yz", "b"], ["a"], name="c"),
        helper.make_node("DequantizeLinear", ["a", "ys", "yz"], ["y"]),
    ]
    data = quantized(nodes, ["n", 4, 8, 8], {**SCALES, **WEIGHT})
    path = tmp_path / "q.onnx"
    onnx.save(onnx.load_from_string(data), path)
    x = torch.randn(2, 4, 8, 8)
    net = niwaki.compile(niwaki.from_onnx(path), (x,), threads=1)
    assert not net.plan.torch
    away = (net(x) - runtime(data, {"x": x})[0]).abs()
    assert away.max() <= 1.001 * 0.05 and (away > 0.025).float().mean() < 0.01
