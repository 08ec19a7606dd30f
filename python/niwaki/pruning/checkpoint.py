"""Layers that a long run has done, in a folder, so that an interrupted run goes on where it stopped."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import torch
from torch import nn

from niwaki.pruning.config import PruneConfig


class Checkpoint:
    """A folder with one file for each layer that is done. A file is there in full or not at all.

    Args:
        folder: is made, if it is absent.
        model: the network before it is pruned.
        config: of the run.

    Raises:
        ValueError: the folder holds another run, or a file instead of a folder.
    """

    def __init__(self, folder: str | os.PathLike[str], model: nn.Module, config: PruneConfig) -> None:
        self._folder = Path(folder)
        if self._folder.exists() and not self._folder.is_dir():
            raise ValueError(f"niwaki.prune: checkpoint '{folder}' is a file; give the name of a folder.")
        self._folder.mkdir(parents=True, exist_ok=True)
        digest = _digest(model, config)
        known = self.load("run")
        if known is not None and known["digest"] != digest:
            raise ValueError(
                f"niwaki.prune: checkpoint '{folder}' holds a run of another network or with other options; "
                "give another folder, or delete this one."
            )
        self.save("run", {"digest": digest})

    def load(self, name: str) -> dict[str, Any] | None:
        """What was saved under a name, or None."""
        path = self._path(name)
        return torch.load(path, weights_only=True) if path.exists() else None

    def save(self, name: str, state: dict[str, Any]) -> None:
        """Saves tensors and numbers under a name."""
        path = self._path(name)
        part = path.with_suffix(".part")
        torch.save(state, part)
        os.replace(part, path)

    def _path(self, name: str) -> Path:
        # A layer's name may be empty, or hold what a file's name cannot.
        return self._folder / f"{hashlib.sha256(name.encode()).hexdigest()[:24]}.pt"


def _digest(model: nn.Module, config: PruneConfig) -> str:
    found = hashlib.sha256(repr(config).encode())
    for name, tensor in model.state_dict().items():
        found.update(name.encode())
        found.update(tensor.detach().contiguous().numpy().tobytes())
    return found.hexdigest()
