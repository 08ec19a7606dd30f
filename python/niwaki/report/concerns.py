"""What is to be known before a compressed network is put to use: changed answers, and layers without weights."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from niwaki.report.rows import LayerReport, NetworkReport
from niwaki.runtime.text import counted

# Of the outputs' norm. On classifiers, a tenth costs nothing that can be measured, and from a half on they fail.
_MUCH = 0.3
# Points of accuracy, where that was measured: it decides then.
_DROP = 5.0
# Shares of zeros that somebody has asked for. Fewer are there after any rounding: of normally distributed weights, some
# 60 % become zero at 2 bits, 35 % at 3, 20 % at 4.
_PRUNED, _PRUNED_TO_FEW_BITS = 0.1, {2: 0.75, 3: 0.55, 4: 0.4}
_NAMED = 3
# Errors on inputs that decided are smaller than this share of those on others where more inputs would help; and how
# many are few for any network.
_FITTED, _USUAL = 0.8, 512


def concerns(rows: Sequence[LayerReport], network: NetworkReport, emptied: Collection[str]) -> tuple[str, ...]:
    """Sentences; none where all is well.

    Args:
        rows, network: of the report.
        emptied: names of layers all of whose weights have become zero.
    """
    found = []
    if emptied:
        names = _listed(list(emptied))
        found.append(
            f"all weights of {names} are zero, so what goes through there is lost; leave such layers out (skip=), or "
            "ask for fewer zeros."
        )
    changed = _changed(network)
    if changed:
        found.append(explained(changed, rows, None if network.origin is None else network.origin.inputs))
    return tuple(found)


def explained(what: str, rows: Sequence[LayerReport], seen: int | None = None) -> str:
    """A sentence about a network, with the layers that cost most, and what to do.

    Args:
        what: is wrong.
        rows: of the report.
        seen: how many inputs calibrated; None where that is not known.
    """
    return f"{what}{_worst(rows)}. {_remedy(rows, _more_inputs(rows, seen))}"


def _more_inputs(rows: Sequence[LayerReport], seen: int | None) -> str:
    """That more inputs would help, and how many; empty where weights do as well on inputs that decided nothing.

    A layer that sees one vector of each input, as a classifier does, takes as many as that has numbers to be determined
    by them; so many help layers that see more of each, too. Some hundred are few for any.
    """
    if all(row.fitted_error is None for row in rows):
        return f"give {_USUAL:,} inputs or more" if seen is not None and seen < _USUAL else ""
    narrow = [row for row in rows if (row.fitted_error or 0.0) < _FITTED * (row.output_error or 0.0)]
    if not narrow:
        return ""
    count = max(_USUAL, *(row.shape[1] for row in narrow if len(row.shape) > 1), 0)
    if seen is not None and seen >= count:
        count = 2 * seen
    had = "" if seen is None else f" in place of {seen:,}"
    return f"give {count:,} inputs or more{had}"


def _changed(network: NetworkReport) -> str:
    if network.drop is not None:
        if network.drop <= _DROP:
            return ""
        now, before = network.accuracy, network.float_accuracy
        return f"the accuracy fell by {network.drop:.1f} points, from {before:.1f} to {now:.1f} %"
    if network.output_error is None or network.output_error <= _MUCH:
        return ""
    where = "" if network.inputs is None else f" on {counted(network.inputs, 'held-out ' * network.held_out + 'input')}"
    return f"the outputs change by {network.output_error:.0%} of their norm{where}, which most networks do not bear"


def _worst(rows: Sequence[LayerReport]) -> str:
    known = [row for row in rows if row.output_error is not None]
    known.sort(key=lambda row: -(row.output_error or 0.0))
    if not known:
        return ""
    return "; most in layers " + ", ".join(f"'{row.name}' ({row.output_error:.0%})" for row in known[:_NAMED])


def _remedy(rows: Sequence[LayerReport], inputs: str) -> str:
    size = sum(row.float_bytes for row in rows)
    asked = sum(row.zeros * row.float_bytes for row in rows if row.zeros > _share_asked_for(row))
    few_bits = any(row.bits < 8 for row in rows)
    if size and asked > _PRUNED * size:
        bits = ", keep such layers at 8 bits (weight_bits={...})" if few_bits else ""
        more = f", {inputs}" if inputs else ""
        return (
            f"Ask for fewer zeros{more}{bits}, leave importance at 'second_order', let "
            "niwaki.Target(size=...) find the zeros of each layer, or train what is left (docs/compression.md)."
        )
    if few_bits:
        more = f", {inputs}" if inputs else ""
        return f"Keep such layers at 8 bits (weight_bits={{...}}){more}, or try rounding='learned'."
    more = f" ({inputs})" if inputs else ""
    return f"Leave such layers in float32 (skip=...), or look at whether the inputs are typical{more}."


def _share_asked_for(row: LayerReport) -> float:
    """The share of zeros beyond which a layer was pruned."""
    return _PRUNED_TO_FEW_BITS.get(row.bits, _PRUNED)


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(f"'{name}'" for name in names[:_NAMED]) + more
