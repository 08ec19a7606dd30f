"""What recurrent layers take and give when a network runs: calls of all kinds, brought into one form.

A layer is called with sequences of equal lengths or packed ones, batch first or time first, with states or without; a
cell with one step, and in loops with one after the other. Here they are all sequences side by side, time first, with a
length each, and every layer or cell is one of torch's nn.LSTM, GRU or RNN.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from niwaki.capture import evaluating
from niwaki.layerwise.recorded import Call, chains, recorded, tensors_of
from niwaki.layerwise.sensitivity import probe
from niwaki.modules.names import recurrent_names
from niwaki.quantization.inputs import Batch

Recurrent = nn.RNNBase | nn.RNNCellBase
_OF_CELLS: dict[type[nn.RNNCellBase], type[nn.RNNBase]] = {
    nn.LSTMCell: nn.LSTM,
    nn.GRUCell: nn.GRU,
    nn.RNNCell: nn.RNN,
}

_FEW = 4


@dataclass(frozen=True)
class Sequences:
    """Calls of one layer, side by side.

    Attributes:
        x: float32 [T, N, I], zeros behind the end of a sequence.
        lengths: int64 [N], 1 to T.
        states: before the first step: h [L * D, N, P] and, of an LSTM, c [L * D, N, H].
        origins: int64 [N]: equal for sequences that stem from one input of the network: its number in its batch, or
            that of the batch, where batches hold fewer than four.
    """

    x: torch.Tensor
    lengths: torch.Tensor
    states: tuple[torch.Tensor, ...]
    origins: torch.Tensor

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def active(self) -> torch.Tensor:
        """bool [T, N]: the steps that there are."""
        return torch.arange(len(self.x))[:, None] < self.lengths

    def of(self, chosen: torch.Tensor) -> Sequences:
        """Some of them, by their numbers or as bool [N]."""
        lengths = self.lengths[chosen]
        steps = int(lengths.max()) if len(lengths) else 0
        states = tuple(state[:, chosen] for state in self.states)
        return Sequences(self.x[:steps, chosen], lengths, states, self.origins[chosen])


@dataclass(frozen=True)
class Results:
    """What a layer gives for Sequences.

    Attributes:
        y: [T, N, D * P], zeros behind the end of a sequence.
        last: h [L * D, N, P] and, of an LSTM, c [L * D, N, H].
    """

    y: torch.Tensor
    last: tuple[torch.Tensor, ...]

    @property
    def parts(self) -> tuple[torch.Tensor, ...]:
        """All of them."""
        return (self.y, *self.last)

    def of(self, chosen: torch.Tensor, steps: int) -> Results:
        """Those of some sequences, of so many steps."""
        return Results(self.y[:steps, chosen], tuple(part[:, chosen] for part in self.last))


def plain_form(layer: Recurrent) -> nn.RNNBase:
    """A layer of torch, time first, without dropout, that computes what a layer or cell does; weights of its own."""
    options: dict[str, Any] = {"bias": layer.bias}
    if isinstance(layer, nn.RNNBase):
        kind: Any = next(kind for kind in (nn.LSTM, nn.GRU, nn.RNN) if isinstance(layer, kind))
        options |= {"num_layers": layer.num_layers, "bidirectional": layer.bidirectional}
        options |= {"proj_size": layer.proj_size} if layer.proj_size else {}
    else:
        kind = next(found for cell, found in _OF_CELLS.items() if isinstance(layer, cell))
    if kind is nn.RNN:
        options["nonlinearity"] = layer.nonlinearity
    # Without numbers to begin with, which would be drawn: the caller's next random numbers are theirs.
    plain: nn.RNNBase = kind(layer.input_size, layer.hidden_size, device="meta", **options).to_empty(device="cpu")
    write_back(layer, plain)
    return plain.eval()


def write_back(source: Recurrent, target: Recurrent) -> None:
    """Copies weights and biases from one form of a layer to another."""
    with torch.no_grad():
        for name, other in zip(recurrent_names(source), recurrent_names(target), strict=True):
            getattr(target, other).copy_(getattr(source, name))


def run(layer: nn.RNNBase, given: Sequences) -> Results:
    """The results of a plain form."""
    states: Any = given.states if isinstance(layer, nn.LSTM) else given.states[0]
    if bool((given.lengths == len(given.x)).all()):
        y, last = layer(given.x, states)
    else:
        packed, last = layer(pack_padded_sequence(given.x, given.lengths, enforce_sorted=False), states)
        y, _ = pad_packed_sequence(packed, total_length=len(given.x))
    return Results(y, tuple(last) if isinstance(last, tuple) else (last,))


@dataclass(frozen=True)
class Seen:
    """What a layer was called with, now and in the network as it was, and what it gave then.

    Attributes:
        now, before: the calls; of the network as it is by now, and as it was.
        wanted: what the layer gave as it was.
        pulls: the gradient of the network's outputs, with random signs, at each of these; its square is what an error
            there counts. Where the network has no gradient that is finite, 1 at each y.
    """

    now: Sequences
    before: Sequences
    wanted: Results
    pulls: Results

    @property
    def width(self) -> int:
        """Values of a step of one sequence."""
        return sum(part.shape[2] for part in (self.now.x, self.before.x, self.wanted.y, self.pulls.y))

    def of(self, chosen: torch.Tensor) -> Seen:
        """Of some sequences, by their numbers or as bool [N]."""
        now = self.now.of(chosen)
        steps = len(now.x)
        return Seen(now, self.before.of(chosen), self.wanted.of(chosen, steps), self.pulls.of(chosen, steps))


def watch(model: nn.Module, before: nn.Module, name: str, pieces: Iterable[Batch], *, most: int) -> Seen | None:
    """Runs a network as it is and as it was, and looks at one of its recurrent layers.

    Args:
        model, before: the network now and as it was, float32.
        name: of the layer.
        pieces: inputs of the network.
        most: values of steps that are kept, all sequences as long as the longest; pieces from the first one that would
            be beyond them are not looked at.

    Returns:
        None where the layer is not called, or called otherwise than before.
    """
    generator = torch.Generator().manual_seed(0)
    layers = [net.get_submodule(name) for net in (model, before)]
    found: list[Seen] = []
    steps = count = 0
    for number, piece in enumerate(pieces):
        with recorded(layers[1]) as old, evaluating(before), torch.enable_grad():
            for parameter in layers[1].parameters():
                parameter.requires_grad_(True)
            copied = piece.copy()
            _pull(before(*copied.args, **copied.kwargs), generator)
        with recorded(layers[0]) as new, evaluating(model):
            copied = piece.copy()
            model(*copied.args, **copied.kwargs)
        if len(old) != len(new):
            return None
        calls = []
        for chain in chains(layers[1], old, new):
            parts = []
            for place in chain:
                pair = new[place], old[place]
                given = [_given(layer, call, number) for layer, call in zip(layers, pair, strict=True)]
                if given[0].x.shape != given[1].x.shape or not torch.equal(given[0].lengths, given[1].lengths):
                    return None
                results = _results(layers[1], old[place], given[1], inner=place != chain[-1])
                parts.append(Seen(given[0], given[1], *results))
            calls.append(_in_a_row(parts))
            steps, count = max(steps, len(calls[-1].now.x)), count + len(calls[-1].now)
        if found and steps * count * found[0].width > most:
            break
        found += calls
    return joined(found) if found else None


def _pull(output: Any, generator: torch.Generator) -> None:
    """Sends random signs back from the network's outputs; where they have no gradient, nothing."""
    try:
        probe(output, generator)[0].backward()
    except (RuntimeError, TypeError):
        return


