"""A compiled network with several entry points."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NoReturn

from niwaki import _core
from niwaki.errors import NiwakiError
from niwaki.runtime.image import ImageConfig
from niwaki.runtime.network import Network

if TYPE_CHECKING:
    from niwaki.runtime.plan import Plan


class EntryNetwork(Network):
    """A network whose entry points are networks of their own, by name; in a file, they share what weights are equal.

    Args:
        networks: of each entry.
        source: the class of the module that they were compiled from.
    """

    def __init__(self, networks: Mapping[str, Network], source: str = "") -> None:
        self._networks = dict(networks)
        self._source = source
        first = next(iter(self._networks.values()))
        self._threads = first.threads

    def __call__(self, *args: Any, **calls: Any) -> dict[str, Any]:
        """Runs some entries.

        Args:
            calls: for each of them, by its name, the input, a tuple of arguments, or a dict of them by name.

        Returns:
            Their results, by name.
        """
        if args:
            self._refuse("be called by position; call net[name](...)")
        return {name: _call(self[name], given) for name, given in calls.items()}

    def __getitem__(self, name: str) -> Network:
        if name not in self._networks:
            raise KeyError(f"there is no entry point {name!r}; there are {_listed(self._networks)}")
        return self._networks[name]

    @property
    def entries(self) -> tuple[str, ...]:
        return tuple(self._networks)

    def autotune(self, *args: Any, seconds: float = 1.0, **calls: Any) -> EntryNetwork:
        """As `Network.autotune` for each entry that arguments are given for, as for a call.

        Their packed weights are their own from then on: the fastest kernels may be others for each.
        """
        if args:
            self._refuse("be tuned by position; give arguments for each entry by its name")
        for name, given in calls.items():
            positional, named = _arguments(given)
            self[name].autotune(*positional, seconds=seconds, **named)
        return self

    def stream(self, piece: int | None = None, *, along: str | None = None, **sizes: int) -> NoReturn:
        self._refuse("be streamed as one")

    @property
    def isa(self) -> str:
        return next(iter(self._networks.values())).isa

    @property
    def inputs(self) -> NoReturn:
        self._refuse("say its inputs")

    @property
    def sizes(self) -> NoReturn:
        self._refuse("say its free sizes")

    @property
    def outputs(self) -> NoReturn:
        self._refuse("say its outputs")

    @property
    def plan(self) -> Plan:
        """The plans of all entries, one after the other; names of steps begin with the entry's."""
        from niwaki.runtime.plan import Plan  # not needed to run

        steps = [
            dataclasses.replace(step, name=f"{name}: {step.name}")
            for name, network in self._networks.items()
            for step in network.plan
        ]
        return Plan(steps, self._heading)

    def save(self, path: str | os.PathLike[str], *, image: ImageConfig | None = None) -> None:
        """As `Network.save`. With `image`, every entry has it whose input is an image with as many channels."""
        self.check_file(path)
        if image is not None:
            takers = [network for network in self._networks.values() if image.fits(network.graph)]
            # None does: then the first says what is wrong.
            for network in takers or [next(iter(self._networks.values()))]:
                network.put_image(image)
        _core.save_entries([(name, network.graph) for name, network in self._networks.items()], os.fspath(path))

    def check_file(self, path: str | os.PathLike[str]) -> None:
        for name, network in self._networks.items():
            try:
                network.check_file(path)
            except NiwakiError as error:
                raise NiwakiError(f"entry point '{name}': {error}") from None

    def _refuse(self, what: str) -> NoReturn:
        name = next(iter(self._networks))
        raise NiwakiError(
            f"a network with several entry points, {_listed(self._networks)}, cannot {what}; ask one of them: "
            f"net['{name}']."
        )

    def _repr_html_(self) -> str:
        return self.plan._repr_html_()

    def __repr__(self) -> str:
        parts = ", ".join(f"{name}={network!r}" for name, network in self._networks.items())
        return f"<niwaki.Network {self._source}: {parts}>"


def _listed(names: Mapping[str, Any]) -> str:
    return ", ".join(f"'{name}'" for name in names)


def _arguments(given: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    if isinstance(given, Mapping):
        return (), dict(given)
    return (tuple(given) if isinstance(given, (tuple, list)) else (given,)), {}


def _call(network: Network, given: Any) -> Any:
    args, kwargs = _arguments(given)
    return network(*args, **kwargs)
