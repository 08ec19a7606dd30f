"""Windows over float32 values at sizes that only the run knows: near torch's, and the same on every instruction set."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

import core_node
import core_operators
import pytest
import torch

from niwaki import _core

ROUNDS = 60


def check(
    op: str,
    inputs: Sequence[torch.Tensor],
    attributes: Mapping[str, Any],
    tensors: Mapping[str, torch.Tensor] | None = None,
) -> None:
    wanted = core_operators.compute(op, list(inputs), attributes, tensors or {}, [], [])[0]
    found = core_node.run(op, inputs, attributes, tensors, isa="scalar")[0]
    words = (op, attributes, [value.shape for value in inputs])
    assert found.shape == wanted.shape, words
    bound = 4e-6 * max(1.0, float(wanted.nan_to_num().abs().max())) if wanted.numel() else 0.0
    assert torch.allclose(found, wanted, rtol=0.0, atol=bound, equal_nan=True), words
    for isa in _core.isas()[1:]:
        assert bits(core_node.run(op, inputs, attributes, tensors, isa, threads=3)[0]) == bits(found), (isa, *words)


def bits(values: torch.Tensor) -> bytes:
    """What must be the same everywhere: all but which NaN a NaN is."""
    return torch.where(values.isnan(), torch.tensor(torch.nan), values).numpy().tobytes()


def sizes(axes: int, low: int, high: int) -> list[int]:
    return [random.randint(low, high) for _ in range(axes)]


def image(axes: int, channels: int, low: int = 1) -> torch.Tensor:
    most = (60, 17, 7)[axes - 1]
    return torch.randn(random.randint(1, 3), channels, *sizes(axes, low, most))


@pytest.mark.parametrize("transposed", [0, 1])
def test_convolution(transposed: int) -> None:
    for _ in range(ROUNDS):
        axes, groups = random.randint(1, 3), random.choice([1, 1, 2, 3])
        inputs, outputs = groups * random.randint(1, 5), groups * random.randint(1, 20)
        kernel, dilation = sizes(axes, 1, 3), sizes(axes, 1, 2)
        stride = sizes(axes, 1, 3)
        x = image(axes, inputs, low=5)
        pads = [pad for _ in range(axes) for pad in [random.randint(0, 1)] * 2]
        more = [random.randint(0, step - 1) if transposed else 0 for step in stride]
        shape = [inputs, outputs // groups] if transposed else [outputs, inputs // groups]
        tensors = {"weight": torch.randn(*shape, *kernel), "bias": torch.randn(outputs)}
        if random.random() < 0.3:
            del tensors["bias"]
        check("convolution", [x], {"stride": stride, "padding": pads, "dilation": dilation, "groups": groups,
                                   "transposed": transposed, "output_padding": more}, tensors)  # fmt: skip


@pytest.mark.parametrize("function", ["max", "average"])
def test_pool(function: str) -> None:
    for _ in range(ROUNDS):
        axes = random.randint(1, 3)
        kernel = sizes(axes, 1, 3)
        x = image(axes, 3, low=5)
        x[x > 2.5] = torch.nan
        x[x < -2.5] = -torch.inf
        attributes = {
            "function": function,
            "kernel": kernel,
            "stride": sizes(axes, 1, 3),
            "dilation": sizes(axes, 1, 2) if function == "max" else [1] * axes,
            "padding": [pad for side in kernel for pad in [random.randint(0, side // 2)] * 2],
            "ceil_mode": random.randint(0, 1),
            "count_include_pad": random.randint(0, 1),
            "divisor": random.choice([0, 5]) if function == "average" and axes > 1 else 0,
        }
        check("pool", [x], attributes)


@pytest.mark.parametrize("function", ["max", "average"])
def test_adaptive_pool(function: str) -> None:
    for _ in range(ROUNDS):
        axes = random.randint(1, 3)
        check("adaptive_pool", [image(axes, 2)], {"function": function, "size": sizes(axes, 1, 7)})


@pytest.mark.parametrize("mode", ["nearest", "nearest-exact", "linear", "cubic"])
def test_interpolate(mode: str) -> None:
    for _ in range(ROUNDS):
        axes = 2 if mode == "cubic" else random.randint(1, 3)
        x = image(axes, 2)
        align = 0 if mode.startswith("nearest") else random.randint(0, 1)
        # A scale that was asked for may be another than that of the sizes, which are whole.
        scales = [random.choice([0.0, 1.05, 2.0, random.uniform(0.5, 3)]) for _ in range(axes)]
        size = [
            int(have * scale) or 1 if scale else random.randint(1, 30)
            for have, scale in zip(x.shape[2:], scales, strict=True)
        ]
        check("interpolate", [x], {"mode": mode, "size": size, "align_corners": align, "scales": scales})


@pytest.mark.parametrize("mode", ["bilinear", "nearest", "bicubic"])
@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
def test_grid_sample(mode: str, padding: str) -> None:
    for _ in range(ROUNDS // 3):
        x = image(2, 3)
        grid = torch.randn(x.shape[0], *sizes(2, 1, 9), 2)
        grid[grid > 2.5] = torch.nan
        check("grid_sample", [x, grid], {"mode": mode, "padding_mode": padding, "align_corners": random.randint(0, 1)})