def _given(layer: nn.Module, call: Call, origin: int) -> Sequences:
    """The arguments of a call."""
    x: Any = call.args[0] if call.args else call.kwargs["input"]
    states: Any = call.args[1] if len(call.args) > 1 else call.kwargs.get("hx")
    x, lengths = _time_first(layer, x)
    parts = () if states is None else states if isinstance(states, tuple) else (states,)
    parts = tuple(part.detach().reshape(_count(layer), x.shape[1], -1) for part in parts)
    if not parts:
        width = getattr(layer, "proj_size", 0) or layer.hidden_size
        sizes = [width, layer.hidden_size] if isinstance(layer, (nn.LSTM, nn.LSTMCell)) else [width]
        parts = tuple(x.new_zeros(_count(layer), x.shape[1], size) for size in sizes)
    count = len(lengths)
    return Sequences(x, lengths, parts, torch.arange(count) if count >= _FEW else torch.full_like(lengths, origin))


def _results(layer: nn.Module, call: Call, given: Sequences, *, inner: bool) -> tuple[Results, Results]:
    """The results of a call, and the gradients that reached them; of an inner step, those of what the network reads."""
    values = tensors_of(call.output)
    pulls = call.gradients(inner=inner)
    found = []
    for tensors in (values, pulls):
        parts = [part.detach() for part in tensors]
        if isinstance(layer, nn.RNNBase):
            y = call.output[0]
            y = y._replace(data=parts[0]) if isinstance(y, PackedSequence) else parts[0]
            y, last = _time_first(layer, y)[0], parts[1:]
        else:  # of a cell, h counts once
            y = parts[0].reshape(1, len(given), -1)
            last = [y if tensors is values else torch.zeros_like(y), *parts[1:]]
        last = [part.reshape(_count(layer), len(given), -1) for part in last]
        if inner and tensors is pulls and len(last[0]) == 1:  # the h of one layer is the last of its outputs
            y = torch.cat([y[:-1], y[-1:] + last[0]])
        found.append(Results(y, tuple(last)))
    return found[0], found[1]


