"""The page about whole networks: what bench/whole/run.py says of what it found."""

from __future__ import annotations

from pathlib import Path

import torch
from whole import check, page

ROWS = [
    {"name": "torch/tagger", "kind": "compress", "parameters": 10, "reasons": [], "wrong": [], "refused": [],
     "sizes": {"batch": [0, None], "length": [2, 64]}, "errors": [["batch 1, size 12", 0.005, 0.0]]},
    {"name": "timm/swin", "kind": "compress", "parameters": 10, "reasons": [], "wrong": [], "sizes": {},
     "refused": ["batch 1, size 128: height must be 64.", "batch 3, size 128: height must be 64."], "errors": []},
    {"name": "family/one", "kind": "float32", "parameters": 4_500_000, "reasons": ["a: aten::x | is not native"],
     "wrong": [], "refused": [], "sizes": {}, "errors": []},
    {"name": "family/two", "failed": "took more than 3 s"},
    {"name": "family/three", "kind": "float32", "parameters": 1_000_000, "reasons": [], "wrong": [], "refused": [],
     "sizes": {}, "errors": []},
]  # fmt: skip


def test_what_the_page_says(tmp_path: Path) -> None:
    page.write({row["name"]: row for row in ROWS}, tmp_path / "page.md")
    lines = (tmp_path / "page.md").read_text().splitlines()
    assert "| tagger | yes | batch, length up to 64 | 0.5% |  |" in lines
    assert "| swin | yes |  |  | 128 |" in lines
    assert "| one | 4.5 | no: a: aten::x \\| is not native |  |  |" in lines
    assert "| two | 0.0 | no: took more than 3 s |  |  |" in lines
    assert any("1 of 3" in line for line in lines) and any("(33 %)" in line for line in lines)


def test_how_far_answers_are_from_each_other() -> None:
    x = torch.tensor([3.0, 4.0])
    assert check.error(x, x) == 0 and check.error((x * 1.5,), [x]) == 0.5
    assert check.error(x, x[:1]) == "torch.float32 [2], not torch.float32 [1]"
    assert check.error(x / 0, x) == "other infinities" and check.error((x, x), x) == "2 results, not 1"
    assert check.same([x, x], [x, x.clone()]) and not check.same(x, x + 1)
