"""Second-order pruning of recurrent layers and cells: what is watched, which zeros, and what the rest becomes."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from recurrent_calls import sequences
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import niwaki
from niwaki.layerwise.sequences import Results, Seen, plain_form, run, watch
from niwaki.layerwise.unrolled import unroll
from niwaki.modules.names import recurrent_names
from niwaki.pruning.config import PruneConfig
from niwaki.pruning.gates import counts_of
from niwaki.pruning.prune import prune_with_reasons
from niwaki.pruning.recurrent import RecurrentPruner, prune_recurrent
from niwaki.quantization.inputs import Batch

# torch says that its fast path does not take projections.
pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections")

KINDS: list[tuple[type[nn.RNNBase], dict[str, Any]]] = [
    (nn.LSTM, {}),
    (nn.GRU, {}),
    (nn.RNN, {}),
    (nn.RNN, {"nonlinearity": "relu"}),
    (nn.LSTM, {"proj_size": 4}),
    (nn.GRU, {"bias": False}),
]


@pytest.mark.parametrize(("kind", "options"), KINDS)
def test_steps_give_what_torch_gives(kind: type[nn.RNNBase], options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    layer = kind(5, 8, num_layers=2, bidirectional=True, **options)  # type: ignore[arg-type]
    given = sequences(layer, [6, 2, 1, 4])
    with torch.no_grad():
        wanted = run(layer, given)
        found, steps = unroll(layer, given)
    assert [one.suffix for one in steps] == ["l0", "l0_reverse", "l1", "l1_reverse"]
    for a, b in zip(found.parts, wanted.parts, strict=True):
        assert torch.allclose(a, b, atol=1e-6)
    # What the matrices multiply is theirs: the sums of the first gate, from the steps, are those of torch's layer.
    assert steps[3].x.shape[2] == 2 * (options.get("proj_size") or 8)


class Tagger(nn.Module):
    """A recurrent layer called in some way, and what reads it."""

    def __init__(self, kind: Any, way: str, **options: Any) -> None:
        super().__init__()
        self.way = way
        self.layer = kind(8, 8, **options)
        width = 8 if way == "cell" else (options.get("proj_size") or 8) * (1 + options.get("bidirectional", False))
        self.fc = nn.Linear(width, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.way == "cell":
            h = self.layer(x[:, 0])
            return self.fc(h[0] if isinstance(h, tuple) else h)
        if self.way == "packed":
            lengths = (x[:, :, 0] < 100).sum(1)
            packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
            y, _ = pad_packed_sequence(self.layer(packed)[0], batch_first=True, total_length=x.shape[1])
            return self.fc(y)
        if self.way == "time first":
            return self.fc(self.layer(x.transpose(0, 1))[0]).transpose(0, 1)
        return self.fc(self.layer(x)[0])


CALLS: list[tuple[Any, str, dict[str, Any]]] = [
    (nn.LSTM, "batch first", {"batch_first": True, "num_layers": 2, "bidirectional": True}),
    (nn.GRU, "batch first", {"batch_first": True}),
    (nn.RNN, "time first", {}),
    (nn.LSTM, "batch first", {"batch_first": True, "proj_size": 4}),
    (nn.GRU, "packed", {"batch_first": True, "bidirectional": True}),
    (nn.LSTMCell, "cell", {}),
    (nn.GRUCell, "cell", {}),
    (nn.RNNCell, "cell", {}),
]


def inputs(way: str, count: int = 8) -> list[Batch]:
    x = torch.randn(count, 4, 6, 8)
    if way == "packed":
        x[:, 1, 3:] = x[:, 2, 1:] = 1000.0  # behind the end
    return [Batch(number, (one,), {}) for number, one in enumerate(x)]


@pytest.mark.parametrize(("kind", "way", "options"), CALLS)
def test_layers_are_watched_however_they_are_called(kind: Any, way: str, options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    net = Tagger(kind, way, **options).eval()
    before = copy.deepcopy(net)
    seen = watch(net, before, "layer", inputs(way, 3), most=1 << 30)
    assert seen is not None and len(seen.now) == 12
    assert (
        seen.now.lengths.tolist()
        == [[6, 3, 1, 6], [1] * 4, [6] * 4][["packed", "cell"].index(way) if way in ("packed", "cell") else 2] * 3
    )
    with torch.no_grad():
        found = run(plain_form(net.layer), seen.now)
    for a, b in zip(found.parts, seen.wanted.parts, strict=True):
        assert torch.allclose(a, b, atol=1e-6)
    # Outputs hang on y alone, but for a cell's, whose y is its state.
    assert bool(seen.pulls.y.any()) and not any(bool(part.any()) for part in seen.pulls.last)
    assert not bool(seen.pulls.y[~seen.now.active].any())


def test_one_long_sequence_does_not_make_all_others_long() -> None:
    """Side by side, they are as long as the longest: what is kept is counted so."""
    torch.manual_seed(0)
    net = Tagger(nn.GRU, "batch first", batch_first=True).eval()
    pieces = [Batch(number, (torch.randn(4, steps, 8),), {}) for number, steps in enumerate([5, 5, 500, 5])]
    seen = watch(net, copy.deepcopy(net), "layer", pieces, most=12 * 100 * 32)
    assert seen is not None and len(seen.now) == 8 and len(seen.now.x) == 5
    seen = watch(net, copy.deepcopy(net), "layer", pieces[2:], most=1)
    assert seen is not None and len(seen.now) == 4 and len(seen.now.x) == 500


def test_rows_count_as_their_gradients_do() -> None:
    torch.manual_seed(0)
    layer = nn.GRU(4, 4)
    given = sequences(layer, [3])
    with torch.no_grad():
        wanted = run(layer, given)
    pulls = Results(torch.randn_like(wanted.y), (torch.zeros_like(wanted.last[0]),))
    (counts,) = counts_of(layer, Seen(given, given, wanted, pulls))
    # The mean over steps of the squared gradient, by differences of the sums at each step.
    double = copy.deepcopy(layer).double()

    def probe(row: int, step: int, amount: float) -> float:
        states = given.states[0][0].double()
        total = 0.0
        for at in range(3):
            a = given.x[at].double() @ double.weight_ih_l0.T + double.bias_ih_l0
            a = a.clone()
            a[:, row] += amount * (at == step)
            b = states @ double.weight_hh_l0.T + double.bias_hh_l0
            (ra, za, na), (rb, zb, nb) = a.chunk(3, 1), b.chunk(3, 1)
            r, z = (ra + rb).sigmoid(), (za + zb).sigmoid()
            n = (na + r * nb).tanh()
            states = n + z * (states - n)
            total += float((states * pulls.y[at].double()).sum().detach())
        return total

    for row in (0, 5, 9):
        slopes = [(probe(row, step, 1e-5) - probe(row, step, -1e-5)) / 2e-5 for step in range(3)]
        assert float(counts.rows[row]) == pytest.approx(sum(slope**2 for slope in slopes) / 3, rel=1e-3)
    assert bool((counts.states[:8] == 1).all()) and bool((counts.states[8:] < 1).all())


def pruned(
    net: nn.Module, batches: list[Batch], share: float = 0.5, **options: Any
) -> tuple[nn.Module, dict[str, str]]:
    config = PruneConfig(share, scope="local", importance="second_order", **options)
    return prune_with_reasons(net, config, batches, recurrent=True, needed=False, progress=False)


@pytest.mark.parametrize(("kind", "way", "options"), CALLS)
def test_every_kind_is_pruned(kind: Any, way: str, options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    net = Tagger(kind, way, **options).eval()
    batches = inputs(way)
    small, reasons = pruned(net, batches)
    assert reasons["layer"].startswith("pruned by second order, which costs")
    names = [name for name in recurrent_names(small.layer) if name.startswith("weight")]
    for end in {name.split("_", 2)[2] for name in names} if way != "cell" else {""}:
        weights = [getattr(small.layer, n) for n in names if n.endswith(f"_{end}") or way == "cell"]
        blocks = torch.cat([(w.reshape(len(w), -1, 4) == 0).all(2).flatten() for w in weights if "hr" not in end])
        assert float(blocks.float().mean()) == pytest.approx(0.5, abs=0.03)
    with torch.no_grad():
        assert bool(torch.isfinite(small(batches[0].args[0])).all())


def test_zeros_stay_and_an_interrupted_run_goes_on(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = Tagger(nn.GRU, "batch first", batch_first=True).eval()
    with torch.no_grad():
        net.layer.weight_hh_l0[:, :4] = 0
    x = [batch.args[0] for batch in inputs("batch first")]
    options: dict[str, Any] = {"sparsity": 0.4, "scope": "local", "progress": False}
    small, _ = niwaki.compress(net, x, checkpoint=tmp_path, **options)
    assert not bool(small.layer.weight_hh_l0[:, :4].any())
    again, report = niwaki.compress(net, x, checkpoint=tmp_path, **options)
    assert all(torch.equal(a, b) for a, b in zip(small.state_dict().values(), again.state_dict().values(), strict=True))
    assert next(row for row in report if row.op == "gru").zeros == pytest.approx(0.4, abs=0.05)


def test_what_is_called_otherwise_goes_by_magnitude(caplog: pytest.LogCaptureFixture) -> None:
    class Idle(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc, self.gru = nn.Linear(8, 8), nn.GRU(8, 8)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.fc(x)

    torch.manual_seed(0)
    small, reasons = pruned(Idle().eval(), inputs("batch first"))
    assert "magnitude" in reasons["gru"] and "layer 'gru'" in caplog.text
    assert float((small.gru.weight_hh_l0 == 0).float().mean()) == 0.5


class Doubled(nn.GRU):
    """Gives one tensor, of which torch's layer knows nothing."""

    def forward(self, x: torch.Tensor, hx: torch.Tensor | None = None) -> Any:
        return 2 * super().forward(x, hx)[0]


