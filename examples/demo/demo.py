"""Trains, compresses, compiles, saves, loads and times small networks, in a few minutes and from nothing: a ResNet
and a vision transformer that learn handwritten digits, and ResNet-50.

    python examples/demo/demo.py --output build/demo

Prints a table and writes it as a picture (demo.png) and a page (demo.html), with the .niwaki files beside them.
"""

from __future__ import annotations

import argparse
import copy
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from digits import DigitsNet, Training, accuracy, adamw, answers, load_data, train
from results import Digit, Row, print_table, some_digits, write
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from timing import measure
from torch import nn
from vit import DigitsViT

import niwaki
from niwaki._compat import import_torchvision

RESNET = "ResNet-50, 224 x 224"
FLOAT, INT8 = "torch float32", "niwaki int8"


@dataclass(frozen=True)
class Trained:
    """A network that learns the digits.

    Attributes:
        title: in the table.
        name: in the names of files, and in the progress bars.
        model: what makes it.
        training, tuning: how it learns, and how once more after it is pruned.
        sparsity, scope: what `niwaki.prune` takes.
    """

    title: str
    name: str
    model: type[nn.Module]
    training: Training
    tuning: Training
    sparsity: float
    scope: str


TRAINED = (
    Trained("ResNet on digits, 8 x 8", "digits", DigitsNet, Training(12, 0.05), Training(12, 0.02), 0.75, "global"),
    # 1,200 pictures are few for a transformer: patches of moved pictures would be too many to learn. By magnitude over
    # all layers, second layers of feed-forward parts would be empty.
    Trained(
        "ViT on digits, 8 x 8", "digits-vit", DigitsViT,
        Training(10, 2e-3, 32, 0, adamw), Training(8, 1e-3, 32, 0, adamw), 0.5, "local",
    ),
)  # fmt: skip


class Demo:
    """The demo's state: where files go, how many threads there are, and the progress bars."""

    def __init__(self, folder: Path, threads: int, progress: Progress) -> None:
        self.folder = folder
        self.threads = threads
        self.progress = progress
        self.pictures: list[Digit] = []

    def bar(self, what: str, total: int):
        """A progress bar; returns the function that moves it on."""
        task = self.progress.add_task(what, total=total)
        return lambda: self.progress.advance(task)

    def through_a_file(self, module: nn.Module, x: torch.Tensor, name: str):
        """Compiles, saves, and loads again. Returns the network and the size of its file in bytes."""
        path = self.folder / f"{name}.niwaki"
        niwaki.compile(module, (x,), threads=self.threads).save(path)
        return niwaki.load(path, threads=self.threads), path.stat().st_size

    def float_file(self, model: nn.Module, name: str) -> int:
        """Bytes of the float32 weights on disk."""
        path = self.folder / f"{name}.float32.pt"
        torch.save(model.state_dict(), path)
        size = path.stat().st_size
        path.unlink()
        return size

    def digits(self, what: Trained) -> list[Row]:
        """Trains, compresses and times a small network."""
        data, held_out = load_data()
        calibration = data[0][:512].split(64)
        x = held_out[0][:1]

        torch.set_num_threads(1)  # batches this small train no faster on two
        torch.manual_seed(0)
        model = what.model()
        train(model, data, what.training, self.bar(f"training {what.name}", what.training.epochs))

        after_step = self.bar("compressing", 4)
        int8, _ = niwaki.compress(model, calibration, progress=False)
        after_step()
        networks: dict[str, Any] = {FLOAT: model}
        sizes = {FLOAT: self.float_file(model, what.name)}
        networks[INT8], sizes[INT8] = self.through_a_file(int8, x, f"{what.name}-int8")
        after_step()

        form = f"{INT8}, {what.sparsity:.0%} pruned".replace("%", " %")
        pruned = niwaki.prune(model, sparsity=what.sparsity, pattern="block4", scope=what.scope)
        train(pruned, data, what.tuning, self.bar("fine-tuning what is left", what.tuning.epochs))
        sparse, _ = niwaki.compress(pruned, calibration, progress=False)
        after_step()
        networks[form], sizes[form] = self.through_a_file(sparse, x, f"{what.name}-int8-pruned")
        after_step()

        torch.set_num_threads(self.threads)
        times = measure(networks, x, rounds=25, calls=20, after_round=self.bar(f"timing {what.name}", 25))
        shares = {name: accuracy(network, held_out) for name, network in networks.items()}
        if not self.pictures:
            self.pictures = some_digits(*held_out, answers(model, held_out[0]), answers(networks[form], held_out[0]))
        return rows(what.title, networks, shares, sizes, times)

    def resnet50(self) -> list[Row]:
        """Compresses and times ResNet-50. Its weights are seeded, not trained, so there is no accuracy to speak of, and
        zeros are chosen by magnitude, at once."""
        torchvision = import_torchvision()
        torch.manual_seed(0)
        model = torchvision.models.resnet50().eval()
        generator = torch.Generator().manual_seed(1)
        calibration = [torch.randn(2, 3, 224, 224, generator=generator) for _ in range(2)]
        x = torch.randn(1, 3, 224, 224, generator=generator)

        after_step = self.bar("compressing ResNet-50", 4)
        # torch is fastest with channels last
        networks = {FLOAT: copy.deepcopy(model).to(memory_format=torch.channels_last)}
        sizes = {FLOAT: self.float_file(model, "resnet50")}
        for form, options in (
            (INT8, {}),
            (f"{INT8}, 85 % pruned", {"sparsity": 0.85, "scope": "local", "importance": "magnitude"}),
        ):
            module, _ = niwaki.compress(model, calibration, progress=False, **options)
            after_step()
            networks[form], sizes[form] = self.through_a_file(
                module, x, "resnet50-int8-pruned" if options else "resnet50-int8"
            )
            after_step()
        times = measure(networks, x, rounds=9, calls=3, after_round=self.bar("timing ResNet-50", 9))
        return rows(RESNET, networks, dict.fromkeys(networks), sizes, times)


def rows(network: str, forms, shares, sizes, times) -> list[Row]:
    return [Row(network, form, shares[form], sizes[form], sizes[FLOAT], times[form]) for form in forms]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("build/demo"), help="folder for what is written")
    parser.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1), help="for torch and for niwaki")
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(arguments.threads)

    console = Console()
    begin = time.perf_counter()
    columns = (
        TextColumn("{task.description:<26}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as progress:
        demo = Demo(arguments.output, arguments.threads, progress)
        results = [row for what in TRAINED for row in demo.digits(what)] + demo.resnet50()
    print_table(results, Console(width=max(console.width, 80)), arguments.threads)
    picture, page = write(results, arguments.output, arguments.threads, demo.pictures)
    console.print(
        f"ResNet-50's weights are seeded, not trained: it is here for speed and size. Wrote {picture} and {page}."
    )
    console.print(f"All of it took {time.perf_counter() - begin:.0f} s.")


if __name__ == "__main__":
    main()
