"""niwaki.predict over Ray Data, on a cluster of two nodes of this machine. Ray is not among the packages for tests, as
installing it takes minutes: pip install 'niwaki[ray]'.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import predicted
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray_cluster

import niwaki

ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'niwaki[ray]'")
pytestmark = pytest.mark.filterwarnings("default")  # Ray's own


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    yield from ray_cluster.two_nodes()


def busy(cluster: Any) -> Any:
    """A node whose CPU an actor has."""
    free = ray._private.state.available_resources_per_node()
    return next((node for node in cluster.workers if not free.get(node.node_id, {}).get("CPU")), None)


def test_what_goes_wrong_in_an_actor(cluster: Any, tmp_path: Path) -> None:
    folder = predicted.pictures(tmp_path)
    (folder / "3.png").write_bytes(b"broken")
    prediction = niwaki.predict(predicted.file("pictures"), folder, part=2, strict=True)
    with pytest.raises(niwaki.NiwakiError, match=r"row 3 \('3.png'\): It is not a readable image"):
        prediction.write(tmp_path / "y.parquet", ray="auto")
    prediction = niwaki.predict(predicted.file("pictures"), folder, part=2)
    done = prediction.write(tmp_path / "y.parquet", ray="auto")
    assert (done.rows, done.errors) == (7, 1)
    assert pq.read_table(tmp_path / "y.parquet").equals(pa.Table.from_batches(prediction))


def test_more_threads_than_any_machine_has_cpus(cluster: Any, tmp_path: Path) -> None:
    """Ray would wait for such a machine for ever."""
    np.save(tmp_path / "x.npy", predicted.rows(5))
    prediction = niwaki.predict(predicted.file("rows"), tmp_path / "x.npy", threads=2)
    with pytest.raises(niwaki.NiwakiError, match="no machine of the cluster has more than 1; ask for fewer threads"):
        prediction.write(tmp_path / "y.parquet", ray="auto")


LOCAL = """
import niwaki, sys
print(niwaki.predict(sys.argv[1], sys.argv[2], threads=64).write(sys.argv[3], ray="local").rows)
"""


def test_a_cluster_that_is_started_here_takes_any_number_of_threads(tmp_path: Path) -> None:
    """In a process of its own, as this one is connected to another cluster."""
    np.save(tmp_path / "x.npy", predicted.rows(5))
    given = [predicted.file("rows"), tmp_path / "x.npy", tmp_path / "y.parquet"]
    done = subprocess.run(
        [sys.executable, "-c", LOCAL, *map(str, given)], capture_output=True, text=True, timeout=180, check=True,
        env={**os.environ, "RAY_worker_niceness": "0"},
    )  # fmt: skip
    assert done.stdout.split()[-1] == "5"


def test_a_node_is_killed_in_the_middle(cluster: Any, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", predicted.rows(30_000))
    output = tmp_path / "y"
    prediction = niwaki.predict(predicted.file("rows"), tmp_path / "x.npy", part=100, batch=4)
    killed: list[int] = []

    def kill() -> None:
        while len(list(output.glob("part-*.parquet"))) < 20:
            time.sleep(0.05)
        killed.append(len(list(output.glob("part-*.parquet"))))
        cluster.remove_node(busy(cluster), allow_graceful=False)

    killer = threading.Thread(target=kill)
    killer.start()
    done = prediction.write(output, processes=2, ray="auto")
    killer.join()
    assert 20 <= killed[0] < 300
    assert (done.rows, done.errors, done.resumed) == (30_000, 0, 0)
    assert sum(node["Alive"] for node in ray.nodes()) == 2
    assert pq.read_table(output).equals(
        pa.Table.from_batches(niwaki.predict(predicted.file("rows"), tmp_path / "x.npy"))
    )
