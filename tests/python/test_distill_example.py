"""The example that makes a network small with a few hundred pictures: it reads folders, and training helps."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import niwaki

PATH = Path(__file__).parents[2] / "examples" / "training" / "distill.py"
SIZE, CLASSES = 32, 12
NETWORK = f"""
import torch
from torch import nn

def make():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU6(),
        nn.Conv2d(16, 32, 3, 2, 1, bias=False), nn.BatchNorm2d(32), nn.ReLU6(),
        nn.Conv2d(32, 32, 3, 1, 1, bias=False), nn.BatchNorm2d(32), nn.ReLU6(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, {CLASSES}),
    )
"""


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module  # dataclasses look for it
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def example() -> ModuleType:
    return load(PATH)


def made_up(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Stripes of twelve directions with noise, float32 [N, 3, 32, 32], and their directions."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % CLASSES
    angle = labels[:, None, None] * torch.pi / CLASSES
    y, x = torch.meshgrid(torch.arange(SIZE), torch.arange(SIZE), indexing="ij")
    shift = torch.rand(count, 1, 1, generator=generator) * 6
    stripes = torch.sin((x * angle.cos() + y * angle.sin()) * 0.9 + shift)
    colour = torch.rand(count, 3, 1, 1, generator=generator) + 0.2
    return stripes[:, None] * colour + torch.randn(count, 3, SIZE, SIZE, generator=generator), labels


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> nn.Module:
    path = tmp_path_factory.mktemp("net") / "net.py"
    path.write_text(NETWORK)
    net: nn.Module = load(path).make()
    optimizer = torch.optim.AdamW(net.parameters(), lr=3e-3)
    x, y = made_up(512, seed=1)
    for _ in range(6):
        for part, label in zip(x.split(64), y.split(64), strict=True):
            optimizer.zero_grad()
            F.cross_entropy(net(part), label).backward()
            optimizer.step()
    return net.eval()


def error_of(small: nn.Module, model: nn.Module) -> float:
    """Of the logits that the compiled network gives, on pictures that decided nothing."""
    x, _ = made_up(128, seed=3)
    with torch.no_grad():
        wanted, found = model(x), niwaki.compile(small, (x[:1],), threads=1)(x)
    wanted, found = (logits - logits.mean(1, keepdim=True) for logits in (wanted, found))  # what answers depend on
    return float((found - wanted).norm() / wanted.norm())


@pytest.mark.parametrize(("sparsity", "bits", "steps", "rate"), [(0.9, 8, 300, 0.03), (0.0, 2, 60, 0.003)])
def test_training_brings_answers_back(
    example: ModuleType, trained: nn.Module, sparsity: float, bits: int, steps: int, rate: float
) -> None:
    x, _ = made_up(64, seed=2)
    options = example.Options(sparsity=sparsity, bits=bits, steps=steps, batch=16, rate=rate)
    small = example.make_small(trained, x, options)
    quantize = niwaki.QuantizeConfig(weight_bits=bits)
    prune = niwaki.PruneConfig(sparsity, importance="second_order") if sparsity else None
    at_once, _ = niwaki.compress(trained, x.split(16), prune=prune, quantize=quantize, progress=False)
    assert error_of(small, trained) < 0.95 * error_of(at_once, trained)
    layers = [part for part in small.modules() if isinstance(part, niwaki.nn.Conv2d)]
    assert max(int(part.weight.abs().max()) for part in layers) <= 2 ** (bits - 1) - 1
    if sparsity:
        zeros = torch.cat([part.weight.flatten() == 0 for part in layers[1:]]).float().mean()
        assert float(zeros) > sparsity - 0.05


def test_what_is_kept_is_neither_pruned_nor_trained(example: ModuleType, trained: nn.Module) -> None:
    x, _ = made_up(32, seed=2)
    folded = niwaki.optimize(trained, args=(x[:1],))
    kept: list[torch.Tensor] = []
    for keep in (("3",), ()):
        options = example.Options(sparsity=0.5, steps=4, batch=16, rate=0.03, features=("5", "11"), keep=keep)
        joint = niwaki.JointTraining(
            trained, x.split(16), prune=niwaki.PruneConfig(0.5, importance="second_order", skip=keep), steps=4
        )
        for phase in joint:
            before = phase.network.get_submodule("3").weight.detach().clone()
            example.train(phase, folded, x, options)
        kept.append(joint.result.get_submodule("3").weight)
        assert torch.equal(kept[-1], before) == bool(keep)
    assert bool((kept[0] != 0).all()) and float((kept[1] == 0).float().mean()) > 0.3


def test_smaller_versions_are_at_about_the_scale_of_their_pictures(example: ModuleType) -> None:
    x = torch.arange(64.0).repeat(8, 3, 64, 1)  # its slope to the right is its scale: 1 for a picture as it is
    generator = torch.Generator().manual_seed(0)
    for size, middle, most in ((64, (0.5, 0.9), 1.01), (48, (0.8, 1.15), 1.55), (32, (0.8, 1.15), 1.55)):
        slopes = []
        for version in (example.vary(x, (size, size), generator) for _ in range(20)):
            slopes.append(version[:, 0].diff(dim=2).abs().flatten(1).median(1).values)
        # Mixed with another one that is mirrored, slopes cancel: these are below.
        found = torch.cat(slopes)
        assert middle[0] <= float(found.quantile(0.6)) <= middle[1] and float(found.max()) <= most


def test_versions_are_new_each_time_and_shared_among_processes(
    example: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, _ = made_up(32, seed=0)
    first, second = islice(example.Versions(x, 32, (24, 28), seed=0), 2)
    assert first.shape == second.shape == (32, 3, 24, 28)
    assert not any(torch.equal(a, b) for a in first for b in second)
    monkeypatch.setattr(example, "vary", lambda x, *_: x)
    parts = []
    for rank in range(2):
        monkeypatch.setattr(example, "_place", lambda rank=rank: (rank, 2))
        parts.append(next(iter(example.Versions(x, 16, (32, 32), seed=0))))
    monkeypatch.setattr(example, "_place", lambda: (0, 1))
    whole = next(iter(example.Versions(x, 16, (32, 32), seed=0)))
    assert torch.equal(torch.cat([torch.stack(pair) for pair in zip(*parts, strict=True)]), whole)


def write(folder: Path, count: int, seed: int, names: tuple[str, ...]) -> None:
    image = pytest.importorskip("PIL.Image", exc_type=ImportError)
    for index, (x, y) in enumerate(zip(*made_up(count, seed), strict=True)):
        place = folder / names[int(y) % len(names)]
        place.mkdir(parents=True, exist_ok=True)
        pixels = (x.permute(1, 2, 0) * 40 + 127).clamp(0, 255).byte().numpy()
        image.fromarray(np.repeat(np.repeat(pixels, 2, 0), 3, 1)).save(place / f"{index}.png")


def test_folders_of_pictures(example: ModuleType, tmp_path: Path) -> None:
    write(tmp_path / "words", 8, 0, ("bee", "ant", "cat", "dog"))
    write(tmp_path / "numbers", 8, 0, ("30", "4", "7", "100"))
    (tmp_path / "words" / "ant" / "notes.txt").write_text("not a picture")
    pictures, labels = example.read_pictures(tmp_path / "words", 28, 127.0, 128.0)
    assert pictures.shape == (8, 3, 28, 28) and labels.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert pictures.dtype == torch.float32 and 0.05 < float(pictures.abs().max()) <= 1
    assert example.read_pictures(tmp_path / "numbers", 28, 127.0, 128.0)[1].tolist() == [100, 100, 30, 30, 4, 4, 7, 7]
    (tmp_path / "none").mkdir()
    with pytest.raises(SystemExit, match="there is no picture"):
        example.read_pictures(tmp_path / "none", 28, 127.0, 128.0)


def test_the_command(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(NETWORK)
    write(tmp_path / "train", 32, 0, ("0", "1", "2", "3"))
    write(tmp_path / "test", 8, 1, ("0", "1", "2", "3"))
    command = [
        sys.executable, str(PATH), "--network", f"{tmp_path / 'net.py'}:make", "--train", str(tmp_path / "train"),
        "--test", str(tmp_path / "test"), "--size", "32", "--steps", "4", "--batch", "8", "--features", "2", "5",
        "--crop", "24", "--keep", "0",
        "--sparsity", "0.5", "--threads", "1", "-o", str(tmp_path / "net.niwaki"),
    ]  # fmt: skip
    run = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert run.returncode == 0, run.stderr
    assert "float32 " in run.stdout and "% the same answers" in run.stdout
    assert niwaki.load(tmp_path / "net.niwaki")(torch.rand(2, 3, 32, 32)).shape == (2, CLASSES)


PROCESS = """
import sys
import torch
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import test_distill_example as here
folder, rank = Path(sys.argv[2]), int(sys.argv[3])
torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
example = here.load(here.PATH)
(folder / f"net{rank}.py").write_text(here.NETWORK)
model = here.load(folder / f"net{rank}.py").make().eval()
options = example.Options(sparsity=0.5, bits=int(sys.argv[4]), steps=6, batch=8)
small = example.make_small(model, here.made_up(32, seed=0)[0], options)
torch.save(small.state_dict(), folder / f"state.{rank}")
torch.distributed.destroy_process_group()
"""


@pytest.mark.skipif(not torch.distributed.is_available(), reason="this torch has no torch.distributed")
@pytest.mark.parametrize("bits", ["8", "4"])
def test_two_processes_end_with_one_network(tmp_path: Path, bits: str) -> None:
    paths = os.pathsep.join([str(Path(niwaki.__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    shared = {**os.environ, "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1", "PYTHONPATH": paths}
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    command = [sys.executable, "-c", PROCESS, str(Path(__file__).parent), str(tmp_path)]
    ranks = [subprocess.Popen([*command, str(rank), bits], env=shared, **pipes) for rank in range(2)]
    try:
        said = [process.communicate(timeout=240)[0] for process in ranks]
    finally:
        for process in ranks:
            process.kill()
    assert [process.returncode for process in ranks] == [0, 0], "\n".join(said)
    first, second = (torch.load(tmp_path / f"state.{rank}", weights_only=True) for rank in range(2))
    assert list(first) == list(second) and len(first) > 10
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    assert "loss" in said[0] and "loss" not in said[1]
