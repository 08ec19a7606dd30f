"""A text encoder of MiniLM-L6's sizes with seeded weights, of which only the speed and the size mean anything."""

from __future__ import annotations

import torch
from peers.networks import prune
from torch import nn
from torch.nn import functional as F

WORDS, POSITIONS, WIDTH, HEADS, INNER, DEPTH = 30522, 512, 384, 12, 1536, 6


class Layer(nn.Module):
    """BERT's: attention and a feed-forward part, each followed by its shortcut and a norm."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(WIDTH, WIDTH) for _ in range(3))
        self.project = nn.Linear(WIDTH, WIDTH)
        self.up, self.down = nn.Linear(WIDTH, INNER), nn.Linear(INNER, WIDTH)
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH, eps=1e-12), nn.LayerNorm(WIDTH, eps=1e-12)

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        q, k, v = (layer(x).unflatten(2, (HEADS, -1)).transpose(1, 2) for layer in (self.query, self.key, self.value))
        attended = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        x = self.norm1(x + self.project(attended.transpose(1, 2).flatten(2)))
        return self.norm2(x + self.down(F.gelu(self.up(x))))


class Encoder(nn.Module):
    """Token ids and a mask, int64 [N, T] each, 1 <= T <= 512, to the mean of the tokens, float32 [N, 384]."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.positions = nn.Embedding(WORDS, WIDTH), nn.Embedding(POSITIONS, WIDTH)
        self.norm = nn.LayerNorm(WIDTH, eps=1e-12)
        self.layers = nn.ModuleList(Layer() for _ in range(DEPTH))

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        x = self.norm(self.words(ids) + self.positions(torch.arange(ids.shape[1], device=ids.device)))
        for layer in self.layers:
            x = layer(x, mask.bool()[:, None, None])
        weights = mask[..., None].to(x.dtype)
        return F.normalize((x * weights).sum(1) / weights.sum(1).clamp_min(1e-9), dim=1)


def build(zeros: float = 0.0) -> Encoder:
    """The encoder in eval mode.

    Args:
        zeros: the share of the blocks of four of each linear layer that are zero, those with the least magnitudes.
    """
    torch.manual_seed(0)
    encoder = Encoder().eval()
    for module in encoder.modules():
        if isinstance(module, nn.Linear) and zeros:
            prune(module.weight.data[:, :, None, None], zeros, 4)
    return encoder


def inputs(tokens: int, batch: int = 1, seed: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    """Seeded ids and a mask of ones, int64 [batch, tokens]."""
    ids = torch.randint(0, WORDS, (batch, tokens), generator=torch.Generator().manual_seed(seed))
    return ids, torch.ones_like(ids)
