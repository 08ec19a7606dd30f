"""Recurrent layers whose inputs span few directions, as those of a small table: which zeros serve them."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import niwaki
from niwaki.layerwise.sequences import Results, Seen, Sequences, run
from niwaki.pruning.config import PruneConfig
from niwaki.pruning.gates import GatePruner
from niwaki.pruning.low_rank import directions, forward_order, keep_forward
from niwaki.pruning.prune import prune_with_reasons
from niwaki.quantization.inputs import Batch


@pytest.mark.parametrize("block", [4, 1])
def test_few_inputs_need_few_columns(block: int) -> None:
    torch.manual_seed(0)
    table = torch.randn(6, 32)
    z = directions(torch.cov(table.T))
    assert z.shape == (32, 5)
    weight = torch.randn(10, 32)
    weight[3, :8] = 0
    order = forward_order(weight, z, block)
    # Five directions: as many blocks as hold five columns give each output exactly.
    enough = -(-5 // block)
    energy = (weight @ z).square().sum(1)
    assert torch.allclose(order[1][:, :enough].sum(1), energy, rtol=1e-3)
    mask, lost = keep_forward(weight, order, torch.ones(10), block, 10 * enough)
    assert int(mask.sum()) == 10 * enough * block and lost < 1e-3 * float(energy.sum())
    assert not bool(mask[3, :8].any())
    for row in range(10):
        chosen = z[mask[row]]
        target = weight[row] @ z
        rest = target - torch.linalg.lstsq(chosen.T, target[:, None]).solution[:, 0] @ chosen
        assert float(rest.norm()) < 1e-2 * float(target.norm())
    _, lost = keep_forward(weight, order, torch.ones(10), block, 4)
    assert lost > 0.1 * float(energy.sum())


def test_what_a_row_gains_counts_where_it_has_fewer_blocks_than_others() -> None:
    """A row with one block that is not zero names it again where others name their second."""
    torch.manual_seed(0)
    weight = torch.randn(3, 16)
    weight[0, 4:] = 0
    z = directions(torch.cov(torch.randn(4, 16).T))
    order, gains = forward_order(weight, z, 4)
    assert order[0].tolist() == [0, 0] and float(gains[0, 0]) > 0
    mask, lost = keep_forward(weight, (order, gains), torch.ones(3), 4, 3)
    assert bool(mask[0, :4].all()) and lost < 1e-6


@pytest.mark.parametrize(
    ("inputs", "hidden", "share"),
    [(16, 64, 0.9), (16, 64, 0.2), (18, 64, 0.8), (50, 64, 0.55), (16, 18, 0.85)],
)
def test_zeros_are_shared_out_at_any_sparsity(inputs: int, hidden: int, share: float) -> None:
    """Also where one of both matrices cannot hold them all, and where zeros of one come in fours alone."""
    torch.manual_seed(0)
    layer = nn.GRU(inputs, hidden)
    table = torch.randn(5, inputs)
    x = table[torch.randint(0, 5, (7, 40))]
    given = Sequences(x, torch.full((40,), 7), (torch.zeros(1, 40, hidden),), torch.arange(40))
    with torch.no_grad():
        wanted = run(layer, given)
    seen = Seen(given, given, wanted, Results(torch.ones_like(wanted.y), tuple(map(torch.zeros_like, wanted.last))))
    small, masks = GatePruner(layer, seen, PruneConfig(share, importance="second_order"), "gru").prune()
    zeros = torch.cat([(getattr(small, name) == 0).flatten() for name in masks])
    assert float(zeros.float().mean()) == pytest.approx(share, abs=4 / zeros.numel())


class Letters(nn.Module):
    """A table of few letters, a recurrent layer, its last state."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.gru = nn.Embedding(6, 32), nn.GRU(32, 32, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.gru(self.table(x))[1]


def test_half_of_the_blocks_cost_a_fraction_of_what_magnitude_costs() -> None:
    torch.manual_seed(0)
    net = Letters().eval()
    letters = [Batch(number, (torch.randint(0, 6, (16, 7)),), {}) for number in range(6)]
    test = torch.randint(0, 6, (64, 7))
    config = PruneConfig(0.5, scope="local", importance="second_order")
    small, reasons = prune_with_reasons(net, config, letters, recurrent=True, needed=False, progress=False)
    with torch.no_grad():
        wanted = net(test)
        change = float((small(test) - wanted).norm() / wanted.norm())
    magnitude, _ = niwaki.compress(
        net, [b.args[0] for b in letters], sparsity=0.5, importance="magnitude", progress=False
    )
    with torch.no_grad():
        other = float((magnitude(test) - wanted).norm() / wanted.norm())
    assert change < 0.25 * other and reasons["gru"].startswith("pruned by second order")
    # The matrix on letters has nearly all of the zeros, for six letters need few columns.
    zeros = [float((w == 0).float().mean()) for w in (small.gru.weight_ih_l0, small.gru.weight_hh_l0)]
    assert sum(zeros) == pytest.approx(1, abs=0.01) and zeros[0] >= 0.75
