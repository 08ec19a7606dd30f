"""niwaki.optimize: the same answers with fewer layers."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import niwaki
from niwaki._compat import import_torchvision

BATCH_NORM = nn.modules.batchnorm._BatchNorm


def shake(model: nn.Module) -> nn.Module:
    """Gives batch norms statistics that do something."""
    for module in model.modules():
        if isinstance(module, BATCH_NORM) and module.running_mean is not None:
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
            if module.affine:
                nn.init.uniform_(module.weight, 0.5, 1.5)
                nn.init.normal_(module.bias, 0, 0.1)
    return model.eval()


def norms(model: nn.Module) -> int:
    return sum(isinstance(module, BATCH_NORM) for module in model.modules())


def check_same(a: nn.Module, b: nn.Module, x: torch.Tensor) -> None:
    with torch.no_grad():
        y, z = a(x), b(x)
    torch.testing.assert_close(z, y, rtol=1e-4, atol=1e-4 * float(y.abs().max()))


@pytest.mark.parametrize(
    ("name", "left"),
    [
        ("resnet18", 0),
        ("vgg11_bn", 0),
        ("mobilenet_v2", 0),
        ("shufflenet_v2_x0_5", 0),
        ("mobilenet_v3_small", 0),
        ("efficientnet_b0", 0),
        ("regnet_y_400mf", 0),
        ("googlenet", 2),  # in the auxiliary heads, which are dead in eval mode
        ("densenet121", 62),  # batch norms before convolutions
    ],
)
@pytest.mark.parametrize("example", [True, False])
def test_real_networks(name: str, left: int, example: bool) -> None:
    options: dict[str, Any] = {"init_weights": False} if name == "googlenet" else {}
    model = shake(getattr(import_torchvision().models, name)(**options))
    x = torch.randn(2, 3, 64, 64)
    optimized = niwaki.optimize(model, args=(x,)) if example else niwaki.optimize(model)
    assert norms(optimized) == left
    assert not any(isinstance(module, nn.Dropout) for module in optimized.modules())
    check_same(model, optimized, x)


class NormAct(nn.BatchNorm2d):
    """A batch norm with dropout and activation inside, as timm has it."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.drop = nn.Identity()
        self.act = nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, self.training, 0.1, self.eps)
        return self.act(self.drop(y))


@pytest.mark.parametrize("example", [True, False])
def test_batch_norm_with_its_activation_inside(example: bool) -> None:
    model = shake(nn.Sequential(nn.Conv2d(3, 8, 3), NormAct(8), nn.Conv2d(8, 4, 1)))
    x = torch.randn(2, 3, 7, 7)
    optimized = niwaki.optimize(model, args=(x,) if example else None)
    assert norms(optimized) == 0 and isinstance(optimized[1], nn.ReLU)
    check_same(model, optimized, x)


def test_timm_resnet50() -> None:
    import_torchvision()
    timm = pytest.importorskip("timm", reason="needs timm: its ResNet-50 is optimized")
    model = shake(timm.create_model("resnet50"))
    optimized = niwaki.optimize(model)
    assert norms(optimized) == 0
    check_same(model, optimized, torch.randn(1, 3, 64, 64))


class Shared(nn.Module):
    """The convolution feeds more than its batch norm."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.conv(x)
        return self.bn(y) + y


class Twice(nn.Module):
    """The convolution is called twice, once without the batch norm."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(self.bn(self.conv(x)))


class Reads(nn.Module):
    """The convolution's weight is read besides."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.bn(self.conv(x)) * self.conv.weight.mean()


class Strange(nn.BatchNorm2d):
    """A batch norm that does something else, too."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x) * 2


@pytest.mark.parametrize("example", [True, False])
@pytest.mark.parametrize(
    "make",
    [
        Shared,
        Twice,
        Reads,
        lambda: nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 3, 1)),
        lambda: nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU(), nn.BatchNorm2d(3)),
        lambda: nn.Sequential(nn.Conv2d(3, 3, 1), Strange(3)),
        lambda: nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3, track_running_stats=False)),
    ],
)
def test_what_cannot_be_folded_is_left(make: Any, example: bool) -> None:
    model = shake(make())
    x = torch.randn(2, 3, 5, 5)
    optimized = niwaki.optimize(model, args=(x,) if example else None)
    assert norms(optimized) == 1
    check_same(model, optimized, x)


