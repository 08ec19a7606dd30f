"""What stays in torch: which nodes, why, in an order that works, with the same results."""

from __future__ import annotations

import pytest
import torch
from lowering import Function, compiled, cosine, images
from torch import nn
from torch.nn import functional as F

import niwaki


def test_softmax_after_logits_stays_in_torch_and_says_so() -> None:
    model, x = Function(lambda x: torch.softmax(x, 1)).eval(), images()
    net = compiled(model, x)
    assert [step.scheme for step in net.plan] == ["int8", "int8", "torch"]
    assert net.plan[-1].reason == "aten::softmax is not native"
    assert net.plan[-1].op == "softmax"
    with torch.no_grad():
        assert cosine(net(x), model(x)) > 0.999


class Sandwich(nn.Module):
    """conv -> layer norm over channels (torch) -> conv; and a second path around it."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.LayerNorm(8)
        self.b = nn.Conv2d(8, 8, 1)
        self.c = nn.Conv2d(8, 4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = F.relu(self.a(x))
        z = self.norm(y.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return self.c(F.relu(self.b(z)) + y)


def test_native_parts_on_both_sides_of_torch() -> None:
    model, x = Sandwich().eval(), images()
    net = compiled(model, x)
    schemes = [step.scheme for step in net.plan]
    assert schemes.count("torch") == 1
    assert schemes[0] == schemes[-1] == "int8"
    (left,) = net.plan.torch
    assert "layer_norm" in left.op
    assert left.reason == "aten::permute, aten::layer_norm are not native"
    for other in (x, images(3, 16, 12), images(1, 9, 20)):
        with torch.no_grad():
            assert cosine(net(other), model(other)) > 0.99


def test_no_cycle_between_parts() -> None:
    """native -> torch -> native with a shortcut: merged carelessly, the native nodes would wait for themselves."""

    def function(x: torch.Tensor) -> torch.Tensor:
        y = torch.sin(torch.cumsum(x, 1))
        return torch.cumsum(y + x, 1) * y

    model, x = Function(function).eval(), images()
    net = compiled(model, x)
    with torch.no_grad():
        assert cosine(net(x), model(x)) > 0.999


def test_what_computes_nothing_stays_in_torch_too() -> None:
    net = compiled(Function(lambda x: F.relu(torch.cumsum(x, 1))[:, 1:]).eval(), images())
    (left,) = net.plan.torch
    assert {"relu", "slice"} <= set(left.op.split(", "))


def test_refusals_name_the_reason() -> None:
    cases = {
        "aten::softmax": lambda x: torch.softmax(x, 1),
        "aten::cat joins along another dimension": lambda x: torch.cat([x, x], 2),
        "aten::mul takes shapes": lambda x: x * x[:, :1],
        "aten::pad pads in mode 'reflect'": lambda x: F.pad(x, (1, 1, 1, 1), mode="reflect"),
        "aten::mean takes the mean over other dimensions": lambda x: x.mean(1, keepdim=True),
        "aten::add has a factor": lambda x: torch.add(x, torch.tanh(x), alpha=2),
        "aten::div divides by a tensor": lambda x: x / (torch.sigmoid(x) + 1),
        "aten::mul works on bool": lambda x: x * (x > 0),
        "works on a tensor of rank 3": lambda x: x.flatten(2),
        "aten::to is not native": lambda x: x.double(),
    }
    for reason, function in cases.items():
        net = compiled(Function(function).eval(), images())
        assert any(reason in step.reason for step in net.plan.torch), (reason, net.plan)


def test_sizes_in_torch_parts_bind_the_network() -> None:
    model, x = Function(lambda x: torch.cumsum(x.flatten(2), 2).view(x.shape)).eval(), images()
    net = compiled(model, x)
    with torch.no_grad():
        assert cosine(net(x), model(x)) > 0.999
    with pytest.raises(ValueError, match=r"aten::view.*stays in torch with the sizes of \(2, 3, 16, 12\)"):
        net(images(3))


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3, padding=1)
        self.lstm = nn.LSTM(6 * 16, 8, batch_first=True)
        self.fc = nn.Linear(8, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = F.relu(self.conv(x)).permute(0, 3, 2, 1).flatten(2)
        return self.fc(self.lstm(y)[0][:, -1])


def test_lstm_runs_partly_in_torch() -> None:
    model, x = Recurrent().eval(), images()
    net = compiled(model, x)
    assert any("lstm" in step.reason for step in net.plan.torch)
    assert {"conv", "fc"} <= {step.name for step in net.plan if step.scheme == "int8"}
    with torch.no_grad():
        assert cosine(net(x), model(x)) > 0.99


class Tokens(nn.Module):
    """A transformer block: attention in torch, and linear layers on [N, T, C], niwaki's own operator within torch."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, 16, 4, 4)
        self.norm = nn.LayerNorm(16)
        self.attention = nn.MultiheadAttention(16, 2, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(16, 32), nn.GELU(), nn.Linear(32, 16))
        self.head = nn.Linear(16, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.patch(x).flatten(2).transpose(1, 2)
        y = self.norm(x)
        x = x + self.attention(y, y, y, need_weights=False)[0]
        return self.head((x + self.mlp(x)).mean(1))


def test_transformer_runs_partly_in_torch() -> None:
    model, x = Tokens().eval(), images()
    net = compiled(model, x)
    assert net.plan.torch
    with torch.no_grad():
        assert cosine(net(x), model(x)) > 0.98
    with pytest.raises(niwaki.NiwakiError, match="not written"):
        net.save("tokens.niwaki")


def test_save_refuses_by_name(tmp_path) -> None:
    net = compiled(Sandwich().eval(), images())
    with pytest.raises(niwaki.NiwakiError, match=r"norm.*aten::permute, aten::layer_norm are not native"):
        net.save(tmp_path / "sandwich.niwaki")
    assert list(tmp_path.iterdir()) == []


def test_a_network_without_a_native_part_still_runs() -> None:
    """Linear layers on rank 3 run as single quantized layers inside torch; the plan says why, and save refuses."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(32, 64), nn.GELU(), nn.Linear(64, 32)).eval()
    x = torch.randn(3, 10, 32)
    net = compiled(model, x)
    (step,) = net.plan
    assert step.scheme == "torch"
    assert "rank 3" in step.reason
    assert net.isa == niwaki.isa()
    with torch.no_grad():
        assert cosine(net(x), model(x)) > 0.999
