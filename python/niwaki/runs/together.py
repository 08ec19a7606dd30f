"""Calls of niwaki.compress and niwaki.prune that processes share: those of torch.distributed, or a cluster of Ray's."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from torch import nn

from niwaki.modules.checks import check_model
from niwaki.modules.layer import named_layers
from niwaki.quantization.inputs import check_calibration
from niwaki.runs.dealt import check_result, known_to_first, shared
from niwaki.runs.group import TorchGroup


def check_together(what: str, distributed: Any, ray: Any) -> None:
    """Checks with whom a call is shared; `what` is called, for messages.

    Raises:
        TypeError: it is said twice or wrongly.
        NiwakiError: `distributed` is given, and this is no process of torch.distributed.
    """
    if not isinstance(distributed, bool):
        raise TypeError(
            f"{what}: distributed=True is for processes of torchrun, and ray='auto' for a cluster of Ray; "
            f"{distributed!r} is neither True nor False."
        )
    if ray is not None and not (isinstance(ray, str) and ray):
        raise TypeError(f"{what}: ray has to be the address of a cluster, 'auto' or 'local', not {ray!r}.")
    if distributed and ray is not None:
        raise TypeError(f"{what}: either processes of torchrun share the work or a cluster of Ray; leave one out.")
    if distributed:
        TorchGroup(what)


def together(
    verb: str, model: nn.Module, calibration: Any, options: dict[str, Any], *, ray: str | None, progress: bool
) -> Any:
    """Makes the call in all processes, and compares what they come to.

    Args:
        verb: of the package: "compress".
        model, calibration: its first arguments.
        options: its others, but for progress.
        ray: the address of a cluster; None for the processes of torch.distributed, which all come here.
        progress: of this process.

    Raises:
        NiwakiError: another process has failed, or come to something else.
    """
    if ray is None:
        with shared(TorchGroup(f"niwaki.{verb}")):
            return _called(verb, model, calibration, {**options, "progress": progress})
    from niwaki.runs.over_ray import shared_over_ray

    check_model(model, verb)
    items = list(check_calibration(calibration, model))
    theirs = {**options, "checkpoint": None, "progress": False}
    ours = {**options, "progress": progress}
    if options.get("evaluate") is not None:
        theirs["evaluate"] = FirstEvaluates(None)
        ours["evaluate"] = FirstEvaluates(options["evaluate"])
    most = sum(1 for _ in named_layers(model)) - 1
    with shared_over_ray(ray, functools.partial(_called, verb), model, items, theirs, most):
        return _called(verb, model, items, ours)


def _called(verb: str, model: nn.Module, calibration: Any, options: dict[str, Any]) -> Any:
    import niwaki

    found = getattr(niwaki, verb)(model, calibration=calibration, **options)
    check_result(found[0] if isinstance(found, tuple) else found)
    return found


class FirstEvaluates:
    """An accuracy that the first process measures, and all know.

    Args:
        evaluate: measures it; None in other processes.
    """

    def __init__(self, evaluate: Callable[[nn.Module], float] | None) -> None:
        self._evaluate = evaluate

    def __call__(self, network: nn.Module) -> float:
        def measured() -> float:
            assert self._evaluate is not None
            return self._evaluate(network)

        return known_to_first(measured)
