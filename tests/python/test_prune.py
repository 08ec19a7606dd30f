"""niwaki.prune: which weights go, and that they stay away."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize

import niwaki
from niwaki.pruning.mask import Mask, find_mask
from niwaki.pruning.select import keep_largest


def make_net(groups: int = 8) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 16, 3), nn.ReLU(),
        nn.Conv2d(16, 16, 3, groups=groups), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 12),
    )  # fmt: skip


def blocks(weight: torch.Tensor) -> torch.Tensor:
    """Whether each block of four input channels holds anything."""
    return weight.reshape(len(weight), -1, 4, *weight.shape[2:]).ne(0).any(2)


def zeros(weight: torch.Tensor) -> int:
    return int((weight == 0).sum())


@pytest.mark.parametrize("sparsity", [0, 0.1, 0.5, 0.75, 0.999, 1])
@pytest.mark.parametrize("scope", ["global", "local"])
def test_block4_prunes_whole_blocks_to_the_block(sparsity: float, scope: str) -> None:
    net = make_net()
    pruned = niwaki.prune(net, sparsity=sparsity, scope=scope)
    kept = [blocks(pruned[3].weight), blocks(pruned[8].weight)]
    counts = [k.numel() for k in kept]
    empty = [k.numel() - int(k.sum()) for k in kept]
    if scope == "global":
        assert sum(empty) == round(sparsity * sum(counts))
    else:
        assert empty == [round(sparsity * count) for count in counts]
    # What is left is what it was, and each pruned block is smaller than each that is left.
    for i in (3, 8):
        left = pruned[i].weight != 0
        assert torch.equal(pruned[i].weight[left], net[i].weight[left])
    # Three input channels, and two in each group: not in fours.
    assert zeros(pruned[0].weight) == 0 and zeros(pruned[5].weight) == 0 and find_mask(pruned[0]) is None


def test_block4_drops_the_blocks_of_least_norm() -> None:
    layer = nn.Conv2d(8, 2, 1, bias=False)
    with torch.no_grad():
        layer.weight[0, :, 0, 0] = torch.tensor([9.0, 0.1, 0.1, 0.1, 3.0, 3.0, 3.0, 3.0])
        layer.weight[1, :, 0, 0] = torch.tensor([4.0, 4.0, 4.0, 4.0, 1.0, 1.0, 1.0, 1.0])
    weight = niwaki.prune(nn.Sequential(layer), sparsity=0.5)[0].weight
    assert blocks(weight).flatten().tolist() == [True, False, True, False]


@pytest.mark.parametrize("sparsity", [0.3, 0.9])
def test_unstructured_prunes_the_smallest_weights_everywhere(sparsity: float) -> None:
    net = make_net()
    pruned = niwaki.prune(net, sparsity=sparsity, pattern="unstructured")
    before = torch.cat([net[i].weight.flatten() for i in (0, 3, 5, 8)])
    after = torch.cat([pruned[i].weight.flatten() for i in (0, 3, 5, 8)])
    assert zeros(after) == round(sparsity * before.numel())
    assert before[after == 0].abs().max() <= after[after != 0].abs().min()


def test_n_of_m_keeps_the_largest_n_of_each_m() -> None:
    net = make_net(groups=4)
    pruned = niwaki.prune(net, pattern="2:4")
    for i in (3, 5, 8):
        before, after = (w.reshape(len(w), -1, 4, *w.shape[2:]) for w in (net[i].weight, pruned[i].weight))
        assert after.ne(0).sum(2).eq(2).all()
        largest = before.abs().topk(2, dim=2).values.amin(2)
        assert before.abs()[after == 0].max() < largest.max()
        assert (after.abs().where(after != 0, torch.inf).amin(2) == largest).all()
    assert zeros(pruned[0].weight) == 0


def test_equal_weights_are_pruned_to_the_exact_number() -> None:
    kept = keep_largest([torch.ones(3, 4), torch.ones(5)], 0.5)
    assert sum(int((~keep).sum()) for keep in kept) == round(0.5 * 17)


def test_the_callers_model_is_untouched() -> None:
    net = make_net()
    before = copy.deepcopy(net.state_dict())
    niwaki.prune(net, sparsity=0.9)
    assert not any(parametrize.is_parametrized(module) for module in net.modules())
    assert net.training
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


@pytest.mark.parametrize("make", [
    lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.1),
    lambda p: torch.optim.AdamW(p, lr=0.05),
])  # fmt: skip
def test_masks_survive_training(make: Any) -> None:
    pruned = niwaki.prune(make_net(), sparsity=0.75)
    masks = {name: blocks(module.weight) for name, module in pruned.named_modules() if find_mask(module)}
    before = pruned[3].weight.detach().clone()
    optimizer = make(pruned.parameters())
    for _ in range(3):
        loss = nn.functional.cross_entropy(pruned(torch.randn(4, 3, 9, 9)), torch.tensor([0, 1, 2, 3]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    after = pruned[3].weight
    assert not torch.equal(after, before)
    for name, mask in masks.items():
        assert torch.equal(blocks(pruned.get_submodule(name).weight), mask)
    gradient = pruned[3].parametrizations["weight"].original.grad
    assert zeros(gradient) >= zeros(after)


def test_masks_travel_through_deepcopy_and_state_dict() -> None:
    pruned = niwaki.prune(make_net(), sparsity=0.75)
    x = torch.randn(2, 3, 9, 9)
    pruned.eval()
    y = pruned(x)
    assert torch.equal(copy.deepcopy(pruned)(x), y)
    other = niwaki.prune(make_net(), sparsity=0.1)
    other.load_state_dict(pruned.state_dict())
    assert torch.equal(other.eval()(x), y)


def test_pruning_again_goes_on_where_it_stopped() -> None:
    once = niwaki.prune(make_net(), sparsity=0.5)
    twice = niwaki.prune(once, sparsity=0.8)
    assert len(twice[3].parametrizations["weight"]) == 1
    gone = ~blocks(once[3].weight)
    assert not blocks(twice[3].weight)[gone].any()
    both = [blocks(twice[i].weight) for i in (3, 8)]
    assert sum(int((~b).sum()) for b in both) == round(0.8 * sum(b.numel() for b in both))
    assert sum(int((~blocks(once[i].weight)).sum()) for i in (3, 8)) < sum(int((~b).sum()) for b in both)


def test_a_layer_pruned_to_nothing_runs_and_masks_are_positive_zeros() -> None:
    pruned = niwaki.prune(make_net(), sparsity=1.0)
    assert zeros(pruned[8].weight) == pruned[8].weight.numel()
    assert not torch.signbit(pruned[8].weight).any()
    assert torch.isfinite(pruned(torch.randn(2, 3, 9, 9))).all()


def test_skip_and_shared_weights_stay_dense() -> None:
    net = make_net()
    pruned = niwaki.prune(net, sparsity=0.5, skip=("3",))
    assert zeros(pruned[3].weight) == 0 and zeros(pruned[8].weight) > 0
    tied = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 8))
    tied[1].weight = tied[0].weight
    pruned = niwaki.prune(tied, sparsity=0.5)
    assert pruned[0].weight is pruned[1].weight and zeros(pruned[0].weight) == 0 and zeros(pruned[2].weight) == 32


def test_recurrent_and_attention_layers_run_on() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm = nn.LSTM(8, 8, batch_first=True)
            self.encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 2)
            self.head = nn.Linear(8, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(self.encoder(self.lstm(x)[0]))

    net = Net().eval()
    x = torch.randn(4, 5, 8)
    for options in ({}, {"importance": "second_order", "calibration": torch.randn(16, 5, 8)}):
        pruned = niwaki.prune(net, sparsity=0.5, scope="local", **options)
        # The feed-forward layers of the encoder and the head; what LSTM and attention hold, they read themselves.
        assert zeros(pruned.encoder.layers[0].linear1.weight) > 0 and zeros(pruned.head.weight) > 0
        assert torch.equal(
            pruned.encoder.layers[1].self_attn.out_proj.weight, net.encoder.layers[1].self_attn.out_proj.weight
        )
        with torch.no_grad():
            fast = pruned(x)
        assert torch.allclose(fast, pruned(x), atol=1e-5) and not torch.allclose(fast, net(x), atol=1e-5)


def test_left_dense_is_said(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", "niwaki"):
        niwaki.prune(make_net(), sparsity=0.5)
    assert "'0' stays as it is: not pruned: block4 needs input channels in fours, and it has 3" in caplog.text
    assert "'5' stays as it is: not pruned: block4 needs input channels in fours, and it has 2 in each" in caplog.text


@pytest.mark.parametrize("importance", ["magnitude", "second_order"])
def test_blocks_of_grouped_convolutions(importance: str) -> None:
    """Blocks lie within a group, and the network that is compiled skips them."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 128, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(128, 128, 3, padding=1, groups=2),
        nn.ReLU(),
        nn.Conv2d(128, 4, 1),
    ).eval()
    images = [torch.randn(4, 3, 12, 12) for _ in range(4)]
    config = niwaki.PruneConfig(0.9, importance=importance)
    small, _ = niwaki.compress(net, images, prune=config)
    weight = small[2].weight.reshape(128, 16, 4, 3, 3)
    assert float((weight == 0).all(2).float().mean()) == pytest.approx(0.9, abs=0.01)
    compiled = niwaki.compile(small, (images[0],))
    assert torch.equal(compiled(images[0]), niwaki.compile(small, (images[0][:1],))(images[0]))
    assert ["sparse" in step.kernel for step in compiled.plan if step.name == "2"] == [True]


