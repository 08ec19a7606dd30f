"""Networks of niwaki's own that hear and draw: dense prediction and sound, small, as the well-known ones are built."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F


def _conv(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    """A convolution, its batch norm and SiLU, as YOLO's are."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(outputs), nn.SiLU()
    )


class UNet(nn.Module):
    """Images float32 [N, 3, H, W] to a logit for each class and pixel, [N, classes, H, W]; sides in eights.

    Args:
        classes: of pixels.
        width: channels of the first level; each of the three others has twice as many.
        resize: up by bilinear resizing and a convolution, else by transposed convolutions.
    """

    def __init__(self, classes: int = 3, width: int = 16, resize: bool = False) -> None:
        super().__init__()
        widths = [width << level for level in range(4)]
        self.down = nn.ModuleList(self._double(a, b) for a, b in zip([3, *widths], widths, strict=False))
        self.up = nn.ModuleList(
            nn.Sequential(nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False), nn.Conv2d(b, a, 1))
            if resize
            else nn.ConvTranspose2d(b, a, 2, 2)
            for a, b in itertools.pairwise(widths)
        )
        self.joined = nn.ModuleList(self._double(2 * a, a) for a in widths[:-1])
        self.head = nn.Conv2d(width, classes, 1)

    @staticmethod
    def _double(inputs: int, outputs: int) -> nn.Sequential:
        return nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(),
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(),
        )  # fmt: skip

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        levels: list[torch.Tensor] = []
        for double in self.down:
            x = double(F.max_pool2d(x, 2) if levels else x)
            levels.append(x)
        for level in (2, 1, 0):
            x = self.joined[level](torch.cat([levels[level], self.up[level](x)], 1))
        found: torch.Tensor = self.head(x)
        return found


class _Split(nn.Module):
    """YOLO's C2f: half of the channels goes through bottlenecks, and whatever came about is joined."""

    def __init__(self, inputs: int, outputs: int, count: int = 1, shortcut: bool = True) -> None:
        super().__init__()
        half = outputs // 2
        self.first, self.last = _conv(inputs, outputs, 1), _conv((2 + count) * half, outputs, 1)
        self.inner = nn.ModuleList(nn.Sequential(_conv(half, half), _conv(half, half)) for _ in range(count))
        self.shortcut = shortcut

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        parts = list(self.first(x).chunk(2, 1))
        for inner in self.inner:
            made = inner(parts[-1])
            parts.append(parts[-1] + made if self.shortcut else made)
        found: torch.Tensor = self.last(torch.cat(parts, 1))
        return found


