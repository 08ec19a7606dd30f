"""What stays in torch is foreseen in one run: the layer, the reason, and nothing that the capture would not say."""

from __future__ import annotations

import logging
import time

import pytest
import torch
from lowered import Of
from torch import nn

import niwaki
from niwaki.lower.foreseen import foreseen
from niwaki.network.unwritable import check_foreseen, foreseen_reason


def _square(x: torch.Tensor) -> torch.Tensor:
    return x @ x.mT + torch.eye(x.shape[-2])


def _told(function, *args: torch.Tensor) -> str:
    """What is foreseen of a function after a linear layer."""
    network = nn.Sequential(nn.Linear(4, 4), Of(function)).eval()
    return "; ".join(f"{each.layer}: {each.reason}" for each in foreseen(network, args or (torch.randn(3, 4),)))


@pytest.mark.parametrize(
    ("function", "why"),
    [
        (lambda x: torch.linalg.eigh(_square(x))[0], "1: aten::linalg_eigh is not native"),
        (lambda x: torch.linalg.svdvals(x), "1: aten::linalg_svdvals is not native"),
        (lambda x: x.nonzero(), "1: aten::nonzero has a size that depends on values"),
        (lambda x: x[x > 0], "1: aten::index has a size that depends on values"),
        (lambda x: torch.where(x > 0)[0], "1: aten::where has a size that depends on values"),
        (lambda x: x.masked_select(x > 0) * 2, "1: aten::masked_select has a size that depends on values"),
        (lambda x: x + torch.randn_like(x), "1: aten::randn_like draws random numbers"),
        (lambda x: x @ torch.rand(4, 2), "1: aten::rand draws random numbers"),
        (lambda x: nn.functional.dropout(x), "1: aten::dropout draws random numbers"),
        (lambda x: x.double().mean(1).float(), "1: aten::to works on float64; 1: aten::mean works on float64"),
        (lambda x: (x.half() * 2).float(), "1: aten::to works on float16; 1: aten::mul works on float16"),
        (
            lambda x: nn.functional.one_hot(x.argmax(1)),
            "1: aten::one_hot makes as many classes as it finds: it needs num_classes",
        ),
        (lambda x: x.argsort(1) & 3, "1: aten::__and__ works on the bits of integers"),
        (
            lambda x: nn.functional.conv_transpose1d(x[None], x[:, :, None]),
            "1: aten::conv_transpose1d has a weight that is computed while it runs",
        ),
        (lambda x: x.unique(), "1: aten::_unique2 has a size that depends on values"),
        (lambda x: x + 1 if x.sum() > 0 else x - 1, "1: decides by values what it computes, as by `if` on a tensor"),
    ],
)
def test_what_stays_in_torch_is_foreseen(function, why: str) -> None:
    assert _told(function) == why


@pytest.mark.parametrize(
    "function",
    [
        lambda x: (x.nonzero(), x)[1],  # nobody reads it
        lambda x: x + torch.linalg.eigh(torch.eye(4))[0],  # computed once
        lambda x: x + torch.eye(4, dtype=torch.float64).sum(0).float(),
        lambda x: (torch.rand(3), nn.functional.dropout(x, training=False))[1],
        lambda x: nn.functional.dropout(x, 0.0),
        lambda x: nn.functional.scaled_dot_product_attention(x, x, x),
        lambda x: x.index_put((x > 0,), torch.zeros(())),
        lambda x: x * x.max().item(),  # the capture knows
        lambda x: torch.stft(x.flatten(), 4, return_complex=True, window=torch.ones(4)).abs(),
        lambda x: torch.cdist(x, x),
        lambda x: torch.polar(x, x).real,
        lambda x: x + 1 if torch.compiler.is_compiling() or x.sum() > 0 else x,
    ],
)
def test_what_is_not_sure_is_left_to_the_capture(function) -> None:
    assert _told(function) == ""


