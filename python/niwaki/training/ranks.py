"""Processes that train one network together hold the same numbers."""

from __future__ import annotations

import torch
from torch import distributed, nn


def together() -> bool:
    """Whether this process is one of several of torch.distributed."""
    return bool(distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1)


def follow_first(network: nn.Module) -> nn.Module:
    """Gives every process the weights, masks, scales and ranges of the first; all call it. Returns the network.

    What was measured on calibration inputs differs where each process has inputs of its own.
    """
    if together():
        states = [network.state_dict() if distributed.get_rank() == 0 else None]
        distributed.broadcast_object_list(states, src=0)
        if states[0] is not None and distributed.get_rank() != 0:
            with torch.no_grad():
                network.load_state_dict(states[0])
    return network
