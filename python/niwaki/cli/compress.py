"""`niwaki compress`: from a Python callable, weights and images to a .niwaki file."""

from __future__ import annotations

import argparse
import dataclasses
import inspect
import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from niwaki.cli.console import UsageError, note, numbers
from niwaki.cli.options import add_options, options_of

if TYPE_CHECKING:
    from niwaki.report import Report
    from niwaki.runtime.image import ImageConfig

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's

DESCRIPTION = """\
Compress a network and write it into one file that runs on every CPU.

The network is a Python callable that returns a torch.nn.Module, as module:callable or path/to/file.py:callable; or
one of a package, timm:NAME, torchvision:NAME or hf:NAME (a folder, too), with its weights by --pretrained; or the path
of an .onnx file.
Calibration inputs show niwaki which values occur in the network; some hundred typical ones are enough:
  a folder     images, read with Pillow: shorter side resized, center cropped, pixels / 255, less --mean, over --std
  a file       .npz, .npy, .pt or .safetensors with an array [N, ...]: float32 and int64 are taken as they are, uint8
               like images; several arrays are the arguments that they are named like (input_ids, attention_mask)
  random       noise, if you only want to see how fast the network would be: its answers are worth nothing then
"""
EXAMPLES = """\
examples:
  niwaki compress torchvision.models:resnet50 --weights w.safetensors --calibration images/ -o resnet50.niwaki
  niwaki compress torchvision.models:resnet50 --weights w.pt --calibration images/ --sparsity 0.75 -o sparse.niwaki
  niwaki compress torchvision.models:resnet50 --weights w.pt --calibration images/ --recipe half -o half.niwaki
  niwaki compress torchvision.models:resnet50 --weights w.pt --calibration images/ --target-size 0.1 -o tenth.niwaki
  niwaki compress net.py:make --args '{"classes": 10}' --weights net.pt --calibration train.npz -o net.niwaki
  niwaki compress timm:efficientnet_lite0 --pretrained --calibration images/ -o lite0.niwaki
  niwaki compress hf:my-encoder/ --pretrained --calibration tokens.npz -o encoder.niwaki
  niwaki compress torchvision.models:resnet18 --calibration random -o try.niwaki
"""


