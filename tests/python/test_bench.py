"""The benchmarks' layers: the file agrees with ResNet-50, and each layer is what it says in niwaki and in torch."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from layers import Layer, Runner, make_graph, make_torch, make_weight, read_layers

SMALL = [
    Layer("conv2d", 1, 8, 9, 12, 3, 2, 1),
    Layer("conv2d", 1, 3, 11, 8, 7, 2, 3),
    Layer("linear", 1, 32, 1, 10, 1, 1, 0),
]


@pytest.fixture(scope="module")
def layers(root: Path) -> list[Layer]:
    return read_layers(root / "bench" / "models" / "resnet50.txt")


def test_layers_are_those_of_resnet50(layers: list[Layer]) -> None:
    from niwaki._compat import import_torchvision

    shapes: dict[tuple[int, ...], int] = {}

    def count(module: torch.nn.Module, inputs: tuple[torch.Tensor, ...], _: torch.Tensor) -> None:
        if isinstance(module, torch.nn.Conv2d):
            shape = (
                *inputs[0].shape[1:3],
                module.out_channels,
                module.kernel_size[0],
                module.stride[0],
                module.padding[0],
            )
        else:
            shape = (inputs[0].shape[1], 1, module.out_features, 1, 1, 0)
        shapes[shape] = shapes.get(shape, 0) + 1

    model = import_torchvision().models.resnet50().to("meta").eval()
    for module in model.modules():
        if isinstance(module, (torch.nn.Conv2d, torch.nn.Linear)):
            module.register_forward_hook(count)
    model(torch.empty(1, 3, 224, 224, device="meta"))
    assert {dataclasses.astuple(layer)[2:]: layer.count for layer in layers} == shapes
    assert sum(layer.count * layer.macs for layer in layers) == 4_089_184_256


def test_sparse_weights_have_whole_blocks_of_zeros() -> None:
    layer = Layer("conv2d", 1, 64, 7, 64, 3, 1, 1)
    weight = make_weight(layer, 0.85).reshape(64, 16, 4, 3, 3)
    empty = ~weight.any(axis=2)
    assert abs(empty.mean() - 0.85) < 0.02
    assert np.count_nonzero(make_weight(layer, 0.0) == 0) < 0.01 * weight.size


@pytest.mark.parametrize("sparsity", [0.0, 0.85])
@pytest.mark.parametrize("layer", SMALL, ids=str)
def test_niwaki_and_torch_compute_the_same_layer(layer: Layer, sparsity: float) -> None:
    runner = Runner(layer, make_graph(layer, sparsity), None, 1)
    runner()
    with torch.inference_mode():
        module = make_torch(layer, sparsity)
        module[0].bias.zero_()  # type: ignore[index,union-attr]
        expected = module(torch.from_numpy(runner.x)).numpy()
    assert runner.y.shape == expected.shape
    correlation = np.corrcoef(runner.y.ravel(), expected.ravel())[0, 1]
    assert correlation > 0.98, "quantization costs little, a wrong layer has nothing in common with the right one"
