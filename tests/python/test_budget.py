"""niwaki.compress with a Target: the allocation is the best one, and what is promised is what the file has."""

from __future__ import annotations

import functools
import itertools
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_networks import load_cifar
from torch import nn

import niwaki
from niwaki import Target
from niwaki.budget import measure
from niwaki.budget.options import Option, interpolated
from niwaki.layerwise.knapsack import choose
from niwaki.layerwise.timing import time_layer
from niwaki.modules.layer import Conv2dLayer, Layer, LinearLayer
from niwaki.nn.layers import quantized_layers
from niwaki.report import Report


def make_net() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 32, 3, stride=2), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 8),
    ).eval()  # fmt: skip


@pytest.fixture
def x() -> torch.Tensor:
    return torch.randn(32, 3, 10, 10)


def file_bytes(module: nn.Module, x: torch.Tensor, path: Path) -> int:
    niwaki.compile(module, (x[:1],)).save(path)
    return path.stat().st_size


@pytest.mark.parametrize("limits", [1, 2])
def test_the_allocation_is_the_best_of_all(limits: int) -> None:
    generator = np.random.default_rng(limits)
    for _ in range(20):
        # Whole costs, and so much to spend on top of the cheapest that the grid has them: nothing is rounded up.
        costs = [generator.integers(0, 12, (4, limits)).astype(float) for _ in range(5)]
        losses = [generator.random(4).tolist() for _ in range(5)]
        cheapest = sum(cost.min(0) for cost in costs)
        budget = (cheapest + generator.choice([0, 4, 8, 16], limits)).tolist()
        found = choose(losses, costs, budget)
        ways = []
        for way in itertools.product(range(4), repeat=5):
            if (sum(cost[i] for cost, i in zip(costs, way, strict=True)) <= np.array(budget)).all():
                ways.append((sum(loss[i] for loss, i in zip(losses, way, strict=True)), way))
        if not ways:
            assert found is None
            continue
        assert found is not None
        assert (sum(cost[i] for cost, i in zip(costs, found, strict=True)) <= np.array(budget)).all()
        assert sum(loss[i] for loss, i in zip(losses, found, strict=True)) == pytest.approx(min(ways)[0])


def test_shares_between_those_measured() -> None:
    measured = [Option(0.0, 8, 0.0, 0.0, 100.0, 2.0), Option(0.5, 8, 4.0, 0.2, 60.0, 1.0)]
    middle = next(option for option in interpolated(measured) if option.share == 0.25)
    assert (middle.loss, middle.error, middle.bytes, middle.milliseconds) == pytest.approx((1.0, 0.1, 80.0, 1.5))
    assert max(option.share for option in interpolated(measured)) == 0.5


@functools.cache
def compressed_to(size: float) -> tuple[nn.Module, torch.Tensor, nn.Module, Report]:
    """A network, inputs, what becomes of it, and the report."""
    torch.manual_seed(0)
    net, x = make_net(), torch.randn(32, 3, 10, 10)
    return net, x, *niwaki.compress(net, x, target=Target(size=size))


@pytest.mark.parametrize("size", [0.12, 0.2, 4000])
def test_the_size_is_that_of_the_file(tmp_path: Path, size: float) -> None:
    net, x, module, report = compressed_to(size)
    floats = 4 * sum(parameter.numel() for parameter in net.parameters())
    limit = size if size > 1 else size * floats
    true = file_bytes(module, x, tmp_path / "net.niwaki")
    assert report.network.file_bytes == true <= limit
    assert true > 0.9 * limit, "the budget is used"
    assert report.network.parameter_bytes == floats
    sizes = [point.bytes for point in report.network.curve]
    losses = [point.loss for point in report.network.curve]
    assert sizes == sorted(sizes) and losses == sorted(losses, reverse=True)


@pytest.mark.parametrize("size", [0.2, 20_000])  # that int8 does not meet, and that it meets
def test_the_size_counts_what_the_file_says_of_images(x: torch.Tensor, tmp_path: Path, size: float) -> None:
    image = niwaki.ImageConfig(mean=(0.123456789, 0.5, 0.25), std=(0.1, 0.2, 0.3))
    plain, _ = niwaki.compress(make_net(), x)
    path = tmp_path / "net.niwaki"
    network = niwaki.compile(plain, (x[:1],))
    network.save(path)
    without = path.stat().st_size
    network.save(path, image=image)
    assert path.stat().st_size > without
    module, report = niwaki.compress(make_net(), x, target=Target(size=size, image=image))
    niwaki.compile(module, (x[:1],)).save(path, image=image)
    assert report.network.file_bytes == path.stat().st_size
    with pytest.raises(TypeError, match=r"image must be a niwaki\.ImageConfig, not tuple"):
        Target(size=0.1, image=((0.5,), (0.5,)))  # type: ignore[arg-type]