def _in_a_row(parts: Sequence[Seen]) -> Seen:
    """Calls that go on from each other as the one call of all their steps."""
    if len(parts) == 1:
        return parts[0]

    def sequences(each: list[Sequences]) -> Sequences:
        lengths = torch.stack([one.lengths for one in each]).sum(0)
        return Sequences(torch.cat([one.x for one in each]), lengths, each[0].states, each[0].origins)

    def results(each: list[Results]) -> Results:
        return Results(torch.cat([one.y for one in each]), each[-1].last)

    return Seen(
        sequences([part.now for part in parts]),
        sequences([part.before for part in parts]),
        results([part.wanted for part in parts]),
        results([part.pulls for part in parts]),
    )


def _count(layer: nn.Module) -> int:
    """Layers times directions."""
    return layer.num_layers * (1 + layer.bidirectional) if isinstance(layer, nn.RNNBase) else 1


def _time_first(layer: nn.Module, x: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """[T, N, I] of what a layer takes or gives, and lengths [N]."""
    if isinstance(x, PackedSequence):
        padded, lengths = pad_packed_sequence(x)
        return padded.detach(), lengths
    x = x.detach()
    if not isinstance(layer, nn.RNNBase):
        x = x.reshape(1, -1, x.shape[-1])
    elif x.dim() == 2:
        x = x[:, None]
    elif layer.batch_first:
        x = x.transpose(0, 1)
    return x.contiguous(), torch.full((x.shape[1],), len(x))


def joined(calls: Sequence[Seen]) -> Seen:
    """All calls side by side."""
    steps = max(len(call.now.x) for call in calls)

    def together(parts: list[torch.Tensor]) -> torch.Tensor:
        return torch.cat([F.pad(part, (0, 0, 0, 0, 0, steps - len(part))) for part in parts], 1)

    def sequences(parts: list[Sequences]) -> Sequences:
        states = tuple(torch.cat(list(each), 1) for each in zip(*(part.states for part in parts), strict=True))
        lengths, origins = (torch.cat([getattr(part, key) for part in parts]) for key in ("lengths", "origins"))
        return Sequences(together([part.x for part in parts]), lengths, states, origins)

    def results(parts: list[Results]) -> Results:
        last = tuple(torch.cat(list(each), 1) for each in zip(*(part.last for part in parts), strict=True))
        return Results(together([part.y for part in parts]), last)

    now, pulls = sequences([call.now for call in calls]), results([call.pulls for call in calls])
    total = sum(float(part.abs().sum()) for part in pulls.parts)
    if not 0 < total < float("inf"):
        y = now.active[:, :, None].expand_as(pulls.y).float()
        pulls = Results(y, tuple(torch.zeros_like(part) for part in pulls.last))
    before, wanted = sequences([call.before for call in calls]), results([call.wanted for call in calls])
    return Seen(now, before, wanted, pulls)
