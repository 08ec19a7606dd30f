"""How soon a file answers, and what it holds in memory: python bench/opening.py minilm.niwaki --tokens 128

Each round is a fresh process with numpy alone: it imports niwaki, opens the file, and answers once; one call more shows
what the first one took for its plan. `python bench/tokens.py --files build/tokens` makes files of a text encoder.

Memory is the process's own (anonymous) as Linux counts it: packed weights, activations and Python's objects. The pages
of the file itself, which is mapped, can be dropped again and do not count.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

# In the order in which the table has them; the times in milliseconds, the memory in bytes.
TIMES = ("import", "open", "first answer", "second answer")
MEMORY = ("imported", "opened", "answered")


def child(path: Path, tokens: int) -> dict[str, float]:
    """What one process finds. It has not imported torch."""
    begin = time.perf_counter()
    import numpy as np

    import niwaki

    niwaki.load  # noqa: B018 (the module comes when it is asked for)
    found = {"import": time.perf_counter() - begin, "imported": _own_memory()}
    arguments = (np.arange(tokens, dtype=np.int64)[None], np.ones((1, tokens), np.int64))
    begin, used = time.perf_counter(), time.process_time()
    network = niwaki.load(path, threads=1)
    found |= {"open": time.perf_counter() - begin, "opened": _own_memory()}
    begin = time.perf_counter()
    network(*arguments)
    found |= {"first answer": time.perf_counter() - begin, "answered": _own_memory()}
    found["cpu"] = time.process_time() - used
    begin = time.perf_counter()
    network(*arguments)
    found["second answer"] = time.perf_counter() - begin
    if "torch" in sys.modules:
        raise SystemExit("torch was imported: the times would not be those of numpy alone.")
    return found


def _own_memory() -> int:
    """Anonymous resident memory of this process in bytes."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("RssAnon:"))


def summary(path: Path, rounds: list[dict[str, float]]) -> str:
    """A table: times as median and least, and memory beside the size of the file."""
    from niwaki.runtime.text import align, format_bytes  # not above: the processes time the import of niwaki

    rows = []
    for name, parts in (*((name, (name,)) for name in TIMES), ("open and first answer", ("open", "first answer"))):
        taken = [1e3 * sum(found[part] for part in parts) for found in rounds]
        rows.append((name, f"{statistics.median(taken):.1f} ms", f"{min(taken):.1f} ms"))
    cpu = [1e3 * found["cpu"] for found in rounds]
    rows.append(("the same on the CPU", f"{statistics.median(cpu):.1f} ms", f"{min(cpu):.1f} ms"))
    imported, opened, answered = (statistics.median(found[name] for found in rounds) for name in MEMORY)
    weights, rest = opened - imported, answered - opened
    sizes = (("file", path.stat().st_size), ("memory after opening", weights), ("and after the first answer", rest))
    return (
        align(("", "median", "least"), rows, right=(1, 2))
        + "\n\n"
        + align(("", "bytes"), [(name, format_bytes(int(size))) for name, size in sizes], right=(1,))
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, help="a network that takes ids and a mask, int64 [batch, tokens] each")
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(child(options.file, options.tokens)))
        return
    command = [sys.executable, __file__, str(options.file), "--tokens", str(options.tokens), "--child"]
    rounds = [
        json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        for _ in range(options.rounds)
    ]
    print(summary(options.file, rounds))


if __name__ == "__main__":
    main()
