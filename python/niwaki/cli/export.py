"""`niwaki export`: a .niwaki file as an ONNX file."""

from __future__ import annotations

import argparse
from typing import Any

from niwaki.cli.console import UsageError

EXAMPLES = """\
examples:
  niwaki export resnet50.niwaki -o resnet50.onnx
  niwaki export clip.niwaki --entry image -o image.onnx
"""


def add_parser(commands: Any) -> None:
    """Adds the command to the `niwaki` parser."""
    parser = commands.add_parser(
        "export",
        help="write a .niwaki file as an ONNX file with int8 layers",
        description="Write what a .niwaki file computes as an ONNX file: quantized layers between QuantizeLinear and "
        "DequantizeLinear, which ONNX Runtime and OpenVINO run in int8. Needs the package onnx, and no torch.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run)
    parser.add_argument("file", metavar="FILE", help="a .niwaki file")
    parser.add_argument("-o", "--output", required=True, metavar="FILE", help="the ONNX file to write")
    parser.add_argument("--entry", metavar="NAME", help="which of the file's entry points to write")
    parser.add_argument(
        "--runtime", choices=("onnxruntime", "openvino"), default="onnxruntime",
        help="what is to run it, where there is a choice (default: onnxruntime)",
    )  # fmt: skip


def run(arguments: argparse.Namespace) -> None:
    """Does what `niwaki export` says."""
    import niwaki

    network = niwaki.load(arguments.file)
    if arguments.entry is not None:
        if arguments.entry not in network.entries:
            there = ", ".join(f"'{name}'" for name in network.entries) or "none"
            raise UsageError(f"'{arguments.file}' has no entry point '{arguments.entry}'; there is {there}.")
        network = network[arguments.entry]
    niwaki.to_onnx(network, arguments.output, runtime=arguments.runtime)
    print(f"{arguments.output} written")
