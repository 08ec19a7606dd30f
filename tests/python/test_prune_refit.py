"""Pruned recurrent layers: what is left is fitted to what they gave, and judged on calls that decided nothing."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import pytest
import torch
from recurrent_calls import sequences
from torch import nn

from niwaki.layerwise.sequences import Results, Seen, Sequences, run
from niwaki.pruning import refit
from niwaki.pruning.config import PruneConfig
from niwaki.pruning.gates import GatePruner
from niwaki.pruning.recurrent import prune_recurrent


def calls_of(layer: nn.RNNBase, count: int) -> Seen:
    """Calls whose every y counts alike, of which a quarter judges."""
    given = sequences(layer, [7] * count)
    with torch.no_grad():
        wanted = run(layer, given)
    return Seen(given, given, wanted, Results(torch.ones_like(wanted.y), tuple(map(torch.zeros_like, wanted.last))))


def changed(layer: nn.RNNBase, before: nn.RNNBase, given: Sequences) -> float:
    with torch.no_grad():
        found, wanted = run(layer, given).y, run(before, given).y
    return float((found - wanted).norm() / wanted.norm())


def test_what_is_left_is_trained_and_zeros_stay() -> None:
    torch.manual_seed(0)
    layer = nn.GRU(16, 16)
    seen, config, test = calls_of(layer, 200), PruneConfig(0.5), sequences(layer, [7] * 50)
    pruned = copy.deepcopy(layer)
    prune_recurrent([pruned], config)
    zeros = {name: getattr(pruned, name) == 0 for name in ("weight_ih_l0", "weight_hh_l0")}
    before = changed(pruned, layer, test)
    *_, steps = refit._train(pruned, seen)
    assert steps == refit._STEPS and not any(value.requires_grad for value in pruned.parameters())
    assert changed(pruned, layer, test) < 0.99 * before
    assert all(torch.equal(getattr(pruned, name) == 0, mask) for name, mask in zeros.items())


def test_as_many_steps_are_taken_as_served_best(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    layer = nn.GRU(16, 16)
    seen, config = calls_of(layer, 40), PruneConfig(0.5, importance="second_order")
    found = []
    for steps in (0, 25, 1000):
        monkeypatch.setattr(refit, "_best_steps", lambda layer, seen, held, error, steps=steps: (error, steps))
        found.append(refit.prune_and_refit(layer, nn.GRU(16, 16), seen, config, "gru").layer.weight_hh_l0)
    assert not torch.equal(found[0], found[1]) and not torch.equal(found[1], found[2])


def test_all_calls_fit_what_is_returned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that judge are calls like others once that is done."""
    torch.manual_seed(0)
    layer = nn.GRU(16, 16)
    seen, config = calls_of(layer, 40), PruneConfig(0.5, importance="second_order")
    monkeypatch.setattr(refit, "_best_steps", lambda layer, seen, held, error: (error, 0))
    by_magnitude = nn.GRU(16, 16)  # so that second order is taken
    found = refit.prune_and_refit(layer, by_magnitude, seen, config, "gru").layer
    fits = [GatePruner(layer, seen, config, "gru").prune(damping=damping)[0] for damping in refit._DAMPINGS]
    assert any(all(map(torch.equal, found.parameters(), one.parameters())) for one in fits)


def test_a_fit_to_all_calls_that_fails_is_not_returned(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    layer = nn.GRU(16, 16)
    seen, config = calls_of(layer, 40), PruneConfig(0.5, importance="second_order")

    def train(layer: nn.RNNBase, given: Seen) -> Iterator[int]:
        yield 0
        with torch.no_grad():
            layer.weight_hh_l0.fill_(float("nan"))
        yield 1

    monkeypatch.setattr(refit, "_best_steps", lambda layer, seen, held, error: (error, 1))
    monkeypatch.setattr(refit, "_train", train)
    by_magnitude = nn.GRU(16, 16)
    found = refit.prune_and_refit(layer, by_magnitude, seen, config, "gru")
    assert found.layer is by_magnitude and found.note.startswith("pruned by magnitude")


def test_a_layer_of_which_nothing_is_left_is_not_trained() -> None:
    torch.manual_seed(0)
    layer = nn.RNN(1, 1, bias=False)
    empty = copy.deepcopy(layer)
    prune_recurrent([empty], PruneConfig(1.0))
    found = refit.prune_and_refit(layer, empty, calls_of(layer, 8), PruneConfig(0.9, importance="second_order"), "rnn")
    assert not any(bool(parameter.any()) for parameter in found.layer.parameters())


def test_magnitude_is_taken_where_it_serves_better(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    layer = nn.RNN(16, 16)
    by_magnitude, config = copy.deepcopy(layer), PruneConfig(0.25, importance="second_order")
    prune_recurrent([by_magnitude], config)
    monkeypatch.setattr(refit, "_STEPS", 0)
    monkeypatch.setattr(refit, "_LEAST", 0)
    monkeypatch.setattr(GatePruner, "prune", lambda self, **options: (nn.RNN(16, 16), {}))
    found = refit.prune_and_refit(layer, by_magnitude, calls_of(layer, 40), config, "rnn")
    assert found.layer is by_magnitude and found.note.startswith("pruned by magnitude, which costs")


def test_masks_may_be_given_again() -> None:
    torch.manual_seed(0)
    layer = nn.LSTM(8, 8)
    given = sequences(layer, [5] * 12)
    with torch.no_grad():
        wanted = run(layer, given)
    seen = Seen(given, given, wanted, Results(torch.ones_like(wanted.y), tuple(map(torch.zeros_like, wanted.last))))
    pruner = GatePruner(layer, seen, PruneConfig(0.5, importance="second_order"), "lstm")
    first, masks = pruner.prune()
    second, same = pruner.prune(damping=1.0, masks=masks)
    for key, mask in masks.items():
        assert torch.equal(mask, same[key]) and not bool(getattr(second, key)[~mask].any())
    assert not torch.equal(first.weight_hh_l0, second.weight_hh_l0)
