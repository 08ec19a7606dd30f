"""Makes a network for pictures small with a few hundred pictures of yours: zeros or few bits first, then training in
which it learns to answer as it did before. In one process or several:

    python examples/training/distill.py --network timm:tf_efficientnet_lite0 --train train/ --test val/ \\
        --sparsity 0.5 --features blocks.5 blocks.6 classifier --keep "conv_stem.*" "blocks.[0-2].*" -o net.niwaki
    python examples/training/distill.py --network net.py:make --train train/ --test val/ --sparsity 0 --bits 4
    torchrun --nproc-per-node 2 examples/training/distill.py ...

--network is a name of timm, with its weights, or a function in a file of yours that returns the trained network.
--train and --test are folders with a folder of pictures for each class; names that are numbers are the class's place
among the network's answers, other names count in the order of the alphabet. Labels are for the accuracy alone: the
network as it was says what is right, so there is something to learn from any version of a picture, too: random parts,
mirrored, mixed with others.
What it brings, and when it is worth the time: docs/compression.md.
"""

from __future__ import annotations

import argparse
import fnmatch
import importlib
import importlib.util
import math
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import distributed, nn
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

import niwaki

SUFFIXES = {".bmp", ".jpeg", ".jpg", ".png", ".webp"}


@dataclass(frozen=True)
class Options:
    """How a network is made small.

    Attributes:
        sparsity: share of the weights that become zero, in blocks of four; 0 for none.
        bits: of the weights.
        steps: of the optimizer, each of `batch` pictures, over all processes together.
        rate: how far a step moves a weight, at most, in shares of the typical weight of its layer.
        features: names of inner modules whose outputs are to stay what they were; they say more of a picture than its
            answer does, which counts where pictures are few.
        feature_weight: what they count beside the answers. Answers of few pictures are learned by heart.
        keep: names or patterns of layers that stay as they are, neither pruned nor trained: the first ones of most
            networks have next to no weights, and what they cost is lost to all others.
        crop: height and width of the versions that are trained on; 0 for those of the pictures. 160 instead of 224
            takes half the time.
        seed: of all that is random.
        checkpoint: a folder that keeps layers that second order has pruned, so that the next run begins with training.
    """

    sparsity: float = 0.75
    bits: int = 8
    steps: int = 400
    batch: int = 32
    rate: float = 1e-3
    features: tuple[str, ...] = ()
    feature_weight: float = 100.0
    keep: tuple[str, ...] = ()
    crop: int = 0
    seed: int = 0
    checkpoint: Path | None = None


