"""What roofline.py, scaling.py, tokens.py and opening.py of bench compute, and that their pictures are drawn."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import opening
import pytest
import roofline
import scaling
import tokens
import torch
from encoder import DEPTH, build, inputs

import niwaki
from niwaki.runtime.plan import PlanStep

MEMORY = {"imported": 1e6, "opened": 3e6, "answered": 4e6}
MACHINE = roofline.Machine(macs=100e9, bytes=10e9)


def step(name: str, macs: int, weights: int, zeros: float = 0.0, scheme: str = "int8") -> PlanStep:
    return PlanStep(name, "conv2d", scheme, f"conv {scheme}", zeros, weights, None, "", macs)


def test_bounds_of_arithmetic_and_memory() -> None:
    steps = [
        step("a", 200_000_000, 1_000_000),
        step("b", 10_000_000, 5_000_000),
        step("add", 0, 0),
        step("c", 200_000_000, 1_000_000, 0.75, "sparse int8"),
        step("d", 200_000_000, 1_000_000, 0.75),
    ]
    a, b, c, d = roofline.bounds(steps, [4.0, 1.0, 9.0, 2.0, 3.0], MACHINE)
    assert (a.arithmetic, a.memory, a.bound) == (2.0, 0.1, 2.0)
    assert (b.arithmetic, b.memory, b.bound) == (0.1, 0.5, 0.5)
    assert (c.work, c.bound, d.bound) == (50e6, 0.5, 2.0), "only kernels that skip zeros are measured by what is left"


def test_layers_that_are_alike_share_a_line() -> None:
    names = ["conv1", "layer1.0.conv2", "layer1.1.conv2", "layer1.2.conv2", "layer1.2.conv3", "layer2.0.conv2", "fc"]
    steps = [step(name, 1_000_000, 1000) for name in names]
    layers = roofline.bounds(steps, [0.02, 0.02, 0.04, 0.08, 0.02, 0.02, 0.02], MACHINE)
    found = [(name, len(members)) for name, members in roofline.alike(layers)]
    expected = ["conv1", "layer1.0.conv2", "layer1.1-2.conv2", "layer1.2.conv3", "layer2.0.conv2", "fc"]
    assert found == [(name, 2 if "-" in name else 1) for name in expected]
    lines = roofline.markdown(layers, 0.5).splitlines()
    assert lines[4] == "| layer1.1-2.conv2 | 2 | conv int8 | 1.0 | 0% | 1 | 0.010 | arithmetic | 0.060 | 17% |"
    assert lines[-2] == "| all | 7 |  | 7 |  | 7 | 0.07 |  | 0.22 | 32% |"
    assert lines[-1] == "| what multiplies nothing |  |  |  |  |  |  |  | 0.50 |  |"


def test_reading_is_measured() -> None:
    assert roofline.read_speed(1 << 20, 2, seconds=0.01) > 0


def test_worst_jump_is_per_pixel() -> None:
    points = [scaling.Point(1, 100, 10.0), scaling.Point(2, 100, 22.0), scaling.Point(2, 200, 80.0)]
    assert [point.per_image for point in points] == [10.0, 11.0, 40.0]
    assert points[0].per_pixel == pytest.approx(1000.0)
    rise, at = scaling.worst_jump(points)
    assert rise == pytest.approx(0.1) and at is points[1]


def test_worst_rise_is_of_neighbouring_lengths() -> None:
    points = {64: 4.0, 16: 1.0, 32: 2.0, 48: 3.6}  # per token 1/16, 1/16, 1/13.3, 1/16
    rise, tokens_ = tokens.worst_rise(points)
    assert rise == pytest.approx(0.2) and tokens_ == 48


def test_lengths_of_networks_take_turns() -> None:
    calls: list[tuple[str, int]] = []

    def calls_of(name: str) -> list[str]:
        return (tokens.WARM + tokens.TIMED) * [name]

    def network(name: str):
        return lambda ids, mask: calls.append((name, ids.shape[1]))

    found = tokens.measure({"a": network("a"), "b": network("b")}, (8, 17), 2)
    assert calls == 2 * [(name, length) for length in (8, 17) for name in calls_of("a") + calls_of("b")]
    assert set(found) == {"a", "b"} and set(found["a"]) == {8, 17}
    assert all(0 <= taken < 1000 for points in found.values() for taken in points.values())


def test_encoder_has_the_sizes_of_minilm_and_does_not_see_padding() -> None:
    encoder = build(0.85)
    assert sum(parameter.numel() for parameter in encoder.layers.parameters()) == DEPTH * 1_774_464
    zeros = (encoder.layers[0].up.weight.view(-1, 4) == 0).all(1).float().mean().item()
    assert zeros == pytest.approx(0.85, abs=1e-3)
    ids, mask = inputs(7)
    padded = torch.cat([ids, ids.flip(1)], 1), torch.cat([mask, torch.zeros_like(mask)], 1)
    with torch.inference_mode():
        assert torch.allclose(encoder(*padded), encoder(ids, mask), atol=1e-6)


def test_opening_is_timed_in_a_process_without_torch(tmp_path: Path) -> None:
    class Words(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.linear = torch.nn.Embedding(512, 64), torch.nn.Linear(64, 4)

        def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
            return self.linear((self.table(ids) * mask[..., None]).sum(1))

    example = torch.arange(6)[None], torch.ones(1, 6, dtype=torch.int64)
    path = tmp_path / "words.niwaki"
    niwaki.compile(Words().eval(), example, threads=1).save(path)
    command = [sys.executable, opening.__file__, str(path), "--tokens", "5", "--rounds", "2"]
    environment = dict(os.environ, PYTHONPATH=str(Path(niwaki.__file__).resolve().parents[1]))
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300, check=True)
    for name in (*opening.TIMES, "open and first answer", "memory after opening"):
        assert f"\n{name} " in done.stdout
    found = dict.fromkeys(opening.TIMES, 0.5) | {"open": 0.25, "cpu": 0.1} | MEMORY
    assert set(MEMORY) == set(opening.MEMORY)
    lines = opening.summary(path, [found]).splitlines()
    assert [line.split()[-4:] for line in lines if line.startswith("open and")] == [["750.0", "ms", "750.0", "ms"]]
    assert lines[-2].split()[-2:] == ["2.0", "MB"] and lines[-1].split()[-2:] == ["1.0", "MB"]


def test_pictures(tmp_path: Path) -> None:
    layers = roofline.bounds([step("a", 1000, 10), step("b", 10, 1000)], [0.1, 0.1], MACHINE)
    roofline.draw(layers, MACHINE, "a heading", tmp_path / "roof.png")
    points = [scaling.Point(1, 64, 1.0), scaling.Point(2, 64, 2.0)]
    scaling.draw({"dense": (points, points)}, "a heading", tmp_path / "scaling.png")
    tokens.draw({"int8": {8: 1.0, 16: 1.5}}, "a heading", tmp_path / "tokens.png")
    names = ("roof.png", "scaling.png", "tokens.png")
    assert all((tmp_path / name).read_bytes().startswith(b"\x89PNG") for name in names)


def test_all_shapes_are_timed(tmp_path: Path) -> None:
    layers = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3))
    small = niwaki.quantize(layers.eval(), [torch.randn(1, 3, 8, 8)], progress=False)
    network = niwaki.compile(small, (torch.randn(1, 3, 8, 8),), threads=1)
    found = scaling.measure(network, [(1, 8), (3, 9)], 2, "")
    assert [(point.batch, point.size) for point in found] == [(1, 8), (3, 9)]
    assert all(np.isfinite(point.per_pixel) and point.milliseconds > 0 for point in found)
