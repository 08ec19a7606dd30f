"""What compression costs a network that pronounces words: the GRU of g2p-en on words of the CMU dictionary.

    python bench/accuracy/pronounce.py --data FOLDER                      # int8, three calibrations
    python bench/accuracy/pronounce.py --data FOLDER --save PREFIX        # PREFIX-encoder.niwaki, PREFIX-decoder.niwaki
    python bench/accuracy/pronounce.py --data FOLDER --sparsity 0.5 --whole-output    # half of the GRUs' blocks zero
    python bench/accuracy/pronounce.py --data FOLDER --recipe half

The encoder reads letters and leaves a state; the decoder takes a phoneme and a state, and gives the next ones. Both run
as a user would run them: compiled, whole, from their files. A word is right where all of its phonemes are. Calibration
takes words of the first half; the rest is told apart. examples/c/pronounce.c does the same in C.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import niwaki

START, STOP, MOST = 2, 3, 20  # <s>, </s>, and after so many phonemes a word ends


class Encoder(nn.Module):
    """Letters, int64 [N, T], each word with its end sign, to the state after the last one, float32 [1, N, C]."""

    def __init__(self, letters: int, size: int) -> None:
        super().__init__()
        self.embedding, self.gru = nn.Embedding(letters, size), nn.GRU(size, size, batch_first=True)

    def forward(self, letters: torch.Tensor) -> torch.Tensor:
        state: torch.Tensor = self.gru(self.embedding(letters))[1]
        return state


class Decoder(nn.Module):
    """A phoneme, int64 [N], and a state [1, N, C] to the scores of the next phonemes, [N, P], and the next state."""

    def __init__(self, phonemes: int, size: int) -> None:
        super().__init__()
        self.embedding, self.gru = nn.Embedding(phonemes, size), nn.GRU(size, size, batch_first=True)
        self.fc = nn.Linear(size, phonemes)

    def forward(self, phoneme: torch.Tensor, state: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        y, state = self.gru(self.embedding(phoneme.unsqueeze(1)), state)
        return self.fc(y.squeeze(1)), state


def load_networks(data: Path) -> tuple[Encoder, Decoder]:
    """The two halves of g2p-en 2.1.0."""
    from safetensors.torch import load_file

    weights = {name: value.float() for name, value in load_file(data / "g2p_gru.safetensors").items()}
    letters, size = weights["enc_emb"].shape
    encoder, decoder = Encoder(letters, size), Decoder(len(weights["dec_emb"]), size)
    for half, name in ((encoder, "enc"), (decoder, "dec")):
        half.embedding.weight.data.copy_(weights[f"{name}_emb"])
        parts = {"weight_ih_l0": "w_ih", "weight_hh_l0": "w_hh", "bias_ih_l0": "b_ih", "bias_hh_l0": "b_hh"}
        half.gru.load_state_dict({key: weights[f"{name}_{part}"] for key, part in parts.items()})
    decoder.fc.load_state_dict({"weight": weights["fc_w"], "bias": weights["fc_b"]})
    return encoder.eval(), decoder.eval()


@dataclass(frozen=True)
class Words:
    """letters int64 [N, L], lengths int64 [N] with the end sign, phonemes int64 [N, P], 0 behind the last."""

    letters: torch.Tensor
    lengths: torch.Tensor
    phonemes: torch.Tensor

    @staticmethod
    def load(data: Path) -> Words:
        arrays = np.load(data / "g2p_words.npz")
        return Words(*(torch.from_numpy(arrays[name].astype(np.int64)) for name in ("letters", "lengths", "phonemes")))


def encode(net: Any, words: Words) -> torch.Tensor:
    """States [1, N, C]; words of one length together."""
    states: list[torch.Tensor | None] = [None] * len(words.lengths)
    for length in words.lengths.unique().tolist():
        rows = (words.lengths == length).nonzero()[:, 0]
        with torch.no_grad():
            found = net(words.letters[rows, :length].contiguous())
        for row, state in zip(rows.tolist(), found.unbind(1), strict=True):
            states[row] = state
    return torch.cat([state for state in states if state is not None]).unsqueeze(0)


def decode(net: Any, state: torch.Tensor) -> tuple[torch.Tensor, list[dict[str, torch.Tensor]]]:
    """Phonemes int64 [N, MOST], 0 behind the last; and the calls of the network."""
    phoneme = torch.full((state.shape[1],), START)
    going = torch.ones(state.shape[1], dtype=torch.bool)
    found, calls = [], []
    for _ in range(MOST):
        calls.append({"phoneme": phoneme, "state": state})
        with torch.no_grad():
            scores, state = net(phoneme, state)
        phoneme = scores.argmax(1)
        going = going & (phoneme != STOP)
        found.append(phoneme * going)
    return torch.stack(found, 1), calls


def right(found: torch.Tensor, words: Words) -> torch.Tensor:
    """bool [N]: all phonemes are the dictionary's."""
    wanted = torch.zeros_like(found)
    wanted[:, : words.phonemes.shape[1]] = words.phonemes
    return (found == wanted).all(1)


