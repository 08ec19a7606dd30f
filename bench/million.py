"""A million rows through niwaki.predict: here, killed and resumed, on a small Ray, and on two nodes of which one dies.

    pip install 'niwaki[ray]' psutil
    python bench/million.py build/million                     # --rows 100000 for a first try
    python bench/million.py build/million --only local --only killed                      # without Ray

Rows of 64 float32 numbers, a layer of 128 and one of 10 units in int8, all scores written. Prints for each way how long
it took, rows per second, the most memory of this process and of all its children together over time, and whether the
answers are those of the run without Ray. The nodes are processes of this machine.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow.parquet as pq
import torch
from torch import nn

import niwaki

STORE = 100 << 20
WAYS = ("local", "killed", "ray", "nodes")


def prepare(folder: Path, rows: int) -> tuple[Path, Path]:
    """The network's file and the rows, seeded; made once."""
    folder.mkdir(parents=True, exist_ok=True)
    file, data = folder / "net.niwaki", folder / f"rows-{rows}.npy"
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10)).eval()
    x = torch.randn(256, 64)
    niwaki.compile(niwaki.quantize(model, [x], progress=False), (x,), threads=1).save(file)
    if not data.exists():
        random, scratch = np.random.default_rng(0), data.with_suffix(".tmp")
        with scratch.open("wb") as out:
            head = {"descr": "<f4", "fortran_order": False, "shape": (rows, 64)}
            np.lib.format.write_array_header_1_0(out, head)
            for first in range(0, rows, 65536):
                out.write(random.standard_normal((min(65536, rows - first), 64), dtype=np.float32).tobytes())
        scratch.rename(data)
    return file, data


class Memory:
    """Resident bytes of this process, and of workers of Ray, sampled while something runs."""

    def __init__(self) -> None:
        self.own: list[int] = []
        self.actors: list[int] = []
        self._stop = threading.Event()

    def _watch(self) -> None:
        me = psutil.Process()
        while not self._stop.wait(0.25):
            self.own.append(me.memory_info().rss)
            sizes = [0]
            for child in me.children(recursive=True):
                try:
                    if "Answerer" in child.name() or "Answerer" in " ".join(child.cmdline()[:1]):
                        sizes.append(child.memory_info().rss)
                except psutil.Error:
                    continue
            self.actors.append(max(sizes))

    @contextmanager
    def watched(self) -> Iterator[Memory]:
        thread = threading.Thread(target=self._watch, daemon=True)
        thread.start()
        yield self
        self._stop.set()
        thread.join()

    def words(self) -> str:
        """Of the driver: a third of the way, two thirds, and at most; of the largest actor the same."""

        def said(sizes: list[int]) -> str:
            alive = [size for size in sizes if size]
            if not alive:
                return "none seen"
            marks = [alive[len(alive) // 3], alive[2 * len(alive) // 3], max(alive)]
            return ", ".join(f"{size / 1e6:.0f}" for size in marks)

        return f"MB of the driver {said(self.own)}; of the largest actor {said(self.actors)}"


def run(file: Path, data: Path, output: Path, begin: Callable[[], None] = lambda: None, **options: Any) -> str:
    """Answers all rows anew, and says how that went."""
    shutil.rmtree(output, ignore_errors=True)
    prediction = niwaki.predict(file, data, batch=256)
    begin()
    with Memory().watched() as memory:
        done = prediction.write(output, **options)
    return f"{done.rows:,} rows, {done.seconds:.1f} s, {done.rows / done.seconds:,.0f} rows/s; {memory.words()}"


def equal(one: Path, other: Path) -> bool:
    """Whether two folders of answers are the same table."""
    return bool(pq.read_table(one).equals(pq.read_table(other)))


def killed_and_resumed(file: Path, data: Path, output: Path, kill_at: int) -> str:
    """In a process of its own, which is killed (SIGKILL) after so many parts; the same job then goes on in this one."""
    shutil.rmtree(output, ignore_errors=True)
    command = ["predict", str(file), str(data), "-o", f"{output}/", "--batch", "256", "--threads", "1"]
    running = subprocess.Popen([sys.executable, "-m", "niwaki", *command], stderr=subprocess.DEVNULL)
    while len(list(output.glob("part-*.parquet"))) < kill_at:
        assert running.poll() is None, "it ended before it was killed"
        time.sleep(0.001)
    running.kill()
    running.wait()
    with Memory().watched() as memory:
        done = niwaki.predict(file, data, batch=256, threads=1).write(output)
    new = f"the other {done.rows - done.resumed:,} in {done.seconds:.1f} s"
    return f"killed after {done.resumed:,} of {done.rows:,} rows; {new}; {memory.words()}"


def on_two_nodes(file: Path, data: Path, output: Path, kill_at: int) -> str:
    """On a cluster of a driver and two nodes with a CPU each; one of them is killed after so many parts."""
    import ray
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "object_store_memory": STORE})
    nodes = [cluster.add_node(num_cpus=1, object_store_memory=STORE) for _ in range(2)]
    ray.init(address=cluster.address, logging_level="error", log_to_driver=False)
    killed: list[tuple[int, int, int]] = []

    def kill() -> None:
        while (count := len(list(output.glob("part-*.parquet")))) < kill_at:
            time.sleep(0.02)
        free = ray._private.state.available_resources_per_node()
        busy = [node for node in nodes if not free.get(node.node_id, {}).get("CPU")]
        pid = busy[0].all_processes["raylet"][0].process.pid
        cluster.remove_node(busy[0], allow_graceful=False)
        killed.append((count, len(busy), pid))

    try:
        words = run(file, data, output, threading.Thread(target=kill, daemon=True).start, processes=2, ray="auto")
        assert not psutil.pid_exists(killed[0][2]), "the node was not killed"
        for _ in range(120):  # Ray takes a while to see it
            left = sum(node["Alive"] for node in ray.nodes())
            if left == 2:
                break
            time.sleep(0.5)
        return f"{words}; killed after {killed[0][0]} parts, {killed[0][1]} nodes at work; {left} of 3 nodes left"
    finally:
        ray.shutdown()
        cluster.shutdown()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--only", choices=WAYS, action="append", help="one way; may be given again")
    args = parser.parse_args()
    os.environ.setdefault("RAY_worker_niceness", "0")  # else actors hardly run where others work, too
    torch.set_num_threads(1)
    file, data = prepare(args.folder, args.rows)
    plain, ways = args.folder / "plain", args.only or WAYS
    if "local" in ways or not plain.exists():
        print("one process:", run(file, data, plain), flush=True)
    parts = len(list(plain.glob("part-*.parquet")))
    if "killed" in ways:
        print("killed:", killed_and_resumed(file, data, args.folder / "killed", parts // 3), flush=True)
        print("the same answers:", equal(plain, args.folder / "killed"), flush=True)
    if "ray" in ways:
        print("--ray local:", run(file, data, args.folder / "ray", processes=2, ray="local"), flush=True)
        print("the same answers:", equal(plain, args.folder / "ray"), flush=True)
    if "nodes" in ways:
        print("two nodes:", on_two_nodes(file, data, args.folder / "nodes", parts // 3), flush=True)
        print("the same answers:", equal(plain, args.folder / "nodes"), flush=True)


if __name__ == "__main__":
    main()
