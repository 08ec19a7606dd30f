"""What is compared: networks, settings, engines. Standard library only, as every engine's process imports it."""

from __future__ import annotations

import re
from dataclasses import dataclass

CASES = (
    "resnet50-dense",
    "resnet50-block50",
    "resnet50-block75",
    "resnet50-block85",
    "resnet50-free90",
    "resnet50-free95",
    "resnet18-dense",
    "resnet18-block85",
    "mobilenet_v2-dense",
    "mobilenet_v3_large-dense",
    "efficientnet_b0-dense",
    "resnext50_32x4d-dense",
    "deeplabv3_mobilenet_v3_large-dense",
    "unet-dense",
)

ENGINES = {
    "niwaki": "niwaki",
    "onnxruntime": "ONNX Runtime",
    "openvino": "OpenVINO",
    "deepsparse": "DeepSparse",
    "torch-int8": "torch int8",
    "torch-fp32": "torch float32",
}
"""The engines by their short names, in the order of the table's columns."""

GAIN_FROM_ZEROS = ("niwaki", "deepsparse")
"""Engines that skip zeros: beside a pruned network they run the dense one, too, so that the gain is measured in the
same rounds."""


@dataclass(frozen=True)
class Case:
    """A network and its zeros, written `<model>-<pattern><percent>`.

    Attributes:
        model: the name of a torchvision network that classifies images or their pixels, or "unet", bench/whole's own.
        block: how many consecutive input channels of one output at one tap are zero together: 4, 1, or 0 for dense.
        zeros: the share of blocks that are zero in every layer that is pruned, 0 to 1.
    """

    model: str
    block: int
    zeros: float

    @staticmethod
    def parse(name: str) -> Case:
        """Raises ValueError for what is no name of a case."""
        found = re.fullmatch(r"(\w+)-(?:(dense)|(block|free)([1-9]\d?))", name)
        if not found:
            raise ValueError(
                f"'{name}' is no case; write <model>-dense, <model>-block<percent> or <model>-free<percent>, "
                "for example resnet50-block85."
            )
        model, dense, pattern, percent = found.groups()
        return Case(model, 0, 0.0) if dense else Case(model, 4 if pattern == "block" else 1, int(percent) / 100)

    @property
    def dense_twin(self) -> str:
        """The name of the same network without zeros."""
        return f"{self.model}-dense"

    @property
    def title(self) -> str:
        """For people: "resnet50, 85 % of blocks"."""
        if not self.block:
            return f"{self.model}, dense"
        return f"{self.model}, {self.zeros:.0%}".replace("%", " % of ") + ("blocks" if self.block == 4 else "weights")


@dataclass(frozen=True)
class Setting:
    """How a network is run: `images` at a time on `threads` threads. Written "16x2"."""

    images: int
    threads: int

    @staticmethod
    def parse(text: str) -> Setting:
        """Raises ValueError for what is no setting."""
        found = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", text)
        if not found:
            raise ValueError(f"'{text}' is no setting; write <batch>x<threads>, for example 16x2.")
        return Setting(int(found[1]), int(found[2]))

    @property
    def calls(self) -> int:
        """That an engine is timed on in one turn: few where one takes long."""
        return 8 if self.images == 1 else 3


SETTINGS = (Setting(1, 1), Setting(1, 2), Setting(16, 2))
