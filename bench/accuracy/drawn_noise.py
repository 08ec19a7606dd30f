"""Which roundings the classes of pixels of drawn.py's U-Nets change by, where nothing was trained.

    python bench/accuracy/drawn_noise.py [--seeds 0 1 2] [--equalize] [--rounding second_order]

The graph runs in float32 with some of its values and weights rounded as int8 rounds them, on 32 pictures: the share of
pixels of the same class, and how far the logits are off, by norms. A bit more is a step of half the size.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any

import torch
from torch.fx import Node

sys.path.insert(0, str(Path(__file__).resolve().parent))

from drawn import KINDS, UNet, draw, segmentation_loss, train

import niwaki
from niwaki.lower.quantized import QParams
from niwaki.nn.layers import QuantizedLayer, quantized_layers
from niwaki.quantization.arithmetic import FloatRun, apply
from niwaki.quantization.config import QuantizeConfig
from niwaki.quantization.inputs import batches
from niwaki.quantization.programs import Programs, source_of
from niwaki.quantization.quantize import quantize_with_reasons
from niwaki.quantization.ranges import ranges_of
from niwaki.quantization.simulate import RoundedRun, types_of

SIZE, PICTURES = 96, 32


class _Part(RoundedRun):
    """A graph of which the values of some nodes alone are rounded (all where `only` is None), and `more` bits finer."""

    def __init__(self, *args: Any, only: Collection[Node] | None = None, more: int = 0, **options: Any) -> None:
        super().__init__(*args, **options)
        self._only, self._finer = only, 1 << more

    def _rounded(self, node: Node, x: torch.Tensor, numbers: QParams) -> torch.Tensor:
        if self._only is not None and node not in self._only:
            return x
        scale, low = numbers.scale / self._finer, -numbers.zero_point * self._finer
        return torch.div(x, scale).round_().clamp_(low, low + 255 * self._finer).mul_(scale)

    def value(self, node: Node, value: Any) -> Any:
        numbers = self._types.quantized.get(node)
        return value if numbers is None or node in self._types.summed else self._rounded(node, value, numbers)

    def layer(self, node: Node, layer: QuantizedLayer, x: torch.Tensor) -> torch.Tensor:
        source = source_of(node)
        if source not in self._types.quantized and source in self._types.entering:
            x = self._rounded(source, x, self._types.qparams(source))
        if not self._round_weights:
            return FloatRun.layer(self, node, layer, x)
        return apply(node, x, self._weight(layer), layer.bias)


def measure(seed: int, resize: bool, config: QuantizeConfig) -> None:
    """Prints a line for each set of roundings of one U-Net."""
    torch.manual_seed(seed)
    net = train(UNet(KINDS + 1, 8, resize), segmentation_loss, SIZE, seconds=0)
    images = draw(64, SIZE, torch.Generator().manual_seed(1)).images
    optimized = niwaki.optimize(net, args=(images[:1],))
    found = quantize_with_reasons(optimized, images.split(16), config, progress=False)
    test = draw(PICTURES, SIZE, torch.Generator().manual_seed(2)).images
    (call,) = batches([test], None, found.module)
    program = Programs(found.module).find(call)
    assert program is not None
    floats = {layer: found.floats[layer.name] for layer in quantized_layers(found.module)}
    types = types_of(program, ranges_of(found.module))
    right = FloatRun(program, floats).call(call)[0]
    # The last concatenation, and all that has its scale: its halves, and what the first of them is made of.
    numbers = [types.quantized[node] for node in types.quantized if "cat" in node.name][-1]
    joined = {node for node in types.quantized if types.quantized[node] == numbers}
    cases: dict[str, dict[str, Any]] = {
        "all": {},
        "weights": {"only": ()},
        "values": {"weights": False},
        "the picture": {"weights": False, "only": set(types.entering)},
        "the last concatenation": {"weights": False, "only": joined},
        "all but the last concatenation": {"only": {*types.quantized, *types.entering} - joined},
        "all, values of 9 bits": {"more": 1},
        "all, values of 10 bits": {"more": 2},
    }
    print(f"seed {seed}, {'resized' if resize else 'transposed convolutions'}")
    for name, options in cases.items():
        answer = _Part(program, floats, types, **options).call(call)[0]
        off = float((answer - right).norm() / right.norm())
        same = float((answer.argmax(1) == right.argmax(1)).float().mean())
        print(f"  {name} rounded: {same:.2%} the same, logits {off:.1%} off", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], metavar="N", help="of the weights")
    parser.add_argument("--equalize", action="store_true", help="scale channels between layers first")
    parser.add_argument("--rounding", default="auto", help="of weights, as in QuantizeConfig (default: auto)")
    options = parser.parse_args()
    torch.set_num_threads(1)
    config = QuantizeConfig(equalize=options.equalize, rounding=options.rounding)
    for seed in options.seeds:
        for resize in (False, True):
            measure(seed, resize, config)


if __name__ == "__main__":
    main()
