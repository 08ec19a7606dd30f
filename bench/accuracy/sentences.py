"""What compression costs a sentence encoder: MiniLM on the development set of STS-B, for docs/accuracy.md.

    python bench/accuracy/sentences.py --data FOLDER                     # int8, three calibrations
    python bench/accuracy/sentences.py --data FOLDER --method block4 --sparsity 0.5 --save minilm.niwaki
    python bench/accuracy/sentences.py --data FOLDER --method block4 --sparsity 0.3 0.8 --importance magnitude

The compressed network runs as a user would run it: compiled, whole, from its file, at every length. Spearman's
correlation of the embeddings' cosines with the scores that people gave, in percent; and the mean cosine between the
embeddings of the float32 network and those of the compressed one. Calibration takes sentences of the first half of the
pairs; all numbers are those of the second half, and of the whole set besides.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional as F

import niwaki
from niwaki._compat import import_torchvision


class Encoder(nn.Module):
    """Token ids and a mask, int64 [N, T], to normalized embeddings, float32 [N, 384]."""

    def __init__(self, bert: nn.Module) -> None:
        super().__init__()
        self.bert = bert

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        hidden = self.bert(input_ids=ids, attention_mask=mask).last_hidden_state
        weights = mask.unsqueeze(-1).to(hidden.dtype)
        return F.normalize((hidden * weights).sum(1) / weights.sum(1).clamp_min(1e-9), dim=1)


def load_encoder(data: Path) -> Encoder:
    """all-MiniLM-L6-v2 from its weights."""
    with contextlib.suppress(ImportError):  # transformers wants it where it is installed
        import_torchvision()
    from transformers import BertConfig, BertModel

    config = BertConfig(hidden_size=384, num_hidden_layers=6, num_attention_heads=12, intermediate_size=1536)
    bert = BertModel(config, add_pooling_layer=False)
    weights = {name: value.float() for name, value in load_file(data / "minilm_l6.safetensors").items()}
    missing, unexpected = bert.load_state_dict(weights, strict=False)
    unexpected = [name for name in unexpected if not name.startswith("pooler.")]  # not used by sentence encoders
    if unexpected or [name for name in missing if "position_ids" not in name]:
        raise SystemExit(f"{data / 'minilm_l6.safetensors'} does not fit: {missing}, {unexpected}.")
    return Encoder(bert.eval())


@dataclass(frozen=True)
class Pairs:
    """Sentences in pairs: ids and mask int64 [N, 2, T], and how alike people found them, [N], 0 to 5."""

    ids: torch.Tensor
    mask: torch.Tensor
    score: np.ndarray

    @staticmethod
    def load(data: Path) -> Pairs:
        """The development set of STS-B."""
        arrays = np.load(data / "stsb_dev.npz")
        ids, mask = (torch.from_numpy(arrays[name].astype(np.int64)) for name in ("ids", "mask"))
        return Pairs(ids, mask, arrays["score"])

    def sentences(self) -> tuple[torch.Tensor, torch.Tensor]:
        """All of them, one after the other: int64 [2 N, T]."""
        return self.ids.flatten(0, 1), self.mask.flatten(0, 1)


def embed(net: Any, ids: torch.Tensor, mask: torch.Tensor, batch: int = 32) -> torch.Tensor:
    """Embeddings [N, 384], each batch as long as its longest sentence; sentences of like length together."""
    order = mask.sum(1).argsort(stable=True)
    found = torch.empty(len(ids), 384)
    for part in order.split(batch):
        length = int(mask[part].sum(1).max())
        with torch.no_grad():
            found[part] = net(ids[part, :length].contiguous(), mask[part, :length].contiguous())
    return found


def spearman(embeddings: torch.Tensor, score: np.ndarray) -> float:
    """In percent, of the cosines of neighbours."""
    from scipy.stats import spearmanr

    cosines = (embeddings[::2] * embeddings[1::2]).sum(1).numpy()
    return 100 * float(spearmanr(cosines, score).statistic)


def chosen_sentences(pairs: Pairs, seed: int, count: int) -> torch.Tensor:
    """Numbers of sentences of the first half of the pairs."""
    return torch.randperm(len(pairs.score), generator=torch.Generator().manual_seed(seed))[:count]


def calibration(pairs: Pairs, seed: int, count: int, batch: int = 8) -> list[dict[str, torch.Tensor]]:
    """Sentences of the first half of the pairs, as arguments by name, in batches of one length."""
    ids, mask = pairs.sentences()
    chosen = chosen_sentences(pairs, seed, count)
    chosen = chosen[mask[chosen].sum(1).argsort(stable=True)]
    items = []
    for part in chosen.split(batch):
        length = int(mask[part].sum(1).max())
        items.append({"ids": ids[part, :length].contiguous(), "mask": mask[part, :length].contiguous()})
    return items


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the folder with the weights and the sentences")
    parser.add_argument("--method", choices=("int8", "block4", "unstructured"), default="int8")
    parser.add_argument("--sparsity", type=float, nargs="+", default=[0.5], help="of block4 and unstructured")
    parser.add_argument("--importance", choices=("second_order", "magnitude"), default="second_order")
    parser.add_argument("--recipe", help="instead of a method and bits")
    parser.add_argument("--bits", type=int, default=8, help="of the weights")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="of the calibration sentences")
    parser.add_argument("--count", type=int, default=256, help="calibration sentences")
    parser.add_argument("--save", type=Path, help="where the last file goes")
    args = parser.parse_args()
    model, pairs = load_encoder(args.data), Pairs.load(args.data)
    ids, mask = pairs.sentences()
    wanted = embed(model, ids, mask)
    half = len(pairs.score) // 2
    full = spearman(wanted, pairs.score)
    print(
        f"float32: {full:.2f} on all pairs, {spearman(wanted[2 * half :], pairs.score[half:]):.2f} on the second half"
    )
    for seed, sparsity in itertools.product(args.seeds, args.sparsity if args.method != "int8" else [0.0]):
        options: dict[str, Any] = {"weight_bits": args.bits} if args.bits != 8 else {}
        if args.recipe is not None:
            options = {"recipe": args.recipe}
        elif args.method != "int8":
            options |= {"sparsity": sparsity, "pattern": args.method, "importance": args.importance}
        begin = time.process_time()
        small, report = niwaki.compress(model, calibration(pairs, seed, args.count), **options)
        net = niwaki.compile(small, (ids[:2, :16], mask[:2, :16]))
        seconds = time.process_time() - begin
        with tempfile.TemporaryDirectory() as folder:
            path = args.save or Path(folder) / "minilm.niwaki"
            net.save(path)
            size = path.stat().st_size
            found = embed(niwaki.load(path), ids, mask)
        whole = spearman(found, pairs.score)
        cosine = float((found * wanted)[2 * half :].sum(1).mean())
        # The halves are of different kinds, captions and then news, so what the report says is compared with
        # sentences like those that it knows, too: of the first half, those that were not calibrated on.
        like = torch.ones(len(pairs.score), dtype=torch.bool)
        like[chosen_sentences(pairs, seed, args.count)] = False
        like = torch.cat([like, torch.zeros_like(like)])
        other = torch.arange(len(ids)) >= len(pairs.score)
        change, alike, unlike = (
            float((found[part] - wanted[part]).norm() / wanted[part].norm()) for part in (slice(None), like, other)
        )
        print(
            f"seed {seed}, {sparsity:.0%} zeros: {whole:.2f} ({whole - full:+.2f}) on all pairs, "
            f"{spearman(found[2 * half :], pairs.score[half:]):.2f} on the second half; mean cosine {cosine:.4f}; "
            f"report {report.network.output_error or 0:.3f}, error {change:.3f} (of the first half "
            f"{alike:.3f}, of the second {unlike:.3f}); "
            f"{size / 1e6:.1f} MB; {seconds:.0f} s of processor time"
        )


if __name__ == "__main__":
    main()