class _Counting(nn.Module):
    """Counts its calls in a buffer, and writes into its input."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        x[0] = 0
        return x.relu()


def test_the_run_leaves_no_trace() -> None:
    network, x = _Counting().train(), torch.ones(2, 3)
    assert foreseen(network, (x,)) == []
    assert float(network.calls) == 0
    assert torch.equal(x, torch.ones(2, 3))
    assert network.training
    assert not network._forward_hooks


def test_the_run_draws_no_numbers_of_the_callers() -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    assert foreseen(Of(lambda x: x + torch.randn_like(x)), (torch.ones(2, 3),))
    assert torch.equal(torch.get_rng_state(), before)


def test_a_network_that_fails_is_left_to_the_capture() -> None:
    assert foreseen(nn.Linear(4, 4), (torch.randn(2, 5),)) == []


def test_the_sentence_names_layer_and_remedy() -> None:
    network = nn.Sequential(nn.Linear(4, 4), Of(lambda x: (x.nonzero(), x.softmax(-1), x.unique())))
    assert foreseen_reason(network, (torch.randn(4, 4),)) == (
        "a file holds native operators only and these stay in torch: '1' (aten::nonzero, aten::_unique2 has a size "
        "that depends on values). Write these parts with other operators, or end the network before them. "
        "To choose elements by values, keep all and set the others to zero with torch.where."
    )
    noisy = nn.Sequential(nn.Linear(4, 4), Of(lambda x: x + torch.randn_like(x)))
    assert foreseen_reason(noisy, (torch.randn(4, 4),)).endswith(
        "Pass random numbers in as an input; F.dropout is off with training=self.training."
    )
    decides = nn.Sequential(nn.Linear(4, 4), Of(lambda x: x if x.sum() > 0 else -x))
    with pytest.raises(niwaki.NiwakiError, match=r"out\.niwaki: not written, because .* .1. decides"):
        check_foreseen(decides, (torch.randn(4, 4),), "out.niwaki")


@pytest.mark.parametrize(("function", "why"), [
    (lambda x: x if x.sum() > 0 else -x, "'1' is why: decides by values what it computes"),
    (lambda x: nn.functional.one_hot(x.argmax(1)), "'1' is why: aten::one_hot makes as many classes as it finds"),
    (lambda x: x[torch.where(x > 0)[0]] * x[torch.where(x > 0)[1], 0, None], "'1' is why: aten::where has a size"),
])  # fmt: skip
def test_what_has_no_graph_is_told_with_the_layer(function, why: str) -> None:
    with pytest.raises(niwaki.NiwakiError, match=f"torch.export cannot capture .* A run shows that {why}") as told:
        niwaki.compile(nn.Sequential(nn.Linear(4, 4), Of(function)), (torch.randn(4, 4),))
    assert "FakeTensor" not in str(told.value)


def test_one_of_a_batch_is_enough() -> None:
    seen: list[int] = []
    network = Of(lambda x: (seen.append(len(x)), x.nonzero())[1])
    assert foreseen_reason(network, (torch.randn(8, 4),))
    assert seen == [1]


def test_compress_tells_it_before_it_begins(caplog) -> None:
    network = nn.Sequential(nn.Linear(4, 4), Of(lambda x: x.nonzero())).eval()
    with caplog.at_level(logging.WARNING, "niwaki"):
        niwaki.compress(network, [torch.randn(8, 4)], progress=False)
    assert "will have no file" in caplog.messages[0]
    assert "'1' (aten::nonzero" in caplog.messages[0]


def test_it_takes_less_than_a_second() -> None:
    layers = [nn.Sequential(nn.Linear(64, 64), nn.LayerNorm(64), nn.GELU()) for _ in range(100)]
    network = nn.Sequential(*layers, Of(lambda x: x.nonzero())).eval()
    seconds = []
    for _ in range(3):  # of this thread, and the least: other tests' threads and garbage are in the same process
        begin = time.thread_time()
        assert foreseen(network, (torch.randn(1, 64),))
        seconds.append(time.thread_time() - begin)
    assert min(seconds) < 1