def chosen_calls(calls: list[dict[str, torch.Tensor]], rows: torch.Tensor, seed: int) -> list[dict[str, torch.Tensor]]:
    """The calls of the decoder for some words, as long as most of these last: of all steps mixed, so that whatever part
    of them is left out has all of them."""
    phonemes = torch.cat([call["phoneme"][rows] for call in calls[:8]])
    states = torch.cat([call["state"][:, rows] for call in calls[:8]], 1)
    order = torch.randperm(len(phonemes), generator=torch.Generator().manual_seed(seed))
    return [{"phoneme": phonemes[part], "state": states[:, part].contiguous()} for part in order.split(len(rows) // 4)]


def main() -> None:
    """Prints a line for each calibration."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the folder with the weights and the words")
    parser.add_argument("--bits", type=int, default=8, help="of the weights")
    parser.add_argument("--sparsity", type=float, help="share of the blocks that become zero, by second order")
    parser.add_argument("--whole-output", action="store_true", help="leave the decoder's last layer as it is")
    parser.add_argument("--recipe", help="instead of bits and sparsity")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="of the calibration words")
    parser.add_argument("--count", type=int, default=256, help="calibration words")
    parser.add_argument("--save", help="how the names of the last files begin")
    args = parser.parse_args()
    encoder, decoder = load_networks(args.data)
    words = Words.load(args.data)
    half = len(words.lengths) // 2
    states = encode(encoder, words)
    wanted, calls = decode(decoder, states)
    full = right(wanted, words).float()
    print(f"float32: {100 * full.mean():.2f} % of all words right, {100 * full[half:].mean():.2f} % of the second half")
    for seed in args.seeds:
        options: dict[str, Any] = {"weight_bits": args.bits} if args.bits != 8 else {}
        options |= {"sparsity": args.sparsity} if args.sparsity is not None else {}
        options = {"recipe": args.recipe} if args.recipe is not None else options
        for_decoder = options
        if args.whole_output and args.sparsity is not None:
            zeros = niwaki.PruneConfig(args.sparsity, importance="second_order", skip=("fc",))
            for_decoder = {key: value for key, value in options.items() if key != "sparsity"} | {"prune": zeros}
        rows = torch.randperm(half, generator=torch.Generator().manual_seed(seed))[: args.count]
        letters = [words.letters[row : row + 1, : words.lengths[row]] for row in rows]
        begin = time.process_time()
        small, reports = zip(
            niwaki.compress(encoder, letters, **options),
            niwaki.compress(decoder, chosen_calls(calls, rows, seed), **for_decoder),
            strict=True,
        )
        examples = (letters[0],), (calls[0]["phoneme"][:1], states[:, :1].contiguous())
        nets = [niwaki.compile(net, example) for net, example in zip(small, examples, strict=True)]
        seconds = time.process_time() - begin
        with tempfile.TemporaryDirectory() as folder:
            prefix = args.save or f"{folder}/g2p"
            paths = [Path(f"{prefix}-{name}.niwaki") for name in ("encoder", "decoder")]
            for net, path in zip(nets, paths, strict=True):
                net.save(path)
            size = sum(path.stat().st_size for path in paths)
            found, _ = decode(niwaki.load(paths[1]), encode(niwaki.load(paths[0]), words))
        hits = right(found, words).float()
        same = (found == wanted).all(1).float().mean()
        said = " and ".join(f"{report.network.output_error or 0:.3f}" for report in reports)
        warned = sum(bool(report.network.warnings) for report in reports)
        print(
            f"seed {seed}: {100 * hits.mean():.2f} ({100 * (hits.mean() - full.mean()):+.2f}) % of all words right, "
            f"{100 * hits[half:].mean():.2f} % of the second half; {100 * same:.1f} % as in float32; "
            f"reports {said}{', with a warning' * bool(warned)}; {size / 1e6:.2f} MB; {seconds:.0f} s of processor time"
        )


if __name__ == "__main__":
    main()
