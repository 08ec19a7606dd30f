"""A cluster of Ray on this machine, for the tests of what works over one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

STORE = 100 << 20


def two_nodes() -> Iterator[Any]:
    """A node with the driver and no CPU for actors, and two with one CPU each; this process is connected to it."""
    import ray
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_worker_niceness", "0")  # else actors never begin where others work, too
        made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "object_store_memory": STORE})
        made.workers = [made.add_node(num_cpus=1, object_store_memory=STORE) for _ in range(2)]
        ray.init(address=made.address, logging_level="error", log_to_driver=False)
        yield made
        ray.shutdown()
        made.shutdown()
