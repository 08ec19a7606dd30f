"""The documentation: pages that are written by the code, snippets that run, and a site without a loose end."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md"))
# Pages whose snippets are parts of one program, which runs.
PROGRAMS = (
    "quickstart.md",
    "choosing.md",
    "compression.md",
    "troubleshooting.md",
    "settings.md",
    "guides/image-classifier.md",
    "guides/detector.md",
    "guides/text-encoder.md",
    "guides/speech.md",
    "guides/fine-tuning.md",
)


def test_the_page_of_operators_is_what_the_code_says(import_file: Callable[[Path], ModuleType]) -> None:
    page = import_file(DOCS / "make_operators.py").page()
    assert (DOCS / "operators.md").read_text(encoding="utf-8") == page, "run python docs/make_operators.py"


def test_the_table_of_layers_is_what_the_code_does(import_file: Callable[[Path], ModuleType]) -> None:
    assert (DOCS / "layers.md").read_text(encoding="utf-8") == import_file(DOCS / "make_layers.py").page(), (
        "run python docs/make_layers.py"
    )


def test_the_picture_shows_the_numbers_of_the_comparison(import_file: Callable[[Path], ModuleType]) -> None:
    picture = import_file(DOCS / "make_speed.py").picture()
    assert (DOCS / "speed.svg").read_text(encoding="utf-8") == picture, "run python docs/make_speed.py"


def snippets(page: str) -> str:
    """The Python of a page, at the lines where it stands."""
    lines = (DOCS / page).read_text(encoding="utf-8").splitlines()
    code, inside, indent = [], False, 0
    for line in lines:
        fence = re.match(r"( *)```(\w*)", line)
        if fence:
            inside, indent = not inside and fence[2] == "python", len(fence[1])
            code.append("")
        else:
            code.append(line[indent:] if inside else "")
    return "\n".join(code)


@pytest.mark.parametrize("page", PROGRAMS)
def test_snippets_run(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if page == "quickstart.md":
        pytest.importorskip("sklearn", reason="the quickstart learns digits of scikit-learn, which is not installed")
    code = snippets(page)
    assert code.strip()
    monkeypatch.chdir(tmp_path)
    seed = torch.initial_seed()
    torch.manual_seed(0)
    try:
        exec(compile(code, str(DOCS / page), "exec"), {"__name__": "__main__"})
    finally:
        torch.manual_seed(seed)


def test_the_other_snippets_are_python() -> None:
    for page in PAGES:
        compile(snippets(page), page, "exec")


def test_every_page_is_in_the_site() -> None:
    nav = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    listed = re.findall(r": ([\w/-]+\.md)$", nav, re.MULTILINE)
    assert sorted(listed) == PAGES


def test_every_public_name_is_in_the_reference() -> None:
    import niwaki

    pages = "".join(path.read_text(encoding="utf-8") for path in (DOCS / "api").glob("*.md"))
    named = re.findall(r"^::: niwaki\.(?!report\.)([\w.]+)$", pages, re.MULTILINE)
    # Where a package has a module of the function's name, the page says in which one it is.
    assert {name.rpartition(".")[2] for name in named} == set(niwaki.__all__) - {"nn", "configs", "__version__"}


def test_the_site_has_no_loose_end(tmp_path: Path) -> None:
    """Links, headings, names of the reference: whatever is not there is a warning, which ends a strict build."""
    pytest.importorskip("mkdocs", reason="the site needs mkdocs: pip install -r requirements/docs.txt")
    pytest.importorskip("mkdocstrings", reason="the site needs mkdocstrings: pip install -r requirements/docs.txt")
    command = [sys.executable, "-m", "mkdocs", "build", "--site-dir", str(tmp_path / "site")]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert "Formatting signatures" not in run.stderr, "they are one long line: pip install -r requirements/docs.txt"
    page = (tmp_path / "site" / "api" / "compress.html").read_text(encoding="utf-8")
    assert "Makes a trained network small" in page
    assert "weights of least importance" in page, "the function, not the module of its name"
    assert "prune_with_reasons" not in page
