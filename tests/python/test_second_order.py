"""Second-order pruning: its algebra against exact solutions, and what it does to networks."""

from __future__ import annotations

import copy
import itertools
from pathlib import Path

import pytest
import torch
from test_networks import load_cifar
from test_prune import blocks, make_net, zeros
from torch import nn
from torch.nn import functional as F

import niwaki
from niwaki.layerwise.allocate import SHARES, allocate
from niwaki.layerwise.gram import Dense, Gram, LowRank
from niwaki.layerwise.levels import Uniform
from niwaki.layerwise.moments import moments
from niwaki.layerwise.rounding import round_to_grid
from niwaki.layerwise.sensitivity import sensitivities
from niwaki.layerwise.solve import MaskSearch, Quadratic, quadratic, solve
from niwaki.layerwise.walk import Walk
from niwaki.modules.layer import Conv2dLayer, LinearLayer
from niwaki.pruning import second_order
from niwaki.pruning.mask import find_mask
from niwaki.pruning.problem import Problem
from niwaki.pruning.prune import prune_with_reasons
from niwaki.quantization.grid import Grid
from niwaki.quantization.inputs import Batch
from niwaki.quantization.quantize import quantize_with_reasons


def correlated(n: int, channels: int, seed: int = 0) -> torch.Tensor:
    """Inputs whose channels resemble each other, so that one can stand in for another."""
    generator = torch.Generator().manual_seed(seed)
    mixed = torch.randn(n, channels, generator=generator) @ torch.randn(channels, channels, generator=generator)
    return mixed + 0.1 * torch.randn(n, channels, generator=generator)


def form_of(weight: torch.Tensor, x: torch.Tensor, kind: type[Gram] = Dense) -> Quadratic:
    """The form of a linear layer with these inputs [n, K]."""
    covariance = Dense((x.T @ x / len(x))[None]) if kind is Dense else LowRank(x.T[None] / len(x) ** 0.5)
    return quadratic(weight, covariance, covariance.times)


KINDS = pytest.mark.parametrize("kind", [Dense, LowRank])


def test_moments_are_means_and_covariances_over_batches() -> None:
    layer = Conv2dLayer(nn.Conv2d(4, 4, 3, padding=1))
    inputs, references = ([torch.randn(n, 4, 6, 5) for n in (2, 3)] for _ in range(2))
    found = moments(layer, inputs, references, centered=True)
    x, r = (torch.cat([layer.columns(part) for part in parts], 2)[0].double() for parts in (inputs, references))
    n = x.shape[1]
    xc, rc = x - x.mean(1, keepdim=True), r - r.mean(1, keepdim=True)
    rows = torch.eye(36)[None]
    assert torch.allclose(found.covariance.times(rows)[0].double(), xc @ xc.T / n, atol=1e-5)
    assert torch.allclose(found.cross(rows)[0].double(), rc @ xc.T / n, atol=1e-5)
    assert torch.allclose(found.mean[0].double(), x.mean(1), atol=1e-6)
    sampled = moments(layer, [torch.randn(200, 4, 9, 9)], [torch.zeros(200, 4, 9, 9)], centered=False, samples=4000)
    assert torch.allclose(sampled.covariance.diagonal()[0], torch.full((36,), 0.85), atol=0.2)
    assert sampled.cross(rows).abs().max() == 0


@pytest.mark.parametrize("centered", [True, False])
def test_moments_of_inputs_that_vary_little_around_large_means(centered: bool) -> None:
    layer = LinearLayer(nn.Linear(8, 4))
    x = [300 + 0.05 * torch.randn(500, 8) for _ in range(3)]
    r = [-200 + 0.05 * torch.randn(500, 8) for _ in range(3)]
    found = moments(layer, x, r, centered=centered)
    both = [torch.cat(parts).T.double() for parts in (x, r)]
    now, before = [each - each.mean(1, keepdim=True) for each in both] if centered else both
    rows = torch.eye(8)[None]
    for got, wanted in ((found.covariance.times(rows), now @ now.T), (found.cross(rows), before @ now.T)):
        wanted = wanted / now.shape[1]
        allowed = 0.02 * 0.05**2 if centered else 1e-6 * 300**2
        assert float((got[0].double() - wanted).abs().max()) < allowed
    assert torch.allclose(found.mean[0].double(), both[0].mean(1), rtol=1e-7)


