"""Brings a captured graph into the form that lowering reads: no mutation, no identities, few ways to say the same."""

from __future__ import annotations

from torch.fx import GraphModule

from niwaki.lower.canonical.attentions import join_attentions
from niwaki.lower.canonical.bounds import bounds_before_moves
from niwaki.lower.canonical.complex_numbers import split_complex
from niwaki.lower.canonical.expand import DECOMPOSITIONS, expand
from niwaki.lower.canonical.forms import (
    Rewrite,
    channel_shuffles,
    join_reshapes,
    pads_within,
    pools_alone,
    split_parts,
    views_reshape,
)
from niwaki.lower.canonical.functional import make_functional
from niwaki.lower.canonical.identities import drop_checks, drop_identities, fold_constants
from niwaki.lower.canonical.integers import widen_bytes, widen_inputs
from niwaki.lower.canonical.loops import join_steps
from niwaki.lower.canonical.memory import elements_for_places
from niwaki.lower.canonical.parts import whole_stacks
from niwaki.lower.canonical.regions import inline_regions
from niwaki.lower.canonical.sizes import SizeNodes, without_guards

__all__ = ["DECOMPOSITIONS", "SizeNodes", "canonicalize"]


def canonicalize(module: GraphModule) -> None:
    """Rewrites the graph in place; every node keeps its name at capture in its meta data. The graph can still be run.

    Raises:
        NiwakiError: a tensor is changed in place in a way that cannot be said otherwise.
    """
    with without_guards(module) as sure:
        _rewrite(module, composed=sure)
    module.graph.lint()
    module.recompile()


def _rewrite(module: GraphModule, *, composed: bool) -> None:
    """`composed`: operators may become what torch composes them of."""
    sizes = SizeNodes.of(module)
    inline_regions(module)
    drop_checks(module)
    _each(module, sizes, split_parts)
    _each(module, sizes, pools_alone)
    make_functional(module)
    if composed:
        elements_for_places(module)
    drop_identities(module)
    _each(module, sizes, views_reshape)
    fold_constants(module)
    _each(module, sizes, channel_shuffles)
    join_steps(module, sizes)
    _each(module, sizes, whole_stacks)
    if composed:
        split_complex(module)
        expand(module)
    drop_identities(module)
    _each(module, sizes, views_reshape)
    fold_constants(module)
    _each(module, sizes, join_attentions)
    for rewrite in (split_parts, join_reshapes, pads_within, bounds_before_moves):
        _each(module, sizes, rewrite)
    widen_inputs(module)
    widen_bytes(module)
    module.graph.eliminate_dead_code()


def _each(module: GraphModule, sizes: SizeNodes, rewrite: Rewrite) -> None:
    for node in list(module.graph.nodes):
        if node.op == "call_function":
            rewrite(module, sizes, node)
    module.graph.eliminate_dead_code()
