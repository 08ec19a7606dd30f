"""niwaki.Pruner in a training loop: schedules, importance from gradients, and masks that survive what loops do."""

from __future__ import annotations

import copy
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from test_prune import blocks, make_net, zeros
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrize

import niwaki
from niwaki.pruning import Schedule
from niwaki.pruning.mask import find_mask, mask_of, original_of


def train(net: nn.Module, pruner: niwaki.Pruner, steps: int, optimizer: torch.optim.Optimizer | None = None) -> None:
    optimizer = optimizer or torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9, weight_decay=0.01)
    for _ in range(steps):
        optimizer.zero_grad()
        F.cross_entropy(net(torch.randn(8, 3, 9, 9)), torch.randint(0, 12, (8,))).backward()
        optimizer.step()
        pruner.step()


@pytest.mark.parametrize(("schedule", "shares"), [
    (niwaki.ConstantSchedule(2), [0, 0, 1, 1, 1, 1, 1]),
    (niwaki.LinearSchedule(1, 5), [0, 0, 0.25, 0.5, 0.75, 1, 1]),
    (niwaki.CubicSchedule(1, 5), [0, 0, 1 - 0.75**3, 1 - 0.5**3, 1 - 0.25**3, 1, 1]),
])  # fmt: skip
def test_schedules(schedule: Schedule, shares: list[float]) -> None:
    assert [schedule.share(step) for step in range(7)] == pytest.approx(shares)


def test_a_schedule_is_due_at_intervals_and_at_its_end() -> None:
    schedule = niwaki.CubicSchedule(3, 10, every=3)
    assert [step for step in range(14) if schedule.due(step)] == [3, 6, 9, 10]


