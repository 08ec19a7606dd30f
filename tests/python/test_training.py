"""Quantization-aware training: prepare, train, convert."""

from __future__ import annotations

import copy
import dataclasses
import datetime
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import distributed, nn
from torch.nn import functional as F

import niwaki
from niwaki import NiwakiError, QuantizeConfig
from niwaki.pruning.mask import mask_of
from niwaki.quantization.fake import InputQuantizer, WeightQuantizer, round_through


def make_net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 4),
    ).eval()  # fmt: skip


@pytest.fixture
def x() -> torch.Tensor:
    return torch.randn(32, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def train(net: nn.Module, x: torch.Tensor, steps: int = 20) -> list[float]:
    target = torch.arange(len(x)) % 4
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
    losses = []
    net.train()
    for _ in range(steps):
        loss = F.cross_entropy(net(x), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    net.eval()
    return losses


@pytest.mark.parametrize("learned", [False, True])
@pytest.mark.parametrize("bits", [8, 4])
def test_what_was_trained_is_what_runs(x: torch.Tensor, learned: bool, bits: int) -> None:
    config = QuantizeConfig(weight_bits=bits)
    prepared = niwaki.prepare(make_net(), x, config, learned_steps=learned, progress=False)
    losses = train(prepared, x)
    assert losses[-1] < losses[0] - 0.05
    small = niwaki.convert(prepared, x)
    with torch.no_grad():
        wanted = prepared(x)
    # A value halfway between two steps may be rounded either way: x / s here, x * (1 / s) in the kernel.
    torch.testing.assert_close(small(x), wanted, rtol=0, atol=2e-2 * float(wanted.abs().max()))
    assert float((small(x) - wanted).abs().mean()) < 2e-3 * float(wanted.abs().max())
    for part in small.modules():
        if isinstance(part, (niwaki.nn.Conv2d, niwaki.nn.Linear)):
            assert int(part.weight.abs().max()) <= 2 ** (bits - 1) - 1
            layer: Any = prepared.get_submodule(part.name)
            assert float(part.input_scale) == float(layer.input_quantizer.scale.detach().abs())
            real = part.weight.float() * part.weight_scale.reshape(-1, *[1] * (part.weight.dim() - 1))
            torch.testing.assert_close(real, layer.weight.detach(), rtol=1e-6, atol=1e-9)
    compiled = niwaki.compile(small, (x[:1],))
    assert float((compiled(x) - wanted).abs().mean()) < 3e-2 * float(wanted.abs().max())


@pytest.mark.parametrize("fold", [True, False])
def test_frozen_parameters_and_dropout_stay(x: torch.Tensor, fold: bool) -> None:
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.5), nn.Conv2d(8, 8, 3), nn.Flatten(),
        nn.Linear(8 * 16, 4),
    ).eval()  # fmt: skip
    net[0].requires_grad_(False)
    net[4].bias.requires_grad_(False)
    prepared = niwaki.prepare(net, x, fold_batch_norm=fold, progress=False)
    flags = {name: parameter.requires_grad for name, parameter in prepared.named_parameters()}
    assert not flags["0.parametrizations.weight.original"] and not flags["4.bias"]
    assert flags["4.parametrizations.weight.original"] and flags["6.bias"]
    assert not flags.get("0.bias", False)  # what is left of the batch norm follows the weight
    assert sum(isinstance(part, nn.Dropout) for part in prepared.modules()) == 1
    frozen = niwaki.prepare(make_net().requires_grad_(False), x, progress=False)
    assert all(parameter.requires_grad for parameter in frozen.parameters())


@pytest.mark.parametrize("learned", [False, True])
def test_zeros_stay_zeros(x: torch.Tensor, learned: bool) -> None:
    pruned = niwaki.prune(make_net(), sparsity=0.5, pattern="unstructured")
    prepared = niwaki.prepare(pruned, x, learned_steps=learned, progress=False)
    layers = [name for name, part in prepared.named_modules() if isinstance(part, (nn.Conv2d, nn.Linear))]
    before = [prepared.get_submodule(name).weight == 0 for name in layers]
    train(prepared, x, 5)
    small = niwaki.convert(prepared)
    assert sum(int(zeros.sum()) for zeros in before) >= 0.5 * sum(zeros.numel() for zeros in before) - 8
    for name, zeros in zip(layers, before, strict=True):
        assert bool((small.get_submodule(name).weight[zeros] == 0).all())


def test_ranges_follow_only_in_training(x: torch.Tensor) -> None:
    quantizer = InputQuantizer(0.01, 0, learned=False, momentum=0.5)
    quantizer.eval()(x)
    assert float(quantizer.scale) == pytest.approx(0.01)
    quantizer.train()(torch.tensor([-1.0, 3.55]))
    # Half of the way from 0 ... 2.55 to -1 ... 3.55.
    assert float(quantizer.scale) == pytest.approx((3.05 + 0.5) / 255)
    assert int(quantizer.zero_point) == round(0.5 / ((3.05 + 0.5) / 255))


