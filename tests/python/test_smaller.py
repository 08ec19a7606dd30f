"""Networks with fewer channels and lower ranks, and those of torch's fused layers: the same answers as before."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import niwaki
from niwaki._compat import import_torchvision
from niwaki.optimization import low_rank


def kill(layer: nn.Module, channels: list[int], bias: float | None = None) -> None:
    with torch.no_grad():
        layer.weight[channels] = 0
        if bias is not None:
            layer.bias[channels] = bias


def same(a: Any, b: Any, x: torch.Tensor) -> None:
    with torch.no_grad():
        torch.testing.assert_close(a(x), b(x), rtol=1e-5, atol=1e-6)


def test_channels_without_weights_are_cut_out_and_the_answers_stay() -> None:
    net = nn.Sequential(
        nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 16, 3, bias=False), nn.Hardswish(),
        nn.Conv2d(16, 8, 3, padding=1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 16), nn.GELU(),
        nn.Linear(16, 5),
    ).eval()  # fmt: skip
    kill(net[0], [0, 3, 4, 5, 7, 8], 0.7)  # five of them are two too many for a multiple of four
    kill(net[2], [1, 2, 3, 4])  # without a bias: always zero, so padding does not matter
    kill(net[7], list(range(12)), -0.3)
    x = torch.randn(4, 3, 12, 12)
    small = niwaki.optimize(net, args=(x,))
    assert [len(small[i].weight) for i in (0, 2, 4, 7, 9)] == [12, 12, 8, 4, 5]
    assert small[2].bias is not None and small[2].in_channels == 12 and small[9].in_features == 4
    same(small, net, x)
    kept = niwaki.optimize(net, niwaki.OptimizeConfig(remove_dead_channels=False), args=(x,))
    assert len(kept[0].weight) == 16
    compressed, _ = niwaki.compress(net, x)
    assert len(compressed[0].weight) == 12
    niwaki.compile(compressed, (x,))


class Branched(nn.Module):
    """Channels that meet others, that a padded layer sees, and that are the answer: none may go."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1)
        self.c, self.d = nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 3, padding=1)
        self.e = nn.Conv2d(4, 4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.relu(self.a(x)) + self.b(x)
        return self.e(torch.relu(self.d(torch.relu(self.c(y)))))


def test_channels_that_something_else_needs_stay() -> None:
    net = Branched().eval()
    for layer, bias in ((net.a, 1.0), (net.b, 1.0), (net.c, 1.0), (net.e, 1.0)):
        kill(layer, [0, 1, 2, 3], bias)
    x = torch.randn(2, 4, 6, 6)
    small = niwaki.optimize(net, args=(x,))
    assert all(len(getattr(small, name).weight) == 4 for name in "abcde")
    same(small, net, x)


def low(outputs: int, inputs: int, rank: int) -> torch.Tensor:
    return torch.randn(outputs, rank) @ torch.randn(rank, inputs) / inputs**0.5


def test_low_rank_layers_become_two(monkeypatch: pytest.MonkeyPatch) -> None:
    net = nn.Sequential(
        nn.Conv2d(32, 64, 1, stride=2), nn.ReLU(), nn.Conv2d(64, 64, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1),
        nn.Flatten(), nn.Linear(64, 40), nn.ReLU(), nn.Linear(40, 40),
    ).eval()  # fmt: skip
    with torch.no_grad():
        net[0].weight.copy_(low(64, 32, 6)[:, :, None, None])
        net[6].weight.copy_(low(40, 64, 8))
    x = torch.randn(32, 32, 9, 9)
    counted: list[tuple[int, ...]] = []

    def by_weights(layer: Any, weight: Any, shape: Any, threads: int) -> float:
        counted.append(tuple(shape))
        return float(weight.size)

    monkeypatch.setattr(low_rank, "time_layer", by_weights)
    small = niwaki.factorize(net, x.split(8), niwaki.FactorizeConfig(error=0.01))
    assert [tuple(part.weight.shape[:2]) for part in small[0]] == [(8, 32), (64, 8)] and small[0][0].stride == (2, 2)
    assert [tuple(part.weight.shape) for part in small[6]] == [(8, 64), (40, 8)]
    assert type(small[2]) is nn.Conv2d and type(small[8]) is nn.Linear, "of full rank, or no matrix"
    same(small, net, x)
    assert (8, 32, 9, 9) in counted and (8, 8, 5, 5) in counted
    monkeypatch.setattr(low_rank, "time_layer", lambda *_: 1.0)
    assert type(niwaki.factorize(net, x)[0]) is nn.Conv2d, "two calls of 1 ms are slower than one"
    with pytest.raises(ValueError, match="error must be a number above 0"):
        niwaki.FactorizeConfig(error=0)


def test_the_error_is_the_one_that_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(low_rank, "time_layer", lambda layer, weight, shape, threads: float(weight.size))
    net = nn.Sequential(nn.Linear(64, 64)).eval()
    x = torch.randn(512, 64) * torch.logspace(0, -3, 64) + 1.0
    with torch.no_grad():
        y = net(x)
        spread = (y - y.mean(0)).norm()
        errors = []
        for error in (0.3, 0.1):
            small = niwaki.factorize(net, x, niwaki.FactorizeConfig(error=error))
            errors.append(float((small(x) - y).norm() / spread))
            assert isinstance(small[0], nn.Sequential) and errors[-1] <= error
    assert errors[1] < errors[0] and errors[0] > 0.02


@pytest.mark.parametrize("importance", ["magnitude", "second_order"])
def test_transformers_are_compressed(importance: str) -> None:
    net = nn.TransformerEncoder(nn.TransformerEncoderLayer(32, 4, 64, batch_first=True), 2).eval()
    x = torch.randn(16, 6, 32)
    small, report = niwaki.compress(net, x.split(8), sparsity=0.25, importance=importance)
    rows = {row.name: row for row in report}
    assert all(rows[f"layers.{i}.linear{k}"].scheme != "float32" for i in (0, 1) for k in (1, 2))
    assert rows["layers.0.linear1"].zeros > 0.05
    plain, _ = niwaki.compress(net, x)
    with torch.no_grad():
        wanted = net(x)
        assert float((plain(x) - wanted).norm() / wanted.norm()) < 0.02
        assert float((small(x) - wanted).norm() / wanted.norm()) < 0.3
        again = niwaki.compile(plain, (x,))(x)
    assert float((again - wanted).norm() / wanted.norm()) < 0.02


@pytest.mark.parametrize("name", ["vgg", "mobilenet_v2"])
def test_vgg_and_mobilenet_by_second_order(name: str) -> None:
    torchvision = import_torchvision()
    if name == "vgg":
        # Layers like its own, but narrow: the real one has 124 million weights.
        features = torchvision.models.vgg.make_layers([16, "M", 32, 32, "M", 32, "M"])
        net = nn.Sequential(features, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(128, 32), nn.Linear(32, 10))
    else:
        net = torchvision.models.mobilenet_v2(width_mult=0.25, num_classes=10)
    x = torch.randn(4, 3, 32, 32)
    small, report = niwaki.compress(net.eval(), x, sparsity=0.5, importance="second_order")
    assert report.schemes.get("float32") is None and report.zeros > 0.3
    assert not niwaki.compile(small, (x,)).plan.torch


class Recurrent(nn.Module):
    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.lstm = nn.LSTM(16, 24, batch_first=True, **options)
        self.head = nn.Linear(24 * (2 if options.get("bidirectional") else 1), 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.lstm(x)[0][:, -1])


@pytest.mark.parametrize("options", [{}, {"num_layers": 2, "bidirectional": True}, {"bias": False}])
def test_the_weights_of_an_lstm_are_quantized_and_pruned(options: dict[str, Any]) -> None:
    net = Recurrent(**options).eval()
    x = torch.randn(64, 7, 16)
    small, report = niwaki.compress(net, x)
    assert type(small.lstm) is niwaki.nn.LSTM and small.lstm.weight_ih_l0.dtype == torch.int8
    row = report[0]
    assert (row.name, row.op, row.scheme) == ("lstm", "lstm", "int8") and "each row of inputs and states" in row.reason
    assert row.bytes < 0.36 * row.float_bytes and row.error is not None and row.error < 0.01
    with torch.no_grad():
        wanted = net(x)
        assert float((small(x) - wanted).norm() / wanted.norm()) < 0.02
        assert float((niwaki.compile(small, (x,))(x) - wanted).norm() / wanted.norm()) < 0.02
    pruned, report = niwaki.compress(net, x, sparsity=0.5)
    assert report[0].zeros >= 0.5 and report[1].zeros >= 0.5
    blocks = pruned.lstm.weight_hh_l0.reshape(96, 6, 4)
    assert int((blocks == 0).all(2).sum()) >= 96 * 6 // 2
    skipped, _ = niwaki.compress(net, x, skip=("lstm",))
    assert type(skipped.lstm) is nn.LSTM
    again = torch.load(saved(small), weights_only=False)
    assert torch.equal(again(x), small(x))


def saved(module: nn.Module) -> Any:
    import io

    file = io.BytesIO()
    torch.save(module, file)
    file.seek(0)
    return file


def test_an_lstm_takes_what_torchs_takes() -> None:
    lstm = nn.LSTM(8, 12, num_layers=2).eval()
    small = niwaki.nn.LSTM(lstm)
    x, state = torch.randn(5, 3, 8), (torch.randn(2, 3, 12), torch.randn(2, 3, 12))
    packed = nn.utils.rnn.pack_padded_sequence(x, [2, 5, 4], enforce_sorted=False)
    with torch.no_grad():
        for args in ((x,), (x, state), (x[:, 0],), (packed,), (packed, state)):
            for a, b in zip(flat(small(*args)), flat(lstm(*args)), strict=True):
                assert a.shape == b.shape and float((a - b).norm() / b.norm()) < 0.02


def flat(result: Any) -> list[torch.Tensor]:
    y, (h, c) = result
    return [y.data if isinstance(y, nn.utils.rnn.PackedSequence) else y, h, c]
