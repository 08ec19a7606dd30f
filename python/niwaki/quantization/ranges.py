"""What calibration found out about a network, as something that the compressed module carries along.

It is a plain attribute of the module, no submodule: an nn.Sequential runs as it did, and `children()` are the user's.
Copies, pickles and `torch.save` of the module take it along. So does `state_dict`, as two tensors, which fit formats
that hold nothing but tensors: scales of layers without the ranges that belong to them would answer wrongly in silence.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from niwaki.errors import NiwakiError

# The attribute of a compressed network, and the prefix of its tensors in a state_dict.
RANGES_NAME = "niwaki_ranges"
_VALUES, _WORDS = f"{RANGES_NAME}.values", f"{RANGES_NAME}.words"


@dataclass(frozen=True)
class Ranges:
    """The ranges of a graph's values.

    Attributes:
        fingerprint: of the graph, see niwaki.capture; empty where nothing was observed.
        values: (low, high) by the name that a value's node had at capture.
        floats: names of values that stay float32, for 8 bits would cost too much.
        attentions: names of attentions whose products are in 8 bits.
    """

    fingerprint: str = ""
    values: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    floats: frozenset[str] = frozenset()
    attentions: frozenset[str] = frozenset()

    def get(self, name: str) -> tuple[float, float] | None:
        """(low, high) of a value; None where calibration did not see it."""
        return self.values.get(name)

    def __len__(self) -> int:
        return len(self.values)

    def __contains__(self, name: object) -> bool:
        return name in self.values

    def check(self, fingerprint: str, source: str) -> None:
        """Raises NiwakiError where these are the ranges of another graph than the one with this fingerprint."""
        if self.fingerprint and self.fingerprint != fingerprint:
            raise NiwakiError(
                f"{source} is another graph than the one that was calibrated, so the ranges of its values are not "
                "known: its code, the arguments it is called with, or the kind of its inputs have changed since. Pass "
                "calibration= to niwaki.compile to observe anew, or call it as niwaki.compress did."
            )


def ranges_of(module: nn.Module) -> Ranges:
    """The ranges that a compressed network carries; empty ones where it carries none."""
    found = vars(module).get(RANGES_NAME)
    return found if isinstance(found, Ranges) else Ranges()


def attach_ranges(module: nn.Module, ranges: Ranges) -> None:
    """Makes a module carry ranges, in place of those that it carries."""
    if RANGES_NAME not in vars(module):
        module.register_state_dict_post_hook(_save)
        module.register_load_state_dict_pre_hook(_load)
    setattr(module, RANGES_NAME, ranges)


def _save(module: nn.Module, state: dict[str, Any], prefix: str, _: Any) -> None:
    ranges = ranges_of(module)
    with torch.inference_mode(False):
        pairs = torch.tensor([list(pair) for pair in ranges.values.values()], dtype=torch.float64).reshape(-1, 2)
        words = {
            "fingerprint": ranges.fingerprint, "names": list(ranges.values), "floats": sorted(ranges.floats),
            "attentions": sorted(ranges.attentions),
        }  # fmt: skip
        state[prefix + _VALUES] = pairs
        state[prefix + _WORDS] = torch.frombuffer(bytearray(json.dumps(words).encode()), dtype=torch.uint8).clone()


def _load(
    module: nn.Module, state: dict[str, Any], prefix: str, _: Any, strict: bool, missing: list[str], *rest: Any
) -> None:
    # Taken out of the state: to torch they would be names that the module does not have.
    values, words = state.pop(prefix + _VALUES, None), state.pop(prefix + _WORDS, None)
    if values is None or words is None:
        missing += [prefix + name for name, found in ((_VALUES, values), (_WORDS, words)) if found is None and strict]
        return
    said = json.loads(bytes(words.tolist()).decode())
    pairs = [(float(low), float(high)) for low, high in values.tolist()]
    values = dict(zip(said["names"], pairs, strict=True))
    attentions = frozenset(said.get("attentions", ()))  # files of before have none
    attach_ranges(module, Ranges(said["fingerprint"], values, frozenset(said["floats"]), attentions))
