"""niwaki.compress: optimize, prune and quantize in one call, and the report."""

from __future__ import annotations

import copy
import dataclasses
import sys
from typing import Any

import pytest
import torch
from torch import nn

import niwaki
from niwaki._compat import import_torchvision
from niwaki.report.concerns import concerns
from niwaki.runs import progress
from niwaki.runs.progress import track


def make_net() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(),
        nn.Conv2d(16, 32, 3), nn.BatchNorm2d(32), nn.ReLU(), nn.Dropout(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 8),
    )  # fmt: skip


def similar(a: torch.Tensor, b: torch.Tensor) -> float:
    """Least cosine similarity of the rows. In float64: torch's own function gives up on vectors shorter than 1e-8."""
    a, b = a.detach().double().flatten(1), b.detach().double().flatten(1)
    return float(((a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1))).min())


@pytest.fixture
def x() -> torch.Tensor:
    return torch.randn(8, 3, 9, 9)


def test_only_quantizes_without_sparsity(x: torch.Tensor) -> None:
    model = make_net().eval()
    module, report = niwaki.compress(model, x)
    assert not any(isinstance(part, (nn.BatchNorm2d, nn.Dropout, nn.Conv2d, nn.Linear)) for part in module.modules())
    assert similar(module(x), model(x)) > 0.999
    assert [row.name for row in report] == ["0", "3", "9"]
    assert [row.op for row in report] == ["conv2d", "conv2d", "linear"]
    assert report.schemes == {"int8": 3}
    first = report[0]
    assert first.float_bytes == 4 * (16 * 27 + 16) and first.bytes == 16 * 27 + 4 * (16 + 16)
    assert 0 < first.error < 0.01 and first.reason == ""