@KINDS
def test_solve_is_the_least_squares_solution_on_the_support(kind: type[Gram]) -> None:
    x = correlated(400, 12)
    weight = torch.randn(1, 3, 12)
    form = form_of(weight, x, kind)
    keep = torch.rand(1, 3, 12) > 0.4
    v = solve(form, keep, weight * form.scale, steps=200, tolerance=1e-7)
    for row in range(3):
        on = keep[0, row]
        exact = torch.linalg.solve(form.a.block(slice(None))[0][on][:, on].double(), form.b[0, row, on].double())
        assert torch.allclose(v[0, row, on].double(), exact, rtol=1e-3, atol=1e-3)
        assert not v[0, row, ~on].any()


@KINDS
def test_search_is_close_to_the_best_of_all_masks(kind: type[Gram]) -> None:
    x = correlated(400, 8)
    weight = torch.randn(1, 1, 8)
    form = form_of(weight, x, kind)
    start = weight * form.scale

    def error(kept: tuple[int, ...]) -> float:
        keep = torch.zeros(1, 1, 8, dtype=torch.bool)
        keep[0, 0, list(kept)] = True
        return float(form.error(solve(form, keep, start, steps=200, tolerance=1e-7)))

    errors = sorted(error(kept) for kept in itertools.combinations(range(8), 4))

    def project(importance: torch.Tensor) -> torch.Tensor:
        return importance >= importance.flatten().topk(4).values.min()

    keep = MaskSearch(form).search(start, project, torch.ones(1, 1))
    assert int(keep.sum()) == 4
    assert error(tuple(keep[0, 0].nonzero().flatten().tolist())) <= errors[7]


@KINDS
def test_search_is_the_alternating_direction_method(kind: type[Gram], monkeypatch: pytest.MonkeyPatch) -> None:
    weight = torch.randn(1, 12, 32)
    form = form_of(weight, correlated(400, 32), kind)
    counts = torch.rand(1, 12) + 0.5
    matrix = form.a.block(slice(None))

    def project(importance: torch.Tensor) -> torch.Tensor:
        return importance >= importance.flatten().topk(128).values.min()

    # As it is written: weights v, weights with zeros d, and the dual variable, with a penalty that grows.
    d = start = weight * form.scale
    d = torch.where(project(start.square() * counts[:, :, None]), start, 0)
    dual = torch.zeros_like(d)
    for penalty in (0.1, 0.1 * 20 ** (1 / 3), 0.1 * 20 ** (2 / 3), 2.0):
        for _ in range(5):
            right = (form.b - dual + penalty * d)[0]
            v = torch.linalg.solve(matrix + penalty * torch.eye(32), right.T[None]).transpose(1, 2)
            moved = v + dual / penalty
            keep = project(moved.square() * counts[:, :, None])
            d = torch.where(keep, moved, 0)
            dual = dual + penalty * (v - d)
    for part in (1 << 22, 5 * 32):  # all rows at once, or five
        monkeypatch.setattr("niwaki.layerwise.solve._PART", part)
        found = MaskSearch(form, stages=4, steps=5).search(start, project, counts)
        assert int((found != keep).sum()) <= 4  # of 384: two that are all but equal may change places


def test_walk_gives_each_layer_what_it_gets_in_both_networks() -> None:
    net = make_net().eval()
    original = copy.deepcopy(net)
    batches = [Batch(i, (torch.randn(n, 3, 9, 9),), {}) for i, n in enumerate((3, 2))]
    names = []

    def visit(seen) -> None:  # type: ignore[no-untyped-def]
        names.append(seen.name)
        for batch, now, before in zip(batches, seen.inputs, seen.references, strict=True):
            index = int(seen.name)
            assert torch.allclose(now, net[:index](batch.args[0]), atol=1e-6)
            assert torch.allclose(before, original[:index](batch.args[0]), atol=1e-6)
        seen.layer.weight.mul_(0.5)

    Walk(net, batches).run(visit)
    assert names == ["0", "3", "5", "8"]


def test_walk_shows_a_shared_layer_what_it_gets_in_all_of_its_calls() -> None:
    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(6, 6)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.fc(100 * F.relu_(self.fc(x)))

    net = Shared().eval()
    batches = [Batch(i, (torch.randn(n, 6),), {}) for i, n in enumerate((4, 2))]
    visits = []
    Walk(net, batches).run(visits.append)
    (seen,) = visits
    with torch.no_grad():
        wanted = [*(b.args[0] for b in batches), *(100 * F.relu(net.fc(b.args[0])) for b in batches)]
    for parts in (seen.inputs, seen.references):
        assert all(torch.allclose(a, b, atol=1e-4) for a, b in zip(parts, wanted, strict=True))