def read_pictures(folder: Path, size: int, mean: float, std: float) -> tuple[torch.Tensor, torch.Tensor]:
    """All pictures of a folder, float32 [N, 3, size, size], and their labels, int64 [N].

    The short side becomes size * 8 / 7 and the middle is taken, as is usual on ImageNet; from the pixels, 0 to 255,
    the mean is taken away, and the rest is divided by std.
    """
    from PIL import Image

    classes = sorted(entry for entry in folder.iterdir() if entry.is_dir())
    numbered = all(entry.name.isdecimal() for entry in classes)
    pictures, labels = [], []
    for index, entry in enumerate(classes):
        for path in sorted(path for path in entry.iterdir() if path.suffix.lower() in SUFFIXES):
            image = Image.open(path).convert("RGB")
            ratio = size * 8 / 7 / min(image.size)
            image = image.resize([max(size, round(side * ratio)) for side in image.size], Image.Resampling.BICUBIC)
            left, top = ((side - size) // 2 for side in image.size)
            pixels = np.asarray(image.crop((left, top, left + size, top + size)))
            pictures.append(torch.from_numpy(pixels.copy()).permute(2, 0, 1))
            labels.append(int(entry.name) if numbered else index)
    if not pictures:
        raise SystemExit(f"{folder}: there is no picture in the folders of this folder ({', '.join(sorted(SUFFIXES))})")
    return (torch.stack(pictures).float() - mean) / std, torch.tensor(labels)


class Versions:
    """Batches of random versions of pictures, without end: no version comes twice.

    Each is a part of a picture at about its own scale, half of them mirrored; half of them are mixed with another one
    of the batch (Zhang et al., 2018). Under torch.distributed, each process takes its part of every batch.

    Args:
        pictures: float32 [N, 3, H, W].
        batch: pictures of a batch, of all processes together.
        size: height and width of a version.
        seed: of the choice, the same in all processes.
    """

    def __init__(self, pictures: torch.Tensor, batch: int, size: tuple[int, int], seed: int) -> None:
        self._pictures, self._batch, self._size = pictures, min(batch, len(pictures)), size
        self._rank, self._processes = _place()
        self._order = torch.Generator().manual_seed(seed)
        self._own = torch.Generator().manual_seed(seed + 1000 * (1 + self._rank))

    def __iter__(self) -> Iterator[torch.Tensor]:
        while True:
            order = torch.randperm(len(self._pictures), generator=self._order)
            for chosen in order[: len(order) // self._batch * self._batch].split(self._batch):
                mine = chosen[self._rank :: self._processes]
                yield vary(self._pictures[mine], self._size, self._own)


def vary(x: torch.Tensor, size: tuple[int, int], generator: torch.Generator) -> torch.Tensor:
    """A random version of each picture of [N, C, H, W], float32 [N, C, *size].

    A version of the same size is a part of 25 to 100 % of the area; of a smaller one, parts are such that they are
    enlarged by 1.25 or shrunk to 0.75 at most: networks know things at the scale that they were trained on.
    """
    count = len(x)
    own = size[0] * size[1] / (x.shape[2] * x.shape[3])
    least, most = (own / 1.25**2, min(1.0, own / 0.75**2)) if own < 1 else (0.25, 1.0)

    def uniform(low: float, high: float) -> torch.Tensor:
        return torch.rand(count, generator=generator) * (high - low) + low

    area, ratio = uniform(least, most), uniform(-math.log(4 / 3), math.log(4 / 3)).exp()
    width, height = (area * ratio).sqrt().clamp_max(1), (area / ratio).sqrt().clamp_max(1)
    theta = torch.zeros(count, 2, 3)
    theta[:, 0, 0] = torch.where(uniform(0, 1) < 0.5, -width, width)
    theta[:, 1, 1] = height
    theta[:, 0, 2], theta[:, 1, 2] = uniform(-1, 1) * (1 - width), uniform(-1, 1) * (1 - height)
    grid = F.affine_grid(theta, [count, 3, *size], align_corners=False)
    parts = F.grid_sample(x, grid, padding_mode="reflection", align_corners=False)
    share = torch.where(uniform(0, 1) < 0.5, uniform(0.5, 1), torch.ones(count))[:, None, None, None]
    return (share * parts + (1 - share) * parts.roll(1, 0)).contiguous(memory_format=torch.channels_last)


def groups_of(network: nn.Module, rate: float) -> list[dict[str, Any]]:
    """Parameters for an optimizer, each with a rate that fits the size of its values.

    With batch norms folded, weights of one layer may be a hundred times those of another, and Adam moves all alike.
    """
    groups = []
    for parameter in network.parameters():
        if not parameter.requires_grad:
            continue
        kept = parameter.detach()[parameter.detach() != 0]
        size = float(kept.square().mean().sqrt()) if len(kept) else 0.0
        groups.append({"params": [parameter], "lr": 0.0, "highest": rate * max(size, 1e-4)})
    return groups


def make_small(model: nn.Module, pictures: torch.Tensor, options: Options) -> nn.Module:
    """Prunes and rounds a trained network, and trains what is left on the answers that it gave.

    Args:
        model: trained, in eval mode.
        pictures: float32 [N, 3, H, W], without labels.
        options: see there.

    Returns:
        The network for niwaki.compile.
    """
    prune = None
    if options.sparsity:
        prune = niwaki.PruneConfig(options.sparsity, importance="second_order", skip=options.keep)
    few = options.bits < 8
    # Rounding to 8 bits costs next to nothing afterwards; rounding to fewer has to be there while it trains.
    quantize = niwaki.QuantizeConfig(weight_bits=options.bits) if few or prune is None else None
    config = niwaki.FinetuneConfig(learning_rate=1.0, prune_share=0.0, quantize_share=1.0, learned_steps=few)
    joint = niwaki.JointTraining(
        model, pictures.split(16), prune=prune, quantize=quantize, steps=options.steps, config=config,
        checkpoint=options.checkpoint if prune is not None else None,
    )  # fmt: skip
    teacher = niwaki.optimize(model, args=(pictures[:1],)).to(memory_format=torch.channels_last)
    for phase in joint:
        train(phase, teacher, pictures, options)
    return joint.result if quantize is not None else niwaki.compress(joint.result, pictures.split(16))[0]


def train(phase: Any, teacher: nn.Module, pictures: torch.Tensor, options: Options) -> None:
    """Trains a network on what a teacher makes of versions of pictures."""
    student = phase.network.to(memory_format=torch.channels_last)  # a third faster to train
    for name, module in student.named_modules():
        if any(fnmatch.fnmatchcase(name, pattern) for pattern in options.keep):
            module.requires_grad_(False)
    criterion = niwaki.DistillationLoss(
        teacher, temperature=2.0, weight=1.0, features=options.features, feature_weight=options.feature_weight,
        student=student,
    )  # fmt: skip
    network = DistributedDataParallel(student) if distributed.is_initialized() else student
    optimizer = torch.optim.Adam(groups_of(student, options.rate), betas=(0.9, 0.99))
    schedule = niwaki.FinetuneConfig(learning_rate=1.0)  # of shares of a group's highest rate
    size = (options.crop, options.crop) if options.crop else tuple(pictures.shape[2:])
    versions = Versions(pictures, options.batch, size, options.seed)
    begin = time.perf_counter()
    for step, x in enumerate(islice(versions, phase.steps)):
        for group in optimizer.param_groups:
            group["lr"] = group["highest"] * schedule.rate(step, phase.steps)
        optimizer.zero_grad()
        loss = criterion(network(x), x)
        loss.backward()
        optimizer.step()
        phase.step()
        if _place()[0] == 0 and (step + 1) % max(1, phase.steps // 10) == 0:
            seconds = (time.perf_counter() - begin) / (step + 1)
            print(f"step {step + 1} of {phase.steps}, {seconds:.2f} s each: loss {loss.item():.3f}", flush=True)
    criterion.close()


def answers(network: Any, pictures: torch.Tensor) -> torch.Tensor:
    """Logits, float32 [N, classes]."""
    with torch.no_grad():
        return torch.cat([network(part) for part in pictures.split(16)])


def load_network(source: str) -> nn.Module:
    """A trained network, from timm or from a function in a file."""
    name, _, rest = source.rpartition(":")
    if name == "timm":
        import timm

        return timm.create_model(rest, pretrained=True).eval()
    spec = importlib.util.spec_from_file_location(Path(name).stem, name)
    if spec is None or spec.loader is None:
        raise SystemExit(f"--network: '{source}' is neither timm:NAME nor FILE.py:FUNCTION")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return getattr(module, rest)().eval()


def _place() -> tuple[int, int]:
    """The number of this process, and how many there are."""
    if not distributed.is_initialized():
        return 0, 1
    return distributed.get_rank(), distributed.get_world_size()


def main() -> None:
    """Compresses, and says what became of the answers."""
    usual = Options()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", required=True, help="timm:NAME, or FILE.py:FUNCTION")
    parser.add_argument("--train", type=Path, required=True, help="a folder with a folder of pictures for each class")
    parser.add_argument("--test", type=Path, required=True, help="the same, of pictures that decide nothing")
    parser.add_argument("--size", type=int, default=224, help="height and width of a picture (default: 224)")
    parser.add_argument("--mean", type=float, default=127.0, help="of the pixels, 0 to 255 (default: 127)")
    parser.add_argument("--std", type=float, default=128.0, help="of the pixels (default: 128)")
    parser.add_argument("--sparsity", type=float, default=usual.sparsity, help="share of zeros (default: 0.75)")
    parser.add_argument("--bits", type=int, default=usual.bits, help="of the weights (default: 8)")
    parser.add_argument("--steps", type=int, default=usual.steps, help="of the optimizer (default: 400)")
    parser.add_argument("--batch", type=int, default=usual.batch, help="pictures of a step (default: 32)")
    parser.add_argument("--rate", type=float, default=usual.rate, help="of a weight's size a step (default: 0.001)")
    parser.add_argument("--features", nargs="*", default=[], help="inner modules whose outputs are compared, too")
    parser.add_argument("--feature-weight", type=float, default=usual.feature_weight, help="what these count")
    parser.add_argument("--keep", nargs="*", default=[], help="layers that are neither pruned nor trained")
    parser.add_argument("--crop", type=int, default=usual.crop, help="size to train at (default: that of the pictures)")
    parser.add_argument("--seed", type=int, default=usual.seed)
    parser.add_argument("--checkpoint", type=Path, help="a folder that keeps what second order has pruned")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("-o", "--output", default="small.niwaki", help="the file to write (default: small.niwaki)")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    if "RANK" in os.environ:  # started by torchrun
        distributed.init_process_group("gloo")
    model = load_network(args.network)
    pictures, _ = read_pictures(args.train, args.size, args.mean, args.std)
    options = Options(
        args.sparsity,
        args.bits,
        args.steps,
        args.batch,
        args.rate,
        tuple(args.features),
        args.feature_weight,
        tuple(args.keep),
        args.crop,
        args.seed,
        args.checkpoint,
    )
    small = make_small(model, pictures, options)
    if _place()[0] == 0:
        test, labels = read_pictures(args.test, args.size, args.mean, args.std)
        niwaki.compile(small, (test[:1],)).save(args.output)
        wanted, found = answers(model, test), answers(niwaki.load(args.output, threads=args.threads), test)
        right = [100 * float((logits.argmax(1) == labels).float().mean()) for logits in (wanted, found)]
        same = 100 * float((wanted.argmax(1) == found.argmax(1)).float().mean())
        floats = sum(4 * parameter.numel() for parameter in model.parameters())
        print(
            f"float32 {right[0]:.2f} %, {args.output} {right[1]:.2f} %; {same:.1f} % the same answers; "
            f"{os.path.getsize(args.output):,} bytes of {floats:,}"
        )
    if distributed.is_initialized():
        distributed.destroy_process_group()


if __name__ == "__main__":
    main()
