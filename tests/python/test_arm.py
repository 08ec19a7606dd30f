"""The same file gives the same bits on 64-bit Arm, under QEMU, with each of its instruction sets, as natively here."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sysconfig
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

import niwaki

ROOT = Path(__file__).parents[2]
BUILD = ROOT / "build" / "aarch64"
CPUS = {"neon": "cortex-a53", "dotprod": "cortex-a76", "i8mm": "max"}  # each is the best set of its CPU
BATCH, HEIGHT, WIDTH = 3, 21, 19


@pytest.fixture(scope="module")
def runner() -> list[str]:
    """niwaki-run for Arm and the emulator that runs it."""
    emulator = shutil.which("qemu-aarch64-static")
    if emulator is None or shutil.which("aarch64-linux-gnu-g++") is None:
        pytest.skip("needs g++-aarch64-linux-gnu and qemu-user-static to build for Arm and to run it: see docs/arm.md")
    if not (BUILD / "CMakeCache.txt").exists():
        pytest.skip("needs a build for Arm in build/aarch64, which takes minutes: make test-arm")
    path = os.pathsep.join([sysconfig.get_path("scripts"), os.environ.get("PATH", "")])
    cmake = shutil.which("cmake", path=path) or "cmake"
    subprocess.run(
        [cmake, "--build", BUILD, "--parallel", "2", "--target", "niwaki-run"], check=True, capture_output=True
    )
    return [emulator, "-L", "/usr/aarch64-linux-gnu", str(BUILD / "niwaki-run")]


def run(runner: list[str], isa: str, cpu: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "QEMU_CPU": cpu, "NIWAKI_ISA": isa}
    command = [*runner, *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


class Branches(nn.Module):
    """Every kind of layer, with channels and sizes that fill neither groups of four nor vectors."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 22, 5, stride=2, padding=2), nn.ReLU6())
        self.wide = nn.Sequential(nn.Conv2d(22, 40, 1), nn.Hardswish())
        self.depthwise = nn.Sequential(nn.Conv2d(40, 40, 3, padding=1, groups=40), nn.ReLU())
        self.strided = nn.Conv2d(40, 40, 5, stride=2, padding=2, groups=40)
        self.narrow = nn.Conv2d(40, 22, 1)
        self.dilated = nn.Conv2d(62, 35, 3, padding=2, dilation=2)
        self.grouped = nn.Conv2d(35, 30, 3, padding=1, groups=5)
        self.gate = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(30, 30, 1), nn.Sigmoid())
        self.long = nn.Conv2d(30, 64, 3, stride=2, padding=1)
        self.deep = nn.Conv2d(64, 72, 3, padding=1)
        self.scores = nn.Linear(72, 13)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = self.stem(x)
        y = self.depthwise(self.wide(x))
        x = x + self.narrow(y)
        pooled = nn.functional.avg_pool2d(self.strided(y), 2, stride=1, padding=1)[..., :5, :5]
        x = torch.cat([nn.functional.max_pool2d(x, 3, stride=2, padding=1)[..., :5, :5], pooled], 1)
        x = self.grouped(torch.relu(self.dilated(x)))
        x = self.long(x * self.gate(x))
        x = torch.relu(self.deep(x))
        return x, self.scores(nn.functional.adaptive_avg_pool2d(x, 1).flatten(1))


NETWORKS = {
    "dense": None,
    "block4": niwaki.PruneConfig(sparsity=0.8),
    "unstructured": niwaki.PruneConfig(0.7, pattern="unstructured"),
}


@pytest.fixture(scope="module", params=list(NETWORKS))
def saved(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, niwaki.Network, list[str]]:
    """A network's name, itself, and the arguments that compare a run of it with what it answers here."""
    torch.manual_seed(7)
    model = Branches().eval()
    x = torch.randn(BATCH, 3, HEIGHT, WIDTH)
    config = NETWORKS[request.param]
    if config is not None:
        model = niwaki.prune(model, config)
    small, _ = niwaki.compress(model, [x], progress=False)
    net = niwaki.compile(small, (x,), threads=1)
    folder = tmp_path_factory.mktemp("arm")
    net.save(folder / "net.niwaki")
    x.numpy().tofile(folder / "x.f32")
    arguments = [str(folder / "net.niwaki"), "--input", str(folder / "x.f32"), "--rounds", "0", "--layers", "--json"]
    arguments += ["--batch", str(BATCH), "--size", f"{HEIGHT}x{WIDTH}"]
    for i, y in enumerate(net(x)):
        y.numpy().tofile(folder / f"y{i}.f32")
        arguments += ["--expect", str(folder / f"y{i}.f32")]
    return request.param, net, arguments


@pytest.mark.parametrize("isa", CPUS)
def test_bits_are_those_of_this_machine(isa: str, runner: list[str], saved) -> None:
    name, net, arguments = saved
    for threads in (1, 3):
        done = run(runner, isa, CPUS[isa], *arguments, "--threads", threads)
        assert done.returncode == 0, done.stdout + done.stderr
        result = json.loads(done.stdout)
        assert result["same"] is True and result["isa"] == isa
        kernels = {layer["kernel"] for layer in result["layers"] if layer["op"] in ("conv2d", "linear")}
        assert all(isa in kernel for kernel in kernels), kernels
        if name == "block4":  # the others get what the cost model of each instruction set chooses
            assert f"conv_sparse_{isa}" in kernels, kernels
    assert not net.isa.startswith(isa)


@pytest.mark.parametrize("isa", CPUS)
@pytest.mark.parametrize("case", ["resnet50-block85", "mobilenet_v2-dense"])
def test_networks_of_torchvision(
    case: str, isa: str, runner: list[str], network_file: Callable[[str], Path], tmp_path: Path
) -> None:
    path = network_file(case)
    x = torch.randn(1, 3, 64, 64)
    y = niwaki.load(path, threads=1)(x)
    assert len(set(y.flatten().tolist())) > 100, "scores that say something"
    x.numpy().tofile(tmp_path / "x.f32")
    y.numpy().tofile(tmp_path / "y.f32")
    arguments = ["--size", 64, "--input", tmp_path / "x.f32", "--expect", tmp_path / "y.f32", "--rounds", 0]
    done = run(runner, isa, CPUS[isa], path, *arguments, "--layers", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads(done.stdout)
    assert result["same"] is True and result["isa"] == isa
    kernels = {layer["kernel"] for layer in result["layers"]}
    assert (f"conv_sparse_{isa}" if case.endswith("85") else f"depthwise_{isa}") in kernels, kernels


@pytest.mark.parametrize(("isa", "cpu"), CPUS.items())
def test_the_best_set_of_a_cpu_is_found(isa: str, cpu: str, runner: list[str], saved) -> None:
    best = run(runner, "", cpu, *saved[2])
    assert json.loads(best.stdout)["isa"] == isa
    for other in list(CPUS)[list(CPUS).index(isa) + 1 :]:
        refused = run(runner, other, cpu, *saved[2])
        assert refused.returncode != 0 and f"cannot run the instruction set '{other}'" in refused.stderr
