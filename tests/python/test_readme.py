"""README.md does what it says: snippets run and print what it shows, commands parse, links lead somewhere."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
from pathlib import Path

import pytest

from niwaki.cli.entry import make_parser

README = (Path(__file__).resolve().parents[2] / "README.md").read_text(encoding="utf-8")
SNIPPETS = re.findall(r"```python\n(.*?)```\n(?:```\n(.*?)```)?", README, re.DOTALL)


def test_has_snippets() -> None:
    assert len(SNIPPETS) >= 1
    assert SNIPPETS[0][1], "the quickstart shows what it prints"
    assert len(SNIPPETS[0][0].strip().splitlines()) <= 10, "a quickstart has at most ten lines"


@pytest.mark.parametrize(("code", "printed"), SNIPPETS, ids=range(len(SNIPPETS)))
def test_snippet(code: str, printed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        exec(compile(code, "README.md", "exec"), {"__name__": "__main__"})
    assert output.getvalue().strip() == printed.strip()


def test_commands_parse() -> None:
    lines = re.findall(r"^niwaki (?:compress|inspect|bench) .*$", README, re.MULTILINE)
    assert {shlex.split(line)[1] for line in lines} == {"compress", "inspect", "bench"}
    for line in lines:
        make_parser().parse_args(shlex.split(line)[1:])


def test_make_targets_exist(root: Path) -> None:
    makefile = (root / "Makefile").read_text(encoding="utf-8")
    for target in set(re.findall(r"\bmake (demo|test|docs|lint|bench|clean)\b", README)):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_links_lead_somewhere(root: Path) -> None:
    links = [link for link in re.findall(r"\]\(([^)]+)\)", README) if not link.startswith("http")]
    assert len(links) >= 5
    for link in links:
        path, _, heading = link.partition("#")
        assert (root / path).exists(), link
        if heading:
            headings = re.findall(r"^#+ (.*)$", (root / path).read_text(encoding="utf-8"), re.MULTILINE)
            assert heading in [re.sub(r"[^\w -]", "", each.lower()).replace(" ", "-") for each in headings], link


def test_numbers_are_those_of_the_comparison(root: Path) -> None:
    """The small table of README.md has nothing that `make bench-peers` did not write into docs/comparison.md."""
    page = (root / "docs" / "comparison.md").read_text(encoding="utf-8")
    rows = [line for line in README.splitlines() if re.match(r"\| \w+, ", line)]
    assert len(rows) >= 3
    for row in rows:
        name, *cells = (cell.strip() for cell in row.strip("|").split("|"))
        (line,) = (each for each in page.splitlines() if each.startswith(f"| {name} | 1, 1 |"))
        assert set(cells) <= {re.sub(r" \(.*\)", "", cell.strip()) for cell in line.strip("|").split("|")}, name
