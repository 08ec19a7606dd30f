"""niwaki.to_onnx: compressed networks in ONNX Runtime, with integers, and as close as they should be."""

from __future__ import annotations

import subprocess
import sys
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
from onnx import numpy_helper
from onnx_written import runtime

import niwaki
from niwaki.cli import main


class Residual(nn.Module):
    """Convolutions with what stands between them: sums, pools, gates, a concatenation."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
        self.deep = nn.Sequential(nn.Conv2d(16, 16, 3, padding=1, groups=16), nn.ReLU6(), nn.Conv2d(16, 16, 1))
        self.wide = nn.Sequential(nn.Conv2d(16, 16, 3, padding=1), nn.Hardswish())
        self.gate = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(16, 16, 1), nn.Sigmoid())
        self.pool = nn.MaxPool2d(2)
        self.last = nn.Conv2d(32, 24, 3)
        self.head = nn.Linear(24, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        x = torch.relu(x + self.deep(x))
        y = self.wide(x)
        x = self.pool(torch.cat([x, y * self.gate(y)], 1))
        return self.head(torch.relu(self.last(x)).mean((2, 3)))


class Encoder(nn.Module):
    """A transformer's layer over tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens, self.norm = nn.Embedding(50, 32), nn.LayerNorm(32)
        self.inner, self.out = nn.Linear(32, 96), nn.Linear(32, 32)
        self.feed = nn.Sequential(nn.Linear(32, 64), nn.GELU(), nn.Linear(64, 32))

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        n, t = ids.shape
        x = self.tokens(ids)
        q, k, v = self.inner(self.norm(x)).reshape(n, t, 3, 2, 16).permute(2, 0, 3, 1, 4)
        scores = (q @ k.transpose(2, 3) / 4).masked_fill(mask[:, None, None, :] == 0, float("-inf"))
        x = x + self.out((scores.softmax(-1) @ v).transpose(1, 2).reshape(n, t, 32))
        return x + self.feed(x)


class Detector(nn.Module):
    """Two results of convolutions, which nothing rounds."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU())
        self.boxes, self.scores = nn.Conv2d(8, 4, 1), nn.Conv2d(8, 2, 3, padding=1)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = self.body(x)
        return self.boxes(x), torch.sigmoid(self.scores(x))


def images(n: int, height: int, width: int) -> tuple[torch.Tensor, ...]:
    return (torch.randn(n, 3, height, width),)


def tokens(n: int, t: int) -> tuple[torch.Tensor, ...]:
    mask = torch.ones(n, t, dtype=torch.int64)
    mask[0, t // 2 + 1 :] = 0
    return torch.randint(0, 50, (n, t)), mask


NETWORKS: dict[str, Any] = {
    "residual": (Residual, images, [(2, 32, 32), (1, 48, 40)], {"sparsity": 0.5}),
    "encoder": (Encoder, tokens, [(2, 12), (3, 7)], {"precision": "int8"}),
    "dynamic": (Encoder, tokens, [(2, 12), (3, 7)], {"dynamic": True}),
    "detector": (Detector, images, [(1, 32, 32), (2, 24, 48)], {}),
}


@pytest.fixture(scope="module", params=NETWORKS)
def written(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Name, compiled network, path of its ONNX file, inputs of several sizes."""
    kind, make, sizes, options = NETWORKS[request.param]
    torch.manual_seed(3)
    inputs = [make(*size) for size in sizes]
    calibration = [make(*sizes[0]) for _ in range(8)]
    small, _ = niwaki.compress(kind().eval(), calibration, progress=False, **options)
    net = niwaki.compile(small, inputs[0], threads=1)
    path = tmp_path_factory.mktemp("onnx") / f"{request.param}.onnx"
    niwaki.to_onnx(net, path)
    return request.param, net, path, inputs


def listed(result: Any) -> list[np.ndarray[Any, Any]]:
    return [each.numpy() for each in (result if isinstance(result, tuple) else (result,))]


# The largest difference over the largest value of each result: measured, and a third more.
BOUNDS = {"residual": 0.006, "encoder": 1e-6, "dynamic": 1e-6, "detector": 1e-6}


# Measured with OpenVINO 2026.4, and a third more; how many layers with weights there are.
OPENVINO_BOUNDS = {"residual": 1e-6, "encoder": 1e-6, "dynamic": 0.005, "detector": 1e-6}
LAYERS = {"residual": 7, "encoder": 4, "dynamic": 4, "detector": 3}


