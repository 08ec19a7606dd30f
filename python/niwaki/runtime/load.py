"""niwaki.load and save: between files and networks."""

from __future__ import annotations

import os

from niwaki import _core
from niwaki.runtime.entries import EntryNetwork
from niwaki.runtime.image import ImageConfig
from niwaki.runtime.network import Network
from niwaki.runtime.signature import saved_signature
from niwaki.runtime.threads import check_threads


def load(path: str | os.PathLike[str], threads: int | None = None) -> Network:
    """A network from a .niwaki file. Needs numpy, and no torch.

    Args:
        path: a file that `Network.save` or `niwaki compress` has written.
        threads: that work on a call. By default torch.get_num_threads() where torch is imported, else as many as the
            process may use CPUs; no more than its container's quota of CPU time feeds.

    Returns:
        The network. Where the file has entry points, `entries` are their names and net[name] is one of them.

    Examples:
        >>> net = niwaki.load("small.niwaki", threads=2)
        >>> net(numpy.zeros((2, 3, 16, 16), numpy.float32)).shape
        (2, 10)

    Raises:
        NiwakiError: the file is missing, empty, cut short, corrupt, newer than this version, or no .niwaki file.
    """
    threads = check_threads(threads)
    entries = _core.load_entries(os.fspath(path))
    if not entries[0][0]:
        return _loaded(entries[0][1], path, threads)
    shared = _core.SharedWeights()
    networks = {name: _loaded(graph, path, threads, shared) for name, graph in entries}
    return EntryNetwork(networks, entries[0][1].metadata.get("source", ""))


def _loaded(
    graph: _core.Graph, path: str | os.PathLike[str], threads: int, shared: _core.SharedWeights | None = None
) -> Network:
    signature = saved_signature(graph, os.fspath(path))
    return Network(graph, signature, threads=threads, source=graph.metadata.get("source", ""), shared=shared)


def save(network: Network, path: str | os.PathLike[str], *, image: ImageConfig | None = None) -> None:
    """Writes a compiled network into a .niwaki file; the same as `network.save(path, image=image)`."""
    given: object = network
    if not isinstance(given, Network):
        found = type(given).__name__
        raise TypeError(f"niwaki.save: network must be what niwaki.compile returned, not a {found}; compile it first.")
    network.save(path, image=image)
