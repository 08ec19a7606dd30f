"""What a network remembers of the channels that were cut out of it: reports compare with what is left."""

from __future__ import annotations

from torch import nn

# A plain attribute, which copies, pickles and torch.save take along, and a state dict does not.
_LOST = "niwaki_lost_bytes"


def remember_lost(pruned: nn.Module, whole: nn.Module) -> None:
    """Notes at a network, out of which channels were cut, how many bytes of parameters it has lost, all cuts together.

    Args:
        pruned: a copy of `whole`, with what that remembers.
        whole: as it was before.
    """
    lost = _bytes(whole) - _bytes(pruned)
    if lost > 0:
        setattr(pruned, _LOST, lost + vars(pruned).get(_LOST, 0))


def lost_bytes(model: nn.Module) -> int:
    """The bytes of float32 parameters that a network and its parts have lost with channels."""
    return sum(int(vars(part).get(_LOST, 0)) for part in model.modules())


def _bytes(model: nn.Module) -> int:
    return 4 * sum(parameter.numel() for parameter in model.parameters())
