"""What a module returns beyond tuples, lists and dicts: torch has to be told where its tensors are."""

from __future__ import annotations

import re
from dataclasses import fields, is_dataclass
from typing import Any

from torch import nn
from torch.utils import _pytree as pytree


def know_results(_module: nn.Module, _args: Any, answer: Any) -> None:
    """Makes dataclasses within an answer known to torch, their fields as parts of it. A forward hook."""
    for leaf in pytree.tree_leaves(answer):
        kind = type(leaf)
        if is_dataclass(kind) and kind not in pytree.SUPPORTED_NODES and all(each.init for each in fields(kind)):
            pytree.register_dataclass(kind)
            know_results(_module, _args, [getattr(leaf, each.name) for each in fields(kind)])


def unknown(error: BaseException) -> str:
    """Says that it was a result's type that torch.export did not know; empty where it was something else."""
    found = re.match(r"Found <class '(?:.*\.)?(\w+)'> in output", str(error))
    if found is None:
        return ""
    cache = "Of a model of transformers, set model.config.use_cache = False. " if found[1].endswith("Cache") else ""
    return (
        f"It returns a {found[1]}, which is no tensor and none of what holds tensors here. {cache}"
        "Return tensors, or a tuple, list, dict, NamedTuple or dataclass of them."
    )
