"""Which attentions multiply codes of 8 bits: those that cost little of the network's results."""

from __future__ import annotations

import dataclasses

from niwaki.lower.nodes import origin
from niwaki.lower.operators.products import is_attention
from niwaki.quantization.errors import Check
from niwaki.quantization.ranges import Ranges

# Of the squared errors of the results, what attention in 8 bits may add: 0.1 of it is 5 % of an error.
_MORE = 1.1
# Below it, an error is small whatever it was before.
_FINE = 0.01
# Trials of some attentions where all together cost too much.
_TRIALS = 6


def choose_attentions(check: Check, ranges: Ranges, *, measured: bool) -> Ranges:
    """The ranges with the attentions whose products are in 8 bits.

    Args:
        check: of the graph.
        ranges: of its values.
        measured: only those that the errors of the results allow; else all.
    """
    names = [origin(node) for node in check.program.module.graph.nodes if is_attention(node)]
    if not names:
        return ranges
    if not measured:
        return dataclasses.replace(ranges, attentions=frozenset(names))
    before = check.errors(ranges)
    most = max(_MORE * _total(before), len(before) * _FINE**2)
    chosen = ranges
    left, trials = [names], _TRIALS
    while left and trials:
        part = left.pop(0)
        tried = dataclasses.replace(ranges, attentions=chosen.attentions | frozenset(part))
        trials -= 1
        if _total(check.errors(tried)) <= most:
            chosen = tried
        elif len(part) > 1:
            half = len(part) // 2
            left += [part[:half], part[half:]]
    return chosen


def _total(errors: list[float]) -> float:
    return sum(error**2 for error in errors)