def test_answers(written: Any) -> None:
    name, net, path, inputs = written
    for args in inputs:
        given = dict(zip((each.name for each in net.inputs), (each.numpy() for each in args), strict=True))
        found = runtime(str(path), given)
        for wanted, value in zip(listed(net(*args)), found.values(), strict=True):
            assert value.shape == wanted.shape
            apart = np.abs(value - wanted).max() / np.abs(wanted).max()
            assert apart <= BOUNDS[name], apart


def test_the_runtime_computes_layers_with_integers(written: Any, tmp_path: Path) -> None:
    _, net, path, inputs = written
    given = dict(zip((each.name for each in net.inputs), (each.numpy() for each in inputs[0]), strict=True))
    runtime(str(path), given, str(tmp_path / "optimized.onnx"))
    found = Counter(node.op_type for node in onnx.load(tmp_path / "optimized.onnx").graph.node)
    layers = Counter(each["op"] for each in net.graph.nodes())
    assert found["Conv"] + found["FusedConv"] + found["Gemm"] == 0, found
    assert found["QLinearConv"] + found["ConvInteger"] == layers["conv2d"], found
    assert found["QGemm"] == layers["linear"], found
    assert found["MatMulInteger"] + found["MatMulIntegerToFloat"] == layers["dynamic_linear"], found


def test_weights_are_the_network_s(written: Any) -> None:
    _, net, path, _ = written
    stored = [numpy_helper.to_array(each) for each in onnx.load(path).graph.initializer]
    weights = sorted(each.tobytes() for each in stored if each.dtype == np.int8 and each.ndim > 1)
    wanted = []
    for place, node in enumerate(net.graph.nodes()):
        if node["tensors"].get("weight", {}).get("dtype") == "int8":
            weight = net.graph.tensor(place, "weight")
            wanted.append(np.ascontiguousarray(weight.T if node["op"] == "dynamic_linear" else weight).tobytes())
    assert weights == sorted(set(wanted))


def test_zeros_stay_zeros(tmp_path: Path) -> None:
    torch.manual_seed(0)
    small, _ = niwaki.compress(
        nn.Sequential(nn.Conv2d(8, 16, 3), nn.ReLU(), nn.Conv2d(16, 16, 1)), [torch.randn(4, 8, 12, 12)], sparsity=0.75,
        progress=False,
    )  # fmt: skip
    niwaki.to_onnx(small, tmp_path / "small.onnx", (torch.randn(1, 8, 12, 12),))
    stored = [numpy_helper.to_array(each) for each in onnx.load(tmp_path / "small.onnx").graph.initializer]
    weights = [each for each in stored if each.dtype == np.int8 and each.ndim == 4]
    assert len(weights) == 2
    assert sum(int((each == 0).sum()) for each in weights) >= 0.74 * sum(each.size for each in weights)


def test_free_sizes_are_free(written: Any) -> None:
    _, net, path, _ = written
    for given, info in zip(onnx.load(path).graph.input, net.inputs, strict=True):
        dims = [dim.dim_param or dim.dim_value for dim in given.type.tensor_type.shape.dim]
        assert (given.name, dims) == (info.name, list(info.dims))


