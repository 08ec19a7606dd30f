"""What brings accuracy back: distillation, the joint schedule, and processes that train together."""

from __future__ import annotations

import copy
import importlib
import os
import subprocess
import sys
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import niwaki
from niwaki.budget.measure import Measurement
from niwaki.training.loop import distillation, train


def make_net(classes: int = 8) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(4, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 32, 3, stride=2), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, classes),
    ).eval()  # fmt: skip


@pytest.fixture
def x() -> torch.Tensor:
    return torch.randn(32, 4, 8, 8)


def test_the_loss_is_that_of_hinton(x: torch.Tensor) -> None:
    teacher, student = make_net(), make_net()
    labels = torch.randint(8, (32,))
    criterion = niwaki.DistillationLoss(teacher, temperature=3.0, weight=0.7)
    output = student(x).detach()
    soft = F.kl_div(
        F.log_softmax(output / 3, 1), F.log_softmax(teacher(x).detach() / 3, 1), reduction="batchmean", log_target=True
    )
    wanted = 0.7 * 9 * soft + 0.3 * F.cross_entropy(output, labels)
    assert float(criterion(output, x, labels)) == pytest.approx(float(wanted), rel=1e-4)
    assert float(criterion(output, x)) == pytest.approx(float(9 * soft), rel=1e-4)
    assert float(criterion(teacher(x).detach(), x)) == pytest.approx(0, abs=1e-5)
    assert criterion.train().training and not criterion.teacher.training
    criterion(student(x), x).backward()
    assert student[0].weight.grad is not None and all(p.grad is None for p in criterion.teacher.parameters())


def test_what_has_logits_and_is_called_by_name(x: torch.Tensor) -> None:
    """As the models of Hugging Face."""

    class Named(nn.Module):
        def __init__(self, net: nn.Module) -> None:
            super().__init__()
            self.net = net

        def forward(self, *, pixels: torch.Tensor, scale: torch.Tensor) -> Any:
            return SimpleNamespace(logits=self.net(pixels) * scale, loss=None)

    plain, student, scale = make_net(), make_net(), torch.tensor(2.0)
    teacher = Named(plain)
    labels = torch.randint(8, (32,))
    output = Named(student)(pixels=x, scale=scale)
    found = niwaki.DistillationLoss(teacher)(output, {"pixels": x, "scale": scale}, labels)
    doubled = nn.Sequential(*plain, nn.Linear(8, 8, bias=False)).eval()
    with torch.no_grad():
        doubled[-1].weight.copy_(2 * torch.eye(8))
    torch.testing.assert_close(found, niwaki.DistillationLoss(doubled)(output.logits, x, labels))


def test_features_are_compared(x: torch.Tensor) -> None:
    teacher, student = make_net(), make_net()
    criterion = niwaki.DistillationLoss(teacher, features=("0", "3"), feature_weight=0.5, student=student)
    plain = niwaki.DistillationLoss(teacher)
    with torch.no_grad():
        parts = []
        for end in (1, 4):
            mine, theirs = student[:end](x), teacher[:end](x)
            parts.append((mine - theirs).square().sum() / theirs.square().sum())
        wanted = plain(student(x), x) + 0.5 * (parts[0] + parts[1]) / 2
        assert float(criterion(student(x), x)) == pytest.approx(float(wanted), rel=1e-5)
    with pytest.raises(RuntimeError, match="'0' did not run"):
        criterion(torch.randn(32, 8), x)
    criterion.close()
    assert not student[0]._forward_hooks


