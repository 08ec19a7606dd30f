"""What compression costs a vision transformer: timm's, trained here on the JPEG images of CIFAR-10.

    python bench/accuracy/vision_transformer.py --data FOLDER --weights vit.pt --epochs 6     # trains, then measures
    python bench/accuracy/vision_transformer.py --data FOLDER --weights vit.pt                # measures

2.7 million weights, 65 tokens of 192 in six blocks. An epoch of 50,000 images takes about six CPU minutes (bfloat16
where the CPU has it); training goes on where it was stopped, epoch by epoch. Calibration images are chosen by seed from
the training set, the 10,000 test images decide nothing (one is 0.01 points). The network runs as a user would run it:
compiled, from its file. "report" is what niwaki.compress said of the error of the logits, "error" the true one.
"""

from __future__ import annotations

import argparse
import io
import itertools
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from networks import MEAN, STD
from rows import Tests
from torch import nn
from torch.nn import functional as F

from niwaki._compat import import_torchvision
from niwaki.runs.progress import track

CHOSEN, BATCH, RATE = 512, 64, 1e-3
ROWS: dict[str, dict[str, Any]] = {
    "int8": {},
    "eighth": {"recipe": "transformer-eighth"},
    "tenth": {"recipe": "transformer-tenth"},
    "block4": {"sparsity": 0.5},
    "channels": {"channels": 0.25},
}


def build() -> nn.Module:
    """The network with weights drawn at random."""
    import_torchvision()
    from timm.models.vision_transformer import VisionTransformer

    return VisionTransformer(img_size=32, patch_size=4, embed_dim=192, depth=6, num_heads=3, num_classes=10)


def load_images(data: Path, part: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Normalized images of "train" or "test", float32 [N, 3, 32, 32], and their labels, int64 [N]."""
    from PIL import Image

    arrays = np.load(data / "cifar10_jpeg.npz")
    jpeg, offsets = arrays[f"{part}_jpeg"], arrays[f"{part}_offsets"]
    files = (jpeg[begin:end].tobytes() for begin, end in itertools.pairwise(offsets))
    pixels = torch.from_numpy(np.stack([np.asarray(Image.open(io.BytesIO(file)).convert("RGB")) for file in files]))
    mean, std = (torch.tensor(value).reshape(3, 1, 1) for value in (MEAN, STD))
    images = (pixels.permute(0, 3, 1, 2).float() / 255 - mean) / std
    return images.contiguous(), torch.from_numpy(arrays[f"{part}_labels"].astype(np.int64))


def versions(images: torch.Tensor, labels: torch.Tensor, seed: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """An epoch: batches in random order, each image moved by up to four pixels and perhaps mirrored."""
    generator = torch.Generator().manual_seed(seed)
    for chosen in torch.randperm(len(images), generator=generator).split(BATCH):
        padded = F.pad(images[chosen], (4, 4, 4, 4))
        moves = torch.randint(9, (len(chosen), 2), generator=generator).tolist()
        moved = torch.stack([image[:, y : y + 32, x : x + 32] for image, (y, x) in zip(padded, moves, strict=True)])
        mirrored = torch.rand(len(chosen), 1, 1, 1, generator=generator) < 0.5
        yield torch.where(mirrored, moved.flip(3), moved), labels[chosen]


def train(model: nn.Module, data: Path, weights: Path, epochs: int) -> None:
    """Trains with AdamW and one cycle of the rate; the state after each epoch lies beside the weights."""
    images, labels = load_images(data, "train")
    optimizer = torch.optim.AdamW(model.parameters(), RATE, weight_decay=0.05)
    steps = epochs * -(-len(images) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, steps, pct_start=0.2)
    state, begin = weights.with_suffix(".state"), 0
    if state.is_file():
        saved = torch.load(state, weights_only=True)
        begin = saved["epoch"]
        for part, name in ((model, "model"), (optimizer, "optimizer"), (schedule, "schedule")):
            part.load_state_dict(saved[name])
    model.train()
    for epoch in range(begin, epochs):
        for x, wanted in track(versions(images, labels, epoch), f"epoch {epoch + 1} of {epochs}"):
            with torch.autocast("cpu", torch.bfloat16):
                found = model(x)
            loss = F.cross_entropy(found.float(), wanted, label_smoothing=0.1)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        print(f"epoch {epoch + 1}: loss {float(loss):.3f}, {time.process_time():.0f} CPU seconds", flush=True)
        torch.save(
            {
                "epoch": epoch + 1,
                "model": model.state_dict(),
                "optimizer": optimizer.state_dict(),
                "schedule": schedule.state_dict(),
            },
            state,
        )
    torch.save(model.state_dict(), weights)


def main() -> None:
    """Prints the table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the folder with cifar10_jpeg.npz")
    parser.add_argument("--weights", type=Path, required=True, help="where they are, or where training puts them")
    parser.add_argument("--epochs", type=int, default=0, help="train for so many first")
    parser.add_argument("--rows", nargs="+", choices=tuple(ROWS), default=list(ROWS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="of the calibration images")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    model = build()
    if args.epochs > 0:
        train(model, args.data, args.weights, args.epochs)
    model.load_state_dict(torch.load(args.weights, weights_only=True))
    model.eval()

    images, _ = load_images(args.data, "train")
    tests = Tests(model, *load_images(args.data, "test"), args.threads)
    tests.begin()
    for row, seed in itertools.product(args.rows, args.seeds):
        chosen = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))[:CHOSEN]
        tests.row(row, seed, list(images[chosen].split(BATCH)), ROWS[row])


if __name__ == "__main__":
    main()
