"""What stays in torch: which nodes, why, in an order that works, with the same results."""

from __future__ import annotations

import pytest
import torch
from lowering import Function, compiled, cosine, images
from torch import nn
from torch.nn import functional as F

import niwaki


def left_over(x: torch.Tensor) -> torch.Tensor:
    """An operator that is not native."""
    return torch.special.i1e(x)


def test_an_operator_that_is_not_native_stays_in_torch_and_says_so() -> None:
    model, x = Function(left_over).eval(), images()
    net = compiled(model, x)
    assert net.plan[-1].scheme == "torch" and len(net.plan.torch) == 1
    assert net.plan[-1].reason == "aten::special_i1e is not native"
    assert net.plan[-1].op == "special_i1e"
    for other in (x, images(3), images(1, 9, 20)):
        with torch.no_grad():
            assert cosine(net(other), model(other)) > 0.999


class Sandwich(nn.Module):
    """conv -> something over channels that stays in torch -> conv; and a second path around it."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(3, 8, 3, padding=1)
        self.b = nn.Conv2d(8, 8, 1)
        self.c = nn.Conv2d(8, 4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = F.relu(self.a(x))
        z = left_over(y) - 1
        return self.c(F.relu(self.b(z)) + y)


def test_native_parts_on_both_sides_of_torch() -> None:
    model, x = Sandwich().eval(), images()
    net = compiled(model, x)
    schemes = [step.scheme for step in net.plan]
    assert schemes.count("torch") == 1
    assert schemes[0] == schemes[-1] == "int8"
    (left,) = net.plan.torch
    assert "special_i1e" in left.op
    assert "aten::special_i1e is not native" in left.reason
    for other in (x, images(3, 16, 12), images(1, 9, 20)):
        with torch.no_grad():
            assert cosine(net(other), model(other)) > 0.99


def test_no_cycle_between_parts() -> None:
    """native -> torch -> native with a shortcut: merged carelessly, the native nodes would wait for themselves."""

    def function(x: torch.Tensor) -> torch.Tensor:
        y = torch.sin(left_over(x))
        return left_over(y + x) * y

    model, x = Function(function).eval(), images()
    net = compiled(model, x)
    with torch.no_grad():
        assert cosine(net(x), model(x)) > 0.999


def test_parts_in_torch_run_at_any_size() -> None:
    """The sizes that their code takes from the inputs follow the inputs."""
    model, x = Function(lambda x: left_over(x.flatten(2)).view(x.shape)).eval(), images()
    net = compiled(model, x)
    assert net.plan.torch
    for other in (x, images(3), images(1, 9, 20)):
        with torch.no_grad():
            assert cosine(net(other), model(other)) > 0.999


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3, padding=1)
        self.lstm = nn.LSTM(6 * 16, 8, batch_first=True)
        self.fc = nn.Linear(8, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = F.relu(self.conv(x)).permute(0, 3, 2, 1).flatten(2)
        return self.fc(self.lstm(y)[0][:, -1])


def test_an_lstm_between_layers_is_native() -> None:
    model, x = Recurrent().eval(), images()
    net = compiled(model, x)
    assert not net.plan.torch
    assert {"conv", "fc"} <= {step.name for step in net.plan if step.scheme == "int8"}
    with torch.no_grad():
        assert cosine(net(x), model(x)) > 0.99


class Tokens(nn.Module):
    """A transformer block: attention, and linear layers on [N, T, C]."""

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


def test_a_transformer_is_native_and_has_a_file(tmp_path) -> None:
    model, x = Tokens().eval(), images()
    net = compiled(model, x)
    assert not net.plan.torch
    net.save(tmp_path / "tokens.niwaki")
    again = niwaki.load(tmp_path / "tokens.niwaki")
    for other in (x, images(3), images(1, 12, 20)):
        with torch.no_grad():
            assert cosine(net(other), model(other)) > 0.98
        assert torch.equal(again(other), net(other))


def test_save_refuses_by_name(tmp_path) -> None:
    net = compiled(Sandwich().eval(), images())
    with pytest.raises(niwaki.NiwakiError, match=r"aten::special_i1e is not native"):
        net.save(tmp_path / "sandwich.niwaki")
    assert list(tmp_path.iterdir()) == []


def test_linear_layers_on_tokens_are_native() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(32, 64), nn.GELU(), nn.Linear(64, 32)).eval()
    net = compiled(model, torch.randn(3, 10, 32))
    assert not net.plan.torch and sum("int8" in step.scheme for step in net.plan) >= 2
    x = torch.randn(2, 17, 32)
    with torch.no_grad():
        assert cosine(net(x), model(x)) > 0.999