def add_parser(commands: Any) -> None:
    """Adds the command to the `niwaki` parser."""
    parser = commands.add_parser(
        "compress",
        help="prune and quantize a network and write a .niwaki file",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run, usual_mean=MEAN, usual_std=STD)
    parser.add_argument(
        "model",
        metavar="MODEL",
        help="module:callable, path/to/file.py:callable, timm:NAME, torchvision:NAME, hf:NAME or FILE.onnx",
    )
    parser.add_argument("-o", "--output", metavar="FILE", required=True, help="the file to write, FILE.niwaki")
    parser.add_argument("--pretrained", action="store_true", help="with the weights that timm, torchvision, hf have")
    parser.add_argument("--args", metavar="JSON", help="keyword arguments for the callable, as a JSON object")
    parser.add_argument("--weights", metavar="FILE", help="state dict: .safetensors, .pt or .pth")

    add_options(parser)
    quantize = parser.add_argument_group("calibration")
    quantize.add_argument("--calibration", metavar="INPUTS", required=True, help="a folder, a file, or 'random'")
    quantize.add_argument(
        "--observer",
        choices=("minmax", "percentile", "mse", "entropy"),
        help="how ranges follow from the values seen: all, all but outliers, least squared error, or the distribution "
        "most like that of the values (default: mse)",
    )
    quantize.add_argument("--samples", type=int, default=128, metavar="N", help="use at most N inputs (default: 128)")
    quantize.add_argument("--batch", type=int, default=8, metavar="N", help="inputs in a batch (default: 8)")
    quantize.add_argument("--key", metavar="NAME", help="which array of a file with several")
    quantize.add_argument(
        "--size",
        "--input-size",
        dest="input_size",
        type=_size,
        default=(224, 224),
        metavar="N or HxW",
        help="size of the network's images (default: 224)",
    )
    quantize.add_argument(
        "--resize", type=int, metavar="N", help="shorter side before the crop (default: size * 256 / 224)"
    )
    quantize.add_argument(
        "--mean",
        type=numbers,
        metavar="R,G,B",
        help="of pixels in 0..1, which the file keeps (default: ImageNet's, 0.485,0.456,0.406)",
    )
    quantize.add_argument(
        "--std",
        type=numbers,
        metavar="R,G,B",
        help="default: ImageNet's, 0.229,0.224,0.225",
    )

    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="for sampling and initial weights (default: 0)"
    )
    parser.add_argument("--threads", type=int, metavar="N", help="threads to use while compressing (default: torch's)")
    parser.add_argument(
        "--ray", metavar="ADDRESS", help="share the measuring of layers over a cluster of Ray: auto, local, its address"
    )
    parser.add_argument("--report", metavar="FILE", help="also write what was done to each layer, as .html or .json")
    parser.add_argument(
        "--checkpoint", metavar="FOLDER", help="keep what is done in this folder; the same command goes on from there"
    )
    parser.add_argument(
        "--strict",
        action="store_true",
        help="write no file where answers change too much, or by more than a recipe promises",
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def _size(text: str) -> tuple[int, int]:
    parts = text.lower().split("x")
    if len(parts) > 2 or not all(part.isdigit() and int(part) > 0 for part in parts):
        raise argparse.ArgumentTypeError(f"'{text}' is not a size; write 224 or 192x256")
    return int(parts[0]), int(parts[-1])


def _check_paths(arguments: argparse.Namespace) -> None:
    """Before minutes of work: can the results be written at all?"""
    if arguments.report and Path(arguments.report).suffix not in (".html", ".json"):
        raise UsageError(f"--report '{arguments.report}': the file has to end in .html or .json.")
    for name, path in (("--output", arguments.output), ("--report", arguments.report)):
        if path and (not Path(path).resolve().parent.is_dir() or Path(path).is_dir()):
            raise UsageError(f"{name} '{path}': the folder does not exist, or this is one.")
        if path and not os.access(Path(path).resolve().parent, os.W_OK):
            raise UsageError(f"{name} '{path}': the folder cannot be written to.")


def _check_reading(arguments: argparse.Namespace) -> None:
    """Options of reading that would do nothing."""
    source = Path(arguments.calibration)
    if arguments.key is not None and not source.is_file():
        raise UsageError("--key names an array of a file; --calibration is none.")
    if arguments.resize is not None and not source.is_dir():
        raise UsageError("--resize is for a folder of images; --calibration is none.")


def _first(calls: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments of a call with one input, from a batch: a tensor, or a dict of them by name."""
    if isinstance(calls, dict):
        return (), {name: value[:1] for name, value in calls.items()}
    return (calls[:1],), {}


def _check_runs(model: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Whether the network takes the inputs at all; else capturing it would blame its code."""
    import torch

    from niwaki.errors import first_sentence

    shapes = ", ".join(str(list(x.shape)) for x in (*args, *kwargs.values()))
    try:
        with torch.no_grad():
            model.eval()(*(x.clone() for x in args), **{name: x.clone() for name, x in kwargs.items()})
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        raise UsageError(
            f"the network cannot be run with the calibration inputs, {shapes}: {first_sentence(error)}. Of images, "
            "--mean and --std have a number for each channel that it takes (grey: --mean 0.5 --std 0.5); --input-size "
            "is height and width."
        ) from error


def _image(arguments: argparse.Namespace, calls: Any, pixels: bool) -> ImageConfig | None:
    """What the file says about images: mean and std, where they were given or pixels were read with them."""
    given = arguments.mean is not None or arguments.std is not None
    shape: tuple[int, ...] = () if isinstance(calls, dict) else tuple(calls.shape)
    if len(shape) != 4 or not (given or pixels):
        return None
    from niwaki.runtime.image import ImageConfig

    image = ImageConfig(mean=arguments.mean or arguments.usual_mean, std=arguments.std or arguments.usual_std)
    if len(image.mean) != shape[1]:
        raise UsageError(f"--mean and --std have {len(image.mean)} numbers; the images have {shape[1]} channels.")
    return image


def _show(report: Report) -> None:
    """The table: in colours on a terminal, as plain text elsewhere."""
    import sys

    if not sys.stdout.isatty():
        print(report)
        return
    from rich.console import Console

    Console().print(report)


def run(arguments: argparse.Namespace) -> None:
    """Does what `niwaki compress` says."""
    _check_paths(arguments)
    _check_reading(arguments)
    import torch

    import niwaki
    from niwaki.cli.calibration import CalibrationConfig, read_calibration
    from niwaki.cli.hubs import is_hub, usual_pixels
    from niwaki.cli.model import load_model
    from niwaki.network.unwritable import check_foreseen

    if arguments.threads is not None:
        if arguments.threads < 1:
            raise UsageError(f"--threads has to be at least 1, not {arguments.threads}.")
        torch.set_num_threads(arguments.threads)
    torch.manual_seed(arguments.seed)
    model = load_model(arguments.model, arguments.args, arguments.weights, pretrained=arguments.pretrained)
    usual = usual_pixels(model) if is_hub(arguments.model) else None
    if usual is not None and arguments.mean is None and arguments.std is None:
        arguments.usual_mean, arguments.usual_std = usual
    if arguments.weights is None and not arguments.pretrained and not arguments.model.endswith(".onnx"):
        note(f"no --weights: compressing '{arguments.model}' with the weights that it was made with.")
    calibration, pixels = read_calibration(
        CalibrationConfig(
            source=arguments.calibration,
            size=arguments.input_size,
            resize=arguments.resize,
            mean=arguments.mean or arguments.usual_mean,
            std=arguments.std or arguments.usual_std,
            samples=arguments.samples,
            batch=arguments.batch,
            key=arguments.key,
            seed=arguments.seed,
        ),
        names=list(inspect.signature(model.forward).parameters),
    )
    if arguments.calibration == "random":
        note("--calibration random: good for timing only; calibrate with real inputs before you use the answers.")
    image = _image(arguments, calibration[0], pixels)
    begin = time.perf_counter()
    given = model
    args, kwargs = _first(calibration[0])
    _check_runs(model, args, kwargs)
    # What has no file is told now, not after minutes; most of it, before the graph is captured.
    check_foreseen(model, args, arguments.output, kwargs)
    niwaki.compile(niwaki.optimize(model.eval(), args=args, kwargs=kwargs), args, kwargs).check_file(arguments.output)
    if arguments.factorize is not None:
        model = niwaki.factorize(model.eval(), calibration, niwaki.FactorizeConfig(error=arguments.factorize))
    options = options_of(arguments)
    if options.get("target") is not None:
        options["target"] = dataclasses.replace(options["target"], image=image)
    module, report = niwaki.compress(model, calibration, strict=arguments.strict, **options)
    network = niwaki.compile(module, args, kwargs)
    network.save(arguments.output, image=image)
    seconds = time.perf_counter() - begin
    size = Path(arguments.output).stat().st_size
    report = report.of_file(size).made_with(seed=None if arguments.recipe else arguments.seed, name=arguments.model)
    if arguments.report:
        (report.to_html if arguments.report.endswith(".html") else report.to_json)(arguments.report)

    float_size = sum(value.numel() * value.element_size() for value in given.state_dict().values())
    if arguments.json:
        result = {"file": arguments.output, "bytes": size, "float_bytes": float_size, "seconds": round(seconds, 3)}
        print(json.dumps({**result, "report": report.to_dict()}, indent=2))
        return
    from niwaki.runtime.text import format_bytes

    _show(report)
    print(
        f"\n{arguments.output}: {format_bytes(size)}, {size / float_size:.1%} of the {format_bytes(float_size)} "
        f"in float32; took {seconds:.1f} s"
    )
