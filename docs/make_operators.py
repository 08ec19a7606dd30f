"""Writes docs/operators.md: what the core's table of operators and the lowering from torch say of themselves.

python docs/make_operators.py
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from niwaki import _core
from niwaki.capture.composed import FUNCTIONS
from niwaki.lower.canonical import DECOMPOSITIONS
from niwaki.lower.operators.registry import known_operators

PAGE = Path(__file__).with_name("operators.md")
INTRODUCTION = """\
# Operators

Written by `python docs/make_operators.py`; a test compares it with the code.

## Operators of torch that run natively

As torch.export names them. Those in bold have a form that computes in uint8 between layers; all of them have one
in float32, or move elements of any type. A network with any other operator that torch does not compose of these runs
with that part in torch, cannot be saved, and its plan says so.

"""
COMPOSED = """\
niwaki composes of these what torch does not, or only for the sizes of an example: """
CORE = """
## Operators of the core

What a graph and a file consist of; docs/architecture.md says how numbers are rounded. Attributes: integers, `x` where
expressions of the free sizes are allowed; numbers are float64. A dtype list is what an input may be. `?` marks what
may be left out.

| operator | inputs | attributes | tensors | |
|---|---|---|---|---|
"""


def _attribute(rule: dict[str, Any]) -> str:
    kind = {"integers": "", "expressions": " x", "numbers": " number", "word": ""}[rule["kind"]]
    words = " " + " \\| ".join(rule["words"]) if rule["words"] else ""
    count = f"[{rule['count']}]" if rule["count"] > 1 else "[]" if rule["count"] == 0 else ""
    return f"`{rule['name']}`{count}{kind}{words}{'' if rule['required'] else '?'}"


def _input(rule: dict[str, Any], repeats: bool) -> str:
    types = "any" if len(rule["dtypes"]) >= 5 else ", ".join(rule["dtypes"])
    return f"{rule['name']}{'...' if repeats else ''}{'?' if rule['optional'] else ''}: {types}"


def _tensor(rule: dict[str, Any]) -> str:
    types = "any" if len(rule["dtypes"]) >= 5 else ", ".join(rule["dtypes"])
    return f"`{rule['name']}`{'?' if rule['optional'] else ''} {types}"


def page() -> str:
    """The page's text."""
    operators = known_operators()
    native: dict[str, list[str]] = {}
    for name in sorted(operators):
        namespace, _, short = name.partition("::")
        native.setdefault(namespace, []).append(f"**{short}**" if operators[name].has_u8(name) else short)
    lines = [INTRODUCTION]
    lines += [f"{namespace}: {', '.join(names)}.\n" for namespace, names in sorted(native.items())]
    composed = {
        *(function.__name__ for function in FUNCTIONS),
        *(target._opname for target in DECOMPOSITIONS),
        "as_strided",
    }
    lines.append(f"{COMPOSED}{', '.join(sorted(composed))}.\n")
    lines.append(CORE)
    for rule in _core.operators():
        last = len(rule["inputs"]) - 1
        inputs = [_input(each, rule["repeats_input"] and i == last) for i, each in enumerate(rule["inputs"])]
        tensors = [*map(_tensor, rule["tensors"]), *([rule["more_tensors"]] if rule["more_tensors"] else [])]
        attributes = [_attribute(each) for each in rule["attributes"]]
        cells = ("; ".join(inputs), ", ".join(attributes), "; ".join(tensors), rule["summary"])
        lines.append(f"| `{rule['name']}` | {' | '.join(cells)} |\n")
    return "".join(lines)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
