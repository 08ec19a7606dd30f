"""Measuring layers that processes of torch.distributed share: each measures some, and the network is that of one."""

from __future__ import annotations

import datetime
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import distributed, nn

import niwaki
from niwaki.budget.measure import Measurement
from niwaki.pruning import second_order


def network() -> nn.Module:
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for inputs in (4, 16, 16):
        layers += [nn.Conv2d(inputs, 16, 3, padding=1), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(64, 10)).eval()


def images(seed: int = 0) -> list[torch.Tensor]:
    return list(torch.randn(32, 4, 8, 8, generator=torch.Generator().manual_seed(seed)).split(8))


def results(shared: bool) -> Iterator[dict[str, Any]]:
    """What becomes of the network by two ways that measure layers, and which layers were measured here."""
    measured: list[str] = []
    options, losses = Measurement._options, second_order.measure_losses
    Measurement._options = lambda self, seen: [measured.append(seen.name), options(self, seen)][1]  # type: ignore
    second_order.measure_losses = lambda seen, *rest: [measured.append(seen.name), losses(seen, *rest)][1]  # type: ignore
    try:
        for way in ({"target": niwaki.Target(size=0.18)}, {"sparsity": 0.5}):
            small, report = niwaki.compress(network(), images(), distributed=shared, progress=False, **way)
            state = {name: value for name, value in small.state_dict().items() if isinstance(value, torch.Tensor)}
            yield {"state": state, "zeros": [row.zeros for row in report], "measured": sorted(set(measured))}
            measured.clear()
    finally:
        Measurement._options, second_order.measure_losses = options, losses  # type: ignore[method-assign]


def refusals(rank: int) -> list[str]:
    """What processes say where one has other inputs, and where one fails on the way."""
    said = []
    options = Measurement._options
    for inputs, fails in ((images(rank), False), (images(), rank == 1)):
        if fails:
            Measurement._options = lambda self, seen: 1 / 0  # type: ignore
        try:
            niwaki.compress(network(), inputs, target=niwaki.Target(size=0.18), distributed=True, progress=False)
        except (niwaki.NiwakiError, ZeroDivisionError) as error:
            said.append(str(error))
    Measurement._options = options  # type: ignore[method-assign]
    return said


def _rank(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    limit = datetime.timedelta(seconds=240)
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2, timeout=limit)
    torch.save({"results": list(results(shared=True)), "said": refusals(rank)}, Path(folder, str(rank)))
    distributed.barrier()  # neither closes its connection while the other still talks
    distributed.destroy_process_group()
    os._exit(0)  # not through the interpreter's end, where gloo's threads once ended a process with an abort


@pytest.mark.skipif(not distributed.is_available(), reason="torch was built without distributed")
def test_the_network_is_that_of_one_process(tmp_path: Path) -> None:
    paths = os.pathsep.join([str(Path(niwaki.__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "GLOO_SOCKET_IFNAME": "lo", "PYTHONPATH": paths}
    ranks = [
        subprocess.Popen([sys.executable, __file__, str(rank), str(tmp_path)], env=environment) for rank in range(2)
    ]
    try:
        alone = list(results(shared=False))
        codes = [process.wait(480) for process in ranks]
    finally:
        for process in ranks:
            process.kill()
    assert codes == [0, 0]
    found = [torch.load(tmp_path / str(rank)) for rank in range(2)]
    for way, one in enumerate(alone):
        assert len(one["measured"]) == 4
        parts = [each["results"][way] for each in found]
        assert sorted(parts[0]["measured"] + parts[1]["measured"]) == one["measured"]
        assert len(parts[0]["measured"]) == 2, "each process measures half of the layers"
        for part in parts:
            assert part["zeros"] == one["zeros"] and part["state"].keys() == one["state"].keys()
            assert all(torch.equal(part["state"][name], value) for name, value in one["state"].items())
    for each in found:
        assert "process 1 has another network or other calibration inputs than process 0" in each["said"][0]
    assert "process 1 has failed, so all stop: ZeroDivisionError" in found[0]["said"][1]
    assert found[1]["said"][1] == "division by zero"


def test_what_cannot_be_shared_is_refused() -> None:
    for options, words in (
        ({"sparsity": 0.5}, "this one has not called it"),
        ({"recipe": "int8"}, "one process runs a recipe"),
        ({"target": niwaki.Target(latency=1.0)}, "a latency is measured on one machine"),
    ):
        with pytest.raises((TypeError, niwaki.NiwakiError), match=words):
            niwaki.compress(network(), images(), distributed=True, progress=False, **options)
    with pytest.raises(TypeError, match="only importance='second_order' is shared"):
        niwaki.prune(network(), sparsity=0.5, importance="magnitude", distributed=True)


if __name__ == "__main__":
    _rank(int(sys.argv[1]), sys.argv[2])
