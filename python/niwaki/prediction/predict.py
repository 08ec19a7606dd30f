"""niwaki.predict: the answers of a file's network to many inputs, as record batches or as a file."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from niwaki.errors import NiwakiError

if TYPE_CHECKING:
    import pyarrow as pa

    from niwaki.prediction.job import Job
    from niwaki.prediction.store import Finished, Store
    from niwaki.prediction.write import Tick


@dataclass(frozen=True)
class Summary:
    """What `Prediction.write` has done.

    Attributes:
        path: of the answers.
        rows: in them.
        errors: rows that went wrong; their column `error` says why.
        resumed: rows that an earlier run had done.
        seconds: that this run took.
    """

    path: Path
    rows: int
    errors: int
    resumed: int
    seconds: float

    def __str__(self) -> str:
        wrong = f", {self.errors:,} of them with an error" if self.errors else ""
        new = self.rows - self.resumed
        if not new and self.rows:
            return f"{self.path}: {self.rows:,} rows{wrong}; all of them were there already"
        rate = f" in {self.seconds:,.1f} s, {new / self.seconds:,.0f} rows/s" if self.seconds > 0 and new else ""
        return f"{self.path}: {self.rows:,} rows{wrong}; {new:,} now{rate}"


class Prediction:
    """Answers that are still to be computed: iterate over it, or `write` it. Made by `niwaki.predict`."""

    def __init__(self, job: Job) -> None:
        self._job = job

    def __len__(self) -> int:
        return self._job.source.rows

    @property
    def schema(self) -> pa.Schema:
        """The columns of the answers."""
        from niwaki.prediction.job import Worker

        return Worker(self._job).schema

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        """The answers, a pyarrow.RecordBatch for each batch, in the order of the rows."""
        from niwaki.prediction.job import Worker

        worker = Worker(self._job)
        return worker.answers(self._job.source.share(0, self._job.source.rows))

    def write(
        self,
        output: str | os.PathLike[str],
        *,
        processes: int = 1,
        resume: bool = True,
        progress: bool = False,
        ray: str | None = None,
    ) -> Summary:
        """Writes the answers; goes on where an earlier run was stopped.

        Args:
            output: a file that ends in .parquet, which appears when all is done (until then parts of it lie in the
                folder `<output>.parts`); or a folder, in which the parts stay.
            processes: of this machine, or actors of Ray. They map the same file.
            resume: go on with the parts that are there, and leave what is finished. False begins anew.
            progress: tell on stderr how far it is.
            ray: compute with Ray: "local", "auto" or the address of a cluster.

        Returns:
            What was done. Rows that went wrong have a sentence in the column `error`, and no answers.

        Raises:
            NiwakiError: something else is at the output, it can't be written, inputs can't be read, a process was
                killed, or the prediction is strict and a row went wrong. What was done before is kept.
            ValueError: processes is no number of processes.
        """
        from niwaki.prediction.meter import Meter
        from niwaki.prediction.store import Store

        if isinstance(processes, bool) or not isinstance(processes, int) or processes < 1:
            raise ValueError(f"processes has to be a whole number of at least 1, not {processes!r}.")
        store = Store(Path(output), self._job, resume)
        try:
            if store.finished is not None:
                done = store.finished
                _check_strict(store, done)
                return Summary(done.path, done.rows, done.errors, done.rows, 0.0)
            job, missing = store.job, store.missing()
            shares = [job.share(part) for part in missing]
            before = job.source.rows - sum(share.last - share.first for share in shares)
            with Meter(job.source.rows, before, progress) as meter:
                if missing:
                    _run(job, missing, store, processes, ray, meter.tick)
                done = store.finish()
            _check_strict(store, done)
            return Summary(done.path, done.rows, done.errors, before, meter.seconds)
        finally:
            store.close()


def _check_strict(store: Store, done: Finished) -> None:
    if store.job.strict and done.errors:
        raise NiwakiError(
            f"'{done.path}' has {done.errors:,} rows with an error from an earlier run, which was not strict; begin "
            "anew with resume=False (--no-resume)."
        )


def _run(job: Job, parts: Sequence[int], store: Store, processes: int, ray: str | None, tick: Tick) -> None:
    from niwaki.prediction.job import Worker
    from niwaki.prediction.pool import run_pool
    from niwaki.prediction.write import write_part

    if ray is not None:
        from niwaki.prediction.over_ray import run_on_ray

        run_on_ray(job, parts, store.path, processes, ray, tick)
    elif processes > 1:
        run_pool(job, parts, store.path, processes, tick)
    else:
        worker = Worker(job)
        for part in parts:
            write_part(worker, job.share(part), store.path(part), tick)


def predict(
    file: str | os.PathLike[str],
    inputs: str | os.PathLike[str],
    *,
    entry: str | None = None,
    batch: int = 32,
    threads: int = 1,
    columns: Sequence[str] | None = None,
    top: int | None = None,
    softmax: bool = False,
    labels: Sequence[str] | None = None,
    keep: Sequence[str] = (),
    limit: int | None = None,
    size: tuple[int, int] | None = None,
    resize: int | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    strict: bool = False,
    part: int | None = None,
) -> Prediction:
    """The answers of a network to all of some inputs, however many: no more than some batches are in memory.

        for answers in niwaki.predict("network.niwaki", "images/", top=5):
            ...  # a pyarrow.RecordBatch
        niwaki.predict("network.niwaki", "images/", top=5).write("answers.parquet", processes=2)

    Args:
        file: a .niwaki file.
        inputs: a folder of images, an image, a text file (.txt) with the path of an image on each line, relative to its
            own folder; a .npy file with a row for each input, or a folder with one for each of several inputs, called
            like these; a .parquet file with columns called like the inputs.
        entry: which entry point of a file that has several.
        batch: rows that run together. Answers do not depend on it.
        threads: that work on a batch.
        columns: which outputs; None for all.
        top: of a classifier the best so many classes with their scores instead of all scores.
        softmax: with top, scores as probabilities.
        labels: with top, names of the classes.
        keep: columns of a .parquet file that go into the answers.
        limit: the first so many rows only.
        size, resize, mean, std: how images become inputs: height and width of the center crop, length of the shorter
            side before it, and both of each channel for pixels in 0..1. By default what the network's input and its
            file say, and size * 256 / 224.
        strict: a row that goes wrong is an error.
        part: rows that are written, kept and lost as a whole.

    Returns:
        A Prediction. Its rows have the columns: row (int64, from 0), path (of an image), the kept ones, the outputs
        (numbers, or nested lists) or the best classes, and error (a sentence, or null).

    Raises:
        ImportError: pyarrow, or for images Pillow, is missing.
        NiwakiError: the file or the inputs can't be read, or do not fit each other or the options.
        ValueError: a number is out of range.
    """
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError as error:
        raise ImportError("niwaki.predict needs pyarrow; install it with: pip install 'niwaki[predict]'") from error
    from niwaki.prediction.columns import ColumnConfig
    from niwaki.prediction.job import make_job
    from niwaki.prediction.pictures import PictureConfig

    pictures = PictureConfig(
        size=size,
        resize=resize,
        mean=None if mean is None else tuple(mean),
        std=None if std is None else tuple(std),
    )
    names = (None if each is None else tuple(each) for each in (columns, labels))
    wanted, classes = names
    chosen = ColumnConfig(columns=wanted, top=top, softmax=softmax, labels=classes)
    job = make_job(
        file,
        inputs,
        entry=entry,
        batch=batch,
        threads=threads,
        pictures=pictures,
        columns=chosen,
        keep=tuple(keep),
        limit=limit,
        part=part,
        strict=strict,
    )
    return Prediction(job)
