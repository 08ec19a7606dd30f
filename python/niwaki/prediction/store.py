"""Where the answers are kept: parts while it goes on, one file or a folder of parts when all is done."""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from niwaki.errors import NiwakiError
from niwaki.prediction.job import FORMAT, Job
from niwaki.prediction.part import ERRORS, IDENTITY, KEY, ROWS, TableWriter, appearing, refusing, words_of

MANIFEST = "_niwaki.json"
LOCK = "_lock"
"""Names that begin with _ are no data to those who read a folder of .parquet files."""


@dataclass(frozen=True)
class Finished:
    """Complete answers: where they are, how many rows, how many of these have an error."""

    path: Path
    rows: int
    errors: int


class Store:
    """The place of the answers of a job.

    With an output that ends in .parquet, parts lie in the folder `<output>.parts` until they become that file. Any
    other output is a folder, in which the parts stay.

    Args:
        output: the path.
        job: whose answers they are.
        resume: go on with what is there, and leave what is finished; else begin anew.

    Raises:
        NiwakiError: something else is there (answers of another job, or no answers), or nothing can be written.
    """

    def __init__(self, output: Path, job: Job, resume: bool = True) -> None:
        self.output = output
        self.single = output.suffix == ".parquet"
        self.folder = output.with_name(output.name + ".parts") if self.single else output
        self.finished: Finished | None = None
        self._lock: IO[bytes] | None = None
        if not output.absolute().parent.is_dir():
            raise NiwakiError(f"'{output}' cannot be written: the folder '{output.absolute().parent}' does not exist.")
        self._check_output(job, resume)
        self.job = job
        if self.finished is None:
            self._open(job, resume)

    def _check_output(self, job: Job, resume: bool) -> None:
        if not self.single:
            if self.output.exists() and not self.output.is_dir():
                raise NiwakiError(f"'{self.output}' is a file; choose a folder, or a name that ends in .parquet.")
            return
        if self.output.is_dir():
            raise NiwakiError(f"'{self.output}' is a folder; choose another output.")
        if not self.output.exists():
            return
        words = words_of(self.output)
        if words is None or IDENTITY not in words:
            raise NiwakiError(f"'{self.output}' exists and holds no answers of niwaki; choose another output.")
        if resume:
            _check_identity(json.loads(words[IDENTITY]), job, self.output)
            self.finished = Finished(self.output, int(words[ROWS]), int(words[ERRORS]))
            if self.folder.is_dir():  # it was stopped while it was tidying up
                self._clear(self.folder)

    def _open(self, job: Job, resume: bool) -> None:
        manifest = self.folder / MANIFEST
        with refusing(self.folder):
            self.folder.mkdir(exist_ok=True)
        if not manifest.exists() and _others(self.folder):
            raise NiwakiError(f"'{self.folder}' holds something else than answers of niwaki; choose another output.")
        with refusing(self.folder):
            self._lock = _locked(self.folder / LOCK)
        try:
            if manifest.exists() and resume:
                saved = _read_manifest(manifest)
                _check_identity(saved["identity"], job, self.folder)
                self.job = job.with_part(int(saved["part"]))
            elif manifest.exists():
                self._clear(self.folder, keep=(LOCK,))
            with appearing(manifest) as file:
                words = {
                    "format": FORMAT,
                    "identity": self.job.identity,
                    "part": self.job.part,
                    "rows": job.source.rows,
                }
                file.write(json.dumps(words, indent=2).encode())
            for path in self.folder.glob("*.unfinished"):  # of a process that was killed
                path.unlink(missing_ok=True)
        except BaseException:
            self.close()
            raise

    def path(self, part: int) -> Path:
        """Of a part. Its name has the key of the job, so parts of different jobs are never taken for each other."""
        return self.folder / f"part-{part:06d}-{self.job.key}.parquet"

    def missing(self) -> list[int]:
        """The parts that are still to be done."""
        there = set(os.listdir(self.folder))
        return [part for part in range(self.job.parts) if self.path(part).name not in there]

    def words(self) -> dict[bytes, str]:
        """What each file says of itself."""
        return {KEY: self.job.key, IDENTITY: json.dumps(self.job.identity)}

    def finish(self) -> Finished:
        """Puts the parts together, in the order of the rows, after it has seen that all are there.

        Raises:
            NiwakiError: a row is missing or there twice (which would be a defect), or nothing can be written.
        """
        errors = 0
        for part in range(self.job.parts):
            share = self.job.share(part)
            words = words_of(self.path(part)) or {}
            if words.get(KEY) != self.job.key.encode() or int(words[ROWS]) != share.last - share.first:
                raise NiwakiError(
                    f"'{self.path(part)}' is not the part that was written; delete it and run the same command again."
                )
            errors += int(words[ERRORS])
        if self.single:
            with appearing(self.output) as file:
                self._merge(file)
            self._clear(self.folder)
        self.finished = Finished(self.output, self.job.source.rows, errors)
        return self.finished

    def _merge(self, file: IO[bytes]) -> None:
        schema = pq.read_schema(self.path(0)).remove_metadata()  # which the writer of the part made
        expected = 0
        with TableWriter(file, schema, self.output) as writer:
            for part in range(self.job.parts):
                with pq.ParquetFile(self.path(part), pre_buffer=False) as content:
                    for group in range(content.num_row_groups):
                        for batch in content.read_row_group(group).replace_schema_metadata().to_batches():
                            _check_rows(batch, expected, self.path(part))
                            expected += batch.num_rows
                            writer.write(batch)
            writer.close(self.words())

    def _clear(self, folder: Path, keep: tuple[str, ...] = ()) -> None:
        for name in os.listdir(folder):
            if (name in (MANIFEST, LOCK) or _is_part(name)) and name not in keep:
                (folder / name).unlink()
        with contextlib.suppress(OSError):  # something else is in it
            folder.rmdir()

    def close(self) -> None:
        """Lets others have the folder."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None  # its file stays: another process may just be opening it


def _is_part(name: str) -> bool:
    return name.startswith("part-") and (name.endswith((".parquet", ".unfinished")))


def _others(folder: Path) -> bool:
    return any(name != LOCK and not name.endswith(".unfinished") for name in os.listdir(folder))


def _read_manifest(path: Path) -> dict[str, Any]:
    try:
        saved: dict[str, Any] = json.loads(path.read_text())
        if saved["format"] == FORMAT and isinstance(saved["identity"], dict) and int(saved["part"]) > 0:
            return saved
    except (OSError, ValueError, KeyError, TypeError):
        pass
    raise NiwakiError(f"'{path}' cannot be read, or is another version's; begin anew with resume=False (--no-resume).")


def _check_identity(saved: dict[str, str], job: Job, path: Path) -> None:
    for what in ("network", "inputs", "options"):
        if saved.get(what) != job.identity[what]:
            said = {
                "network": "of another network",
                "inputs": "to other inputs (or they have changed since)",
                "options": "made with other options",
            }[what]
            raise NiwakiError(
                f"'{path}' holds answers {said}; choose another output, or begin anew with resume=False (--no-resume)."
            )


def _check_rows(batch: pa.RecordBatch, expected: int, path: Path) -> None:
    rows = batch.column("row").to_numpy()
    if len(rows) and (rows[0] != expected or rows[-1] != expected + len(rows) - 1):
        raise NiwakiError(f"'{path}' has other rows than it should; delete it and run the same command again.")


def _locked(path: Path) -> IO[bytes]:
    """A file that one process may hold at a time; the system lets go of it when the process ends, however it does."""
    file = open(path, "ab")  # noqa: SIM115
    try:
        try:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except ImportError:  # Windows
            import msvcrt

            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
    except OSError:
        file.close()
        raise NiwakiError(
            f"another process is writing to '{path.parent}'; wait for it, or choose another output."
        ) from None
    return file
