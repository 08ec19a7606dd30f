"""What runs files stands by itself: niwaki.runtime imports numpy, the core and the errors, and nothing else."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "python" / "niwaki"
ALLOWED = ("numpy", "niwaki._core", "niwaki.errors", "niwaki.runtime")
TENSORS = "torch_tensors.py"  # the one file that knows torch


def imported(tree: ast.AST) -> Iterator[str]:
    """Full names of the modules, whether at the top or inside of a function."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0 and node.module is not None
            if node.module == "niwaki":
                yield from (f"niwaki.{alias.name}" for alias in node.names)
            else:
                yield node.module


def allowed(name: str) -> bool:
    return name.partition(".")[0] in sys.stdlib_module_names or any(
        name == each or name.startswith(f"{each}.") for each in ALLOWED
    )


def test_runtime_imports_nothing_of_torch_or_the_rest() -> None:
    files = sorted((PACKAGE / "runtime").glob("*.py"))
    assert len(files) > 10 and PACKAGE / "runtime" / TENSORS in files
    for path in [*files, PACKAGE / "errors.py"]:
        strange = [name for name in imported(ast.parse(path.read_text(encoding="utf-8"))) if not allowed(name)]
        assert strange == (["torch"] if path.name == TENSORS else []), path.name


def test_torch_is_imported_for_a_tensor_alone() -> None:
    """Only inside of a function, which is called once a tensor was handed in."""
    for path in (PACKAGE / "runtime").glob("*.py"):
        top = [node for node in ast.parse(path.read_text(encoding="utf-8")).body if not isinstance(node, ast.If)]
        found = {name for node in top if isinstance(node, (ast.Import, ast.ImportFrom)) for name in imported(node)}
        assert not any(name.endswith("torch_tensors") for name in found), path.name
