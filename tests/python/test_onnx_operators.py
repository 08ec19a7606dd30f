"""ONNX's own tests of its operators, each run as it is and with all inputs as constants."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

pytest.importorskip("onnx", reason="the extra niwaki[onnx] is not installed")

import onnx
import onnx_backend

from niwaki import NiwakiError

DOCS = Path(__file__).resolve().parents[2] / "docs"

# Where the answer is meant to be another one.
OTHERWISE = {
    "resize_downsample_scales_linear_align_corners": "ONNX Runtime's, which counts whole pixels",
    "resize_downsample_scales_cubic_align_corners": "ONNX Runtime's, which counts whole pixels",
    "dft_inverse": "0, where the expected one is 2e-7",
    "dft_inverse_opset19": "0, where the expected one is 2e-7",
}


def _by_operator() -> dict[str, list[onnx_backend.Case]]:
    found: dict[str, list[onnx_backend.Case]] = defaultdict(list)
    for case in onnx_backend.cases():
        operators = case.operators
        found[operators[0] if len(operators) == 1 else "several"].append(case)
    return dict(sorted(found.items()))


CASES = _by_operator()


@pytest.mark.parametrize("constant", [False, True], ids=["inputs", "constants"])
@pytest.mark.parametrize("operator", list(CASES))
def test_answers_are_onnx_s(operator: str, constant: bool) -> None:
    """What is not refused is right."""
    for case in CASES[operator]:
        if case.name in OTHERWISE:
            continue
        try:
            onnx_backend.run(case, constant=constant)
        except (NiwakiError, NotImplementedError):
            continue  # test_refusals_are_those_of_the_page counts them
        except AssertionError as error:
            raise AssertionError(f"{case.name}: {error}") from error


def test_refusals_are_those_of_the_page(import_file: Callable[[Path], ModuleType]) -> None:
    """As many tests pass as the page says, so none is refused that was not before."""
    page = (DOCS / "onnx-operators.md").read_text()
    if f"of the package onnx {onnx.__version__}\n" not in page:
        pytest.skip(
            f"docs/onnx-operators.md counts the tests of another version than onnx {onnx.__version__}: "
            "install that one, or write the page anew with python docs/make_onnx.py"
        )
    assert import_file(DOCS / "make_onnx.py").page() == page, "run python docs/make_onnx.py"


def test_the_page_tells_how_many_pass() -> None:
    match = re.search(r"^(\d+) pass\.", (DOCS / "onnx-operators.md").read_text(), re.MULTILINE)
    assert match is not None and int(match.group(1)) >= 1490


@pytest.mark.parametrize("kind", ["pytorch-operator", "pytorch-converted", "simple"])
def test_old_files_of_torch(kind: str) -> None:
    """Files of opset 6 to 11 that torch wrote: right, or refused."""
    right = 0
    for case in onnx_backend.cases(kind):
        try:
            onnx_backend.run(case)
            right += 1
        except (NiwakiError, NotImplementedError):
            continue
        except AssertionError as error:
            raise AssertionError(f"{case.name}: {error}") from error
    assert right >= {"pytorch-operator": 21, "pytorch-converted": 66, "simple": 15}[kind]
