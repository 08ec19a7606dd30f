"""Writes the table of docs/layers.md: which layers take which zeros, and what computes them, found by trying each.

python docs/make_layers.py
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

import niwaki
from niwaki.pruning.prune import prune_with_reasons
from niwaki.pruning.recurrent import prune_recurrent, recurrent_targets
from niwaki.runtime.plan import SCHEMES

PAGE = Path(__file__).with_name("layers.md")
BEGIN, END = "<!-- layers: written by python docs/make_layers.py -->\n", "<!-- layers: end -->\n"
PATTERNS = ("block4", "unstructured", "2:4", "channels")
WIDTH = 16
_ROUNDING = ("quantize", "dequantize")


class Chain(nn.Module):
    """Two layers of a kind, one after the other, with a ReLU between; of recurrent layers the outputs, not the states.

    Whole channels can only go where something else reads them.
    """

    def __init__(self, make: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.first, self.second = make(), make()
        self.attends = isinstance(self.first, nn.MultiheadAttention)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in (self.first, self.second):
            y = layer(x, x, x, need_weights=False) if self.attends else layer(x)
            x = (y[0] if isinstance(y, tuple) else y).relu()
        return x


class Words(nn.Module):
    """A table, whose rows a linear layer reads."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Embedding(50, WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.second(self.first(x))
        return y


def _chain(kind: Any, *arguments: Any, **options: Any) -> Callable[[], nn.Module]:
    return lambda: Chain(lambda: kind(*arguments, **options))


CONVOLUTION, BATCHES = (WIDTH, WIDTH, 3), {"batch_first": True}
LAYERS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "`Conv2d`": (_chain(nn.Conv2d, *CONVOLUTION), (WIDTH, 9, 8)),
    "`Conv2d`, groups of eight channels": (_chain(nn.Conv2d, *CONVOLUTION, groups=2), (WIDTH, 9, 8)),
    "`Conv2d`, depthwise": (_chain(nn.Conv2d, *CONVOLUTION, groups=WIDTH), (WIDTH, 9, 8)),
    "`Conv1d`": (_chain(nn.Conv1d, *CONVOLUTION), (WIDTH, 12)),
    "`Conv3d`": (_chain(nn.Conv3d, *CONVOLUTION), (WIDTH, 5, 7, 6)),
    "`ConvTranspose1d`": (_chain(nn.ConvTranspose1d, *CONVOLUTION, stride=2), (WIDTH, 6)),
    "`ConvTranspose2d`": (_chain(nn.ConvTranspose2d, *CONVOLUTION, stride=2), (WIDTH, 4, 5)),
    "`ConvTranspose3d`": (_chain(nn.ConvTranspose3d, *CONVOLUTION, stride=2), (WIDTH, 2, 3, 3)),
    "`Linear`": (_chain(nn.Linear, WIDTH, WIDTH), (WIDTH,)),
    "`Linear` on tokens": (_chain(nn.Linear, WIDTH, WIDTH), (6, WIDTH)),
    "`MultiheadAttention`": (_chain(nn.MultiheadAttention, WIDTH, 4, **BATCHES), (6, WIDTH)),
    "`TransformerEncoderLayer`": (_chain(nn.TransformerEncoderLayer, WIDTH, 4, 32, 0.0, **BATCHES), (6, WIDTH)),
    "`LSTM`": (_chain(nn.LSTM, WIDTH, WIDTH, **BATCHES), (6, WIDTH)),
    "`GRU`": (_chain(nn.GRU, WIDTH, WIDTH, **BATCHES), (6, WIDTH)),
    "`RNN`": (_chain(nn.RNN, WIDTH, WIDTH, **BATCHES), (6, WIDTH)),
    "`LSTMCell`": (_chain(nn.LSTMCell, WIDTH, WIDTH), (WIDTH,)),
    "`GRUCell`": (_chain(nn.GRUCell, WIDTH, WIDTH), (WIDTH,)),
    "`RNNCell`": (_chain(nn.RNNCell, WIDTH, WIDTH), (WIDTH,)),
    "`Embedding`": (Words, ()),
}


def _inputs(shape: tuple[int, ...]) -> torch.Tensor:
    return torch.randn(32, *shape) if shape else torch.randint(50, (32, 6))


def _pruned(model: nn.Module, x: torch.Tensor, pattern: str) -> bool:
    """Whether half of the first layer's weights go in this pattern."""
    if pattern == "channels":
        try:
            small = niwaki.prune(model, sparsity=0.5, pattern=pattern, calibration=[x], progress=False)
        except ValueError:
            return False
        return sum(each.numel() for each in small.parameters()) < sum(each.numel() for each in model.parameters())
    config = niwaki.PruneConfig(None if pattern == "2:4" else 0.5, pattern=pattern)
    pruned, _ = prune_with_reasons(niwaki.optimize(model), config, needed=False, progress=False)
    prune_recurrent(recurrent_targets(pruned, config).values(), config)  # as niwaki.compress does
    layers = [module for name, module in pruned.named_modules() if name.partition(".")[0] == "first"]
    weights = [layer.weight for layer in layers if isinstance(layer, (nn.Conv2d, nn.Linear))]
    weights += [each for layer in layers for name, each in layer.named_parameters(recurse=False) if "weight_" in name]
    return any(float((weight == 0).float().mean()) > 0.4 for weight in weights)


def _computed(model: nn.Module, x: torch.Tensor) -> str:
    """The operators of the core that compute the first layer, and in which numbers."""
    small = niwaki.quantize(niwaki.optimize(model), [x], progress=False)
    net = niwaki.compile(small, (x,), threads=1)
    steps = [step for step in net.plan if step.name.partition(".")[0] == "first" and step.op not in _ROUNDING]
    found = [f"{step.op.removeprefix('dynamic_')} {step.scheme}" for step in steps if step.scheme in SCHEMES]
    if any(node["op"] == "take" and node["dtypes"] == ["uint8"] for node in net.graph.nodes()):
        found.insert(0, "take int8")  # rows of a table, which are multiplied by their scale
    return ", ".join(dict.fromkeys(found))


def page() -> str:
    """The page with its table as the code makes it now."""
    before, begin, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise SystemExit(
            f"{PAGE}: the lines '{BEGIN.strip()}' and '{END.strip()}', between which the table goes, are missing."
        )
    lines = [f"| layer | {' | '.join(f'`{each}`' for each in PATTERNS)} | runs as |\n", "|---|---|---|---|---|---|\n"]
    for name, (make, shape) in LAYERS.items():
        torch.manual_seed(0)
        model, x = make().eval(), _inputs(shape)
        cells = ["yes" if _pruned(model, x, each) else "" for each in PATTERNS]
        lines.append(f"| {name} | {' | '.join([*cells, _computed(model, x)])} |\n")
    return "".join([before, BEGIN, *lines, END, after])


if __name__ == "__main__":
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    PAGE.write_text(page(), encoding="utf-8")
