"""Networks that are fed in pieces: to the bit what the whole signal gives, or refused by the layer's name."""

from __future__ import annotations

import resource
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from lowering import compiled
from torch import nn
from whole.own import Voice

import niwaki

PIECE = 512


class Lambda(nn.Module):
    """A causal convolution [N, 4, length] to [N, 8, length], so that there is something to quantize, and a function."""

    def __init__(self, function: Callable[..., torch.Tensor], **layers: nn.Module) -> None:
        super().__init__()
        self.conv = nn.Conv1d(4, 8, 3)
        self.layers = nn.ModuleDict(layers)
        self.function = function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(self.conv(F.pad(x, (2, 0))), **self.layers)


def noise(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def voice() -> niwaki.Network:
    torch.manual_seed(0)
    return compiled(Voice(), 0.3 * noise(2, 16 * PIECE))


def in_pieces(stream: niwaki.Stream, signal: torch.Tensor, piece: int, axis: int = -1) -> torch.Tensor:
    return [stream(part) for part in signal.split(piece, axis)]


def test_pieces_are_to_the_bit_the_whole_signal(voice: niwaki.Network) -> None:
    signal = 0.3 * noise(1, 60 * 16000 // PIECE * PIECE, seed=2)  # a minute
    whole = voice(signal)
    stream = voice.stream(PIECE)
    assert torch.equal(torch.cat(in_pieces(stream, signal, PIECE), 1), whole)
    # A new signal, other pieces, a batch of two.
    stream.reset()
    assert torch.equal(stream(signal[:, :PIECE]), whole[:, :2])
    assert torch.equal(torch.cat(in_pieces(voice.stream(256), signal[:, :2048], 256), 1), whole[:, :8])
    both = torch.cat([signal[:, :2048], -signal[:, :2048]])
    assert torch.equal(torch.cat(in_pieces(voice.stream(PIECE, batch=2), both, PIECE), 1), voice(both))


def test_state_is_saved_and_restored(voice: niwaki.Network) -> None:
    signal = 0.3 * noise(1, 8 * PIECE, seed=3)
    stream = voice.stream(PIECE)
    in_pieces(stream, signal[:, : 4 * PIECE], PIECE)
    kept = stream.state()
    rest = torch.cat(in_pieces(stream, signal[:, 4 * PIECE :], PIECE), 1)
    other = stream.another()
    other.restore(kept)
    assert torch.equal(torch.cat(in_pieces(other, signal[:, 4 * PIECE :], PIECE), 1), rest)
    assert sorted(name.split(".")[-1] for name in kept) == ["c", "context", "context", "context", "context", "h"]
    with pytest.raises(ValueError, match="the state of another network"):
        other.restore({"h": torch.zeros(1)})
    before = other.state()
    wrong = {name: value[..., :1] for name, value in kept.items()}
    with pytest.raises(ValueError, match=r"State '.*' is float32"):
        other.restore(wrong)
    assert all(torch.equal(value, before[name]) for name, value in other.state().items())


def test_a_file_of_a_stream(voice: niwaki.Network, tmp_path: Path) -> None:
    signal = 0.3 * noise(1, 4 * PIECE, seed=4)
    voice.stream(PIECE).save(tmp_path / "voice.niwaki")
    loaded = niwaki.load(tmp_path / "voice.niwaki", threads=1)
    assert torch.equal(torch.cat(in_pieces(loaded.stream(), signal, PIECE), 1), voice(signal))
    with pytest.raises(ValueError, match="keeps state"):
        loaded.stream(PIECE, along="length")


def test_other_sizes_are_refused_and_the_stream_goes_on(voice: niwaki.Network) -> None:
    signal = 0.3 * noise(1, 2 * PIECE, seed=5)
    stream = voice.stream(PIECE)
    first = stream(signal[:, :PIECE])
    for shape in ((1, 511), (1, 513), (1, 0), (2, PIECE)):
        with pytest.raises(ValueError, match=r"Input 'x' must have the shape \[1, 512\]"):
            stream(torch.zeros(shape))
    assert torch.equal(torch.cat([first, stream(signal[:, PIECE:])], 1), voice(signal))


def test_a_stream_belongs_to_one_thread_at_a_time(voice: niwaki.Network) -> None:
    stream = voice.stream(PIECE)
    with stream._lock:
        failures: list[str] = []

        def use() -> None:
            for call in (lambda: stream(torch.zeros(1, PIECE)), stream.reset, stream.state):
                try:
                    call()
                except ValueError as error:
                    failures.append(str(error))

        thread = threading.Thread(target=use)
        thread.start()
        thread.join()
    assert len(failures) == 3
    assert all("busy" in failure for failure in failures)


def test_memory_does_not_grow(voice: niwaki.Network) -> None:
    stream = voice.stream(256)
    part = 0.3 * noise(1, 256)
    for _ in range(200):
        stream(part)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(3000):
        stream(part)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2048  # KiB


def _same(function: Callable[..., torch.Tensor], piece: int = 8, axis: int = -1, **layers: nn.Module) -> niwaki.Stream:
    """Compares pieces of a function of [N, 8, length] with the whole signal."""
    torch.manual_seed(0)
    net = compiled(Lambda(function, **layers), noise(2, 4, 64))
    stream = net.stream(piece)
    signal = noise(1, 4, 5 * piece, seed=7)
    assert torch.equal(torch.cat(in_pieces(stream, signal, piece), axis), net(signal))
    return stream


@pytest.mark.parametrize(
    "function",
    [
        pytest.param(torch.cumsum, id="cumsum"),
        pytest.param(lambda h, dim: torch.cumprod(1 + 0.1 * h, dim), id="cumprod"),
    ],
)
def test_running_sums(function: Callable[..., torch.Tensor]) -> None:
    _same(lambda h: function(h, dim=2))


@pytest.mark.parametrize(
    "function",
    [
        pytest.param(lambda h: F.avg_pool1d(h, 2), id="pool"),
        pytest.param(lambda h: F.max_pool1d(F.pad(h, (2, 0)), 3, stride=1), id="pool and padding"),
        pytest.param(lambda h: F.max_pool1d(F.pad(h, (1, 0)), 3, stride=2), id="overlapping pool"),
        pytest.param(lambda h: h[..., ::2], id="every second"),
        pytest.param(lambda h: h.unflatten(2, (-1, 4)).mean(3), id="frames"),
        pytest.param(lambda h: F.pad(h, (3, 0))[..., :-3], id="delay"),
        pytest.param(lambda h: h + F.pad(h, (1, 0))[..., :-1], id="difference"),
        pytest.param(lambda h: torch.cat([torch.zeros_like(h[..., :1]), h], 2)[..., :-1] * h, id="zeros before"),
        pytest.param(lambda h: F.layer_norm(h.transpose(1, 2), (8,)).transpose(1, 2).softmax(1), id="norm of channels"),
        pytest.param(lambda h: torch.cat([h, h.mean(1, keepdim=True)], 1), id="concat"),
        pytest.param(lambda h: h.unflatten(1, (2, 4)).transpose(1, 2).flatten(1, 2), id="shuffle"),
    ],
)
def test_functions_of_each_moment(function: Callable[..., torch.Tensor]) -> None:
    _same(function)


@pytest.mark.parametrize(
    ("padding", "dilation", "stride"),
    [(2, 1, 1), (2, 1, 2), (1, 1, 2), (2, 1, 4), (0, 1, 4), (4, 2, 1), (4, 2, 2), (3, 2, 4)],
)
def test_convolutions(padding: int, dilation: int, stride: int) -> None:
    # Padded on both sides, and cut to what is causal.
    conv = nn.Conv1d(8, 6, 3, stride=stride, padding=padding, dilation=dilation)
    _same(lambda h, conv: conv(h)[..., : h.shape[2] // stride], conv=conv)


@pytest.mark.parametrize("frames", ["stft", "unfold"])
def test_frames_that_overlap(frames: str) -> None:
    def function(h: torch.Tensor, gru: nn.GRU) -> torch.Tensor:
        rows = F.pad(h.sum(1), (4, 0))
        if frames == "unfold":
            return gru(rows.unfold(-1, 8, 4))[0]
        return gru(torch.stft(rows, 8, 4, window=torch.ones(8), center=False, return_complex=True).abs().mT)[0]

    _same(function, axis=1, gru=nn.GRU(5 if frames == "stft" else 8, 6, batch_first=True))


def test_frames_of_several_signals_have_streams_of_their_own() -> None:
    """A Fourier transform multiplies the frames of all signals at once."""
    torch.manual_seed(0)
    net = compiled(Lambda(lambda h: torch.fft.rfft(h.mT).abs()), noise(2, 4, 32))
    signal = noise(2, 4, 32, seed=4)
    with pytest.raises(ValueError, match="where that is the batch, give each signal a stream of its own"):
        net.stream(8, batch=2)
    stream = net.stream(8)
    for one in signal.split(1):
        assert torch.equal(torch.cat(in_pieces(stream, one, 8), 1), net(one))
        stream = stream.another()


def test_transposed_convolutions_without_overlap() -> None:
    _same(lambda h, conv: conv(h), conv=nn.ConvTranspose1d(8, 6, 2, stride=2))


class Masked(nn.Module):
    """Frames that overlap, a mask, and sound of them again, cut to what is causal. [N, 1, length] to the same shape."""

    def __init__(self, window: int, hop: int) -> None:
        super().__init__()
        self.hop, self.front = hop, window - hop
        self.analysis, self.synthesis = nn.Conv1d(1, 24, window, hop), nn.ConvTranspose1d(24, 1, window, hop)
        self.gru = nn.GRU(24, 24, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        frames = self.analysis(F.pad(x, (self.front, 0))).relu()
        mask = self.gru(frames.transpose(1, 2))[0].transpose(1, 2).sigmoid()
        return self.synthesis(frames * mask)[..., : x.shape[2]]


@pytest.mark.parametrize("quantized", [False, True])
@pytest.mark.parametrize(("window", "hop"), [(32, 16), (40, 16), (64, 16), (8, 8)])
def test_sound_of_frames_that_overlap(window: int, hop: int, quantized: bool) -> None:
    torch.manual_seed(0)
    net = Masked(window, hop).eval()
    example = 0.3 * noise(2, 1, 320)
    made = compiled(net, example) if quantized else niwaki.compile(net, (example,))
    signal = 0.3 * noise(2, 1, 20 * hop, seed=9)
    for piece in (hop, 4 * hop):
        stream = made.stream(piece, batch=2)
        assert torch.equal(torch.cat(in_pieces(stream, signal, piece), 2), made(signal))


def test_transposed_convolutions_across_time() -> None:
    """Along the frequencies of spectrograms, each moment by itself."""
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Conv2d(1, 4, (1, 3), (1, 2)), nn.ELU(), nn.ConvTranspose2d(4, 1, (1, 4), (1, 2)))
    net = niwaki.compile(layers.eval(), (noise(1, 1, 12, 16),))
    signal = noise(1, 1, 12, 16, seed=3)
    stream = net.stream(2, along="height", width=16)
    assert torch.equal(torch.cat(in_pieces(stream, signal, 2, 2), 2), net(signal))


def test_convolutions_along_time_of_spectrograms() -> None:
    layers = nn.Sequential(
        nn.ZeroPad2d((1, 1, 2, 0)), nn.Conv2d(1, 8, 3, stride=(1, 2)), nn.ReLU(),
        nn.ZeroPad2d((1, 1, 4, 0)), nn.Conv2d(8, 8, 3, groups=8, dilation=(2, 1)), nn.ReLU(),
        nn.Conv2d(8, 4, 1),
    )  # fmt: skip
    _same(lambda h, layers: layers(h.transpose(1, 2)[:, None]).mean(3), layers=layers)


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
@pytest.mark.parametrize("batch_first", [True, False])
def test_recurrent_layers(kind: type[nn.RNNBase], batch_first: bool) -> None:
    order = (0, 2, 1) if batch_first else (2, 0, 1)
    back = (0, 2, 1) if batch_first else (1, 2, 0)
    layer = kind(8, 20, 2, batch_first=batch_first)
    stream = _same(lambda h, layer: layer(h.permute(order))[0].permute(back), layer=layer)
    assert len(stream.state()) == (3 if kind is nn.LSTM else 2)  # h, perhaps c, and the convolution's context


def test_what_a_signal_gives_once_is_that_of_the_signal_so_far() -> None:
    torch.manual_seed(0)
    layers = nn.ModuleDict({"gru": nn.GRU(8, 12, batch_first=True), "head": nn.Linear(12, 3)})
    net = compiled(
        Lambda(lambda h, gru, head: (head(gru(h.transpose(1, 2))[1][0]), gru(h.transpose(1, 2))[0][:, -1]), **layers),
        noise(2, 4, 32),
    )
    stream = net.stream(8)
    signal = noise(1, 4, 32, seed=8)
    for end in (8, 16, 24, 32):
        for found, wanted in zip(stream(signal[..., end - 8 : end]), net(signal[..., :end]), strict=True):
            assert torch.equal(found, wanted)


@pytest.mark.parametrize(
    ("function", "layers", "says"),
    [
        (lambda h, conv: conv(h), {"conv": nn.Conv1d(8, 6, 3, padding=1)}, "conv.* looks ahead: its windows of 3"),
        (lambda h, conv: conv(h), {"conv": nn.Conv1d(8, 6, 3)}, "conv.* looks ahead"),
        (lambda h, conv: conv(h)[..., :-2], {"conv": nn.Conv1d(8, 6, 1, padding=1)}, "padding in front of the signal"),
        (lambda h, conv: conv(h), {"conv": nn.ConvTranspose1d(8, 6, 4, stride=2, padding=1)}, "conv.* looks ahead"),
        (lambda h, conv: conv(h), {"conv": nn.ConvTranspose1d(8, 6, 4, stride=2)}, "has 2 elements more"),
        (lambda h: h[..., 1:], {}, "drops the first 1 elements"),
        (lambda h: F.pad(h, (0, -2)), {}, "leaves out the last 2 elements"),
        (lambda h: F.pad(h, (1, 0)), {}, "has 1 elements more"),
        (lambda h: h.mean(2), {}, "works along time"),
        (lambda h: h.flip(2), {}, "works along time"),
        (lambda h: h.softmax(2), {}, "works along time"),
        (lambda h: h.transpose(1, 2) @ h, {}, "two axes grow"),
        (lambda h: h - h.amax((1, 2), keepdim=True), {}, "works along time"),
        (lambda h: F.pad(h, (2, 0), mode="reflect")[..., :-2], {}, "comes later"),
        (lambda h: h * torch.arange(h.shape[2]), {}, "how long the whole signal is"),
        (lambda h, gru: gru(h.mT)[0], {"gru": nn.GRU(8, 4, batch_first=True, bidirectional=True)}, "second direction"),
        (lambda h, gru: h + gru(h.mT)[1][0][..., None], {"gru": nn.GRU(8, 8, batch_first=True)}, "together with the"),
        (lambda h: F.group_norm(h, 2), {}, "whole signal at once"),
        (lambda h: F.pad(torch.sigmoid(F.pad(h, (2, 0))), (0, 0))[..., :-2], {}, "padding in front of the signal"),
    ],
)  # fmt: skip
def test_what_needs_the_rest_of_the_signal_is_refused(
    function: Callable[..., torch.Tensor], layers: dict[str, nn.Module], says: str
) -> None:
    torch.manual_seed(0)
    net = compiled(Lambda(function, **layers), noise(2, 4, 32))
    with pytest.raises(ValueError, match=says):
        net.stream(8)


def test_arguments_are_checked(voice: niwaki.Network) -> None:
    with pytest.raises(ValueError, match=r"stride 128 .* a piece is 100"):
        voice.stream(100)
    with pytest.raises(ValueError, match=r"stride 2 along time"):
        voice.stream(128)
    with pytest.raises(ValueError, match="1 element or more"):
        voice.stream(0)
    with pytest.raises(TypeError, match="piece must be an int"):
        voice.stream(512.0)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="no free size 'time'"):
        voice.stream(512, along="time")
    with pytest.raises(ValueError, match="no free size 'width'"):
        voice.stream(512, width=3)
    with pytest.raises(ValueError, match="say how many elements"):
        voice.stream()


class Causal(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(1, 4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(nn.functional.pad(x, (2, 0)))


def test_a_signal_of_one_channel() -> None:
    net = niwaki.compile(Causal().eval(), (torch.randn(1, 1, 32),))
    signal = torch.randn(1, 1, 64)
    stream = net.stream(8)
    assert torch.equal(torch.cat([stream(piece) for piece in signal.split(8, 2)], 2), net(signal))