def test_linear_is_folded_where_the_rank_is_known() -> None:
    model = shake(nn.Sequential(nn.Linear(6, 6), nn.BatchNorm1d(6)))
    x = torch.randn(4, 6)
    optimized = niwaki.optimize(model, args=(x,))
    assert norms(optimized) == 0
    check_same(model, optimized, x)
    # Here the batch norm's channels are not the layer's outputs.
    assert norms(niwaki.optimize(model, args=(torch.randn(4, 6, 6),))) == 1
    assert norms(niwaki.optimize(model)) == 1


def test_the_callers_model_is_untouched() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.Dropout()).train()
    before = copy.deepcopy(model.state_dict())
    optimized = niwaki.optimize(model)
    assert model.training and not optimized.training
    assert model[0].bias is None and optimized[0].bias is not None
    assert [type(m) for m in model] == [nn.Conv2d, nn.BatchNorm2d, nn.Dropout]
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_zeros_stay_zeros_and_masks_become_weights() -> None:
    model = shake(nn.Sequential(nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8)))
    pruned = niwaki.prune(model, sparsity=0.75)
    optimized = niwaki.optimize(pruned)
    assert type(optimized[0]) is nn.Conv2d
    assert torch.equal(optimized[0].weight == 0, pruned[0].weight == 0)
    check_same(pruned, optimized, torch.randn(1, 8, 5, 5))


def test_config() -> None:
    model = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), nn.Dropout())
    left = niwaki.optimize(model, niwaki.OptimizeConfig(fold_batch_norm=False, remove_dropout=False))
    assert [type(m) for m in left] == [nn.Conv2d, nn.BatchNorm2d, nn.Dropout]
    with pytest.raises(TypeError, match="fold_batch_norm must be True or False"):
        niwaki.OptimizeConfig(fold_batch_norm=1)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="config must be an OptimizeConfig"):
        niwaki.optimize(model, True)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="args must be a tuple"):
        niwaki.optimize(model, args=torch.randn(1, 3, 2, 2))  # type: ignore[arg-type]


def test_a_network_without_a_graph_is_said() -> None:
    class Branches(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.layers(x) if x.sum() > 0 else x

    model = Branches().eval()
    with pytest.warns(UserWarning, match="folded no batch norm: torch.fx cannot trace"):
        assert norms(niwaki.optimize(model)) == 1


@pytest.mark.parametrize(
    "norm",
    [
        nn.utils.weight_norm,
        nn.utils.spectral_norm,
        nn.utils.parametrizations.weight_norm,
        nn.utils.parametrizations.spectral_norm,
    ],
)
@pytest.mark.filterwarnings("ignore:.*weight_norm.*deprecated:FutureWarning")
def test_weights_that_are_computed_before_each_call_become_plain(norm: Any) -> None:
    net = nn.Sequential(norm(nn.Conv2d(3, 8, 3)), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 3)).eval()
    x = torch.randn(2, 3, 9, 9)
    plain = niwaki.optimize(net, args=(x,))
    torch.testing.assert_close(plain(x), net(x))
    assert type(plain[0]) is nn.Conv2d and set(dict(plain[0].named_parameters())) == {"weight", "bias"}
    assert not plain[0]._forward_pre_hooks and isinstance(plain[1], nn.Identity)


def test_synchronized_batch_norms_are_folded_once() -> None:
    norm = nn.SyncBatchNorm(8)
    with torch.no_grad():
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2)
        norm.weight.uniform_(0.5, 2)
    net = nn.Sequential(nn.Conv2d(3, 8, 3), norm, nn.ReLU()).eval()
    x = torch.randn(2, 3, 9, 9)
    folded = niwaki.optimize(net, args=(x,))
    torch.testing.assert_close(folded(x), net(x))
    assert isinstance(folded[1], nn.Identity)
