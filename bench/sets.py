"""What the sets of sparse layers cost: multiplies of blocks, and of zeros that make the lists of a set equally long.

    python bench/sets.py resnet50-block85 resnet50-free90
    python bench/sets.py --trained FOLDER --zeros 0.75

AVX-512 works on the lists of four outputs side by side (docs/performance.md), so a set takes as long as its longest
list. Counted as csrc/kernels/conv/sparse_lists.cc does, a block times the vectors of its plane. Beside the layers as
they are:

- wider: lists of all chunks but the last sorted among 256 outputs instead of 32;
- overlap: blocks of a few rows before the last chunk taken into it where that makes its lists equal;
- ordered: inner channels, which one layer writes and others read, in the order that a search finds best. Zeros in
  blocks of four leave none but that of whole groups; those of single weights any;
- balanced: as many zeros, chosen by magnitude so that the four lists of a set are equally long.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from peers.networks import build
from torch import nn

from niwaki.pruning.order import _Lists, _search
from niwaki.pruning.select import SEGMENT, drop_in_sets, drop_smallest

LANES, VECTORS, BLOCK, TOGETHER, CHUNK_BYTES = 16, 7, 32, 4, 36 * 1024
# What a vector of a panel's row costs, in multiplies: docs/performance.md, "Which kernel".
ROW = 3.15 / 0.6

Blocks = NDArray[np.bool_]  # [O, groups of four inputs, taps]


def blocks_of(weight: torch.Tensor) -> Blocks:
    """Which blocks hold anything."""
    found: Blocks = (weight.detach().reshape(len(weight), -1, 4, weight[0, 0].numel()) != 0).any(2).numpy()
    return found


class Layer:
    """A convolution, and how the kernel cuts it."""

    def __init__(self, name: str, module: nn.Conv2d, pixels: int) -> None:
        self.name, self.weight = name, module.weight.detach()
        self.vectors = -(-pixels // LANES)
        taps = self.weight[0, 0].numel()
        row_bytes = min(VECTORS, self.vectors) * LANES * 4
        segment = max(1, SEGMENT // taps)
        self.step = segment * max(1, CHUNK_BYTES // (row_bytes * taps * segment))  # groups of a chunk
        self.most = max(self.step, CHUNK_BYTES * 9 // 8 // (row_bytes * taps))  # of the last one, with an overlap

    def multiplies(self, blocks: Blocks, *, together: int = BLOCK, overlap: bool = False) -> float:
        """Of a vector, with what an overlap costs."""
        groups = blocks.shape[1]
        ends = [*range(self.step, groups, self.step), groups]
        counts = [blocks[:, begin:end].sum((1, 2)) for begin, end in zip([0, *ends], ends, strict=False)]
        found = sum(_sorted(count, together) for count in counts[:-2])
        if len(counts) == 1:
            return float(_longest(counts[0]))
        first, last = (len(ends) - 2) * self.step, ends[-2]
        best = np.inf
        for more in range(max(0, min(last - first, self.most - (groups - last))) + 1 if overlap else 1):
            own, there = blocks[:, last:].sum((1, 2)), blocks[:, last - more :].sum((1, 2))
            length = own.reshape(-1, TOGETHER).max(1).repeat(TOGETHER)
            rest = blocks[:, first:].sum((1, 2)) - np.minimum(there, length)
            best = min(best, float(length.sum() + _sorted(rest, together)) + ROW * more * blocks.shape[2])
        return found + best


def _longest(counts: NDArray[np.int64]) -> int:
    return int(counts.reshape(-1, TOGETHER).max(1).sum()) * TOGETHER


def _sorted(counts: NDArray[np.int64], together: int) -> int:
    return sum(_longest(np.sort(counts[first : first + together])) for first in range(0, len(counts), together))


def layers_of(network: nn.Module, size: int) -> Iterator[Layer]:
    """Those that sparse kernels may run, in the order of their calls."""
    found: list[Layer] = []
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d) and module.groups == 1 and module.in_channels % 4 == 0:
            module.register_forward_hook(
                lambda module, _, y, name=name: found.append(Layer(name, module, y.shape[2] * y.shape[3]))
            )
    with torch.no_grad():
        network(torch.zeros(1, 3, size, size))
    yield from found


def ordered(layers: list[Layer]) -> dict[str, Blocks]:
    """Blocks with inner channels in another order: those from conv1 to conv2, and to conv3, of a residual block."""
    weights = {layer.name: layer.weight for layer in layers}
    for layer in layers:
        found = re.search(r"conv([12])$", layer.name)
        reader = layer.name[:-1] + str(int(found[1]) + 1) if found else ""
        if reader not in weights:
            continue
        writer, read = weights[layer.name], weights[reader]
        lengths = torch.from_numpy(blocks_of(writer).sum((1, 2))).float()
        rows = (read != 0).float().reshape(len(read), read.shape[1], -1).transpose(1, 2).reshape(-1, read.shape[1])
        # Lists that differ by d from the mean of four make the longest about 0.6 d^2 longer for each d.
        lists = _Lists(lengths - lengths.mean(), 1.0 / max(float(lengths.std()), 1.0))
        order = _search(rows, lists)
        weights[layer.name], weights[reader] = writer[order], read[:, order]
    return {name: blocks_of(weight) for name, weight in weights.items()}


def balanced(layer: Layer, dense: torch.Tensor, share: float, pattern: str) -> Blocks:
    """As many zeros, in sets that balance."""
    score = dense.reshape(len(dense), -1, 4, dense[0, 0].numel()).norm(dim=2) if pattern == "block" else dense.abs()
    (keep,) = drop_in_sets([score], [1], round(share * score.numel()), inputs=1 if pattern == "block" else 4)
    return keep.numpy() if pattern == "block" else blocks_of(keep.float())


def count(name: str, layers: list[Layer], dense: dict[str, torch.Tensor], share: float, pattern: str) -> None:
    """Prints what a network's layers multiply."""
    other = ordered(layers) if pattern == "free" else {layer.name: blocks_of(layer.weight) for layer in layers}
    totals = dict.fromkeys(("blocks", "as they are", "wider", "overlap", "both", "ordered", "balanced"), 0.0)
    for layer in layers:
        own, even = blocks_of(layer.weight), balanced(layer, dense[layer.name], share, pattern)
        for key, found in (
            ("blocks", float(own.sum())),
            ("as they are", layer.multiplies(own)),
            ("wider", layer.multiplies(own, together=256)),
            ("overlap", layer.multiplies(own, overlap=True)),
            ("both", layer.multiplies(own, together=256, overlap=True)),
            ("ordered", layer.multiplies(other[layer.name])),
            ("balanced", layer.multiplies(even)),
        ):
            totals[key] += found * layer.vectors
    row = (f"{value / totals['as they are']:.3f}" for value in totals.values())
    print(f"| {name} | {totals['as they are'] / 1e6:.2f} | " + " | ".join(row) + " |", flush=True)


