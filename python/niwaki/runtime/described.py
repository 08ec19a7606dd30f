"""What a network says of itself, and a stream of the network that takes its pieces."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from niwaki.runtime.signature import InputInfo, SizeInfo

if TYPE_CHECKING:
    from niwaki.runtime.network import Network
    from niwaki.runtime.plan import Plan


class Described(ABC):
    """Something that runs a network and says what that takes, gives and does."""

    @abstractmethod
    def _whole(self) -> Network:
        """The network that is described."""

    @property
    def inputs(self) -> tuple[InputInfo, ...]:
        """The inputs: name, dtype and dims. A dim is a number, or the name of a size that is free."""
        return self._whole()._signature.inputs

    @property
    def sizes(self) -> tuple[SizeInfo, ...]:
        """The free sizes of the inputs, with what they may be."""
        return self._whole()._signature.sizes

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the results."""
        return self._whole()._signature.outputs

    @property
    def plan(self) -> Plan:
        """What runs, with the times of the last call on any thread, or of the last piece on any stream."""
        from niwaki.runtime.plan import Plan  # not needed to run

        network = self._whole()
        return Plan(network._steps(), network._heading)

    @property
    def threads(self) -> int:
        """Threads that work on a call, the caller included."""
        return self._whole()._threads

    @property
    def isa(self) -> str:
        """The instruction set that its kernels were chosen for."""
        return self._whole()._chosen_isa()

    def _repr_html_(self) -> str:
        """As notebooks show it: inputs, outputs and the plan."""
        import html

        rows = (("inputs", map(str, self.inputs)), ("outputs", self.outputs))
        ports = "".join(f"<div>{name}: {html.escape(', '.join(texts))}</div>" for name, texts in rows)
        return ports + self.plan._repr_html_()
