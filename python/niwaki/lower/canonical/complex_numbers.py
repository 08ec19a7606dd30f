"""Complex numbers within a network become pairs of real ones: spectra, rotations, filters.

What makes complex numbers of real ones is kept as a pair of nodes, what computes with them makes another pair, and what
makes real ones of them reads the pair. Where an operator has no rule here, it stays in torch, with what it needs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.fx import GraphModule, Node
from torch.utils import _pytree as pytree

from niwaki.lower.canonical import spectra
from niwaki.lower.canonical.expand import pieces_of, replace
from niwaki.lower.canonical.spectra import Complex
from niwaki.lower.canonical.tracing import decompositions, inserted, traced
from niwaki.lower.nodes import constant_of, inherit, is_getitem, makes_sizes, operator_name, tensor_of

_PARTS = {
    "view", "reshape", "permute", "transpose", "t", "mT", "unsqueeze", "squeeze", "slice", "select", "index", "expand",
    "flatten", "unflatten", "unbind", "split", "split_with_sizes", "chunk", "roll", "flip", "repeat", "clone",
    "contiguous", "index_select", "narrow", "movedim", "swapaxes", "sum", "mean", "neg", "alias",
    "detach", "_unsafe_view", "gather", "tile", "expand_as", "view_as",
    "tril", "triu", "cumsum", "unfold", "diagonal", "lift_fresh_copy", "fft_fftshift", "fft_ifftshift",
}  # fmt: skip


def _real(x: Any) -> Any:
    return x.real if isinstance(x, Complex) else x


def _imag(x: Any) -> Any:
    return x.imag if isinstance(x, Complex) else x


def _pair(x: Any) -> Complex:
    if isinstance(x, Complex):
        return x
    if isinstance(x, complex):
        return Complex(torch.scalar_tensor(x.real), torch.scalar_tensor(x.imag))
    value = x.to(torch.float32) if isinstance(x, torch.Tensor) else torch.scalar_tensor(x, dtype=torch.float32)
    return Complex(value, torch.zeros_like(value))


def _is_complex(x: Any) -> bool:
    return isinstance(x, (Complex, complex))


def _sum(a: Any, b: Any, sign: int, alpha: Any) -> Complex:
    x, y = _pair(a), _pair(b)
    factor = sign * alpha
    imag = x.imag + factor * y.imag
    return Complex(x.real + factor * y.real, imag)


def _mul(a: Any, b: Any) -> Complex:
    if _is_complex(a) and _is_complex(b):
        return _pair(a) * _pair(b)
    x, factor = (_pair(a), b) if _is_complex(a) else (_pair(b), a)
    return Complex(x.real * factor, x.imag * factor)


def _div(a: Any, b: Any) -> Complex:
    if not _is_complex(b):
        return Complex(a.real / b, a.imag / b)
    x, y = _pair(a), _pair(b)
    size = y.real * y.real + y.imag * y.imag
    found = x * Complex(y.real, -y.imag)
    return Complex(found.real / size, found.imag / size)


def _product(function: Callable[..., torch.Tensor]) -> Callable[..., Complex]:
    def product(a: Any, b: Any) -> Complex:
        if not _is_complex(a) or not _is_complex(b):
            parts = ((_real(a), _real(b)), (a.imag, b) if _is_complex(a) else (a, b.imag))
            return Complex(*(function(*part) for part in parts))
        return Complex(
            function(a.real, b.real) - function(a.imag, b.imag), function(a.real, b.imag) + function(a.imag, b.real)
        )

    return product


def _joined(function: Callable[..., torch.Tensor]) -> Callable[..., Complex]:
    def join(parts: Any, dim: int = 0) -> Complex:
        pairs = [_pair(part) for part in parts]
        return Complex(function([pair.real for pair in pairs], dim), function([pair.imag for pair in pairs], dim))

    return join


def _of_two_values(function: Callable[..., torch.Tensor]) -> Callable[..., Complex]:
    """Of an operator that writes a part into a whole."""

    def write(whole: Any, part: Any, *rest: Any, **more: Any) -> Complex:
        a, b = _pair(whole), _pair(part)
        return Complex(function(a.real, b.real, *rest, **more), function(a.imag, b.imag, *rest, **more))

    return write


def _where(condition: torch.Tensor, a: Any, b: Any) -> Complex:
    x, y = _pair(a), _pair(b)
    return Complex(torch.where(condition, x.real, y.real), torch.where(condition, x.imag, y.imag))


def _exp(x: Complex) -> Complex:
    size = x.real.exp()
    return Complex(size * x.imag.cos(), size * x.imag.sin())


def _pow(x: Complex, exponent: Any) -> Complex:
    found = x
    if exponent not in (1, 2, 3, 4):
        raise NotImplementedError("complex numbers have whole powers from 1 to 4")
    for _ in range(int(exponent) - 1):
        found = found * x
    return found


def _several(inverse: bool) -> Callable[..., Complex]:
    def transform(x: Any, s: Any = None, dim: Any = None, norm: str | None = None) -> Complex:
        found = _pair(x)
        for axis, size in spectra.axes_of(found.real, s, dim):
            found = spectra.fft(found, size, axis, norm, inverse=inverse)
        return found

    return transform


def _rfftn(x: torch.Tensor, s: Any = None, dim: Any = None, norm: str | None = None) -> Complex:
    *others, (last, size) = spectra.axes_of(x, s, dim)
    found = spectra.rfft(x, size, last, norm)
    for axis, each in others:
        found = spectra.fft(found, each, axis, norm)
    return found


def _irfftn(x: Complex, s: Any = None, dim: Any = None, norm: str | None = None) -> torch.Tensor:
    *others, (last, size) = spectra.axes_of(x.real, s, dim)
    for axis, each in others:
        x = spectra.fft(x, each, axis, norm, inverse=True)
    return spectra.irfft(x, size, last, norm)


def _of_two(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda x, s=None, dim=(-2, -1), norm=None: function(x, s, dim, norm)


def _hypot(x: Complex) -> torch.Tensor:
    """Its square could be infinite, or zero, where it is not."""
    a, b = x.real.abs(), x.imag.abs()
    most, least = torch.maximum(a, b), torch.minimum(a, b)
    share = torch.where(most > 0, least / torch.where(most > 0, most, torch.ones_like(most)), torch.zeros_like(most))
    return most * torch.sqrt(1 + share * share)


_RULES: dict[str, Callable[..., Any]] = {
    "view_as_complex": lambda x: Complex(x[..., 0], x[..., 1]),
    "view_as_real": lambda x: torch.stack([x.real, x.imag], -1),
    "complex": Complex,
    "polar": lambda size, angle: Complex(size * angle.cos(), size * angle.sin()),
    "real": lambda x: x.real,
    "imag": lambda x: x.imag,
    "abs": _hypot,
    "angle": lambda x: torch.atan2(x.imag, x.real),
    "conj": lambda x: Complex(x.real, -x.imag),
    "_conj": lambda x: Complex(x.real, -x.imag),
    "conj_physical": lambda x: Complex(x.real, -x.imag),
    "_conj_physical": lambda x: Complex(x.real, -x.imag),
    "resolve_conj": lambda x: x,
    "add": lambda a, b, alpha=1: _sum(a, b, 1, alpha),
    "sub": lambda a, b, alpha=1: _sum(a, b, -1, alpha),
    "mul": _mul,
    "div": _div,
    "matmul": _product(torch.matmul),
    "bmm": _product(torch.bmm),
    "mm": _product(torch.mm),
    "cat": _joined(torch.cat),
    "stack": _joined(torch.stack),
    "where": _where,
    "slice_scatter": _of_two_values(torch.slice_scatter),
    "select_scatter": _of_two_values(torch.select_scatter),
    "exp": _exp,
    "pow": _pow,
    "square": lambda x: x * x,
    "_to_copy": lambda x, **options: _pair(x),
    "to": lambda x, *options, **more: _pair(x),
    "constant_pad_nd": lambda x, pad, value=0: Complex(
        torch.nn.functional.pad(x.real, pad, value=value), torch.nn.functional.pad(x.imag, pad)
    ),
    "zeros": lambda size, **options: _pair(torch.zeros(size)),
    "zeros_like": lambda x, **options: _pair(torch.zeros_like(_real(x))),
    "new_zeros": lambda x, size, **options: _pair(torch.zeros(size)),
    "masked_fill": lambda x, mask, value: Complex(
        x.real.masked_fill(mask, _real(_pair(value))), x.imag.masked_fill(mask, _pair(value).imag)
    ),
    "fft_fft": lambda x, n=None, dim=-1, norm=None: spectra.fft(_pair(x), n, dim, norm),
    "fft_ifft": lambda x, n=None, dim=-1, norm=None: spectra.fft(_pair(x), n, dim, norm, inverse=True),
    "fft_rfft": lambda x, n=None, dim=-1, norm=None: spectra.rfft(x, n, dim, norm),
    "fft_irfft": lambda x, n=None, dim=-1, norm=None: spectra.irfft(_pair(x), n, dim, norm),
    "fft_fftn": _several(inverse=False),
    "fft_ifftn": _several(inverse=True),
    "fft_fft2": _of_two(_several(inverse=False)),
    "fft_ifft2": _of_two(_several(inverse=True)),
    "fft_rfftn": _rfftn,
    "fft_rfft2": _of_two(_rfftn),
    "fft_irfftn": _irfftn,
    "fft_irfft2": _of_two(_irfftn),
}


def split_complex(module: GraphModule) -> None:
    """Rewrites the graph in place; complex nodes that nobody needs any more are gone."""
    if not any(_makes_complex(node) for node in module.graph.nodes):
        return
    table = decompositions()
    pairs: dict[Node, Any] = {}
    nodes = list(module.graph.nodes)
    while nodes:
        node = nodes.pop(0)
        if not _makes_complex(node) and not any(map(_makes_complex, node.all_input_nodes)):
            continue
        if node.op == "get_attr":
            pairs[node] = _constants(module, node)
        elif is_getitem(node) and node.args[0] in pairs:
            pairs[node] = pairs[node.args[0]][node.args[1]]
        elif node.op == "call_function" and all(
            source in pairs for source in node.all_input_nodes if _makes_complex(source)
        ):
            rule = _rule(node)
            if rule is not None:
                _apply(module, node, rule, pairs, table)
                continue
            # What torch composes of others may have rules for these.
            pieces = pieces_of(node, table)
            if pieces is not None and all(piece.target != node.target for piece in pieces.graph.nodes):
                before = set(module.graph.nodes)
                replace(module, node, pieces)
                nodes = [each for each in module.graph.nodes if each not in before] + nodes
    for node, pair in pairs.items():
        for user in [user for user in node.users if makes_sizes(user)]:
            user.replace_input_with(node, pair.real)  # the sizes of a pair are those of its parts
    module.graph.eliminate_dead_code()


def _makes_complex(node: Node) -> bool:
    leaves = pytree.tree_leaves(node.meta.get("val"))
    return any(isinstance(leaf, torch.Tensor) and leaf.is_complex() for leaf in leaves)


def _constants(module: GraphModule, node: Node) -> Complex:
    value = constant_of(node).resolve_conj()
    found = []
    for part in ("real", "imag"):
        name = f"_{part}_of_{node.name}"
        module.register_buffer(name, getattr(value, part).to(torch.float32).clone(), persistent=False)
        with module.graph.inserting_before(node):
            found.append(module.graph.get_attr(name))
        fake = tensor_of(node)
        assert fake is not None
        found[-1].meta["val"] = torch.ops.aten.real(fake).clone() if fake.is_complex() else fake
    return Complex(*found)  # type: ignore[arg-type]


def _rule(node: Node) -> Callable[..., Any] | None:
    name = operator_name(node).removeprefix("aten::")
    if name in _RULES:
        return _RULES[name]
    if name not in _PARTS:
        return None
    target: Any = node.target

    def of_parts(*args: Any, **kwargs: Any) -> Any:
        leaf = lambda each: isinstance(each, Complex)  # noqa: E731
        found = [
            target(*pytree.tree_map(part, args, is_leaf=leaf), **pytree.tree_map(part, kwargs, is_leaf=leaf))
            for part in (_real, _imag)
        ]
        if isinstance(found[0], torch.Tensor):
            return Complex(*found)
        return [Complex(*pair) for pair in zip(*found, strict=True)]

    return of_parts


def _apply(
    module: GraphModule, node: Node, rule: Callable[..., Any], pairs: dict[Node, Any], table: dict[Any, Any]
) -> None:
    """Adds what the rule makes of the node's arguments, and keeps it, or gives it to the node's readers."""
    sources: list[Node] = []
    for source in node.all_input_nodes:
        sources += [pairs[source].real, pairs[source].imag] if source in pairs else [source]

    def call(*given: Any) -> Any:
        values = dict(zip(sources, given, strict=True))

        def argument(source: Node) -> Any:
            pair = pairs.get(source)
            return values[source] if pair is None else Complex(values[pair.real], values[pair.imag])

        args, kwargs = torch.fx.node.map_arg((node.args, node.kwargs), argument)
        made = rule(*args, **kwargs)
        leaves = made if isinstance(made, list) else [made]
        return [[each.real, each.imag] if isinstance(each, Complex) else each for each in leaves]

    sources = list(dict.fromkeys(sources))
    pieces = traced(call, node, sources, table)
    if pieces is None:
        return
    results = inserted(module, node, sources, pieces)
    if _makes_complex(node):
        found = [Complex(*each) for each in results]
        pairs[node] = found[0] if tensor_of(node) is not None else found
        return
    (result,) = results
    if result.op == "call_function" and result not in sources:
        inherit(result, node)
    node.replace_all_uses_with(result)
    module.graph.erase_node(node)
