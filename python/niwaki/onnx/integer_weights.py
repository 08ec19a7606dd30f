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
LANES = 4
"""Channels that lie together: whole ones are copied fastest."""
MOST_SLICES = 4
"""Of a value's inputs that are there again. Where more would do, some have inputs between them that need not be."""


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


@dataclass(frozen=True)
class Wide:
    """Integers of a layer's weights as int8, with inputs that are there again.

    Attributes:
        weight: int8 [O, I', ...], where I' are the inputs of a group.
        slices: which inputs follow behind all, each from one to before another. Of a layer without groups.
        order: which inputs there are instead. Of a layer with groups; else empty.
    """

    weight: torch.Tensor
    slices: tuple[tuple[int, int], ...] = ()
    order: tuple[int, ...] = ()


def wide(weight: torch.Tensor, groups: int = 1) -> Wide:
    """Integers [O, I, ...] of any size as int8: what is beyond 127 is the weight of an input that is there again."""
    parts, slices = [weight.clamp(-LARGEST, LARGEST)], []
    order = [torch.arange(groups * weight.shape[1]).reshape(groups, -1)]
    rest = weight - parts[0]
    while bool(rest.any()):
        now = rest.clamp(-LARGEST, LARGEST)
        if groups == 1:
            for first, last in _slices(now):
                parts.append(now[:, first:last])
                slices.append((first, last))
        else:  # as many for each group, those of which most is beyond
            each = now.reshape(groups, -1, *now.shape[1:]).transpose(1, 2).flatten(2).any(2)
            which = each.int().argsort(dim=1, descending=True, stable=True)[:, : int(each.sum(1).max())]
            order.append(order[0].gather(1, which))
            index = which.repeat_interleave(len(now) // groups, 0)[..., None, None]
            parts.append(now.gather(1, index.expand(-1, -1, *now.shape[2:])))
        rest = rest - now
    chosen = tuple(torch.cat(order, 1).flatten().tolist()) if len(order) > 1 else ()
    return Wide(torch.cat(parts, 1).to(torch.int8), tuple(slices), chosen)


def _slices(rest: torch.Tensor) -> list[tuple[int, int]]:
    """Few slices of the inputs that have every input with weights that are not zero."""
    inputs = rest.shape[1]
    found: list[tuple[int, int]] = []
    for first in range(0, inputs, LANES):
        last = min(first + LANES, inputs)
        if not bool(rest[:, first:last].any()):
            continue
        if found and found[-1][1] == first:
            found[-1] = (found[-1][0], last)
        else:
            found.append((first, last))
    while len(found) > MOST_SLICES:  # over the smallest gap
        gap = min(range(len(found) - 1), key=lambda each: found[each + 1][0] - found[each][1])
        found[gap : gap + 2] = [(found[gap][0], found[gap + 1][1])]
    return found


def _beyond(weight: torch.Tensor) -> tuple[int, ...]:
    """The inputs with weights that are no int8 of ours."""
    found = (weight.abs() > LARGEST).transpose(0, 1).flatten(1).any(1)
    return tuple(found.nonzero().flatten().tolist())
