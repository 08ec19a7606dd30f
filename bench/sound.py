"""A second of sound through three networks, and a detector of voice that is fed in pieces.

    python bench/sound.py                                       # all of it, a minute or two
    python bench/sound.py --pieces 1000000                      # so many pieces: the memory that they take
    python bench/sound.py --save voice.niwaki voice.f32         # the detector and a minute, for examples/c/listen

The networks are those of whole/own.py with seeded weights: a Conformer, a WaveNet, a vocoder as HiFi-GAN's. Told are
the error of the compiled network, in float32 and in int8, ||y - module|| / ||module||, for a second at 16 kHz, and how
long it takes on one thread. The detector gets a minute in pieces of 512 samples: its answers are compared, to the bit,
with one pass over all of it, also where its state is saved in the middle and another stream goes on from it.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn
from whole import own
from whole.check import enliven, error

import niwaki

RATE, PIECE = 16000, 512


def louder(net: nn.Module) -> nn.Module:
    """With larger weights: as made, a vocoder's are so small that its biases are all that is heard."""
    with torch.no_grad():
        for part in net.modules():
            if isinstance(part, (nn.Conv1d, nn.ConvTranspose1d)):
                part.weight *= 2
    return net


# How each is made, and a number of inputs that are a second long.
NETWORKS: dict[str, tuple[Callable[[], nn.Module], Callable[[int], torch.Tensor]]] = {
    "Conformer": (own.Conformer, lambda batch: torch.randn(batch, RATE) / 8),
    "WaveNet": (own.WaveNet, lambda batch: torch.randn(batch, 1, RATE)),
    "HiFi-GAN": (lambda: louder(own.Vocoder()), lambda batch: torch.randn(batch, 80, RATE // 256)),
}


def milliseconds(net: Callable[..., torch.Tensor], x: torch.Tensor, rounds: int = 7) -> float:
    """The median of some calls."""
    times = []
    for _ in range(rounds):
        begin = time.perf_counter()
        net(x)
        times.append(1000 * (time.perf_counter() - begin))
    return statistics.median(times)


def second(name: str) -> str:
    """A row: what a second of sound is."""
    torch.manual_seed(0)
    make, inputs = NETWORKS[name]
    net = make().eval()
    enliven(net, (inputs(4),))
    small, _ = niwaki.compress(net, [inputs(2) for _ in range(6)], progress=False)
    x = inputs(1)
    with torch.no_grad():
        wanted = net(x)
    found = []
    for module in (net, small):
        compiled = niwaki.compile(module, (x,), threads=1)
        if compiled.plan.torch:
            raise SystemExit(f"{name} is not native as a whole: {compiled.plan}")
        far = error(compiled(x), wanted)
        if isinstance(far, str):
            raise SystemExit(f"{name}: {far}")
        found.append(f"{far:9.1e} {milliseconds(compiled, x):8.2f} ms")
    return f"{name:10} float32 {found[0]}    int8 {found[1]}"


def detector() -> tuple[niwaki.Network, torch.Tensor]:
    """A detector of voice in int8, and a minute of noise [1, samples] that rises and falls."""
    torch.manual_seed(0)
    net = own.Voice().eval()

    def sound(batch: int, samples: int) -> torch.Tensor:
        loud = torch.sin(torch.arange(samples) / RATE * 2 + torch.rand(batch, 1) * 6).square()
        return 0.3 * torch.randn(batch, samples) * loud

    small, _ = niwaki.compress(net, [sound(4, 16 * PIECE) for _ in range(16)], progress=False)
    return niwaki.compile(small, (sound(1, 16 * PIECE),), threads=1), sound(1, 60 * RATE // PIECE * PIECE)


def in_pieces(net: niwaki.Network, signal: torch.Tensor) -> str:
    """Whether pieces give what the whole gives, and how long they take. Stops where they do not."""
    wanted = net(signal)
    stream, parts, answers = net.stream(PIECE), signal.split(PIECE, 1), []
    begin, begin_used = time.perf_counter(), time.process_time()
    for part in parts:
        answers.append(stream(part))
    took, used = time.perf_counter() - begin, time.process_time() - begin_used
    half = len(parts) // 2
    stream.reset()
    for part in parts[:half]:
        stream(part)
    other = stream.another()
    other.restore(stream.state())
    rest = [other(part) for part in parts[half:]]
    same = torch.equal(torch.cat(answers, 1), wanted) and torch.equal(torch.cat(rest, 1), torch.cat(answers[half:], 1))
    if not same:
        raise SystemExit("pieces do not give what the whole signal gives.")
    heard = signal.shape[1] / RATE
    return (
        f"voice: {len(parts)} pieces of {PIECE}, {1e6 * took / len(parts):.0f} us each, {used:.3f} CPU seconds for "
        f"{heard:.0f} s of sound, 1/{heard / used:.0f} of real time; to the bit the whole, and from a saved state on"
    )


def memory(net: niwaki.Network, signal: torch.Tensor, pieces: int) -> str:
    """What a process holds, at the most, more after so many pieces than after a thousand."""
    stream, part = net.stream(PIECE), signal[:, :PIECE]
    for _ in range(1000):
        stream(part)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(pieces):
        stream(part)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return f"voice: {pieces} pieces more took {after - before} KiB more at the most, of {after}"


def _some(text: str) -> int:
    """A number of pieces."""
    count = int(text)
    if count < 1:
        raise argparse.ArgumentTypeError(f"at least one piece, not {text}")
    return count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pieces", type=_some, metavar="N", help="feed the detector so many; tell the memory alone")
    parser.add_argument("--save", type=Path, nargs=2, metavar=("NET", "SOUND"), help="write the detector and a minute")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if not options.pieces and not options.save:
        for name in NETWORKS:
            print(second(name), flush=True)
    net, signal = detector()
    if options.save:
        net.stream(PIECE).save(options.save[0])
        signal.numpy().tofile(options.save[1])
    print(memory(net, signal, options.pieces) if options.pieces else in_pieces(net, signal))


if __name__ == "__main__":
    main()