@pytest.mark.parametrize(("make", "error", "says"), [
    (lambda net: niwaki.DistillationLoss(3), TypeError, "teacher must be a network"),
    (lambda net: niwaki.DistillationLoss(net, temperature=0), ValueError, "temperature must be a number above 0"),
    (lambda net: niwaki.DistillationLoss(net, weight=2), ValueError, "weight must be a number from 0 to 1"),
    (lambda net: niwaki.DistillationLoss(net, feature_weight=-1), ValueError, "feature_weight must be"),
    (lambda net: niwaki.DistillationLoss(net, features="0", student=net), TypeError, "write \\('0',\\)"),
    (lambda net: niwaki.DistillationLoss(net, features=("0",)), TypeError, "give it, too"),
    (lambda net: niwaki.DistillationLoss(net, features=("z",), student=net), ValueError, "has no module 'z'"),
    (lambda net: niwaki.DistillationLoss(net)(torch.randn(2, 5), torch.randn(2, 4, 8, 8)), ValueError, "same classes"),
    (lambda net: niwaki.DistillationLoss(net)(torch.randn(8), torch.randn(2, 4, 8, 8)), TypeError, "logits"),
    (lambda net: niwaki.JointTraining(net, torch.randn(2, 4, 8, 8), steps=3), TypeError, "or both"),
    (lambda net: niwaki.JointTraining(net, torch.randn(2, 4, 8, 8), prune=niwaki.PruneConfig(0.5), steps=0),
     ValueError, "steps must be"),
    (lambda net: niwaki.JointTraining(net, [], prune=niwaki.PruneConfig(0.5, pattern="channels"), steps=3),
     ValueError, "at once"),
])  # fmt: skip
def test_bad_arguments(make: Any, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        make(make_net())


@pytest.mark.parametrize("importance", ["magnitude", "second_order"])
def test_the_joint_schedule(x: torch.Tensor, importance: str) -> None:
    net = make_net()
    state = copy.deepcopy(net.state_dict())
    config = niwaki.FinetuneConfig(prune_share=0.5, quantize_share=0.25)
    joint = niwaki.JointTraining(
        net, x, prune=niwaki.PruneConfig(0.75, importance=importance), quantize=niwaki.QuantizeConfig(weight_bits=6),
        steps=16, config=config,
    )  # fmt: skip
    with pytest.raises(RuntimeError, match="train through all"):
        assert joint.result
    criterion, seen, zeros = niwaki.DistillationLoss(net), [], []
    for phase in joint:
        seen.append((phase.name, phase.begin, phase.steps))
        optimizer = torch.optim.Adam(phase.network.parameters(), lr=1e-3)
        assert phase.network.training
        for _ in range(phase.steps):
            optimizer.zero_grad()
            criterion(phase.network(x), x).backward()
            optimizer.step()
            phase.step()
            zeros.append(float((phase.network[3].weight == 0).float().mean()))
    assert seen == [("prune", 0, 12), ("quantize", 12, 4)]
    small = joint.result
    assert zeros[-1] >= 0.7 and zeros[:12] == sorted(zeros[:12])
    assert (zeros[0] < 0.1) == (importance == "magnitude"), "second order prunes at once, the others by and by"
    assert float((small[3].weight == 0).float().mean()) >= 0.7 and int(small[3].weight.abs().max()) <= 31
    assert all("covariance of its inputs is singular" in reason for reason in joint.reasons.values()), "all are pruned"
    niwaki.compile(small, (x,))
    assert all(torch.equal(value, state[name]) for name, value in net.state_dict().items())


def test_a_codebook_is_fitted_after_the_training(x: torch.Tensor) -> None:
    joint = niwaki.JointTraining(make_net(), x, quantize=niwaki.QuantizeConfig(codebook="kmeans"), steps=2)
    assert [(phase.name, phase.steps) for phase in joint] == [("train", 2)]
    assert len(joint.result[3].weight.unique()) <= 16
    pruned = niwaki.JointTraining(make_net(), x, prune=niwaki.PruneConfig(1.0), steps=2)
    for phase in pruned:
        for _ in range(phase.steps):
            phase.step()
    assert not pruned.result[3].weight.any() and type(pruned.result[3]) is nn.Conv2d


def test_training_goes_on_from_a_checkpoint(x: torch.Tensor, tmp_path: Path) -> None:
    net, config = make_net(), niwaki.FinetuneConfig(learning_rate=1e-3)
    labels = torch.randint(8, (32,))

    def run(folder: Path | None, data: Any) -> nn.Module:
        joint = niwaki.JointTraining(
            net, x, prune=niwaki.PruneConfig(0.5), quantize=niwaki.QuantizeConfig(), steps=8, config=config
        )
        return train(joint, data, config, distillation(net, config), checkpoint=folder)

    whole = run(None, [(x, labels)])
    first = run(tmp_path, [(x, labels)])
    assert torch.equal(whole(x), first(x))

    def none_left() -> Any:
        raise AssertionError("all steps are done")
        yield

    again = run(tmp_path, none_left())
    assert torch.equal(again[3].weight, whole[3].weight)
    with pytest.raises(ValueError, match="is empty"):
        run(None, [])


def test_steps_that_are_not_finite_are_left_out_and_named(x: torch.Tensor, caplog: pytest.LogCaptureFixture) -> None:
    net, config = make_net(), niwaki.FinetuneConfig(learning_rate=1e-3)
    bad = x.clone()
    bad[0, 0, 0, 0] = torch.nan
    labels = torch.randint(8, (32,))

    def run(data: Any, criterion: Any = None, steps: int = 8) -> nn.Module:
        joint = niwaki.JointTraining(
            net, x, prune=niwaki.PruneConfig(0.5), quantize=niwaki.QuantizeConfig(), steps=steps
        )
        return train(joint, data, config, criterion or distillation(net, config))

    small = run([(x, labels), (bad, labels)])
    assert "the loss is NaN or infinite at step 1, which is left out" in caplog.text
    assert bool(small(x).isfinite().all())

    class Root(torch.autograd.Function):
        """A gradient that is infinite, of a value that is not."""

        @staticmethod
        def forward(ctx: Any, value: torch.Tensor) -> torch.Tensor:
            return value.clone()

        @staticmethod
        def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
            return gradient * torch.inf

    caplog.clear()
    calls = iter(range(99))
    soft = distillation(net, config)

    def criterion(output: torch.Tensor, inputs: torch.Tensor, labels: torch.Tensor | None) -> torch.Tensor:
        loss = soft(output, inputs, labels)
        return Root.apply(loss) if next(calls) == 2 else loss

    small = run([(x, labels)], criterion)
    assert "the gradient of '" in caplog.text and "is NaN or infinite at step 2" in caplog.text
    assert bool(small(x).isfinite().all())
    with pytest.raises(
        ValueError, match="the loss is NaN or infinite at step 9, and in the 9 steps before it; look at"
    ):
        run([(bad, labels)], steps=20)


@pytest.mark.parametrize("what", ["rounding", "second_order", "target", "finetune"])
def test_an_interrupted_compression_goes_on(
    x: torch.Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    net = make_net()
    options: dict[str, Any] = {
        "rounding": {"weight_bits": 4},
        "second_order": {"sparsity": 0.5, "importance": "second_order", "weight_bits": 4},
        "target": {"target": niwaki.Target(size=0.2)},
        "finetune": {"recipe": niwaki.Recipe(
            "mine", prune=niwaki.PruneConfig(0.5, importance="second_order"),
            finetune=niwaki.FinetuneConfig(epochs=60, batch=8, learning_rate=1e-3),
        )},
    }[what]  # fmt: skip
    wanted, _ = niwaki.compress(net, x, **options)
    names = {
        "rounding": "niwaki.quantization.grid.round_to_grid", "second_order": "niwaki.quantization.grid.round_to_grid",
        "target": "niwaki.budget.measure.Measurement._options", "finetune": "niwaki.training.loop.not_finite",
    }  # fmt: skip
    after = {"rounding": 1, "second_order": 1, "target": 2, "finetune": 130}[what]
    path, _, name = names[what].rpartition(".")
    owner = Measurement if what == "target" else importlib.import_module(path)
    plain, calls = getattr(owner, name), []

    def counted(*args: Any, **kwargs: Any) -> Any:
        calls.append(name)
        if len(calls) > after:
            raise KeyboardInterrupt
        return plain(*args, **kwargs)

    monkeypatch.setattr(owner, name, counted)
    with pytest.raises(KeyboardInterrupt):
        niwaki.compress(net, x, checkpoint=tmp_path / "run", **options)
    monkeypatch.setattr(owner, name, lambda *args, **kwargs: calls.append(name) or plain(*args, **kwargs))
    first, calls[:] = len(calls), []
    found, _ = niwaki.compress(net, x, checkpoint=tmp_path / "run", **options)
    total = {"rounding": 3, "second_order": 3, "target": 3, "finetune": 180}[what]
    done = {"finetune": 100}.get(what, first - 1)
    assert len(calls) == total - done, "what was done is not done again"
    if what != "finetune":  # the data of a training begin anew
        assert torch.equal(found(x), wanted(x))
    calls.clear()
    again, _ = niwaki.compress(net, x, checkpoint=tmp_path / "run", **options)
    assert not calls and torch.equal(again(x), found(x))
    other = make_net()
    with torch.no_grad():
        other[0].weight += 1
    with pytest.raises(ValueError, match="another network or with other options"):
        niwaki.compress(other, x, checkpoint=tmp_path / "run", **options)
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="is a file; give the name of a folder"):
        niwaki.compress(net, x, checkpoint=tmp_path / "file", **options)


@pytest.mark.skipif(not torch.distributed.is_available(), reason="this torch has no torch.distributed")
def test_two_processes_end_with_one_network(root: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "quick.yaml"
    recipe.write_text(
        "prune: {sparsity: 0.75, importance: taylor}\n"
        "finetune: {epochs: 1, batch: 64, prune_share: 0.5, quantize_share: 0.4, learning_rate: 1.0e-3}\n"
    )
    shared = {**os.environ, "GLOO_SOCKET_IFNAME": "lo", "WORLD_SIZE": "2", "OMP_NUM_THREADS": "1"}
    command = [
        sys.executable, str(root / "examples/training/finetune.py"), "--recipe", str(recipe), "--float-epochs", "1",
        "--meet", f"file://{tmp_path}/meet", "--digest", str(tmp_path / "state"), "-o", str(tmp_path / "net.niwaki"),
    ]  # fmt: skip
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    ranks = [subprocess.Popen(command, env={**shared, "RANK": str(rank)}, **pipes) for rank in range(2)]
    try:
        said = [process.communicate(timeout=240)[0] for process in ranks]
    finally:
        for process in ranks:
            process.kill()
    assert [process.returncode for process in ranks] == [0, 0], "\n".join(said)
    first, second = (torch.load(tmp_path / f"state.{rank}", weights_only=True) for rank in range(2))
    assert list(first) == list(second) and len(first) > 20
    for name, value in first.items():
        assert torch.equal(value, second[name]), name
    zeros = [float((value == 0).float().mean()) for value in islice(first.values(), 99) if value.dtype == torch.int8]
    assert max(zeros) > 0.5
    assert "compressed" in said[0] and "compressed" not in said[1]
    assert niwaki.load(tmp_path / "net.niwaki")(torch.rand(2, 1, 8, 8)).shape == (2, 10)