def test_walk_takes_as_many_batches_as_fit() -> None:
    batches = [Batch(i, (torch.randn(4, 3, 9, 9),), {}) for i in range(5)]
    assert len(Walk(make_net().eval(), batches).batches) == 5
    one = 2 * 4 * 4 * (8 + 16) * 81
    assert 1 <= len(Walk(make_net().eval(), batches, memory=3 * one).batches) <= 3
    assert len(Walk(make_net().eval(), batches, memory=1).batches) == 1


def test_sensitivity_is_the_squared_jacobian_of_centered_logits() -> None:
    net = nn.Sequential(nn.Linear(5, 4), nn.Linear(4, 3))
    found = sensitivities(
        net, [LinearLayer(net[0]), LinearLayer(net[1])], [Batch(0, (torch.randn(4000, 5),), {})], inputs=4000
    )
    assert found is not None
    jacobian = net[1].weight - net[1].weight.mean(0)
    assert torch.allclose(found[LinearLayer(net[0])], jacobian.square().sum(0), rtol=0.1)
    assert torch.allclose(found[LinearLayer(net[1])], torch.full((3,), 2 / 3), rtol=0.1)


def test_sensitivity_is_measured_in_inference_mode() -> None:
    torch.manual_seed(0)
    net, x = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 4)).eval(), torch.randn(16, 8)
    layers = [LinearLayer(net[0]), LinearLayer(net[1])]
    wanted = sensitivities(net, layers, [Batch(0, (x,), {})])
    with torch.inference_mode():
        found = sensitivities(net, layers, [Batch(0, (x,), {})])
    assert wanted is not None and found is not None
    assert all(torch.equal(found[layer], wanted[layer]) for layer in layers)


def test_sensitivity_hangs_little_on_the_choice_of_inputs() -> None:
    torch.manual_seed(0)
    # As certain of its answers as a trained network is: few inputs lie between two classes.
    net = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 10))
    with torch.no_grad():
        net[2].weight.mul_(40)
    found = [sensitivities(net, [LinearLayer(net[0])], [Batch(0, (torch.randn(256, 16),), {})]) for _ in range(4)]
    values = torch.stack([value[LinearLayer(net[0])] for value in found if value is not None])
    values /= values.mean(1, keepdim=True)
    # Of 256 inputs half have a unit switched on: its share varies by one part in eleven.
    assert (values.std(0) / values.mean(0)).mean() < 0.15


def test_a_gradient_that_is_nan_is_survived_and_named(caplog: pytest.LogCaptureFixture) -> None:
    class Root(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            # At 0 the slope of the root is infinite, and 0 times it NaN.
            return (x * 0).sqrt()

    net = nn.Sequential()
    net.add_module("first", nn.Linear(8, 8))
    net.add_module("root", Root())
    pruned = niwaki.prune(net, sparsity=0.5, importance="second_order", calibration=torch.randn(32, 8))
    assert zeros(pruned[0].weight) == 32 and torch.isfinite(pruned[0].weight).all()
    assert "layer 'first': its gradient is NaN" in caplog.text


def test_allocation_prefers_the_layer_that_costs_less() -> None:
    cheap, dear = ([scale * share**4 for share in (*SHARES, 1.0)] for scale in (1.0, 100.0))
    counts = allocate([1000, 1000], [cheap, dear], [0, 0], 1000)
    assert sum(counts) == 1000 and counts[0] > 650 > counts[1] > 50
    assert allocate([10, 20], [cheap, dear], [10, 0], 10) == [10, 0]
    assert allocate([10, 20], [cheap, dear], [0, 0], 30) == [10, 20]
    assert allocate([10, 20], [[0.0] * 8, [0.0] * 8], [0, 0], 0) == [0, 0]


@pytest.mark.parametrize("scope", ["local", "global"])
@pytest.mark.parametrize("sparsity", [0, 0.5, 0.9, 1])
def test_block4_prunes_to_the_block(sparsity: float, scope: str) -> None:
    net = make_net()
    x = torch.randn(16, 3, 9, 9)
    pruned = niwaki.prune(net, sparsity=sparsity, importance="second_order", scope=scope, calibration=x)
    kept = [blocks(pruned[i].weight) for i in (3, 8)]
    total = sum(k.numel() for k in kept)
    assert total - sum(int(k.sum()) for k in kept) == round(sparsity * total)
    assert torch.equal(pruned[0].weight, net[0].weight) and find_mask(pruned[0]) is None
    assert torch.isfinite(pruned(x)).all() and pruned.training


@pytest.mark.parametrize("pattern", ["unstructured", "block4", "2:4"])
def test_outputs_stay_closer_than_by_magnitude(pattern: str) -> None:
    net = nn.Sequential(
        nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 3, groups=2), nn.ReLU(), nn.Flatten(),
        nn.Linear(16 * 16, 12),
    ).eval()  # fmt: skip
    x = torch.randn(256, 8, 1, 1) + 0.3 * torch.randn(256, 8, 6, 6)
    options = {"pattern": pattern} if pattern == "2:4" else {"pattern": pattern, "sparsity": 0.6}
    by_magnitude = niwaki.prune(net, **options)
    second = niwaki.prune(net, importance="second_order", calibration=x[:192].split(64), **options)
    with torch.no_grad():
        wanted = net(x[192:])
        errors = [float(F.mse_loss(pruned(x[192:]), wanted)) for pruned in (by_magnitude, second)]
    assert errors[1] < 0.6 * errors[0]
    assert zeros(second[0].weight) >= zeros(by_magnitude[0].weight) * 0.5 > 0


