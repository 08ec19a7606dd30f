"""A training loop of one's own with a recipe: prune, train, train in int8, write the file. In one process or several:

    python examples/training/finetune.py --recipe examples/training/digits.yaml -o digits.niwaki
    torchrun --nproc-per-node 2 examples/training/finetune.py --recipe examples/training/digits.yaml -o digits.niwaki

The network and the images are those of handwritten digits that come with scikit-learn; put yours in their place. Each
process trains on a part of the images; niwaki keeps zeros, scales and ranges the same in all of them.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from itertools import islice

import torch
from sklearn.datasets import load_digits
from torch import distributed, nn
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, TensorDataset
from torch.utils.data.distributed import DistributedSampler

import niwaki


def make_network() -> nn.Module:
    """A small convolutional network for images of 8 x 8 pixels."""
    return nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(),
        nn.Conv2d(32, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(64, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10),
    )  # fmt: skip


def load_images() -> tuple[TensorDataset, TensorDataset]:
    """1,437 images to train on and 360 to test with."""
    digits = load_digits()
    images = torch.from_numpy(digits.images).float().div(16).unsqueeze(1)
    labels = torch.from_numpy(digits.target).long()
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    train, test = order[:1437], order[1437:]
    return TensorDataset(images[train], labels[train]), TensorDataset(images[test], labels[test])


def train_float(network: nn.Module, loader: DataLoader, epochs: int) -> None:
    """What you have done already: the network as it is before niwaki."""
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3)
    for _ in range(epochs):
        for x, y in loader:
            optimizer.zero_grad()
            F.cross_entropy(network(x), y).backward()
            optimizer.step()


def endless(loader: DataLoader) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """The batches, in a new order each time."""
    epoch = 0
    while True:
        if isinstance(loader.sampler, DistributedSampler):
            loader.sampler.set_epoch(epoch)
        yield from loader
        epoch += 1


def finetune(original: nn.Module, loader: DataLoader, recipe: niwaki.Recipe) -> nn.Module:
    """The loop: two phases, each with a network of its own."""
    config = recipe.finetune
    calibration = [x for x, _ in islice(loader, 4)]
    joint = niwaki.JointTraining(
        original, calibration, prune=recipe.prune, quantize=recipe.quantize, config=config,
        steps=config.epochs * len(loader),
    )  # fmt: skip
    criterion = niwaki.DistillationLoss(original, temperature=config.temperature, weight=config.distillation)
    batches = endless(loader)
    for phase in joint:
        network = DistributedDataParallel(phase.network) if distributed.is_initialized() else phase.network
        optimizer = torch.optim.AdamW(phase.network.parameters(), lr=config.learning_rate)
        for step, (x, y) in enumerate(islice(batches, phase.steps)):
            for group in optimizer.param_groups:
                group["lr"] = config.rate(phase.begin + step, joint.steps)
            optimizer.zero_grad()
            criterion(network(x), x, y).backward()
            optimizer.step()
            phase.step()
    return joint.result


def accuracy(network: nn.Module, images: TensorDataset) -> float:
    """Per cent of right answers."""
    x, y = images.tensors
    with torch.no_grad():
        return 100 * float((network(x).argmax(1) == y).float().mean())


def main() -> None:
    """Trains, compresses, and says what became of the accuracy."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", required=True, help="a name or a YAML file, with a section finetune")
    parser.add_argument("-o", "--output", help="the .niwaki file to write")
    parser.add_argument("--float-epochs", type=int, default=15, help="to train the network before (default: 15)")
    parser.add_argument("--digest", help="write what this process ends with to this file, with its rank (for tests)")
    parser.add_argument("--meet", default="env://", help="where processes find each other (default: as torchrun says)")
    args = parser.parse_args()
    recipe = niwaki.load_recipe(args.recipe)
    if recipe.finetune is None:
        parser.error(f"the recipe '{args.recipe}' has no section finetune; niwaki.compress is all that it needs")
    if "RANK" in os.environ:  # started by torchrun
        rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
        distributed.init_process_group("gloo", init_method=args.meet, rank=rank, world_size=size)
    torch.manual_seed(recipe.seed)
    torch.set_num_threads(1)  # the network is small
    train, test = load_images()
    original = make_network()
    train_float(original, DataLoader(train, recipe.finetune.batch, shuffle=True), args.float_epochs)
    original.eval()
    sampler = DistributedSampler(train, seed=recipe.seed) if distributed.is_initialized() else None
    loader = DataLoader(train, recipe.finetune.batch, sampler=sampler, shuffle=sampler is None, drop_last=True)
    small = finetune(original, loader, recipe)
    rank = distributed.get_rank() if distributed.is_initialized() else 0
    if args.digest:
        torch.save(small.state_dict(), f"{args.digest}.{rank}")
    if rank == 0:
        network = niwaki.compile(small, (test.tensors[0][:1],))
        print(f"float32 {accuracy(original, test):.2f} %, compressed {accuracy(network, test):.2f} %")
        if args.output:
            network.save(args.output)
            print(f"{args.output}: {os.path.getsize(args.output):,} bytes")
    if distributed.is_initialized():
        distributed.destroy_process_group()


if __name__ == "__main__":
    main()
