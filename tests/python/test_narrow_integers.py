"""Networks that take and give bytes and other narrow integers; what computes with them wraps as torch's does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from lowered import Of
from torch import nn

import niwaki

EIGHT_BITS = [torch.uint8, torch.int8]


def whole_numbers(dtype: torch.dtype, *shape: int) -> torch.Tensor:
    limits = torch.iinfo(dtype)
    return torch.randint(limits.min, limits.max + 1, shape, dtype=dtype)


def saved(net: Any, folder: Path) -> Any:
    net.save(folder / "x.niwaki")
    return niwaki.load(folder / "x.niwaki")


def check(module: nn.Module, net: Any, loaded: Any, *x: torch.Tensor) -> None:
    """The compiled network, and the loaded one with arrays, against the module."""
    arrays = loaded(*(each.numpy() for each in x))
    for expected, compiled, again in zip(module(*x), net(*x), arrays, strict=True):
        assert compiled.dtype == expected.dtype and compiled.shape == expected.shape
        torch.testing.assert_close(compiled, expected, rtol=1e-6, atol=0)
        assert again.dtype == compiled.numpy().dtype and np.array_equal(again, compiled.numpy())


@pytest.mark.parametrize("dtype", [*EIGHT_BITS, torch.int16])
def test_narrow_integers_come_in(dtype: torch.dtype, tmp_path: Path) -> None:
    def function(x: torch.Tensor) -> Any:
        y = x.permute(0, 3, 1, 2)[:, :, 1:]
        return (
            y.float() / 255 - 0.5,
            y / 3,
            (x > 100).sum((1, 2)),
            x.sum(),
            x.to(torch.int64).amax((1, 2)),
            y[:, 0] * 0.5,
        )

    module = Of(function)
    net = niwaki.compile(module, (whole_numbers(dtype, 2, 6, 5, 3),))
    name = "int32" if dtype == torch.int16 else str(dtype).removeprefix("torch.")
    assert [info.dtype for info in net.inputs] == [name]
    loaded = saved(net, tmp_path)
    for shape in ((2, 6, 5, 3), (1, 9, 4, 3), (0, 6, 5, 3)):
        if 0 not in shape or dtype != torch.int16:
            check(module, net, loaded, *([whole_numbers(dtype, *shape)]))
    if dtype == torch.int16:
        x = whole_numbers(dtype, 1, 9, 4, 3)
        assert torch.equal(loaded(x.to(torch.int32))[3], loaded(x)[3])


def test_layers_read_pictures_as_bytes(tmp_path: Path) -> None:
    class Pictures(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 8, 3, padding=1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.conv((x.float() / 255 - 0.45) / 0.22).relu()

    module = Pictures().eval()
    images = [whole_numbers(torch.uint8, 2, 3, 12, 16) for _ in range(4)]
    small, _ = niwaki.compress(module, images)
    net = niwaki.compile(small, (images[0],))
    loaded = saved(net, tmp_path)
    other = whole_numbers(torch.uint8, 1, 3, 9, 7)
    error = (net(other) - module(other)).norm() / module(other).norm()
    assert error < 0.02
    assert torch.equal(loaded(other), net(other))
    assert str(loaded.inputs[0]).startswith("x: uint8 [")


class Segments(nn.Module):
    """A class for each pixel of a picture, as a byte, and its colour."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, 2, 1)
        self.head = nn.Conv2d(8, 21, 1)
        self.palette = nn.Buffer(whole_numbers(torch.uint8, 21, 3))

    def forward(self, x: torch.Tensor) -> Any:
        y = self.head(self.conv(x.float() / 255).relu())
        y = F.interpolate(y, size=x.shape[2:], mode="bilinear", align_corners=False)
        colours = self.palette[y.argmax(1)].permute(0, 3, 1, 2)
        return y.argmax(1).to(torch.uint8), colours, y.argmin(1).to(torch.int8), y.argmax(1, keepdim=True).int()


def test_classes_of_pixels_leave_as_bytes(tmp_path: Path) -> None:
    module = Segments().eval()
    net = niwaki.compile(module, (whole_numbers(torch.uint8, 2, 3, 20, 24),))
    loaded = saved(net, tmp_path)
    for shape in ((2, 3, 20, 24), (1, 3, 33, 17), (3, 3, 20, 24)):
        x = whole_numbers(torch.uint8, *shape)
        check(module, net, loaded, x)
        assert loaded(x)[0].nbytes * 8 == module(x)[0].long().nbytes
    casts = [step.name for step in net.plan if step.op == "cast"]
    assert not any("arg" in name for name in casts), "a place is written as it is wanted, in no pass of its own"
    x = whole_numbers(torch.uint8, 1, 3, 8, 8)
    for wrong, said in (
        (x.float(), "uint8 is expected, not float32"),
        (x.to(torch.int8), "uint8 is expected, not int8"),
    ):
        with pytest.raises(TypeError, match=f"input 'x': {said}"):
            loaded(wrong)
        with pytest.raises(TypeError, match=f"input 'x': {said}"):
            loaded(wrong.numpy())


def test_floats_become_bytes(tmp_path: Path) -> None:
    """Towards zero and then the last eight bits, also where torch leaves it open; what is no number is 0."""
    net = niwaki.compile(Of(lambda x: (x.to(torch.uint8), x.to(torch.int8))), (torch.zeros(8),))
    x = torch.tensor([0.9, 255.9, 256.0, -1.5, 300.0, -129.0, float("nan"), float("inf"), -float("inf"), 3e9, 1e30])
    for each in (net, saved(net, tmp_path)):
        found, signed = each(x)
        assert found.tolist() == [0, 255, 0, 255, 44, 127, 0, 0, 0, 0, 0]
        assert signed.tolist() == [0, -1, 0, -1, 44, 127, 0, 0, 0, 0, 0]


