"""Writing to places that are data, unpooling, diagonals: against torch, at several sizes."""

from __future__ import annotations

import pytest
import torch
from lowered import Of, capture, check, foreseen, in_torch, lower, run
from torch.nn import functional as F

SIZES = ((2, 6, 5), (3, 4, 7), (1, 1, 1))


def indexed(*shapes: tuple[int, ...], seed: int = 0) -> list[tuple[torch.Tensor, ...]]:
    """Values, indices along axis 1, and updates for these."""
    generator = torch.Generator().manual_seed(seed)
    made = []
    for shape in shapes:
        x = torch.randn(shape, generator=generator)
        index = torch.randint(0, shape[1], (shape[0], 3, shape[2]), generator=generator)
        made.append((x, index, torch.randn(index.shape, generator=generator)))
    return made


def unlike(*shapes: tuple[int, ...]) -> list[tuple[torch.Tensor, ...]]:
    """The same with no index twice: where one is, torch does not say what is written."""
    made = []
    for shape in shapes:
        index = torch.stack([torch.randperm(shape[1]) for _ in range(shape[0])])[..., None].expand(shape).contiguous()
        made.append((torch.randn(shape), index, torch.randn(shape)))
    return made


SCATTERED = {
    "sums": lambda x, i, y: (x.scatter_add(1, i, y), x.scatter_reduce(1, i, y, "sum"), x.scatter_add(1, i, i.float())),
    "integers": lambda x, i, y: (x.long().scatter_add(1, i, i), i.scatter_reduce(1, i % 1, i, "amax")),
    "products": lambda x, i, y: (x.scatter_reduce(1, i, y, "prod"), x.scatter(1, i, y, reduce="multiply")),
    "extremes": lambda x, i, y: (x.scatter_reduce(1, i, y, "amax"), x.scatter_reduce(1, i, y, "amin")),
    "means": lambda x, i, y: x.scatter_reduce(1, i, y, "mean"),
    "updates alone": lambda x, i, y: tuple(
        x.scatter_reduce(1, i, y, reduce, include_self=False) for reduce in ("sum", "prod", "amax", "amin", "mean")
    ),
    "numbers": lambda x, i, y: (x.scatter(1, i, 2.5), x.scatter(1, i[:, :1], 1), x.scatter(1, i, 2.0, reduce="add")),
}  # fmt: skip


@pytest.mark.parametrize("name", SCATTERED)
def test_scatter(name: str) -> None:
    check(SCATTERED[name], *indexed(*SIZES))


