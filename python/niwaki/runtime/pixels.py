"""Pixels as a network takes them: (pixel / 255 - mean) / std, to the bit as the C library has it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from niwaki.runtime.signature import InputInfo

_RANK = 4  # [N, C, H, W]


def pixels_expected(info: InputInfo, shape: Sequence[int]) -> bool:
    """Whether an array of uint8 of this shape may be the pixels of an input.

    Channels come before height and width, as the input's dims say. [N, H, W, C] is refused rather than guessed: three
    rows of pixels would look like three channels.

    Raises:
        TypeError: the input is float32 images, and nothing says how pixels become that.
        ValueError: its images have another rank, or another number of channels.
    """
    if info.dtype != "float32" or info.rank != _RANK:
        return False
    where = f"input '{info.name}'"
    if info.image is None:
        raise TypeError(
            f"{where}: float32 is expected, not uint8. If these are pixels, normalize them as in training, or save the "
            "network with the mean and std of its images: net.save(path, image=niwaki.ImageConfig(mean=..., std=...))."
        )
    channels = len(info.image.mean)
    if len(shape) == _RANK and shape[1] == channels:
        return True
    last = len(shape) == _RANK and shape[3] == channels
    remedy = ", and channels come before height and width: .transpose(0, 3, 1, 2) of numpy, .permute of torch"
    raise ValueError(
        f"{where}: pixels are expected as [N, {channels}, H, W], not as {list(shape)}{remedy if last else ''}."
    )


def to_float32(pixels: NDArray[np.uint8], info: InputInfo) -> NDArray[np.float32]:
    """uint8 [N, C, H, W] in any order in memory to float32, each operation rounded for itself."""
    assert info.image is not None
    mean, std = (np.asarray(numbers, np.float32).reshape(1, -1, 1, 1) for numbers in (info.image.mean, info.image.std))
    values: NDArray[Any] = pixels.astype(np.float32, order="C")
    values /= np.float32(255)
    values -= mean
    values /= std
    return values
