"""A cluster of Ray on this machine, for the tests of what works over one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

STORE = 100 << 20
TRIES = 3
BUSY = "timed out during startup"
"""What Ray says where a node takes more than 30 s to begin, as on a machine on which others work."""


def begun(make: Callable[..., Any], **options: Any) -> Any:
    """What `make` returns, which starts a node; tried again where the machine was too busy."""
    for left in reversed(range(TRIES)):
        try:
            return make(**options)
        except Exception as error:
            if BUSY not in str(error) or not left:
                raise
    raise AssertionError("it was tried")


def two_nodes() -> Iterator[Any]:
    """A node with the driver and no CPU for actors, and two with one CPU each; this process is connected to it."""
    import ray
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_worker_niceness", "0")  # else actors never begin where others work, too
        head = {"num_cpus": 0, "object_store_memory": STORE}
        made = begun(Cluster, initialize_head=True, head_node_args=head)
        made.workers = [begun(made.add_node, num_cpus=1, object_store_memory=STORE) for _ in range(2)]
        ray.init(address=made.address, logging_level="error", log_to_driver=False)
        yield made
        ray.shutdown()
        made.shutdown()