def test_gradients() -> None:
    x = torch.tensor([0.4, 1.6, 300.0], requires_grad=True)
    round_through(x).sum().backward()
    assert x.grad is not None and x.grad.tolist() == [1, 1, 1]
    # LSQ: the gradient of the scale is round(w / s) - w / s inside of the range, and the end outside of it.
    quantizer = WeightQuantizer(torch.ones(1, 3), torch.tensor([1.0]), 7, learned=True)
    weight = torch.tensor([[0.4, 1.6, 300.0]], requires_grad=True)
    quantizer(weight).sum().backward()
    wanted = ((0 - 0.4) + (2 - 1.6) + 7) / (3 * 7) ** 0.5
    assert quantizer.scale.grad is not None
    assert float(quantizer.scale.grad) == pytest.approx(wanted, rel=1e-5)
    assert weight.grad is not None and weight.grad.tolist() == [[1, 1, 0]]


def test_what_cannot_be_trained_is_said(x: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="codebooks cannot be trained"):
        niwaki.prepare(make_net(), x, QuantizeConfig(codebook="kmeans"))
    with pytest.raises(ValueError, match="momentum must be"):
        niwaki.prepare(make_net(), x, momentum=2)
    with pytest.raises(NiwakiError, match=r"call niwaki\.prepare first"):
        niwaki.convert(make_net())
    with pytest.raises(TypeError, match="fold_batch_norm must be True or False"):
        niwaki.prepare(make_net(), x, fold_batch_norm="no")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="equalize moves scales between folded layers"):
        niwaki.prepare(make_net(), x, QuantizeConfig(equalize=True), fold_batch_norm=False)


def norms_of(net: nn.Module) -> list[nn.BatchNorm2d]:
    return [part for part in net.modules() if isinstance(part, nn.BatchNorm2d)]


@pytest.mark.parametrize("learned", [False, True])
def test_batch_norms_train_along_and_are_folded_at_the_end(x: torch.Tensor, learned: bool) -> None:
    net = make_net()
    with torch.no_grad():
        net[1].running_var.mul_(3).add_(0.2)
        net[1].weight.copy_(torch.tensor([1.0, -0.5, 2, 0.1, 1, 0, 1, 1]))
    net = niwaki.prune(net, sparsity=0.3, pattern="unstructured")
    prepared = niwaki.prepare(net, x, learned_steps=learned, fold_batch_norm=False, progress=False)
    folded = niwaki.prepare(net, x, learned_steps=learned, progress=False)
    with torch.no_grad():
        torch.testing.assert_close(prepared(x), folded(x), rtol=1e-4, atol=1e-5)
    zeros = prepared[0].weight == 0
    mean, gamma = norms_of(prepared)[0].running_mean.clone(), norms_of(prepared)[0].weight.detach().clone()
    losses = train(prepared, x, 60)
    assert losses[-1] < losses[0] - 0.05
    assert not torch.equal(norms_of(prepared)[0].running_mean, mean), "statistics follow the batches"
    assert not torch.equal(norms_of(prepared)[0].weight, gamma)
    assert torch.equal((prepared[0].weight == 0) | zeros, prepared[0].weight == 0)
    small = niwaki.convert(prepared, x)
    assert not norms_of(small) and norms_of(prepared)
    with torch.no_grad():
        wanted = prepared(x)
    torch.testing.assert_close(small(x), wanted, rtol=0, atol=2e-2 * float(wanted.abs().max()))
    compiled = niwaki.compile(small, (x[:1],))
    assert float((compiled(x) - wanted).abs().mean()) < 3e-2 * float(wanted.abs().max())


def test_frozen_batch_norms_stay_as_they_are(x: torch.Tensor) -> None:
    prepared = niwaki.prepare(make_net(), x, fold_batch_norm=False, momentum=0.0, progress=False)
    assert niwaki.freeze_batch_norm(prepared) is prepared and niwaki.freeze_batch_norm(prepared) is prepared
    copied = copy.deepcopy(prepared)
    assert norms_of(copied)[0] is copied[0].parametrizations["weight"][-1].norm
    for net in (prepared, copied):
        (norm,) = norms_of(net)
        mean, gamma = norm.running_mean.clone(), norm.weight.detach().clone()
        net.train()
        with torch.no_grad():
            first = net(x[:4])
            torch.testing.assert_close(net(x)[:4], first, msg="no batch decides")
        train(net, x, 3)
        assert torch.equal(norm.running_mean, mean) and not torch.equal(norm.weight, gamma)
        small = niwaki.convert(net, x)
        with torch.no_grad():
            torch.testing.assert_close(small(x), net(x), rtol=0, atol=2e-2 * float(net(x).abs().max()))


def test_pruning_while_training_with_rounding(x: torch.Tensor) -> None:
    prepared = niwaki.prepare(make_net(), x, progress=False)
    pruner = niwaki.Pruner(prepared, niwaki.PruneConfig(0.5), schedule=niwaki.LinearSchedule(0, 2))
    assert set(pruner.reasons) == {"0"}, "three input channels are no block"
    for _ in range(3):
        pruner.step()
    assert pruner.sparsity == 0.5
    pruner.finish()
    small = niwaki.convert(prepared, x)
    assert float((small[3].weight == 0).float().mean()) >= 0.4


