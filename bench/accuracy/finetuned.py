"""What fine-tuning brings back: ResNets for CIFAR-10, pruned, quantized and trained, for docs/accuracy.md.

    python bench/accuracy/finetuned.py --data FOLDER --method block4 --checkpoint FOLDER

Trains on the lossless training images alone (shifted and mirrored), with the float32 network as the teacher; tests the
file that comes out, on the lossless test images. An interrupted run goes on from its checkpoint. The seconds are those
of the CPU, all threads together: 3,600 are half an hour of two cores.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from accuracy import answers
from networks import DEPTHS, load_images, load_labels, load_network

import niwaki
from niwaki.training import FinetuneConfig, JointTraining
from niwaki.training.loop import distillation, train

METHODS: dict[str, dict[str, Any]] = {
    "int8": {"quantize": niwaki.QuantizeConfig()},
    "block4": {
        "prune": niwaki.PruneConfig(0.75, scope="global", importance="second_order"),
        "quantize": niwaki.QuantizeConfig(),
    },
    "bits4": {
        "prune": niwaki.PruneConfig(0.6, scope="global", importance="second_order"),
        "quantize": niwaki.QuantizeConfig(weight_bits=4),
    },
    "codebook": {
        "prune": niwaki.PruneConfig(0.5, scope="global", importance="second_order"),
        "quantize": niwaki.QuantizeConfig(codebook="kmeans", codebook_entries=16),
    },
}
WORDS = {
    "int8": "int8",
    "block4": "int8, 75 % block4, second order",
    "bits4": "4 bits, 60 % block4, second order",
    "codebook": "codebook of 16, 50 % block4, second order",
}


class Shuffled:
    """Batches of the images in a new order in each walk, mirrored and shifted by up to four pixels."""

    def __init__(self, images: torch.Tensor, labels: torch.Tensor, batch: int, seed: int) -> None:
        self._images, self._labels, self._batch = images, labels, batch
        self._generator = torch.Generator().manual_seed(seed)

    def __len__(self) -> int:
        return len(self._images) // self._batch

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        order = torch.randperm(len(self._images), generator=self._generator)
        for chosen in order[: len(self) * self._batch].split(self._batch):
            yield self._moved(self._images[chosen]), self._labels[chosen]

    def _moved(self, x: torch.Tensor) -> torch.Tensor:
        count, _, height, width = x.shape
        padded = torch.nn.functional.pad(x, (4, 4, 4, 4))
        top, left = torch.randint(9, (2, count), generator=self._generator)
        rows = top[:, None, None] + torch.arange(height)[None, :, None]
        columns = left[:, None, None] + torch.arange(width)[None, None, :]
        flipped = torch.rand(count, generator=self._generator) < 0.5
        columns = torch.where(flipped[:, None, None], columns.flip(2), columns)
        picked = padded.permute(0, 2, 3, 1)[torch.arange(count)[:, None, None], rows, columns]
        return picked.permute(0, 3, 1, 2)  # channels last: a sixth faster to train


def measure(args: Any, seed: int) -> None:
    """One run: prints a row of a table in Markdown."""
    torch.manual_seed(seed)
    images, labels = load_images(args.data), load_labels(args.data)
    model = load_network(args.network, args.data).to(memory_format=torch.channels_last)
    wanted = answers(model, images.test)
    config = FinetuneConfig(
        epochs=args.epochs, batch=args.batch, learning_rate=args.rate, quantize_share=args.quantize_share
    )
    chosen = torch.randperm(len(images.train), generator=torch.Generator().manual_seed(seed))[: args.images]
    folder = args.checkpoint / f"{args.network}-{args.method}-{seed}" if args.checkpoint else None
    data = Shuffled(images.train, labels, config.batch, seed)
    begin = time.process_time()
    joint = JointTraining(
        model, images.train[chosen].split(64), **METHODS[args.method], steps=config.epochs * len(data), config=config,
        checkpoint=folder / "pruning" if folder else None,
    )  # fmt: skip
    small = train(joint, data, config, distillation(model, config), checkpoint=folder)
    seconds = time.process_time() - begin
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "net.niwaki"
        niwaki.compile(small, (images.test[:1],)).save(path)
        size = path.stat().st_size
        found = answers(niwaki.load(path), images.test)
    top1, before = (float((x.argmax(1) == images.labels).float().mean()) for x in (found, wanted))
    same = float((found.argmax(1) == wanted.argmax(1)).float().mean())
    floats = 4 * sum(parameter.numel() for parameter in model.parameters())
    row = (
        args.network, WORDS[args.method], str(args.epochs), f"1/{floats / size:.1f}", f"{top1:.2%}",
        f"{100 * (before - top1):+.2f}", f"{same:.1%}", f"{seconds:.0f}",
    )  # fmt: skip
    print("| " + " | ".join(row) + " |", flush=True)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the folder with cifar10_lossless.npz and the weights")
    parser.add_argument("--network", choices=tuple(DEPTHS), default="resnet56")
    parser.add_argument("--method", choices=tuple(METHODS), default="block4")
    parser.add_argument("--epochs", type=int, default=4, help="walks through the training images (default: 4)")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rate", type=float, default=1e-4, help="the highest learning rate (default: 1e-4)")
    parser.add_argument("--quantize-share", type=float, default=0.25, help="part of the steps with fake quantization")
    parser.add_argument("--images", type=int, default=512, help="to prune and calibrate on (default: 512)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="a row for each (default: 0)")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--checkpoint", type=Path, help="a folder that keeps what is done")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    header = ("network", "method", "epochs", "file / float32", "top-1", "drop", "agreement", "CPU seconds")
    print("| " + " | ".join(header) + " |\n" + "|---" * len(header) + "|")
    for seed in args.seeds:
        measure(args, seed)


if __name__ == "__main__":
    main()
