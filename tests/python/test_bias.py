"""Bias correction: the means of the quantized network's channels are those of float32."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import niwaki
from niwaki.quantization.bias import Kept
from niwaki.quantization.inputs import Batch


def make_net() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 25, 6)
    )  # fmt: skip


def means(net: nn.Module, x: torch.Tensor) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = {}

    def watch(name: str) -> None:
        def hook(module: nn.Module, args: object, y: torch.Tensor) -> None:
            found[name] = y.mean((0, 2, 3)) if y.dim() == 4 else y.mean(0)

        net.get_submodule(name).register_forward_hook(hook)

    net = net.eval()
    for name in ("0", "2", "5"):
        watch(name)
    with torch.no_grad():
        net(x)
    return found


@pytest.mark.parametrize("observer", ["mse", "minmax"])
def test_means_of_all_layers_are_those_of_float32(observer: str) -> None:
    net, x = make_net(), torch.randn(48, 3, 7, 7)
    wanted = means(net, x)
    options = {"observer": observer, "per_channel": False}  # coarse, so that there is something to correct
    off, on = (
        niwaki.quantize(make_copy(net), x.split(16), niwaki.QuantizeConfig(correct_bias=flag, **options))
        for flag in (False, True)
    )
    found, corrected = means(off, x), means(on, x)
    for name, mean in wanted.items():
        # A bias is rounded, too, to steps of the sums.
        off_by, left = (float((value[name] - mean).abs().max()) for value in (found, corrected))
        assert left < 1e-4 < off_by and left < 0.25 * off_by
    assert torch.equal(on[0].weight, off[0].weight)


def make_copy(net: nn.Sequential) -> nn.Sequential:
    copied = make_net()
    copied.load_state_dict(net.state_dict())
    return copied


def test_layers_without_a_bias_and_layers_called_twice() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.plain, self.twice = nn.Linear(6, 6, bias=False), nn.Linear(6, 6)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.twice(self.twice(self.plain(x)).relu())

    net, x = Net().eval(), torch.randn(64, 6)
    small = niwaki.quantize(net, x)
    assert small.plain.bias is None
    with torch.no_grad():
        assert torch.allclose(small(x), net(x), atol=0.05)


def test_kept_joins_batches_of_one_shape() -> None:
    kept = Kept()
    stream = [Batch(i, (torch.full((n, 2), float(i)),), {"scale": 2.0}) for i, n in enumerate((3, 2, 1))]
    stream.insert(2, Batch(9, (torch.zeros(4, 3),), {"scale": 2.0}))
    assert list(kept.watch(stream)) == stream
    merged = kept.merged()
    assert merged.args[0][:, 0].tolist() == [0, 0, 0, 1, 1, 2] and merged.kwargs == {"scale": 2.0}
    many = Kept()
    list(many.watch(Batch(i, (torch.zeros(100, 2),), {}) for i in range(9)))
    assert many.merged().args[0].shape == (256, 2)
    vector = Kept()
    list(vector.watch([Batch(0, (torch.zeros(3),), {}), Batch(1, (torch.ones(3),), {})]))
    assert vector.merged().args[0].tolist() == [0, 0, 0]


def test_correct_bias_is_true_or_false() -> None:
    with pytest.raises(TypeError, match="correct_bias must be True or False"):
        niwaki.QuantizeConfig(correct_bias=1)  # type: ignore[arg-type]