class Yolo(nn.Module):
    """A detector as YOLOv8 is built: images float32 [N, 3, H, W] to boxes and scores; sides in sixteens.

    Boxes are float32 [N, A, 4], left, top, right and bottom in pixels, scores [N, A, classes], 0 to 1, for A = H W / 64
    + H W / 256 places. A side of a box is the mean of a distribution over `bins` distances, in strides. Which boxes are
    the same object (NMS) depends on values: that is for who reads them.
    """

    strides = (8, 16)

    def __init__(self, classes: int = 3, width: int = 16, bins: int = 8) -> None:
        super().__init__()
        self.bins = bins
        self.stem = nn.Sequential(_conv(3, width, 3, 2), _conv(width, 2 * width, 3, 2), _Split(2 * width, 2 * width))
        self.near = nn.Sequential(_conv(2 * width, 4 * width, 3, 2), _Split(4 * width, 4 * width))
        self.far = nn.Sequential(_conv(4 * width, 8 * width, 3, 2), _Split(8 * width, 8 * width))
        self.before, self.after = _conv(8 * width, 4 * width, 1), _conv(16 * width, 8 * width, 1)
        self.up = _Split(8 * width, 4 * width, shortcut=False)
        self.down = _conv(4 * width, 4 * width, 3, 2)
        self.joined = _Split(12 * width, 8 * width, shortcut=False)
        channels = (4 * width, 8 * width)
        self.sides = nn.ModuleList(nn.Sequential(_conv(c, 32), nn.Conv2d(32, 4 * bins, 1)) for c in channels)
        self.kinds = nn.ModuleList(nn.Sequential(_conv(c, 32), nn.Conv2d(32, classes, 1)) for c in channels)

    def _pooled(self, x: torch.Tensor) -> torch.Tensor:
        """Pools of three sizes beside each other, each of the one before."""
        parts = [self.before(x)]
        for _ in range(3):
            parts.append(F.max_pool2d(parts[-1], 5, 1, 2))
        found: torch.Tensor = self.after(torch.cat(parts, 1))
        return found

    def heads(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Logits of distances [N, A, 4, bins] and of classes [N, A, classes]; x, y and stride of each place, [A, 3]."""
        near = self.near(self.stem(x))
        far = self._pooled(self.far(near))
        near = self.up(torch.cat([F.interpolate(far, scale_factor=2.0)[:, : near.shape[1]], near], 1))
        far = self.joined(torch.cat([self.down(near), far], 1))
        sides, kinds, places = [], [], []
        for level, side, kind, stride in zip((near, far), self.sides, self.kinds, self.strides, strict=True):
            sides.append(side(level).flatten(2).transpose(1, 2).unflatten(2, (4, self.bins)))
            kinds.append(kind(level).flatten(2).transpose(1, 2))
            rows, columns = ((torch.arange(size) + 0.5) * stride for size in level.shape[2:])
            x_of, y_of = columns.expand(len(rows), -1), rows[:, None].expand(-1, len(columns))
            places.append(torch.stack([x_of, y_of, torch.full_like(x_of, stride)], -1).flatten(0, 1))
        return torch.cat(sides, 1), torch.cat(kinds, 1), torch.cat(places)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        sides, kinds, places = self.heads(x)
        return self.boxes(sides, places), kinds.sigmoid()

    def boxes(self, sides: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
        """Of the logits of distances, [N, A, 4] in pixels."""
        distances = sides.softmax(3) @ torch.arange(self.bins, dtype=torch.float32)
        distances = distances * places[:, 2:]
        return torch.cat([places[:, :2] - distances[..., :2], places[:, :2] + distances[..., 2:]], -1)


class Conformer(nn.Module):
    """Sound float32 [N, samples] at 16 kHz to a logit for each of `outputs` letters, 25 times in a second.

    A Fourier transform by a convolution, the logarithm of 40 bands, two convolutions with stride 2, Conformer blocks:
    half a feed-forward layer, attention, convolutions along time with a gate, half a feed-forward layer.
    """

    def __init__(self, outputs: int = 29, width: int = 64, blocks: int = 1, heads: int = 4) -> None:
        super().__init__()
        time, frequency = torch.arange(400), torch.arange(201)[:, None]
        angle = 2 * torch.pi * frequency * time / 400
        window = torch.hann_window(400)
        self.register_buffer("waves", torch.cat([angle.cos() * window, angle.sin() * window])[:, None])
        centers = torch.linspace(2, 190, 40)[:, None]
        self.register_buffer("bands", (1 - (torch.arange(201) - centers).abs() / 6).clamp(0))
        self.front = nn.Sequential(nn.Conv2d(1, 16, 3, 2, 1), nn.ReLU(), nn.Conv2d(16, 16, 3, 2, 1), nn.ReLU())
        self.into = nn.Linear(160, width)
        self.blocks = nn.ModuleList(_ConformerBlock(width, heads) for _ in range(blocks))
        self.out = nn.Linear(width, outputs)

    def forward(self, sound: torch.Tensor) -> torch.Tensor:
        parts = F.conv1d(sound[:, None], self.waves, stride=160).square()
        power = parts[:, :201] + parts[:, 201:]
        x = self.front((self.bands @ power + 1e-3).log().transpose(1, 2)[:, None])
        x = self.into(x.transpose(1, 2).flatten(2))
        for block in self.blocks:
            x = block(x)
        found: torch.Tensor = self.out(x)
        return found


class _ConformerBlock(nn.Module):
    def __init__(self, width: int, heads: int, kernel: int = 15) -> None:
        super().__init__()
        self.feeds = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.SiLU(), nn.Linear(4 * width, width))
            for _ in range(2)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.convolution = nn.Sequential(
            nn.Conv1d(width, 2 * width, 1), nn.GLU(1),
            nn.Conv1d(width, width, kernel, padding=kernel // 2, groups=width),
            nn.BatchNorm1d(width), nn.SiLU(), nn.Conv1d(width, width, 1),
        )  # fmt: skip

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + 0.5 * self.feeds[0](x)
        y = self.norms[0](x)
        x = x + self.attention(y, y, y, need_weights=False)[0]
        x = x + self.convolution(self.norms[1](x).transpose(1, 2)).transpose(1, 2)
        found: torch.Tensor = self.norms[2](x + 0.5 * self.feeds[1](x))
        return found


class WaveNet(nn.Module):
    """Sound float32 [N, 1, samples] to logits of 256 levels for each sample, each of those before it alone.

    Layers of gated causal convolutions whose dilation doubles; each gives to the sum of all, and to the next.
    """

    def __init__(self, width: int = 24, layers: int = 8, levels: int = 256) -> None:
        super().__init__()
        self.first = nn.Conv1d(1, width, 1)
        self.gated = nn.ModuleList(nn.Conv1d(width, 2 * width, 2, dilation=1 << i) for i in range(layers))
        self.skips = nn.ModuleList(nn.Conv1d(width, width, 1) for _ in range(layers))
        self.rests = nn.ModuleList(nn.Conv1d(width, width, 1) for _ in range(layers))
        self.last = nn.Sequential(nn.ReLU(), nn.Conv1d(width, 64, 1), nn.ReLU(), nn.Conv1d(64, levels, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x)
        total = torch.zeros_like(x)
        for gated, skip, rest in zip(self.gated, self.skips, self.rests, strict=True):
            a, b = gated(F.pad(x, (gated.dilation[0], 0))).chunk(2, 1)
            y = a.tanh() * b.sigmoid()
            total = total + skip(y)
            x = x + rest(y)
        found: torch.Tensor = self.last(total)
        return found


class Vocoder(nn.Module):
    """As HiFi-GAN's generator: bands float32 [N, 80, frames] to sound [N, 1, 256 frames], -1 to 1.

    Args:
        width: channels before the first transposed convolution; each of these halves them.
        rates: how many steps each makes of one.
    """

    def __init__(self, width: int = 64, rates: Sequence[int] = (8, 8, 2, 2)) -> None:
        super().__init__()
        self.first = nn.Conv1d(80, width, 7, padding=3)
        widths = [width >> level for level in range(len(rates) + 1)]
        self.ups = nn.ModuleList(
            nn.ConvTranspose1d(a, b, 2 * rate, rate, padding=rate // 2)
            for a, b, rate in zip(widths, widths[1:], rates, strict=False)
        )
        self.fields = nn.ModuleList(
            nn.ModuleList(_Field(channels, kernel) for kernel in (3, 7)) for channels in widths[1:]
        )
        self.last = nn.Conv1d(widths[-1], 1, 7, padding=3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x)
        for up, fields in zip(self.ups, self.fields, strict=True):
            x = up(F.leaky_relu(x, 0.1))
            made = [field(x) for field in fields]
            x = sum(made[1:], made[0]) / len(made)
        found: torch.Tensor = self.last(F.leaky_relu(x)).tanh()
        return found


class _Field(nn.Module):
    """Convolutions of growing dilation, each with a shortcut."""

    def __init__(self, channels: int, kernel: int, dilations: Sequence[int] = (1, 3)) -> None:
        super().__init__()
        self.wide = nn.ModuleList(
            nn.Conv1d(channels, channels, kernel, dilation=d, padding=d * (kernel // 2)) for d in dilations
        )
        self.plain = nn.ModuleList(nn.Conv1d(channels, channels, kernel, padding=kernel // 2) for _ in dilations)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for wide, plain in zip(self.wide, self.plain, strict=True):
            x = x + plain(F.leaky_relu(wide(F.leaky_relu(x, 0.1)), 0.1))
        return x


class Voice(nn.Module):
    """A detector of voice: STFT by a convolution, causal convolutions, an LSTM. [N, length] to [N, length / 256, 1]."""

    def __init__(self, window: int = 256, hop: int = 128) -> None:
        super().__init__()
        self.bins = window // 2 + 1
        angles = 2 * torch.pi * torch.arange(self.bins)[:, None] * torch.arange(window) / window
        self.stft = nn.Conv1d(1, 2 * self.bins, window, stride=hop, bias=False)
        waves = torch.cat([torch.cos(angles), -torch.sin(angles)]) * torch.hann_window(window)
        self.stft.weight.data.copy_(waves[:, None])
        self.front = window - hop
        self.first = nn.Conv1d(self.bins, 64, 3)
        self.second = nn.Conv1d(64, 64, 3, stride=2)
        self.third = nn.Conv1d(64, 64, 3, dilation=2)
        self.lstm = nn.LSTM(64, 96, 2, batch_first=True)
        self.out = nn.Linear(96, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        spectrum = self.stft(F.pad(x[:, None], (self.front, 0)))
        size = torch.sqrt(spectrum[:, : self.bins] ** 2 + spectrum[:, self.bins :] ** 2 + 1e-6)
        h = F.relu(self.first(F.pad(size, (2, 0))))
        h = F.relu(self.second(F.pad(h, (1, 0))))
        h = h + F.relu(self.third(F.pad(h, (4, 0))))
        return torch.sigmoid(self.out(self.lstm(h.transpose(1, 2))[0]))


class Lengths(nn.Module):
    """Tags of words in sentences of different lengths, whose padding two directions never see: packed sequences."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(100, 32)
        self.lstm = nn.LSTM(32, 48, 2, batch_first=True, bidirectional=True)
        self.out = nn.Linear(96, 10)

    def forward(self, ids: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        packed = nn.utils.rnn.pack_padded_sequence(self.embed(ids), lengths, batch_first=True, enforce_sorted=False)
        packed, (last, _) = self.lstm(packed)
        y, _ = nn.utils.rnn.pad_packed_sequence(packed, batch_first=True, total_length=ids.shape[1])
        return self.out(y), last