def test_scatter_of_parts() -> None:
    def function(x: torch.Tensor, i: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return x.scatter(1, i, y), x.scatter(-2, i[:, :, :1], y), (x > 0).scatter(1, i, y > 0)

    check(function, *unlike(*SIZES))
    check(lambda x: x.scatter(0, torch.tensor(0), x * 2) + x.index_fill(0, torch.tensor(0), 1), (torch.tensor(3.0),))


def test_index_add_and_its_like() -> None:
    def function(x: torch.Tensor, i: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, ...]:
        row = i[0, :, 0]
        return (
            x.index_add(1, row, y), x.index_add(1, row, y, alpha=-2), x.index_copy(1, row[:1], y[:, :1]),
            x.index_fill(1, row, 3.0), x.index_reduce(1, row, y, "amax"), x.index_fill(-1, torch.tensor([-1]), 0),
        )  # fmt: skip

    check(function, *indexed(*SIZES))


def test_writing_to_indices() -> None:
    def function(x: torch.Tensor, i: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, ...]:
        a, b, c, d = x.clone(), x.clone(), x.clone(), x.clone()
        row, first = i[0, :, 0], torch.arange(x.shape[0])
        a[:, row[:1]] = 1.5
        b[first, row[:1], :] = y[:, 0]
        c[first[:, None], :, row[None, :1] * 0] += y[:, :1, :1]
        d[:, row[:1] - x.shape[1]] = y[:1, 0]  # counted from the end
        return a, b, c, d, x.index_put((first, i[:, 0, 0]), y[:, 1], accumulate=True), x.put(row[:1], y[0, 0, :1])

    check(function, *indexed(*SIZES))


def test_writing_where_a_mask_is_true() -> None:
    def function(x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, ...]:
        a, b = x.clone(), x.clone()
        a[x > 0] = 0
        b[x[..., 0] > 0] = y[0, 0]
        return a, b, x.masked_scatter(x > 0, y), x.masked_scatter(x[:, :1] > 5, y), x.masked_fill(x > 0, y.amax())

    check(function, *((x, y) for x, _, y in unlike(*SIZES)))


def test_an_index_out_of_range_is_an_error() -> None:
    program = lower(capture(Of(lambda x, i, y: x.scatter_add(1, i, y)), indexed(SIZES[0])[0]))
    x, index, y = indexed(SIZES[0])[0]
    for wrong in (-1, 6, 2**60):
        index[1, 1, 1] = wrong
        with pytest.raises(ValueError, match=f"the index {wrong} is out of range; it must be 0 to 5"):
            run(program, [x, index, y])


POOLS = [
    {"kernel_size": 2},
    {"kernel_size": 3, "stride": 2, "padding": 1},
    {"kernel_size": (2, 3), "stride": (1, 2), "ceil_mode": True},
    {"kernel_size": 3, "stride": 2, "padding": 1, "dilation": 2, "ceil_mode": True},
]


@pytest.mark.parametrize("options", POOLS)
def test_places_of_maxima(options: dict[str, object]) -> None:
    images = [(torch.randint(-3, 3, shape).float(),) for shape in ((2, 3, 8, 9), (1, 3, 7, 6))]
    images[1][0][0, 0] = -torch.inf  # the first of equals, and never a place outside
    check(lambda x: F.max_pool2d(x, **options, return_indices=True), *images)


def test_places_of_other_maxima() -> None:
    check(
        lambda x: (*F.max_pool1d(x.flatten(2), 3, 2, 1, return_indices=True),
                   *F.adaptive_max_pool2d(x, (3, 2), return_indices=True), *F.max_pool2d(x[0], 2, return_indices=True)),
        *((torch.randn(shape),) for shape in ((2, 3, 8, 9), (1, 3, 7, 6))),
    )  # fmt: skip
    check(lambda x: F.max_pool3d(x, 2, padding=1, return_indices=True), (torch.randn(2, 2, 5, 4, 6),))


def test_unpooling() -> None:
    def function(x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        y, places = F.max_pool2d(x, 2, return_indices=True)
        z, lines = F.max_pool1d(x[0], 2, return_indices=True)
        return F.max_unpool2d(y, places, 2, output_size=x.shape[-2:]), F.max_unpool1d(z, lines, 2)

    check(function, *((torch.randn(shape),) for shape in ((2, 3, 8, 6), (1, 3, 10, 4))))
    check(lambda x: F.max_unpool3d(*F.max_pool3d(x, 2, return_indices=True), 2), (torch.randn(1, 2, 4, 2, 6),))


def test_diagonals() -> None:
    def function(x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        y = x.clone()
        y.diagonal(0, 1, 2).zero_()
        return (
            x.diagonal(0, 1, 2), x.diagonal(1, 0, 2), x.diagonal(-1, -1, 0), torch.diag_embed(x), x[0, 0].diag(),
            torch.diag_embed(x, 1, 0, 2), torch.diag_embed(x, -2), x[0].diag(1), x[0].trace(), y,
            torch.diagonal_scatter(x, x[:, 0, :1], 0, 0, 2)[:1] if x.shape[0] == 1 else x, (x > 0).diagonal(),
        )  # fmt: skip

    check(function, *((torch.randn(shape),) for shape in ((2, 6, 5), (3, 4, 7))))

    def filled(x: torch.Tensor) -> torch.Tensor:
        y = x.clone()
        y.fill_diagonal_(2.0)
        return y

    check(filled, (torch.randn(4, 6),))


def test_shapes_changed_in_place() -> None:
    def function(x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        y, z, w = x[:, :1] * 2, x * 3, x * 4
        y.squeeze_(1)
        z.unsqueeze_(1).transpose_(0, 1)
        w.swapaxes_(1, 2)
        return y + 1, z, w

    check(function, *((torch.randn(shape),) for shape in SIZES))


def test_embedding_bags() -> None:
    table = torch.randn(7, 4)
    calls = [(torch.randint(0, 7, (rows, 3)), torch.randn(rows, 3)) for rows in (2, 5)]
    check(
        lambda m, i, w: (F.embedding_bag(i, m.table), F.embedding_bag(i, m.table, mode="max"),
                         F.embedding_bag(i, m.table, mode="sum", per_sample_weights=w)),
        *calls, table=table,
    )  # fmt: skip
    calls = [(torch.randint(0, 7, (count,)), torch.tensor([0, 2, 2, 4])) for count in (4, 9)]
    modes = ("sum", "mean", "max")
    check(lambda m, i, o: tuple(F.embedding_bag(i, m.table, o, mode=mode) for mode in modes), *calls, table=table)


def test_embedding_bags_without_padding() -> None:
    table = torch.randn(7, 4)
    table[5] = float("inf")
    modes = ("sum", "mean", "max")
    rows = [(torch.randint(0, 7, (3, 4)),), (torch.tensor([[5, 5], [1, 5]]),)]  # nothing but padding in the first
    check(lambda m, i: tuple(F.embedding_bag(i, m.table, mode=mode, padding_idx=-2) for mode in modes), *rows,
          table=table)  # fmt: skip
    bags = [(torch.randint(0, 7, (9,)), torch.tensor([0, 3, 3])), (torch.tensor([5, 5, 2]), torch.tensor([0, 2, 2]))]
    check(lambda m, i, o: tuple(F.embedding_bag(i, m.table, o, mode=mode, padding_idx=5) for mode in modes), *bags,
          table=table)  # fmt: skip
    weights = [(torch.randint(0, 7, (3, 4)), torch.randn(3, 4)), (torch.tensor([[5, 1]]), torch.randn(1, 2))]
    check(lambda m, i, w: F.embedding_bag(i, m.table, mode="sum", per_sample_weights=w, padding_idx=5), *weights,
          table=table)  # fmt: skip


def test_what_draws_random_numbers_says_so() -> None:
    functions = {
        "aten::randn_like": lambda x: x + torch.randn_like(x), "aten::rand": lambda x: x + torch.rand(5),
        "aten::bernoulli": lambda x: F.dropout(x, 0.5), "aten::uniform": lambda x: x * torch.empty(5).uniform_(),
        "aten::normal_functional": lambda x: x + torch.empty(5).normal_(),
        "aten::randperm": lambda x: x[:, torch.randperm(5)],
    }  # fmt: skip
    for name, function in functions.items():
        module = Of(function)
        reasons = in_torch(lower(capture(module, (torch.randn(4, 5),))))
        assert f"{name} draws random numbers" in reasons or "aten::dropout draws random numbers" in reasons, reasons
        (told,) = foreseen(module, (torch.randn(4, 5),))
        assert told.reason.endswith("draws random numbers")


def test_what_needs_a_number_of_elements_is_refused_by_name() -> None:
    for function, name in ((torch.nonzero, "nonzero"), (torch.unique, "unique"), (lambda x: x[x > 0], "index")):
        reasons = in_torch(lower(capture(Of(function), (torch.randn(4, 5),))))
        assert any(name in reason for reason in reasons), reasons
