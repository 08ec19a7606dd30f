"""Parts of a job on a cluster of Ray: actors of Ray Data answer them, and the driver writes what they send.

Each part is a row of a data set. Ray computes anew what was lost with a machine or an actor, and the driver writes each
part once under its name, so nothing is lost and nothing is there twice.
"""

from __future__ import annotations

import contextlib
import hashlib
import pickle
import platform
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from niwaki.errors import NiwakiError, first_sentence
from niwaki.prediction.part import ERRORS, ROWS, appearing, refusing
from niwaki.runs.cluster import check_room, connected

if TYPE_CHECKING:
    from niwaki.prediction.batch import Share
    from niwaki.prediction.job import Job
    from niwaki.prediction.write import Tick


class Answerer:
    """An actor, with a network of its own over the one mapped file of its machine.

    Args:
        job: whose parts it answers.
        network: the bytes of the network's file.
        digest: their SHA-256.
    """

    def __init__(self, job: Job, network: Any, digest: str) -> None:
        from niwaki.prediction.job import Worker

        self._job, self._failed = job, ""
        try:
            self._worker = Worker(job, str(local_file(job.file, network, digest)))
        except NiwakiError as error:
            self._failed = str(error)

    def __call__(self, batch: dict[str, Any]) -> pa.Table:
        """One part as the bytes of its file; or why it has none, which is no failure that Ray should try again."""
        from niwaki.prediction.write import part_as_bytes

        (part,), (share,) = batch["part"], batch["share"]
        content, error = b"", self._failed
        if not error:
            try:
                content = part_as_bytes(self._worker, pickle.loads(share))
            except NiwakiError as failed:
                error = f"on {platform.node()}: {failed}"
        columns = {"part": [int(part)], "content": pa.array([content], pa.large_binary()), "error": [error]}
        return pa.table(columns)


def local_file(path: str, network: Any, digest: str) -> Path:
    """The network's file on this machine: where it was, or a copy of which there is one for all actors."""
    import ray

    with contextlib.suppress(OSError):
        if _digest(Path(path).read_bytes()) == digest:
            return Path(path)
    copy = Path(tempfile.gettempdir()) / f"niwaki-{digest}.niwaki"
    with contextlib.suppress(OSError):
        if _digest(copy.read_bytes()) == digest:
            return copy
    with appearing(copy) as file, refusing(copy):
        file.write(ray.get(network))
    return copy


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def run_on_ray(
    job: Job, parts: Sequence[int], path: Callable[[int], Path], actors: int, address: str, tick: Tick
) -> None:
    """Answers parts on a cluster.

    Args:
        job: whose parts they are. Its inputs have to be there by the same path on each machine; the network's file is
            brought there.
        parts: their numbers.
        path: says where the driver writes a part.
        actors: at most so many work at a time, each on the job's threads. They begin as soon as one of them is ready.
        address: of the cluster; "auto" finds the one of this machine, "local" starts one, which ends with the job.
        tick: told of rows that are done.

    Raises:
        ImportError: Ray is missing.
        NiwakiError: there is no cluster, or no machine of it has a CPU for each thread; a part can't be read or
            written; or Ray has given up.
    """
    with connected(address, job.threads, "--ray", ["data"]) as ray, _without_bars(ray):
        check_room(ray.nodes(), job.threads)
        content = Path(job.file).read_bytes()
        digest = _digest(content)
        if digest != job.identity["network"]:
            raise NiwakiError(f"'{job.file}' has changed; run the command again.")
        network = ray.put(content)
        shares = [{"part": part, "share": pickle.dumps(job.share(part))} for part in parts]
        try:
            found = ray.data.from_items(shares, override_num_blocks=len(shares)).map_batches(
                Answerer,
                fn_constructor_args=(job, network, digest),
                batch_size=1,
                batch_format="numpy",
                compute=ray.data.ActorPoolStrategy(min_size=1, max_size=min(actors, len(shares))),
                num_cpus=job.threads,
            )
            _write(found, {part: job.share(part) for part in parts}, path, tick)
        except ray.exceptions.RayError as error:
            raise NiwakiError(
                f"Ray has given up ({first_sentence(error)}); what is done is kept: run the same command again."
            ) from error


def _write(found: Any, shares: dict[int, Share], path: Callable[[int], Path], tick: Tick) -> None:
    for batch in found.iter_batches(batch_size=1, batch_format="pyarrow", prefetch_batches=0):
        (part,), (error,) = batch["part"].to_pylist(), batch["error"].to_pylist()
        if error:
            raise NiwakiError(error)
        content = batch["content"][0].as_buffer()
        words = pq.read_metadata(pa.BufferReader(content)).metadata
        share = shares.pop(part, None)
        if share is None:
            continue  # Ray has computed it a second time: it is there already
        if int(words[ROWS]) != share.last - share.first:
            raise NiwakiError(f"part {part} came back with {int(words[ROWS])} rows; it has {share.last - share.first}.")
        target = path(part)
        with appearing(target) as file, refusing(target):
            file.write(content)
        tick(int(words[ROWS]), int(words[ERRORS]))
    if shares:
        raise NiwakiError(f"Ray has returned without {len(shares)} parts; run the same command again for these.")


@contextlib.contextmanager
def _without_bars(ray: Any) -> Iterator[None]:
    """Within it, Ray Data shows none of its own."""
    context = ray.data.DataContext.get_current()
    bars, context.enable_progress_bars = context.enable_progress_bars, False
    try:
        yield
    finally:
        context.enable_progress_bars = bars
