"""Kernels chosen by timing: the same answers to the bit, and reasons that name what was measured and chosen."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from lowering import compiled, images
from torch import nn

import niwaki
from niwaki import _core
from niwaki.runtime.plan import PlanStep

MEASURED = re.compile(r"measured: dense (\S+) ms, sparse (\S+) ms")


@pytest.fixture(scope="module")
def small() -> nn.Module:
    torch.manual_seed(0)
    layers = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 16, 3, padding=1, groups=16),
        nn.Conv2d(16, 32, 3, stride=2),
        nn.ReLU(),
        nn.Conv2d(32, 24, 1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(24, 10),
    )
    with torch.no_grad():
        layers[5].weight[:, 4:] = 0
    return niwaki.quantize(layers.eval(), [images(2, 20, 20)], progress=False)


def check_choice(step: PlanStep) -> None:
    found = MEASURED.fullmatch(step.reason)
    assert found, step.reason
    dense, sparse = map(float, found.groups())
    if dense != sparse:  # else they differ by less than what is printed
        assert step.scheme == ("sparse int8" if sparse < dense else "int8")
    assert ("sparse" in step.kernel) == (step.scheme == "sparse int8")


@pytest.mark.parametrize("isa", _core.isas())
def test_same_bits_and_the_choice_that_was_measured(small: nn.Module, isa: str) -> None:
    plain = niwaki.compile(small, (images(2, 20, 20),), threads=1, isa=isa)
    tuned = niwaki.compile(small, (images(2, 20, 20),), threads=1, isa=isa, autotune=True)
    assert tuned.isa == isa
    steps = {step.name: step for step in tuned.plan}
    assert [step.name for step in plain.plan] == list(steps)
    for name in ("0", "3", "5", "8"):
        check_choice(steps[name])
    assert "measured" not in steps["2"].reason, "a depthwise layer has no other kernel"
    assert not any("measured" in step.reason for step in plain.plan)
    for x in (images(2, 20, 20), images(5, 33, 9, seed=3)):
        assert torch.equal(tuned(x), plain(x))
    assert all(step.milliseconds is not None for step in tuned.plan)


def test_a_network_from_a_file_is_tuned_in_place_and_the_file_does_not_remember(
    small: nn.Module, tmp_path: Path
) -> None:
    x = images(2, 20, 20)
    net = niwaki.compile(small, (x,), threads=2, autotune=True)
    net.save(tmp_path / "net.niwaki")
    loaded = niwaki.load(tmp_path / "net.niwaki", threads=2)
    expected = loaded(x)
    assert not any("measured" in step.reason for step in loaded.plan)
    assert loaded.autotune(x, seconds=0) is loaded
    assert all(step.milliseconds is None for step in loaded.plan), "times of other kernels would mislead"
    assert sum("measured" in step.reason for step in loaded.plan) == 4
    assert torch.equal(loaded(x), expected) and torch.equal(net(x), expected)


def test_parts_in_torch_stay_between_tuned_parts() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Conv2d(3, 8, 3)
            self.second = nn.Conv2d(8, 8, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.second(torch.special.i1e(self.first(x)))

    x = images(2, 12, 12)
    torch.manual_seed(0)
    model = Two()
    plain, tuned = compiled(model, x), compiled(model, x, autotune=True)
    assert len(tuned.plan.torch) == 1
    assert sum("measured" in step.reason for step in tuned.plan) == 2
    assert torch.equal(tuned(x), plain(x))


def test_refusals(small: nn.Module) -> None:
    x = images(1, 20, 20)
    with pytest.raises(TypeError, match="autotune must be True or False"):
        niwaki.compile(small, (x,), autotune="yes")  # type: ignore[arg-type]
    net = niwaki.compile(small, (x,), threads=1)
    with pytest.raises(ValueError, match="empty batch"):
        net.autotune(x[:0])
    with pytest.raises(ValueError, match="seconds must be from 0 to 600"):
        net.autotune(x, seconds=-1.0)
    with pytest.raises(TypeError, match="float32 is expected"):
        net.autotune(x.double())
    assert torch.equal(net(x), niwaki.compile(small, (x,), threads=1)(x)), "what was refused changed nothing"


def test_no_layer_at_all_to_tune() -> None:
    graph = _core.Graph()
    x = graph.add_input("x", "float32", [graph.add_size("batch"), 3, graph.add_size("height"), graph.add_size("width")])
    graph.add_output(
        *graph.add_node("dequantize", "out", graph.add_node("quantize", "in", [x], {}, {}, [(0.1, 128)]), {}, {}), "y"
    )
    assert len(_core.Model.autotuned(graph, [(1, 3, 4, 4)], seconds=0).steps()) == 2
    with pytest.raises(ValueError, match="3"):
        _core.Model.autotuned(graph, [(1, 4, 4, 4)])
