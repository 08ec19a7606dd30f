"""torch.compile with niwaki as its backend: what niwaki.compile answers, or a sentence."""

from __future__ import annotations

import importlib.metadata
from typing import Any

import pytest
import torch
from torch import nn

import niwaki
from niwaki._compat import import_torchvision
from niwaki.network.dynamo import backend

pytestmark = [
    pytest.mark.filterwarnings("default"),  # what torch says about itself while it compiles
    pytest.mark.usefixtures("fresh"),
]


@pytest.fixture
def fresh() -> None:
    torch._dynamo.reset()


class Scaled(nn.Module):
    def __init__(self, *, breaks: bool = False) -> None:
        super().__init__()
        self.a, self.b, self.breaks = nn.Linear(8, 16), nn.Linear(16, 4), breaks

    def forward(self, x: torch.Tensor, *, scale: torch.Tensor, flip: bool = False) -> dict[str, torch.Tensor]:
        h = torch.relu(self.a(x))
        if self.breaks:
            torch._dynamo.graph_break()
        return {"y": self.b(h.flip(1) if flip else h) * scale, "h": h}


def call(n: int) -> dict[str, torch.Tensor]:
    return {"x": torch.randn(n, 8), "scale": torch.full((1,), 3.0)}


def small_of(model: nn.Module) -> nn.Module:
    return niwaki.compress(model.eval(), [call(16)], progress=False)[0]


def test_answers_are_those_of_niwaki_at_every_size() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 8)).eval()
    x = torch.randn(64, 3, 16, 16)
    small, _ = niwaki.compress(net, x, progress=False)
    wanted = niwaki.compile(small, (x[:2],))
    found = torch.compile(small, backend=backend, options={"threads": 1})
    for part in (x[:2], x[:3], x[:1], x[:5, :, :12], x[:4]):
        assert torch.equal(found(part), wanted(part))


def test_it_is_found_by_its_name() -> None:
    points = importlib.metadata.entry_points(group="torch_dynamo_backends")
    assert [point.load() for point in points if point.name == "niwaki"] == [backend]


def test_arguments_by_name_and_several_results() -> None:
    torch.manual_seed(0)
    small = small_of(Scaled())
    wanted = niwaki.compile(small, (), call(2))
    found = torch.compile(small, backend=backend)
    for n in (2, 7):
        inputs = call(n)
        results = found(**inputs)
        assert list(results) == ["y", "h"]
        assert all(torch.equal(results[name], wanted(**inputs)[name]) for name in results)


def test_weights_that_change_are_seen() -> None:
    torch.manual_seed(0)
    small, other = small_of(Scaled()), small_of(Scaled())
    found = torch.compile(small, backend=backend)
    inputs = call(2)
    before = found(**inputs)["y"]
    small.load_state_dict(other.state_dict())
    after = found(**inputs)["y"]
    assert torch.equal(after, niwaki.compile(other, (), inputs)(**inputs)["y"]) and not torch.equal(after, before)


def refused(model: Any, says: str, **inputs: Any) -> None:
    with pytest.raises(torch._dynamo.exc.BackendCompilerFailed, match=says):
        torch.compile(model, backend=backend)(**inputs)


def test_what_it_is_not_for_is_refused() -> None:
    torch.manual_seed(0)
    refused(small_of(Scaled(breaks=True)), "saw a part of Scaled only", **call(3))
    refused(small_of(Scaled()), "another call than its tensors alone make", **call(3), flip=True)
    refused(Scaled().eval(), "takes a network that niwaki.compress", **call(3))
    with pytest.raises(torch._dynamo.exc.BackendCompilerFailed, match="no option 'thread'"):
        torch.compile(small_of(Scaled()), backend=backend, options={"thread": 1})(**call(2))


def test_a_model_of_hugging_face() -> None:
    import_torchvision()
    transformers = pytest.importorskip("transformers", reason="transformers is not installed: pip install transformers")
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=99, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64
    )
    model = transformers.BertModel(config).eval()
    inputs = {"input_ids": torch.randint(0, 99, (4, 12)), "attention_mask": torch.ones(4, 12, dtype=torch.int64)}
    small, _ = niwaki.compress(model, [inputs], progress=False)
    found = torch.compile(small, backend=backend)
    with torch.no_grad():
        answer, wanted = found(**inputs), niwaki.compile(small, (), inputs)(**inputs)
    assert torch.equal(answer.last_hidden_state, wanted.last_hidden_state)
    assert torch.equal(answer.pooler_output, wanted.pooler_output)
