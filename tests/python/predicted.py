"""Networks in files for the tests of niwaki.predict, made once, and what they answer."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from PIL import Image
from torch import nn

import niwaki

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.3, 0.25)


class Rows(nn.Module):
    """[N, 8] -> [N, 5]."""

    def __init__(self, inputs: int = 8, outputs: int = 5) -> None:
        super().__init__()
        self.layer = nn.Linear(inputs, outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x).relu()


class Pictures(nn.Module):
    """[N, 3, 32, 32] -> [N, 10], or, pooled, [N, 3, height, width] -> [N, 10]."""

    def __init__(self, pooled: bool) -> None:
        super().__init__()
        pool = nn.AdaptiveAvgPool2d(1) if pooled else nn.AvgPool2d(4)
        self.offset = nn.Parameter(torch.randn(1) if pooled else torch.randn(32, 32))
        self.layers = nn.Sequential(
            nn.Conv2d(3, 8, 3, stride=4), nn.ReLU(), pool, nn.Flatten(), nn.Linear(8 if pooled else 32, 10)
        )

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.layers(image + self.offset)


class Tokens(nn.Module):
    """ids [N, tokens] and weights [N] -> a dict of vectors [N, tokens, 4] and a sum [N]."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(20, 4)

    def forward(self, ids: torch.Tensor, weight: torch.Tensor) -> dict[str, torch.Tensor]:
        vectors = self.table(ids)
        return {"vectors": vectors, "total": vectors.sum((1, 2)) * weight}


class Mixing(nn.Module):
    """The answers of a row depend on the others."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x - x.mean(0, keepdim=True)


class Towers(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(8, 3), nn.Linear(6, 2)

    def first(self, x: torch.Tensor) -> torch.Tensor:
        return self.a(x)

    def second(self, y: torch.Tensor) -> torch.Tensor:
        return self.b(y)


@functools.cache
def folder() -> Path:
    """Where the files of this process are; it goes with the process."""
    made = tempfile.TemporaryDirectory(prefix="niwaki-predict-")
    _kept.append(made)
    return Path(made.name)


_kept: list[tempfile.TemporaryDirectory[str]] = []


@functools.cache
def file(kind: str) -> str:
    """The path of a network's file: rows, wide (6 outputs), broad (1280 inputs), pictures, plain (pictures of any
    size, without mean and std), tokens, mixing, towers."""
    torch.manual_seed(3)
    path = str(folder() / f"{kind}.niwaki")
    image = niwaki.ImageConfig(mean=MEAN, std=STD) if kind == "pictures" else None
    compiled(kind).save(path, image=image)
    return path


@functools.cache
def compiled(kind: str) -> niwaki.Network:
    torch.manual_seed(3)
    if kind == "rows":
        return niwaki.compile(Rows().eval(), (torch.randn(4, 8),), threads=1)
    if kind == "wide":
        return niwaki.compile(Rows(outputs=6).eval(), (torch.randn(4, 8),), threads=1)
    if kind == "broad":
        return niwaki.compile(Rows(inputs=1280).eval(), (torch.randn(4, 1280),), threads=1)
    if kind in ("pictures", "plain"):
        return niwaki.compile(Pictures(pooled=kind == "plain").eval(), (torch.randn(4, 3, 32, 32),), threads=1)
    if kind == "tokens":
        return niwaki.compile(Tokens().eval(), (torch.randint(0, 20, (4, 7)), torch.rand(4)), threads=1)
    if kind == "mixing":
        return niwaki.compile(Mixing().eval(), (torch.randn(4, 8),), threads=1)
    entries = niwaki.EntryPoints(Towers().eval(), first="first", second="second")
    return niwaki.compile(entries, {"first": torch.randn(4, 8), "second": torch.randn(4, 6)}, threads=1)


def rows(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, 8), dtype=np.float32)


def pictures(where: Path, count: int = 7) -> Path:
    """A folder of pictures of different sizes, the last one in a folder below."""
    made = where / "pictures"
    (made / "sub").mkdir(parents=True)
    generator = np.random.default_rng(1)
    for index in range(count):
        pixels = generator.integers(0, 256, (30 + 5 * index, 40, 3), dtype=np.uint8)
        below = "sub/" if index == count - 1 else ""
        Image.fromarray(pixels).save(made / f"{below}{index}.png")
    return made


def columns(path: Path) -> dict[str, list[Any]]:
    """A file or a folder of answers, by column."""
    return pq.read_table(path).to_pydict()
