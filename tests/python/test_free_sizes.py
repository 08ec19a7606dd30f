"""Sizes that stay free where only the example's memory, or the example's equal sizes, spoke against it; and results."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import niwaki
from niwaki.errors import NiwakiError


def same(net: Any, model: nn.Module, *inputs: torch.Tensor) -> None:
    with torch.no_grad():
        torch.testing.assert_close(net(*inputs), model(*inputs), atol=1e-5, rtol=1e-4)


class Reader(nn.Module):
    """The rows that are left of a picture of text are one: what height // 8 - 1 says is no number to torch."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.last = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = F.max_pool2d(F.max_pool2d(F.max_pool2d(self.conv(x), 2), (2, 1)), (2, 2), (2, 1), (0, 1))
        y = self.last(y).relu()
        assert y.shape[2] == 1
        return y.squeeze(2).permute(2, 0, 1)  # type: ignore[no-any-return]


def test_rows_of_an_expression_that_is_one_are_squeezed_away() -> None:
    model, x = Reader().eval(), torch.randn(2, 1, 16, 24)
    net = niwaki.compile(model, (x,))
    assert net.inputs[0].dims == ("batch", 1, "height", "width")
    for shape in ((2, 1, 16, 24), (1, 1, 16, 9), (3, 1, 23, 60)):
        same(net, model, torch.randn(shape))
    with pytest.raises(ValueError, match="height"):
        net(torch.randn(2, 1, 24, 24))


class Windows(nn.Module):
    """Attention within windows of eight; what is too much at the end is cut off again."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(12, 12), nn.Linear(12, 12)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        length = x.shape[1]
        y = self.first(F.pad(x, (0, 0, 0, -length % 8))).unflatten(1, (-1, 8))
        y = F.scaled_dot_product_attention(y, y, y).flatten(1, 2)[:, :length]
        return self.last(y)  # type: ignore[no-any-return]


@pytest.mark.parametrize("length", [16, 13])
def test_padding_to_a_multiple_leaves_the_length_free(length: int) -> None:
    model, x = Windows().eval(), torch.randn(2, length, 12)
    net = niwaki.compile(model, (x,))
    for shape in ((2, 16, 12), (1, 1, 12), (3, 17, 12), (2, 8, 12)):
        same(net, model, torch.randn(shape))


class Written(nn.Module):
    """What is cut off is written into, and the whole is read."""

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        length = x.shape[1]
        whole = F.pad(x, (0, 0, 0, -length % 8)) + 1
        part = whole[:, :length]
        part.mul_(2)
        return whole.sum(1), part


def test_what_is_cut_off_shares_its_memory() -> None:
    model, x = Written().eval(), torch.randn(2, 16, 3)
    net = niwaki.compile(model, (x,))
    for length in (16, 11, 8):
        same(net, model, torch.randn(2, length, 3))


class Places(nn.Module):
    """Features of pictures in the places of words: as many of the one as of the other."""

    def __init__(self) -> None:
        super().__init__()
        self.eye, self.words = nn.Conv2d(3, 8, 4, 4), nn.Embedding(10, 8)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, pixels: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        seen = self.eye(pixels).flatten(2).transpose(1, 2)
        seen = seen + self.attention(seen, seen, seen, need_weights=False)[0]
        words = self.words(ids)
        return words.masked_scatter((ids == 9).unsqueeze(-1).expand_as(words), seen)


def test_one_picture_where_pictures_and_words_have_sizes_of_their_own() -> None:
    model = Places().eval()

    def inputs(count: int, length: int) -> tuple[torch.Tensor, torch.Tensor]:
        ids = torch.cat([torch.full((count, 4), 9), torch.randint(9, (count, length))], 1)
        return torch.randn(count, 3, 8, 8), ids

    net = niwaki.compile(model, inputs(2, 5))
    for count, length in ((2, 5), (1, 5), (4, 3)):
        same(net, model, *inputs(count, length))


@dataclass
class Found:
    scores: torch.Tensor
    more: dict[str, torch.Tensor]
    name: str = "found"


class Returns(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 4)

    def forward(self, x: torch.Tensor) -> list[Found]:
        y = self.layer(x)
        return [Found(y, {"mean": y.mean(0)})]


def test_a_dataclass_is_returned_by_names(tmp_path: Path) -> None:
    model, x = Returns().eval(), torch.randn(5, 6)
    small, _ = niwaki.compress(model, x, progress=False)
    net = niwaki.compile(small, (x,))
    net.save(tmp_path / "net.niwaki")
    with torch.no_grad():
        (wanted,) = model(x)
    for (found,) in (net(x), niwaki.load(tmp_path / "net.niwaki")(x)):
        assert found.name == "found"
        assert float((found.scores - wanted.scores).norm() / wanted.scores.norm()) < 0.03
        torch.testing.assert_close(found.more["mean"], found.scores.mean(0))


class Cache:
    def __init__(self, *tensors: torch.Tensor) -> None:
        self.tensors = tensors


def test_a_result_of_an_unknown_kind_is_refused_in_a_sentence() -> None:
    class Keeps(nn.Module):
        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, Cache]:
            return x + 1, Cache(x)

    with pytest.raises(NiwakiError, match=r"Keeps .* returns a Cache, .*use_cache = False.* NamedTuple or dataclass"):
        niwaki.compile(Keeps(), (torch.randn(2, 3),))
