"""Rows of a table: a classifier compressed, and tested as a user would run it: compiled, from its file."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accuracy import answers, error
from torch import nn

import niwaki


@dataclass
class Tests:
    """A float32 classifier and the inputs that test it.

    Attributes:
        model: in eval mode.
        inputs, labels: float32 [N, ...], int64 [N]. They decide nothing.
        threads: that networks run on.
    """

    model: nn.Module
    inputs: torch.Tensor
    labels: torch.Tensor
    threads: int

    def __post_init__(self) -> None:
        self.wanted = answers(self.model, self.inputs)
        self.bytes = 4 * sum(parameter.numel() for parameter in self.model.parameters())

    def top1(self, found: torch.Tensor) -> float:
        """Percent."""
        return 100 * float((found.argmax(1) == self.labels).float().mean())

    def begin(self) -> None:
        """Prints what the table begins with."""
        header = (
            "row", "seed", "zeros", "file / float32", "top-1", "drop", "same answers", "report", "error", "CPU s",
            "warnings",
        )  # fmt: skip
        print(f"float32: {self.top1(self.wanted):.2f} %\n")
        print("| " + " | ".join(header) + " |\n" + "|---" * len(header) + "|")

    def row(self, name: str, seed: int, calibration: list[torch.Tensor], options: Mapping[str, Any]) -> None:
        """Compresses with options, and prints a row; "report" is the error that niwaki.compress told.

        The option "channels" is a share of whole channels and heads to cut out first. That makes another network, and
        the report's error is then that of int8 alone.
        """
        begin = time.process_time()
        model, rest = self.model, dict(options)
        if "channels" in rest:
            model = niwaki.prune(model, sparsity=rest.pop("channels"), pattern="channels", calibration=calibration)
        small, report = niwaki.compress(model, calibration, **rest)
        seconds = time.process_time() - begin
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "net.niwaki"
            niwaki.compile(small, (self.inputs[:1],), threads=self.threads).save(path)
            size = path.stat().st_size
            found = answers(niwaki.load(path, threads=self.threads), self.inputs)
        top1 = self.top1(found)
        same = float((found.argmax(1) == self.wanted.argmax(1)).float().mean())
        said = report.network.output_error
        cells = (
            name, seed, f"{report.zeros:.1%}", f"1/{self.bytes / size:.1f}", f"{top1:.2f}",
            f"{self.top1(self.wanted) - top1:+.2f}", f"{same:.1%}", "" if said is None else f"{said:.3f}",
            f"{error(found, self.wanted):.3f}", f"{seconds:.0f}", len(report.network.warnings),
        )  # fmt: skip
        print("| " + " | ".join(map(str, cells)) + " |", flush=True)
