"""Measuring layers that processes of torch.distributed share: each measures some, and the network is that of one."""

from __future__ import annotations

import datetime
import importlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from dealt_network import images, network
from torch import distributed

import niwaki
from niwaki.budget.measure import Measurement
from niwaki.pruning import second_order

compression: Any = importlib.import_module("niwaki.compression.compress")  # the module, not the verb


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


def pruned(folder: Path | None, shared: bool) -> dict[str, torch.Tensor]:
    options: dict[str, Any] = {"sparsity": 0.5, "importance": "second_order", "calibration": images()}
    found = niwaki.prune(network(), **options, checkpoint=folder, distributed=shared, progress=False)
    return dict(found.state_dict())


REFUSALS: dict[str, tuple[str, str]] = {  # what process 0 says, and what process 1 says
    "other inputs": ("process 1 has another network or other calibration inputs than process 0",) * 2,
    "other bits": ("process 1 was called with other options than process 0",) * 2,
    "more threads": ("process 1 computes with torch .* and 2 threads, process 0 with torch .* and 1 thread;",) * 2,
    "other scales": ("process 1 came to another network than process 0",) * 2,
    "fails in the middle": ("process 1 has failed, so all stop: ZeroDivisionError", "division by zero"),
    "fails at once": ("process 1 has failed, so all stop: .*calibration", "calibration"),
    "fails after all": ("process 1 has failed, so all stop: .*late", "late"),
}


def refusals(rank: int) -> dict[str, str]:
    """What processes say where one has other arguments, or fails. None waits for it."""
    said = {}
    for what in REFUSALS:
        options, report, odd = Measurement._options, compression.report_of, rank == 1
        inputs: Any = images(rank) if what == "other inputs" else images()
        given: dict[str, Any] = {"target": niwaki.Target(size=0.18)}
        if odd and what == "other bits":
            given["weight_bits"] = 4
        if odd and what == "more threads":
            torch.set_num_threads(2)
        if what in ("other scales", "fails after all"):
            given = {"sparsity": 0.5, "per_channel": not (odd and what == "other scales")}
        if odd and what == "fails in the middle":
            Measurement._options = lambda self, seen: 1 / 0  # type: ignore
        if odd and what == "fails at once":
            inputs = 3
        if odd and what == "fails after all":
            compression.report_of = late
        try:
            niwaki.compress(network(), inputs, distributed=True, progress=False, **given)
            said[what] = "nothing"
        except (niwaki.NiwakiError, ZeroDivisionError, TypeError) as error:
            said[what] = str(error)
        Measurement._options, compression.report_of = options, report  # type: ignore[method-assign]
        torch.set_num_threads(1)
    return said


def late(*_: Any) -> Any:
    raise niwaki.NiwakiError("late")


def _rank(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    limit = datetime.timedelta(seconds=240)
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2, timeout=limit)
    found = {"results": list(results(shared=True)), "said": refusals(rank)}
    found["one folder"] = pruned(Path(folder, "kept"), shared=True)
    own = Path(folder, f"kept by {rank}")
    found["own folder"] = pruned(own, shared=True)
    if rank == 1:  # where it was stopped before it had kept anything
        shutil.rmtree(own)
    found["own folder again"] = pruned(own, shared=True)
    torch.save(found, Path(folder, str(rank)))
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
        alone, kept = list(results(shared=False)), pruned(None, shared=False)
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
        for way in ("one folder", "own folder", "own folder again"):
            assert each[way].keys() == kept.keys()
            assert all(torch.equal(each[way][name], value) for name, value in kept.items()), way
    for what, words in REFUSALS.items():
        for rank, each in enumerate(found):
            assert re.search(words[rank], each["said"][what]), (what, rank, each["said"][what])


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
