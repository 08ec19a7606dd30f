"""What moves elements, makes values of sizes, or looks elements up, against torch, at several sizes."""

from __future__ import annotations

import pytest
import torch
from lowered import Of as Module
from lowered import capture, check, in_torch, lower, reference
from torch import nn
from torch.nn import functional as F

import niwaki


def numbers(*shape: int) -> torch.Tensor:
    return torch.randn(shape)


def images(*shapes: tuple[int, ...]) -> list[tuple[torch.Tensor]]:
    return [(numbers(*shape),) for shape in shapes]


SHAPED = {
    "reshape": lambda x: (x.reshape(x.shape[0], 2, 3, -1), x.view(-1), x.flatten(1, 2), x.reshape(-1, 1, x.shape[-1])),
    "squeeze": lambda x: (x[:, :1].squeeze(1), x.unsqueeze(0).squeeze(0), x[..., None], x.unsqueeze(-2), x[None, :,
        None]),
    "unflatten": lambda x: (x.unflatten(1, (2, 3)), x.view_as(x), x.ravel(), torch.atleast_3d(x[0, 0])),
    "permute": lambda x: (x.permute(2, 0, 3, 1), x.transpose(1, -1), x.mT, x[0, 0].t(), x.movedim(1, -1), x.swapaxes(0,
        2)),
    "more orders": lambda x: (x.movedim((0, 1), (2, 3)), torch.rot90(x, 1, (2, 3)), x[0].T if x[0].dim() == 2 else x[0,
        0].T),
    "expand": lambda x: (x[:, :1].expand(-1, 5, -1, -1), x[:1, :1].expand_as(x), x.broadcast_to(2, *x.shape)),
    "cat": lambda x: (torch.cat([x, x * 2], 1), torch.cat([x, x], -1), torch.stack([x, -x], 1), torch.stack([x, x],
        -1)),
    "other cats": lambda x: (torch.hstack([x, x]), torch.vstack([x, x]), torch.cat([x, x > 0], 1),
                             torch.dstack([x, x])),
    "split": lambda x: (*x.split(4, 1), *x.split([1, 5], 1), *x.unbind(1), *x.tensor_split(2, 1)),
    "chunk": lambda x: (*x.chunk(2, 1), *x.chunk(4, 1), *x.chunk(2, -1)),
    "slice": lambda x: (x[:, 1:4], x[:, ::2], x[..., 1:], x[:, -2:], x[:, :, :-1], x[0], x[:, -1], x.narrow(1, 2, 3),
                        x[-1:, 5:]),
    "half": lambda x: (x[:, :, : x.shape[2] // 2], x[:, :, x.shape[2] // 2 :], x.select(1, 2)),
    "repeat": lambda x: (x.repeat(1, 2, 1, 3), x.tile(2), x.repeat(2, 1, 1, 1, 1), x.repeat_interleave(3, 1)),
    "flip": lambda x: (x.flip(1), x.flip((0, -1)), torch.fliplr(x), x.roll(1, 1), x.roll((1, -2), (2, 3)), x.roll(7,
        2)),
    "roll by a size": lambda x: x.roll(x.shape[2] // 2, 2),
    "halves": lambda x: (torch.arange(0.5, x.shape[2], dtype=torch.float32) / x.shape[2],
                         torch.arange(0.5, x.shape[2], 1.5) + x[0, 0, 0, 0],
                         torch.arange(0.5, x.shape[3] // 2, 2.0)[None].expand(2, -1).reshape(-1)),
    "whole numbers with a fraction": lambda x: (
        torch.arange(x.shape[2] - 1, -1, -1.0), torch.arange(x.shape[2] - 1, -x.shape[2], -1.0), torch.arange(
            0.0, x.shape[2], dtype=torch.long), torch.arange(x.shape[2], 0, -2.0)[:, None] * x[0, 0, 0],
        torch.arange(x.shape[2] * 1.0), torch.arange(1.0, x.shape[2] / 2 + 2), torch.arange(3.0, 0.0, -1.0)),
    "meshgrid": lambda x: torch.meshgrid(torch.arange(x.shape[2]), torch.arange(x.shape[3]), indexing="ij"),
    "triangles": lambda x: (x.tril(), x.triu(1), x.tril(-1), torch.ones(x.shape[2], x.shape[2],
        dtype=torch.bool).triu(1)),
    "glu": lambda x: (F.glu(x, 1), x.chunk(2, 1)[0] * x.chunk(2, 1)[1]),
    "pixel shuffle": lambda x: (F.pixel_shuffle(torch.cat([x, x], 1), 2), F.channel_shuffle(x, 3)),
    "shuffle by views": lambda x: x.view(x.shape[0], 2, 3, *x.shape[2:]).transpose(1, 2).reshape(x.shape),
    "zeros and the like": lambda x: (torch.zeros(x.shape[2], 3), torch.ones_like(x), x.new_full((2, x.shape[3]), 1.5),
                                     torch.full_like(x, -2, dtype=torch.long), torch.zeros_like(x, dtype=torch.bool),
                                     x.new_zeros(x.shape[:2]), torch.empty_like(x).fill_(2), torch.full((), 3)),
    "ranges": lambda x: (torch.arange(x.shape[2]), torch.arange(1, x.shape[2] + 3, 2), torch.arange(x.shape[2] - 1, -1,
        -1),
                         torch.arange(x.shape[2], dtype=torch.float32), torch.arange(0, 1, 0.25) + x[0, 0, 0, 0],
                         torch.eye(x.shape[2])),
    "scalar tensors": lambda x: x * torch.tensor(2.5) + torch.tensor([1, 2]).sum() + torch.scalar_tensor(3),
}  # fmt: skip


@pytest.mark.parametrize("name", SHAPED)
def test_shapes(name: str) -> None:
    check(SHAPED[name], *images((2, 6, 4, 5), (3, 6, 7, 2), (1, 6, 5, 9)))


def test_pixel_unshuffle() -> None:
    check(lambda x: F.pixel_unshuffle(x, 2), *images((2, 3, 4, 6), (1, 3, 8, 4)))


def test_squeezed_sizes_must_not_be_one() -> None:
    function = lambda x: x.mean((2, 3)).squeeze()  # noqa: E731
    check(function, *images((2, 3, 4, 5), (3, 3, 4, 5)))
    with reference():
        (stage,) = lower(capture(Module(function), (numbers(2, 3, 4, 5),))).stages
    with pytest.raises(ValueError, match="batch must be other than 1"):
        stage.graph.run(numbers(1, 3, 4, 5))


@pytest.mark.parametrize(
    ("function", "shape", "dims"),
    [
        (lambda x: x.squeeze(0), (1, 4, 3), (1, None, None)),
        (lambda x: F.adaptive_avg_pool2d(x, 1).squeeze(), (1, 4, 3, 3), (1, None, None, None)),
        (lambda x: F.max_pool1d(x, 4).squeeze(2), (2, 3, 5), (None, None, None)),
        (lambda x: F.avg_pool1d(x, 4, 1).squeeze(-1), (2, 3, 4), (None, None, 4)),
        (lambda x: x[:, 1:].squeeze((0, 1)), (3, 2, 4), (None, 2, None)),
    ],
)
def test_a_size_that_is_squeezed_away_is_one(function, shape, dims) -> None:
    """What the example's shape says is meant: other sizes, of which the dim would stay, are refused."""
    net = niwaki.compile(Module(function), (numbers(*shape),))
    assert tuple(dim if isinstance(dim, int) else None for dim in net.inputs[0].dims) == dims
    x = numbers(*shape)
    torch.testing.assert_close(net(x), function(x))


def test_sizes_of_pools_that_are_squeezed_away() -> None:
    net = niwaki.compile(Module(lambda x: F.max_pool1d(x, 4).squeeze(2)), (numbers(2, 3, 5),))
    for length in (4, 7):
        x = numbers(1, 2, length)
        assert torch.equal(net(x), x[:, :, :4].amax(2))
    with pytest.raises(ValueError, match="length must be from 4 to 7"):
        net(numbers(2, 3, 8))


def test_linspace() -> None:
    check(
        lambda x: torch.linspace(0, 2, x.shape[1]) * x + torch.linspace(-1, 1, 5, dtype=torch.float32), (numbers(2, 5),)
    )


PADS = [
    ("constant", (1, 2), 0.0), ("constant", (1, 0, 2, 3), -1.5), ("constant", (0, 0, 1, 1, 2, 0), 1.0), ("constant",
        (-1, 2, 1, -1), 0.0),
    ("reflect", (1, 2, 2, 0), 0.0), ("replicate", (3, 1, 0, 2), 0.0), ("circular", (1, 2, 2, 1), 0.0),
]  # fmt: skip


@pytest.mark.parametrize(("mode", "pads", "value"), PADS)
def test_pads_of_images(mode: str, pads: tuple[int, ...], value: float) -> None:
    fill = {"value": value} if mode == "constant" else {}
    check(lambda x: F.pad(x, pads, mode=mode, **fill), *images((2, 3, 4, 5), (3, 3, 7, 3)))


@pytest.mark.parametrize("mode", ["constant", "reflect", "replicate", "circular"])
def test_pads_of_other_ranks(mode: str) -> None:
    check(lambda x: F.pad(x, (2, 1), mode=mode), *images((2, 3, 5), (3, 2, 4)))
    if mode != "circular":
        check(lambda x: F.pad(x, (1, 1, 2, 0, 0, 1), mode=mode), *images((1, 2, 4, 5, 6), (2, 2, 3, 4, 3)))


def test_pads_of_computed_sizes_and_of_integers() -> None:
    check(
        lambda x: (F.pad(x, (0, -x.shape[-1] % 4, 0, x.shape[-2] % 3)), F.pad((x > 0).long(), (1, 1), value=7),
                   F.pad(x > 0, (1, 1), value=True)),
        *images((2, 3, 4, 5), (1, 3, 7, 8)),
    )  # fmt: skip


def test_lookups() -> None:
    table = numbers(11, 4)
    ids = torch.randint(0, 11, (2, 5))
    check(
        lambda m, i: (F.embedding(i, m.table), m.table[i], m.table[:, i[0] % 4], torch.index_select(m.table, 0, i[0]),
                      F.embedding(i.int(), m.table, padding_idx=0), m.table[i, i % 4], m.table[i[:1] - 11],
                      F.one_hot(i, 11)),
        (ids,), (torch.randint(0, 11, (3, 1)),), table=table,
    )  # fmt: skip


def test_gather_and_indices_of_several_axes() -> None:
    x, i = numbers(4, 5, 6), torch.randint(0, 4, (4, 3))
    check(
        lambda x, i: (x.gather(1, i[..., None].expand(-1, -1, 6)), x[i, i], x[:, i, i], x[i, :, i], x[:, :, i],
                      x[i[:1], 1],
                      x[torch.arange(x.shape[0]), i[:, 0]], x[..., [0, 2]], x[torch.arange(4)[:, None], i]),
        (x, i),
    )  # fmt: skip


def test_windows_along_an_axis() -> None:
    check(lambda x: (x.unfold(2, 3, 2), x.unfold(3, 2, 1), F.unfold(x, (2, 3), padding=1, stride=(1, 2))),
          *images((2, 3, 5, 6), (1, 3, 7, 4)))  # fmt: skip


def test_ids_outside_of_a_table_are_refused_when_it_runs() -> None:
    module = Module(lambda m, i: F.embedding(i, m.table), table=numbers(5, 2))
    captured = capture(module, (torch.tensor([[0, 4]]),))
    with reference():
        (stage,) = lower(captured).stages
    with pytest.raises(ValueError, match="index"):
        stage.graph.run(torch.tensor([[0, 5]]))
    for index in (5, -6):
        with reference():
            (stage,) = lower(
                capture(Module(lambda m, i: m.table[i, i % 2], table=numbers(5, 2)), (torch.tensor([1]),))
            ).stages
        with pytest.raises(ValueError, match="index"):
            stage.graph.run(torch.tensor([index]))


def test_buckets() -> None:
    bounds = torch.tensor([-1.0, 0.0, 0.5, 2.0])
    check(lambda m, x: (torch.bucketize(x, m.bounds), torch.bucketize(x, m.bounds, right=True)),
          (torch.tensor([[-3.0, -1.0, 0.2], [0.5, 2.0, 9.0]]),), bounds=bounds)  # fmt: skip


def test_data_dependent_shapes_stay_in_torch() -> None:
    for function in (lambda x: x[x > 0], lambda x: x.nonzero(), lambda x: torch.masked_select(x, x > 0)):
        program = lower(capture(Module(function), (numbers(3, 4),)))
        assert in_torch(program)


class Views(nn.Module):
    """Writes into views, of all kinds, one after the other."""

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, ...]:
        z = torch.zeros(x.shape[0], 6, x.shape[2])
        z[:, 1] = y[:, 0]
        z[:, 2:4] += x[:, :2]
        z[:, 2:4].mul_(2).add_(1)
        z[:, -1, :-1].fill_(3.0)
        t = z.transpose(1, 2)
        t[:, 0] = -1.0
        a = x.clone()
        row = a[0]
        a.mul_(2)
        row.add_(1)
        b = x + 0
        b[b > 0] = 0.5
        c = x + 0
        c.view(-1)[:3] = 7.0
        for part in z.chunk(2, 1):
            part.sub_(0.25)
        d = torch.empty(x.shape[0], 2)
        d.copy_(x[:, :2, 0])
        d.zero_()
        e = x * 1
        e[:, 1::2] = y[:, :1]
        e[..., ::3] *= -1
        return z, a, row, b, c, t, d, F.relu_(x - 0.5), e


def test_writes_into_views() -> None:
    check(Views(), (numbers(2, 4, 5), numbers(2, 1, 5)), (numbers(3, 4, 6), numbers(3, 1, 6)))


def test_a_buffer_that_is_changed_is_refused() -> None:
    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("count", torch.zeros(1))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.count.add_(1)
            return x + self.count

    with pytest.raises(niwaki.NiwakiError, match="'count' in place"):
        lower(capture(Counting(), (numbers(2, 3),)))


def test_regions_without_gradients_or_autocasting() -> None:
    def function(x: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            y = x * 2
        with torch.autocast("cpu", enabled=False):
            return y.float() + x.mean()

    check(function, *images((2, 3), (4, 5)))


def test_parts_in_torch_run_at_any_size() -> None:
    linear = nn.Linear(5, 5)

    def function(m: nn.Module, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        y = m.linear(x)
        z = torch.special.i1e(y)[:, : x.shape[1] // 2]  # not native
        z = torch.special.i1e(torch.cat([z, z.new_zeros(x.shape[0], 3, 5)], 1))
        z = z + torch.arange(x.shape[1] // 2 + 3)[:, None]
        return m.linear(z.reshape(-1, 5)).softmax(-1), torch.special.i1e(y).reshape(x.shape[0], -1), x

    program = check(function, *images((2, 6, 5), (3, 9, 5), (1, 4, 5)), linear=linear, whole=False)
    assert [reason for reason in in_torch(program) if "special_i1e" in reason]
    assert len(program.stages) == 3


def test_places_in_memory() -> None:
    def frames(x: torch.Tensor) -> torch.Tensor:
        return x.as_strided((x.shape[0], 4, 4), (x.shape[1], 2, 1))

    check(frames, (torch.randn(2, 10),), (torch.randn(3, 15),))
    check(lambda x: (x + 1).as_strided((2, 3), (1, 4), 2), (torch.randn(3, 5, 7),), (torch.randn(2, 6, 7),))


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x.mT.as_strided((2, 3), (1, 2)),
        lambda x: x[1:].as_strided((2, 3), (1, 2)),
        lambda x: x[:, :, None].contiguous(memory_format=torch.channels_last).as_strided((2, 3), (1, 2)),
        lambda x: x.expand(4, *x.shape).as_strided((2, 3), (1, 2)),
    ],
)
def test_places_in_memory_of_another_tensor_are_refused(function) -> None:
    program = lower(capture(Module(function), (torch.randn(3, 5, 7),)))
    assert in_torch(program)[-1] == "aten::as_strided is not native"
