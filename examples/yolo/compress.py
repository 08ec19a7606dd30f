"""Writes a detector of ultralytics (YOLOv8, YOLO11, YOLO26) in int8 into a file, which detect.py runs without torch:

    pip install ultralytics
    python examples/yolo/compress.py yolo11n.pt --images pictures/ -o yolo11n.niwaki
    python examples/yolo/detect.py yolo11n.niwaki picture.jpg

MODEL is what ultralytics knows: a checkpoint, or a description (yolo11n.yaml), whose weights are seeded noise: good for
timing, and to see that all is native. Some hundred pictures like those that it is for do for --images; without, noise.

The file holds what comes before boxes are decoded: for each stride a map of the boxes' sides and one of the classes'
scores. What comes after (decoding, the choice among boxes that overlap) is a program of its own, detect.py.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

import niwaki

sys.path.insert(0, str(Path(__file__).parent))
from detect import letterbox


class Maps(nn.Module):
    """A detector of ultralytics up to its heads' last convolutions.

    Args:
        detector: an ultralytics DetectionModel whose last layer is a Detect.
    """

    def __init__(self, detector: nn.Module) -> None:
        super().__init__()
        *layers, head = detector.model
        self.layers, self.sources = nn.ModuleList(layers), list(head.f)
        # YOLO26 has a second pair of heads, which make one box for each thing.
        kind = "cv" if getattr(head, "one2one_cv2", None) is None else "one2one_cv"
        self.boxes, self.scores = getattr(head, f"{kind}2"), getattr(head, f"{kind}3")
        self.strides = [int(stride) for stride in head.stride]

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        """float32 [N, 3, H, W] in 0..1 -> boxes8, scores8, boxes16, ...: [N, channels, H / stride, W / stride]."""
        made: list[torch.Tensor] = []
        x: Any = images
        for layer in self.layers:
            if layer.f != -1:
                x = made[layer.f] if isinstance(layer.f, int) else [x if f == -1 else made[f] for f in layer.f]
            x = layer(x)
            made.append(x)
        found = {}
        for stride, source, boxes, scores in zip(self.strides, self.sources, self.boxes, self.scores, strict=True):
            found[f"boxes{stride}"] = boxes(made[source])
            found[f"scores{stride}"] = scores(made[source])
        return found


def detector_of(model: str, seed: int = 0) -> nn.Module:
    """What ultralytics makes of a name."""
    if model.endswith(".yaml"):
        from ultralytics.nn.tasks import DetectionModel

        torch.manual_seed(seed)
        detector = DetectionModel(model, verbose=False)
        for part in detector.modules():
            if isinstance(part, nn.BatchNorm2d):
                part.momentum = None  # the statistics of what comes now; else all that comes out is next to nothing
        with torch.no_grad():
            detector.train()(torch.rand(4, 3, 128, 128))
        return detector.eval()
    from ultralytics import YOLO

    return YOLO(model).model.float().eval()


def pictures_of(folder: Path | None, size: int, count: int) -> list[torch.Tensor]:
    """Batches of a picture each, float32 [1, 3, H, W] in 0..1; noise where there is no folder."""
    if folder is None:
        return list(torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(0)).split(1))
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in (".jpg", ".jpeg", ".png"))[:count]
    if not paths:
        raise SystemExit(f"there are no pictures (.jpg, .png) in '{folder}'.")
    return [torch.from_numpy(letterbox(path, size)[0]).float() / 255 for path in paths]


def main(argv: Sequence[str] | None = None) -> None:
    """Compresses a detector, and says what became of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", metavar="MODEL", help="yolo11n.pt, yolo11n.yaml, ...")
    parser.add_argument("--images", type=Path, metavar="FOLDER", help="pictures to calibrate on (default: noise)")
    parser.add_argument("--count", type=int, default=128, help="of the pictures that are used")
    parser.add_argument("--size", type=int, default=640, help="longer side of the pictures, a multiple of 32")
    parser.add_argument("-o", "--output", default="yolo.niwaki", help="the file to write")
    args = parser.parse_args(argv)
    maps = Maps(detector_of(args.model)).eval()
    images = pictures_of(args.images, args.size, args.count)
    # Noise for weights makes much of every error, so that layers would stay float32 which are int8 in trained networks.
    precision = "int8" if args.model.endswith(".yaml") else "auto"
    small, report = niwaki.compress(maps, images, precision=precision)
    print(report)
    network = niwaki.compile(small, (images[0],))
    network.save(args.output, image=niwaki.ImageConfig(mean=(0, 0, 0), std=(1, 1, 1)))  # so it takes pixels as bytes
    print(f"{args.output}: {Path(args.output).stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
