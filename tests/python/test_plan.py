"""The plan of a compiled network: what it says before and after a run, as a table and as data."""

from __future__ import annotations

import dataclasses
import json

import pytest
import torch
from lowering import Function, compiled, images
from torch import nn

import niwaki
from niwaki.runtime.plan import Plan, PlanStep


@pytest.fixture(scope="module")
def net() -> niwaki.Network:
    torch.manual_seed(0)
    layers = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 3), nn.ReLU(), nn.Conv2d(16, 4, 1)
    )
    with torch.no_grad():
        layers[2].weight[:, 4:] = 0
    return compiled(layers, images())


def test_before_and_after_a_run(net: niwaki.Network) -> None:
    if net._last is None:
        assert all(step.milliseconds is None and step.macs == 0 for step in net.plan)
        assert net.plan.milliseconds is None
    net(images(2, 16, 12))
    plan = net.plan
    assert all(step.milliseconds >= 0 for step in plan)
    convolutions = [step for step in plan if step.op == "conv2d"]
    assert [step.name for step in convolutions] == ["0", "2", "4"]
    assert [step.macs for step in convolutions] == [2 * 192 * 16 * 27, 2 * 140 * 16 * 144, 2 * 140 * 4 * 16]
    net(images(1, 16, 12))
    assert net.plan[1].macs == 192 * 16 * 27


def test_zeros_and_bytes(net: niwaki.Network) -> None:
    step = next(step for step in net.plan if step.name == "2")
    assert step.zeros == pytest.approx(0.75, abs=0.01)
    assert step.scheme in ("int8", "sparse int8")
    assert step.bytes > 0
    assert step.kernel
    assert net.plan.bytes == sum(step.bytes for step in net.plan)


def test_is_a_sequence_of_frozen_steps(net: niwaki.Network) -> None:
    plan = net.plan
    assert len(plan) == len(list(plan))
    assert isinstance(plan[0], PlanStep)
    assert isinstance(plan[1:], Plan)
    with pytest.raises(dataclasses.FrozenInstanceError):
        plan[0].name = "other"


def test_prints_as_a_table(net: niwaki.Network) -> None:
    net(images())
    lines = str(net.plan).splitlines()
    assert lines[0].startswith("Sequential on ")
    assert lines[1].split() == ["layer", "op", "scheme", "kernel", "zeros", "bytes", "ms", "GMAC/s"]
    table = lines[: len(net.plan) + 5]
    assert table[-1].startswith("total") and max(map(len, lines)) <= 80
    start = lines[1].index("scheme")
    assert all(line[start:].startswith(("int8", "sparse int8")) for line in table[3:-2])
    assert lines[len(table)].startswith(f"{len(net.plan)} steps (")
    for step in net.plan:
        assert step.reason in " ".join(" ".join(lines[len(table) :]).split()), "why, below the table"


def test_long_names_and_kernels_fit_a_terminal() -> None:
    names = [f"encoder.layers.{i}.self_attention.output.projection" for i in range(20)]
    what = ("conv_transpose2d", "sparse int8", "conv_sparse_avx512vnni", 0.5, 10**8, 12.5, "marker " * 9, 10**9)
    steps = [PlanStep(name, *what) for name in names]
    text = str(Plan(steps, "Net on avx512vnni, 2 threads"))
    assert max(map(len, text.splitlines())) <= 80 and "conv_sparse " in text and "projection" in text
    assert text.count("marker") == 9, "a reason that holds for all is said once"


def test_as_data(net: niwaki.Network) -> None:
    content = json.loads(json.dumps(net.plan.to_dict()))
    assert len(content["steps"]) == len(net.plan)
    assert content["total"]["bytes"] == net.plan.bytes


def test_torch_steps_are_timed_and_cut_short_in_the_table() -> None:
    def long(x: torch.Tensor) -> torch.Tensor:
        for _ in range(2):
            x = torch.special.erfcx(torch.special.zeta(x.abs() + 2, x.abs() + 1))
            for function in (
                torch.special.ndtri,
                torch.special.i1e,
                torch.special.i1,
                torch.special.i0,
                torch.special.i0e,
            ):
                x = function(x.sigmoid())
            x = torch.renorm(x, 2, 0, 5.0)
        return torch.kthvalue(x, 1, 1)[0].unsqueeze(1)

    net = compiled(Function(long).eval(), images())
    net(images())
    (step,) = net.plan.torch
    assert step.scheme == "torch"
    assert step.milliseconds > 0
    assert " more are not native" in step.reason
    assert all(len(line) <= 80 for line in str(net.plan).splitlines())


@pytest.mark.parametrize("kind", ["dense", "sparse", "linear"])
def test_weights_of_a_layer_that_is_called_again_count_once(kind: str) -> None:
    class Again(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(64, 64) if kind == "linear" else nn.Conv2d(64, 64, 3, padding=1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.layer(4 * self.layer(x).relu())

    model = Again().eval()
    if kind == "sparse":
        model = niwaki.prune(model, sparsity=0.9)
    x = torch.randn(8, 64) if kind == "linear" else torch.randn(8, 64, 12, 12)
    small = niwaki.quantize(model, x.split(2), precision="int8", progress=False)
    first, again = (step for step in niwaki.compile(small, (x[:1],), threads=1).plan if step.op in ("conv2d", "linear"))
    assert first.kernel == again.kernel and first.scheme == ("sparse int8" if kind == "sparse" else "int8")
    assert first.bytes > 5 * again.bytes > 0, "biases and multipliers follow from scales, and are its own"
    assert f"the weights of {first.name}" in again.reason and "the weights of" not in first.reason
