"""How a network is called: its arguments by position and by name, its inputs, its results."""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from niwaki import _core
from niwaki.errors import NiwakiError
from niwaki.runtime.image import ImageConfig, image_of
from niwaki.runtime.structure import Structure, flatten, rebuild

SIGNATURE = "signature"
"""The key of a file's metadata under which the nesting of arguments and results lies, as JSON."""

_IMAGE = 4  # dimensions


@dataclass(frozen=True)
class InputInfo:
    """What an input must be. Printed: "x: float32 [batch, 3, height, width]".

    Attributes:
        name: of the argument.
        dtype: of its elements, by the name that numpy and torch have for it: "float32".
        dims: for each dimension a number, or the name of a free size, or how it follows from free sizes.
        image: how pixels become this input, where the file says it: then it may be uint8, too.
    """

    name: str
    dtype: str
    dims: tuple[int | str, ...]
    image: ImageConfig | None = None

    @property
    def rank(self) -> int:
        """How many dimensions it has."""
        return len(self.dims)

    def with_image(self, image: ImageConfig | None) -> InputInfo:
        """The same input; if it may be an image of as many channels, it says how pixels become it."""
        if image is None or (self.dtype, self.rank) != ("float32", _IMAGE):
            return replace(self, image=None)
        fits = isinstance(self.dims[1], str) or self.dims[1] == len(image.mean)
        return replace(self, image=image if fits else None)

    def __str__(self) -> str:
        pixels = f", or uint8 pixels ({self.image})" if self.image else ""
        return f"{self.name}: {self.dtype} [{', '.join(map(str, self.dims))}]{pixels}"


@dataclass(frozen=True)
class SizeInfo:
    """A size of the inputs that may differ from call to call, by the name that the inputs' dims give it.

    Attributes:
        low, high: what it may be; high is None where there is no limit.
    """

    name: str
    low: int
    high: int | None


