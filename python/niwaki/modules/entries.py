"""A module with several entry points, such as the two towers of a CLIP model, as one module that all verbs take."""

from __future__ import annotations

import inspect
import operator
import types
from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

MOST = 16  # that a file holds


class EntryPoints(nn.Module):
    """Names the ways into a module, so that all of them are compressed together and compiled into one network.

        towers = niwaki.EntryPoints(model, image="get_image_features", text="get_text_features")
        small, report = niwaki.compress(towers, {"image": images, "text": texts})
        net = niwaki.compile(small, {"image": (x,), "text": {"input_ids": ids, "attention_mask": mask}})
        net["image"](x)

    It is an nn.Module, whose only child is the module. Called with the arguments of some entries by name, each a
    tensor, a tuple or a dict, it returns a dict of their results. The names of layers begin with "model.".

    Args:
        model: any module. It is not copied.
        entries: for each name what is called: the name of one of the module's methods or parts, with dots where it lies
            deeper ("encoder.embed"), or a function that takes the module before the arguments. Arguments have names.

    Raises:
        TypeError, ValueError: there is no entry, or one whose target cannot be called; says which.
    """

    def __init__(self, model: nn.Module, /, **entries: str | Callable[..., Any]) -> None:
        super().__init__()
        if not isinstance(model, nn.Module):
            raise TypeError(f"EntryPoints: model must be a torch.nn.Module, not {type(model).__name__}.")
        if not 1 <= len(entries) <= MOST:
            raise ValueError(
                f"EntryPoints: a network has 1 to {MOST} entry points, not {len(entries)}; write "
                'EntryPoints(model, image="get_image_features").'
            )
        self.model = model
        self._targets = dict(entries)
        for name, target in entries.items():
            if not name.isidentifier():
                raise ValueError(f"EntryPoints: {name!r} is not a name as arguments have it.")
            if not isinstance(target, str) and not callable(target):
                raise TypeError(
                    f"EntryPoints: '{name}' must be the name of a method or part of the model, or a function of it, "
                    f"not {type(target).__name__}."
                )
            _Target(model, target, name).check()

    @property
    def entries(self) -> tuple[str, ...]:
        """Their names."""
        return tuple(self._targets)

    def __getitem__(self, name: str) -> Entry:
        """One entry as a module of its own, which shares the parameters."""
        if name not in self._targets:
            raise KeyError(f"there is no entry point {name!r}; there are {self._list()}")
        return Entry(self, name)

    def forward(self, /, **calls: Any) -> dict[str, Any]:
        """The results of some entries, for the arguments of each."""
        return {name: self._target(name)(**named) for name, named in self._named(calls).items()}

    def arguments(self, calls: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        """The arguments of a call of all entries, by their names and in their order, however they are written.

        Raises:
            TypeError: an entry is missing, unknown, or does not take these arguments.
        """
        self.check_names(calls, "the inputs")
        return self._named(calls)

    def check_names(self, given: Mapping[str, Any], what: str) -> None:
        """Raises TypeError where something is not given for each entry by its name. `what` begins the sentence."""
        missing = [name for name in self._targets if name not in given]
        unknown = [name for name in given if name not in self._targets]
        if missing or unknown:
            wrong = f"'{missing[0]}' is missing" if missing else f"there is no '{unknown[0]}'"
            raise TypeError(f"{what}: give a dict with the entry points {self._list()}; {wrong}.")

    def _named(self, calls: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        for name in calls:
            if name not in self._targets:
                raise TypeError(f"there is no entry point {name!r}; there are {self._list()}.")
        return {name: self._target(name).by_name(calls[name]) for name in self._targets if name in calls}

    def _target(self, name: str) -> _Target:
        return _Target(self.model, self._targets[name], name)

    def _list(self) -> str:
        return ", ".join(f"'{name}'" for name in self._targets)

    def extra_repr(self) -> str:
        return ", ".join(f"{name}={getattr(to, '__name__', to)!r}" for name, to in self._targets.items())


class Entry(nn.Module):
    """One entry of a module with several, called as it is. Made by `EntryPoints.__getitem__`."""

    def __init__(self, points: EntryPoints, name: str) -> None:
        super().__init__()
        self.model, self.name = points.model, name
        self._target = points._target(name)

        def forward(self: Entry, /, *args: Any, **kwargs: Any) -> Any:
            return self._target(*args, **kwargs)

        signature = inspect.signature(self._target)
        first = inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)
        forward.__signature__ = signature.replace(parameters=[first, *signature.parameters.values()])  # type: ignore[attr-defined]
        # A method, so that a copy calls itself.
        self.__dict__["forward"] = types.MethodType(forward, self)


class _Target:
    """What an entry calls. An object, so that deep copies of modules call the copy.

    Args:
        model: the module.
        target: what of it.
        name: of the entry, for messages.
    """

    def __init__(self, model: nn.Module, target: str | Callable[..., Any], name: str) -> None:
        self._model, self._target, self._name = model, target, name

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if isinstance(self._target, str):
            return operator.attrgetter(self._target)(self._model)(*args, **kwargs)
        return self._target(self._model, *args, **kwargs)

    @property
    def __signature__(self) -> inspect.Signature:
        if isinstance(self._target, str):
            found = operator.attrgetter(self._target)(self._model)
            return inspect.signature(found.forward if isinstance(found, nn.Module) else found)
        signature = inspect.signature(self._target)
        return signature.replace(parameters=list(signature.parameters.values())[1:])

    def check(self) -> None:
        """Raises TypeError where it cannot be called."""
        kind = type(self._model).__name__
        if isinstance(self._target, str):
            try:
                found = operator.attrgetter(self._target)(self._model)
            except AttributeError:
                raise TypeError(f"EntryPoints: '{self._name}': {kind} has no '{self._target}'.") from None
            if not callable(found):
                raise TypeError(f"EntryPoints: '{self._name}': '{self._target}' of {kind} cannot be called.")
        for each in self.__signature__.parameters.values():
            if each.kind is each.POSITIONAL_ONLY and each.default is each.empty:
                raise TypeError(
                    f"EntryPoints: '{self._name}' takes '{each.name}' by position alone; give a function whose "
                    "arguments have names."
                )

    def by_name(self, value: Any) -> dict[str, Any]:
        """The arguments of a call by their names, in the order of the signature.

        Args:
            value: a tensor, a tuple or list of arguments by position, or a dict of them by name.

        Raises:
            TypeError: it does not take them.
        """
        args: tuple[Any, ...] = ()
        kwargs: dict[str, Any] = {}
        if isinstance(value, Mapping):
            kwargs = dict(value)
        else:
            args = tuple(value) if isinstance(value, (tuple, list)) else (value,)
        signature = self.__signature__
        try:
            bound = signature.bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(f"entry point '{self._name}' cannot be called with these inputs: {error}.") from None
        named: dict[str, Any] = {}
        for name, given in bound.arguments.items():
            kind = signature.parameters[name].kind
            if kind is inspect.Parameter.VAR_KEYWORD:
                named.update(given)
            elif kind in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.POSITIONAL_ONLY):
                raise TypeError(
                    f"entry point '{self._name}' takes '{name}' by position alone; give a function whose arguments "
                    "have names."
                )
            else:
                named[name] = given
        return named