MOVES = {
    "reshape": lambda x: x.reshape(x.shape[0], -1).unsqueeze(1),
    "permute": lambda x: x.permute(2, 0, 1).contiguous(),
    "parts": lambda x: (x[:, 1:], x[..., ::2], x[:, -1], *x.chunk(2, 2), x.unbind(1)[2]),
    "joined": lambda x: (torch.cat([x, x.flip(1)], 1), torch.stack([x, x], 1)),
    "moved": lambda x: (x.flip(2), x.roll(1, 1), x.repeat(1, 2, 1), x[:, :1].expand(-1, 5, -1)),
    "again": lambda x: x.repeat_interleave(3, 1),
    "padded": lambda x: (F.pad(x, (1, 2), value=7), F.pad(x, (-1, 0))),
    "taken": lambda x: (x[:, torch.tensor([3, 0])], x.index_select(2, torch.tensor([1, 1])), x[:, [0, 1], [2, 0]]),
    "gathered": lambda x: x.gather(1, x[:, :2].long() % 4),
    "chosen": lambda x: (torch.where(x > 9, x, x.flip(1)), x.masked_fill(x < 5, 3), torch.where(x > 9, x, 1)),
    "cast": lambda x: (x.bool(), x.to(torch.int8), x.to(torch.uint8), x.long(), x.int().to(torch.uint8)),
}
COMPUTES = {
    "sums": lambda x: (x + 200, x - x.flip(1), 3 - x, x + x, -x, x + torch.tensor(300)),
    "products": lambda x: (x * x, x * 7, x * 0.5, x / 2, x // 3, x % 5, x**2),
    "extremes": lambda x: (x.clamp(3, 99), x.maximum(x.flip(1)), x.amax(1), x.max(), *x.min(2), x.clamp_min(5)),
    "places": lambda x: (x.argmax(1), x.argmin(2).to(torch.uint8)),
    "comparisons": lambda x: (x == 7, x > x.flip(1), x <= 2.5, (x != 0).sum()),
    "all": lambda x: (x.sum(1), x.any(1), x.bool().all(2), x.cumsum(1), x.sum(1, dtype=torch.int32)),
    "made": lambda x: (torch.zeros_like(x) + x, torch.full_like(x, 9), torch.ones(3, dtype=x.dtype) * x[0, 0, 0]),
    "wider": lambda x: (x + x.int(), x.long() * x, x + torch.ones(5)),
}


@pytest.mark.parametrize("dtype", EIGHT_BITS)
@pytest.mark.parametrize("name", [*MOVES, *COMPUTES])
def test_what_happens_to_them_is_native(name: str, dtype: torch.dtype, tmp_path: Path) -> None:
    function = (MOVES | COMPUTES)[name]
    module = Of(lambda x: made if isinstance(made := function(x), tuple) else (made,))
    net = niwaki.compile(module, (whole_numbers(dtype, 2, 4, 5),))
    loaded = saved(net, tmp_path)
    for batch in (2, 3):
        check(module, net, loaded, whole_numbers(dtype, batch, 4, 5))


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x.view(torch.int8).float(),  # other numbers of the same bits
        lambda x: (~x).float(),
        lambda x: (x < 300).float(),  # torch cuts 300 to eight bits, or does not
        lambda x: (x + x.to(torch.int16)).float(),
        lambda x: (x.to(torch.int16) * 500).float(),
    ],
    ids=["bits", "complement", "number beyond", "both", "int16"],
)
def test_what_depends_on_the_narrow_type_stays_in_torch(function: Any) -> None:
    module = Of(function)
    x = whole_numbers(torch.uint8, 2, 7)
    net = niwaki.compile(module, (x,))
    assert [info.dtype for info in net.inputs] == ["uint8"]
    assert torch.equal(net(x), module(x))
    with pytest.raises(TypeError, match="uint8 is expected, not int32"):
        net(x.to(torch.int32))


def test_other_integers_are_not_taken_for_these() -> None:
    for dtype, name in ((torch.uint8, "uint8"), (torch.int16, "int32")):
        net = niwaki.compile(Of(lambda x: x.float()), (torch.zeros(2, 3, dtype=dtype),))
        with pytest.raises(TypeError, match=f"{name} is expected, not int64"):
            net(torch.zeros(2, 3, dtype=torch.int64))


def test_a_result_of_int16_stays_in_torch(tmp_path: Path) -> None:
    net = niwaki.compile(Of(lambda x: (x.exp() * 9).to(torch.int16)), (torch.zeros(2, 3),))
    x = torch.randn(2, 3)
    assert torch.equal(net(x), (x.exp() * 9).to(torch.int16))
    with pytest.raises(niwaki.NiwakiError, match="works on int16"):
        net.save(tmp_path / "x.niwaki")


def test_a_stream_of_bytes(tmp_path: Path) -> None:
    """Sound of eight bits, a layer of memory, and what was heard as bytes."""

    class Sound(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv1d(1, 4, 3)

        def forward(self, x: torch.Tensor) -> Any:
            y = self.conv(F.pad(x.float() / 128 - 1, (2, 0)))
            return y.argmax(1).to(torch.uint8), F.pad(x, (1, 0))[..., :-1]

    module = Sound().eval()
    whole = whole_numbers(torch.uint8, 1, 1, 48)
    loaded = saved(niwaki.compile(module, (whole,)), tmp_path)
    stream = loaded.stream(16)
    pieces = [stream(piece) for piece in whole.split(16, 2)]
    for place, expected in enumerate(loaded(whole)):
        assert torch.equal(torch.cat([piece[place] for piece in pieces], -1), expected)
