"""What is written in place into a tensor shows in all that shares its memory, and in nothing else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from lowered import Of, capture, check
from torch import nn
from torch.nn import functional as F

import niwaki


def changed(view: Callable[[torch.Tensor], torch.Tensor]) -> Callable[..., Any]:
    """Writes into what `view` makes of a tensor, and gives both, and a part of the tensor from before."""

    def function(m: nn.Module, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        h = m.conv(x)
        part = h[:, 1]
        y = view(h)
        y += 1
        y[:1].mul_(2)
        return y, h, part

    return function


def hidden(m: nn.Module, x: torch.Tensor) -> torch.Tensor:
    h = m.conv(x)
    h.reshape(-1)[0] = 5
    return h


def below(m: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """The tensor changes, and with it what was reshaped before."""
    h = m.conv(x)
    y = h.flatten(1)
    z = h.transpose(1, 2).contiguous()
    F.relu_(h)
    return torch.cat([y, z.flatten(1)], 1)


def rows(m: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """What one writes to be sure of the device."""
    h = m.conv(x)
    found = torch.zeros([h.size(0), h.size(1), 2], dtype=h.dtype).to(h.device)
    for channel in range(4):
        found[:, channel] = h[:, channel, :2]
    return found


def masked(m: nn.Module, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    keep = m.conv(x) > 0
    mask = keep.float()
    mask[:, 0] = -1
    return mask, keep


VIEWS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "reshape": lambda h: h.reshape(h.shape[0], -1),
    "reshape to its own shape": lambda h: h.reshape(h.shape),
    "reshape_as": lambda h: h.reshape_as(h),
    "heads of moved rows": lambda h: h.transpose(1, 2).reshape(h.shape[0], h.shape[2], 2, 2),
    "flatten": lambda h: torch.flatten(h, 1),
    "ravel": lambda h: h.ravel(),
    "contiguous": lambda h: h.contiguous(),
    "twice": lambda h: h.contiguous().flatten(1).reshape(-1),
    "dropout": lambda h: F.dropout(h, 0.5, False),
    "dropout of features": lambda h: F.dropout1d(h, 0.5, False),
    "alpha dropout": lambda h: F.alpha_dropout(h, 0.5, False),
    "type_as": lambda h: h.type_as(torch.zeros(1)),
    "float": lambda h: h.float(),
    "another device": lambda h: h.to("cpu"),
    "a copy of the type": lambda h: h.to(torch.float32, copy=True),
    "real": torch.real,
    "at least": torch.atleast_2d,
    "mT": lambda h: h.mT,
    "movedim": lambda h: h.movedim(2, 0),
    "movedims": lambda h: h.movedim((0, 2), (2, 1)),
    "swapaxes": lambda h: h.swapaxes(1, 2),
    "view_as": lambda h: h.view_as(h),
    "detach": lambda h: h.detach(),
    "a clone": lambda h: h.clone(memory_format=torch.contiguous_format),
    "another type": lambda h: h.long().float(),
}


def shapes(*sizes: tuple[int, int]) -> list[tuple[torch.Tensor]]:
    return [(torch.randn(batch, 4, length),) for batch, length in sizes]


def parts() -> dict[str, nn.Module]:
    return {"conv": nn.Conv1d(4, 4, 3, padding=1)}


@pytest.mark.parametrize("name", VIEWS)
def test_views(name: str) -> None:
    torch.manual_seed(0)
    check(changed(VIEWS[name]), *shapes((2, 6), (1, 6), (3, 9), (2, 2)), **parts())


@pytest.mark.parametrize("function", [hidden, rows, masked])
def test_written_through_what_was_made_of_it(function: Callable[..., Any]) -> None:
    torch.manual_seed(0)
    check(function, *shapes((2, 6), (1, 6), (3, 9)), **parts())


@pytest.mark.parametrize(
    ("function", "dim"),
    [
        (changed(lambda h: h.transpose(1, 2).contiguous()), 2),
        (changed(lambda h: h.transpose(1, 2).reshape(h.shape[0], -1)), 2),
        (below, 2),
    ],
)
def test_a_size_of_one_that_makes_it_a_view_is_refused(function: Callable[..., Any], dim: int) -> None:
    """Moved rows are copied, but where there is one of them."""
    torch.manual_seed(0)
    module = Of(function, **parts()).eval()
    net = niwaki.compile(module, (torch.randn(2, 4, 6),), threads=1)
    for size in ((2, 6), (1, 7)):
        ((x,),) = shapes(size)
        with torch.no_grad():
            torch.testing.assert_close(net(x), module(x))
    with pytest.raises(ValueError, match="length must be other than 1"):
        net(torch.randn(2, 4, 1))
    with pytest.raises(niwaki.NiwakiError, match=r"shows the memory of .* in place"):
        niwaki.compile(module, (torch.randn(2, 4, 1),), threads=1)


def test_graphs_of_others_stay_as_they_were() -> None:
    """Copies that nobody can tell from views are copies, under the names that they had."""
    captured = capture(Of(lambda x: F.relu_(x + 1).transpose(1, 2).flatten(1)), *shapes((2, 6)))
    names = [node.name for node in captured.exported.graph.nodes if node.op == "call_function"]
    assert names == ["add", "relu_", "transpose", "clone", "flatten"]
