"""The smallest network that keeps an accuracy: networks along the curve of the best allocations, and simple ones."""

from __future__ import annotations

import dataclasses
import logging
import math
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch

from niwaki.budget.accuracy import Accuracy
from niwaki.budget.options import Option
from niwaki.errors import NiwakiError
from niwaki.pruning.config import PruneConfig
from niwaki.quantization.config import QuantizeConfig

if TYPE_CHECKING:
    from niwaki.budget.search import Candidate, Search

_log = logging.getLogger("niwaki")
# Networks along the curve that are built and evaluated, at most: the size is known to 4 % then.
_BUILDS = 6
_CLOSE = 0.97
# A simple network is built where its estimated size is at most this share of that of the best one.
_WORTH = 0.99
_FEW_BITS, _ENTRIES, _HALF = 4, 16, 0.5


def may_keep_what_is_there() -> bool:
    """Whether an interrupt may end a search with the best network so far: not where other processes search, too."""
    return not (torch.distributed.is_available() and torch.distributed.is_initialized())


class _Best:
    """The smallest network so far that keeps the accuracy. Where progress is told, each new one is."""

    def __init__(self, search: Search, first: Candidate, reference: float, progress: bool) -> None:
        self._search, self._reference, self._progress = search, reference, progress
        self.candidate, self.bytes = first, search.true_costs(first)[0]
        self._tell()

    def offer(self, candidate: Candidate) -> bool:
        """Takes it if it keeps the accuracy and is smaller. Returns whether it keeps the accuracy."""
        kept = self._search.keeps(candidate, self._reference)
        size = self._search.true_costs(candidate)[0]
        if kept and size < self.bytes:
            self.candidate, self.bytes = candidate, size
            self._tell()
        return kept

    def words(self) -> str:
        """Its size and accuracy."""
        return f"{math.ceil(self.bytes):,} bytes, {self.candidate.accuracy:.2f} % (float32: {self._reference:.2f} %)"

    def _tell(self) -> None:
        if self._progress:
            said = f"niwaki: the smallest network so far that keeps the accuracy: {self.words()}"
            print(said, file=sys.stderr, flush=True)


def smallest_that_keeps(search: Search, accuracy: Accuracy, drop: float, progress: bool) -> Candidate:
    """Builds and evaluates networks, by bisection of their sizes, and then simple ones that may be smaller still.

    An interrupt (KeyboardInterrupt) after the first network ends the search with the smallest one so far that keeps the
    accuracy, and search.interrupted says so.

    Raises:
        NiwakiError: int8 without more zeros loses more than `drop` points.
    """
    reference = accuracy.reference
    dense = search.dense = search.evaluated(search.dense, accuracy)
    if not search.keeps(dense, reference):
        assert dense.accuracy is not None
        raise NiwakiError(
            f"niwaki.compress: no network loses at most {drop:g} points: in int8 without more zeros it loses "
            f"{reference - dense.accuracy:.2f} and takes {math.ceil(search.true_costs(dense)[0]):,} bytes; give more "
            "calibration inputs, leave layers in float32 with skip=, or fine-tune."
        )
    best = _Best(search, dense, reference, progress)
    try:
        _bisect(search, accuracy, best)
        for chosen, quantize, prune in _simple(search):
            if search.estimated(chosen)[0] + search.rest()[0] < _WORTH * best.bytes:
                best.offer(search.evaluated(search.build_with(chosen, quantize, prune), accuracy))
    except KeyboardInterrupt:
        if not may_keep_what_is_there():
            raise
        search.interrupted = True
    return best.candidate


def _bisect(search: Search, accuracy: Accuracy, best: _Best) -> None:
    """Layers get back what costs most for its bytes, until the accuracy is kept. Sizes matter by their ratios."""
    tried = [search.dense.chosen]
    rest = search.rest()[0]
    low = search.estimated(search.cheapest())[0] + rest
    for _ in range(_BUILDS):
        if low >= _CLOSE * best.bytes:
            break
        middle = math.sqrt(low * best.bytes)
        chosen = search.choose([middle - rest])
        if chosen is None or chosen in tried:
            low = middle
            continue
        tried.append(chosen)
        candidate = search.evaluated(search.build(chosen), accuracy)
        size = search.true_costs(candidate)[0]
        rest = size - search.estimated(chosen)[0]  # a network with zeros takes something else besides its layers
        if not best.offer(candidate):
            low = max(low, min(size, middle))


def _simple(search: Search) -> Iterator[tuple[dict[str, Option], QuantizeConfig, PruneConfig | None]]:
    """What a call without a target would make: few bits for all layers, a codebook, half of the weights zero.

    Of a codebook, what it takes and costs is taken to be that of as many bits.
    """
    quantize = search.quantize
    if quantize.codebook is None and all(_FEW_BITS in _bits(layer.options) for layer in search.layers):
        few = {layer.name: _nearest(layer.options, 0.0, _FEW_BITS) for layer in search.layers}
        yield few, dataclasses.replace(quantize, weight_bits=_FEW_BITS), None
        codebook = dataclasses.replace(quantize, codebook="kmeans", codebook_entries=_ENTRIES, rounding="second_order")
        yield few, codebook, None
    if search.prune is not None and any(layer.units for layer in search.layers):
        half = {layer.name: _nearest(layer.options, _HALF, max(_bits(layer.options))) for layer in search.layers}
        yield half, quantize, dataclasses.replace(search.prune, sparsity=_HALF)


def _bits(options: tuple[Option, ...]) -> set[int]:
    return {option.bits for option in options}


def _nearest(options: tuple[Option, ...], share: float, bits: int) -> Option:
    return min((option for option in options if option.bits == bits), key=lambda option: abs(option.share - share))