def test_zeros_stay_zeros_and_the_original_is_untouched() -> None:
    net = make_net()
    x = torch.randn(16, 3, 9, 9)
    once = niwaki.prune(net, sparsity=0.5)
    state = copy.deepcopy(once.state_dict())
    twice = niwaki.prune(once, sparsity=0.8, importance="second_order", calibration=x)
    for i in (3, 8):
        assert not blocks(twice[i].weight)[~blocks(once[i].weight)].any()
        assert len(twice[i].parametrizations["weight"]) == 1
    assert all(torch.equal(value, state[name]) for name, value in once.state_dict().items())
    twice.train()
    loss = twice(x).square().sum()
    loss.backward()
    assert zeros(twice[3].parametrizations["weight"].original.grad) >= zeros(twice[3].weight)


def test_singular_covariances_are_survived_and_reported(caplog: pytest.LogCaptureFixture) -> None:
    net = nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 8)).eval()
    x = torch.zeros(10, 16)
    x[:, :4] = torch.randn(10, 1)
    for calibration in (x, torch.zeros(3, 16)):
        pruned = niwaki.prune(net, sparsity=0.5, importance="second_order", calibration=calibration)
        assert torch.isfinite(pruned(torch.randn(4, 16))).all()
    pruned = niwaki.prune(net, sparsity=0.5, importance="second_order", calibration=x)
    with torch.no_grad():
        assert F.mse_loss(pruned(x), net(x)) < 0.05 * net(x).var()
    _, report = niwaki.compress(net, x, sparsity=0.5, importance="second_order")
    assert report[0].reason == "the covariance of its inputs is singular: 12 of 16 never vary"
    with caplog.at_level("INFO", logger="niwaki"):
        niwaki.prune(net, sparsity=0.5, importance="second_order", calibration=torch.randn(5, 16))
        assert "layer '0': the covariance of its inputs is singular: 5 samples of 16" in caplog.text
        caplog.clear()
        niwaki.prune(net[:2], sparsity=0.5, importance="second_order", calibration=torch.randn(500, 16))
    assert "singular" not in caplog.text


