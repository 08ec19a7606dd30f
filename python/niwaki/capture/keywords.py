"""What a module takes by any name (**kwargs), as parameters of its own while it is captured."""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import Iterator, Mapping
from typing import Any

from torch import nn


def keywords_of(module: nn.Module) -> str:
    """The name of **kwargs, if it has any."""
    parameters = inspect.signature(module.forward).parameters.values()
    return next((each.name for each in parameters if each.kind is inspect.Parameter.VAR_KEYWORD), "")


@contextlib.contextmanager
def as_parameters(module: nn.Module, named: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Gives the arguments by name, those of **kwargs among the others.

    torch.export finds no free sizes in what **kwargs takes, so forward's signature names each of them meanwhile.

    Args:
        module: it gets its own forward back afterwards.
        named: the arguments by the names of forward's parameters.
    """
    name = keywords_of(module)
    taken = named.get(name, {}) if name else {}
    if not taken:
        yield dict(named)
        return
    forward = module.forward
    signature = inspect.signature(forward)

    @functools.wraps(forward)
    def by_name(*args: Any, **kwargs: Any) -> Any:
        return forward(*args, **kwargs)

    parameters = [each for each in signature.parameters.values() if each.kind is not inspect.Parameter.VAR_KEYWORD]
    parameters += [inspect.Parameter(each, inspect.Parameter.KEYWORD_ONLY) for each in taken]
    by_name.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    own = module.__dict__.get("forward")
    module.__dict__["forward"] = by_name
    try:
        yield {each: value for each, value in named.items() if each != name} | dict(taken)
    finally:
        if own is None:
            del module.__dict__["forward"]
        else:
            module.__dict__["forward"] = own
