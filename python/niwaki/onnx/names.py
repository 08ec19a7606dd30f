"""What the layers of a file are called: after the modules that they were exported from, where the file tells."""

from __future__ import annotations

import ast
import re
from typing import Any

_GENERATED = re.compile(r"^(onnx::|_v_|val_|node_)|^\d+$")


def label_of(node: Any, weights: list[str]) -> str:
    """A name with dots for the layer that a node becomes.

    Args:
        node: of the file.
        weights: names of the constants that it reads.

    Exporters tell where a node comes from in its metadata (torch.onnx of torch 2.5 and newer), in the name of its
    weight ("layer1.0.conv1.weight"), or in its own ("/layer1/layer1.0/conv1/Conv").
    """
    for found in (_from_scopes(node), *map(_from_weight, weights), _from_path(node.name)):
        if found:
            return found
    plain = _clean(node.name) or _clean(node.output[0] if node.output else "")
    return plain.replace(".", "_") or node.op_type.lower()


def _from_scopes(node: Any) -> str:
    for entry in getattr(node, "metadata_props", ()):
        if entry.key == "pkg.torch.onnx.name_scopes":
            try:
                scopes = ast.literal_eval(entry.value)
            except (ValueError, SyntaxError):
                return ""
            # The last one is the operator's own.
            return _clean(str(scopes[-2])) if len(scopes) > 1 else ""
    return ""


def _from_weight(name: str) -> str:
    if _GENERATED.search(name):
        return ""
    stem, dot, last = name.rpartition(".")
    return _clean(stem) if dot and last.startswith("weight") else ""


def _from_path(name: str) -> str:
    """layer1.0.conv1 of "/layer1/layer1.0/conv1/Conv": each part may repeat the one before it."""
    if not name.startswith("/"):
        return ""
    parts: list[str] = []
    for part in name.strip("/").split("/")[:-1]:
        words = part.split(".")
        same = (count for count in range(len(words) - 1, 0, -1) if parts[-count:] == words[:count])
        parts += words[next(same, 0) :]
    return ".".join(filter(None, (re.sub(r"\W+", "_", part) for part in parts)))


def _clean(name: str) -> str:
    words = [re.sub(r"\W+", "_", word).strip("_") for word in name.strip("/").split(".")]
    return ".".join(word for word in words if word)
