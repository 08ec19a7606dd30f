"""The example that ranks pictures by a sentence."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch

import niwaki
from niwaki._compat import import_torchvision


@pytest.fixture(scope="module")
def rank(root: Path, import_file: Callable[[Path], ModuleType]) -> ModuleType:
    import_torchvision()
    pytest.importorskip("transformers", reason="transformers is not installed: pip install transformers")
    return import_file(root / "examples" / "towers" / "rank.py")


def test_it_ranks_as_the_float32_model_does(
    rank: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "clip.niwaki"
    found = rank.main(["a red square", "--top", "3", "-o", str(path)])
    assert [score for _, score in found] == sorted((score for _, score in found), reverse=True)
    assert {name for name, _ in found} == set(rank.plain_pictures())
    printed = capsys.readouterr().out
    assert "image, text" in printed and "means nothing" in printed and printed.count("float32 ") == 3
    model = rank.seeded_model()
    with torch.inference_mode():
        words = rank.text_features(model, **rank.seeded_read(["a red square"]))[0]
        exact = {
            name: float(rank.image_features(model, rank.seeded_look([picture]))[0] @ words)
            for name, picture in rank.plain_pictures().items()
        }
    assert max(abs(exact[name] - score) for name, score in found) < 0.05
    net = niwaki.load(path, threads=1)
    assert net.entries == ("image", "text")
    assert all(step.scheme != "torch" for step in net.plan)
    assert path.stat().st_size < sum(parameter.numel() for parameter in model.parameters()) * 2


def test_pictures_of_a_folder(rank: ModuleType, tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    for name, color in (("a.png", (255, 0, 0)), ("b.jpg", (0, 0, 255))):
        image.new("RGB", (40, 30), color).save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no picture")
    found = rank.read_pictures(tmp_path)
    assert list(found) == ["a.png", "b.jpg"] and found["a.png"].shape == (3, 30, 40)
    assert found["a.png"][0].min() == 1 and found["a.png"][1].max() == 0
    (tmp_path / "empty").mkdir()
    with pytest.raises(SystemExit, match="no picture"):
        rank.read_pictures(tmp_path / "empty")
