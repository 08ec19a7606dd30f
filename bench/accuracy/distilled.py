"""What examples/training/distill.py brings a network that nobody tuned niwaki on: EfficientNet-lite0, 200 pictures.

    python bench/accuracy/distilled.py --data FOLDER --sparsity 0.75 --steps 0 400 --checkpoint FOLDER
    python bench/accuracy/distilled.py --data FOLDER --sparsity 0 --bits 4

Of the first 200 pictures, 176 are chosen by seed to prune, calibrate and train on, without labels, and 24 decide
nothing: "held out" is the error of the logits on these, by which settings are chosen; "error" is that on the last 400
pictures, which test. The network runs as a user would run it: compiled, from its file.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
import tempfile
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from accuracy import answers, error
from pictures import FOR_CALIBRATION, load_network, load_pictures

import niwaki

CHOSEN = 176
EXAMPLE = Path(__file__).parents[2] / "examples" / "training" / "distill.py"
# Outputs of the last blocks of EfficientNet-lite0, and what its classifier reads.
FEATURES = ("blocks.3", "blocks.4", "blocks.5", "blocks.6", "global_pool", "classifier")
# Layers with 1 % of its weights and half of the time of training.
KEEP = ("conv_stem.*", "blocks.[0-2].*")


def load_example() -> ModuleType:
    """The example as a module."""
    spec = importlib.util.spec_from_file_location("distill", EXAMPLE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["distill"] = module
    spec.loader.exec_module(module)
    return module


def main() -> None:
    """Prints a row in Markdown."""
    example: Any = load_example()
    usual = example.Options()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the folder with the weights and the pictures")
    parser.add_argument("--sparsity", type=float, default=usual.sparsity)
    parser.add_argument("--bits", type=int, default=usual.bits)
    parser.add_argument("--steps", type=int, nargs="+", default=[usual.steps], help="a row for each; 0 trains nothing")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rate", type=float, default=usual.rate)
    parser.add_argument("--features", nargs="*", default=list(FEATURES))
    parser.add_argument("--feature-weight", type=float, default=usual.feature_weight)
    parser.add_argument("--keep", nargs="*", default=list(KEEP))
    parser.add_argument("--crop", type=int, default=160)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--checkpoint", type=Path, help="a folder that keeps what second order has pruned")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    model = load_network(args.data)
    pictures, labels = load_pictures(args.data)
    order = torch.randperm(FOR_CALIBRATION, generator=torch.Generator().manual_seed(args.seed))
    chosen, held = pictures[order[:CHOSEN]], pictures[order[CHOSEN:]]
    test, truth = pictures[FOR_CALIBRATION:], labels[FOR_CALIBRATION:]
    wanted, floats = answers(model, test), 4 * sum(parameter.numel() for parameter in model.parameters())
    before = 100 * float((wanted.argmax(1) == truth).float().mean())
    header = ("zeros", "bits", "steps", "file / float32", "top-1", "drop", "same answers", "held out", "error", "CPU s")
    print("| " + " | ".join(header) + " |\n" + "|---" * len(header) + "|", flush=True)
    for steps in args.steps:
        options = example.Options(
            args.sparsity, args.bits, max(steps, 1), args.batch, args.rate if steps else 0.0, tuple(args.features),
            args.feature_weight, tuple(args.keep), args.crop, args.seed, args.checkpoint,
        )  # fmt: skip
        begin = time.process_time()
        small = example.make_small(model, chosen, options)
        seconds = time.process_time() - begin
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "net.niwaki"
            niwaki.compile(small, (test[:1],), threads=args.threads).save(path)
            size = path.stat().st_size
            network = niwaki.load(path, threads=args.threads)
            found, fresh = answers(network, test), error(answers(network, held), answers(model, held))
        top1 = 100 * float((found.argmax(1) == truth).float().mean())
        same = float((found.argmax(1) == wanted.argmax(1)).float().mean())
        cells = (
            f"{args.sparsity:.0%}", args.bits, f"{steps} of {args.batch}", f"1/{floats / size:.1f}", f"{top1:.2f}",
            f"{before - top1:+.2f}", f"{same:.1%}", f"{fresh:.3f}", f"{error(found, wanted):.3f}", f"{seconds:.0f}",
        )  # fmt: skip
        print("| " + " | ".join(map(str, cells)) + " |", flush=True)


if __name__ == "__main__":
    main()