@pytest.mark.parametrize(("make", "error", "says"), [
    (lambda: niwaki.CubicSchedule(5, 4), ValueError, "lies before start"),
    (lambda: niwaki.LinearSchedule(0, 4, every=0), ValueError, "every at least 1"),
    (lambda: niwaki.LinearSchedule(0.5, 4), TypeError, "start is a number of steps"),  # type: ignore[arg-type]
    (lambda: niwaki.Pruner("net", niwaki.PruneConfig(0.5)), TypeError, "must be a torch.nn.Module"),  # type: ignore[arg-type]
    (lambda: niwaki.Pruner(make_net(), 0.5), TypeError, "config must be a PruneConfig"),  # type: ignore[arg-type]
    (lambda: niwaki.Pruner(make_net(), niwaki.PruneConfig(0.5), schedule=3), TypeError, "CubicSchedule"),  # type: ignore[arg-type]
    (lambda: niwaki.Pruner(make_net(), niwaki.PruneConfig(0.5, importance="second_order")), ValueError, "niwaki.prune"),
    (lambda: niwaki.Pruner(make_net(), niwaki.PruneConfig(0.5, pattern="channels")), ValueError, "niwaki.prune"),
    (lambda: niwaki.Pruner(make_net(), niwaki.PruneConfig(0.5, skip=("9",))), ValueError, "close names are '0', '3'"),
])  # fmt: skip
def test_bad_arguments(make: Any, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        make()


@pytest.mark.parametrize("scope", ["local", "global"])
@pytest.mark.parametrize("importance", ["magnitude", "taylor", "movement"])
@pytest.mark.parametrize("pattern", ["unstructured", "block4", "2:4"])
def test_the_share_is_reached_exactly_and_zeros_only_grow(pattern: str, importance: str, scope: str) -> None:
    net = make_net()
    sparsity = None if pattern == "2:4" else 0.7
    config = niwaki.PruneConfig(sparsity, pattern=pattern, importance=importance, scope=scope)  # type: ignore[arg-type]
    pruner = niwaki.Pruner(net, config, schedule=niwaki.CubicSchedule(1, 6, every=2))
    optimizer = torch.optim.AdamW(net.parameters(), lr=0.01)
    names = [name for name, layer in net.named_modules() if find_mask(layer) is not None]
    before, found = {name: mask_of(net.get_submodule(name)).clone() for name in names}, []
    for _ in range(8):
        train(net, pruner, 1, optimizer)
        for name in names:
            now = mask_of(net.get_submodule(name))
            assert not (now & ~before[name]).any()
            before[name] = now.clone()
        found.append(pruner.sparsity)
    assert found[0] == found[1] == 0 < found[3] < found[5] < found[6] == found[7]
    assert found[7] == pytest.approx(config.share, abs=0.005)
    if pattern == "2:4":
        weight = net[3].weight
        assert weight.reshape(len(weight), -1, 4, 9).ne(0).sum(2).eq(2).all()
    if scope == "local":
        assert all(1 - float(mask.float().mean()) == pytest.approx(config.share, abs=0.02) for mask in before.values())
    weights = {name: net.get_submodule(name).weight.detach().clone() for name in names}
    assert pruner.finish() is net and not any(parametrize.is_parametrized(layer) for layer in net.modules())
    assert all(torch.equal(net.get_submodule(name).weight, weight) for name, weight in weights.items())
    with pytest.raises(RuntimeError, match="finish"):
        pruner.step()


def test_taylor_is_the_change_of_the_loss() -> None:
    net = nn.Sequential(nn.Linear(4, 2, bias=False))
    x = torch.tensor([[1.0, 10.0, 1.0, 1.0]])
    with torch.no_grad():
        net[0].weight.copy_(torch.tensor([[1.0, 0.5, 2.0, 0.1], [3.0, 4.0, 5.0, 6.0]]))
    # Only the first output counts: every weight of the second one goes, and of the first the smallest w x.
    pruned = niwaki.prune(
        net, sparsity=5 / 8, pattern="unstructured", importance="taylor", calibration=[x],
        loss=lambda net, item: net(item)[:, 0].sum(),
    )  # fmt: skip
    assert pruned[0].weight.tolist() == [[1.0, 0.5, 2.0, 0.0], [0.0, 0.0, 0.0, 0.0]]
    assert net[0].weight.grad is None and original_of(pruned[0]).grad is None


def test_movement_prunes_what_training_moves_towards_zero() -> None:
    net = nn.Sequential(nn.Linear(2, 1, bias=False))
    with torch.no_grad():
        net[0].weight.copy_(torch.tensor([[2.0, 0.5]]))
    pruner = niwaki.Pruner(
        net,
        niwaki.PruneConfig(0.5, pattern="unstructured", importance="movement"),
        schedule=niwaki.LinearSchedule(0, 4),
    )
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
    for _ in range(5):
        optimizer.zero_grad()
        (net[0].weight - torch.tensor([[0.2, 1.0]])).square().sum().backward()
        optimizer.step()
        pruner.step()
    # By magnitude, the second would have gone.
    assert net[0].weight[0, 0] == 0 and net[0].weight[0, 1] > 0.5


def test_a_nan_gradient_is_left_out_and_named(caplog: pytest.LogCaptureFixture) -> None:
    net = make_net()
    pruner = niwaki.Pruner(net, niwaki.PruneConfig(0.5, importance="taylor"), schedule=niwaki.ConstantSchedule(1))
    for bad in (True, False):
        net.zero_grad()
        net(torch.randn(4, 3, 9, 9)).sum().backward()
        if bad:
            original_of(net[3]).grad[0, 0, 0, 0] = math.nan
        pruner.step()
    assert "layer '3': a gradient is NaN or infinite" in caplog.text
    assert pruner.sparsity == pytest.approx(0.5, abs=0.01) and torch.isfinite(net[3].weight).all()


def test_the_optimizer_may_be_older_than_the_pruner() -> None:
    net = make_net()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    weight = net[3].weight
    pruner = niwaki.Pruner(net, niwaki.PruneConfig(0.5))
    assert original_of(net[3]) is weight
    train(net, pruner, 2, optimizer)
    assert zeros(net[3].weight) > 0 and torch.equal(net[3].weight[net[3].weight != 0], weight[net[3].weight != 0])


def test_masks_and_state_survive_copies_and_restarts(tmp_path: Path) -> None:
    torch.manual_seed(3)
    config = niwaki.PruneConfig(0.75, importance="movement")
    schedule = niwaki.CubicSchedule(0, 9)
    net = make_net()
    pruner = niwaki.Pruner(net, config, schedule=schedule)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    train(net, pruner, 5, optimizer)
    twin = copy.deepcopy(net)
    assert all(torch.equal(a, b) for a, b in zip(net.state_dict().values(), twin.state_dict().values(), strict=True))
    torch.save({"net": net.state_dict(), "pruner": pruner.state_dict()}, tmp_path / "run.pt")
    saved = torch.load(tmp_path / "run.pt", weights_only=True)
    other = make_net()
    again = niwaki.Pruner(other, config, schedule=schedule)
    other.load_state_dict(saved["net"])
    again.load_state_dict(saved["pruner"])
    for net_, pruner_ in ((net, pruner), (other, again)):
        torch.manual_seed(4)
        train(net_, pruner_, 5, torch.optim.SGD(net_.parameters(), lr=0.1))
    for i in (3, 8):
        assert torch.equal(net[i].weight, other[i].weight)
    assert again.sparsity == pruner.sparsity > 0.7
    with pytest.raises(ValueError, match="no state of a Pruner"):
        again.load_state_dict({})
    with pytest.raises(ValueError, match="another network; layer '0' differs"):
        niwaki.Pruner(nn.Sequential(nn.Linear(8, 8)), config).load_state_dict(saved["pruner"])


def test_finishing_early_is_said(caplog: pytest.LogCaptureFixture) -> None:
    net = make_net()
    pruner = niwaki.Pruner(net, niwaki.PruneConfig(0.8), schedule=niwaki.LinearSchedule(0, 10))
    train(net, pruner, 3)
    pruner.finish()
    assert "before the 0.8" in caplog.text


class Rounded(nn.Module):
    """As fake quantization: zeros stay zeros."""

    keeps_zeros = True

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        step = weight.detach().abs().max() / 7
        return weight + ((weight / step).round() * step - weight).detach()

    def right_inverse(self, weight: torch.Tensor) -> torch.Tensor:
        return weight


def test_masks_go_before_fake_quantization() -> None:
    net = make_net()
    with torch.no_grad():
        net[3].weight[0, :4, 0, 0] = torch.tensor([5.0, 0, 0, 0])  # by Taylor, worth nothing: its input is zero
    parametrize.register_parametrization(net[3], "weight", Rounded())
    pruner = niwaki.Pruner(net, niwaki.PruneConfig(0.5), schedule=niwaki.ConstantSchedule(0))
    mask = mask_of(net[3]).clone()
    mask[0, :4, 0, 0] = False
    find_mask(net[3]).mask.copy_(mask)
    left = original_of(net[3]) * mask
    # The grid is that of what is left, without the large weight.
    assert torch.allclose(net[3].weight, Rounded()(left))
    train(net, pruner, 2)
    weight = net[3].weight.detach().clone()
    pruner.finish()
    assert len(net[3].parametrizations["weight"]) == 1 and torch.allclose(net[3].weight, weight)
    assert not blocks(original_of(net[3]))[~blocks(weight)].all()


def _rank(rank: int, folder: str) -> None:
    from torch import distributed

    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    torch.manual_seed(rank)  # other weights and data on each rank; DDP makes the weights equal
    net = make_net()
    pruner = niwaki.Pruner(net, niwaki.PruneConfig(0.6, importance="taylor"), schedule=niwaki.LinearSchedule(0, 3))
    parallel = nn.parallel.DistributedDataParallel(net)
    train(parallel, pruner, 5)
    torch.save({name: value for name, value in net.state_dict().items() if "mask" in name}, f"{folder}/{rank}.pt")
    distributed.barrier()  # neither closes its connection while the other still talks
    distributed.destroy_process_group()
    os._exit(0)  # not through the interpreter's end, where gloo's threads once ended a process with an abort


@pytest.mark.skipif(not torch.distributed.is_available(), reason="this torch has no torch.distributed")
def test_masks_agree_over_ranks(tmp_path: Path) -> None:
    # Processes of their own: a fork of this one would share locks with threads that it does not have.
    environment = {**os.environ, "GLOO_SOCKET_IFNAME": "lo"}  # a host's name need not resolve
    ranks = [
        subprocess.Popen([sys.executable, __file__, str(rank), str(tmp_path)], env=environment) for rank in range(2)
    ]
    try:
        codes = [process.wait(120) for process in ranks]
    finally:
        for process in ranks:
            process.kill()
    assert codes == [0, 0]
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2))
    assert first and all(torch.equal(mask, second[name]) for name, mask in first.items())
    assert any(not mask.all() for mask in first.values())


if __name__ == "__main__":
    _rank(int(sys.argv[1]), sys.argv[2])
