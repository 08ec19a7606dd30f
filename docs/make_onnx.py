"""Writes docs/onnx-operators.md: what niwaki.from_onnx knows, and which of ONNX's own tests it refuses.

python docs/make_onnx.py
"""

from __future__ import annotations

import re
import sys
from collections import defaultdict
from pathlib import Path

import onnx

from niwaki import NiwakiError
from niwaki.onnx import operators  # noqa: F401 (fills the table)
from niwaki.onnx.registry import NEWEST, known

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tests" / "python"))


def supported() -> str:
    """The operators, by domain."""
    by_domain: dict[str, list[str]] = defaultdict(list)
    for (domain, name), entries in known().items():
        since = min(entry.since for entry in entries)
        newest = max(entry.until for entry in entries)
        span = "" if domain else f" ({since}+)" if newest == NEWEST else f" ({since} to {newest})"
        by_domain[domain].append(name + span)
    return "\n\n".join(
        f"{'ONNX' if not domain else f'`{domain}`'}: {', '.join(names)}." for domain, names in sorted(by_domain.items())
    )


def composed_and_missing() -> tuple[list[str], list[str]]:
    """Operators of ONNX that are taken apart into others, and those that are not supported."""
    have = {name for domain, name in known() if not domain} | {"If"}
    composed, missing = [], []
    for schema in onnx.defs.get_all_schemas():
        if schema.domain or schema.name in have or schema.deprecated:
            continue
        made = schema.has_function or schema.has_context_dependent_function
        (composed if made else missing).append(schema.name)
    return sorted(composed), sorted(missing)


def refused() -> tuple[int, dict[str, list[str]]]:
    """How many of ONNX's tests pass, and those that are refused, by the reason."""
    import onnx_backend

    passed = 0
    reasons: dict[str, list[str]] = defaultdict(list)
    for case in onnx_backend.cases():
        try:
            onnx_backend.run(case)
            passed += 1
        except NotImplementedError:
            reasons["it is given sequences or optional values"].append(case.name)
        except NiwakiError as error:
            reasons[reason_of(error)].append(case.name)
        except AssertionError:
            reasons["its answer is another one: see tests/python/test_onnx_operators.py"].append(case.name)
    return passed, reasons


def reason_of(error: NiwakiError) -> str:
    """What a refusal says, without the names of nodes."""
    text = str(error).removeprefix("The ONNX model cannot be converted: ").rstrip(".")
    text = re.sub(r"(node|input|initializer|output) '[^']*'( \(\w+\))?( \(and \d+ more\))?: ", "", text)
    return re.sub(r"its (input|axes) '[^']*'", r"its \1", text)


def page() -> str:
    composed, missing = composed_and_missing()
    passed, reasons = refused()
    rows = [
        f"| {reason} | {len(names)} | {', '.join(names[:3])}{', ...' if len(names) > 3 else ''} |"
        for reason, names in sorted(reasons.items(), key=lambda pair: (-len(pair[1]), pair[0]))
    ]
    return "\n".join(
        [
            "# Operators of ONNX that niwaki.from_onnx knows",
            "",
            "Made by `python docs/make_onnx.py`; do not edit. In brackets: opsets in which the operator was defined",
            "as it is understood here.",
            "",
            supported(),
            "",
            "`If` is taken where its condition follows from constants and from sizes that are known: see",
            "[onnx.md](onnx.md).",
            "",
            "Taken apart into others, as ONNX defines them, and supported where all of these are: "
            f"{', '.join(composed)}.",
            "",
            f"Not supported: {', '.join(missing)}.",
            "",
            f"## ONNX's own tests, of the package onnx {onnx.__version__}",
            "",
            f"{passed} pass. Of the others:",
            "",
            "| why | tests | such as |",
            "|---|---|---|",
            *rows,
            "",
        ]
    )


if __name__ == "__main__":
    (HERE / "onnx-operators.md").write_text(page())