def test_a_recurrent_network(tmp_path: Path) -> None:
    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm = nn.LSTM(6, 8, 2, batch_first=True, bidirectional=True)
            self.gru, self.head = nn.GRU(16, 10, batch_first=True), nn.Linear(10, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(self.gru(self.lstm(x)[0])[0][:, -1])

    torch.manual_seed(0)
    x = torch.randn(3, 9, 6)
    small, _ = niwaki.compress(Recurrent().eval(), [torch.randn(4, 12, 6) for _ in range(8)], progress=False)
    net = niwaki.compile(small, (x,))
    niwaki.to_onnx(net, tmp_path / "r.onnx")
    found = runtime(str(tmp_path / "r.onnx"), {"x": x.numpy()})["output"]
    assert np.abs(found - net(x).numpy()).max() < 0.02
    types = {each.name: each.data_type for each in onnx.load(tmp_path / "r.onnx").graph.initializer}
    assert [kind for name, kind in types.items() if "/w_" in name and "scale" not in name] == [3] * 10, types


def test_for_openvino(written: Any, tmp_path: Path) -> None:
    """No operator of integers; ONNX Runtime runs it, too."""
    name, net, _, inputs = written
    niwaki.to_onnx(net, tmp_path / "o.onnx", runtime="openvino")
    ops = Counter(node.op_type for node in onnx.load(tmp_path / "o.onnx").graph.node)
    assert not {op for op in ops if "Integer" in op}
    found = runtime(str(tmp_path / "o.onnx"), {e.name: x.numpy() for e, x in zip(net.inputs, inputs[0], strict=True)})
    for wanted, value in zip(listed(net(*inputs[0])), found.values(), strict=True):
        assert np.abs(value - wanted).max() <= max(BOUNDS[name], 0.02) * np.abs(wanted).max()


def test_openvino_computes_layers_in_int8(written: Any, tmp_path: Path) -> None:
    """Its answers, and of which type the layers of its own graph are."""
    openvino = pytest.importorskip("openvino", reason="openvino is not installed: pip install openvino")
    name, net, _, inputs = written
    niwaki.to_onnx(net, tmp_path / "o.onnx", runtime="openvino")
    model = openvino.Core().read_model(tmp_path / "o.onnx")
    given = {each.name: x.numpy() for each, x in zip(net.inputs, inputs[0], strict=True)}
    model.reshape({port: list(given[port.get_any_name()].shape) for port in model.inputs})
    hints = {"INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": "f32"}
    compiled = openvino.Core().compile_model(model, "CPU", hints)
    found = compiled.create_infer_request().infer([given[port.get_any_name()] for port in model.inputs])
    for wanted, value in zip(listed(net(*inputs[0])), found.values(), strict=True):
        assert np.abs(value - wanted).max() <= OPENVINO_BOUNDS[name] * np.abs(wanted).max()
    steps = [each.get_rt_info() for each in compiled.get_runtime_model().get_ops()]
    layers = [each for each in steps if each["layerType"].astype(str) in ("Convolution", "FullyConnected")]
    assert {each["runtimePrecision"].astype(str) for each in layers} <= {"u8", "i8"} and len(layers) >= LAYERS[name]


def test_what_cannot_be_written(tmp_path: Path) -> None:
    class Torch(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.special.bessel_j0(x)

    class Accumulates(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.cumprod(x, 1)

    x = torch.randn(2, 3)
    path = tmp_path / "no.onnx"
    with pytest.raises(niwaki.NiwakiError, match=r"no\.onnx: not written, because .*bessel_j0"):
        niwaki.to_onnx(Torch(), path, (x,))
    with pytest.raises(niwaki.NiwakiError, match=r"cumprod.*: ONNX has no operator like cumprod"):
        niwaki.to_onnx(Accumulates(), path, (x,))
    with pytest.raises(TypeError, match="needs example inputs"):
        niwaki.to_onnx(Accumulates(), path)
    with pytest.raises(TypeError, match=r"must be what niwaki\.compile or niwaki\.load returned"):
        niwaki.to_onnx("network.niwaki", path)
    with pytest.raises(ValueError, match="runtime must be 'onnxruntime' or 'openvino', not 'tensorrt'"):
        niwaki.to_onnx(Accumulates(), path, (x,), runtime="tensorrt")
    with pytest.raises(TypeError, match="no example inputs"):
        niwaki.to_onnx(niwaki.compile(nn.Linear(3, 2), (x,)), path, (x,))
    assert not list(tmp_path.iterdir())


def test_command_line_without_torch(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 3, 16, 16)
    small, _ = niwaki.compress(Residual().eval(), [torch.randn(4, 3, 32, 32)], progress=False)
    net = niwaki.compile(small, (x,))
    net.save(tmp_path / "small.niwaki")
    niwaki.to_onnx(net, tmp_path / "direct.onnx")
    code = (
        "import sys; from niwaki.cli import main; "
        f"code = main(['export', {str(tmp_path / 'small.niwaki')!r}, '-o', {str(tmp_path / 'small.onnx')!r}]); "
        "sys.exit(code or 'torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": ":".join(sys.path), "PATH": ""})
    assert (tmp_path / "small.onnx").read_bytes() == (tmp_path / "direct.onnx").read_bytes()
    assert main(["export", str(tmp_path / "small.niwaki"), "-o", str(tmp_path / "x.onnx"), "--entry", "image"]) == 2
    assert "has no entry point 'image'" in capsys.readouterr().err
