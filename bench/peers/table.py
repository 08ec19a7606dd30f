"""The comparison as a table: Markdown for docs/comparison.md, a rich table for the terminal."""

from __future__ import annotations

import re
from collections.abc import Sequence

from rich.table import Table

from peers.cases import ENGINES, Case

BEGIN, END = "<!-- peers: written by make bench-peers -->", "<!-- peers: end -->"


def header(result: dict) -> list[str]:
    """The names of the columns."""
    return ["network", "batch, threads", *(ENGINES[key] for key in shown(result)), "fastest peer", "pruning gains"]


def shown(result: dict) -> list[str]:
    """The engines that have a time in any row, in the usual order."""
    return [key for key in ENGINES if any(key in row["engines"] for row in result["rows"])]


def lines(result: dict) -> list[list[str]]:
    """The cells of each row: milliseconds per image, and in brackets how many times as long as niwaki."""
    columns = shown(result)
    return [
        [
            Case.parse(row["case"]).title,
            f"{row['batch']}, {row['threads']}",
            *(_cell(row["engines"].get(key), key) for key in columns),
            _fastest(row["engines"]),
            ", ".join(
                f"{ENGINES[key]} {entry['gain']:.2f}x" for key, entry in row["engines"].items() if "gain" in entry
            ),
        ]
        for row in result["rows"]
    ]


def _cell(entry: dict | None, key: str) -> str:
    if entry is None:
        return "-"
    time = f"{entry['ms_per_image']:.2f}"
    return time if key == "niwaki" or "ratio" not in entry else f"{time} ({entry['ratio']:.2f}x)"


def fastest_peer(engines: dict[str, dict]) -> str | None:
    """The engine beside niwaki with the least time; None where there is no other."""
    peers = {key: entry["ms_per_image"] for key, entry in engines.items() if key != "niwaki"}
    return min(peers, key=lambda key: peers[key]) if peers else None


def _fastest(engines: dict[str, dict]) -> str:
    key = fastest_peer(engines)
    if key is None or "ratio" not in engines[key]:
        return "-"
    return f"{engines[key]['ratio']:.2f}x ({ENGINES[key]})"


def notes(result: dict) -> list[str]:
    """What belongs under the table: how it was measured, on what, with which versions, and who is missing."""
    machine = result["machine"]
    packages = {"torch-int8": "torch", "torch-fp32": "torch"}
    versions = ", ".join(
        dict.fromkeys(f"{packages.get(key, ENGINES[key])} {version}" for key, version in result["versions"].items())
    )
    rounds = sorted({row["rounds"] for row in result["rows"]})
    text = [
        "Milliseconds per image at "
        f"{result['size']} x {result['size']}; in brackets how many times as long as niwaki. Medians over "
        f"{' or '.join(map(str, rounds)) or 'no'} rounds, turn and turn about, each engine in a process of its own; "
        "ratios are taken round by round. Pruning gains: the dense network's time over the pruned one's, in the same "
        "rounds. Weights are seeded, not trained.",
        f"{machine['cpu']}, {machine['cores']} cores, {machine['isa']}, {machine['system']}, "
        f"Python {machine['python']}. {versions}.",
    ]
    text += [f"Without {ENGINES[key]}: {reason}." for key, reason in result["missing"].items()]
    for row in result["rows"]:
        for key, reason in row["missing"].items():
            text.append(f"Without {key} in {row['case']} ({row['batch']}, {row['threads']}): {reason}.")
    return text


def markdown(result: dict) -> str:
    """The table and its notes; a row's fastest time is bold."""
    names = header(result)
    table = [names, ["---", "---", *["--:"] * (len(names) - 3), "---"]]
    for cells, row in zip(lines(result), result["rows"], strict=True):
        best = min(row["engines"], key=lambda key: row["engines"][key]["ms_per_image"], default=None)
        if best is not None:
            place = 2 + shown(result).index(best)
            cells[place] = re.sub(r"^[\d.]+", r"**\g<0>**", cells[place])
        table.append(cells)
    return "\n".join("| " + " | ".join(cells) + " |" for cells in table) + "\n\n" + "\n\n".join(notes(result)) + "\n"


def terminal(result: dict) -> Table:
    """The same for a terminal."""
    table = Table(caption="\n".join(notes(result)), caption_justify="left")
    for index, name in enumerate(header(result)):
        table.add_column(name, justify="left" if index < 2 else "right", no_wrap=index < 2)
    for cells in lines(result):
        table.add_row(*cells)
    return table


def put_into(text: str, content: str, marks: tuple[str, str] = (BEGIN, END)) -> str:
    """`text` with `content` between the two marks of a Markdown file. Raises ValueError where they are missing."""
    begin, end = text.find(marks[0]), text.find(marks[1])
    if begin < 0 or end < begin:
        raise ValueError(f"the lines '{marks[0]}' and '{marks[1]}' are not in it")
    return f"{text[: begin + len(marks[0])]}\n{content.strip()}\n{text[end:]}"


def merge(old: Sequence[dict], new: Sequence[dict]) -> list[dict]:
    """The rows of two runs; a row measured again replaces the old one in its place."""

    def key(row: dict) -> tuple:
        return row["case"], row["batch"], row["threads"]

    newer = {key(row): row for row in new}
    rows = [newer.pop(key(row), row) for row in old]
    return [*rows, *newer.values()]
