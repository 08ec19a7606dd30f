"""What compression costs a network that nobody tuned niwaki on: EfficientNet-lite0 and 600 ImageNet pictures.

    python bench/accuracy/pictures.py --data FOLDER                                # every row, three calibrations
    python bench/accuracy/pictures.py --data FOLDER --rows int8 block4 --seeds 0

Of the first 200 pictures, 192 are chosen by seed to calibrate on; the last 400 test (one picture is 0.25 points). The
network runs as a user would run it: compiled, from its file. "report" is what niwaki.compress said of the error of the
logits, measured on the part of the calibration that decided nothing; "error" is the true one, on the test pictures.
For the rows "drop...", the first half of the 400 tells the accuracy while networks are searched for, the other tests.
"""

from __future__ import annotations

import argparse
import io
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accuracy import answers
from rows import Tests
from safetensors.torch import load_file
from torch import nn

import niwaki
from niwaki._compat import import_torchvision

FOR_CALIBRATION, CHOSEN, FOR_EVALUATION = 200, 192, 200
ROWS: dict[str, dict[str, Any]] = {
    "int8": {},
    "bits4": {"weight_bits": 4},
    "target6": {"target": niwaki.Target(size=1 / 6)},
    "target8.5": {"target": niwaki.Target(size=1 / 8.5), "sparsity": 0},
    "drop0.5": {"target": niwaki.Target(accuracy_drop=0.5)},
    "drop1": {"target": niwaki.Target(accuracy_drop=1.0)},
    "block4": {"sparsity": 0.5},
    "global": {"sparsity": 0.5, "scope": "global"},
    "unstructured": {"sparsity": 0.5, "pattern": "unstructured"},
    "half": {"recipe": "half"},
    "codebook": {"recipe": "codebook"},
    "fast": {"recipe": "fast"},
}


def load_network(data: Path) -> nn.Module:
    """EfficientNet-lite0 with its ImageNet weights."""
    import_torchvision()
    import timm

    model = timm.create_model("tf_efficientnet_lite0")
    weights = load_file(data / "efficientnet_lite0.safetensors")
    model.load_state_dict({name: value.float() for name, value in weights.items()})
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eps = 1e-3
    return model.eval()


def load_pictures(data: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """Normalized pictures, float32 [600, 3, 224, 224], and their labels, int64 [600]."""
    from PIL import Image

    arrays = np.load(data / "imagenet_600.npz")
    jpeg, offsets = arrays["jpeg"], arrays["offsets"]
    files = (jpeg[begin:end].tobytes() for begin, end in itertools.pairwise(offsets))
    pixels = np.stack([np.asarray(Image.open(io.BytesIO(file)).convert("RGB")) for file in files])
    pictures = (torch.from_numpy(pixels).permute(0, 3, 1, 2).float() - 127) / 128
    return pictures.contiguous(), torch.from_numpy(arrays["labels"].astype(np.int64))


def accuracy_on(pictures: torch.Tensor, labels: torch.Tensor) -> Callable[[nn.Module], float]:
    """What `evaluate=` takes: per cent of right answers."""

    def of(network: nn.Module) -> float:
        return 100 * float((answers(network, pictures).argmax(1) == labels).float().mean())

    return of


def main() -> None:
    """Prints the table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the folder with the weights and the pictures")
    parser.add_argument("--rows", nargs="+", choices=tuple(ROWS), default=list(ROWS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="of the calibration pictures")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    pictures, labels = load_pictures(args.data)
    model, rest, truth = load_network(args.data), pictures[FOR_CALIBRATION:], labels[FOR_CALIBRATION:]
    tests = Tests(model, rest, truth, args.threads)
    tests.begin()
    for row, seed in itertools.product(args.rows, args.seeds):
        chosen = torch.randperm(FOR_CALIBRATION, generator=torch.Generator().manual_seed(seed))[:CHOSEN]
        calibration, options = list(pictures[chosen].split(16)), dict(ROWS[row])
        if row.startswith("drop"):
            options["evaluate"] = accuracy_on(rest[:FOR_EVALUATION], truth[:FOR_EVALUATION])
            half = Tests(model, rest[FOR_EVALUATION:], truth[FOR_EVALUATION:], args.threads)
            half.row(row, seed, calibration, options)
        else:
            tests.row(row, seed, calibration, options)


if __name__ == "__main__":
    main()
