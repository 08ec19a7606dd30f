"""With few bits for all layers, those that cost most keep more, while that makes the weights hardly larger."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import nn

import niwaki
from niwaki.quantization import quantize as quantize_file
from niwaki.quantization.config import QuantizeConfig
from niwaki.quantization.inputs import Batch
from niwaki.quantization.spared import spare_layers


class Narrow(nn.Module):
    """A narrow layer that all has to pass, a wide one behind it, and a narrow one that nothing hangs on."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.narrow = nn.Linear(16, 4)
        self.still = nn.Linear(16, 4)
        self.wide = nn.Linear(4, 400)
        self.last = nn.Linear(400, 40)
        self.still.weight.data *= 1e-3

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.wide(self.narrow(x) + self.still(x)).relu())


@pytest.fixture
def x() -> torch.Tensor:
    return torch.randn(128, 16, generator=torch.Generator().manual_seed(1))


def bits_of(config: QuantizeConfig, names: Sequence[str] = ("narrow", "still", "wide", "last")) -> list[int]:
    return [config.bits_of(name) for name in names]


def spare(model: nn.Module, x: torch.Tensor, **options: Any) -> QuantizeConfig:
    calls = [Batch(index, (part,), {}) for index, part in enumerate(x.split(16))]
    names = {name for name, part in model.named_modules() if isinstance(part, nn.Linear)}
    return spare_layers(model, names, QuantizeConfig(**options), calls, progress=False).config


def test_what_costs_most_keeps_eight_bits(x: torch.Tensor) -> None:
    # 64 of 17,728 weights: with four bits more, 0.36 % of what they all have.
    assert bits_of(spare(Narrow(), x, weight_bits=4, spare=0.004)) == [8, 4, 4, 4]


def test_the_share_is_kept(x: torch.Tensor) -> None:
    net = Narrow()
    sizes = [layer.weight.numel() for layer in (net.narrow, net.still, net.wide, net.last)]
    for bits, share in ((4, 0.001), (4, 0.004), (4, 0.05), (4, 0.2), (3, 0.1), (2, 0.5)):
        found = bits_of(spare(net, x, weight_bits=bits, spare=share))
        more = sum(size * (each - bits) for size, each in zip(sizes, found, strict=True))
        assert 0 <= more <= share * bits * sum(sizes)
        assert min(found) >= bits and max(found) <= 8


@pytest.mark.parametrize(
    "options",
    [
        {"weight_bits": 4, "spare": 0},
        {"weight_bits": {"*": 4}},
        {"weight_bits": 8},
        {"weight_bits": 4, "rounding": "nearest"},
        {"weight_bits": 4, "codebook": "kmeans"},
    ],
)
def test_what_was_asked_for_stays(x: torch.Tensor, options: dict[str, Any]) -> None:
    given = QuantizeConfig(**{"spare": 0.2, **options})
    assert spare(Narrow(), x, **{"spare": 0.2, **options}) == given


@pytest.mark.parametrize("value", [-0.1, 1.5, True, "0.01", None, float("nan")])
def test_wrong_shares_are_refused(value: Any) -> None:
    with pytest.raises(ValueError, match=r"QuantizeConfig: spare must be a number from 0 to 1, such as 0.01, not"):
        QuantizeConfig(spare=value)


def test_the_report_tells(x: torch.Tensor, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "niwaki"):
        small, report = niwaki.compress(Narrow(), x.split(16), weight_bits=4, spare=0.004, progress=False)
    rows = {row.name: row for row in report}
    assert [rows[name].bits for name in ("narrow", "still", "wide", "last")] == [8, 4, 4, 4]
    assert rows["narrow"].reason.startswith("8 bits instead of 4, which would change the outputs by ")
    assert "1 layer keeps more than 4 bits: narrow" in caplog.text
    assert float(small(x).isfinite().float().mean()) == 1.0


def test_it_pays(x: torch.Tensor) -> None:
    net = Narrow().eval().requires_grad_(False)
    errors = []
    for share in (0, 0.004):
        small = niwaki.quantize(net, x.split(16), weight_bits=4, spare=share, progress=False)
        errors.append(float((small(x) - net(x)).norm() / net(x).norm()))
    assert errors[1] < 0.8 * errors[0]


def test_bits_are_chosen_before_layers_are_fitted(x: torch.Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    """All layers are rounded with the config that has the bits: what comes later is fitted to them."""
    seen: list[QuantizeConfig] = []
    before = quantize_file.round_layers

    def watched(model: Any, layers: Any, config: QuantizeConfig, *rest: Any, **options: Any) -> Any:
        seen.append(config)
        return before(model, layers, config, *rest, **options)

    monkeypatch.setattr(quantize_file, "round_layers", watched)
    niwaki.quantize(Narrow(), x.split(16), weight_bits=4, spare=0.004, progress=False)
    assert [bits_of(config) for config in seen] == [[8, 4, 4, 4]]
    assert seen[0].rounding_of("narrow") == "second_order"  # what has 8 bits makes good for others


def test_pruned_networks_spare_layers_too(x: torch.Tensor) -> None:
    _, report = niwaki.compress(Narrow(), x.split(16), weight_bits=4, spare=0.004, sparsity=0.5, progress=False)
    rows = {row.name: row for row in report}
    assert rows["narrow"].bits > 4 and rows["last"].bits <= 4
    assert "instead of 4" in rows["narrow"].reason


def test_training_rounds_to_the_bits_that_were_chosen(x: torch.Tensor) -> None:
    prepared = niwaki.prepare(Narrow(), x.split(16), QuantizeConfig(weight_bits=4, spare=0.004), progress=False)
    small = niwaki.convert(prepared, x.split(16), progress=False)
    layers = [part for part in small.modules() if isinstance(part, niwaki.nn.Linear)]
    largest = {part.name: int(part.weight.abs().max()) for part in layers}
    assert largest["narrow"] > 7
    assert max(largest[name] for name in ("still", "wide", "last")) <= 7
    assert torch.allclose(small(x), prepared(x), atol=0.05)


def test_bits_travel_with_the_state(x: torch.Tensor) -> None:
    """Processes that train together load the state of the first, which may have chosen other layers."""
    one, other = (
        niwaki.prepare(Narrow(), x.split(16), QuantizeConfig(weight_bits=4, spare=share), progress=False)
        for share in (0.004, 0)
    )
    assert not torch.equal(one(x), other(x))
    other.load_state_dict(one.state_dict())
    assert torch.equal(one(x), other(x))
