"""What niwaki.predict keeps when it is stopped, whatever stops it; processes side by side; memory."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import predicted
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import niwaki
from niwaki.cli import main
from niwaki.prediction import part, pool, process
from niwaki.prediction.job import make_job
from niwaki.prediction.store import Store

SLOW = """
import sys, time
from niwaki.prediction import job
answers = job.Worker.answers
def slowly(self, share):
    for batch in answers(self, share):
        time.sleep(0.02)
        yield batch
job.Worker.answers = slowly
from niwaki.cli import main
sys.exit(main(sys.argv[1:]))
"""
"""The command with a network that takes its time."""


def command(*arguments: object, code: str = SLOW) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, "predict", *map(str, arguments)],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        # What a shell runs in the background ignores interrupts, and so would what the tests start.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def parts(output: Path) -> set[str]:
    folder = Path(f"{output}.parts") if output.suffix == ".parquet" else output
    return {path.name for path in folder.glob("part-*.parquet")}


def wait_for_parts(running: subprocess.Popen[str], output: Path, count: int) -> set[str]:
    for _ in range(3000):
        if len(parts(output)) >= count:
            return parts(output)
        assert running.poll() is None, running.communicate()
        time.sleep(0.01)
    raise AssertionError("no part was written")


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    np.save(tmp_path / "x.npy", predicted.rows(1000))
    return tmp_path / "x.npy"


def expected(inputs: Path) -> pa.Table:
    return pa.Table.from_batches(niwaki.predict(predicted.file("rows"), inputs, batch=64))


@pytest.mark.parametrize(
    ("output", "how", "code"), [("y.parquet", signal.SIGKILL, -signal.SIGKILL), ("y", signal.SIGINT, 130)]
)
def test_stopped_in_the_middle(output: str, how: signal.Signals, code: int, inputs: Path, tmp_path: Path) -> None:
    file, answers = predicted.file("rows"), tmp_path / output
    arguments = (file, inputs, "-o", answers, "--batch", 4, "--part", 20)
    running = command(*arguments)
    wait_for_parts(running, answers, 3)
    running.send_signal(how)
    said = running.communicate()[1]
    assert running.returncode == code
    if how == signal.SIGINT:
        assert f"what is done lies in '{answers}{'.parts' if output == 'y.parquet' else ''}'" in said
        assert not list(tmp_path.rglob("*.unfinished"))
    kept = {
        name: (tmp_path / (output + ".parts" * (output == "y.parquet")) / name).stat().st_mtime_ns
        for name in parts(answers)
    }
    assert 3 <= len(kept) < 50
    if output == "y":  # the parts that were there are not written again
        done = niwaki.predict(file, inputs, batch=7).write(answers)
        assert {name: (answers / name).stat().st_mtime_ns for name in kept} == kept
    else:
        done = niwaki.predict(file, inputs, batch=7).write(answers)
        assert not Path(f"{answers}.parts").exists()
    assert (done.rows, done.errors, done.resumed) == (1000, 0, 20 * len(kept))
    assert pq.read_table(answers).equals(expected(inputs))


def test_a_killed_process_takes_its_workers_along(inputs: Path, tmp_path: Path) -> None:
    answers = tmp_path / "y.parquet"
    slow = SLOW.replace("from niwaki.cli import main", SLOW_WORKERS)
    running = command(
        predicted.file("rows"), inputs, "-o", answers, "--batch", 4, "--part", 20, "--workers", 2, code=slow
    )
    wait_for_parts(running, answers, 2)
    workers = children(running.pid)
    assert len(workers) == 2
    running.kill()
    running.communicate()
    deadline = time.monotonic() + 10
    while any(alive(worker) for worker in workers):
        assert time.monotonic() < deadline, "a worker lives on"
        time.sleep(0.02)
    assert niwaki.predict(predicted.file("rows"), inputs).write(answers).rows == 1000
    assert pq.read_table(answers).equals(expected(inputs))


SLOW_WORKERS = """
from niwaki.prediction import pool
pool.START = pool.START.replace("; from niwaki.prediction.process", ";" + '''
import time
from niwaki.prediction import job
answers = job.Worker.answers
def slowly(self, share):
    for batch in answers(self, share):
        time.sleep(0.02)
        yield batch
job.Worker.answers = slowly
from niwaki.prediction.process''')
from niwaki.cli import main
"""


def children(parent: int) -> list[int]:
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if int(fields[1]) == parent:
            found.append(int(status.parent.name))
    return found


def alive(number: int) -> bool:
    try:
        return Path(f"/proc/{number}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_processes_answer_alike(inputs: Path, tmp_path: Path) -> None:
    done = niwaki.predict(predicted.file("rows"), inputs, part=90).write(tmp_path / "y.parquet", processes=2)
    assert (done.rows, done.resumed) == (1000, 0)
    assert pq.read_table(tmp_path / "y.parquet").equals(expected(inputs))


def test_a_worker_that_is_killed(inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    suicidal = process.START.replace(
        "from niwaki.prediction.process",
        "import os, niwaki.prediction.write as w; w.write_part = lambda *a: os.kill(os.getpid(), 9); "
        "from niwaki.prediction.process",
    )
    with monkeypatch.context() as patch:
        patch.setattr(pool, "START", suicidal)
        with pytest.raises(
            niwaki.NiwakiError, match=r"was killed by signal 9 at rows \d+ to \d+; what is done is kept"
        ):
            niwaki.predict(predicted.file("rows"), inputs, part=500).write(tmp_path / "y", processes=2)
    assert niwaki.predict(predicted.file("rows"), inputs, part=500).write(tmp_path / "y").rows == 1000
    assert pq.read_table(tmp_path / "y").equals(expected(inputs))


def test_errors_of_workers(tmp_path: Path) -> None:
    folder = predicted.pictures(tmp_path)
    (folder / "3.png").write_bytes(b"broken")
    prediction = niwaki.predict(predicted.file("pictures"), folder, part=2, strict=True)
    with pytest.raises(niwaki.NiwakiError, match=r"row 3 \('3.png'\): It is not a readable image"):
        prediction.write(tmp_path / "y.parquet", processes=2)
    done = niwaki.predict(predicted.file("pictures"), folder, part=2).write(tmp_path / "y.parquet")
    assert (done.rows, done.errors) == (7, 1)


@pytest.mark.parametrize("output", ["y.parquet", "y"])
def test_answers_of_something_else_are_refused(output: str, inputs: Path, tmp_path: Path) -> None:
    answers = tmp_path / output
    unfinished = tmp_path / "z.parquet"
    first = niwaki.predict(predicted.file("rows"), inputs, part=500)
    first.write(answers)
    # As a process leaves it that was killed: the parts are there, not the whole.
    first.write(tmp_path / "z.parquet.parts")
    for place in (answers, unfinished):
        with pytest.raises(niwaki.NiwakiError, match="holds answers of another network; choose another output"):
            niwaki.predict(predicted.file("wide"), inputs).write(place)
        with pytest.raises(niwaki.NiwakiError, match="holds answers made with other options"):
            niwaki.predict(predicted.file("rows"), inputs, top=1).write(place)
        np.save(tmp_path / "other.npy", predicted.rows(1000, seed=1))
        with pytest.raises(niwaki.NiwakiError, match="holds answers to other inputs"):
            niwaki.predict(predicted.file("rows"), tmp_path / "other.npy").write(place)
        again = niwaki.predict(predicted.file("rows"), tmp_path / "other.npy", part=300).write(place, resume=False)
        assert (again.rows, again.resumed) == (1000, 0)
        assert pq.read_table(place).equals(expected(tmp_path / "other.npy"))
        assert niwaki.predict(predicted.file("rows"), tmp_path / "other.npy").write(place).resumed == 1000
    assert not (tmp_path / "z.parquet.parts").exists()


def test_what_is_no_answers_is_never_overwritten(inputs: Path, tmp_path: Path) -> None:
    prediction = niwaki.predict(predicted.file("rows"), inputs)
    pq.write_table(pa.table({"a": [1]}), tmp_path / "y.parquet")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "letter.txt").write_text("dear all")
    (tmp_path / "file").write_text("dear all")
    for name, words in (
        ("y.parquet", "holds no answers of niwaki"),
        ("folder", "something else"),
        ("file", "is a file"),
    ):
        for resume in (True, False):
            with pytest.raises(niwaki.NiwakiError, match=words):
                prediction.write(tmp_path / name, resume=resume)
    with pytest.raises(niwaki.NiwakiError, match="does not exist"):
        prediction.write(tmp_path / "no" / "y.parquet")
    with pytest.raises(niwaki.NiwakiError, match=r"cannot be written"):
        prediction.write(tmp_path / "file" / "y.parquet")


def test_one_process_at_a_time(inputs: Path, tmp_path: Path) -> None:
    job = make_job(predicted.file("rows"), inputs)
    for output in (tmp_path / "y.parquet", tmp_path / "y"):
        store = Store(output, job)
        with pytest.raises(niwaki.NiwakiError, match="another process is writing"):
            niwaki.predict(predicted.file("rows"), inputs).write(output)
        store.close()
        assert niwaki.predict(predicted.file("rows"), inputs).write(output).rows == 1000


def test_a_full_disk(inputs: Path, tmp_path: Path) -> None:
    """A limit on the size of a file stands for it: the same call fails."""
    limited = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000))\n" + SLOW
    whole = tmp_path / "y.parquet"
    running = command(predicted.file("rows"), inputs, "-o", whole, "--batch", 50, "--part", 50, code=limited)
    said = running.communicate()[1]
    assert running.returncode == 2
    assert said.startswith("niwaki: error: '")
    assert "cannot be written (OSError: " in said
    assert "what was done before is kept" in said
    assert said.count("\n") == 1
    assert len(parts(whole)) == 20
    assert not whole.exists()
    assert not list(tmp_path.rglob("*.unfinished"))
    assert niwaki.predict(predicted.file("rows"), inputs).write(whole).resumed == 1000
    assert pq.read_table(whole).equals(expected(inputs))


def test_a_part_that_is_not_the_one(inputs: Path, tmp_path: Path) -> None:
    prediction = niwaki.predict(predicted.file("rows"), inputs, part=500)
    prediction.write(tmp_path / "y")
    first, second = sorted((tmp_path / "y").glob("part-*.parquet"))
    first.write_bytes(first.read_bytes()[:100])
    with pytest.raises(niwaki.NiwakiError, match="is not the part that was written; delete it"):
        prediction.write(tmp_path / "y")
    first.unlink()
    assert prediction.write(tmp_path / "y").resumed == 500
    assert pq.read_table(tmp_path / "y").equals(expected(inputs))
    assert second.exists()


MEMORY = """
import resource, sys
import niwaki
for inputs in sys.argv[2:]:
    niwaki.predict(sys.argv[1], inputs, batch=64).write(inputs + ".parquet")
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def test_memory_does_not_grow_with_rows(tmp_path: Path) -> None:
    """Ten and 160 MB of inputs: the larger job may take no more than another 20 MB."""
    files = []
    for rows in (2_000, 32_000):
        files.append(str(tmp_path / f"{rows}.npy"))
        np.lib.format.open_memmap(files[-1], "w+", np.float32, (rows, 1280)).flush()
    made = subprocess.run(
        [sys.executable, "-c", MEMORY, predicted.file("broad"), *files],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    small, large = (int(peak) / 1024 for peak in made.stdout.split())
    assert pq.read_metadata(files[1] + ".parquet").num_rows == 32_000
    assert large - small < 20, (small, large)


def test_large_answers_are_written_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A part of large answers is never in memory as a whole."""
    monkeypatch.setattr(part, "GROUP_ROWS", 100)
    np.save(tmp_path / "x.npy", predicted.rows(1000))
    niwaki.predict(predicted.file("rows"), tmp_path / "x.npy", part=500, batch=50).write(tmp_path / "y")
    for path in (tmp_path / "y").glob("part-*.parquet"):
        assert pq.read_metadata(path).num_row_groups == 5
    assert main(["predict", predicted.file("rows"), str(tmp_path / "x.npy"), "-o", str(tmp_path / "y.parquet")]) == 0
    assert pq.read_table(tmp_path / "y").equals(pq.read_table(tmp_path / "y.parquet"))
