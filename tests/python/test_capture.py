"""capture: graphs of modules, and names that stay the same."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import niwaki
from niwaki._compat import import_torchvision
from niwaki.capture import Captured, capture, evaluating, shapes_of
from niwaki.quantization import ranges_of


class Net(nn.Module):
    """A residual block, literal sizes, an operation in place, and dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3, padding=1)
        self.bn = nn.BatchNorm2d(8)
        self.conv2 = nn.Conv2d(8, 8, 3, padding=1)
        self.drop = nn.Dropout()
        self.fc = nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = F.relu(self.bn(self.conv1(x)), inplace=True)
        y = y + self.conv2(y)
        n, c, h, w = y.shape
        y = y.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)
        return self.fc(self.drop(F.adaptive_avg_pool2d(y, 1).view(y.size(0), -1)))


def names(module: nn.Module, x: torch.Tensor) -> list[str]:
    return [node.name for node in capture(module, (x,)).program().graph.nodes]


@pytest.mark.parametrize("again", [(2, 3, 8, 8), (1, 3, 8, 8), (5, 3, 8, 8), (3, 3, 13, 17), (1, 3, 33, 33)])
def test_names_are_the_same_for_every_batch_and_image_size(again: tuple[int, ...]) -> None:
    x = torch.randn(2, 3, 8, 8)
    compressed = niwaki.quantize(Net(), [x])
    first = names(compressed, x)
    assert names(compressed, torch.randn(again)) == first
    assert set(ranges_of(compressed).values) <= set(first)
    assert capture(compressed, (torch.randn(again),)).fingerprint == ranges_of(compressed).fingerprint


@pytest.mark.parametrize("network", ["resnet18", "googlenet", "shufflenet_v2_x0_5", "mobilenet_v3_small"])
def test_names_are_the_same_for_real_networks(network: str) -> None:
    options: dict[str, Any] = {"init_weights": False} if network == "googlenet" else {}
    model = getattr(import_torchvision().models, network)(**options).eval()
    assert names(model, torch.randn(2, 3, 64, 64)) == names(model, torch.randn(1, 3, 97, 65))


def test_captures_in_eval_mode_and_gives_every_mode_back() -> None:
    net = Net()
    net.bn.eval()
    modes = {name: module.training for name, module in net.named_modules()}
    x = torch.randn(2, 3, 8, 8)
    program = capture(net, (x,))
    assert {name: module.training for name, module in net.named_modules()} == modes
    assert torch.equal(program.program()(x), net.eval()(x))

    def fail() -> None:
        with evaluating(net.train()):
            assert not net.bn.training
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fail()
    assert net.bn.training


def test_works_in_inference_mode() -> None:
    net = Net()
    with torch.inference_mode():
        x = torch.randn(2, 3, 8, 8)
        assert names(net, x) == names(net, x[:1])


def test_keyword_inputs() -> None:
    class Two(nn.Module):
        def forward(self, a: torch.Tensor, *, b: torch.Tensor) -> torch.Tensor:
            return a + b

    a = torch.randn(2)
    captured = capture(Two(), (a,), {"b": a})
    assert torch.equal(captured.program()(a, b=a), a + a)
    assert captured.parameters == ("a",) and list(captured.arguments) == ["a", "b"]


class Function(nn.Module):
    def __init__(self, function: Callable[..., Any], **parts: nn.Module) -> None:
        super().__init__()
        self.function = function
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x: torch.Tensor) -> Any:
        return self.function(self, x)


def free(captured: Captured) -> dict[str, tuple[int, int]]:
    return {size.name: (size.low, size.high) for size in captured.sizes.values()}


