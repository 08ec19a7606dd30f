"""Further versions of images, for layers that see few of them."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from niwaki.layerwise import walk as walk_file
from niwaki.layerwise.versions import are_images, vary, versions_of
from niwaki.layerwise.walk import Visit, Walk
from niwaki.pruning.left_out import LeftOut
from niwaki.quantization.inputs import Batch


class Net(nn.Module):
    """A convolution that sees enough, and a wide one and a linear layer that do not."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.wide, self.fc = nn.Conv2d(3, 64, 3, 2), nn.Conv2d(64, 48, 1), nn.Linear(48, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(torch.relu(self.wide(torch.relu(self.stem(x)))).mean((2, 3)))


def _net() -> Net:
    torch.manual_seed(0)
    return Net().eval().requires_grad_(False)


def _batches(count: int = 4, size: int = 5) -> list[Batch]:
    x = torch.randn(count, size, 3, 20, 24, generator=torch.Generator().manual_seed(1))
    return [Batch(i, (part,), {}) for i, part in enumerate(x)]


def _varied(x: torch.Tensor, seed: int = 0, mirrored: bool = True) -> torch.Tensor:
    return vary(x, torch.Generator().manual_seed(seed), mirrored=mirrored)


def test_versions_hold_parts_of_their_images() -> None:
    ramp = torch.linspace(-1, 1, 32).expand(64, 3, 32, 32).contiguous()
    found = _varied(ramp, mirrored=False)
    assert found.shape == ramp.shape and torch.equal(found, _varied(ramp, mirrored=False))
    assert not torch.equal(found, _varied(ramp, seed=1, mirrored=False))
    assert float(found.min()) >= -1 and float(found.max()) <= 1
    slopes = found[:, 0, 0].diff(dim=1)
    assert float(slopes.min()) > 0  # larger than life, never mirrored
    widths = slopes.mean(1) / ramp[0, 0, 0].diff().mean()
    assert 0.3 < float(widths.min()) < 0.7 and float(widths.max()) > 0.9
    assert bool((_varied(ramp)[:, 0, 0].diff(dim=1).mean(1) < 0).any())


def test_some_are_mixed_with_those_on_the_same_side() -> None:
    """The last fourth of a batch may be left out of fitting: nothing of it may be in the others."""
    x = torch.ones(8, 1, 16, 16) * torch.tensor([1.0, 2, 3, 4, 5, 6, 100, 200])[:, None, None, None]
    levels = torch.cat([_varied(x, seed)[:, 0, 0, 0] for seed in range(20)]).reshape(20, 8)
    assert float(levels[:, :6].max()) <= 6.001 and float(levels[:, 6:].min()) >= 99.9
    own = (levels - torch.tensor([1.0, 2, 3, 4, 5, 6, 100, 200])).abs() < 1e-3
    assert 0.3 < float(own.float().mean()) < 0.7


def test_only_images_have_versions() -> None:
    image = torch.randn(2, 3, 16, 16)
    assert are_images(Batch(0, (image,), {}))
    for other in (image[:, :2], image[..., :12], image[0], image.long(), torch.randn(2, 16, 16, 3)):
        assert not are_images(Batch(0, (other,), {}))
    assert not are_images(Batch(0, (image, image), {}))
    tokens = Batch(1, (torch.randn(2, 7, 3),), {})
    assert not list(versions_of(_net(), [*_batches(), tokens]))


def test_there_are_so_many_that_inputs_are_enough() -> None:
    net = _net()
    assert len(list(versions_of(net, _batches(2)))) == 2 * 9
    many = [Batch(i, (torch.randn(512, 3, 16, 16),), {}) for i in range(2)]
    assert [origin for origin, _ in versions_of(net, many)] == [0, 1]
    assert not list(versions_of(net, many * 2))


def test_images_are_mirrored_where_answers_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    class Side(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x[..., :4].mean((1, 2, 3))[:, None] - x[..., -4:].mean((1, 2, 3))[:, None]

    seen: list[bool] = []

    def watched(x: torch.Tensor, generator: torch.Generator, *, mirrored: bool) -> torch.Tensor:
        seen.append(mirrored)
        return vary(x, generator, mirrored=mirrored)

    monkeypatch.setattr("niwaki.layerwise.versions.vary", watched)
    next(versions_of(nn.AdaptiveAvgPool2d(1), _batches()))
    next(versions_of(Side(), _batches()))
    assert seen == [True, False]


def _visits(net: nn.Module, batches: list[Batch], change: bool = False, **options: int) -> dict[str, Visit]:
    found: dict[str, Visit] = {}

    def visit(seen: Visit) -> None:
        found[seen.name] = seen
        if change:
            seen.layer.weight.mul_(0.5)

    Walk(net, batches, vary=True, **options).run(visit)
    return found


def test_layers_that_see_few_inputs_see_versions_of_them() -> None:
    net, batches = _net(), _batches()
    seen = _visits(net, batches, change=True)
    assert not seen["stem"].varied and len(seen["stem"].inputs) == 4  # 20 inputs, 27 weights of an output
    assert seen["wide"].varied and len(seen["wide"].inputs) == len(seen["fc"].inputs) == 4 * 10
    assert list(seen["wide"].origins) == [0, 1, 2, 3] * 10
    versions = [batch for _, batch in versions_of(_net(), batches)]
    x = torch.cat([batch.args[0] for batch in (*batches, *versions)])
    before = _net()
    torch.testing.assert_close(torch.cat(list(seen["wide"].references)), torch.relu(before.stem(x)))
    torch.testing.assert_close(torch.cat(list(seen["wide"].inputs)), torch.relu(net.stem(x)))
    torch.testing.assert_close(
        torch.cat(list(seen["fc"].inputs)), torch.relu(net.wide(torch.relu(net.stem(x)))).mean((2, 3))
    )
    assert not any(visit.varied for visit in _visits(net, _batches(10, 40)).values())


def test_versions_are_as_many_as_fit_the_memory() -> None:
    net, batches = _net(), _batches()
    one = 2 * walk_file._peak(Walk(net, batches[:1])._graphs[0])
    seen = _visits(net, batches, memory=10 * one)
    count = len(seen["wide"].inputs)
    assert 4 < count < 40 and len(seen["fc"].inputs) == 40
    # The second convolution reads 64 channels of 9 x 11, writes 48, and there are two networks.
    assert count * 2 * 5 * 4 * 9 * 11 * (64 + 48) <= 10 * one


def test_all_versions_of_an_input_are_left_out_together() -> None:
    net = _net()
    seen = _visits(net, _batches())["fc"]
    left = LeftOut(seen)
    kept = {x.data_ptr() for x in left.fitted.inputs}
    assert [x.data_ptr() in kept for x in seen.inputs] == [True, True, True, False] * 10


def test_without_leave_there_are_none() -> None:
    found: list[Visit] = []
    Walk(_net(), _batches()).run(found.append)
    assert not any(visit.varied for visit in found)