@pytest.mark.parametrize("own", [True, False])
def test_what_computes_something_of_its_own_goes_by_magnitude(own: bool) -> None:
    torch.manual_seed(0)
    net = Tagger(nn.GRU, "batch first", batch_first=True).eval()
    if own:
        net.layer, net.fc = Doubled(8, 8, batch_first=True), nn.Identity()
    else:
        net.layer.register_forward_hook(lambda layer, args, output: (2 * output[0], output[1]))
    wanted = copy.deepcopy(net.layer)
    prune_recurrent([wanted], PruneConfig(0.5))
    small, reasons = pruned(net, inputs("batch first"))
    assert reasons["layer"].startswith("pruned by magnitude: it computes something of its own")
    assert torch.equal(small.layer.weight_hh_l0, wanted.weight_hh_l0)


def test_the_callers_next_random_numbers_stay_theirs() -> None:
    torch.manual_seed(0)
    net, batches = Tagger(nn.LSTM, "batch first", batch_first=True, proj_size=4).eval(), inputs("batch first")
    before = torch.get_rng_state()
    pruned(net, batches)
    assert torch.equal(torch.get_rng_state(), before)


def test_layers_after_it_make_good_what_it_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """The linear layer behind it is fitted to what it gave on the layer as it was, for the layer as it is now."""
    torch.manual_seed(0)
    net = Tagger(nn.RNN, "batch first", batch_first=True).eval()
    batches = inputs("batch first", 16)

    def emptied(self: RecurrentPruner, name: str, layer: nn.Module, given: list[Batch], *_: Any) -> str:
        with torch.no_grad():
            for parameter in layer.parameters():
                parameter.zero_()
        return f"emptied {name} with {len(given)} batches"

    monkeypatch.setattr(RecurrentPruner, "_prune", emptied)
    small, reasons = pruned(net, batches, 0.25)
    assert reasons["layer"] == "emptied layer with 16 batches"
    # Nothing comes any more, so that the bias alone gives the mean of what there was.
    with torch.no_grad():
        mean = torch.cat([net(batch.args[0]) for batch in batches]).mean((0, 1))
    assert torch.allclose(small.fc.bias, mean, atol=1e-5) and not torch.allclose(net.fc.bias, mean, atol=1e-3)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_nothing_and_everything(share: float) -> None:
    torch.manual_seed(0)
    net = Tagger(nn.GRU, "batch first", batch_first=True).eval()
    small, reasons = pruned(net, inputs("batch first"), share)
    for name in ("weight_ih_l0", "weight_hh_l0"):
        before, after = getattr(net.layer, name), getattr(small.layer, name)
        assert torch.equal(after, before * (1 - share))
    assert ("layer" in reasons) == (share == 1)


