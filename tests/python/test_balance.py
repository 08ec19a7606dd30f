"""PruneConfig(balance=True): the four output channels of a set keep equally many blocks."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import niwaki
from niwaki.capture import capture
from niwaki.optimization.inner import find_inner
from niwaki.pruning import left_out
from niwaki.pruning import order as order_file
from niwaki.pruning.config import PruneConfig
from niwaki.pruning.mask import mask_of
from niwaki.pruning.order import order_channels
from niwaki.pruning.select import SEGMENT, drop_in_sets
from niwaki.quantization.inputs import Batch

# The layers of make_net that blocks fit, and groups of channels of each.
PRUNED = {3: 1, 5: 2, 9: 1}


def test_sets_balance_within_what_kernels_cut(root: Path) -> None:
    source = root / "csrc" / "kernels" / "conv" / "sparse_lists.cc"
    if not source.exists():
        pytest.skip(f"needs {source}, whose constant it compares: run it in a checkout of the repository")
    found = re.search(r"constexpr int64_t kSegmentRows = (\d+);", source.read_text(encoding="utf-8"))
    assert found is not None and int(found[1]) == SEGMENT


def make_net() -> nn.Sequential:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 24, 3), nn.ReLU(),
        nn.Conv2d(24, 32, 3, groups=2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10),
    ).eval()  # fmt: skip
    with torch.no_grad():  # channels that differ, whose lists would
        for i in PRUNED:
            net[i].weight.mul_(torch.rand(len(net[i].weight), *[1] * (net[i].weight.dim() - 1)) * 2)
    return net


def images(count: int = 64) -> torch.Tensor:
    return torch.randn(count, 3, 12, 12, generator=torch.Generator().manual_seed(1))


def lengths(weight: torch.Tensor, pattern: str = "block4") -> torch.Tensor:
    """Blocks, or weights, that each output channel keeps."""
    kept = weight != 0
    if pattern == "block4":
        kept = kept.reshape(len(weight), -1, 4, *weight.shape[2:]).any(2)
    return kept.flatten(1).sum(1)


def sets(counts: torch.Tensor) -> torch.Tensor:
    """[sets, 4]: of whole sets alone."""
    return counts[: len(counts) // 4 * 4].reshape(-1, 4)


def balanced(counts: torch.Tensor) -> bool:
    return bool((sets(counts) == sets(counts)[:, :1]).all())


@pytest.mark.parametrize("importance", ["magnitude", "second_order"])
@pytest.mark.parametrize("scope", ["local", "global"])
@pytest.mark.parametrize("pattern", ["block4", "unstructured"])
@pytest.mark.parametrize("sparsity", [0.3, 0.75])
def test_sets_balance_and_the_share_is_as_asked(importance: Any, scope: Any, pattern: Any, sparsity: float) -> None:
    net = make_net()
    kind = {"pattern": pattern, "scope": scope, "importance": importance}
    given: dict[str, Any] = {"calibration": images()} if importance == "second_order" else {}
    free = niwaki.prune(net, PruneConfig(sparsity, **kind), **given, progress=False)
    pruned = niwaki.prune(net, PruneConfig(sparsity, **kind, balance=True), **given, progress=False)
    assert not balanced(lengths(free[3].weight, pattern))
    layers = (0, *PRUNED) if pattern == "unstructured" else tuple(PRUNED)
    masks = {i: mask_of(pruned[i]) for i in layers}
    for i, mask in masks.items():
        assert balanced(lengths(mask.float(), pattern)), i
        assert not pruned[i].weight[~mask].any()
    unit = 4 if pattern == "block4" else 1
    for part in [list(masks.values())] if scope == "global" else [[mask] for mask in masks.values()]:
        units = sum(mask.numel() for mask in part) // unit
        dropped = sum(int((~mask).sum()) for mask in part) // unit
        # Second order shares out a number to each layer, and each makes the nearest of it.
        layers_in_it = len(part) if importance == "second_order" else 1
        assert abs(dropped - round(sparsity * units)) <= 2 * layers_in_it


def test_nothing_and_all_can_go() -> None:
    for sparsity in (0.0, 1.0):
        pruned = niwaki.prune(make_net(), sparsity=sparsity, balance=True)
        for i in PRUNED:
            assert bool(mask_of(pruned[i]).all()) == (sparsity == 0) and bool(mask_of(pruned[i]).any()) == (
                sparsity == 0
            )


def test_no_masks_of_equal_lists_keep_more() -> None:
    """Against all ways to share out so many scores to the sets."""
    generator = torch.Generator().manual_seed(2)
    for _ in range(20):
        scores = torch.rand(14, 5, generator=generator)
        for steps in range(16):
            (mask,) = drop_in_sets([scores[:12]], [1], 60 - 4 * steps)
            best = max(
                sum(
                    float(scores[4 * i : 4 * i + 4].sort(1, descending=True).values[:, :kept].sum())
                    for i, kept in enumerate(each)
                )
                for each in itertools.product(range(6), repeat=3)
                if sum(each) == steps
            )
            assert int(mask.sum()) == 4 * steps
            assert float(scores[:12][mask].sum()) == pytest.approx(best, abs=1e-5)
        # Two channels that are no set are free.
        (mask,) = drop_in_sets([scores], [1], 35)
        assert abs(int((~mask).sum()) - 35) <= 2
        assert balanced(mask.sum(1))
        rest = torch.cat([scores[12:][mask[12:]], torch.ones(1)])
        assert float(rest.min()) >= float(scores[12:][~mask[12:]].max())


@pytest.mark.parametrize("pattern", ["block4", "unstructured"])
def test_sets_balance_in_each_chunk_that_a_kernel_may_take(pattern: Any) -> None:
    """Within 72 rows of the panel, each four input channels at one tap."""
    torch.manual_seed(4)
    wide = nn.Sequential(nn.Conv2d(96, 12, 3), nn.Flatten(), nn.Linear(600, 8), nn.Linear(8, 8)).eval()
    pruned = niwaki.prune(wide, sparsity=0.7, pattern=pattern, balance=True)
    for i, channels in ((0, 32), (2, 288)):
        parts = mask_of(pruned[i]).float().split(channels, 1)
        assert len(parts) == 3
        counts = [lengths(part, pattern) for part in parts]
        assert all(balanced(one) for one in counts)
        assert not all(torch.equal(one, one[:1].expand_as(one)) for one in counts)


def test_groups_have_sets_of_their_own() -> None:
    scores = torch.rand(12, 7, generator=torch.Generator().manual_seed(3))
    (two,) = drop_in_sets([scores], [2], 50)
    assert [balanced(two[part].sum(1)) for part in (slice(0, 4), slice(6, 10))] == [True, True]
    assert not balanced(two[4:].sum(1))
    (many,) = drop_in_sets([scores], [4], 50)  # of three channels: none is bound
    assert torch.equal(many, scores > scores.flatten().kthvalue(50).values)


def test_layers_without_sets_are_named(caplog: pytest.LogCaptureFixture) -> None:
    small = nn.Sequential(nn.Conv2d(8, 16, 3), nn.Conv2d(16, 6, 3, groups=2)).eval()
    with caplog.at_level("INFO", logger="niwaki"):
        pruned = niwaki.prune(small, sparsity=0.5, scope="local", balance=True)
    assert "layer '1' has fewer than four outputs to balance" in caplog.text and "layer '0'" not in caplog.text
    assert int(lengths(pruned[1].weight).sum()) == 6 * 2 * 9 // 2

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn, self.last = nn.GRU(8, 8, batch_first=True), nn.Linear(8, 8)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.last(self.rnn(x)[0])

    with caplog.at_level("INFO", logger="niwaki"):
        niwaki.compress(Net().eval(), torch.randn(16, 5, 8), sparsity=0.5, balance=True, progress=False)
    assert "recurrent layers do not balance" in caplog.text


def test_zeros_stay_where_they_are() -> None:
    net = make_net()
    with torch.no_grad():
        net[3].weight[5] = 0
    for given in ({}, {"importance": "second_order", "calibration": images()}):
        pruned = niwaki.prune(net, sparsity=0.5, scope="local", balance=True, progress=False, **given)
        counts = lengths(pruned[3].weight)
        assert int(counts[5]) == 0 and len({int(counts[i]) for i in (4, 6, 7)}) == 1
        assert balanced(torch.cat([counts[:4], counts[8:]]))


def test_a_pruner_balances_at_every_step_and_gives_nothing_back() -> None:
    for importance in ("magnitude", "movement"):
        net = make_net().train()
        schedule = niwaki.CubicSchedule(0, 4)
        pruner = niwaki.Pruner(net, PruneConfig(0.8, importance=importance, balance=True), schedule=schedule)
        optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
        before = [mask_of(net[i]).clone() for i in PRUNED]
        for step in range(5):
            optimizer.zero_grad()
            net(images(8)).square().mean().backward()
            optimizer.step()
            pruner.step()
            masks = [mask_of(net[i]).clone() for i in PRUNED]
            for mask, old in zip(masks, before, strict=True):
                assert balanced(lengths(mask.float())) and not bool((mask & ~old).any())
            assert pruner.sparsity == pytest.approx(0.8 * schedule.share(step), abs=0.002)
            before = masks
        assert balanced(lengths(pruner.finish()[3].weight))


def test_masks_that_do_not_balance_end_in_sets_that_do() -> None:
    free = niwaki.prune(make_net(), sparsity=0.5)
    pruner = niwaki.Pruner(free, PruneConfig(0.75, balance=True))
    before = mask_of(free[3]).clone()
    pruner.step()
    mask = mask_of(free[3])
    assert not bool((mask & ~before).any())
    counts, there = sets(lengths(mask.float())), sets(lengths(before.float()))
    assert torch.equal(counts, torch.minimum(counts.amax(1, keepdim=True), there))
    assert pruner.sparsity == pytest.approx(0.75, abs=0.002)


def test_the_damping_is_chosen_by_whole_sets(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[torch.Tensor] = []
    some = left_out._some_channels
    monkeypatch.setattr(left_out, "_some_channels", lambda *args: seen.append(some(*args)) or seen[-1])
    wide = nn.Sequential(nn.Conv2d(3, 16, 1), nn.ReLU(), nn.Conv2d(16, 120, 3)).eval()
    niwaki.prune(
        wide, sparsity=0.5, scope="local", importance="second_order", balance=True, calibration=torch.randn(8, 3, 5, 5),
        progress=False,
    )  # fmt: skip
    assert seen
    for chosen in seen:
        assert len(chosen) == 64 and torch.equal(chosen.reshape(-1, 4) % 4, torch.arange(4).expand(16, 4))


def test_what_it_cannot_be_is_refused() -> None:
    for pattern in ("2:4", "channels"):
        with pytest.raises(ValueError, match=f"balance goes with the patterns .* not with '{pattern}'; leave it out"):
            PruneConfig(None if pattern == "2:4" else 0.5, pattern=pattern, balance=True)
    with pytest.raises(TypeError, match="balance is True or False, not 'sets'"):
        PruneConfig(0.5, balance="sets")  # type: ignore[arg-type]


def test_a_compressed_network_balances_in_its_file(tmp_path: Path) -> None:
    net, x = make_net(), images()
    small, _ = niwaki.compress(net, x, sparsity=0.6, balance=True, progress=False)
    free, _ = niwaki.compress(net, x, sparsity=0.6, progress=False)

    def longest(module: nn.Module) -> float:
        """The mean of how much longer than the mean of its set the longest list is."""
        ways = [lengths(layer.weight) for name, layer in module.named_modules() if name in ("3", "5")]
        return float(torch.cat([sets(one).amax(1) / sets(one).float().mean(1).clamp_min(1) for one in ways]).mean())

    # Rounding makes a zero of what is left of a block here and there.
    assert longest(small) < 1.03 < 1.1 < longest(free)
    path = tmp_path / "net.niwaki"
    compiled = niwaki.compile(small, (x[:1],))
    compiled.save(str(path))
    assert torch.equal(niwaki.load(str(path))(x[:1]), compiled(x[:1]))


def test_a_target_is_met_with_sets_that_balance() -> None:
    net, x = make_net(), images(32)
    longest = {}
    for balance in (False, True):
        small, report = niwaki.compress(net, x, target=niwaki.Target(size=0.13), balance=balance, progress=False)
        counts = [sets(lengths(layer.weight)) for name, layer in small.named_modules() if name in ("3", "5")]
        longest[balance] = float(sum(one.amax(1).sum() * 4 for one in counts) / sum(one.sum() for one in counts))
        assert report.zeros > 0.2
    assert longest[True] < 1.03 < 1.1 < longest[False]
    with pytest.raises(TypeError, match="sparsity=0 makes no zeros, so balance says nothing"):
        niwaki.compress(net, x, target=niwaki.Target(size=0.25), sparsity=0, balance=True)
    with pytest.raises(TypeError, match="balance is True or False"):
        niwaki.compress(net, x, target=niwaki.Target(size=0.25), balance=1)  # type: ignore[arg-type]


def spread(layer: nn.Conv2d, variance: torch.Tensor) -> float:
    """How much the lists of a set differ, where the best half of all blocks stays."""
    cost = (layer.weight.square() * variance[None, :, None, None]).detach()
    blocks = cost.reshape(len(cost), -1, 4, *cost.shape[2:]).sum(2).flatten(1)
    counts = (blocks > blocks.median()).sum(1).float()
    return float(sets(counts).var(1).mean())


def test_channels_get_an_order_in_which_lists_of_a_set_are_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(8, 24, 1), nn.Conv2d(24, 32, 3), nn.Conv2d(32, 8, 1)).eval()
    with torch.no_grad():
        net[0].weight.mul_(torch.logspace(-1, 1, 24)[torch.randperm(24)][:, None, None, None])
        net[1].weight.mul_(torch.logspace(-0.5, 0.5, 32)[torch.randperm(32)][:, None, None, None])
        # Blocks of inputs that matter are those of channels that vary, whichever place they have.
        net[1].weight.div_(net[0].weight.flatten(1).norm(dim=1)[None, :, None, None])
    monkeypatch.setattr(order_file, "sensitivities", lambda *_, **__: {})
    x = torch.randn(64, 8, 6, 6)
    with torch.no_grad():
        wanted = net(x)

    def variances() -> torch.Tensor:
        with torch.no_grad():
            return net[0](x).movedim(1, 0).flatten(1).var(1)

    before = spread(net[1], variances())
    order_channels(net, [Batch(0, (x,), {})], PruneConfig(0.5, importance="second_order", balance=True), progress=False)
    assert spread(net[1], variances()) < 0.1 * before
    with torch.no_grad():
        torch.testing.assert_close(net(x), wanted, rtol=1e-4, atol=1e-4)


def test_an_order_weighs_readers_against_the_writer() -> None:
    lists = order_file._Lists(torch.tensor([0.0, 9.0] * 8) - 4.5, price=1.0)
    nothing = torch.zeros(4, 16)
    order = order_file._search(nothing, lists).reshape(-1, 4)
    assert torch.equal(order % 2, (order % 2)[:, :1].expand(4, 4))  # the writer's lists alone
    costs = torch.rand(64, 16, generator=torch.Generator().manual_seed(0)) * 0.4
    cheap = order_file._search(costs, order_file._Lists(lists.lengths, price=1e-9))
    assert torch.equal(cheap, order_file._search(costs))


def test_what_a_writer_reads_is_known() -> None:
    net = nn.Sequential(nn.Conv2d(8, 16, 1), nn.ReLU(), nn.Conv2d(16, 16, 1), nn.ReLU(), nn.Conv2d(16, 8, 1)).eval()
    program = capture(net, (torch.randn(1, 8, 4, 4),), {}, free=False).program()
    first, second = find_inner(program, net)  # type: ignore[arg-type]
    assert second.source is first.readers[0][1]