def main() -> None:
    """Prints a table in Markdown: multiplies of vectors, in millions, and shares of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", help="of bench/peers, such as resnet50-block85")
    parser.add_argument("--trained", type=Path, help="a folder with resnet20 and resnet56 for CIFAR-10, too")
    parser.add_argument("--zeros", type=float, nargs="+", default=[0.75, 0.85], help="of these")
    args = parser.parse_args()
    torch.set_num_threads(1)
    print("| network | M | blocks | as they are | wider | overlap | both | ordered | balanced |")
    print("|---" * 9 + "|")
    for case in args.cases:
        kind = re.search(r"-(block|free)(\d+)$", case)
        if kind is None:
            parser.error(f"'{case}' has no zeros; name one such as resnet50-block85")
        dense = build(case[: kind.start()] + "-dense")
        weights = {name: module.weight.detach() for name, module in dense.named_modules() if hasattr(module, "weight")}
        count(case, list(layers_of(build(case), 224)), weights, int(kind[2]) / 100, kind[1])
    for depth in (20, 56) if args.trained else ():
        for pattern in ("block", "free"):
            for share in args.zeros:
                trained(args.trained, depth, share, pattern)


def trained(folder: Path, depth: int, share: float, pattern: str) -> None:
    """A trained ResNet for CIFAR-10, each layer pruned by magnitude."""
    from accuracy.networks import load_network

    network = load_network(f"resnet{depth}", folder)
    dense = {
        name: module.weight.detach().clone() for name, module in network.named_modules() if hasattr(module, "weight")
    }
    for module in network.modules():
        if isinstance(module, nn.Conv2d) and module.in_channels % 4 == 0:
            weight = module.weight.data
            score = (
                weight.reshape(len(weight), -1, 4, *weight.shape[2:]).norm(dim=2)
                if pattern == "block"
                else weight.abs()
            )
            (keep,) = drop_smallest([score], round(share * score.numel()))
            weight[~(keep.repeat_interleave(4, 1) if pattern == "block" else keep)] = 0
    count(f"resnet{depth}-{pattern}{share * 100:.0f}, trained", list(layers_of(network, 32)), dense, share, pattern)


if __name__ == "__main__":
    main()
