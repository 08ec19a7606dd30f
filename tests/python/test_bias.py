"""Bias correction: the means of the quantized network's channels are those of float32, for any kind of input."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import niwaki
from niwaki.modules.layer import named_layers
from niwaki.nn.layers import quantized_layers
from niwaki.quantization.arithmetic import FloatRun
from niwaki.quantization.bias import Kept
from niwaki.quantization.inputs import Batch
from niwaki.quantization.programs import Programs
from niwaki.quantization.ranges import ranges_of
from niwaki.quantization.simulate import RoundedRun, types_of

COARSE: dict[str, Any] = {"per_channel": False, "weight_bits": 5, "rounding": "nearest", "precision": "int8"}


def make_net() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 25, 6)
    )  # fmt: skip


def answers(small: nn.Module, batch: Batch) -> dict[str, torch.Tensor]:
    """What each layer of a quantized network makes of a call, as it will run in int8, by the layer's name."""
    program = Programs(small).find(batch)
    assert program is not None
    calls = dict(program.layers)
    run = RoundedRun(program, {}, types_of(program, ranges_of(small)), watched=[])
    found: dict[str, torch.Tensor] = {}
    inner = run.layer

    def layer(node: Any, part: Any, x: torch.Tensor) -> torch.Tensor:
        found[calls[node].name] = inner(node, part, x)
        return found[calls[node].name]

    run.layer = layer  # type: ignore[method-assign]
    run.call(batch)
    return found


def wanted(net: nn.Module, batch: Batch) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = {}
    for name, part in net.named_modules():
        if isinstance(part, (nn.Conv2d, nn.Linear)):
            part.register_forward_hook(lambda _, __, y, name=name: found.__setitem__(name, y))
    with torch.no_grad():
        net.eval()(*batch.args, **batch.kwargs)
    return found


def channel_means(y: torch.Tensor) -> torch.Tensor:
    return y.mean((0, 2, 3)) if y.dim() == 4 else y.flatten(0, -2).mean(0)


@pytest.mark.parametrize("observer", ["mse", "minmax"])
def test_means_of_all_layers_are_those_of_float32(observer: str) -> None:
    net, x = make_net(), torch.rand(160, 3, 7, 7)
    off, on = (
        niwaki.quantize(net, x.split(16), niwaki.QuantizeConfig(correct_bias=flag, observer=observer, **COARSE))
        for flag in (False, True)
    )
    batch = Batch(0, (x,), {})
    means, found, corrected = wanted(net, batch), answers(off, batch), answers(on, batch)
    for name, value in means.items():
        off_by, left = (float((channel_means(each[name]) - channel_means(value)).norm()) for each in (found, corrected))
        assert left < 0.35 * off_by, name
    assert torch.equal(on[0].weight, off[0].weight)


class Recurrent(nn.Module):
    """Steps first: dim 0 is no batch."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.fc = nn.GRU(6, 8), nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.rnn(x)[0])


class Unbatched(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 8, 3), nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.conv(x).relu().mean((1, 2)))


class Fixed(nn.Module):
    """Takes four inputs, no more and no fewer."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(6, 16), nn.Linear(16, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.b(self.a(x).relu().reshape(4, 2, 8).transpose(1, 2).reshape(4, 16))