def test_a_target_that_int8_meets_measures_nothing(
    x: torch.Tensor, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    net = make_net()
    monkeypatch.setattr("niwaki.budget.run.Measurement", None)
    module, report = niwaki.compress(net, x, target=Target(size=0.9, accuracy_drop=50.0), evaluate=lambda network: 70.0)
    wanted, _ = niwaki.compress(net, x)
    assert torch.equal(module(x), wanted(x))
    assert report.network.file_bytes is not None and report.network.accuracy == report.network.float_accuracy == 70.0
    assert len(report.network.tried) == 1 and "a file of at most 90.0% of float32" in str(report)
    report.to_html(tmp_path / "page.html")
    report.to_json(tmp_path / "report.json")


def test_more_bytes_cost_less() -> None:
    errors = [compressed_to(size)[-1].network.output_error for size in (0.12, 0.2)]
    assert errors[0] is not None and errors[1] is not None and errors[1] < errors[0]


def test_a_size_that_cannot_be_met_names_the_nearest(x: torch.Tensor, tmp_path: Path) -> None:
    with pytest.raises(niwaki.NiwakiError, match=r"no network keeps 100 bytes; the nearest one takes [\d,]+ bytes"):
        niwaki.compress(make_net(), x, target=Target(size=100))


def agreement(net: nn.Module, x: torch.Tensor) -> Any:
    """Per cent of equal answers, of logits less their means: seeded weights would answer the same to all."""
    with torch.no_grad():
        logits = net(x)
        mean, wanted = logits.mean(0), (logits - logits.mean(0)).argmax(1)
        return lambda other: 100 * float(((other(x) - mean).argmax(1) == wanted).float().mean())


def test_layers_are_put_back_until_the_accuracy_is_kept(x: torch.Tensor) -> None:
    net = make_net()
    seen: list[float] = []
    evaluate = agreement(net, torch.randn(200, 3, 10, 10))

    def watched(other: nn.Module) -> float:
        seen.append(evaluate(other))
        return seen[-1]

    module, report = niwaki.compress(net, x, target=Target(accuracy_drop=5.0), evaluate=watched)
    known = report.network
    assert known.float_accuracy == 100.0 and known.accuracy == pytest.approx(evaluate(niwaki.compile(module, (x,))))
    assert known.drop is not None and known.drop <= 5.0
    assert min(seen) < 95.0, "smaller networks were tried"
    assert any(re.search(r"put back: \d+% zeros and \d bits cost too much", row.reason) for row in report)
    assert known.file_bytes is not None and known.parameter_bytes is not None
    assert known.file_bytes < 0.3 * known.parameter_bytes
    evaluated = [point for point in known.tried if point.accuracy is not None]
    assert len(evaluated) == len(seen) - 1 >= 3


def test_an_interrupt_keeps_the_best_network_so_far(x: torch.Tensor, capsys: pytest.CaptureFixture[str]) -> None:
    net, calls = make_net(), 0
    evaluate = agreement(net, torch.randn(200, 3, 10, 10))

    def interrupted(at: int) -> Any:
        def of(other: nn.Module) -> float:
            nonlocal calls
            calls += 1
            if calls == at:
                raise KeyboardInterrupt
            return float(evaluate(other))

        return of

    target = Target(accuracy_drop=50.0)
    with pytest.raises(KeyboardInterrupt):  # float32 and int8 are the first: before these there is nothing to keep
        niwaki.compress(net, x, target=target, evaluate=interrupted(2))
    calls = 0
    module, report = niwaki.compress(net, x, target=target, evaluate=interrupted(5))
    assert calls == 5 and report.network.drop is not None and report.network.drop <= 50.0
    assert report.network.accuracy == pytest.approx(evaluate(niwaki.compile(module, (x,))))
    assert "the search was interrupted" in report.network.warnings[-1]
    told = [line for line in capsys.readouterr().err.splitlines() if "the smallest network so far" in line]
    assert told and f"{report.network.file_bytes:,} bytes" in told[-1]
    calls = 0
    with pytest.raises(niwaki.NiwakiError, match=r"strict=True refuses this network: .*interrupted"):
        niwaki.compress(net, x, target=target, evaluate=interrupted(5), strict=True)


def test_it_ends_no_worse_than_the_simple_networks(
    x: torch.Tensor, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("niwaki.budget.search.Search.choose", lambda self, limits: None)  # the curve has nothing
    net = make_net()
    sizes = {}
    for name, options in (("int8", {}), ("bits", {"weight_bits": 4}), ("half", {"sparsity": 0.5})):
        sizes[name] = file_bytes(niwaki.compress(net, x, **options)[0], x, tmp_path / "net.niwaki")
    _, report = niwaki.compress(net, x, target=Target(accuracy_drop=100.0), evaluate=lambda _: 90.0)
    assert report.network.file_bytes is not None
    assert report.network.file_bytes <= min(sizes.values()) < sizes["int8"]
    found = iter((90.0, 90.0, 10.0, 10.0, 10.0))  # float32, int8, and all that is simple
    _, report = niwaki.compress(net, x, target=Target(accuracy_drop=1.0), evaluate=lambda _: next(found))
    assert report.network.file_bytes == sizes["int8"] and report.network.accuracy == 90.0


def test_a_size_and_an_accuracy_that_do_not_go_together(x: torch.Tensor) -> None:
    net = make_net()
    evaluate = agreement(net, torch.randn(200, 3, 10, 10))
    with pytest.raises(niwaki.NiwakiError, match=r"points, more than 0; the nearest|loses at most 0"):
        niwaki.compress(net, x, target=Target(size=0.12, accuracy_drop=0), evaluate=evaluate)


def test_latency_takes_the_layers_whose_time_counts(x: torch.Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    # Clocks that follow the zeros: what is measured is another test's business.
    def of_layer(layer: nn.Module, weight: Any, shape: Any, threads: int) -> float:
        assert threads == 2
        return 1.0 + 10.0 * float(np.count_nonzero(weight) / weight.size) * (len(weight) == 32)

    def of_network(network: Any, args: Any) -> float:
        zeros = {step.name: step.zeros for step in network.plan}
        return 5.0 + 10.0 * (1 - zeros["3"])

    monkeypatch.setattr(measure, "time_layer", of_layer)
    monkeypatch.setattr("niwaki.compression.pipeline.time_network", of_network)
    _, report = niwaki.compress(make_net(), x, target=Target(latency=10.0, threads=2))
    rows = {row.name: row for row in report}
    assert report.network.milliseconds is not None and report.network.milliseconds <= 10.0
    assert 0.5 <= rows["3"].zeros < 0.75 and rows["7"].zeros < 0.05
    assert rows["3"].bits > 6, "bits do not save time, so there are eight"
    _, report = niwaki.compress(make_net(), x, target=Target(speedup=1.25, threads=2))
    assert report.network.milliseconds is not None and 10.5 < report.network.milliseconds <= 12.0
    assert report.network.target == "1.25 times as fast as int8 on 2 threads"
    with pytest.raises(niwaki.NiwakiError, match=r"keeps 5\.1 ms on 2 threads; the nearest one takes 5\.\d+ ms"):
        niwaki.compress(make_net(), x, target=Target(latency=5.1, threads=2))


def test_the_cheapest_network_is_taken_where_estimates_find_none(
    x: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Layers alone seem to gain ten times as much as the network: no corrected estimate gets far enough in a few tries.
    def of_layer(layer: nn.Module, weight: Any, shape: Any, threads: int) -> float:
        return 1.0 + 10.0 * float(np.count_nonzero(weight) / weight.size) * (len(weight) == 32)

    def of_network(network: Any, args: Any) -> float:
        return 5.0 + 1.0 * (1 - {step.name: step.zeros for step in network.plan}["3"])

    monkeypatch.setattr(measure, "time_layer", of_layer)
    monkeypatch.setattr("niwaki.compression.pipeline.time_network", of_network)
    _, report = niwaki.compress(make_net(), x, target=Target(latency=5.1))
    assert report.network.milliseconds is not None and report.network.milliseconds <= 5.1


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (Conv2dLayer(nn.Conv2d(8, 12, 3, stride=2, padding=1)), (4, 8, 9, 9)),
        (Conv2dLayer(nn.Conv2d(8, 8, 3, groups=8)), (4, 8, 9, 9)),
        (LinearLayer(nn.Linear(8, 4)), (4, 8)),
        (LinearLayer(nn.Linear(8, 4)), (4, 5, 8)),
    ],
)
def test_a_layer_is_timed_in_the_engine(layer: Layer, shape: tuple[int, ...]) -> None:
    weight = np.random.default_rng(0).integers(-9, 9, tuple(layer.weight.shape)).astype(np.int8)
    milliseconds = time_layer(layer, weight, shape, 1)
    assert milliseconds is not None and milliseconds > 0


def test_options_that_go_with_a_target(x: torch.Tensor) -> None:
    _, report = niwaki.compress(make_net(), x, target=Target(size=0.22), weight_bits=8)
    assert report[1].bits >= 7
    _, report = niwaki.compress(make_net(), x, target=Target(size=0.3), skip=("7",))
    assert report[2].scheme == "float32" and report.network.file_bytes is not None
    _, report = niwaki.compress(
        make_net(), x, target=Target(size=0.2), pattern="unstructured", codebook="kmeans", codebook_entries=8
    )
    assert report.network.file_bytes is not None

    class InTorch(nn.Sequential):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(torch.special.i1(x))

    with pytest.raises(niwaki.NiwakiError, match=r"size is that of a file, and there is none: .*special_i1"):
        niwaki.compress(InTorch(*make_net()).eval(), x, target=Target(size=0.22))


@pytest.mark.parametrize(("make", "error", "says"), [
    (lambda net, x: Target(), TypeError, "give a limit"),
    (lambda net, x: Target(size=1.5), ValueError, "whole number of bytes, or a share"),
    (lambda net, x: Target(size=True), ValueError, "whole number of bytes, or a share"),
    (lambda net, x: Target(latency=0), ValueError, "latency must be milliseconds above 0"),
    (lambda net, x: Target(accuracy_drop=-1), ValueError, "accuracy_drop must be points"),
    (lambda net, x: Target(size=0.1, threads=0), ValueError, "threads must be"),
    (lambda net, x: niwaki.compress(net, x, target=0.1), TypeError, r"must be a niwaki\.Target"),
    (lambda net, x: niwaki.compress(net, x, target=Target(size=0.1), sparsity=0.5), TypeError, "leave sparsity out"),
    (lambda net, x: niwaki.compress(net, x, target=Target(size=0.1), scope="local"), TypeError, "leave scope out"),
    (lambda net, x: niwaki.compress(net, x, target=Target(size=0.1), pattern="2:4"), ValueError, "'block4' or"),
    (lambda net, x: niwaki.compress(net, x, target=Target(accuracy_drop=1.0)), TypeError, "needs evaluate="),
    (lambda net, x: niwaki.compress(net, x, target=Target(accuracy_drop=1.0), evaluate=lambda m: "good"), TypeError,
     "per cent"),
    (lambda net, x: niwaki.compress(net, x, target=Target(accuracy_drop=1.0), evaluate=lambda m: 120), ValueError,
     "0 to 100"),
    (lambda net, x: niwaki.compress(net, x, target=Target(accuracy_drop=1.0), evaluate=lambda m: 0.957), ValueError,
     "a share or per cent"),
    (lambda net, x: niwaki.compress(net, x, evaluate=lambda m: 0.957), ValueError, "95.7, not 0.957"),
    (lambda net, x: niwaki.compress(net, x, evaluate="good"), TypeError, "must be a function"),
])  # fmt: skip
def test_bad_targets(x: torch.Tensor, make: Any, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        make(make_net(), x)


def test_resnet20_in_a_tenth(shared_dir: Path, tmp_path: Path) -> None:
    model, train, images, labels = load_cifar("resnet20", 3, shared_dir / "data")

    def evaluate(net: nn.Module) -> float:
        with torch.no_grad():
            found = torch.cat([net(part).argmax(1) for part in images.split(128)])
        return 100 * float((found == labels).float().mean())

    module, report = niwaki.compress(model, train[:128].split(64), target=Target(size=0.1), evaluate=evaluate)
    floats = 4 * sum(parameter.numel() for parameter in model.parameters())
    true = file_bytes(module, images, tmp_path / "net.niwaki")
    assert report.network.file_bytes == true <= 0.1 * floats
    assert report.network.drop is not None and report.network.drop < 3.0


def test_without_zeros_bits_are_chosen(x: torch.Tensor, tmp_path: Path) -> None:
    net = make_net()
    float_bytes = sum(4 * p.numel() for p in net.parameters())
    small, report = niwaki.compress(net, x.split(8), target=Target(size=0.19), sparsity=0)
    assert file_bytes(small, x, tmp_path / "net.niwaki") == report.network.file_bytes <= 0.19 * float_bytes
    options = [option for row in report for option in row.options]
    assert {option.share for option in options} == {0.0} and {option.bits for option in options} == {8, 6, 5, 4, 3}
    assert any(int(part.weight.abs().max()) < 32 for part in quantized_layers(small))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"target": Target(latency=5.0)}, "which save no time; leave sparsity out"),
        ({"target": Target(size=0.1), "weight_bits": 4}, "which weight_bits says already; leave weight_bits out"),
        ({"target": Target(size=0.1), "quantize": niwaki.QuantizeConfig()}, "leave quantize out"),
        ({"target": Target(size=0.1), "pattern": "unstructured"}, "pattern says nothing"),
    ],
)
def test_what_no_zeros_leave_nothing_to_choose_for(x: torch.Tensor, options: dict[str, Any], says: str) -> None:
    with pytest.raises(TypeError, match=says):
        niwaki.compress(make_net(), x, sparsity=0, **options)