def test_a_factorization_that_fails_is_tried_with_more_and_named(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    negative = Quadratic(Dense(torch.diag(torch.tensor([1.0, -5.0]))[None]), torch.ones(1, 1, 2), torch.ones(1, 1, 2))
    keep = MaskSearch(negative, name="fc").search(torch.ones(1, 1, 2), lambda i: i > 0, torch.ones(1, 1))
    assert keep.shape == (1, 1, 2)
    assert "layer 'fc': the covariance of its inputs is singular, even with a penalty of" in caplog.text


def test_inputs_too_large_to_square_are_survived_and_named(caplog: pytest.LogCaptureFixture) -> None:
    class Large(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x * 1e30

    net = nn.Sequential(nn.Linear(8, 8), Large(), nn.Linear(8, 8, bias=False)).eval()
    for scope in ("local", "global"):
        pruned = niwaki.prune(
            net, sparsity=0.5, importance="second_order", scope=scope, calibration=torch.randn(32, 8)
        )  # fmt: skip
        assert all(torch.isfinite(pruned[i].weight).all() for i in (0, 2))
        assert zeros(pruned[0].weight) + zeros(pruned[2].weight) == 64
    assert "layer '2': its inputs are NaN, infinite or too large" in caplog.text


def test_an_interrupted_run_goes_on_where_it_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    net = make_net().eval()
    options = {"sparsity": 0.5, "importance": "second_order", "calibration": torch.randn(16, 3, 9, 9)}
    wanted = niwaki.prune(net, **options)
    search, done = Problem.search, []

    def interrupted(self: Problem, count: int) -> torch.Tensor:
        if len(done) == 1:
            raise KeyboardInterrupt
        done.append(self.seen.name)
        return search(self, count)

    # The layers are measured before: their searches are not those of the pruning.
    monkeypatch.setattr(second_order, "measure_losses", lambda *_: ([0.1 * i for i in range(1, 9)], 0))
    monkeypatch.setattr(Problem, "search", interrupted)
    with pytest.raises(KeyboardInterrupt):
        niwaki.prune(net, checkpoint=tmp_path / "run", **options)
    assert done == ["3"]
    monkeypatch.undo()
    searched = []
    monkeypatch.setattr(Problem, "search", lambda self, count: searched.append(self.seen.name) or search(self, count))
    found = niwaki.prune(net, checkpoint=tmp_path / "run", **options)
    assert searched == ["8"]
    assert zeros(found[3].weight) + zeros(found[8].weight) == zeros(wanted[3].weight) + zeros(wanted[8].weight)
    again = niwaki.prune(net, checkpoint=tmp_path / "run", **options)
    assert searched == ["8"]
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in found.state_dict().items())
    with pytest.raises(ValueError, match="another network or with other options"):
        niwaki.prune(net, checkpoint=tmp_path / "run", **{**options, "sparsity": 0.6})


def test_wide_layers_take_another_way_to_the_same_end(monkeypatch: pytest.MonkeyPatch) -> None:
    x = correlated(400, 48)
    weight = torch.randn(1, 16, 48)
    form = form_of(weight, x)

    def project(importance: torch.Tensor) -> torch.Tensor:
        return importance >= importance.flatten().topk(384).values.min()

    def error() -> float:
        keep = MaskSearch(form).search(weight * form.scale, project, torch.ones(1, 16))
        return float(form.error(solve(form, keep, weight * form.scale)).sum())

    best = float(form.error(weight * form.scale).sum())
    narrow = error() - best
    monkeypatch.setattr("niwaki.layerwise.solve._WIDE", 32)
    assert 0 < error() - best < 1.1 * narrow


def test_networks_without_a_gradient_are_pruned(caplog: pytest.LogCaptureFixture) -> None:
    class Signs(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.detach()

    net = nn.Sequential(nn.Linear(8, 8), Signs())
    pruned = niwaki.prune(net, sparsity=0.5, importance="second_order", calibration=torch.randn(32, 8))
    assert zeros(pruned[0].weight) == 32
    assert "no gradient" in caplog.text


def test_layers_that_are_not_called_are_left(caplog: pytest.LogCaptureFixture) -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.dead = nn.Linear(8, 8), nn.Linear(8, 8)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.used(x)

    net = Net()
    with caplog.at_level("INFO", "niwaki"):
        pruned = niwaki.prune(net, sparsity=0.5, importance="second_order", calibration=torch.randn(32, 8))
    assert torch.equal(pruned.dead.weight, net.dead.weight) and zeros(pruned.used.weight) == 32
    assert "'dead' stays as it is" in caplog.text


def test_any_choice_of_images_does(shared_dir: Path) -> None:
    model, train, test, labels = load_cifar("resnet20", 3, shared_dir / "data")
    model = niwaki.optimize(model, args=(train[:1],))
    test, labels = test[:500], labels[:500]

    def right(net: nn.Module) -> float:
        with torch.no_grad():
            return 100 * float((net(test).argmax(1) == labels).float().mean())

    options = {"sparsity": 0.5, "scope": "local"}
    found = []
    for seed in range(3):
        chosen = torch.randperm(len(train), generator=torch.Generator().manual_seed(seed))[:192]
        images = train[chosen].split(64)
        found.append(right(niwaki.prune(model, importance="second_order", calibration=images, **options)))
    assert min(found) > right(model) - 3
    assert min(found) > right(niwaki.prune(model, **options)) + 5


@KINDS
def test_rounding_corrects_itself(kind: type[Gram]) -> None:
    x = correlated(400, 96)
    weight = torch.randn(1, 8, 96)
    form = form_of(weight, x, kind)
    keep = torch.rand(weight.shape) > 0.3
    v = solve(form, keep, weight * form.scale, steps=300)
    step = (v / form.scale).abs().amax(2) / 7
    q = round_to_grid(form, v.clone(), keep, step, Uniform(7))
    nearest = (v / form.scale / step[:, :, None]).round()
    assert torch.equal(q, q.round()) and q.abs().max() <= 7 and not q[~keep].any()
    best = form.error(v).sum()
    errors = [float(form.error(w * step[:, :, None] * form.scale).sum() - best) for w in (nearest, q)]
    assert 0 < errors[1] < 0.7 * errors[0]
    # At the end no single step to a neighbour is an improvement.
    size = step[:, :, None] * form.scale
    settled = round_to_grid(form, v.clone(), keep, step, Uniform(7), passes=50)
    gradient = form.b - form.a.times(settled * size)
    free = keep & (settled.abs() < 7)
    assert (gradient.abs() <= 0.5 * size * (1 + 1e-3))[free].all()


@pytest.mark.parametrize("per_channel", [True, False])
def test_pruned_weights_lie_on_the_grid_that_is_stored(per_channel: bool) -> None:
    net = niwaki.optimize(make_net())
    x = torch.randn(32, 3, 9, 9)
    grid = Grid(niwaki.QuantizeConfig(per_channel=per_channel))
    config = niwaki.PruneConfig(0.5, importance="second_order")
    pruned, _ = prune_with_reasons(net, config, [Batch(0, (x,), {})], finish=grid)
    assert set(grid.scales) == {"3", "8"}
    module = quantize_with_reasons(pruned, x, scales=grid.scales).module
    for name in grid.scales:
        layer = module.get_submodule(name)
        full = layer.weight.flatten(1).any(1)
        assert torch.equal(layer.weight_scale[full], grid.scales[name][full])
        shape = (-1, *[1] * (layer.weight.dim() - 1))
        assert torch.equal(layer.weight * layer.weight_scale.reshape(shape), pruned.get_submodule(name).weight)
        assert layer.weight.abs().max() == 127


@pytest.mark.parametrize("pattern", ["block4", "2:4"])
def test_compress_in_one_pass(pattern: str) -> None:
    net = make_net().eval()
    x = torch.randn(96, 3, 9, 9)
    options = {"pattern": pattern} if pattern == "2:4" else {"pattern": pattern, "sparsity": 0.5}
    second, report = niwaki.compress(net, iter(x[:64].split(16)), importance="second_order", **options)
    first, _ = niwaki.compress(net, x[:64], importance="magnitude", **options)
    assert report[1].zeros >= 0.3 and report[1].name == "3"
    with torch.no_grad():
        wanted = net(x[64:])
        assert F.mse_loss(second(x[64:]), wanted) < 0.7 * F.mse_loss(first(x[64:]), wanted)
    compiled = niwaki.compile(second, (x[64:],), threads=1)
    assert F.mse_loss(compiled(x[64:]), wanted) < F.mse_loss(first(x[64:]), wanted)


def test_few_inputs_do_not_lead_astray() -> None:
    """Fewer samples than inputs: what fits them alone is worse for all others than what is damped."""
    torch.manual_seed(0)
    mix = torch.randn(256, 256) * torch.linspace(1, 0.02, 256).sqrt()[:, None]
    seen, others = (torch.relu(torch.randn(n, 256) @ mix / 10) for n in (60, 1000))
    net = nn.Sequential(nn.Linear(256, 40)).eval()

    def error(pruned: nn.Module, x: torch.Tensor) -> float:
        with torch.no_grad():
            return float((pruned(x) - net(x)).norm() / net(x).norm())

    second = niwaki.prune(net, sparsity=0.75, importance="second_order", calibration=[seen])
    magnitude = niwaki.prune(net, sparsity=0.75)
    assert error(second, others) < 0.95 * error(magnitude, others)
    assert error(second, others) < 5 * error(second, seen)
