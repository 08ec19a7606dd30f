"""niwaki.pipeline_model: compiled networks in the pipelines of transformers, with the answers of the model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import niwaki
from niwaki._compat import import_torchvision

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "good", "bad", "film", "book", "was", "very", "not"]
WORDS += ["the", "and", "quite"]
TEXTS = ["a very good film", "the book was bad", "not bad and not good", "film"]


class Config:
    """As little of a config as is asked for."""

    architectures = ("BertForSequenceClassification",)

    def to_dict(self) -> dict[str, Any]:
        return {}


class Twice(nn.Module):
    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"logits": x * 2}


def test_what_pipelines_ask_for() -> None:
    model = niwaki.pipeline_model(niwaki.compile(Twice(), (torch.zeros(2, 3),), threads=1), Config())
    assert type(model).__name__ == "BertForSequenceClassification" and "niwaki.Network" in repr(model)
    assert (model.device, model.dtype, model.main_input_name) == (torch.device("cpu"), torch.float32, "x")
    assert not model.can_generate() and model.to("cpu") is model.to(torch.device("cpu"), dtype=torch.float32) is model
    assert torch.equal(model(x=torch.ones(4, 3))["logits"], torch.full((4, 3), 2.0))
    assert model.to(device="cpu:0", dtype=None, non_blocking=True) is model
    for place in ("cuda:0", 0, torch.float16, "float16", True):
        with pytest.raises(niwaki.NiwakiError, match=r"float32 on the CPU, not .*; write pipeline\(..., device='cpu'"):
            model.to(place)
    with pytest.raises(niwaki.NiwakiError, match="generate text need a model that generates"):
        model.generate(x=1)


def test_what_is_no_network_or_config() -> None:
    net = niwaki.compile(Twice(), (torch.zeros(2, 3),), threads=1)
    with pytest.raises(TypeError, match=r"takes what niwaki.compile or niwaki.load returned, not Twice"):
        niwaki.pipeline_model(Twice(), Config())
    with pytest.raises(TypeError, match=r"takes a model of transformers or its config, not str"):
        niwaki.pipeline_model(net, "bert-base-uncased")
    entries = niwaki.EntryPoints(Twice(), one="forward", two="forward")
    several = niwaki.compile(entries, {"one": torch.zeros(2, 3), "two": torch.zeros(2, 3)}, threads=1)
    with pytest.raises(ValueError, match=r'pass one of them: net\["one"\], net\["two"\]'):
        niwaki.pipeline_model(several, Config())


@pytest.fixture
def transformers(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    import_torchvision()
    module = pytest.importorskip("transformers", reason="transformers is not installed: pip install transformers")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    before = module.logging.get_verbosity()
    module.logging.set_verbosity_error()
    yield module
    module.logging.set_verbosity(before)


@pytest.fixture
def tokenizer(transformers: Any, tmp_path: Path) -> Any:
    path = tmp_path / "vocab.txt"
    path.write_text("\n".join(WORDS), encoding="utf-8")
    return transformers.BertTokenizer(vocab=str(path))


def bert(transformers: Any, kind: str, **options: Any) -> nn.Module:
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=len(WORDS), hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
        max_position_embeddings=32, initializer_range=0.5, **options,
    )  # fmt: skip
    return getattr(transformers, kind)(config).eval()


@pytest.mark.filterwarnings("default")
def test_texts_are_classified_as_by_the_model(
    transformers: Any, tokenizer: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = bert(transformers, "BertForSequenceClassification", id2label={0: "bad", 1: "good", 2: "neither"})
    items = [dict(tokenizer(TEXTS, padding=True, return_tensors="pt"))]
    plain = transformers.pipeline("text-classification", model=model, tokenizer=tokenizer, device="cpu", top_k=None)
    wanted = plain(TEXTS, batch_size=3)

    net = niwaki.compile(model, items[0], threads=1)
    pipe = transformers.pipeline(
        "text-classification", model=niwaki.pipeline_model(net, model), tokenizer=tokenizer, device="cpu", top_k=None
    )
    assert "is not supported for" not in caplog.text and "bad" in str(pipe(TEXTS[0])) and "text" in repr(pipe)
    for found, expected in zip(pipe(TEXTS, batch_size=3), wanted, strict=True):
        assert [each["label"] for each in found] == [each["label"] for each in expected]
        assert [each["score"] for each in found] == pytest.approx([each["score"] for each in expected], abs=1e-5)

    small, _ = niwaki.compress(model, items, progress=False)
    niwaki.compile(small, items[0], threads=1).save(tmp_path / "c.niwaki")
    loaded = niwaki.pipeline_model(niwaki.load(tmp_path / "c.niwaki", threads=1), model.config)
    pipe = transformers.pipeline("text-classification", model=loaded, tokenizer=tokenizer, device="cpu", top_k=None)
    for found, expected in zip(pipe(TEXTS), wanted, strict=True):
        scores = {each["label"]: each["score"] for each in found}
        assert [scores[each["label"]] for each in expected] == pytest.approx([e["score"] for e in expected], abs=0.1)


@pytest.mark.filterwarnings("default")
def test_words_vectors_and_masks(transformers: Any, tokenizer: Any) -> None:
    calls = dict(tokenizer(TEXTS, padding=True, return_tensors="pt"))
    for task, kind, text in (
        ("token-classification", "BertForTokenClassification", TEXTS[0]),
        ("feature-extraction", "BertModel", TEXTS[1]),
        ("fill-mask", "BertForMaskedLM", "a very [MASK] book"),
    ):
        model = bert(transformers, kind)
        net = niwaki.pipeline_model(niwaki.compile(model, calls, threads=1), model)
        found, wanted = (
            transformers.pipeline(task, model=each, tokenizer=tokenizer, device="cpu")(text) for each in (net, model)
        )
        if task == "feature-extraction":
            assert np.allclose(found, wanted, atol=1e-4), task
            continue
        assert len(found) == len(wanted) > 0, task
        for a, b in zip(found, wanted, strict=True):
            assert {key: value for key, value in a.items() if key != "score"} == {k: b[k] for k in b if k != "score"}
            assert a["score"] == pytest.approx(b["score"], abs=1e-4), task


@pytest.mark.filterwarnings("default")
def test_pictures_are_classified_as_by_the_model(transformers: Any) -> None:
    from PIL import Image

    torch.manual_seed(0)
    config = transformers.ViTConfig(
        image_size=32, patch_size=8, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
        num_labels=4, initializer_range=0.5,
    )  # fmt: skip
    model = transformers.ViTForImageClassification(config).eval()
    net = niwaki.pipeline_model(niwaki.compile(model, {"pixel_values": torch.zeros(1, 3, 32, 32)}, threads=1), model)
    assert net.input_modalities == ("image",)
    processor = transformers.ViTImageProcessor(size={"height": 32, "width": 32})
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8))
    found, wanted = (
        transformers.pipeline("image-classification", model=each, image_processor=processor, device="cpu")(picture)
        for each in (net, model)
    )
    assert [each["label"] for each in found] == [each["label"] for each in wanted]
    assert [each["score"] for each in found] == pytest.approx([each["score"] for each in wanted], abs=1e-4)
