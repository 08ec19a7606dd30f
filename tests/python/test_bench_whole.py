"""The page about whole networks: what bench/whole/run.py says of what it found, and how it is kept."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from whole import check, page, results, run

ROWS = [
    {"name": "torch/tagger", "kind": "compress", "parameters": 10, "reasons": [], "wrong": [], "refused": [],
     "sizes": {"batch": [0, None], "length": [2, 64]}, "errors": [["batch 1, size 12", 0.005, 0.0]],
     "checked": "2026-11-27"},
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
    assert "| tagger | yes | batch, length up to 64 | 0.5% |  | 2026-11-27 |" in lines
    assert "| swin | yes |  |  | 128 |  |" in lines
    assert "| one | 4.5 | no: a: aten::x \\| is not native |  |  |  |" in lines
    assert "| two | 0.0 | no: took more than 3 s |  |  |  |" in lines
    assert any("1 of 3" in line for line in lines) and any("(33 %)" in line for line in lines)


def test_results_are_kept_in_the_order_of_the_lists(tmp_path: Path) -> None:
    path = tmp_path / "here" / "results.jsonl"
    names = ["family/b", "timm/mixnet_s", "own/YOLO", "family/a", "transformers/ViTModel", "transformers/BertModel"]
    for parameters, name in enumerate(names):
        results.add(path, {"name": name, "parameters": parameters, "errors": [["batch 1", 0.123456, 0.0]]})
    kept = results.add(path, {"name": "timm/mixnet_s", "parameters": 0, "wrong": ["other bits"]})
    assert kept == results.read(path)
    assert list(kept) == [
        "transformers/BertModel", "transformers/ViTModel", "timm/mixnet_s", "own/YOLO", "family/b", "family/a",
    ]  # fmt: skip
    assert kept["timm/mixnet_s"] == {"name": "timm/mixnet_s", "parameters": 0, "wrong": ["other bits"]}
    assert kept["own/YOLO"]["errors"] == [["batch 1", 0.1235, 0.0]]
    assert [each.name for each in path.parent.iterdir()] == ["results.jsonl"]


def test_what_is_checked_again() -> None:
    days = {"timm/mixnet_s": "2026-11-26", "timm/levit_128s": "2026-11-27", "family/a": "2026-11-26"}
    rows = {name: {"name": name, "checked": day} for name, day in days.items()}
    assert run.wanted(rows, ["timm/mixnet", "timm/levit", "family/"], "") == []
    assert run.wanted(rows, ["timm/mixnet", "timm/levit"], "2026-11-27") == ["timm/mixnet_s"]
    assert run.wanted(rows, ["family/"], "2026-11-28") == ["family/a"]
    assert "timm/mixnet_s" not in (found := run.wanted(rows, [], "")) and "timm/nfnet_l0" in found
    assert "torch/LSTM tagger" in run.wanted({}, ["torch/"], "")


def test_the_page_is_that_of_the_results(tmp_path: Path) -> None:
    whole = Path(run.__file__).parent
    page.write(results.read(whole / "results.jsonl"), tmp_path / "page.md")
    assert (tmp_path / "page.md").read_text() == (whole.parents[1] / "docs" / "networks.md").read_text()


@pytest.mark.parametrize("wrong", [[], ["batch 1, size 7: other infinities"]])
def test_a_line_says_what_the_page_says(wrong: list[str]) -> None:
    first = "wrong: batch 1, size 7: other infinities" if wrong else "yes"
    assert page.summary({**ROWS[0], "wrong": wrong}) == f"{first}; free batch, length up to 64; error 0.5%"


def test_how_far_answers_are_from_each_other() -> None:
    x = torch.tensor([3.0, 4.0])
    assert check.error(x, x) == 0 and check.error((x * 1.5,), [x]) == 0.5
    assert check.error(x, x[:1]) == "torch.float32 [2], not torch.float32 [1]"
    assert check.error(x / 0, x) == "other infinities" and check.error((x, x), x) == "2 results, not 1"
    assert check.same([x, x], [x, x.clone()]) and not check.same(x, x + 1)