def test_prunes_with_sparsity(x: torch.Tensor) -> None:
    module, report = niwaki.compress(make_net(), x, sparsity=0.75)
    weights = {row.name: row for row in report}
    assert weights["0"].scheme == "int8" and "input channels in fours" in weights["0"].reason
    assert weights["3"].scheme == "sparse int8" and weights["3"].bytes < weights["3"].float_bytes / 8
    blocks = [module[i].weight.reshape(len(module[i].weight), -1, 4, *module[i].weight.shape[2:]) for i in (3, 9)]
    empty = sum(int((b == 0).all(2).sum()) for b in blocks)
    assert empty >= round(0.75 * sum(b.numel() // 4 for b in blocks))
    assert weights["3"].zeros == pytest.approx((module[3].weight == 0).float().mean().item())


def test_keeps_zeros_that_are_there(x: torch.Tensor) -> None:
    pruned = niwaki.prune(make_net(), sparsity=0.8)
    module, report = niwaki.compress(pruned, x)
    assert (module[3].weight[pruned[3].weight == 0] == 0).all()
    assert report[1].scheme == "sparse int8"
    # A lower sparsity than there is brings nothing back; a higher one goes on.
    again, _ = niwaki.compress(pruned, x, sparsity=0.9)
    assert (again[3].weight[pruned[3].weight == 0] == 0).all()
    assert (again[3].weight == 0).sum() > (module[3].weight == 0).sum()


def test_options_reach_their_step(x: torch.Tensor) -> None:
    model = make_net()
    minmax, _ = niwaki.compress(model, x, observer="minmax", per_channel=False)
    assert minmax[0].input_scale.item() == pytest.approx((x.max() - x.min()).item() / 255, rel=1e-5)
    assert len(set(minmax[3].weight_scale.tolist())) == 1
    loose, report = niwaki.compress(model, x, sparsity=0.5, pattern="unstructured", scope="local", skip=("9",))
    assert type(loose[9]) is nn.Linear and report[2].reason == "skipped by name"
    assert (loose[0].weight == 0).sum() >= round(0.5 * loose[0].weight.numel())
    configs: dict[str, Any] = {
        "optimize": niwaki.OptimizeConfig(fold_batch_norm=False),
        "prune": niwaki.PruneConfig(1.0),
        "quantize": niwaki.QuantizeConfig(transform=lambda item: item * 2),
    }
    module, _ = niwaki.compress(model, x, **configs)
    assert isinstance(module[1], nn.BatchNorm2d) and not module[3].weight.any()


def test_the_callers_model_is_untouched(x: torch.Tensor) -> None:
    model = make_net().train()
    before = copy.deepcopy(model.state_dict())
    niwaki.compress(model, [x, x], sparsity=0.5)
    assert model.training and [type(part) for part in model] == [type(part) for part in make_net()]
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_calibration_that_can_be_read_once(x: torch.Tensor) -> None:
    seen: list[int] = []

    def stream() -> Any:
        for i in range(3):
            seen.append(i)
            yield (x + i, torch.zeros(8))

    module, _ = niwaki.compress(make_net(), stream(), observer="minmax")
    assert seen == [0, 1, 2]
    span = max(x.max().item() + 2, 0) - min(x.min().item(), 0)
    assert module[0].input_scale.item() == pytest.approx(span / 255, rel=1e-5)


def test_in_inference_mode(x: torch.Tensor) -> None:
    model = make_net().eval()
    with torch.inference_mode():
        module, _ = niwaki.compress(model, x.clone(), sparsity=0.5)
        inside = module(x)
    assert torch.equal(module(x), inside)


def test_lines_where_there_is_no_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Each half minute one: how far it is, and how long the rest will take."""
    clock = iter(range(0, 1000, 20))  # seconds at each look
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    assert list(track(list("abcdefgh"), "pruning")) == list("abcdefgh")
    assert capsys.readouterr().err.splitlines()[:2] == [
        "niwaki: pruning: 1 of 8, about 280 s left", "niwaki: pruning: 3 of 8, about 133 s left"
    ]  # fmt: skip
    assert list(track(iter("abc"), "calibrating")) == list("abc")
    assert capsys.readouterr().err == "niwaki: calibrating: 1\n"


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"pattern": "block4"}, TypeError, "without sparsity prunes nothing"),
        ({"sparcity": 0.5}, TypeError, "there is no option 'sparcity'"),
        ({"sparsity": "0.5"}, TypeError, "sparsity must be a number"),
        ({"sparsity": 0.5, "prune": niwaki.PruneConfig(0.5)}, TypeError, "not both"),
        ({"observer": "mse", "quantize": niwaki.QuantizeConfig()}, TypeError, "not both"),
        ({"quantize": niwaki.PruneConfig(0.5)}, TypeError, "quantize must be a QuantizeConfig"),
        ({"prune": 0.5}, TypeError, "prune must be a PruneConfig"),
        ({"optimize": False}, TypeError, "optimize must be an OptimizeConfig"),
        ({"observer": "best"}, ValueError, "observer must be one of"),
        ({"sparsity": 0.5, "scope": "layer"}, ValueError, "scope must be one of"),
        ({"skip": ("nothing",)}, ValueError, "'nothing' matches no"),
    ],
)
def test_bad_options(x: torch.Tensor, options: dict[str, Any], error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        niwaki.compress(make_net(), x, **options)


def test_no_progress_bar_where_there_is_no_terminal(x: torch.Tensor, capsys: pytest.CaptureFixture[str]) -> None:
    niwaki.compress(make_net(), [x, x])
    assert capsys.readouterr() == ("", "")


def test_progress_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert list(track([1, 2, 3], "calibrating")) == [1, 2, 3]
    assert "calibrating" in capsys.readouterr().err
    assert list(track(iter([1, 2]), "calibrating", enabled=False)) == [1, 2]
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    "name", ["resnet18", "mobilenet_v2", "squeezenet1_1", "shufflenet_v2_x0_5", "mobilenet_v3_small", "regnet_y_400mf"]
)
def test_real_networks(name: str) -> None:
    model = getattr(import_torchvision().models, name)().eval()
    x = torch.randn(3, 3, 64, 64)
    module, report = niwaki.compress(model, [x[:2], x[2:]])
    assert report.schemes.get("float32") is None
    with torch.inference_mode():
        assert similar(module(x), model(x)) > 0.99


def test_public_names() -> None:
    for name in niwaki.__all__:
        assert getattr(niwaki, name) is not None
    assert issubclass(niwaki.NiwakiError, Exception) and niwaki.isa() and niwaki.__version__
    assert niwaki.configs.PruneConfig is niwaki.PruneConfig


@pytest.mark.parametrize(("options", "says"), [
    ({"importance": "taylor"}, "needs a loss"), ({"importance": "movement"}, "needs a loss"),
    ({"pattern": "channels"}, "makes another network"),
])  # fmt: skip
def test_what_prune_has_to_do_before_is_said(options: dict[str, str], says: str) -> None:
    with pytest.raises(TypeError, match=says):
        niwaki.compress(nn.Linear(8, 8), torch.randn(4, 8), sparsity=0.5, **options)  # type: ignore[arg-type]


@pytest.mark.filterwarnings("ignore:`torch.jit")
@pytest.mark.parametrize("script", [torch.jit.script, lambda net: torch.jit.trace(net, torch.randn(1, 3, 8, 8))])
def test_torchscript_is_refused(script) -> None:
    net = script(nn.Sequential(nn.Conv2d(3, 4, 3)).eval())
    for call in (niwaki.compress, niwaki.quantize, niwaki.compile):
        with pytest.raises(TypeError, match=r"is TorchScript, whose layers cannot be taken apart"):
            call(net, (torch.randn(1, 3, 8, 8),))


def test_zeros_that_cost_too_much_are_said(x: torch.Tensor, caplog: pytest.LogCaptureFixture) -> None:
    """Nearly all weights by magnitude: the network no longer does what it did."""
    torch.manual_seed(0)
    net = make_net().eval()
    _, fine = niwaki.compress(net, x)
    assert fine.network.warnings == ()
    _, report = niwaki.compress(net, x, sparsity=0.97, importance="magnitude")
    said = report.network.warnings[-1]
    assert "the outputs change by" in said and "held-out" in said and "fewer zeros" in said
    assert any(said in message for message in caplog.messages)
    assert f"Warning: {said}" in " ".join(str(report).split()) and report.verdict.light == "red"


@pytest.mark.parametrize("bits", [2, 3, 4])
def test_few_bits_that_cost_too_much_are_not_taken_for_pruning(bits: int) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(*(part for _ in range(6) for part in (nn.Linear(64, 64), nn.Tanh()))).eval()
    x = torch.randn(64, 64)
    _, report = niwaki.compress(net, x, weight_bits=bits, rounding="nearest")
    said = concerns(report[:], dataclasses.replace(report.network, output_error=0.9), ())
    assert "Keep such layers at 8 bits" in said[0] and "zeros" not in said[0]
    _, report = niwaki.compress(net, x, weight_bits=bits, sparsity=0.9, importance="magnitude")
    said = concerns(report[:], dataclasses.replace(report.network, output_error=0.9), ())
    assert "fewer zeros" in said[0] and "keep such layers at 8 bits" in said[0]


@pytest.mark.parametrize(
    ("fitted", "seen", "says"),
    [
        (0.1, 168, "give 1,280 inputs or more in place of 168"),  # as many as the widest has numbers
        (0.1, 2000, "give 4,000 inputs or more in place of 2,000"),
        (0.1, None, "give 1,280 inputs or more,"),
        (0.45, 168, ""),  # no better on inputs that decided: more would not help
        (None, 168, "give 512 inputs or more"),
        (None, 600, ""),
    ],
)
def test_more_inputs_are_asked_for_where_they_help(
    x: torch.Tensor, fitted: float | None, seen: int | None, says: str
) -> None:
    _, report = niwaki.compress(make_net().eval(), x, sparsity=0.5, importance="magnitude")
    rows = [dataclasses.replace(row, output_error=0.5, fitted_error=fitted, shape=(10, 1280)) for row in report]
    assert report.network.origin is not None
    origin = dataclasses.replace(report.network.origin, inputs=seen)
    said = concerns(rows, dataclasses.replace(report.network, output_error=0.9, origin=origin), ())[0]
    assert says in said and ("inputs or more" in said) == bool(says)


def test_a_layer_that_is_emptied_is_named(x: torch.Tensor) -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Flatten(), nn.Linear(4 * x[0, 0].numel(), 8)).eval()
    small = niwaki.PruneConfig(1.0, importance="magnitude", skip=("0",))
    _, report = niwaki.compress(net, x, prune=small)
    assert "all weights of '2' are zero" in report.network.warnings[0]


def test_an_accuracy_that_was_measured_decides(x: torch.Tensor) -> None:
    net = make_net().eval()
    _, report = niwaki.compress(net, x, sparsity=0.97, importance="magnitude", evaluate=lambda _: 90.0)
    assert not any("outputs change" in sentence for sentence in report.network.warnings)
    accuracies = iter((90.0, 40.0))
    _, report = niwaki.compress(net, x, evaluate=lambda _: next(accuracies))
    assert "the accuracy fell by 50.0 points, from 90.0 to 40.0 %" in report.network.warnings[0]


def test_second_order_is_how_compress_prunes(x: torch.Tensor) -> None:
    """What is left is adapted: it changes the outputs less than magnitude does."""
    torch.manual_seed(0)
    net = make_net().eval()
    errors = {}
    for importance in (None, "second_order", "magnitude"):
        given = {} if importance is None else {"importance": importance}
        _, report = niwaki.compress(net, x, sparsity=0.5, **given)  # type: ignore[arg-type]
        errors[importance] = report.network.output_error
    assert errors[None] == errors["second_order"] < errors["magnitude"]  # type: ignore[operator]
