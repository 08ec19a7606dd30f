"""Rows that are pictures: of a folder, or of a list of paths."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from niwaki.errors import NiwakiError
from niwaki.prediction.batch import Batch, Group, Share
from niwaki.prediction.picture import SUFFIXES, normalize, read_picture, usual_resize

if TYPE_CHECKING:
    import pyarrow as pa

    from niwaki.prediction.engine import Engine


@dataclass(frozen=True, kw_only=True)
class PictureConfig:
    """How pictures become inputs. What is None follows from the network.

    Attributes:
        size: height and width in pixels.
        resize: length of the shorter side before the center crop; by default size * 256 / 224.
        mean, std: of each channel, for pixels in 0..1.
    """

    size: tuple[int, int] | None = None
    resize: int | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None


class PictureSource:
    """Pictures for a network that takes images [N, C, H, W].

    Args:
        root: the folder that paths are relative to.
        paths: of the pictures.
        engine: of the network.
        config: how pictures become inputs.
        readers: threads that decode pictures.
        limit: so many pictures at most.

    Raises:
        NiwakiError: the network takes something else, or it is not said how pixels become its input.
    """

    usual_part = 1024
    least_part = 32

    def __init__(
        self,
        root: str,
        paths: Sequence[str],
        engine: Engine,
        config: PictureConfig,
        *,
        readers: int = 1,
        limit: int | None = None,
    ) -> None:
        self.root, self.paths = os.path.abspath(root), list(paths)[:limit]
        self.rows = len(self.paths)
        self.readers = readers
        if len(engine.inputs) != 1 or len(engine.inputs[0].dims) != 4:
            inputs = ", ".join(map(str, engine.inputs))
            raise NiwakiError(f"{engine.path} does not take pictures [N, C, H, W] but {inputs}.")
        (port,) = engine.inputs
        self.raw = port.dtype == np.uint8
        self.mean, self.std = tuple(config.mean or engine.mean), tuple(config.std or engine.std)
        if not self.raw and port.dtype != np.float32:
            raise NiwakiError(f"{engine.path} does not take pixels but {port}.")
        if not self.raw and not self.mean:
            raise NiwakiError(
                f"{engine.path} does not say how pixels become its input; give the mean and std that it was trained "
                "with (--mean 0.485,0.456,0.406 --std 0.229,0.224,0.225 for most networks for ImageNet)."
            )
        channels = port.dims[1] if isinstance(port.dims[1], int) else len(self.mean) or 3
        if len(self.mean) != len(self.std) or (not self.raw and len(self.mean) != channels):
            raise NiwakiError(
                f"mean and std need {channels} numbers each, one for each channel of {port}, not {len(self.mean)} and "
                f"{len(self.std)}."
            )
        if channels not in (1, 3):
            raise NiwakiError(f"{engine.path} takes images with {channels} channels; pictures have 1 or 3.")
        self.channels = channels
        self.size = _size(port.dims[2:], config.size, engine)
        self.resize = config.resize or usual_resize(self.size)
        if self.resize < max(self.size):
            raise NiwakiError(f"--resize {self.resize} is smaller than the crop of {max(self.size)}.")
        engine.check([(channels, *self.size)])

    @property
    def beside(self) -> list[tuple[str, pa.DataType]]:
        import pyarrow as pa

        return [("path", pa.string())]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "paths": []}

    def identity(self) -> str:
        digest = hashlib.sha256(repr((self.size, self.resize, self.mean, self.std)).encode())
        for path in self.paths:
            try:
                status = os.stat(os.path.join(self.root, path))
                digest.update(repr((path, status.st_size, status.st_mtime_ns)).encode())
            except OSError:
                digest.update(repr((path, "missing")).encode())
        return digest.hexdigest()

    def share(self, first: int, last: int) -> Share:
        return Share(first, last, tuple(self.paths[first:last]))

    def batches(self, share: Share, rows: int) -> Iterator[Batch]:
        import pyarrow as pa

        with ThreadPoolExecutor(self.readers) as pool:
            for first in range(0, len(share.paths), rows):
                paths = share.paths[first : first + rows]
                found = list(pool.map(self._read, paths))
                errors = {place: text for place, text in enumerate(found) if isinstance(text, str)}
                pixels = [each for each in found if not isinstance(each, str)]
                places = np.array([place for place in range(len(paths)) if place not in errors], np.int64)
                groups = [Group(places, [self._numbers(np.stack(pixels))])] if pixels else []
                text = pa.array([path.encode(errors="replace").decode() for path in paths], pa.string())
                yield Batch(share.first + first, len(paths), groups, errors, {"path": text})

    def _read(self, path: str) -> NDArray[np.uint8] | str:
        try:
            return read_picture(os.path.join(self.root, path), self.size, self.resize, self.channels)
        except ValueError as error:
            return f"{str(error)[:1].upper()}{str(error)[1:]}."

    def _numbers(self, pixels: NDArray[np.uint8]) -> NDArray[Any]:
        return pixels if self.raw else normalize(pixels, self.mean, self.std)


def _size(dims: Sequence[int | str | None], given: tuple[int, int] | None, engine: Engine) -> tuple[int, int]:
    fixed = tuple(dim for dim in dims if isinstance(dim, int))
    if len(fixed) == 2:
        if given is not None and given != fixed:
            raise NiwakiError(
                f"{engine.path} takes images of {fixed[0]} x {fixed[1]} only, not of {given[0]} x {given[1]}."
            )
        return fixed[0], fixed[1]
    if given is None:
        made = [dim if isinstance(dim, int) else engine.hints.get(str(dim), 0) for dim in dims]
        size = str(made[0]) if made[0] == made[1] else f"{made[0]}x{made[1]}"
        hint = f"--size {size} is what it was made with" if all(made) else "--size 224"
        raise NiwakiError(f"{engine.path} takes images of several sizes; say which ({hint}).")
    return given


def folder_paths(folder: Path) -> list[str]:
    """The pictures in a folder and below, in the order of their paths. Raises NiwakiError where there are none."""
    found = []
    for root, folders, files in os.walk(folder):
        folders.sort()
        inner = os.path.relpath(root, folder)
        found += [
            name if inner == "." else os.path.join(inner, name) for name in files if name.lower().endswith(SUFFIXES)
        ]
    if not found:
        raise NiwakiError(f"there are no images ({', '.join(SUFFIXES)}) in '{folder}' or below.")
    return sorted(found)


def listed_paths(file: Path) -> list[str]:
    """The paths in a text file, a line each. Raises NiwakiError where there are none, or it is no text."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise NiwakiError(f"'{file}' cannot be read as a list of paths: {error}.") from error
    found = [line.strip() for line in lines if line.strip()]
    if not found:
        raise NiwakiError(f"'{file}' names no images; write a path on each line.")
    return found
