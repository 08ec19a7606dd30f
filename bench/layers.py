"""Layers of real networks, read from a file, as graphs of one layer and as torch modules."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from niwaki import _core


@dataclass(frozen=True)
class Layer:
    """A convolution or linear layer; `count` is how often its network has it."""

    op: str
    count: int
    inputs: int
    size: int
    outputs: int
    kernel: int
    stride: int
    padding: int

    def __str__(self) -> str:
        return f"{self.op}-{self.inputs}x{self.size}-{self.outputs}-k{self.kernel}s{self.stride}"

    @property
    def input_shape(self) -> tuple[int, ...]:
        return (1, self.inputs, self.size, self.size) if self.op == "conv2d" else (1, self.inputs)

    @property
    def macs(self) -> int:
        """Multiply-accumulates at batch 1, zeros counted in."""
        size = (self.size + 2 * self.padding - self.kernel) // self.stride + 1
        return self.inputs * self.outputs * self.kernel**2 * size**2


def read_layers(path: Path) -> list[Layer]:
    """The rows of a file of bench/models; '#' begins a comment."""
    rows = [line.split() for line in path.read_text(encoding="utf-8").splitlines() if line.strip() and line[0] != "#"]
    return [Layer(row[0], *map(int, row[1:])) for row in rows]


def make_weight(layer: Layer, sparsity: float) -> NDArray[np.int8]:
    """Seeded int8 weights [outputs, inputs, kernel, kernel]; a share of the blocks of four input channels is zero."""
    generator = np.random.default_rng(layer.inputs * layer.outputs)
    weight = generator.integers(-127, 128, (layer.outputs, layer.inputs, layer.kernel, layer.kernel), dtype=np.int8)
    if sparsity and layer.inputs % 4 == 0:
        blocks = weight.reshape(layer.outputs, layer.inputs // 4, 4, layer.kernel, layer.kernel)
        blocks *= (
            generator.random((layer.outputs, layer.inputs // 4, 1, layer.kernel, layer.kernel)) >= sparsity
        ).astype(np.int8)
    return weight


def make_graph(layer: Layer, sparsity: float) -> _core.Graph:
    """quantize, the layer with a ReLU, dequantize. Outputs spread over the range of uint8."""
    reduction = layer.inputs * layer.kernel**2
    tensors = {
        "weight": make_weight(layer, sparsity)
        if layer.op == "conv2d"
        else np.ascontiguousarray(make_weight(layer, sparsity)[:, :, 0, 0]),
        "weight_scale": np.full(layer.outputs, 1 / 127, np.float32),
        "bias": np.arange(layer.outputs, dtype=np.int32),
    }
    attributes: dict[str, int | list[int]] = {"low": 0, "high": 255}
    if layer.op == "conv2d":
        attributes.update(stride=[layer.stride] * 2, padding=[layer.padding] * 4, dilation=[1, 1], groups=1)
    graph = _core.Graph()
    sizes = [graph.add_size(name) for name in ("batch", "height", "width")[: 3 if layer.op == "conv2d" else 1]]
    x = graph.add_input("x", "float32", [sizes[0], layer.inputs, *sizes[1:]])
    (x,) = graph.add_node("quantize", "quantize", [x], {}, {}, [(1 / 32, 128)])
    scale = float(np.sqrt(reduction * max(1 - sparsity, 0.05))) / 127
    (x,) = graph.add_node(layer.op, "layer", [x], attributes, tensors, [(scale, 0)])
    graph.add_output(*graph.add_node("dequantize", "dequantize", [x], {}, {}), "y")
    return graph


def make_torch(layer: Layer, sparsity: float) -> torch.nn.Module:
    """The same layer with a ReLU in float32, weights packed as torch likes them best."""
    weight = torch.from_numpy(make_weight(layer, sparsity)).float() / 127
    if layer.op == "linear":
        linear = torch.nn.Linear(layer.inputs, layer.outputs)
        linear.weight.data = weight[:, :, 0, 0].contiguous()
        return torch.nn.Sequential(linear, torch.nn.ReLU()).eval()
    convolution = torch.nn.Conv2d(layer.inputs, layer.outputs, layer.kernel, layer.stride, layer.padding)
    convolution.weight.data = weight
    return torch.nn.Sequential(convolution, torch.nn.ReLU()).eval().to(memory_format=torch.channels_last)


class Runner:
    """One layer on one set of instructions, with its input and output."""

    def __init__(
        self, layer: Layer, graph: _core.Graph, isa: str | None, threads: int, kind: str = "automatic"
    ) -> None:
        self.model = _core.Model(graph, isa, kind)
        self.session = _core.Session(self.model, threads)
        self.x = np.random.default_rng(0).standard_normal(layer.input_shape, dtype=np.float32)
        self.y = np.empty(self.session.output_shapes([self.x.shape])[0], np.float32)
        self.step = next(index for index, step in enumerate(self.model.steps()) if step["name"] == "layer")

    def __call__(self) -> None:
        self.session.run([(self.x.ctypes.data, self.x.shape)], [self.y.ctypes.data])

    @property
    def milliseconds(self) -> float:
        """What the layer alone took in the last call, without quantize and dequantize."""
        return self.session.profile()[self.step]