@pytest.mark.parametrize("batch", [1, 4])
def test_sizes_are_free_whatever_the_example(batch: int) -> None:
    captured = capture(Net(), (torch.randn(batch, 3, 9, 9),))
    (info,) = captured.inputs
    assert captured.dims_in_words(info) == ("batch", 3, "height", "width")
    assert set(free(captured)) == {"batch", "height", "width"}
    for shape in [(1, 3, 9, 9), (7, 3, 8, 31)]:
        assert captured.refusal([torch.randn(shape)]) == ""
    assert "dim 1 must be 3, not 4" in captured.refusal([torch.randn(1, 4, 9, 9)])


def test_a_branch_on_a_size_is_a_range_and_one_on_its_remainder_a_guard() -> None:
    low = capture(Function(lambda _, x: x * 2 if x.shape[1] < 35 else x), (torch.randn(2, 32),))
    assert free(low)["length"] == (0, 34)
    assert "length" in low.refusal([torch.randn(2, 35)]) and low.refusal([torch.randn(2, 34)]) == ""
    even = capture(Function(lambda _, x: x * 2 if x.shape[1] % 2 == 0 else x), (torch.randn(2, 32),))
    assert even.refusal([torch.randn(2, 30)]) == ""
    assert "dim 1 of input 'x'" in even.refusal([torch.randn(2, 31)])


