"""Parts of a job on several processes of this machine."""

from __future__ import annotations

import contextlib
import os
import pickle
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from niwaki.errors import NiwakiError
from niwaki.prediction.job import Job
from niwaki.prediction.process import START, send
from niwaki.prediction.write import Tick


def run_pool(job: Job, parts: Sequence[int], path: Callable[[int], Path], processes: int, tick: Tick) -> None:
    """Answers parts, each by one of several processes. When it returns or raises, all of these have ended.

    Args:
        job: whose parts they are.
        parts: their numbers.
        path: says where a part is written.
        processes: how many.
        tick: told of rows that are done.

    Raises:
        NiwakiError: a process can't go on, or was killed.
    """
    todo: queue.SimpleQueue[int] = queue.SimpleQueue()
    for part in parts:
        todo.put(part)
    told: queue.SimpleQueue[tuple[Any, ...]] = queue.SimpleQueue()
    children = [_start() for _ in range(min(processes, len(parts)))]
    threads = [
        threading.Thread(target=_serve, args=(child, job, todo, path, told), name="niwaki-worker", daemon=True)
        for child in children
    ]
    try:
        for thread in threads:
            thread.start()
        running = len(children)
        while running:
            message = told.get()
            if message[0] == "rows":
                tick(message[1], message[2])
            elif message[0] == "end":
                running -= 1
            elif message[0] == "error":
                raise NiwakiError(message[1])
    finally:
        for child in children:
            child.kill()
            child.wait()
        for thread in threads:
            thread.join()
        for child in children:
            for pipe in (child.stdin, child.stdout):
                with contextlib.suppress(OSError):  # what it was not told any more
                    assert pipe is not None
                    pipe.close()


def _start() -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", START.format(path=sys.path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=os.name == "posix",  # Ctrl-C is for the one who started it, which ends the others
    )


def _serve(
    child: subprocess.Popen[bytes],
    job: Job,
    todo: queue.SimpleQueue[int],
    path: Callable[[int], Path],
    told: queue.SimpleQueue[tuple[Any, ...]],
) -> None:
    """Gives parts to a process, one after the other, and passes on what it tells."""
    assert child.stdin is not None
    assert child.stdout is not None
    doing = ""
    try:
        send(child.stdin, job)
        while True:
            message = pickle.load(child.stdout)
            if message[0] in ("ready", "done"):
                try:
                    part = todo.get_nowait()
                except queue.Empty:
                    child.stdin.close()
                    told.put(("end",))
                    return
                share = job.share(part)
                doing = f" at rows {share.first} to {share.last}"
                send(child.stdin, (share, path(part)))
            else:
                told.put(message)
                if message[0] == "error":
                    return
    except (EOFError, OSError, pickle.UnpicklingError):
        code = child.wait()
        why = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
        told.put(
            (
                "error",
                f"a process {why}{doing}; what is done is kept. Run the same command again, with a smaller batch or "
                "fewer processes if memory was short.",
            )
        )
