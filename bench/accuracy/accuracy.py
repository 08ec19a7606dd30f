"""What compression costs in accuracy: a table of networks, methods and sparsities, for docs/accuracy.md.

    python bench/accuracy/accuracy.py --data FOLDER                          # int8 and 50 %, some minutes
    python bench/accuracy/accuracy.py --data FOLDER --sparsity 0.3 0.5 0.75 0.9 --scope local global
    python bench/accuracy/accuracy.py --data FOLDER --pruned --sparsity --recipes int8 codebook half fast

Float32 and compressed networks see the same test images. The compressed one runs as a user would run it: compiled, in
int8, from its file. Errors are those of the logits, the norm of their change over their norm: on the test images, and
on the last 1,000 training images, which no calibration sees. Seconds are those of the CPU, all threads together. The
report's error is that of the calibration images that decided nothing; its warnings are counted.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from networks import DEPTHS, Images, load_images, load_network, unbalanced
from torch import nn

import niwaki

HEADER = (
    "network",
    "method",
    "zeros",
    "file / float32",
    "top-1",
    "drop",
    "agreement",
    "error",
    "held-out error",
    "CPU s",
    "report",
    "warnings",
)
# Training images that are never calibrated on: choices between methods are made by the error of the logits on these.
HELD_OUT = 1000


def answers(net: Any, x: torch.Tensor) -> torch.Tensor:
    """Logits, [N, 10]."""
    with torch.no_grad():
        return torch.cat([net(part) for part in x.split(128)])


def error(found: torch.Tensor, wanted: torch.Tensor) -> float:
    """The norm of the change over the norm."""
    return float((found - wanted).norm() / wanted.norm())


def calibration(images: Images, seed: int, count: int) -> list[torch.Tensor]:
    """A random choice of training images, in batches."""
    order = torch.randperm(len(images.train) - HELD_OUT, generator=torch.Generator().manual_seed(seed))
    return list(images.train[order[:count]].split(64))


def measure(name: str, method: str, model: nn.Module, images: Images, args: Any, options: dict[str, Any]) -> None:
    """Compresses, saves, loads, runs, and prints one row for each seed."""
    wanted, held = answers(model, images.test), answers(model, images.train[-HELD_OUT:])
    right = wanted.argmax(1) == images.labels
    for seed in args.seeds:
        chosen = calibration(images, seed, args.images)
        begin = time.process_time()
        small, report = niwaki.compress(model, chosen, **options)
        seconds = time.process_time() - begin
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "net.niwaki"
            niwaki.compile(small, (images.test[:1],), threads=args.threads).save(str(path))
            size = path.stat().st_size
            network = niwaki.load(str(path), threads=args.threads)
            found, other = answers(network, images.test), answers(network, images.train[-HELD_OUT:])
        same = float((found.argmax(1) == wanted.argmax(1)).float().mean())
        top1 = float((found.argmax(1) == images.labels).float().mean())
        floats = 4 * sum(parameter.numel() for parameter in model.parameters())
        row = (
            name, method, f"{report.zeros:.1%}", f"1/{floats / size:.1f}", f"{top1:.2%}",
            f"{100 * (float(right.float().mean()) - top1):+.2f}", f"{same:.1%}",
            f"{error(found, wanted):.4f}", f"{error(other, held):.4f}", f"{seconds:.0f}",
            f"{report.network.output_error or 0:.4f}", f"{len(report.network.warnings)}",
        )  # fmt: skip
        print("| " + " | ".join(row) + " |", flush=True)


def measure_float(name: str, method: str, model: nn.Module, images: Images, args: Any, options: dict[str, Any]) -> None:
    """As `measure`, for a network that is pruned and stays in float32."""
    folded = niwaki.optimize(model, args=(images.test[:1],))
    wanted, held = answers(folded, images.test), answers(folded, images.train[-HELD_OUT:])
    second = options["importance"] == "second_order"
    # Magnitude looks at no images: one run tells all.
    for seed in args.seeds if second else args.seeds[:1]:
        chosen = calibration(images, seed, args.images)
        begin = time.process_time()
        pruned = niwaki.prune(folded, calibration=chosen if second else None, **options)
        seconds = time.process_time() - begin
        found, other = answers(pruned, images.test), answers(pruned, images.train[-HELD_OUT:])
        right = [float((logits.argmax(1) == images.labels).float().mean()) for logits in (wanted, found)]
        row = (
            name, method, f"{options['sparsity']:.1%}", "", f"{right[1]:.2%}", f"{100 * (right[0] - right[1]):+.2f}",
            f"{float((found.argmax(1) == wanted.argmax(1)).float().mean()):.1%}",
            f"{error(found, wanted):.4f}", f"{error(other, held):.4f}", f"{seconds:.0f}", "", "",
        )  # fmt: skip
        print("| " + " | ".join(row) + " |", flush=True)


def _weights(args: Any) -> list[dict[str, Any]]:
    """Options of the rows that are about weights alone."""
    return [*({"weight_bits": bits} for bits in args.weight_bits), *({"codebook": kind} for kind in args.codebook)]


def _name(option: dict[str, Any]) -> str:
    return " ".join(f"{key} {value}" for key, value in option.items()).replace("_", " ") or "int8"


def main() -> None:
    """Prints the table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the folder with cifar10_lossless.npz and the weights")
    parser.add_argument("--networks", nargs="+", choices=tuple(DEPTHS), default=list(DEPTHS))
    parser.add_argument("--sparsity", nargs="*", type=float, default=[0.5])
    parser.add_argument("--pattern", nargs="+", default=["block4"])
    parser.add_argument("--scope", nargs="+", choices=("local", "global"), default=["local"])
    parser.add_argument("--importance", nargs="+", choices=("magnitude", "second_order"),
                        default=["magnitude", "second_order"])  # fmt: skip
    parser.add_argument("--balanced", action="store_true", help="also with sets that balance, for --sparsity")
    parser.add_argument("--uncorrected", action="store_true", help="also int8 without bias correction")
    parser.add_argument("--weight-bits", nargs="*", type=int, default=[], help="also weights of so many bits, unpruned")
    parser.add_argument("--codebook", nargs="*", choices=("kmeans", "power_of_two"), default=[], help="also codebooks")
    parser.add_argument("--rounding", nargs="+", choices=("nearest", "second_order", "learned"),
                        default=["nearest", "second_order"], help="for --weight-bits and --codebook")  # fmt: skip
    parser.add_argument("--per-tensor", action="store_true", help="one scale per layer, for --weight-bits, --codebook")
    parser.add_argument("--unbalanced", action="store_true", help="networks whose channels differ in range")
    parser.add_argument("--both", action="store_true", help="bits and codebooks for the rows of --sparsity")
    parser.add_argument("--float32", action="store_true", help="pruned networks in float32: what pruning alone costs")
    parser.add_argument("--recipes", nargs="*", default=[], help="also these recipes")
    parser.add_argument("--pruned", action="store_true", help="leave out the row of int8 without pruning")
    parser.add_argument("--images", type=int, default=512, help="to calibrate on (default: 512)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="of the calibration images; a row for each")
    parser.add_argument("--observer", nargs="*", default=[], help="also int8 with these observers")
    parser.add_argument(
        "--equalized", action="store_true", help="also with equalization: int8, --weight-bits, --codebook"
    )
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    images = load_images(args.data)
    print("| " + " | ".join(HEADER) + " |\n" + "|---" * len(HEADER) + "|")
    for name in args.networks:
        model = load_network(name, args.data)
        if args.unbalanced:
            name, model = f"{name}, unbalanced", unbalanced(model)
        if not (args.float32 or args.pruned):
            measure(name, "int8", model, images, args, {})
        for recipe in args.recipes:
            measure(name, f"recipe {recipe}", model, images, args, {"recipe": recipe})
        if args.uncorrected:
            measure(name, "int8, biases as they were", model, images, args, {"correct_bias": False})
        for observer in args.observer:
            measure(name, f"int8, observer {observer}", model, images, args, {"observer": observer})
        if args.equalized and not args.pruned:
            measure(name, "int8, equalized", model, images, args, {"equalize": True})
        for option, rounding, equalize in itertools.product(
            [] if args.both else _weights(args), args.rounding, (False, True) if args.equalized else (False,)
        ):
            more = {**({"per_channel": False} if args.per_tensor else {}), **({"equalize": True} if equalize else {})}
            method = " ".join(f"{key} {value}," for key, value in {**option, **more}.items()) + f" {rounding}"
            measure(name, method.replace("_", " "), model, images, args, {**option, **more, "rounding": rounding})
        for pattern, sparsity, scope, importance, option, balance in itertools.product(
            args.pattern, args.sparsity, args.scope, args.importance, _weights(args) if args.both else [{}],
            (False, True) if args.balanced else (False,),
        ):  # fmt: skip
            kind = "float32" if args.float32 else _name(option)
            method = f"{kind}, {sparsity:.0%} {pattern}, {scope}, {importance.replace('_', ' ')}"
            options = {"sparsity": sparsity, "pattern": pattern, "scope": scope, "importance": importance, **option}
            if balance:
                method, options = f"{method}, balanced", {**options, "balance": True}
            (measure_float if args.float32 else measure)(name, method, model, images, args, options)


if __name__ == "__main__":
    main()
