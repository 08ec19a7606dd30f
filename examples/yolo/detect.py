"""Finds things on a picture with a detector that compress.py wrote. It needs numpy and Pillow, and no torch:

    python examples/yolo/detect.py yolo11n.niwaki picture.jpg --threads 2

The network's answers are maps; what makes boxes of them stands here: `letterbox`, `decode` and `suppress`.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

import niwaki

GREY = 114  # what the detectors were trained to see around a picture
COARSEST = 32  # pixels of a cell of the coarsest map


class Found(NamedTuple):
    """A thing: left, top, right and bottom in the picture's pixels, its class, and how sure the network is, 0 to 1."""

    box: tuple[float, float, float, float]
    kind: int
    score: float


def letterbox(path: str | Path, size: int) -> tuple[NDArray[np.uint8], float, tuple[int, int]]:
    """A picture as the network takes it: shrunk or enlarged as a whole, with grey around it.

    Args:
        path: of the picture.
        size: of its longer side, a multiple of 32; the other is padded to one.

    Returns:
        uint8 [1, 3, H, W], pixels of it for one of the picture, and how many of it are left and above of the picture.
    """
    if size < COARSEST or size % COARSEST:
        raise ValueError(f"size has to be a multiple of {COARSEST}, not {size}.")
    picture = Image.open(path).convert("RGB")
    scale = size / max(picture.size)
    width, height = (max(1, round(side * scale)) for side in picture.size)
    pixels = np.asarray(picture.resize((width, height), Image.Resampling.BILINEAR))
    right, below = -width % COARSEST, -height % COARSEST
    left, above = right // 2, below // 2
    around = ((above, below - above), (left, right - left), (0, 0))
    padded = np.pad(pixels, around, constant_values=GREY).transpose(2, 0, 1)[None]
    return np.ascontiguousarray(padded), scale, (left, above)


def decode(maps: Mapping[str, NDArray[np.float32]]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Boxes and scores of all cells of all maps.

    A cell says how far the sides of its box are from its centre, in cells: left, top, right, bottom, each as scores of
    0, 1, 2, ... cells, of which the mean counts (Li et al., Generalized Focal Loss, 2020), or as a number.

    Args:
        maps: boxesS [N, 4 * steps, H, W] and scoresS [N, classes, H, W] for each stride S.

    Returns:
        Boxes [N, cells, 4] in the network's pixels, left, top, right, bottom; scores [N, cells, classes], 0 to 1.
    """
    boxes, scores = [], []
    for stride in sorted(int(name[len("boxes") :]) for name in maps if name.startswith("boxes")):
        sides = np.asarray(maps[f"boxes{stride}"])
        count, channels, height, width = sides.shape
        sides = sides.reshape(count, 4, channels // 4, height * width)
        if channels > 4:
            weights = np.exp(sides - sides.max(2, keepdims=True))
            steps = np.arange(channels // 4, dtype=np.float32)[:, None]
            sides = (weights * steps).sum(2, keepdims=True) / weights.sum(2, keepdims=True)
        left, top, right, bottom = sides[:, :, 0].transpose(1, 0, 2)
        y, x = (place.ravel() + np.float32(0.5) for place in np.mgrid[:height, :width].astype(np.float32))
        boxes.append(np.stack((x - left, y - top, x + right, y + bottom), axis=2) * np.float32(stride))
        logits = np.asarray(maps[f"scores{stride}"]).reshape(count, -1, height * width).transpose(0, 2, 1)
        scores.append(1 / (1 + np.exp(-np.clip(logits, -80, 80))))
    return np.concatenate(boxes, 1), np.concatenate(scores, 1)


def suppress(
    boxes: NDArray[np.float32], scores: NDArray[np.float32], kinds: NDArray[np.int64], overlap: float
) -> NDArray[np.int64]:
    """Which boxes stay: the surest first, and no other of its class that overlaps it by more.

    Args:
        boxes: [count, 4]. scores, kinds: [count].
        overlap: of two boxes, what they share over what they cover together; 1 keeps all.

    Returns:
        Indices, the surest first.
    """
    order, kept = np.argsort(-scores, kind="stable"), []
    area = np.prod(np.maximum(boxes[:, 2:] - boxes[:, :2], 0), axis=1)
    while len(order):
        best, rest = order[0], order[1:]
        kept.append(best)
        corner = np.minimum(boxes[best, 2:], boxes[rest, 2:]) - np.maximum(boxes[best, :2], boxes[rest, :2])
        shared = np.prod(np.maximum(corner, 0), axis=1)
        together = np.maximum(area[best] + area[rest] - shared, np.finfo(np.float32).tiny)
        order = rest[(shared <= overlap * together) | (kinds[rest] != kinds[best])]
    return np.array(kept, np.int64)


def detect(
    network: Any, path: str | Path, *, size: int = 640, sure: float = 0.25, overlap: float = 0.7, most: int = 300
) -> list[Found]:
    """What is on a picture, the surest first.

    Args:
        network: of a file that compress.py wrote.
        path: of the picture.
        size: as in `letterbox`.
        sure: what is less sure is left out.
        overlap: as in `suppress`.
        most: so many things at most.
    """
    pixels, scale, (left, above) = letterbox(path, size)
    boxes, scores = (found[0] for found in decode(network(pixels)))
    kinds, best = scores.argmax(1), scores.max(1)
    likely = best > sure
    boxes, kinds, best = boxes[likely], kinds[likely], best[likely]
    boxes = (boxes - np.array([left, above, left, above], np.float32)) / np.float32(scale)
    chosen = suppress(boxes, best, kinds, overlap)[:most]
    return [Found(tuple(boxes[i].tolist()), int(kinds[i]), float(best[i])) for i in chosen]


def main(argv: Sequence[str] | None = None) -> None:
    """Prints what is on a picture, a line each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", metavar="FILE", help="what compress.py wrote")
    parser.add_argument("picture", metavar="PICTURE")
    parser.add_argument("--size", type=int, default=640, help="longer side of the picture, a multiple of 32")
    parser.add_argument("--sure", type=float, default=0.25, help="0 to 1: what is less sure is left out")
    parser.add_argument("--overlap", type=float, default=0.7, help="0 to 1: what overlaps a surer one more is left out")
    parser.add_argument("--labels", type=Path, help="names of the classes, a line each")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args(argv)
    network = niwaki.load(args.file, threads=args.threads)
    labels = args.labels.read_text(encoding="utf-8").splitlines() if args.labels else None
    for box, kind, score in detect(network, args.picture, size=args.size, sure=args.sure, overlap=args.overlap):
        name = labels[kind] if labels else f"class {kind}"
        print(f"{name} {score:.2f} at {', '.join(f'{side:.0f}' for side in box)}")


if __name__ == "__main__":
    main()