@dataclass(frozen=True)
class Signature:
    """How a network is called.

    Attributes:
        inputs: what each input must be.
        sizes: the free sizes of the inputs.
        outputs: names of the results.
        results: the numbers of the values that the results are: the inputs come first, then what is made.
        parameters: names of the arguments that may be given by position, in order.
        variadic: the argument that takes all further positions; empty where there is none.
        keywords: the argument that takes all further names; empty where there is none.
        arguments: how the arguments are nested, by name.
        result: how the results are nested, for files; None where a type is involved that a file can't name.
        rebuild: makes the nested results of (inputs, outputs).
        refusal: why a network that is torch in part cannot take these inputs; an empty sentence where it can.
        unnamed: the type that a file can't name, if any.
    """

    inputs: tuple[InputInfo, ...]
    sizes: tuple[SizeInfo, ...]
    outputs: tuple[str, ...]
    results: tuple[int, ...]
    parameters: tuple[str, ...]
    variadic: str
    keywords: str
    arguments: Structure
    result: Structure | None
    rebuild: Callable[[Sequence[Any], Sequence[Any]], Any]
    refusal: Callable[[Sequence[Any]], str] = field(default=lambda tensors: "")
    unnamed: str = ""

    def tensors(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> list[Any]:
        """The inputs of a call, in their order.

        Raises:
            TypeError, ValueError: other arguments than the network was compiled for.
        """
        found = flatten(self.arguments, self._by_name(args, kwargs))
        return [found[index] for index in range(len(self.inputs))]

    def _by_name(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        expected = dict(self.arguments["dict"])
        if len(args) > len(self.parameters) and not self.variadic:
            raise TypeError(f"the network takes {self._positions()}, not {len(args)} arguments by position.")
        named: dict[str, Any] = dict(zip(self.parameters, args, strict=False))
        if self.variadic in expected:
            named[self.variadic] = tuple(args[len(self.parameters) :])
        more: dict[str, Any] = {}
        for name, value in kwargs.items():
            if name in named:
                raise TypeError(f"argument '{name}' is given by position and by name.")
            if name in expected or name in self.parameters or not self.keywords:
                named[name] = value
            else:
                more[name] = value
        if self.keywords in expected:
            named[self.keywords] = more
        else:  # the network was captured without them, and would not see them
            named |= more
        for name, value in list(named.items()):
            if name not in expected:
                if value is not None:
                    raise TypeError(
                        f"argument '{name}' is not one of those that the network was compiled with "
                        f"({', '.join(expected) or 'there are none'}); compile it with an example of it."
                    )
                del named[name]
        for name, structure in expected.items():
            if name not in named:
                if not _constant(structure):
                    raise TypeError(f"argument '{name}' is missing; the network takes {self._positions()}.")
                named[name] = rebuild(structure, (), ())
        return {name: named[name] for name in expected}

    def _positions(self) -> str:
        names = [name for name, _ in self.arguments["dict"]]
        return f"({', '.join(names)})"

    def check_file(self, path: str | os.PathLike[str]) -> None:
        """Raises NiwakiError where a file, `path`, can't name the type of the results."""
        if self.result is None:
            raise NiwakiError(
                f"{os.fspath(path)}: not written, because the network returns a {self.unnamed}, a type that files "
                "can't name. Return tensors in tuples, lists or dicts."
            )

    def to_json(self) -> str:
        """What a file keeps of it."""
        return json.dumps(
            {
                "parameters": self.parameters,
                "variadic": self.variadic,
                "keywords": self.keywords,
                "arguments": self.arguments,
                "result": self.result,
                "outputs": self.outputs,
            }
        )


def _constant(structure: Structure) -> bool:
    """Whether there is no tensor in it."""
    ((kind, content),) = structure.items()
    if kind == "input":
        return False
    if kind == "constant":
        return True
    if kind == "named":
        content = content[1]
    parts = [item for _, item in content] if kind in ("dict", "record", "named") else content
    return all(map(_constant, parts))


def ports_of(graph: _core.Graph) -> tuple[InputInfo, ...]:
    """The inputs of a core graph.

    Raises:
        NiwakiError: what its metadata says of images is wrong.
    """
    image = image_of(graph.metadata)
    ports = (
        InputInfo(port["name"], port["dtype"], tuple("?" if dim is None else dim for dim in port["dims"]))
        for port in graph.input_ports
    )
    return tuple(info.with_image(image) for info in ports)


def with_images(signature: Signature, image: ImageConfig | None) -> Signature:
    """The same for a network whose file says how pixels become its images."""
    return replace(signature, inputs=tuple(info.with_image(image) for info in signature.inputs))


def sizes_of(graph: _core.Graph) -> tuple[SizeInfo, ...]:
    """The free sizes of a core graph."""
    unlimited = 2**63 - 1
    return tuple(
        SizeInfo(size["name"], size["low"], None if size["high"] == unlimited else size["high"]) for size in graph.sizes
    )


def saved_signature(graph: _core.Graph, path: str) -> Signature:
    """The signature that `Network.save` left in a file.

    A file from elsewhere has none: then inputs are positional, and the result is a tensor or a tuple.

    Raises:
        NiwakiError: what the file says of arguments and results does not fit its graph.
    """
    names = list(graph.inputs)
    first = len(names)
    order = list(graph.outputs)
    by_name: Structure = {"dict": [[name, {"input": index}] for index, name in enumerate(names)]}
    outputs: list[Structure] = [{"output": index} for index in range(len(order))]
    saved: dict[str, Any] = {
        "parameters": names,
        "arguments": by_name,
        "result": outputs[0] if len(outputs) == 1 else {"tuple": outputs},
        "outputs": order,
    }
    words = graph.metadata.get(SIGNATURE)
    try:
        if words is not None:
            saved = _with_names({**saved, **json.loads(words)}, names)
        arguments, result, order = saved["arguments"], saved["result"], saved["outputs"]
        results = tuple(first + list(graph.outputs).index(name) for name in order)
        rebuild(arguments, range(first), ())
        rebuild(result, range(first), range(len(results)))
        dict(arguments["dict"])
    except (ValueError, KeyError, TypeError, IndexError, AttributeError):
        raise NiwakiError(
            f"{path}: its description of arguments and results does not fit its graph; save it again."
        ) from None
    return Signature(
        inputs=ports_of(graph),
        sizes=sizes_of(graph),
        outputs=tuple(order),
        results=results,
        parameters=tuple(saved["parameters"]),
        variadic=str(saved.get("variadic", "")),
        keywords=str(saved.get("keywords", "")),
        arguments=arguments,
        result=result,
        rebuild=functools.partial(rebuild, result),
    )


def _with_names(saved: dict[str, Any], names: list[str]) -> dict[str, Any]:
    """Files of formats 1 and 2 know arguments by their places."""
    arguments = saved["arguments"]
    if "tuple" in arguments:
        parts = arguments["tuple"]
        known = names if len(names) == len(parts) else [f"argument_{index}" for index in range(len(parts))]
        saved["parameters"] = known
        saved["arguments"] = {"dict": [[name, part] for name, part in zip(known, parts, strict=True)]}
    return saved