def test_a_batch_that_is_not_finite_leaves_the_range(x: torch.Tensor, caplog: pytest.LogCaptureFixture) -> None:
    quantizer = InputQuantizer(0.01, 0, learned=False, momentum=0.5).train()
    quantizer(torch.tensor([1.0, torch.nan]))
    assert float(quantizer.scale) == pytest.approx(0.01)
    assert "a layer's input holds NaN or infinity" in caplog.text


def test_a_layer_that_is_called_twice_is_trained() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.layer(self.layer(x).relu())

    inputs = torch.randn(32, 4)
    prepared = niwaki.prepare(Twice(), inputs, momentum=0.5, progress=False).train()
    prepared(inputs).square().sum().backward()
    assert bool(torch.isfinite(prepared.layer.parametrizations.weight.original.grad).all())


class Branching(nn.Module):
    """The second layer is reached by some inputs only, the third by none."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.third = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.first(x)
        if self.training and len(x) > 2:
            y = self.second(y.relu())
        return y if self.training else self.third(self.second(y))


def _unlike_ways(rank: int) -> torch.Tensor:
    """Trains one step in which one process reaches a layer that the other does not; the scales after it."""
    torch.manual_seed(0)
    calibration = torch.randn(512, 4)  # so many that no row is given a range of its own
    prepared = niwaki.prepare(Branching(), calibration, momentum=1.0, progress=False).train()
    parallel = nn.parallel.DistributedDataParallel(prepared, find_unused_parameters=True)
    for count in (4, 0) if rank == 0 else (2, 3):
        parallel(torch.full((count, 4), 9.0 - 5 * rank)).square().sum().backward()
    return torch.stack([part.scale for part in prepared.modules() if isinstance(part, InputQuantizer)])


def _failures(rank: int) -> list[str]:
    """What processes say of which one fails before it is trained, or chooses another network."""
    x, said = torch.randn(32, 4), []
    nets = [nn.Linear(4, 4), nn.Linear(4 + rank, 4)]
    for net, items in zip(nets, [x * torch.inf if rank == 1 else x, torch.randn(32, 4 + rank)], strict=True):
        try:
            list(niwaki.JointTraining(net, items, quantize=niwaki.QuantizeConfig(), steps=4, progress=False))
        except (ValueError, niwaki.NiwakiError) as error:
            said.append(str(error))
    return said


def _rank(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    limit = datetime.timedelta(seconds=60)
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2, timeout=limit)
    scales = _unlike_ways(rank)
    torch.save({"scales": scales, "said": _failures(rank)}, Path(folder, str(rank)))
    distributed.barrier()  # neither closes its connection while the other still talks
    distributed.destroy_process_group()
    os._exit(0)  # not through the interpreter's end, where gloo's threads once ended a process with an abort


@pytest.mark.skipif(not distributed.is_available(), reason="torch was built without distributed")
def test_processes_agree_and_none_waits_for_ever(tmp_path: Path) -> None:
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
    first, second = (torch.load(tmp_path / str(rank)) for rank in range(2))
    assert torch.equal(first["scales"], second["scales"])
    assert float(first["scales"][0]) == pytest.approx(4 / 255)  # the last inputs: none in one process, 4 in the other
    assert "process 1 has failed, so all stop: ValueError" in first["said"][0] and "infinity" in second["said"][0]
    assert "process 1 has failed" in first["said"][1] and "another network than those of process 0" in second["said"][1]


if __name__ == "__main__":
    _rank(int(sys.argv[1]), sys.argv[2])


@pytest.mark.parametrize("sparsity", [0.0, 0.5])
def test_few_bits_begin_where_second_order_leaves_them(x: torch.Tensor, sparsity: float) -> None:
    net = make_net()
    if sparsity:
        net = niwaki.prune(net, sparsity=sparsity, pattern="unstructured")
    config = QuantizeConfig(weight_bits=3)
    prepared = niwaki.prepare(net, x, config, progress=False)
    begun = niwaki.convert(prepared)
    wanted = niwaki.quantize(net, x, dataclasses.replace(config, correct_bias=False), progress=False)
    nearest = niwaki.quantize(net, x, dataclasses.replace(config, rounding="nearest"), progress=False)
    moved = 0
    for part in wanted.modules():
        if isinstance(part, (niwaki.nn.Conv2d, niwaki.nn.Linear)):
            layer = begun.get_submodule(part.name)
            assert torch.equal(layer.weight, part.weight) and torch.equal(layer.bias, part.bias)
            torch.testing.assert_close(layer.weight_scale, part.weight_scale)
            moved += int((nearest.get_submodule(part.name).weight != part.weight).sum())
            # A zero that rounding made is not masked: training may undo it.
            masked = mask_of(prepared.get_submodule(part.name))
            assert torch.equal(masked, net.get_submodule(part.name).weight != 0)
    assert moved > 20
