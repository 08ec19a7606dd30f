"""The example that prunes a text classifier while the Trainer of transformers trains it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch

import niwaki
from niwaki._compat import import_torchvision


@pytest.fixture(scope="module")
def example(root: Path, import_file: Callable[[Path], ModuleType]) -> ModuleType:
    import_torchvision()
    pytest.importorskip("transformers", reason="transformers is not installed: pip install transformers")
    pytest.importorskip("accelerate", reason="accelerate is not installed: pip install accelerate")
    return import_file(root / "examples" / "huggingface" / "trainer.py")


@pytest.mark.filterwarnings("default")
def test_zeros_grow_while_it_trains_and_stay(
    example: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    shares: list[float] = []
    step = example.Prune.on_optimizer_step

    def seen(self: object, *args: object, **kwargs: object) -> None:
        step(self, *args, **kwargs)
        shares.append(self._pruner.sparsity)  # type: ignore[attr-defined]

    monkeypatch.setattr(example.Prune, "on_optimizer_step", seen)
    example.main(["--steps", "30", "--sparsity", "0.5", "-o", str(tmp_path / "c.niwaki")])
    assert len(shares) == 30 and shares == sorted(shares) and shares[0] < 0.1
    assert shares[19:] == pytest.approx([0.5] * 11, abs=0.02)
    assert "float32 " in capsys.readouterr().out
    network = niwaki.load(tmp_path / "c.niwaki", threads=1)
    assert all(step.scheme != "torch" for step in network.plan)
    answers = network(**example.made_up(3, seed=2).batches(3)[0])
    assert answers.logits.shape == (3, 2) and bool(torch.isfinite(answers.logits).all())


def test_rows_of_a_file(example: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("".join(f"word {i} and more,{i % 2}\n" for i in range(20)))

    def tokenizer(texts: list[str], **_: object) -> dict[str, torch.Tensor]:
        return {"input_ids": torch.tensor([[int(t.split()[1])] for t in texts]), "attention_mask": torch.ones(20, 1)}

    train, test = example.read(path, tokenizer)
    assert len(train) == 18 and len(test) == 2
    assert all(int(row["input_ids"][0]) % 2 == int(row["labels"]) for part in (train, test) for row in part)
