"""Measuring layers over a cluster of Ray, two nodes of this machine: the network is that of one process, to the bit."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray_cluster
import torch
from dealt_network import images, network
from torch import nn

import niwaki
from niwaki.budget.measure import Measurement
from niwaki.pruning import second_order

ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'niwaki[ray]'")
pytestmark = pytest.mark.filterwarnings("default")  # Ray's own


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    yield from ray_cluster.two_nodes()


def same(a: nn.Module, b: nn.Module) -> bool:
    one, other = a.state_dict(), b.state_dict()
    assert one.keys() == other.keys()
    tensors = [name for name, value in one.items() if isinstance(value, torch.Tensor)]
    return all(torch.equal(one[name], other[name]) for name in tensors)


def measured_here(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Gets the names of the layers that this process measures."""
    names: list[str] = []
    options, losses = Measurement._options, second_order.measure_losses
    monkeypatch.setattr(Measurement, "_options", lambda self, seen: (names.append(seen.name), options(self, seen))[1])
    monkeypatch.setattr(
        second_order, "measure_losses", lambda seen, *rest: (names.append(seen.name), losses(seen, *rest))[1]
    )
    return names


@pytest.mark.parametrize(
    "options",
    [{"target": niwaki.Target(size=0.18)}, {"sparsity": 0.5, "transform": torch.abs}],
    ids=["target", "sparsity"],
)
def test_the_network_is_that_of_one_process(
    cluster: Any, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    names = measured_here(monkeypatch)
    one, told = niwaki.compress(network(), images(), progress=False, **options)
    alone = len(names)
    assert alone == 4
    # A loader that is gone after one look, as the items of an iterator are.
    shared, again = niwaki.compress(network(), iter(images()), ray="auto", progress=False, **options)
    assert same(one, shared) and [row.zeros for row in told] == [row.zeros for row in again]
    assert len(names) - alone == 2, "the two actors measure a layer each, this process the first and the fourth"


def test_pruning_and_its_checkpoint(cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options: dict[str, Any] = {"sparsity": 0.5, "importance": "second_order", "calibration": images()}
    one = niwaki.prune(network(), **options, progress=False)
    assert same(one, niwaki.prune(network(), **options, ray="auto", checkpoint=tmp_path, progress=False))
    names = measured_here(monkeypatch)
    assert same(one, niwaki.prune(network(), **options, ray="auto", checkpoint=tmp_path, progress=False))
    assert not names, "all of it is kept"


def test_accuracy_is_measured_here_alone(cluster: Any) -> None:
    """By a function that could not be sent."""
    seen: list[int] = []
    kept = open(os.devnull)  # noqa: SIM115 (no file can be pickled)

    def evaluate(model: nn.Module) -> float:
        assert not kept.closed
        seen.append(os.getpid())
        with torch.no_grad():
            return float(100 * (model(images()[0]).argmax(1) == network()(images()[0]).argmax(1)).float().mean())

    target = niwaki.Target(size=0.25, accuracy_drop=30.0)
    try:
        one, told = niwaki.compress(network(), images(), target=target, evaluate=evaluate, progress=False)
        calls = len(seen)
        shared, again = niwaki.compress(
            network(), images(), target=target, evaluate=evaluate, ray="auto", progress=False
        )
    finally:
        kept.close()
    assert same(one, shared) and told.network.accuracy == again.network.accuracy
    assert len(seen) == 2 * calls and set(seen) == {os.getpid()}


def test_an_actor_that_fails_stops_all(cluster: Any) -> None:
    home = os.getpid()

    def transform(item: torch.Tensor) -> torch.Tensor:
        return item if os.getpid() == home else item / 0 * int("by nought")

    with pytest.raises(niwaki.NiwakiError, match=r"process [12] has failed, so all stop: .*by nought"):
        niwaki.compress(network(), images(), sparsity=0.5, transform=transform, ray="auto", progress=False)


def test_what_goes_wrong_here_stops_all(cluster: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(second_order, "measure_losses", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        niwaki.compress(network(), images(), sparsity=0.5, ray="auto", progress=False)


def test_what_cannot_be_shared_is_refused(cluster: Any) -> None:
    model, refused = network(), (TypeError, niwaki.NiwakiError)
    for options, words in (
        ({"ray": 3}, "ray has to be the address of a cluster"),
        ({"ray": "auto", "distributed": True}, "leave one out"),
        ({"distributed": "auto"}, "ray='auto' for a cluster of Ray; 'auto' is neither"),
        ({"ray": "auto", "recipe": "int8"}, "one process runs a recipe"),
        ({"ray": "auto", "target": niwaki.Target(latency=1.0)}, "a latency is measured on one machine"),
    ):
        with pytest.raises(refused, match=words):
            niwaki.compress(model, images(), progress=False, **options)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="only importance='second_order' is shared"):
        niwaki.prune(model, sparsity=0.5, importance="magnitude", ray="auto")
    model.note = (lambda: (yield))()  # type: ignore[assignment]
    with pytest.raises(niwaki.NiwakiError, match=r"can't be sent to other machines .*generator"):
        niwaki.compress(model, images(), sparsity=0.5, ray="auto", progress=False)
    torch.set_num_threads(2)
    try:
        with pytest.raises(niwaki.NiwakiError, match="no machine of the cluster has more than 1; ask for fewer"):
            niwaki.compress(network(), images(), sparsity=0.5, ray="auto", progress=False)
    finally:
        torch.set_num_threads(1)


def test_a_machine_is_lost_in_the_middle(cluster: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Last: a node less is left. The same call goes through on the other."""
    one, _ = niwaki.compress(network(), images(), sparsity=0.5, progress=False)
    losses = second_order.measure_losses

    def lost(*given: Any) -> Any:
        if len(cluster.workers) == 2:
            cluster.remove_node(cluster.workers.pop(), allow_graceful=False)
        return losses(*given)

    monkeypatch.setattr(second_order, "measure_losses", lost)
    with pytest.raises(niwaki.NiwakiError, match=r"an actor on the cluster is lost .*make the same call again"):
        niwaki.compress(network(), images(), sparsity=0.5, ray="auto", progress=False)
    assert same(one, niwaki.compress(network(), images(), sparsity=0.5, ray="auto", progress=False)[0])


def test_the_command_line(tmp_path: Path) -> None:
    """On a cluster that the command starts, in a process of its own."""
    (tmp_path / "net.py").write_text(
        "from torch import nn\ndef make(): return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3))\n"
    )
    np.save(tmp_path / "x.npy", np.random.default_rng(0).standard_normal((16, 3, 8, 8)).astype(np.float32))
    files = []
    for ray_option in ([], ["--ray", "local"]):
        files.append(tmp_path / f"{len(ray_option)}.niwaki")
        command = ["compress", f"{tmp_path}/net.py:make", "--calibration", str(tmp_path / "x.npy"), "--sparsity", "0.5"]
        command += ["--threads", "1", *ray_option, "-o", str(files[-1])]
        for _ in range(ray_cluster.TRIES):
            run = subprocess.run(
                [sys.executable, "-m", "niwaki", *command], check=False, capture_output=True, text=True, timeout=240,
                env={**os.environ, "RAY_worker_niceness": "0"},
            )  # fmt: skip
            if ray_cluster.BUSY not in run.stderr:
                break
        assert run.returncode == 0, run.stdout + run.stderr
    assert files[0].read_bytes() == files[1].read_bytes()