def test_a_network_without_gradients_is_pruned_all_the_same() -> None:
    class Numbers(Tagger):
        @torch.no_grad()
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x)

    torch.manual_seed(0)
    net = Numbers(nn.GRU, "batch first", batch_first=True).eval()
    seen = watch(net, copy.deepcopy(net), "layer", inputs("batch first"), most=1 << 30)
    assert seen is not None and bool((seen.pulls.y == 1).all()) and not bool(seen.pulls.last[0].any())
    _, reasons = pruned(net, inputs("batch first"))
    assert reasons["layer"].startswith("pruned by second order, which costs")


class Twins(nn.Module):
    """Two layers with the same parameters: all of them, or the matrix of states alone."""

    def __init__(self, names: list[str]) -> None:
        super().__init__()
        self.first, self.second = (nn.GRU(8, 8, batch_first=True) for _ in range(2))
        for name in names:
            setattr(self.second, name, getattr(self.first, name))
        self.fc = nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.second(3 * self.first(x)[0])[0])


def test_layers_with_the_same_weights_are_solved_as_one(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = Twins(["weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"]).eval()
    x = torch.randn(512, 9, 8)
    batches = [Batch(number, (one,), {}) for number, one in enumerate(x.split(128))]
    config = PruneConfig(sparsity=0.5, importance="second_order", pattern="unstructured", skip=("fc",))

    def pruned(checkpoint: Path | None = None) -> tuple[Any, dict[str, str]]:
        return prune_with_reasons(
            net, config, batches, checkpoint=checkpoint, recurrent=True, needed=False, progress=False
        )

    small, notes = pruned(tmp_path)
    assert small.first.weight_hh_l0 is small.second.weight_hh_l0
    assert notes["second"].startswith(notes["first"]) and notes["second"].endswith("as 'first', whose weights it has")
    weights = torch.cat([small.first.weight_ih_l0, small.first.weight_hh_l0], 1)
    assert float((weights == 0).float().mean()) == pytest.approx(0.5, abs=0.02)
    again, _ = pruned(tmp_path)  # from the checkpoint
    assert torch.equal(again.first.weight_hh_l0, small.first.weight_hh_l0)

    def error(found: nn.Module) -> float:
        with torch.no_grad():
            return float((found(x) - net(x)).norm() / net(x).norm())

    # Solved for the calls of one of them alone, it serves the other worse.
    alone = copy.deepcopy(net)
    alone.second.weight_ih_l0 = nn.Parameter(alone.second.weight_ih_l0.detach().clone())
    for name in ("weight_hh_l0", "bias_ih_l0", "bias_hh_l0"):
        setattr(alone.second, name, nn.Parameter(getattr(alone.second, name).detach().clone()))
    found, _ = prune_with_reasons(alone, config, batches, recurrent=True, needed=False, progress=False)
    worst = 0.0
    for part in ("first", "second"):
        both = copy.deepcopy(net)
        both.first.load_state_dict(getattr(found, part).state_dict())
        worst = max(worst, error(both))
    assert error(small) < worst


def test_layers_that_have_some_weights_in_common_go_by_magnitude() -> None:
    torch.manual_seed(0)
    net = Twins(["weight_hh_l0"]).eval()
    batches = [Batch(0, (torch.randn(64, 9, 8),), {})]
    config = PruneConfig(sparsity=0.5, importance="second_order", pattern="unstructured", skip=("fc",))
    small, notes = prune_with_reasons(net, config, batches, recurrent=True, needed=False, progress=False)
    assert "some of its weights, not all, are those of 'second'" in notes["first"]
    assert "some of its weights, not all, are those of 'first'" in notes["second"]
    assert small.first.weight_hh_l0 is small.second.weight_hh_l0
    for part in ("first", "second"):
        kept = getattr(small, part).weight_hh_l0
        assert float((kept == 0).float().mean()) == pytest.approx(0.5, abs=0.02)
        assert torch.equal(kept[kept != 0], getattr(net, part).weight_hh_l0[kept != 0])
