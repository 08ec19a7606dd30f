"""Calibration inputs from the shell: a folder of images, a file of arrays, or noise."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from niwaki.cli.console import UsageError
from niwaki.prediction.picture import SUFFIXES, read_picture, usual_resize
from niwaki.runs.progress import track

ARRAY_SUFFIXES = (".npz", ".npy", ".pt", ".pth", ".safetensors")
_NAMED = 3  # of the images that cannot be read
USUAL_NAMES = ("x", "images", "inputs", "input", "data")


@dataclass(frozen=True)
class CalibrationConfig:
    """How calibration inputs are read.

    Attributes:
        source: a folder of images, an array file, or "random".
        size: height and width of the network's input, in pixels.
        resize: length of the shorter side before the center crop; None for size * 256 / 224.
        mean, std: per channel, for pixels in 0..1.
        samples: at most so many inputs are used, chosen with the seed.
        batch: inputs in a batch.
        key: name of the array in a file of several.
        seed: chooses samples and makes noise.
    """

    source: str
    size: tuple[int, int] = (224, 224)
    resize: int | None = None
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    samples: int = 128
    batch: int = 8
    key: str | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.samples < 1 or self.batch < 1:
            raise UsageError(f"--samples and --batch have to be at least 1, not {self.samples} and {self.batch}.")
        if len(self.mean) != len(self.std) or min(self.std, default=0.0) <= 0:
            raise UsageError("--mean and --std need as many numbers each as images have channels, and --std above 0.")
        if self.resize is not None and self.resize < max(self.size):
            raise UsageError(f"--resize {self.resize} is smaller than the crop of --size {max(self.size)}.")


def load_calibration(config: CalibrationConfig) -> list[torch.Tensor]:
    """The calibration inputs: float32 batches [batch, ...], the last one possibly smaller.

    Raises:
        UsageError: names what is missing, unreadable or of the wrong shape.
    """
    return read_calibration(config)[0]


def read_calibration(config: CalibrationConfig, names: Sequence[str] = ()) -> tuple[list[Any], bool]:
    """The same, and whether they were pixels, which mean and std have made float32.

    Args:
        config: how they are read.
        names: of the network's arguments. Of a file whose arrays all have such names, batches are dicts of them.
    """
    named = _read_named(Path(config.source), config, names)
    if named is not None:
        batches = zip(*(value.split(config.batch) for value in named.values()), strict=True)
        return [dict(zip(named, batch, strict=True)) for batch in batches], False
    if config.source == "random":
        generator = torch.Generator().manual_seed(config.seed)
        inputs = torch.randn(min(config.samples, 4 * config.batch), len(config.mean), *config.size, generator=generator)
    else:
        path = Path(config.source)
        if path.is_dir():
            inputs = _read_images(path, config)
        elif path.is_file():
            inputs = _read_arrays(path, config)
        else:
            raise UsageError(f"--calibration: there is no folder or file '{path}' (or write 'random').")
    pixels = inputs.dtype == torch.uint8
    if pixels:
        inputs = _normalize(inputs, config)
    elif inputs.is_floating_point():
        inputs = inputs.float()
    return list(inputs.split(config.batch)), pixels


def _read_named(path: Path, config: CalibrationConfig, names: Sequence[str]) -> dict[str, torch.Tensor] | None:
    """Arrays named like arguments of the network, all of the same inputs; None where the file holds something else."""
    if config.key is not None or not path.is_file() or path.suffix not in ARRAY_SUFFIXES:
        return None
    content = _read_or_refuse(path)
    if not isinstance(content, Mapping) or len(content) < 2 or not set(content) <= set(names):
        return None
    lengths = {name: len(value) if value.dim() else 0 for name, value in content.items()}
    if len(set(lengths.values())) > 1 or 0 in lengths.values():
        said = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise UsageError(f"--calibration '{path}': arrays have to be [N, ...] with one N of at least 1, not {said}.")
    chosen = _choose(next(iter(lengths.values())), config)
    return {name: (x.float() if x.is_floating_point() else x)[chosen] for name, x in content.items()}


def _choose(count: int, config: CalibrationConfig) -> list[int]:
    chosen = (
        range(count) if count <= config.samples else random.Random(config.seed).sample(range(count), config.samples)
    )
    return sorted(chosen)


def _read_images(folder: Path, config: CalibrationConfig) -> torch.Tensor:
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    if not paths:
        raise UsageError(f"--calibration: no images ({', '.join(SUFFIXES)}) in '{folder}' or below.")
    chosen = [paths[index] for index in _choose(len(paths), config)]
    resize = config.resize or usual_resize(config.size)
    pixels, broken = [], []
    for path in track(chosen, "reading images"):
        try:
            pixels.append(read_picture(path, config.size, resize, len(config.mean)))
        except ValueError as error:
            broken.append(f"'{path}': {error}")
    if broken:
        more = f"; and {len(broken) - _NAMED} more" if len(broken) > _NAMED else ""
        raise UsageError(
            f"--calibration: {len(broken)} of {len(chosen)} images cannot be used; take them out of the folder. "
            f"{'; '.join(broken[:_NAMED])}{more}."
        )
    return torch.from_numpy(np.stack(pixels))


def _normalize(pixels: torch.Tensor, config: CalibrationConfig) -> torch.Tensor:
    """uint8 [N, C, H, W] to float32: pixels / 255, less the mean, over the standard deviation."""
    if pixels.dim() != 4 or pixels.shape[1] != len(config.mean):
        raise UsageError(
            f"--calibration: uint8 arrays have to be [N, {len(config.mean)}, H, W] for the given --mean, "
            f"not {tuple(pixels.shape)}."
        )
    mean = torch.tensor(config.mean).view(1, -1, 1, 1)
    std = torch.tensor(config.std).view(1, -1, 1, 1)
    return (pixels.float() / 255 - mean) / std


def _read_arrays(path: Path, config: CalibrationConfig) -> torch.Tensor:
    if path.suffix not in ARRAY_SUFFIXES:
        raise UsageError(f"--calibration '{path}': a file has to end in {', '.join(ARRAY_SUFFIXES)}.")
    array = _pick(_read_or_refuse(path), path, config.key)
    if array.dim() < 2 or len(array) == 0:
        raise UsageError(
            f"--calibration '{path}': the array has to be [N, ...] with N of at least 1, not {tuple(array.shape)}."
        )
    return array[_choose(len(array), config)]


def _read_or_refuse(path: Path) -> Any:
    try:
        return _read_file(path)
    except Exception as error:
        raise UsageError(f"--calibration '{path}' cannot be read: {error}") from error


def _read_file(path: Path) -> Any:
    if path.suffix == ".npy":
        return torch.from_numpy(np.load(path, allow_pickle=False))
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as file:
            return {name: torch.from_numpy(file[name]) for name in file.files}
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    return torch.load(path, map_location="cpu", weights_only=True)


def _pick(content: Any, path: Path, key: str | None) -> torch.Tensor:
    if isinstance(content, torch.Tensor):
        return content
    if isinstance(content, (list, tuple)) and content and all(isinstance(item, torch.Tensor) for item in content):
        return torch.cat(list(content))
    if not isinstance(content, dict) or not content:
        raise UsageError(f"--calibration '{path}' holds no tensor, list of tensors or dict of tensors.")
    if key is None:
        key = (
            next(iter(content)) if len(content) == 1 else next((name for name in USUAL_NAMES if name in content), None)
        )
    if key not in content or not isinstance(content[key], torch.Tensor):
        what = "has several arrays; choose one with --key" if key is None else f"has no array '{key}'"
        raise UsageError(f"--calibration '{path}' {what}: {', '.join(map(str, content))}.")
    return torch.as_tensor(content[key])
