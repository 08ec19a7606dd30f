"""`niwaki bench --layers`: a line for each layer with its share of the time, in three orders, tuned or not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from lowering import images
from torch import nn

import niwaki
from niwaki.cli import main
from niwaki.cli.bench import ORDERS, layer_table
from niwaki.runtime.plan import PlanStep


def step(name: str, milliseconds: float, macs: int, zeros: float = 0.0) -> PlanStep:
    op = "conv2d" if macs else "add"
    return PlanStep(name, op, "int8", f"{op}_kernel", zeros, 100 if macs else 0, milliseconds, "because", macs)


STEPS = [step("a", 1.0, 4_000_000), step("b", 3.0, 60_000_000, 0.5), step("c", 0.5, 0), step("d", 0.5, 1_000_000)]


def test_each_layer_has_its_share_and_how_close_it_is_to_the_limit() -> None:
    lines = [line.split() for line in layer_table(STEPS, 40e9).splitlines()]
    assert lines[0] == ["layer", "op", "kernel", "zeros", "ms", "share", "GMAC/s", "of", "limit"]
    assert lines[2] == ["a", "conv2d", "conv2d_kernel", "0.0%", "1.000", "20.0%", "4.0", "10%"]
    assert lines[3] == ["b", "conv2d", "conv2d_kernel", "50.0%", "3.000", "60.0%", "20.0", "50%"]
    assert lines[4] == ["c", "add", "add_kernel", "0.500", "10.0%"]
    assert lines[7] == ["total", "5.000", "100.0%", "13.0", "32%"]
    assert layer_table(STEPS, 40e9).splitlines()[8:] == ["", "a, b, c and 1 more: because"], "reasons, each once"


@pytest.mark.parametrize(("order", "names"), [("ms", "bacd"), ("gmacs", "dabc")])
def test_slow_layers_come_first(order: str, names: str) -> None:
    assert "".join(step.name for step in sorted(STEPS, key=ORDERS[order])) == names
    assert ORDERS["order"] is None


def test_before_anything_ran() -> None:
    nothing = [PlanStep("a", "conv2d", "int8", "k", 0.0, 10, None, "because")]
    assert "total" in layer_table(nothing, 1e9)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 16, 3), nn.MaxPool2d(2), nn.Conv2d(16, 8, 1))
    small = niwaki.quantize(layers.eval(), [images(2, 32, 32)], progress=False)
    niwaki.compile(small, (images(1, 32, 32),), threads=1).save(tmp_path / "net.niwaki")
    return tmp_path / "net.niwaki"


def test_command(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["bench", str(file), "--size", "32", "--rounds", "3", "--layers"]
    for order in ORDERS:
        assert main([*options, "--sort", order, "--json", "--autotune"]) == 0
        result = json.loads(capsys.readouterr().out)
        assert result["autotune"] is True
        found = [PlanStep(**layer) for layer in result["layers"]]
        key = ORDERS[order]
        assert found == (sorted(found, key=key) if key else found)
        assert sum("measured: dense" in layer.reason for layer in found) == 3
    assert main(options) == 0
    shown = capsys.readouterr().out
    assert "share" in shown and "of limit" in shown and "measured" not in shown
    assert [line.split()[0] for line in shown.splitlines()[2:7]] == ["input.quantize", "0", "2", "3", "4"]


def test_says_for_what_threads_wait(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["bench", str(file), "--size", "32", "--rounds", "3", "--layers"]
    assert main([*options, "--threads", "2"]) == 0
    shown = capsys.readouterr().out
    assert "Threads waited " in shown and "for the slowest to end" in shown and "Most in " in shown
    assert main([*options, "--threads", "2", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    names = {layer["name"] for layer in result["layers"]}
    assert result["waits"] and set(result["waits"]) <= names
    for waits in result["waits"].values():
        assert set(waits) == {"alone", "begin", "end"} and min(waits.values()) >= 0
    # The threads cannot wait for longer than there are threads and time; one of them always works.
    taken = sum(layer["milliseconds"] for layer in result["layers"])
    assert sum(sum(waits.values()) for waits in result["waits"].values()) < 2 * 2 * taken
    assert main([*options, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["waits"] == {}
