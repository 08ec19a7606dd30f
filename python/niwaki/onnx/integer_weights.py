"""Integers of a file's weights as int8 in -127 to 127, which are all that niwaki's layers multiply by.

Files have 256 different ones: uint8 with any zero point, int8 with -128. Products with them are exact all the same:

- What is added to all weights of an output is taken out of them: x (w - c) + c sum(x), where one output more, of ones,
  makes sum(x) for all others.
- What is still beyond 127 is the weight of two inputs that are alike: x w = x 127 + x (w - 127), and there is a second
  x for it. Of 256 numbers that is one, and few inputs have it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

LARGEST = 127


@dataclass(frozen=True)
class Codes:
    """Weights in int8.

    Attributes:
        weight: int8 [O, I + len(again), ...], or [O + 1, ...] where there is a shift: the last output is the sum.
        again: which inputs are there once more, behind all others.
        shift: float32 [O], how often the sum belongs to each output; None where it belongs to none.
    """

    weight: torch.Tensor
    again: tuple[int, ...]
    shift: torch.Tensor | None


def codes_of(weight: torch.Tensor) -> Codes | None:
    """Integers in float32 [O, I, ...] as int8; None where they are none, or an output has more than 256 of them."""
    if not weight.numel() or not bool(torch.equal(weight, weight.round())):
        return None
    shift = torch.zeros(len(weight))
    if 8 * len(_beyond(weight)) > weight.shape[1]:  # more than a few: then the sum costs less
        rows = weight.flatten(1)
        low, high = rows.amin(1), rows.amax(1)
        if bool((high - low > 2 * LARGEST + 1).any()):
            return None
        # An end that no number of int8 is left for is the one that has fewer weights.
        above = (rows == low[:, None]).sum(1) <= (rows == high[:, None]).sum(1)
        full = high - low == 2 * LARGEST + 1
        shift = torch.where(high > LARGEST, high - LARGEST, torch.where(low < -LARGEST, low + LARGEST, shift))
        shift = torch.where(full, torch.where(above, high - LARGEST, low + LARGEST), shift)
    weight = weight - shift.reshape(-1, *[1] * (weight.dim() - 1))
    again = _beyond(weight)
    kept = weight.clamp(-LARGEST, LARGEST)
    found = torch.cat([kept, (weight - kept)[:, list(again)]], 1)
    if bool((found.abs() > LARGEST).any()):
        return None
    shifted = bool(shift.any())
    if shifted:
        one = torch.zeros_like(found[:1])
        one[:, : weight.shape[1]] = 1
        found = torch.cat([found, one])
    return Codes(found.to(torch.int8), again, shift if shifted else None)


def _beyond(weight: torch.Tensor) -> tuple[int, ...]:
    """The inputs with weights that are no int8 of ours."""
    found = (weight.abs() > LARGEST).transpose(0, 1).flatten(1).any(1)
    return tuple(found.nonzero().flatten().tolist())
