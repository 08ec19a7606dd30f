"""The options of `niwaki compress` that say what is done to the network, and what niwaki.compress is called with."""

from __future__ import annotations

import argparse
from typing import Any

from niwaki.cli.console import UsageError


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds them to the parser of `niwaki compress`."""
    parser.add_argument(
        "--recipe",
        metavar="NAME",
        help="all options of pruning and quantization, and fine-tuning, at once: codebook, fast, half, int8, tenth, or "
        "a YAML or TOML file",
    )

    target = parser.add_argument_group("target", "instead of --sparsity: zeros and bits are searched for")
    target.add_argument(
        "--target-size", type=_target_size, metavar="SIZE", help="of the file: 0.1 of float32, or 300kB"
    )
    target.add_argument("--target-latency", type=float, metavar="MS", help="of one input, on this machine")
    target.add_argument("--target-speedup", type=float, metavar="TIMES", help="as fast as int8 without zeros")
    target.add_argument("--target-threads", type=int, metavar="N", help="of the latency (default: 1)")

    prune = parser.add_argument_group("pruning")
    prune.add_argument(
        "--sparsity", type=_ratio, metavar="0..1", help="share of the weights to set to zero (default: none)"
    )
    prune.add_argument(
        "--pattern",
        choices=("block4", "unstructured"),
        help="what is zero together: four input channels, which runs fastest, or single weights (default: block4)",
    )
    prune.add_argument(
        "--scope",
        choices=("global", "local"),
        help="whether the share holds for the network as a whole or for each layer (default: global)",
    )
    prune.add_argument(
        "--importance",
        choices=("magnitude", "second_order"),
        help="the smallest weights go, or those whose loss the others make good on the inputs (default: second_order)",
    )
    prune.add_argument(
        "--balance", action="store_true", default=None,
        help="four output channels that follow each other keep equally many blocks, which AVX-512 runs faster",
    )  # fmt: skip
    parser.add_argument(
        "--factorize", type=float, metavar="ERROR",
        help="first make two layers of linear and 1 x 1 ones, where that is faster here and changes their outputs by "
        "at most this share (0.05, say)",
    )  # fmt: skip
    bits = parser.add_argument_group("weights")
    bits.add_argument("--weight-bits", type=int, metavar="2..8", help="of all layers (default: 8)")
    bits.add_argument(
        "--equalize", action="store_true", help="first scale channels between layers so that rounding costs least"
    )
    bits.add_argument("--codebook", choices=("kmeans", "power_of_two"), help="few different values for each layer")


def _ratio(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 1 (0.75 prunes three quarters)")
    return value


def _target_size(text: str) -> int | float:
    """A share of float32, or bytes, with a unit or without."""
    for unit, factor in (("kb", 1e3), ("mb", 1e6), ("gb", 1e9), ("b", 1)):
        if text.lower().endswith(unit):
            return round(float(text[: -len(unit)]) * factor)
    value = float(text)
    if 0 < value <= 1:
        return value
    if value < 1 or value != int(value):
        raise argparse.ArgumentTypeError(f"'{text}' is not a size; write 0.1 (of float32), 300kB or 300000")
    return int(value)


def options_of(arguments: argparse.Namespace) -> dict[str, Any]:
    """What niwaki.compress is called with."""
    from niwaki.budget import Target

    weights = {"observer": arguments.observer, "weight_bits": arguments.weight_bits, "codebook": arguments.codebook}
    options: dict[str, Any] = {name: value for name, value in weights.items() if value is not None}
    limits = (arguments.target_size, arguments.target_latency, arguments.target_speedup)
    targeted = any(limit is not None for limit in limits)
    if arguments.equalize:
        options["equalize"] = True
    kept = {name: getattr(arguments, name) for name in ("checkpoint", "ray") if getattr(arguments, name) is not None}
    pruning = {
        name: getattr(arguments, name)
        for name in ("pattern", "scope", "importance", "balance")
        if getattr(arguments, name) is not None
    }
    if arguments.target_threads is not None and arguments.target_latency is None and arguments.target_speedup is None:
        raise UsageError("--target-threads says on how many threads a latency is measured; give --target-latency, too.")
    if arguments.recipe is not None:
        if options or targeted or pruning or arguments.sparsity is not None:
            raise UsageError("--recipe says all of pruning and quantization; leave the other options of them out.")
        if arguments.ray is not None:
            raise UsageError("--recipe runs in one process; leave --ray out.")
        return {"recipe": arguments.recipe, **kept}
    if targeted:
        if arguments.sparsity:
            raise UsageError(
                "--sparsity and a target exclude each other: a target finds the sparsity of each layer. With "
                "--sparsity 0, it looks for bits alone."
            )
        if arguments.sparsity is not None:
            kept["sparsity"] = 0.0
        _refuse(pruning, ("scope", "importance"), "a target, which finds the zeros of each layer by second order")
        size, latency, speedup = limits
        target = Target(size=size, latency=latency, speedup=speedup, threads=arguments.target_threads or 1)
        return {**options, **kept, **pruning, "target": target}
    if arguments.sparsity is None:
        names = ("pattern", "scope", "importance", "balance")
        _refuse(pruning, names, "a network that is not pruned; give --sparsity, too")
    else:
        options.update(pruning, sparsity=arguments.sparsity)
    return {**options, **kept}


def _refuse(given: dict[str, Any], names: tuple[str, ...], what: str) -> None:
    """An option that would do nothing is most likely a slip."""
    for name in names:
        if name in given:
            raise UsageError(f"--{name} does nothing for {what}.")
