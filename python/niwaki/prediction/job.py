"""What is to be answered, and how: all that a process needs for a share of it."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from niwaki.errors import NiwakiError
from niwaki.prediction.arrays import ArraySource
from niwaki.prediction.batch import Share, Source
from niwaki.prediction.columns import ColumnConfig, Columns
from niwaki.prediction.engine import Engine
from niwaki.prediction.picture import SUFFIXES
from niwaki.prediction.pictures import PictureConfig, PictureSource, folder_paths, listed_paths

if TYPE_CHECKING:
    import pyarrow as pa

FORMAT = 1
"""Of the parts and of what they say of themselves."""
PART_BYTES = 32 << 20
"""A part holds so many bytes of answers, about, or fewer."""
_INSTEAD = {
    ".npz": "; save its arrays as NAME.npy into a folder, and give that",
    ".csv": "; pyarrow.csv.read_csv and pyarrow.parquet.write_table make a .parquet file of it",
}
"""What to do with what is no input."""
FEW_PARTS = 64
"""A small job is cut into so many parts, about, that several processes have something to do."""


@dataclass(frozen=True)
class Job:
    """Rows of a source, to be answered by the network of a file. It can be pickled.

    Attributes:
        file: the network's, an absolute path.
        entry: which entry point of a file that has several.
        source: of the rows.
        columns: what of the answers is kept.
        batch: rows that run together.
        threads: that work on a run.
        part: rows of a part; what is read and answered by one process without a break, and kept or lost as a whole.
        strict: a row that goes wrong is an error.
        identity: what the answers follow from, as digests: network, inputs, options.
    """

    file: str
    entry: str | None
    source: Source
    columns: ColumnConfig
    batch: int
    threads: int
    part: int
    strict: bool
    identity: dict[str, str]

    @property
    def parts(self) -> int:
        """How many parts there are; one, without rows, where there are no rows."""
        return max(1, -(-self.source.rows // self.part))

    @property
    def key(self) -> str:
        """Names the parts of this job. Batch, threads and processes are not in it: answers don't follow from them."""
        return hashlib.sha256(json.dumps([self.identity, self.part]).encode()).hexdigest()[:12]

    def share(self, part: int) -> Share:
        """The rows of a part."""
        return self.source.share(part * self.part, min((part + 1) * self.part, self.source.rows))

    def with_part(self, rows: int) -> Job:
        """The same in parts of so many rows."""
        return replace(self, part=rows)


def make_job(
    file: str | os.PathLike[str],
    inputs: str | os.PathLike[str],
    *,
    entry: str | None = None,
    batch: int = 32,
    threads: int = 1,
    pictures: PictureConfig | None = None,
    columns: ColumnConfig | None = None,
    keep: tuple[str, ...] = (),
    limit: int | None = None,
    part: int | None = None,
    strict: bool = False,
) -> Job:
    """A job, after all that can be seen beforehand was found right. See `niwaki.predict` for the arguments.

    Raises:
        NiwakiError: the file or the inputs can't be read, or don't fit each other or the options.
        ValueError: a number is out of range.
    """
    for name, number in (("batch", batch), ("threads", threads), ("limit", limit), ("part", part)):
        if number is not None and (isinstance(number, bool) or not isinstance(number, int) or number < 1):
            raise ValueError(f"{name} has to be a whole number of at least 1, not {number!r}.")
    pictures, columns = pictures or PictureConfig(), columns or ColumnConfig()
    engine = Engine(file, entry, threads)
    source = open_source(Path(inputs), engine, pictures, keep, limit, threads)
    Columns(engine, columns)
    digest = hashlib.sha256()
    with open(file, "rb") as content:
        while piece := content.read(1 << 20):
            digest.update(piece)
    options = {"format": FORMAT, "entry": entry, "keep": keep, "limit": limit, "columns": asdict(columns)}
    identity = {
        "network": digest.hexdigest(),
        "inputs": source.identity(),
        "options": hashlib.sha256(json.dumps(options).encode()).hexdigest(),
    }
    batch = min(batch, engine.largest)
    rows = part or _usual_part(source, engine, columns, batch)
    return Job(str(Path(file).resolve()), entry, source, columns, batch, threads, rows, strict, identity)