class OfTheBatch(nn.Module):
    """An answer that hangs on the whole batch."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(6, 16), nn.Linear(16, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.a(x)
        return self.b(y - y.mean(0, keepdim=True))


@pytest.mark.parametrize(
    ("net", "items"),
    [
        (Recurrent(), [torch.randn(t, 2, 6) for t in (5, 9, 7, 5)]),
        (Unbatched(), [torch.randn(3, 8, 8) for _ in range(6)]),
        (Fixed(), [torch.randn(4, 6) for _ in range(6)]),
        (OfTheBatch(), [torch.randn(n, 6) * n for n in (2, 8, 3, 8)]),
        (make_net(), [torch.randn(n, 3, 7, 7) for n in (1, 5, 2)]),
    ],
    ids=["steps first", "unbatched", "fixed batch", "of the batch", "batches of all sizes"],
)
def test_any_kind_of_input(net: nn.Module, items: list[torch.Tensor]) -> None:
    errors = []
    for flag in (False, True):
        small = niwaki.quantize(net, items, niwaki.QuantizeConfig(correct_bias=flag, **COARSE))
        change = size = 0.0
        for number, x in enumerate(items):
            batch = Batch(number, (x,), {})
            program = Programs(small).find(batch)
            assert program is not None
            (found,) = RoundedRun(program, {}, types_of(program, ranges_of(small))).call(batch)
            with torch.no_grad():
                answer = net.eval()(x)
            change += float((found - answer).square().sum())
            size += float(answer.square().sum())
        errors.append((change / size) ** 0.5)
    off, on = errors
    assert on < 1.05 * off < 0.3


def test_a_few_large_outputs_do_not_mislead_the_mean() -> None:
    """One input of thirty is a thousand times as large; its error says nothing about the others."""
    net = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 4)).eval()
    x = torch.randn(60, 8)
    x[::30] *= 1000
    off, on = (
        niwaki.quantize(net, x.split(1), niwaki.QuantizeConfig(correct_bias=flag, **COARSE)) for flag in (False, True)
    )
    small = torch.randn(200, 8)
    with torch.no_grad():
        errors = [float((answers(each, Batch(0, (small,), {}))["2"] - net(small)).norm()) for each in (off, on)]
    assert errors[1] < 1.1 * errors[0]


def test_layers_without_a_bias_and_layers_called_twice() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.plain, self.twice = nn.Linear(6, 6, bias=False), nn.Linear(6, 6)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.twice(self.twice(self.plain(x)).relu())

    net, x = Net().eval(), torch.randn(64, 6)
    small = niwaki.quantize(net, x)
    assert small.plain.bias is None
    with torch.no_grad():
        assert torch.allclose(small(x), net(x), atol=0.05)


def test_kept_are_the_first_inputs() -> None:
    kept = Kept()
    stream = [Batch(i, (torch.full((n, 2), float(i)),), {}) for i, n in enumerate((200, 40, 30, 9))]
    assert list(kept.watch(stream)) == stream
    assert [call.inputs for call in kept.calls] == [200, 40, 30]


def test_a_run_step_by_step_is_the_run() -> None:
    net, x = make_net().eval(), torch.randn(3, 3, 7, 7)
    small = niwaki.quantize(net, x)
    batch = Batch(0, (x,), {})
    program = Programs(small).find(batch)
    assert program is not None
    floats = dict(zip(quantized_layers(small), [layer for _, layer in named_layers(net)], strict=True))
    run = FloatRun(program, floats)  # type: ignore[arg-type]
    run.begin(batch)
    for node in program.module.graph.nodes:
        if node.op != "output":
            run.step(node)
    with torch.no_grad():
        assert torch.allclose(next(iter(run.env.values())), net(x), atol=1e-5)


def test_correct_bias_is_true_or_false() -> None:
    with pytest.raises(TypeError, match="correct_bias must be True or False"):
        niwaki.QuantizeConfig(correct_bias=1)  # type: ignore[arg-type]


class Stream(nn.Module):
    """A residual stream that is rounded after each block."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(8, 8, 1)
        self.layers = nn.ModuleList(nn.Conv2d(8, 8, 3, padding=1) for _ in range(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x).relu()
        for layer in self.layers:
            x = (x + layer(x)).relu()
        return x


def test_what_a_stream_lacks_is_given_back_by_the_next_layer_that_adds_to_it() -> None:
    """A layer's own mean alone would leave what the rounded and cut off stream lacks to all that follows."""
    torch.manual_seed(0)
    net = Stream().eval()
    x = torch.randn(64, 8, 9, 9).exp()  # long tails, of which ranges cut off
    errors = []
    for flag in (False, True):
        config = niwaki.QuantizeConfig(observer="percentile", percentile=99.0, precision="int8", correct_bias=flag)
        small = niwaki.quantize(net, [x], config)
        program = Programs(small).find(Batch(0, (x,), {}))
        assert program is not None
        (found,) = RoundedRun(program, {}, types_of(program, ranges_of(small))).call(Batch(0, (x,), {}))
        with torch.no_grad():
            errors.append(float((found - net(x)).mean((0, 2, 3)).abs().max()))
    assert errors[1] < 0.5 * errors[0]
