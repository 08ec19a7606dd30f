"""Ranks pictures by how well a sentence describes them: the two towers of CLIP in int8, in one file.

    python examples/towers/rank.py "a red square" --pretrained openai/clip-vit-base-patch32 --pictures photos/
    python examples/towers/rank.py "a red square"

It needs `transformers`. With --pretrained, weights and tokenizer are those of a model or a folder that transformers
knows. Without, a small CLIP has seeded weights and its own way to read: the order then means nothing, but all else is
as it will be. Without --pictures there are twelve squares and discs in plain colors.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from transformers import CLIPConfig, CLIPModel, CLIPProcessor

import niwaki

COLORS = {"red": (0.9, 0.1, 0.1), "green": (0.1, 0.7, 0.2), "blue": (0.1, 0.2, 0.9), "yellow": (0.9, 0.9, 0.1),
          "black": (0.05, 0.05, 0.05), "white": (0.95, 0.95, 0.95)}  # fmt: skip
SHAPES = ("square", "disc")
PHRASES = (
    "a photo of a {}",
    "a picture of the {}",
    "{} on a table",
    "two of {}",
    "a drawing of a {}",
    "a {} at night",
)
THINGS = ("red square", "blue disc", "dog", "cat", "house", "tree", "street", "boat", "face", "flower", "plate", "car")

Text = dict[str, torch.Tensor]


def image_features(model: CLIPModel, pixel_values: torch.Tensor) -> torch.Tensor:
    """A picture as a direction: [batch, 3, height, width] to [batch, projection], of length 1."""
    return F.normalize(_plain(model.get_image_features(pixel_values=pixel_values)), dim=-1)


def text_features(model: CLIPModel, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
    """The same of sentences: [batch, length] twice to [batch, projection]."""
    return F.normalize(_plain(model.get_text_features(input_ids=input_ids, attention_mask=attention_mask)), dim=-1)


def _plain(found: Any) -> torch.Tensor:
    """What get_image_features returns is a tensor in some versions of transformers, and has one in others."""
    return found if isinstance(found, torch.Tensor) else found.pooler_output


def seeded_model() -> CLIPModel:
    """A CLIP of a few layers, with weights that nobody has trained."""
    torch.manual_seed(0)
    layers = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4}
    return CLIPModel(CLIPConfig(
        text_config={**layers, "vocab_size": 258, "max_position_embeddings": 64, "bos_token_id": 256,
                     "eos_token_id": 257, "pad_token_id": 257},
        vision_config={**layers, "image_size": 64, "patch_size": 16}, projection_dim=32,
    )).eval()  # fmt: skip


def seeded_read(sentences: list[str]) -> Text:
    """Bytes as words, for the model above."""
    rows = [[256, *sentence.encode()[:62], 257] for sentence in sentences]
    length = max(map(len, rows))
    ids = torch.tensor([row + [257] * (length - len(row)) for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (length - len(row)) for row in rows])
    return {"input_ids": ids, "attention_mask": mask}


def seeded_look(pictures: list[torch.Tensor]) -> torch.Tensor:
    """Pictures [3, height, width] of 0 to 1 at the size of the model above."""
    return torch.cat([F.interpolate(x[None] * 2 - 1, (64, 64), mode="bilinear", antialias=True) for x in pictures])


def plain_pictures() -> dict[str, torch.Tensor]:
    """Squares and discs by their names, 96 x 96."""
    at = torch.linspace(-1, 1, 96)
    inside = {"square": (at.abs() < 0.6)[:, None] & (at.abs() < 0.6), "disc": at[:, None] ** 2 + at**2 < 0.36}
    return {
        f"{color} {shape}": torch.where(inside[shape], torch.tensor(COLORS[color])[:, None, None], torch.tensor(0.5))
        for color, shape in itertools.product(COLORS, SHAPES)
    }


def read_pictures(folder: Path) -> dict[str, torch.Tensor]:
    """The pictures of a folder, by their names."""
    import numpy as np
    from PIL import Image

    found = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in (".jpg", ".jpeg", ".png", ".webp", ".bmp"):
            with Image.open(path) as picture:
                found[path.name] = torch.from_numpy(np.array(picture.convert("RGB"))).permute(2, 0, 1) / 255
    if not found:
        raise SystemExit(f"rank.py: there is no picture in {folder}")
    return found


def open_model(
    name: str | None,
) -> tuple[nn.Module, Callable[[list[torch.Tensor]], torch.Tensor], Callable[[list[str]], Text]]:
    """The model, what makes its input of pictures, and what makes it of sentences."""
    if name is None:
        return seeded_model(), seeded_look, seeded_read
    processor = CLIPProcessor.from_pretrained(name)

    def look(pictures: list[torch.Tensor]) -> torch.Tensor:
        found: torch.Tensor = processor(images=pictures, return_tensors="pt", do_rescale=False)["pixel_values"]
        return found

    def read(sentences: list[str]) -> Text:
        found = processor(text=sentences, return_tensors="pt", padding=True, truncation=True)
        return {name: found[name] for name in ("input_ids", "attention_mask")}

    return CLIPModel.from_pretrained(name).eval(), look, read


def captions() -> list[str]:
    """Sentences to calibrate with."""
    return [phrase.format(thing) for phrase, thing in itertools.product(PHRASES, THINGS)]


def batches(items: list[Any], size: int) -> list[list[Any]]:
    return [items[begin : begin + size] for begin in range(0, len(items), size)]


def compress_towers(
    model: nn.Module, pictures: list[torch.Tensor], sentences: list[Text], threads: int
) -> tuple[niwaki.Network, niwaki.Report]:
    """Both towers in int8, in one network.

    Args:
        model: a CLIPModel.
        pictures, sentences: batches of inputs of the two towers.
        threads: that work on a call.
    """
    towers = niwaki.EntryPoints(model, image=image_features, text=text_features)
    small, report = niwaki.compress(towers, {"image": pictures, "text": sentences}, progress=False)
    return niwaki.compile(small, {"image": pictures[0][:1], "text": sentences[0]}, threads=threads), report


def main(argv: list[str] | None = None) -> list[tuple[str, float]]:
    """Compresses, saves, loads, ranks and prints. Returns names and scores, the best first."""
    parser = argparse.ArgumentParser(description="Ranks pictures by how well a sentence describes them.")
    parser.add_argument("sentence")
    parser.add_argument("--pretrained", metavar="NAME_OR_FOLDER", help="a CLIP model that transformers knows")
    parser.add_argument("--pictures", type=Path, metavar="FOLDER", help="default: squares and discs")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--top", type=int, default=5, help="pictures to print (default: 5)")
    parser.add_argument("-o", "--output", type=Path, default=Path("clip.niwaki"), help="the file with both towers")
    args = parser.parse_args(argv)

    model, look, read = open_model(args.pretrained)
    pictures = plain_pictures() if args.pictures is None else read_pictures(args.pictures)
    inputs = [look(batch) for batch in batches(list(pictures.values())[:96], 4)]
    net, _ = compress_towers(model, inputs, [read(batch) for batch in batches(captions(), 4)], args.threads)
    net.save(args.output)
    floats = 4 * sum(parameter.numel() for parameter in model.parameters())
    print(f"{args.output}: {args.output.stat().st_size:,} bytes of {floats:,} in float32, {', '.join(net.entries)}")

    net = niwaki.load(args.output, threads=args.threads)
    words = read([args.sentence])
    with torch.inference_mode():
        wanted = text_features(model, **words)
        exact = [image_features(model, look([picture])) @ wanted[0] for picture in pictures.values()]
    asked = net["text"](**words)[0]
    scores = {name: float(net["image"](look([picture]))[0] @ asked) for name, picture in pictures.items()}
    ranked = sorted(scores.items(), key=lambda item: -item[1])
    before = dict(zip(pictures, exact, strict=True))
    print(f"'{args.sentence}'" + ("" if args.pretrained else ", with seeded weights: the order means nothing"))
    for name, score in ranked[: args.top]:
        print(f"  {score:.4f}  (float32 {float(before[name]):.4f})  {name}")
    return ranked


if __name__ == "__main__":
    main()
