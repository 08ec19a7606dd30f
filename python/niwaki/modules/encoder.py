"""nn.TransformerEncoder as it answers in eval mode without gradients, where padding is left out of the computation."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class PaddedEncoder(nn.TransformerEncoder):
    """An nn.TransformerEncoder with nested tensors: 0 where a sequence has ended, before its last norm.

    torch packs sequences whose padding is at their ends, in eval mode without gradients, and fills up with 0 what the
    layers did not see. Elsewhere, and while torch.export looks on, the layers compute something there.
    """

    def forward(
        self,
        src: Tensor,
        mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
        is_causal: bool | None = None,
    ) -> Tensor:
        """As in nn.TransformerEncoder."""
        if mask is not None or src_key_padding_mask is None or src.dim() != 3:
            return super().forward(src, mask, src_key_padding_mask, is_causal)
        out = src
        for layer in self.layers:
            out = layer(out, src_mask=None, is_causal=False, src_key_padding_mask=src_key_padding_mask)
        padded = src_key_padding_mask != 0
        lengths = padded.logical_not().sum(1, keepdim=True)
        ends = torch.arange(src.shape[1], device=src.device) >= lengths
        out = out.masked_fill((ends & (padded == ends).all())[..., None], 0.0)
        return out if self.norm is None else self.norm(out)


def packs_sequences(module: nn.Module) -> bool:
    """Whether the module is an encoder that makes nested tensors of padded sequences."""
    return (
        isinstance(module, nn.TransformerEncoder)
        and not isinstance(module, PaddedEncoder)
        and getattr(module, "use_nested_tensor", False)
    )


def pad_outputs(module: nn.TransformerEncoder) -> None:
    """Makes an encoder a PaddedEncoder, one of a class of its own, too: what it adds to torch's stays."""
    module.__class__ = _padded(type(module))


def _padded(kind: type[nn.TransformerEncoder]) -> type[PaddedEncoder]:
    """The class of encoders that are of a kind and padded: torch's own forward gives way, the kind's does not."""
    if kind is nn.TransformerEncoder:
        return PaddedEncoder

    def reduce(self: nn.Module, _protocol: object) -> tuple[object, ...]:
        return _empty, (kind,), dict(self.__dict__)  # nobody could import the class

    return type(kind.__name__, (kind, PaddedEncoder), {"__reduce_ex__": reduce, "__module__": kind.__module__})


def _empty(kind: type[nn.TransformerEncoder]) -> PaddedEncoder:
    padded = _padded(kind)
    return padded.__new__(padded)


@contextmanager
def with_padding(model: nn.Module) -> Iterator[None]:
    """While a model is captured, its encoders answer as they do when it runs."""
    found = [(module, type(module)) for module in model.modules() if packs_sequences(module)]
    for module, _ in found:
        pad_outputs(module)  # type: ignore[arg-type]
    try:
        yield
    finally:
        for module, kind in found:
            module.__class__ = kind
