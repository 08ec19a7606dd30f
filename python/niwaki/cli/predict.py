"""`niwaki predict`: the answers of a .niwaki file to a folder of images or a file of rows, as a .parquet file."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from niwaki.cli.console import UsageError, numbers

EXAMPLES = """\
examples:
  niwaki predict resnet50.niwaki images/ -o answers.parquet --top 5 --labels imagenet.txt --workers 2
  niwaki predict detector.niwaki paths.txt -o answers/ --size 640         a folder of parts, for many rows
  niwaki predict encoder.niwaki tokens.parquet -o vectors.parquet --keep id --batch 64
  niwaki predict net.niwaki rows.npy -o answers.parquet --ray auto        on a cluster of Ray

A run that was stopped goes on where it was when the same command is given again. Exit code 1: some inputs went wrong,
and the column error says why; 2: nothing was done, or it could not go on.
"""


def add_parser(commands: Any) -> None:
    """Adds the command to the `niwaki` parser."""
    parser = commands.add_parser(
        "predict",
        help="answer a folder of images or a file of rows with a .niwaki file",
        description="Run a .niwaki file on many inputs and write its answers, a row for each input, with flat memory.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run)
    parser.add_argument("file", metavar="FILE", help="a .niwaki file")
    parser.add_argument(
        "inputs",
        metavar="INPUTS",
        help="a folder of images, or one image; .txt with the path of an image on each line; .npy with a row for each "
        "input; a folder with NAME.npy for each of several inputs; .parquet with columns named like the inputs",
    )
    parser.add_argument(
        "-o", "--output", required=True, metavar="PATH",
        help="a .parquet file, or a folder in which the parts stay",
    )  # fmt: skip
    parser.add_argument("--entry", metavar="NAME", help="which entry point of a file that has several")
    parser.add_argument("--limit", type=_count, metavar="N", help="the first so many inputs only")
    parser.add_argument(
        "--resume", action=argparse.BooleanOptionalAction, default=True,
        help="go on where an earlier run was stopped (the default), or begin anew",
    )  # fmt: skip
    parser.add_argument("--strict", action="store_true", help="stop at the first input that goes wrong")
    parser.add_argument("--json", action="store_true", help="print what was done as JSON")

    answers = parser.add_argument_group("answers")
    answers.add_argument("--columns", metavar="NAME,...", help="which outputs of the network (default: all)")
    answers.add_argument("--top", type=_count, metavar="K", help="the K best classes instead of all scores")
    answers.add_argument("--softmax", action="store_true", help="with --top: scores as probabilities")
    answers.add_argument("--labels", metavar="FILE", help="with --top: names of the classes, a line each")
    answers.add_argument("--keep", metavar="NAME,...", help="columns of a .parquet file that go into the answers")

    images = parser.add_argument_group("images", "by default as the network's file says")
    images.add_argument(
        "--size", "--input-size", type=_size, metavar="N or HxW", help="height and width of the center crop"
    )
    images.add_argument("--resize", type=_count, metavar="N", help="shorter side before it (default: size * 256 / 224)")
    images.add_argument("--mean", type=numbers, metavar="R,G,B", help="of pixels in 0..1, for each channel")
    images.add_argument("--std", type=numbers, metavar="R,G,B", help="of each channel")

    work = parser.add_argument_group("work")
    work.add_argument("--batch", type=_count, default=32, metavar="N", help="inputs that run together (default: 32)")
    work.add_argument("--threads", type=_count, default=1, metavar="N", help="of each worker (default: 1)")
    work.add_argument(
        "--workers", type=_count, default=1, metavar="N", help="processes, which map the same file (default: 1)"
    )
    work.add_argument(
        "--part", type=_count, metavar="N", help="inputs that are written, kept and lost as a whole (default: by size)"
    )
    work.add_argument("--ray", metavar="ADDRESS", help="on a cluster of Ray: auto, local, or its address")


def _count(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number of at least 1")
    return int(text)


def _size(text: str) -> tuple[int, int]:
    parts = [_count(part) for part in text.lower().split("x")]
    if len(parts) > 2:
        raise argparse.ArgumentTypeError(f"'{text}' is not a size; write 224 or 192x256")
    return parts[0], parts[-1]


def _names(text: str | None) -> list[str] | None:
    return None if text is None else [name.strip() for name in text.split(",") if name.strip()]


def _labels(path: str | None) -> list[str] | None:
    if path is None:
        return None
    try:
        return Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--labels '{path}' cannot be read: {error}") from error


def run(arguments: argparse.Namespace) -> int:
    """Does what `niwaki predict` says; 1 where some inputs went wrong."""
    import niwaki

    if (arguments.mean is None) != (arguments.std is None):
        raise UsageError("--mean and --std belong together; give both.")
    if arguments.mean is not None:
        niwaki.ImageConfig(mean=tuple(arguments.mean), std=tuple(arguments.std))  # checks them
    prediction = niwaki.predict(
        arguments.file,
        arguments.inputs,
        entry=arguments.entry,
        batch=arguments.batch,
        threads=arguments.threads,
        columns=_names(arguments.columns),
        top=arguments.top,
        softmax=arguments.softmax,
        labels=_labels(arguments.labels),
        keep=_names(arguments.keep) or (),
        limit=arguments.limit,
        size=arguments.size,
        resize=arguments.resize,
        mean=arguments.mean,
        std=arguments.std,
        strict=arguments.strict,
        part=arguments.part,
    )
    output = Path(arguments.output)
    arguments.checkpoint = f"{output}.parts" if output.suffix == ".parquet" else str(output)  # for who presses Ctrl-C
    done = prediction.write(
        output,
        processes=arguments.workers,
        resume=arguments.resume,
        progress=True,
        ray=arguments.ray,
    )
    if arguments.json:
        words = {"rows": done.rows, "errors": done.errors, "resumed": done.resumed, "seconds": done.seconds}
        print(json.dumps({"path": str(done.path), **words}, indent=2))
    else:
        print(done)
    if done.errors:
        print(
            f"niwaki: {done.errors:,} input{'s' * (done.errors > 1)} went wrong; the column 'error' says why.",
            file=sys.stderr,
        )
    return 1 if done.errors else 0
