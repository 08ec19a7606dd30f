"""What a ResNet-50 takes: bytes of its file, seconds and memory of its compression, for docs/accuracy.md.

    python bench/accuracy/resnet50.py --what sizes
    python bench/accuracy/resnet50.py --what calibration     # int8, 128 images of 224 x 224
    python bench/accuracy/resnet50.py --what second_order    # block4 of all layers

Weights are seeded, not trained, and images are noise: neither bytes nor seconds hang on what they show.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

import niwaki
from niwaki._compat import import_torchvision


def images(count: int, batch: int = 8) -> list[torch.Tensor]:
    """Seeded noise, smoothed, so that neighbouring pixels are alike."""
    generator = torch.Generator().manual_seed(0)
    small = torch.randn(count, 3, 56, 56, generator=generator)
    return list(torch.nn.functional.interpolate(small, size=224, mode="bilinear").split(batch))


def network() -> torch.nn.Module:
    """Seeded weights of the usual variance, batch norms with statistics of their own."""
    torch.manual_seed(0)
    return import_torchvision().models.resnet50(weights=None).eval()


def file_bytes(module: torch.nn.Module) -> int:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "net.niwaki"
        niwaki.compile(module, (torch.zeros(1, 3, 224, 224),)).save(path)
        return path.stat().st_size


def timed(name: str, run: Callable[[], tuple[torch.nn.Module, niwaki.Report]]) -> None:
    """Prints seconds, on the clock and of all threads together, the most memory so far, and the file."""
    clock, cpu = time.perf_counter(), time.process_time()
    module, report = run()
    clock, cpu = time.perf_counter() - clock, time.process_time() - cpu
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    size = file_bytes(module)
    print(
        f"| {name} | {report.zeros:.1%} | {size / 1e6:.2f} MB | {clock:.0f} s | {cpu:.0f} s | {memory:.1f} GB |",
        flush=True,
    )


def main() -> None:
    """Prints a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--what", nargs="+", choices=("sizes", "calibration", "second_order"), default=["sizes"])
    parser.add_argument("--images", type=int, default=128, help="to calibrate on (default: 128)")
    parser.add_argument("--sparsity", type=float, default=0.85)
    parser.add_argument("--scope", choices=("local", "global"), default="local", help="of second order")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    print("| ResNet-50 | zeros | file | seconds | CPU seconds | memory |\n|---|---|---|---|---|---|")
    few, all_of_them = images(8), images(args.images)
    net = network()
    if "sizes" in args.what:
        timed("int8", lambda: niwaki.compress(net, few))
        timed(f"int8, {args.sparsity:.0%} block4", lambda: niwaki.compress(net, few, sparsity=args.sparsity))
    if "calibration" in args.what:
        timed(f"int8, {args.images} images", lambda: niwaki.compress(net, all_of_them))
    if "second_order" in args.what:
        options = {"sparsity": args.sparsity, "importance": "second_order", "scope": args.scope}
        name = f"int8, {args.sparsity:.0%} block4, second order, {args.scope}, {args.images} images"
        timed(name, lambda: niwaki.compress(net, all_of_them, **options))


if __name__ == "__main__":
    main()
