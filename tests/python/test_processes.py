"""Forks, threads, several networks, the end of the interpreter: nothing waits for ever.

Each in a process of its own, which is killed when it takes too long.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import process_scenarios
import pytest
import torch
from lowering import compiled
from torch import nn

import niwaki

SECONDS = 120  # a hundred times what they take


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(2)
    layers = [nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 32, 3, stride=2), nn.ReLU()]
    model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10))
    path = tmp_path_factory.mktemp("processes") / "net.niwaki"
    compiled(model, process_scenarios.X).save(path)
    return path


@pytest.mark.parametrize("scenario", process_scenarios.SCENARIOS)
def test_nothing_waits_for_ever(scenario: str, network: Path) -> None:
    if "fork" in scenario and not hasattr(os, "fork"):
        pytest.skip("needs os.fork, which this system does not have: there is nothing to test")
    paths = os.pathsep.join([str(Path(niwaki.__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    run = subprocess.run(
        [sys.executable, "-W", "ignore", process_scenarios.__file__, scenario, str(network)],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        env={**os.environ, "PYTHONPATH": paths},
        check=False,
    )
    assert run.returncode == 0, run.stderr