@pytest.mark.parametrize("sparsity", [-0.1, 1.01, math.nan, math.inf, 75])
@pytest.mark.parametrize("call", [
    lambda s: niwaki.prune(make_net(), sparsity=s),
    lambda s: niwaki.PruneConfig(s),
    lambda s: niwaki.compress(make_net(), torch.randn(1, 3, 9, 9), sparsity=s),
])  # fmt: skip
def test_sparsity_outside_0_to_1(sparsity: float, call: Any) -> None:
    with pytest.raises(ValueError, match="sparsity must lie in 0 to 1"):
        call(sparsity)


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda: niwaki.prune(make_net()), TypeError, "give a sparsity"),
        (lambda: niwaki.prune(make_net(), 0.5), TypeError, "config must be a PruneConfig"),  # type: ignore[arg-type]
        (lambda: niwaki.prune(make_net(), niwaki.PruneConfig(0.5), scope="local"), TypeError, "not both"),
        (lambda: niwaki.prune("net", sparsity=0.5), TypeError, "must be a torch.nn.Module"),  # type: ignore[arg-type]
        (lambda: niwaki.prune(make_net().half(), sparsity=0.5), TypeError, "'0.weight' is float16"),
        (lambda: niwaki.prune(make_net().to("meta"), sparsity=0.5), TypeError, "device 'meta'"),
        (lambda: niwaki.PruneConfig("0.5"), TypeError, "must be a number"),  # type: ignore[arg-type]
        (lambda: niwaki.PruneConfig(0.5, pattern="4:2"), ValueError, "pattern must be one of"),  # type: ignore[arg-type]
        (lambda: niwaki.PruneConfig(0.6, pattern="2:4"), ValueError, "'2:4' is a sparsity of 0.5, not 0.6"),
        (lambda: niwaki.PruneConfig(), TypeError, "needs a sparsity"),
        (lambda: niwaki.PruneConfig(0.5, importance="best"), ValueError, "importance must be one of"),  # type: ignore[arg-type]
        (lambda: niwaki.prune(make_net(), sparsity=0.5, importance="second_order"), TypeError, "needs calibration="),
        (lambda: niwaki.prune(make_net(), sparsity=0.5, calibration=[]), TypeError, "looks at no inputs"),
        (lambda: niwaki.prune(make_net(), sparsity=0.5, importance="movement"), TypeError, "train with niwaki.Pruner"),
        (lambda: niwaki.prune(make_net(), sparsity=0.5, importance="taylor"), TypeError, "and loss="),
        (lambda: niwaki.prune(make_net(), sparsity=0.5, loss=len), TypeError, "no use for loss"),
        (lambda: niwaki.prune(make_net(), sparsity=0.5, checkpoint="run"), TypeError, "has a checkpoint"),
        (lambda: niwaki.prune(make_net(), sparsity=0.5, skip=("seven",)), ValueError, "close names are '0'"),
        (lambda: niwaki.PruneConfig(0.5, scope="all"), ValueError, "scope must be one of"),  # type: ignore[arg-type]
        (lambda: niwaki.PruneConfig(0.5, skip="fc"), TypeError, r"skip=\('fc',\)"),  # type: ignore[arg-type]
        (lambda: niwaki.prune(make_net(), sparsity=0.5, skip=("fc",)), ValueError, "'fc' matches no"),
        (
            lambda: niwaki.prune(nn.Sequential(make_net()), sparsity=0.5, skip=("0",)),
            ValueError,
            r"'0' matches no .*; for all of those inside, such as '0\.0', write '0\.\*'",
        ),
        (lambda: niwaki.prune(nn.Conv2d(3, 4, 3), sparsity=0.5), ValueError, "no layer can be pruned"),
    ],
)
def test_bad_arguments(call: Any, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        call()


def test_nan_in_weights_names_the_layer() -> None:
    net = make_net()
    with torch.no_grad():
        net[3].weight[0, 0, 0, 0] = math.nan
    with pytest.raises(ValueError, match="Layer '3': its weight holds NaN"):
        niwaki.prune(net, sparsity=0.5)


def test_mask_ignores_what_it_hides() -> None:
    mask = Mask(torch.tensor([True, False]))
    assert torch.equal(mask(torch.tensor([1.0, math.nan])), torch.tensor([1.0, 0.0]))


def test_what_is_done_to_a_copy_leaves_the_pruned_network_alone() -> None:
    pruned = niwaki.prune(make_net(), sparsity=0.5).eval()
    x = torch.randn(2, 3, 9, 9)
    y = pruned(x)
    niwaki.optimize(pruned)
    niwaki.quantize(pruned, x)
    niwaki.prune(pruned, sparsity=0.9, pattern="unstructured")
    assert torch.equal(pruned(x), y)
    assert find_mask(pruned[3]) is not None


class Twice(nn.Module):
    """Two layers with the same weights."""

    def __init__(self, make: Callable[[], nn.Module], names: tuple[str, ...]) -> None:
        super().__init__()
        self.first, self.second, self.last = make(), make(), nn.Linear(8, 4)
        for name in names:
            setattr(self.second, name, getattr(self.first, name))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in (self.first, self.second):
            made = layer(x)
            x = (made[0] if isinstance(made, tuple) else made).relu()
        return self.last(x)


@pytest.mark.parametrize("skipped", ["first", "second"])
@pytest.mark.parametrize("importance", ["magnitude", "second_order"])
@pytest.mark.parametrize(
    ("make", "names"),
    [
        (lambda: nn.Linear(8, 8), ("weight",)),
        (lambda: nn.LSTM(8, 8, batch_first=True), ("weight_ih_l0", "weight_hh_l0")),
    ],
    ids=["linear", "lstm"],
)
def test_what_shares_its_weights_with_a_skipped_layer_stays_as_well(
    make: Callable[[], nn.Module], names: tuple[str, ...], importance: Any, skipped: str
) -> None:
    net, x = Twice(make, names).eval(), torch.randn(16, 5, 8)
    _, report = niwaki.compress(net, x.split(4), sparsity=0.5, importance=importance, skip=(skipped,), progress=False)
    rows = {row.name: row for row in report}
    other = "second" if skipped == "first" else "first"
    assert rows["first"].zeros < 0.1 and rows["second"].zeros < 0.1 and rows["last"].zeros == 0.5
    assert f"not pruned: it shares a weight with '{skipped}', which is skipped by name" in rows[other].reason
