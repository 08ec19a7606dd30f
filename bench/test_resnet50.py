"""Each layer of ResNet-50, dense and with 85 % of its blocks zero, against torch in float32 and the limit of int8.

    pytest bench [--threads 2] [-k 14-] [--benchmark-json FILE]

A result is compared with the scalar reference before anything is timed.
"""

from __future__ import annotations

import statistics
from pathlib import Path

import numpy as np
import pytest
import torch
from layers import Layer, Runner, make_graph, make_torch, read_layers

from niwaki import _core

LAYERS = read_layers(Path(__file__).parent / "models" / "resnet50.txt")
SPARSITY = {"dense": 0.0, "sparse": 0.85}
ROUNDS = 15


@pytest.mark.parametrize("case", SPARSITY)
@pytest.mark.parametrize("layer", LAYERS, ids=str)
def test_niwaki(layer: Layer, case: str, benchmark, threads: int, results: list) -> None:
    graph = make_graph(layer, SPARSITY[case])
    runner = Runner(layer, graph, None, threads)
    reference = Runner(layer, graph, "scalar", 1)
    runner()
    reference()
    assert np.array_equal(runner.y, reference.y), "a fast wrong answer is worth nothing"
    assert len(np.unique(runner.y)) > 32, "an output that says little would hide mistakes"

    limit = _core.int8_limit()  # before and after: a busy machine's clock wanders
    times: list[float] = []
    benchmark.pedantic(runner, rounds=ROUNDS, warmup_rounds=2, teardown=lambda: times.append(runner.milliseconds))
    limit = max(limit, _core.int8_limit())
    milliseconds = statistics.median(times[-ROUNDS:])
    row = {
        "layer": str(layer),
        "case": case,
        "count": layer.count,
        "ms": milliseconds,
        "of_limit": layer.macs / (milliseconds * 1e-3) / (limit * threads),
        "kernel": runner.model.steps()[runner.step]["kernel"],
    }
    benchmark.extra_info.update(row, gmacs=layer.macs / milliseconds * 1e-6)
    results.append(row)


@pytest.mark.parametrize("layer", LAYERS, ids=str)
def test_torch_float32(layer: Layer, benchmark, results: list) -> None:
    module = make_torch(layer, 0.0)
    x = torch.randn(layer.input_shape, generator=torch.Generator().manual_seed(0))
    if x.dim() == 4:
        x = x.to(memory_format=torch.channels_last)
    with torch.inference_mode():
        benchmark.pedantic(module, args=(x,), rounds=ROUNDS, warmup_rounds=2)
    results.append(
        {"layer": str(layer), "case": "torch", "count": layer.count, "ms": benchmark.stats.stats.median * 1e3}
    )
