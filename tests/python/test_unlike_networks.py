"""Small networks unlike each other, whole: compiled, saved, loaded, and compared with their modules at other sizes."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from lowered import Of, agree
from torch import nn
from torch.nn import functional as F
from torch.utils import _pytree as pytree

import niwaki


class Stepped(nn.Module):
    """A cell that reads the mean of what it attends to, three times."""

    def __init__(self) -> None:
        super().__init__()
        self.cell, self.key = nn.GRUCell(8, 8), nn.Linear(8, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        state = x.mean(1)
        for _ in range(3):
            weight = (self.key(x) @ state[..., None]).softmax(1)
            state = self.cell((weight * x).sum(1), state)
        return state


class Unrolled(nn.Module):
    """Six steps of a cell of each kind, their states beside each other."""

    def __init__(self) -> None:
        super().__init__()
        self.cells = nn.ModuleList([nn.LSTMCell(5, 7), nn.GRUCell(5, 7, bias=False), nn.RNNCell(5, 7, True, "relu")])

    def forward(self, x: torch.Tensor) -> Any:
        found: list[torch.Tensor] = []
        for cell in self.cells:
            zeros = x.new_zeros(x.shape[0], 7)
            state: Any = (zeros, zeros) if isinstance(cell, nn.LSTMCell) else zeros
            for step in range(6):
                state = cell(x[:, step], state)
            found += state if isinstance(state, tuple) else [state]
        return {"all": torch.stack(found, 1), "last": (found[-1], None)}


class Latent(nn.Module):
    """Heads that share a rotated key, of latents; causal where there is more than one token."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.down, self.up, self.norm = nn.Linear(8, 16), nn.Linear(8, 8), nn.Linear(4, 16), nn.RMSNorm(4)

    def forward(self, x: torch.Tensor, angle: torch.Tensor) -> torch.Tensor:
        batch, length, _ = x.shape
        latent, key = self.down(x).split([4, 4], -1)
        q = self.q(x).view(batch, length, 2, 8).transpose(1, 2)
        k, v = self.up(self.norm(latent)).view(batch, length, 2, 8).transpose(1, 2).chunk(2, -1)
        cos, sin = angle.cos()[:, None], angle.sin()[:, None]
        half = lambda y: torch.cat([-y[..., 2:], y[..., :2]], -1)  # noqa: E731
        turned = [y * cos + half(y) * sin for y in (q[..., 4:], key[:, None])]
        k = torch.cat([k, turned[1].expand(-1, 2, -1, -1)], -1)
        q = torch.cat([q[..., :4], turned[0]], -1)
        return F.scaled_dot_product_attention(q, k, v, is_causal=length > 1).transpose(1, 2).flatten(2)