def open_source(
    path: Path, engine: Engine, pictures: PictureConfig, keep: tuple[str, ...], limit: int | None, threads: int
) -> Source:
    """The source that a path stands for.

    Raises:
        NiwakiError: there is none.
    """
    if keep and path.suffix != ".parquet":
        raise NiwakiError(f"only the columns of a .parquet file can be kept, and '{path}' is none.")
    if path.is_dir():
        files = [path / f"{port.name}.npy" for port in engine.inputs]
        if all(file.is_file() for file in files):
            return ArraySource(files, engine, pictures, limit)
        if len(files) > 1:
            raise NiwakiError(
                f"{engine.path} has the inputs {', '.join(map(str, engine.inputs))}; '{path}' needs a file for each: "
                f"{', '.join(file.name for file in files)}."
            )
        return PictureSource(str(path), folder_paths(path), engine, pictures, readers=threads, limit=limit)
    if not path.is_file():
        raise NiwakiError(f"there is no folder or file '{path}'.")
    if path.suffix == ".npy":
        if len(engine.inputs) > 1:
            names = ", ".join(f"{port.name}.npy" for port in engine.inputs)
            raise NiwakiError(
                f"{engine.path} has several inputs; give a folder with the files {names}, or a .parquet file."
            )
        return ArraySource([path], engine, pictures, limit)
    if path.suffix == ".parquet":
        from niwaki.prediction.tables import TableSource

        return TableSource(path, engine, keep, limit)
    if path.suffix in (".txt", ".lst"):
        return PictureSource(str(path.parent), listed_paths(path), engine, pictures, readers=threads, limit=limit)
    if path.suffix.lower() in SUFFIXES:
        return PictureSource(str(path.parent), [path.name], engine, pictures, readers=1, limit=limit)
    raise NiwakiError(
        f"'{path}' is none of what can be read: a folder of images, an image, .npy, .parquet, or a list of images "
        f"(.txt){_INSTEAD.get(path.suffix.lower(), '')}."
    )


def _usual_part(source: Source, engine: Engine, columns: ColumnConfig, batch: int) -> int:
    """Whole batches: so many that a part is not large, and that there are some parts."""
    rows = min(source.usual_part, max(source.least_part, -(-source.rows // FEW_PARTS)))
    if columns.top is None and source.rows:
        first = next(iter(source.batches(source.share(0, 1), 1)))
        try:
            each = engine.bytes_per_row(first.groups[0].arrays) if first.groups else 0
        except ValueError:
            each = 0
        rows = min(rows, PART_BYTES // max(each, 1))
    return max(1, -(-rows // batch)) * batch


class Worker:
    """Answers parts of a job, in the process in which it was made.

    Attributes:
        schema: of the answers.
    """

    def __init__(self, job: Job, file: str | None = None) -> None:
        from niwaki.prediction.answers import schema_of

        self.job = job
        self.engine = Engine(file or job.file, job.entry, job.threads)
        self.columns = Columns(self.engine, job.columns)
        self.schema = schema_of(job.source, self.columns)

    def answers(self, share: Share) -> Iterator[pa.RecordBatch]:
        """The answers to a share of the rows, batch by batch.

        Raises:
            NiwakiError: the job is strict, and a row went wrong.
        """
        from niwaki.prediction.answers import ahead, answer

        with ahead(self.job.source.batches(share, self.job.batch)) as batches:
            for batch in batches:
                made = answer(batch, self.engine, self.columns, self.schema)
                if self.job.strict and made.column("error").null_count < made.num_rows:
                    raise NiwakiError(_first_error(made))
                yield made


def _first_error(batch: Any) -> str:
    for row in batch.to_pylist():
        if row["error"] is not None:
            where = f" ('{row['path']}')" if "path" in row else ""
            return f"row {row['row']}{where}: {row['error']}"
    raise AssertionError("no row went wrong")