@pytest.mark.parametrize(("ask", "words"), [
    (lambda size: (size // 4 + 1) // 2 * 3 > 20, "length must be at least 52, as"),
    (lambda size: size // 16 == 4, "length must be from 64 to 79, as"),
    (lambda size: size % 32 == 0, "length must be 32, or 64 and so on, as"),
    (lambda size: (size // 8) % 2 == 0, "length must be at most 7, or from 16 to 23 and so on, as"),
])  # fmt: skip
def test_a_condition_with_divisions_is_said_in_sizes(ask: Callable[[int], bool], words: str) -> None:
    captured = capture(Function(lambda _, x: x * 2 if ask(x.shape[1]) else x), (torch.randn(2, 64),))
    assert captured.refusal([torch.randn(2, 64)]) == "" and captured.refusal([torch.randn(2, 31)]).startswith(words)


def test_sizes_that_would_divide_by_zero_are_not_tried() -> None:
    def fold(_: nn.Module, x: torch.Tensor) -> torch.Tensor:
        windows = x.shape[1] // 4
        return x.view(windows, x.shape[0] * x.shape[1] // windows) if x.shape[0] % windows == 0 else x

    captured = capture(Function(fold), (torch.randn(2, 8),))
    assert captured.refusal([torch.randn(2, 3)]) and not captured.refusal([torch.randn(4, 16)])


@pytest.mark.parametrize("more", [
    lambda size, of: (of - size % of) % of, lambda size, of: -size % of,
    lambda size, of: math.ceil(size / of) * of - size,
])  # fmt: skip
def test_layers_that_pad_to_windows_leave_sizes_free(more: Callable[[int, int], int]) -> None:
    """Else the sizes of each layer would be expressions twice as large as those of the one before."""

    def windows(_: nn.Module, x: torch.Tensor) -> torch.Tensor:
        for of in (4, 7, 2, 7, 2, 7):
            padded = F.pad(x, (0, more(x.shape[1], of)))
            parts = padded.view(-1, padded.shape[1] // of, of).cumsum(2)
            x = parts.reshape(-1, padded.shape[1])[:, : x.shape[1] // 2 + 9]
        return x

    captured = capture(Function(windows), (torch.randn(2, 64),))
    program = captured.exported.module(check_guards=False)
    for length in (64, 63, 29, 101):
        x = torch.randn(3, length)
        assert not captured.refusal([x]) and torch.equal(program(x), windows(captured, x))


def test_sizes_of_large_expressions_are_those_of_the_example() -> None:
    def nest(_: nn.Module, x: torch.Tensor) -> torch.Tensor:
        size = x.shape[1]
        for more in range(9):
            size = (2 * size * (size + more) + 2) // (2 * size + 2)
        return x.sum(1) + size

    captured = capture(Function(nest), (torch.randn(2, 64),))
    assert set(free(captured)) == {"batch"} and "dim 1 must be 64" in captured.refusal([torch.randn(2, 32)])


def test_ranges_that_sympy_cannot_solve_end_no_capture(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch advises on ranges in the end; sympy fails at some, as at (height / 16) // 2 == 7."""

    def fail(*_: Any) -> None:
        raise NotImplementedError("cannot be solved")

    monkeypatch.setattr("sympy.solvers.inequalities.reduce_inequalities", fail)
    captured = capture(Function(lambda _, x: x * 2 if x.shape[1] // 16 == 7 else x), (torch.randn(2, 112),))
    assert not captured.refusal([torch.randn(3, 127)]) and captured.refusal([torch.randn(3, 128)])


def test_the_larger_of_a_ratio_of_sizes_and_one_is_the_ratio() -> None:
    """As positions of queries and keys have it that are fewer than each other."""

    def positions(_: nn.Module, x: torch.Tensor) -> torch.Tensor:
        queries, keys = x.shape[1], (x.shape[1] + 3) // 4
        ratio, other = max(keys / queries, 1.0), max(queries / keys, 1.0)
        return x.sum(0)[:, None] + torch.arange(queries)[:, None] * ratio - torch.arange(keys)[None] * other

    net = Function(positions)
    compiled = niwaki.compile(net, (torch.randn(2, 16),))
    for length in (16, 9, 4):
        x = torch.randn(3, length)
        assert torch.allclose(compiled(x), net(x), atol=1e-5)


ENDS = [
    lambda x, n: x[:, -n:], lambda x, n: x[:, -(n // 2) :], lambda x, n: x[:, : -(n // 2)],
    lambda x, n: x[:, 2:-(n // 2)], lambda x, n: x[:, n // 4 : n - n // 4], lambda x, n: x[:, -n:-2],
    lambda x, n: x[:, n // 2 : n // 3],
]  # fmt: skip


def written(x: torch.Tensor, n: int) -> torch.Tensor:
    """Zeros, of which some slices are written to, as masks of shifted windows are made."""
    y = x.new_zeros(n + 2)
    y[-n:-1], y[-n:0], y[n // 2 :] = 1.0, 2.0, 3.0
    return y + x[:, :1]


@pytest.mark.parametrize("function", [*ENDS, written])
def test_ends_of_slices_may_be_sizes(function: Callable[[torch.Tensor, int], torch.Tensor]) -> None:
    net = Function(lambda _, x: function(x, x.shape[1]))
    compiled = niwaki.compile(net, (torch.randn(2, 12),))
    assert all(step.scheme != "torch" for step in compiled.plan)
    for length in (12, 7, 5):
        x = torch.randn(3, length)
        assert torch.equal(compiled(x), net(x))


def test_a_branch_on_one_is_held_and_a_question_about_memory_is_not() -> None:
    """torch asks whether sizes are 1 by itself; both look alike in the graph."""
    branching = capture(Function(lambda _, x: x * 2 if x.shape[0] != 1 else x), (torch.randn(3, 4),))
    assert branching.refusal([torch.randn(1, 4)]) and not branching.refusal([torch.randn(2, 4)])
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    for batch in (1, 3):
        captured = capture(layer, (torch.randn(batch, 5, 8),))
        assert not captured.refusal([torch.randn(1, 1, 8)]) and not captured.refusal([torch.randn(4, 9, 8)])


def test_images_of_one_pixel_are_taken_where_the_network_takes_them() -> None:
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.MaxPool2d(3, 2), nn.Conv2d(8, 8, 1), nn.Flatten(2))
    captured = capture(net.eval(), (torch.randn(1, 3, 12, 10),))
    for size in (5, 6, 7, 20):  # 5 and 6 leave one pixel, of which torch asks how it lies in memory
        assert not captured.refusal([torch.randn(2, 3, size, 6)])


@pytest.mark.parametrize("ask", [
    lambda y: y.mean(1) if y.shape[2] == 1 else y.amax(1),
    lambda y: y.squeeze(2),
    lambda y: y.squeeze(),
])  # fmt: skip
def test_what_depends_on_a_size_of_one_is_refused(ask: Callable[[torch.Tensor], torch.Tensor]) -> None:
    conv = nn.Conv2d(3, 8, 3, bias=False)  # asks, too, before
    captured = capture(Function(lambda m, x: ask(F.max_pool2d(m.conv(x), 2)), conv=conv), (torch.randn(2, 3, 12, 10),))
    assert not captured.refusal([torch.randn(3, 3, 9, 9)])
    assert "height must be at most 3, or at least 6" in captured.refusal([torch.randn(2, 3, 4, 9)])


def test_what_any_keyword_takes_is_free_too() -> None:
    class Named(nn.Module):
        def forward(self, *args: torch.Tensor, **kwargs: torch.Tensor) -> torch.Tensor:
            return kwargs["a"] * kwargs["b"] + sum(args)

    net = Named()
    a = torch.randn(3, 5)
    captured = capture(net, (), {"a": a, "b": a})
    assert captured.dims_in_words(captured.inputs[0]) == ("batch", "length") and captured.keywords == "kwargs"
    assert "forward" not in vars(net)
    wide = torch.randn(4, 2)
    assert not captured.refusal([wide, wide]) and torch.equal(captured.program()(a=wide, b=wide), wide * wide)


@pytest.mark.parametrize("length", [1, 6])
def test_a_causal_mask_for_more_than_one_token_leaves_lengths_free(length: int) -> None:
    """As transformers asks for it: an operator takes the answer, which is no bool where the length is free."""

    def attend(_: nn.Module, x: torch.Tensor) -> torch.Tensor:
        causal = x.shape[1] > 1 and True
        return nn.functional.scaled_dot_product_attention(x, x, x, is_causal=causal)

    captured = capture(Function(attend), (torch.randn(2, length, 4),))
    for size in (1, 2, 9):
        x = torch.randn(3, size, 4)
        assert not captured.refusal([x]) and torch.allclose(captured.program()(x), attend(nn.Identity(), x), atol=1e-6)


def test_images_of_one_pixel_in_the_end() -> None:
    """torch asks whether a convolution's input has more than one pixel, to choose how it lies in memory."""
    net = nn.Sequential(nn.Conv2d(3, 4, 4, 4), nn.Conv2d(4, 4, 2, 2), nn.Conv2d(4, 4, 1), nn.ReLU()).eval()
    captured = capture(net, (torch.randn(1, 3, 32, 16),))
    assert free(captured)["height"][0] <= 8 and free(captured)["width"][0] <= 8
    x = torch.randn(2, 3, 8, 15)
    assert not captured.refusal([x]) and torch.equal(captured.program()(x), net(x))
    branching = capture(Function(lambda _, x: x * 2 if x.shape[1] > 7 else x), (torch.randn(3, 16),))
    assert free(branching)["length"][0] == 8


def test_a_moved_map_of_one_pixel_may_be_larger() -> None:
    """As heads of detectors have it: whether a reshape of what was moved copies depends on which sizes are 1."""

    def rows(_: nn.Module, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        moved = nn.functional.avg_pool2d(x, 3, 8, 1).permute(0, 2, 3, 1)
        return moved.reshape(x.shape[0], -1, 2), torch.flatten(moved, 1)

    captured = capture(Function(rows), (torch.randn(2, 4, 8, 8),))
    for shape in [(1, 4, 3, 8), (3, 4, 17, 30)]:
        x = torch.randn(shape)
        assert not captured.refusal([x])
        assert all(map(torch.equal, captured.program()(x), rows(nn.Identity(), x)))


@pytest.mark.parametrize("part", [slice(-1, None), slice(None, 1), slice(0, 1)])
def test_one_row_of_a_free_size_fits_all_of_it(part: slice) -> None:
    """As positions are normalized: by the last of them, which a size of 0 would not have."""

    def scaled(_: nn.Module, x: torch.Tensor) -> torch.Tensor:
        half = x[..., : x.shape[2] // 2, None]
        return half / half[:, :, part] + half[..., part, :]

    captured = capture(Function(scaled), (torch.randn(2, 3, 9),))
    for shape in [(2, 3, 2), (1, 4, 30)]:
        x = torch.randn(shape)
        assert not captured.refusal([x]) and torch.equal(captured.program()(x), scaled(nn.Identity(), x))
    assert captured.refusal([torch.randn(2, 3, 1)])


def test_a_table_of_positions_limits_the_length() -> None:
    class Embed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.positions = nn.Parameter(torch.randn(32, 4))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + self.positions[: x.shape[1]]

    captured = capture(Embed(), (torch.randn(2, 8, 4),))
    assert free(captured)["length"][1] == 32 and not captured.refusal([torch.randn(1, 32, 4)])
    assert "length must lie in" in captured.refusal([torch.randn(1, 33, 4)])


def test_the_fingerprint_is_that_of_the_graph() -> None:
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    prints = {capture(layer, (torch.randn(shape),)).fingerprint for shape in [(1, 5, 8), (3, 5, 8), (2, 1, 8)]}
    assert len(prints) == 1
    other = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, norm_first=True)
    assert capture(other, (torch.randn(3, 5, 8),)).fingerprint not in prints


def test_a_pool_over_the_whole_image_holds_at_any_size() -> None:
    net = Function(lambda net, x: F.avg_pool2d(net.c(x), x.shape[2:]), c=nn.Conv2d(3, 4, 3, padding=1))
    captured = capture(net, (torch.randn(1, 3, 8, 8),))
    x = torch.randn(2, 3, 11, 7)
    assert captured.refusal([x]) == ""
    torch.testing.assert_close(captured.program()(x), net(x))


def test_failure_is_one_sentence() -> None:
    class Branches(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x if x.sum() > 0 else -x

    with pytest.raises(niwaki.NiwakiError, match=r"torch\.export cannot capture Branches") as caught:
        capture(Branches(), (torch.randn(2),))
    assert "\n" not in str(caught.value)
    with pytest.raises(TypeError, match=r"tuple such as \(x,\)"):
        capture(Net(), torch.randn(1, 3, 8, 8))  # type: ignore[arg-type]


def test_shapes_tell_calls_apart() -> None:
    x = torch.randn(2, 3)
    assert shapes_of((x,)) == shapes_of((x + 1,))
    assert shapes_of((x,)) != shapes_of((x[:1],))
    assert shapes_of((x,)) != shapes_of((), {"x": x})
    assert shapes_of((x,)) != shapes_of((x.double(),))


def _written(x: torch.Tensor) -> torch.Tensor:
    x = x * 2
    x[:, 1:3] += 1
    x[:, 0].zero_()
    return x


@pytest.mark.parametrize(
    "function",
    [_written, lambda x: F.pad(x, (2, 1), mode="circular"), lambda x: x.transpose(0, 1).contiguous().view(-1)],
    ids=["in place", "circular", "view"],
)
def test_sizes_may_be_one_where_torch_asks_about_memory(function: Callable[[torch.Tensor], torch.Tensor]) -> None:
    class Made(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return function(x)

    captured = capture(Made(), (torch.randn(4, 5, 8),))
    for batch in (1, 3):
        x = torch.randn(batch, 5, 8)
        assert not captured.refusal([x])
        assert torch.equal(captured.program()(x), function(x))


def test_sizes_that_have_to_be_equal_are_one_together() -> None:
    layer = nn.MultiheadAttention(8, 2, batch_first=True).eval()
    captured = capture(layer, (torch.randn(2, 5, 8), torch.randn(2, 7, 8), torch.randn(2, 7, 8)))
    args = [torch.randn(1, 3, 8), torch.randn(1, 4, 8), torch.randn(1, 4, 8)]
    assert not captured.refusal(args)
    with torch.no_grad():
        torch.testing.assert_close(captured.program()(*args)[0], layer(*args)[0])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_other_floating_point_types_are_refused(dtype: torch.dtype) -> None:
    x = torch.randn(2, 3, 8, 8, dtype=dtype)
    word = str(dtype).removeprefix("torch.")
    with pytest.raises(TypeError, match=f"Input 'x' is {word}; niwaki computes in float32, so pass it as .float"):
        niwaki.compile(Net(), (x,))
    with pytest.raises((TypeError, ValueError), match=word):
        niwaki.compress(Net(), [x], progress=False)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: F.avg_pool2d(x, (x.shape[2], 1)),
        lambda x: F.avg_pool2d(x, (3, x.shape[3]), (2, 1), (1, 0), False, False),
        lambda x: F.max_pool2d(x, (x.shape[2], 2), ceil_mode=True),
        lambda x: x + torch.linspace(-1, 1, x.shape[3]) * torch.linspace(0, 2, steps=x.shape[2])[:, None],
        lambda x: torch.take_along_dim(x, x.argsort(2), 2) + x.take_along_dim(torch.tensor([[[[1]]]]), 3),
        lambda x: torch.ones(len(x), 1, 1, 1).repeat(1, 1, 1, x.shape[3]) * x * torch.tensor(x.shape[2]),
        lambda x: torch.kron(x[:, 0], torch.arange(6.0).reshape(2, 3)) + torch.kron(torch.ones(2), x[0, 0, 0]).sum(),
        lambda x: torch.linalg.multi_dot([x[:, 0, 0], x[0, 1].T, x[0, 2]]),
        lambda x: torch.linalg.multi_dot([x[0, 0, 0], x[0, 1].T, x[0, 2], x[0, 0, 1]]),
        lambda x: torch.vander(x[0, 0, 0]) + torch.vander(x[0, 0, 0], x.shape[3], increasing=True),
        lambda x: F.one_hot(x.argmax(2), x.shape[2]) + F.one_hot(x.argmax(2) * 0, num_classes=x.shape[2]),
    ],
    ids=[
        "rows", "columns and some rows", "maximum", "linspace", "take_along_dim", "len", "kron", "multi_dot",
        "multi_dot of vectors", "vander", "one_hot",
    ],
)  # fmt: skip
def test_sizes_stay_free_where_operators_take_numbers(function: Callable[[torch.Tensor], torch.Tensor]) -> None:
    class Made(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return function(x)

    net = niwaki.compile(Made(), (torch.randn(4, 3, 8, 8),))
    assert not net.plan.torch
    for shape in ((1, 3, 8, 8), (3, 3, 5, 7)):
        x = torch.randn(shape)
        torch.testing.assert_close(net(x), function(x))


def test_classes_beyond_a_size_are_refused() -> None:
    class Marked(nn.Module):
        def forward(self, x: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
            return F.one_hot(index, x.shape[1]) + x

    net = niwaki.compile(Marked(), (torch.randn(3, 4), torch.tensor([0, 1, 3])))
    index = torch.tensor([4, 0])
    assert torch.equal(net(torch.zeros(2, 5), index), F.one_hot(index, 5))
    with pytest.raises(ValueError, match="4"):
        net(torch.zeros(2, 4), index)


def test_a_size_of_one_that_is_broadcast_stays_one() -> None:
    class Added(nn.Module):
        def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            return x + y

    net = niwaki.compile(Added(), (torch.randn(4, 3, 8), torch.randn(1, 3, 8)))
    assert [info.dims[0] for info in net.inputs] == ["batch", 1]
    x, y = torch.randn(2, 3, 5), torch.randn(1, 3, 5)
    assert torch.equal(net(x, y), x + y)
    with pytest.raises(ValueError, match=r"'y' must have the shape \[1, "):
        net(x, x)


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("shape", ["mask", "gate", "map", "column"])
def test_other_sizes_stay_free_beside_one_that_is_broadcast(shape: str, batch: int) -> None:
    class Attending(nn.Module):
        def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
            q = x.unflatten(-1, (2, 4)).transpose(1, 2)
            return F.scaled_dot_product_attention(q, q, q, attn_mask=mask)

    class Gated(nn.Module):
        def forward(self, x: torch.Tensor, gate: torch.Tensor) -> torch.Tensor:
            return x * gate.sigmoid()

    def inputs(batch: int, a: int, b: int) -> tuple[torch.Tensor, torch.Tensor]:
        if shape == "mask":
            return torch.randn(batch, a, 8), torch.randn(batch, 1, a, a)
        other = {"gate": (batch, a, 1, 1), "map": (batch, 1, a, b), "column": (batch, 1, a, 1)}[shape]
        return torch.randn(batch, 3 if shape != "gate" else a, a, b), torch.randn(other)

    module = Attending() if shape == "mask" else Gated()
    net = niwaki.compile(module, inputs(batch, 5, 6), threads=1)
    assert not net.plan.torch
    for sizes in ((3, 7, 4), (1, 1, 9)):
        x, other = inputs(*sizes)
        torch.testing.assert_close(net(x, other), module(x, other))
    x, other = inputs(2, 5, 6)
    with pytest.raises(ValueError, match="dim 1 must be 1" if shape != "gate" else "dim 2 must be 1"):
        net(x, torch.cat([other, other], 2 if shape == "gate" else 1))


def test_what_torch_prints_of_a_graph_is_not_shown(capfd: pytest.CaptureFixture[str]) -> None:
    class Deciding(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x if x.sum() > 0 else -x

    with pytest.raises(niwaki.NiwakiError, match="Control flow that depends on values"):
        capture(Deciding(), (torch.randn(2, 3),))
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("function", [
    torch.vmap(lambda row: row.outer(row)),
    lambda x: torch.func.grad(lambda y: (y**2).sum())(x),
    lambda x: torch.func.jvp(torch.sin, (x,), (x,))[1],
], ids=["vmap", "grad", "jvp"])  # fmt: skip
def test_transforms_of_functions_are_refused(function: Callable[[torch.Tensor], torch.Tensor]) -> None:
    class Transformed(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return function(x)

    with pytest.raises(niwaki.NiwakiError, match=r"maps a function over an axis or takes its derivative .* outside"):
        niwaki.compile(Transformed(), (torch.randn(2, 3),))


def test_the_root_of_a_length_leaves_it_free() -> None:
    class Scaled(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x / math.sqrt(x.shape[1]) + math.sqrt(2)

    net = niwaki.compile(Scaled(), (torch.randn(2, 5, 6),), threads=1)
    for shape in ((2, 5, 6), (1, 9, 4)):
        x = torch.randn(shape)
        torch.testing.assert_close(net(x), Scaled()(x))


def test_one_tensor_for_two_inputs() -> None:
    """Given twice, it is still two inputs."""

    class Minus(nn.Module):
        def forward(self, a: torch.Tensor, b: list[torch.Tensor]) -> torch.Tensor:
            return a * 2 - b[0]

    x, y = torch.randn(2, 3), torch.randn(2, 3)
    net = niwaki.compile(Minus(), (x, [x]), threads=1)
    torch.testing.assert_close(net(x, [y]), x * 2 - y)


def test_trials_of_sizes_that_fail_are_silent(capfd: pytest.CaptureFixture[str]) -> None:
    """A module of torch.fx, such as that of an ONNX file, prints where it fails, also where that is caught."""

    class Rows(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3, padding=1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return F.avg_pool2d(self.conv(x), [3, 2], [3, 2]).reshape(x.shape[0], 4, -1)

    net = niwaki.compile(torch.fx.symbolic_trace(Rows().eval()), (torch.randn(2, 3, 12, 10),))
    assert net.inputs[0].dims == ("batch", 3, "height", "width")
    assert capfd.readouterr().err == ""