class Line(nn.Module):
    """A line of text, of which the convolutions leave one row."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(4), nn.Conv2d(4, 6, (2, 1)))
        self.rnn = nn.LSTM(6, 5, bidirectional=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv(x)
        height = x.shape[2]
        if height != 1:
            raise ValueError("one row is expected")
        return self.rnn(x.squeeze(2).permute(2, 0, 1))[0]


class Filter(nn.Module):
    """A filter as long as the signal, of decaying waves, by spectra of twice the length."""

    def __init__(self) -> None:
        super().__init__()
        self.rate, self.wave = nn.Parameter(torch.rand(3, 2)), nn.Parameter(torch.rand(3, 2) * 3)
        self.mix = nn.Parameter(torch.randn(3, 2, 2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        length = x.shape[-1]
        turns = (-self.rate.exp() + 1j * self.wave)[..., None] * torch.arange(length)
        kernel = 2 * torch.einsum("hn,hnl->hl", torch.view_as_complex(self.mix), turns.exp()).real
        found = torch.fft.rfft(x, n=2 * length) * torch.fft.rfft(kernel, n=2 * length)
        return torch.fft.irfft(found, n=2 * length)[..., :length]


def grown(x: torch.Tensor) -> torch.Tensor:
    """Each channel by itself, of as many as there are."""
    return F.conv2d(x, torch.ones(3, 1, 2, 2), groups=x.shape[1], stride=x.shape[1] - 1)


def canvas(x: torch.Tensor) -> torch.Tensor:
    """Writes into parts of what it made."""
    y = torch.zeros(x.shape[0], x.shape[1] + 2, x.shape[2])
    y[:, 1:-1] = x
    y[:, -1] = x.sum(1)
    y.transpose(1, 2)[..., 0].copy_(x[:, 0].exp())
    y[..., ::2] += 1
    y.chunk(2, 2)[0].mul_(0.5)
    return y.clamp_(-3, 3)


def windows(x: torch.Tensor) -> torch.Tensor:
    """Shifted windows of 2 x 2 pixels, as Swin cuts them, of images padded to whole ones."""
    x = F.pad(x, (0, (-x.shape[-1]) % 2, 0, (2 - x.shape[-2] % 2) % 2)).roll((-1, 1), (2, -1))
    return x.unflatten(2, (-1, 2)).unflatten(4, (-1, 2)).permute(0, 2, 4, 3, 5, 1).flatten(0, 2).softmax(-2)


def near(x: torch.Tensor, keep: torch.Tensor) -> torch.Tensor:
    """Attention to what is near and kept; rows that see nothing are no numbers."""
    places = torch.arange(x.shape[1])
    far = (places[:, None] - places).abs() > 1
    scores = torch.einsum("bid,bjd->bij", x, x) / math.sqrt(x.shape[-1])
    return scores.masked_fill(far | ~keep[:, None], -math.inf).softmax(-1) @ x


def ranked(x: torch.Tensor) -> Any:
    order = x.argsort(-1, descending=True)
    best, places = x.topk(3, -2, largest=False)
    onehot = F.one_hot(x.argmax(-1) % 4, 4).float().mean(1)
    return x.gather(-1, order)[..., ::2], best, places, onehot, x.kthvalue(2, 1)[0], x.diff(dim=-1).cummax(1)[0]


def counted(ids: torch.Tensor) -> Any:
    """Integers that wrap around, round down and are compared."""
    hashed = (ids * 2654435761 + 40503) % 1009
    small = ids.int()
    return hashed, -ids // 4, ids.remainder(-3), small * 70000 * 70000, (ids > 5).sum(1), ids.float().mean(-1)


def nothing(x: torch.Tensor) -> Any:
    """Reductions of no elements, and of one."""
    none = x[:, :0]
    return (
        none.sum(1),
        none.mean(1),
        none.prod(1),
        none.logsumexp(1),
        none.all(1),
        x[:, :1].var(1, correction=0),
        none.norm(dim=1),
    )


def images(channels: int) -> list[tuple[torch.Tensor]]:
    return [(torch.randn(2 + i, channels, *size),) for i, size in enumerate([(9, 7), (12, 11), (5, 8)])]


def shapes(*sizes: tuple[int, ...]) -> list[tuple[torch.Tensor]]:
    return [(torch.randn(size),) for size in sizes]


def signal(x: torch.Tensor) -> Any:
    spectrum = torch.fft.rfft(x * torch.linspace(0.1, 1, x.shape[-1]), dim=-1).abs()
    return (spectrum + 1e-3).log().unfold(-1, 3, 2).mean(-1), x.cumsum(-1).flip(-1)


NETWORKS: dict[str, tuple[Any, list[tuple[torch.Tensor, ...]]]] = {
    "attends and steps": (Stepped, shapes((2, 5, 8), (1, 9, 8), (3, 1, 8))),
    "cells in loops": (Unrolled, shapes((2, 6, 5), (5, 6, 5))),
    "writes into a canvas": (lambda: Of(canvas), shapes((2, 3, 4), (4, 5, 3))),
    "shifted windows": (lambda: Of(windows), images(3)),
    "masks near and far": (lambda: Of(near), [
        (torch.randn(2, 6, 4), torch.ones(2, 6).bool()), (torch.randn(1, 9, 4), torch.arange(9)[None] > 3)]),
    "order": (lambda: Of(ranked), shapes((2, 5, 7), (1, 6, 9))),
    "integers": (lambda: Of(counted), [(torch.randint(-99, 99, (3, 4)),), (torch.randint(-9, 1 << 40, (2, 7)),)]),
    "nothing": (lambda: Of(nothing), shapes((2, 3, 4), (1, 5, 2))),
    "sound": (lambda: Of(signal), shapes((2, 16), (1, 33))),
    "every padding": (lambda: nn.Sequential(
        nn.Conv2d(4, 6, (3, 2), 2, (2, 1), 2, 2, padding_mode="reflect"), nn.PReLU(6),
        nn.Conv2d(6, 6, 4, padding="same", groups=3, padding_mode="circular"), nn.GroupNorm(3, 6), nn.Mish(),
        nn.ConvTranspose2d(6, 4, 3, (3, 2), 1, (2, 1), 2, dilation=2), nn.Conv2d(4, 3, 2, padding=1,
        padding_mode="replicate")), images(4)),
    "pools to odd sizes": (lambda: Of(lambda x: (
        F.adaptive_avg_pool2d(x, (5, 3)), F.adaptive_max_pool2d(x, (None, 4)), F.adaptive_avg_pool2d(x, 13),
        F.avg_pool2d(x, (3, 2), (2, 3), (1, 0), ceil_mode=True, count_include_pad=False),
        F.lp_pool2d(x.abs(), 3, 2, 1))), images(3)),
    "resizes": (lambda: Of(lambda x: [
        F.interpolate(x, scale_factor=(1.7, 0.6), mode="bicubic"),
        F.interpolate(x, scale_factor=0.6, mode="bilinear", recompute_scale_factor=True),
        F.interpolate(x, size=(2 * x.shape[2] - 1, 5), mode="bilinear", align_corners=True),
        F.interpolate(x, size=(4, 3), mode="bilinear", antialias=True), F.interpolate(x, scale_factor=1.5),
        F.interpolate(x, size=(4, 3), mode="area")]), images(3)),
    "shuffles and columns": (lambda: Of(lambda x: (
        F.pixel_unshuffle(F.pixel_shuffle(x, 2), 4), F.channel_shuffle(x, 2), x.rot90(1, (2, 3)),
        F.fold(F.unfold(x, 3, 1, 1), x.shape[-2:], 3, padding=1))), shapes((2, 8, 6, 4), (1, 8, 2, 8))),
    "einsums": (lambda: Of(lambda x, y: (
        torch.einsum("...ij,...kj->...ik", x, y), torch.einsum("bii->bi", x @ x.mT), torch.einsum("abc->b", x),
        torch.einsum("bij,bkj,bi->bk", x, y, x[..., 0]))), [
        (torch.randn(2, 4, 5), torch.randn(2, 6, 5)), (torch.randn(1, 2, 5), torch.randn(1, 7, 5))]),
    "seven axes": (lambda: Of(lambda x, y: (x * y).sum((-2, -5)).amax(1).movedim(-1, -3)), [
        (torch.randn(2, 1, 3, 1, 2, 1, 4), torch.randn(3, 1, 5, 1, 3, 1)),
        (torch.randn(3, 1, 3, 1, 2, 1, 2), torch.randn(3, 1, 2, 1, 3, 1))]),
    "a guided step": (lambda: Of(lambda x, t: x + torch.cat(
        [(t[:, None] * torch.arange(4)).sin(), (t[:, None] * torch.arange(4)).cos()], -1)[:, :, None, None]), [
        (torch.randn(2, 8, 4, 5), torch.rand(2)), (torch.randn(1, 8, 6, 6), torch.rand(1))]),
    "latents": (Latent, [(torch.randn(b, n, 8), torch.randn(b, n, 4)) for b, n in ((2, 5), (1, 9), (3, 1))]),
    "a line": (Line, shapes((2, 1, 8, 20), (1, 1, 8, 20), (3, 1, 11, 33))),
    "a long filter": (Filter, shapes((2, 3, 8), (1, 3, 8), (2, 3, 13))),
    "channels by themselves": (lambda: Of(grown), images(3)),
    "norms": (lambda: nn.Sequential(
        nn.LayerNorm((3, 4)), nn.InstanceNorm1d(3, affine=True), nn.BatchNorm1d(3, track_running_stats=False),
        nn.RMSNorm(4), nn.Softmin(-2)), shapes((2, 3, 4), (5, 3, 4))),
}  # fmt: skip


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_unlike_each_other(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    make, calls = NETWORKS[name]
    module = make().eval()
    net = niwaki.compile(module, calls[0], threads=1)
    assert not net.plan.torch
    net.save(tmp_path / "network.niwaki")
    loaded = niwaki.load(tmp_path / "network.niwaki", threads=1)
    for call in calls:
        given = [x.clone() for x in call]
        with torch.no_grad():
            wanted = [leaf for leaf in pytree.tree_leaves(module(*given)) if isinstance(leaf, torch.Tensor)]
        for each in (net, loaded):
            found = [leaf for leaf in pytree.tree_leaves(each(*call)) if isinstance(leaf, torch.Tensor)]
            agree(found, wanted, 3e-5)
