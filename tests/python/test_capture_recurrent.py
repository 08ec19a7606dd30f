"""capture: recurrent layers and cells stay whole, and free in batch and length."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from niwaki.capture import capture


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
@pytest.mark.parametrize("options", [{}, {"num_layers": 2, "bidirectional": True}, {"batch_first": True}])
def test_recurrent_layers_stay_whole_and_free(kind: type[nn.Module], options: dict[str, Any]) -> None:
    net = kind(6, 5, **options)
    captured = capture(net, (torch.randn(4, 1, 6),))
    targets = [str(node.target) for node in captured.program().graph.nodes]
    assert targets.count("niwaki.recurrent.default") == 1
    x = torch.randn(9, 3, 6)
    assert captured.refusal([x]) == ""
    torch.testing.assert_close(captured.program()(x), net(x))


@pytest.mark.parametrize("kind", [nn.LSTMCell, nn.GRUCell, nn.RNNCell])
def test_cells_answer_as_torch_does(kind: type[nn.Module]) -> None:
    net = kind(6, 5)
    captured = capture(net, (torch.randn(1, 6),))
    x = torch.randn(3, 6)
    assert captured.refusal([x]) == ""
    torch.testing.assert_close(captured.program()(x), net(x))


def test_recurrent_gradients_are_those_of_torch() -> None:
    net = nn.LSTM(6, 5)
    x = torch.randn(4, 2, 6, requires_grad=True)
    net(x)[0].square().sum().backward()
    wanted, x.grad = x.grad, None
    program = capture(net, (torch.randn(4, 2, 6),)).program()
    program(x)[0].square().sum().backward()
    torch.testing.assert_close(x.grad, wanted)
