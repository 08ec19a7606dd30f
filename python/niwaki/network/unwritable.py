"""Why a network has no file, in a sentence: found in its parts, or foreseen before anything long begins."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.utils import _pytree as pytree

from niwaki.errors import NiwakiError
from niwaki.lower.foreseen import DECIDES, foreseen
from niwaki.lower.operators.registry import OF_CHANCE, OF_VALUES
from niwaki.lower.partition import BETWEEN

_MOST = 4  # parts
_SHOWN = 6  # of a kind

_REMEDIES = {
    OF_VALUES: "To choose elements by values, keep all and set the others to zero with torch.where.",
    OF_CHANCE: "Pass random numbers in as an input; F.dropout is off with training=self.training.",
}


def parts_in_torch(parts: Sequence[tuple[str, Sequence[str]]]) -> str:
    """That parts stay in torch and what to do, for the end of a sentence.

    Args:
        parts: the name of each, and reasons that begin with the operator.
    """
    named = "; ".join(f"'{name}' ({reasons_in_words(_own(reasons))})" for name, reasons in parts[:_MOST])
    more = f"; and {len(parts) - _MOST} more" if len(parts) > _MOST else ""
    remedy = "".join(
        f" {words}"
        for why, words in _REMEDIES.items()
        if any(reason.endswith(why) for _, reasons in parts for reason in reasons)
    )
    return (
        f"a file holds native operators only and these stay in torch: {named}{more}. Write these parts with other "
        f"operators, or end the network before them.{remedy}"
    )


def _own(reasons: Sequence[str]) -> Sequence[str]:
    """Without those of operators that could be native by themselves, where there are others."""
    return [reason for reason in reasons if BETWEEN not in reason] or reasons


def reasons_in_words(reasons: Sequence[str]) -> str:
    """The reasons in one line; operators with the same one are named together."""
    operators: dict[str, list[str]] = {}
    for reason in reasons:
        operator, _, why = reason.partition(" ")
        operators.setdefault(why, []).append(operator)
    parts = []
    for why, names in operators.items():
        shown = ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
        parts.append(f"{shown} {why.replace('is not', 'are not', 1) if len(names) > 1 else why}")
    return "; ".join(parts[:_SHOWN]) + (f"; and {len(parts) - _SHOWN} more" if len(parts) > _SHOWN else "")


def foreseen_reason(module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any] | None = None) -> str:
    """Why a network certainly has no file, for the end of a sentence; empty where that is not sure.

    Args:
        module: on the CPU. It answers once, for the first of a batch.
        args, kwargs: an example input.
    """
    reasons: dict[str, list[str]] = {}
    for each in foreseen(module, *_first((args, dict(kwargs or {})))):
        if each.reason == DECIDES:
            return (
                f"a file holds one graph and '{each.layer}' {DECIDES}. Choose between results with torch.where, or "
                "decide outside of the network."
            )
        reasons.setdefault(each.layer, []).append(each.reason)
    return parts_in_torch(list(reasons.items())) if reasons else ""


def check_foreseen(
    module: nn.Module,
    example: tuple[Any, ...],
    path: str | os.PathLike[str],
    kwargs: Mapping[str, Any] | None = None,
) -> None:
    """Says within a second what has no file. What is not sure is left to `Network.check_file`.

    Raises:
        NiwakiError: the network has no file.
    """
    why = foreseen_reason(module, example, kwargs)
    if why:
        raise NiwakiError(f"{os.fspath(path)}: not written, because {why}")


def _first(inputs: Any) -> Any:
    """The first of a batch; the inputs themselves where they are none."""
    lengths = {len(x) if x.dim() else 0 for x in pytree.tree_leaves(inputs) if isinstance(x, torch.Tensor)}
    if len(lengths) != 1 or lengths == {0}:
        return inputs
    return pytree.tree_map(lambda leaf: leaf[:1] if isinstance(leaf, torch.Tensor) else leaf, inputs)
