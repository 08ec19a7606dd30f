"""Diagonals: taken out of matrices, written into them, made into matrices."""

from __future__ import annotations

from typing import Any

import torch
from torch.fx import Node

from niwaki.lower.builder import Builder
from niwaki.lower.nodes import arguments, axis_of, dtype_of, rank_of, shape_of
from niwaki.lower.operators.indexing import take
from niwaki.lower.operators.registry import Operator, register
from niwaki.lower.operators.scattering import scatter
from niwaki.lower.operators.unary import source_of


def _numbers(node: Node, matrix: Node) -> tuple[int, int, int]:
    """The offset, and the axes of rows and columns of a tensor of matrices."""
    given = arguments(node)
    return int(given["offset"]), axis_of(matrix, int(given["dim1"])), axis_of(matrix, int(given["dim2"]))


def _flat(matrix: Node, rows: int, columns: int) -> tuple[list[int], list[Any]]:
    """The order of axes with rows and columns last, and the other sizes."""
    others = [axis for axis in range(rank_of(matrix)) if axis not in (rows, columns)]
    return [*others, rows, columns], [shape_of(matrix)[axis] for axis in others]


def _places(builder: Builder, node: Node, count: Any, width: Any, offset: int) -> int:
    """Where the elements of a diagonal lie in a matrix of this width, row by row."""
    step = builder.binary(
        node, "add", builder.operand(node, width, torch.int64), builder.scalar(1, torch.int64), part="step"
    )
    places = builder.binary(node, "mul", builder.arange(node, count, "elements"), step, part="places")
    first = builder.scalar(offset, torch.int64)
    if offset < 0:
        down = builder.scalar(-offset, torch.int64)
        first = builder.binary(node, "mul", down, builder.operand(node, width, torch.int64), part="first")
    return builder.binary(node, "add", places, first, part="on")


@register("aten::diagonal", "aten::linalg_diagonal")
class Diagonal(Operator):
    def refusal(self, node: Node) -> str:
        return "" if rank_of(source_of(node)) >= 2 else "takes no matrix"

    def emit(self, builder: Builder, node: Node) -> int:
        source = source_of(node)
        offset, rows, columns = _numbers(node, source)
        order, outer = _flat(source, rows, columns)
        height, width = shape_of(source)[rows], shape_of(source)[columns]
        value = builder.permute(node, builder.plain(source), order, part="ordered")
        value = builder.reshape(node, value, [*outer, height * width], part="flat")
        places = _places(builder, node, shape_of(node)[-1], width, offset)
        return take(builder, node, value, places, len(outer), wrap=False)


@register("aten::diagonal_scatter")
class DiagonalScatter(Operator):
    def emit(self, builder: Builder, node: Node) -> int:
        source, given, dtype = source_of(node), arguments(node), dtype_of(node)
        offset, rows, columns = _numbers(node, source)
        order, outer = _flat(source, rows, columns)
        height, width = shape_of(source)[rows], shape_of(source)[columns]
        count = shape_of(given["src"])[-1]
        value = builder.permute(node, builder.plain(source), order, part="ordered")
        value = builder.reshape(node, value, [*outer, height * width], part="flat")
        places = _places(builder, node, count, width, offset)
        places = builder.reshape(node, places, [*[1] * len(outer), count], part="row")
        value = scatter(builder, node, value, places, builder.plain(given["src"], dtype), len(outer), part="written")
        value = builder.reshape(node, value, [*outer, height, width], part="matrices")
        return builder.permute(node, value, [order.index(axis) for axis in range(len(order))])


@register("aten::diag_embed")
class DiagEmbed(Operator):
    """Rows become diagonals of matrices of zeros."""

    def emit(self, builder: Builder, node: Node) -> int:
        source, dtype = source_of(node), dtype_of(node)
        offset, rows, columns = _numbers(node, node)
        order, outer = _flat(node, rows, columns)
        count, width = shape_of(source)[-1], shape_of(node)[columns]
        zeros = {"shape": builder.dims([*outer, width * width])}
        zero = builder.scalar(False if dtype == torch.bool else 0, dtype)
        value = builder.add("expand", node, [zero], zeros, part="zeros")
        places = _places(builder, node, count, width, offset)
        places = builder.reshape(node, places, [*[1] * len(outer), count], part="row")
        value = scatter(builder, node, value, places, builder.plain(source), len(outer), part="written")
        value = builder.reshape(node, value, [*outer, width, width], part="matrices")
        return builder.permute(node, value, [order.index(axis) for axis in range(len(order))])
