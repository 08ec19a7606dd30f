"""What a file says about uint8 images, for those who hand a network pixels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from niwaki import _core
from niwaki.errors import NiwakiError


@dataclass(frozen=True, kw_only=True)
class ImageConfig:
    """How pixels become the network's input: (pixel / 255 - mean) / std, channel by channel.

    Attributes:
        mean, std: of each channel, for pixels in 0..1; std above 0.

    Raises:
        ValueError: they have different lengths, are empty, or hold something else than such numbers.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        numbers = (tuple(float(value) for value in self.mean), tuple(float(value) for value in self.std))
        if len(numbers[0]) != len(numbers[1]) or not numbers[0]:
            raise ValueError(
                "ImageConfig: mean and std need a number for each channel each, "
                f"not {len(numbers[0])} and {len(numbers[1])}."
            )
        if not all(abs(value) < 1e6 for value in numbers[0]) or not all(1e-6 < value < 1e6 for value in numbers[1]):
            raise ValueError(f"ImageConfig: mean has to be finite and std above 0, not {self.mean} and {self.std}.")
        object.__setattr__(self, "mean", numbers[0])
        object.__setattr__(self, "std", numbers[1])

    def __str__(self) -> str:
        mean, std = (", ".join(format(value, ".6g") for value in values) for values in (self.mean, self.std))
        return f"mean {mean}; std {std}"

    def fits(self, graph: _core.Graph) -> bool:
        """Whether an input of the graph is an image with so many channels."""
        images = [port["dims"] for port in graph.input_ports if port["dtype"] == "float32" and len(port["dims"]) == 4]
        return len(self.mean) in [dims[1] for dims in images]

    def metadata(self, graph: _core.Graph) -> dict[str, str]:
        """The entries of a file's metadata (docs/file-format.md).

        Raises:
            ValueError: no input of the graph is an image with so many channels.
        """
        if not self.fits(graph):
            raise ValueError(
                f"ImageConfig: mean and std are for {len(self.mean)} channels; the network has no input "
                f"[N, {len(self.mean)}, H, W]."
            )
        texts = (",".join(format(value, ".9g") for value in values) for values in (self.mean, self.std))
        return dict(zip(("image.mean", "image.std"), texts, strict=True))


def image_of(metadata: Mapping[str, str]) -> ImageConfig | None:
    """What a file's metadata says of images, as the C library reads it; None where it says nothing.

    Raises:
        NiwakiError: it has one of mean and std only, or they are no numbers for as many channels.
    """
    found = _core.image_words(dict(metadata))
    if found is None:
        return None
    mean, std = (tuple(map(_shortest, numbers)) for numbers in found)
    try:
        return ImageConfig(mean=mean, std=std)
    except ValueError as error:
        raise NiwakiError(f"The file's image.mean and image.std are no such numbers ({error}) Save it again.") from None


def _shortest(number: float) -> float:
    """0.485 for the float32 nearest to it, which as a float64 is 0.48500001430511475."""
    return float(str(np.float32(number)))
