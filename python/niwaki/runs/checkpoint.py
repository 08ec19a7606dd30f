"""What a long run has done, in a folder, so that an interrupted run goes on where it stopped."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from pathlib import Path
from typing import Any

import torch
from torch import distributed, nn

Folder = str | os.PathLike[str]


class Checkpoint:
    """A folder with one file for each part that is done. A file is there in full or not at all.

    Args:
        folder: is made, if it is absent.
        model: the network as it is before the run.
        options: of the run, dataclasses and plain values. Functions in them do not count: they have no lasting name.
        what: is called, for messages.

    Raises:
        ValueError: the folder holds another run, or is a file.
    """

    def __init__(self, folder: Folder, model: nn.Module, *options: Any, what: str = "niwaki.prune") -> None:
        self._folder = check_folder(folder, what)
        digest = _digest(model, options)
        known = self.load("run")
        if known is not None and known["digest"] != digest:
            raise ValueError(
                f"{what}: checkpoint '{folder}' holds a run of another network or with other options; "
                "give another folder, or delete this one."
            )
        if known is None:
            self.save("run", {"digest": digest})

    def load(self, name: str) -> dict[str, Any] | None:
        """What was saved under a name, or None."""
        path = self._path(name)
        return torch.load(path, weights_only=True) if path.exists() else None

    def save(self, name: str, state: dict[str, Any]) -> None:
        """Saves tensors, numbers and words under a name."""
        save_state(state, self._path(name))

    def part(self, name: str) -> Path:
        """A folder in this one, for a step that has a checkpoint of its own."""
        return self._folder / name

    def _path(self, name: str) -> Path:
        # A layer's name may be empty, or hold what a file's name cannot.
        return self._folder / f"{hashlib.sha256(name.encode()).hexdigest()[:24]}.pt"


def check_folder(folder: Folder, what: str) -> Path:
    """The folder of a checkpoint, made where it is absent.

    Raises:
        ValueError: it is a file.
    """
    path = Path(folder)
    if path.exists() and not path.is_dir():
        raise ValueError(f"{what}: checkpoint '{folder}' is a file; give the name of a folder.")
    path.mkdir(parents=True, exist_ok=True)
    return path


def save_state(state: dict[str, Any], path: Path) -> None:
    """torch.save, by rename: whatever interrupts it, what was there before or the whole of the new is there.

    Processes of torch.distributed may save the same at once: each writes a file of its own.
    """
    rank = distributed.get_rank() if distributed.is_available() and distributed.is_initialized() else 0
    part = path.with_suffix(f".{rank}.part")
    torch.save(state, part)
    os.replace(part, path)


def digest_of(*values: Any) -> str:
    """A short name for options: the same for the same values, in every process."""
    return hashlib.sha256(repr([_plain(value) for value in values]).encode()).hexdigest()[:16]


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
        return type(value).__name__, fields
    if callable(value):
        return "function"
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    return value


def _digest(model: nn.Module, options: tuple[Any, ...]) -> str:
    found = hashlib.sha256(digest_of(*options).encode())
    for name, tensor in model.state_dict().items():
        found.update(name.encode())
        if isinstance(tensor, torch.Tensor):
            found.update(tensor.detach().contiguous().numpy().tobytes())
    return found.hexdigest()
