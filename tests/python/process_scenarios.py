"""Programs for test_processes.py, each in a process of its own: python process_scenarios.py SCENARIO FILE.

FILE is a network that takes [N, 3, 12, 12]. A scenario ends well with exit code 0; its caller sets a time limit.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable

import numpy as np
import torch

import niwaki
from niwaki import _core

X = torch.randn(4, 3, 12, 12, generator=torch.Generator().manual_seed(1))


def in_threads(count: int, work: Callable[[], None]) -> None:
    """Runs `work` in so many threads; a failure in one of them fails the program."""
    failures: list[BaseException] = []

    def guarded() -> None:
        try:
            work()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=guarded) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures, failures


def fork_after_load(path: str) -> None:
    """Parent and child both go on, on what was loaded before and on what they load after."""
    net = niwaki.load(path, threads=3)
    wanted = net(X)
    child = os.fork()
    same = torch.equal(net(X), wanted) and torch.equal(niwaki.load(path, threads=2)(X), wanted)
    if child == 0:
        sys.exit(0 if same else 3)  # the usual way out, with destructors
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert same and torch.equal(net(X), wanted)


def two_models(path: str) -> None:
    """Two networks, each with threads of its own, run at once and one inside the other's thread."""
    nets = [niwaki.load(path, threads=2), niwaki.load(path, threads=3)]
    wanted = nets[0](X)
    turn = iter(range(2))

    def work() -> None:
        net = nets[next(turn)]
        for _ in range(200):
            assert torch.equal(net(X), wanted)

    in_threads(2, work)


def load_while_running(path: str) -> None:
    """One thread loads, runs and drops networks while another runs its own."""
    net = niwaki.load(path, threads=2)
    wanted = net(X)
    done = threading.Event()

    def load() -> None:
        try:
            for _ in range(20):
                assert torch.equal(niwaki.load(path, threads=2)(X), wanted)
        finally:
            done.set()

    loader = threading.Thread(target=load)
    loader.start()
    while not done.is_set():
        assert torch.equal(net(X), wanted)
    loader.join()


def busy_torch(path: str) -> None:
    """torch's own threads, and Python threads that use them, are busy all the while."""
    torch.set_num_threads(2)
    net = niwaki.load(path, threads=2)
    wanted = net(X)
    stop = threading.Event()

    def burn() -> None:
        a = torch.randn(128, 128)
        while not stop.is_set():
            a = torch.nn.functional.normalize(a @ a)

    burners = [threading.Thread(target=burn) for _ in range(2)]
    for burner in burners:
        burner.start()
    try:
        for _ in range(100):
            assert torch.equal(net(X), wanted)
    finally:
        stop.set()
        for burner in burners:
            burner.join()


def exit_while_running(path: str) -> None:
    """The interpreter ends while daemon threads run networks, and while globals and cycles hold others."""
    global kept
    kept = niwaki.load(path, threads=2)
    kept(X)
    cycle = [niwaki.load(path, threads=2)]
    cycle.append(cycle)  # type: ignore[arg-type]
    started = threading.Barrier(4)
    model = _core.Model(_core.Graph.load(path))

    def forever() -> None:  # the core alone: what torch does here when the interpreter ends is not ours
        session, x, y = _core.Session(model, 2), np.ones((4, 3, 12, 12), np.float32), np.empty((4, 10), np.float32)
        started.wait()
        while True:
            session.run([(x.ctypes.data, x.shape)], [y.ctypes.data])

    for _ in range(3):
        threading.Thread(target=forever, daemon=True).start()
    started.wait()
    time.sleep(0.05)


class Answered(torch.utils.data.Dataset):
    """Items are answers of a network that each worker loads for itself, when it is first asked."""

    def __init__(self, path: str) -> None:
        self.path, self.net = path, None

    def __len__(self) -> int:
        return len(X)

    def __getitem__(self, index: int) -> torch.Tensor:
        self.net = self.net or niwaki.load(self.path, threads=1)
        return self.net(X[index : index + 1])[0]


def loader_workers(path: str) -> None:
    """Workers of a DataLoader, forked after this process has used a network of its own, and begun anew."""
    wanted = niwaki.load(path, threads=2)(X)
    for start in ("fork", "spawn"):
        loader = torch.utils.data.DataLoader(
            Answered(path), batch_size=2, num_workers=2, multiprocessing_context=start, timeout=60
        )
        assert torch.equal(torch.cat(list(loader)), wanted), start


SCENARIOS = {
    scenario.__name__: scenario
    for scenario in (fork_after_load, two_models, load_while_running, busy_torch, exit_while_running, loader_workers)
}

if __name__ == "__main__":
    SCENARIOS[sys.argv[1]](sys.argv[2])
