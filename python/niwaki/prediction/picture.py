"""A picture as a network sees it: resized, cut out, and its pixels as numbers."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from niwaki.errors import first_sentence

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".ppm", ".tif", ".tiff")
"""What is taken for a picture in a folder."""


LARGEST = 1 << 26
"""Pixels that a picture may have after it was resized, before the cut: long strips would take gigabytes."""


def usual_resize(size: tuple[int, int]) -> int:
    """Length of the shorter side before the center crop, as networks for ImageNet have it."""
    return round(max(size) * 256 / 224)


def read_picture(
    path: str | os.PathLike[str] | IO[bytes], size: tuple[int, int], resize: int, channels: int
) -> NDArray[np.uint8]:
    """Pixels of a picture: the shorter side is resized (bilinear), then the center cut out.

    Of pixels of 16 bits the upper 8 are taken, of several frames the first; alpha is left out, and the orientation that
    a camera notes (EXIF) is not applied, as in torchvision's ImageFolder.

    Args:
        path: of the picture, of any kind that Pillow reads; or an open file.
        size: height and width of the result.
        resize: length of the shorter side before the cut.
        channels: 1 (grey) or 3 (RGB).

    Returns:
        uint8 [channels, height, width].

    Raises:
        ImportError: Pillow is missing.
        ValueError: the file is no picture, or a broken one; the message says why, without the path.
    """
    try:
        from PIL import Image
    except ImportError as error:
        raise ImportError("reading images needs Pillow; install it with: pip install 'niwaki[images]'") from error
    height, width = size
    try:
        with Image.open(path) as file:
            unclear = _unclear(file)
            image = file if unclear else _of_bytes(file).convert("L" if channels == 1 else "RGB")
    except FileNotFoundError:
        raise ValueError("there is no such file") from None
    except Exception as error:  # Pillow's readers raise OSError, SyntaxError, ValueError, struct.error and others
        raise ValueError(f"it is not a readable image ({first_sentence(error)})") from error
    if unclear:
        raise ValueError(f"its pixels are {unclear}, of which nobody knows what is white; save it with 8 or 16 bits")
    ratio = resize / min(image.size)
    wide, high = max(width, round(image.width * ratio)), max(height, round(image.height * ratio))
    if wide * high > LARGEST:
        raise ValueError(
            f"it is {image.width} x {image.height} pixels, too long for a shorter side of {resize}; cut it into parts"
        )
    image = image.resize((wide, high), Image.Resampling.BILINEAR)
    left, top = (image.width - width) // 2, (image.height - height) // 2
    pixels = np.asarray(image.crop((left, top, left + width, top + height)), dtype=np.uint8)
    return np.ascontiguousarray(pixels.reshape(height, width, -1).transpose(2, 0, 1))


_WHOLE = ("PNG", "PPM")
"""Formats whose pixels are of 16 bits where Pillow says "I", which else is 32."""


def _unclear(image: Any) -> str:
    """What the pixels of a picture are, where that does not tell which number is white; else nothing."""
    if image.mode == "I" and image.format not in _WHOLE:
        return "whole numbers of 32 bits"
    return "floating-point numbers" if image.mode == "F" else ""


def _of_bytes(image: Any) -> Any:
    """A picture that Pillow turns into bytes rightly. Those of 16 bits it would cut off at 255: nearly all white."""
    if image.mode != "I" and not image.mode.startswith("I;16"):
        return image
    from PIL import Image

    return Image.fromarray((np.asarray(image).astype(np.uint32) >> 8).astype(np.uint8))


def normalize(pixels: NDArray[np.uint8], mean: Sequence[float], std: Sequence[float]) -> NDArray[np.float32]:
    """uint8 [N, C, H, W] to float32: (pixel / 255 - mean) / std, each operation rounded by itself."""
    center, spread = (np.asarray(numbers, np.float32).reshape(1, -1, 1, 1) for numbers in (mean, std))
    values: NDArray[Any] = pixels.astype(np.float32)
    values /= np.float32(255)
    values -= center
    values /= spread
    return values
