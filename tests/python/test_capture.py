"""capture: graphs of modules, and names that stay the same."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import niwaki
from niwaki._compat import import_torchvision
from niwaki.capture import capture, evaluating, shapes_of


class Net(nn.Module):
    """A residual block, literal sizes, an operation in place, and dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3, padding=1)
        self.bn = nn.BatchNorm2d(8)
        self.conv2 = nn.Conv2d(8, 8, 3, padding=1)
        self.drop = nn.Dropout()
        self.fc = nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = F.relu(self.bn(self.conv1(x)), inplace=True)
        y = y + self.conv2(y)
        n, c, h, w = y.shape
        y = y.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)
        return self.fc(self.drop(F.adaptive_avg_pool2d(y, 1).view(y.size(0), -1)))


def names(module: nn.Module, x: torch.Tensor) -> list[str]:
    return [node.name for node in capture(module, (x,)).module(check_guards=False).graph.nodes]


@pytest.mark.parametrize("again", [(2, 3, 8, 8), (1, 3, 8, 8), (5, 3, 8, 8), (3, 3, 13, 17), (1, 3, 33, 33)])
def test_names_are_the_same_for_every_batch_and_image_size(again: tuple[int, ...]) -> None:
    x = torch.randn(2, 3, 8, 8)
    compressed = niwaki.quantize(Net(), [x])
    first = names(compressed, x)
    assert names(compressed, torch.randn(again)) == first
    assert set(compressed.niwaki_ranges.names) <= set(first)


@pytest.mark.parametrize("network", ["resnet18", "googlenet", "shufflenet_v2_x0_5", "mobilenet_v3_small"])
def test_names_are_the_same_for_real_networks(network: str) -> None:
    options: dict[str, Any] = {"init_weights": False} if network == "googlenet" else {}
    model = getattr(import_torchvision().models, network)(**options).eval()
    assert names(model, torch.randn(2, 3, 64, 64)) == names(model, torch.randn(1, 3, 97, 65))


def test_captures_in_eval_mode_and_gives_every_mode_back() -> None:
    net = Net()
    net.bn.eval()
    modes = {name: module.training for name, module in net.named_modules()}
    x = torch.randn(2, 3, 8, 8)
    program = capture(net, (x,))
    assert {name: module.training for name, module in net.named_modules()} == modes
    assert torch.equal(program.module()(x), net.eval()(x))

    def fail() -> None:
        with evaluating(net.train()):
            assert not net.bn.training
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fail()
    assert net.bn.training


def test_works_in_inference_mode() -> None:
    net = Net()
    with torch.inference_mode():
        x = torch.randn(2, 3, 8, 8)
        assert names(net, x) == names(net, x[:1])


def test_keyword_inputs() -> None:
    class Two(nn.Module):
        def forward(self, a: torch.Tensor, *, b: torch.Tensor) -> torch.Tensor:
            return a + b

    a = torch.randn(2)
    assert torch.equal(capture(Two(), (a,), {"b": a}).module()(a, b=a), a + a)


def test_failure_is_one_sentence() -> None:
    class Branches(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x if x.sum() > 0 else -x

    with pytest.raises(niwaki.NiwakiError, match=r"torch\.export cannot capture Branches") as caught:
        capture(Branches(), (torch.randn(2),))
    assert "\n" not in str(caught.value)
    with pytest.raises(TypeError, match=r"tuple such as \(x,\)"):
        capture(Net(), torch.randn(1, 3, 8, 8))  # type: ignore[arg-type]


def test_shapes_tell_calls_apart() -> None:
    x = torch.randn(2, 3)
    assert shapes_of((x,)) == shapes_of((x + 1,))
    assert shapes_of((x,)) != shapes_of((x[:1],))
    assert shapes_of((x,)) != shapes_of((), {"x": x})
    assert shapes_of((x,)) != shapes_of((x.double(),))
