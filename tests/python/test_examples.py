"""The examples in the docstrings of the main verbs."""

from __future__ import annotations

import doctest
import inspect
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from torch import nn

import niwaki

VERBS = ("compress", "optimize", "prune", "quantize", "Target", "compile", "load", "inspect")


@pytest.fixture(scope="module")
def names() -> dict[str, Any]:
    """What the examples take as given: a trained network, and some inputs [64, 3, 16, 16]."""
    torch.manual_seed(0)
    head = (nn.Flatten(), nn.Linear(16 * 144, 10))
    model = nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 16, 3), nn.ReLU(), *head).eval()
    return {"niwaki": niwaki, "torch": torch, "numpy": numpy, "model": model, "images": torch.randn(64, 3, 16, 16)}


@pytest.mark.parametrize("verb", VERBS)
def test_examples_do_what_they_say(
    verb: str, names: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    if verb in ("load", "inspect"):
        small = niwaki.quantize(names["model"], names["images"], progress=False)
        niwaki.compile(small, (names["images"][:1],)).save("small.niwaki")
    told = inspect.getdoc(getattr(niwaki, verb))
    assert told is not None
    test = doctest.DocTestParser().get_doctest(told, dict(names), verb, None, None)
    assert test.examples, f"{verb} has no example"
    result = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(test)
    assert result.failed == 0
