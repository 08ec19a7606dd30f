"""How a captured module is called: its signature, before there is a file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.utils import _pytree as pytree

from niwaki.capture import Captured
from niwaki.lower.program import Program
from niwaki.runtime.signature import InputInfo, Signature, SizeInfo
from niwaki.runtime.structure import Slot, Structure, UndescribableError, describe


def signature_of(captured: Captured, program: Program) -> Signature:
    """The signature of a captured and lowered module.

    Raises:
        TypeError: an argument has a type that a network cannot take.
    """
    count = iter(range(len(captured.inputs)))
    numbered = pytree.tree_map(
        lambda leaf: Slot("input", next(count)) if isinstance(leaf, torch.Tensor) else leaf, captured.arguments
    )
    try:
        arguments: Structure = {"dict": [[name, describe(value)] for name, value in numbered.items()]}
    except UndescribableError as error:
        raise TypeError(f"arguments may be tensors, tuples, lists, dicts and numbers, but not {error}.") from None

    def rebuild_result(inputs: Sequence[torch.Tensor], outputs: Sequence[torch.Tensor]) -> Any:
        kinds = {"input": inputs, "output": outputs}
        leaves = [kinds[leaf.kind][leaf.index] if isinstance(leaf, Slot) else leaf for leaf in program.result_leaves]
        return pytree.tree_unflatten(leaves, program.result_spec)

    inputs = tuple(
        InputInfo(info.name, str(dtype).removeprefix("torch."), captured.dims_in_words(info))
        for info, dtype in zip(captured.inputs, program.input_dtypes, strict=True)
    )
    sizes = tuple(
        SizeInfo(size.name, size.low, None if size.unlimited else size.high) for size in captured.sizes.values()
    )
    return Signature(
        inputs=inputs,
        sizes=sizes,
        outputs=program.result_names,
        results=program.results,
        parameters=captured.parameters,
        variadic=captured.variadic,
        keywords=captured.keywords,
        arguments=arguments,
        result=program.result,
        rebuild=rebuild_result,
        refusal=captured.refusal,
        unnamed=program.result_type,
    )
