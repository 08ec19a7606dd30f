"""Operators that move elements, and those that make values, at sizes that only the run knows: equal to torch's."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

import core_node
import core_operators
import pytest
import torch

ROUNDS = 60


def some(shape: Sequence[int]) -> torch.Tensor:
    """A value of any dtype, whose elements are mostly unlike."""
    dtype = random.choice([torch.float32, torch.int64, torch.int32, torch.bool])
    return torch.randn(tuple(shape)) if dtype == torch.float32 else torch.randint(-999, 999, tuple(shape)).to(dtype)


def shape_of(rank: int, most: int = 5, least: int = 1) -> list[int]:
    return [random.randint(least, most) for _ in range(rank)]


def check(op: str, inputs: Sequence[torch.Tensor], attributes: Mapping[str, Any]) -> None:
    wanted = core_operators.compute(op, list(inputs), attributes, {}, [], [])
    for threads in (1, 3):
        found = core_node.run(op, inputs, attributes, threads=threads)
        for each, other in zip(found, wanted, strict=True):
            assert each.dtype == other.dtype and each.shape == other.shape, (op, attributes, each.shape, other.shape)
            assert torch.equal(each, other), (op, attributes, [value.shape for value in inputs])


def test_reshape_and_permute() -> None:
    for _ in range(ROUNDS):
        x = some(shape_of(random.randint(1, 6), least=0))
        check("permute", [x], {"axes": random.sample(range(x.dim()), x.dim())})
        if x.numel():
            check("reshape", [x], {"shape": random.choice([[-1], [1, -1], [*x.shape, 1], [-1, x.shape[-1]]])})


def test_expand_and_tile() -> None:
    for _ in range(ROUNDS):
        shape = shape_of(random.randint(0, 5))
        x = some([size if random.random() < 0.5 else 1 for size in shape])
        check("expand", [x], {"shape": [2] * random.randint(0, 2) + shape})
        check("tile", [x], {"repeats": shape_of(x.dim() + random.randint(0, 2), most=3)})


def test_concat() -> None:
    for _ in range(ROUNDS):
        shape = shape_of(random.randint(1, 5))
        axis = random.randrange(len(shape))
        first = some(shape)
        more = [
            torch.cat([first] * 3, axis).narrow(axis, 1, random.randint(0, shape[axis]))
            for _ in range(random.randint(0, 3))
        ]
        check("concat", [first, *more], {"axis": axis})


def test_slice() -> None:
    for _ in range(ROUNDS):
        x = some(shape_of(random.randint(1, 5), most=9))
        ends = [random.randint(-12, 12), random.randint(-12, 12)]
        axis, step = random.randrange(x.dim()), random.randint(1, 3)
        check("slice", [x], {"axis": axis, "start": ends[0], "end": ends[1], "step": step})


@pytest.mark.parametrize("mode", ["constant", "reflect", "replicate", "circular"])
def test_pad(mode: str) -> None:
    for _ in range(ROUNDS):
        x = some(shape_of(random.randint(1, 5), least=3, most=6))
        low = -1 if mode == "constant" else 0
        pads = [random.choice([0, random.randint(low, 2)]) for _ in range(2 * x.dim())]
        value = float(random.randint(0, 1)) if x.dtype == torch.bool else float(random.randint(-9, 9))
        check("pad", [x], {"padding": pads, "mode": mode, "value": value})


@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
@pytest.mark.parametrize("pads", [(-1, 2), (2, -1), (-1, -1), (2, 2)])
def test_pads_that_crop_repeat_what_is_left(mode: str, pads: tuple[int, int]) -> None:
    x = torch.randn(2, 3, 7)
    wanted = torch.nn.functional.pad(x, pads, mode=mode)
    found = core_node.run("pad", [x], {"padding": [0, 0, 0, 0, *pads], "mode": mode, "value": 0.0})
    assert torch.equal(found[0], wanted)


def test_flip_and_roll() -> None:
    for _ in range(ROUNDS):
        x = some(shape_of(random.randint(1, 5)))
        axes = random.sample(range(x.dim()), random.randint(1, x.dim()))
        check("flip", [x], {"axes": axes})
        check("roll", [x], {"shifts": [random.randint(-7, 7) for _ in axes], "axes": axes})


def test_take_and_gather() -> None:
    for _ in range(ROUNDS):
        x = some(shape_of(random.randint(1, 4)))
        axis, wrap = random.randrange(x.dim()), random.randint(0, 1)
        size = x.shape[axis]
        places = torch.randint(-size if wrap else 0, size, tuple(shape_of(random.randint(0, 3), least=0)))
        check("take", [x, places], {"axis": axis, "wrap": wrap})
        check("take", [x, places.int()], {"axis": axis, "wrap": wrap})
        shape = [*x.shape[:axis], random.randint(0, 7), *x.shape[axis + 1 :]]
        check("gather", [x, torch.randint(0, size, tuple(shape))], {"axis": axis})


def test_scatter() -> None:
    for _ in range(ROUNDS):
        x = some(shape_of(random.randint(1, 4)))
        axis = random.randrange(x.dim())
        shape = [
            random.randint(1, size) if place != axis else random.randint(1, 7) for place, size in enumerate(x.shape)
        ]
        places = [1 if random.random() < 0.3 else size for size in shape]
        index = torch.randint(0, x.shape[axis], tuple(places))
        names = ["set"] if x.dtype == torch.bool else ["set", "add", "mul", "max", "min"]
        check("scatter", [x, index, some(shape).to(x.dtype)], {"axis": axis, "function": random.choice(names)})


@pytest.mark.parametrize(("index", "wrap", "low"), [(5, 0, 0), (-1, 0, 0), (-6, 1, -5), (2**62, 1, -5)])
def test_an_index_out_of_range_is_an_error_and_no_read(index: int, wrap: int, low: int) -> None:
    words = f"node \\(take\\): the index {index} is out of range; it must be {low} to 4\\."
    with pytest.raises(ValueError, match=words):
        core_node.run("take", [torch.randn(5, 3), torch.tensor([0, index])], {"axis": 0, "wrap": wrap})


def test_unfold() -> None:
    for _ in range(ROUNDS):
        kernel, dilation = shape_of(2, most=3), shape_of(2, most=2)
        x = torch.randn(random.randint(0, 2), random.randint(1, 3), random.randint(5, 12), random.randint(5, 12))
        attributes = {
            "kernel": kernel,
            "dilation": dilation,
            "stride": shape_of(2, most=3),
            "padding": shape_of(2, 2, 0),
        }
        check("unfold", [x], attributes)


def test_values() -> None:
    for dtype in ("float32", "int64", "int32", "bool"):
        check("full", [], {"shape": [2, 0, 3], "dtype": dtype, "value": 1.0})
        check("full", [], {"shape": [3, 5], "dtype": dtype, "value": 1.0})
    for dtype in ("float32", "int64", "int32"):
        check("arange", [], {"start": -3, "end": 20, "step": 4, "dtype": dtype})
        check("arange", [], {"start": 9, "end": 2, "step": -2, "dtype": dtype})
        check("arange", [], {"start": 2, "end": 2, "step": 1, "dtype": dtype})
    check("size", [], {"value": 2**40})
    for start, end, steps in [(-1.0, 1.0, 197), (0.3, -7.1, 16), (2.0, 5.0, 1), (2.0, 5.0, 0), (-0.5, 63.5, 1000)]:
        found = core_node.run("linspace", [], {"start": start, "end": end, "steps": steps})[0]
        assert torch.allclose(found, torch.linspace(start, end, steps), rtol=1e-6, atol=1e-6)
