"""What a compression comes to, for anyone: a light, a sentence, and what was before and is now."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from niwaki.report.interval import interval
from niwaki.runtime.text import counted, format_bytes

if TYPE_CHECKING:
    from niwaki.report.report import Report
    from niwaki.report.rows import NetworkReport

GREEN, YELLOW, RED = "green", "yellow", "red"
WORDS = {GREEN: "good to use", YELLOW: "look closer", RED: "not as it is", "": "not measured"}
# Points of accuracy that may be lost, shares of the answers that have to stay, and relative changes of the outputs: up
# to the first it is green, up to the second yellow. On classifiers, outputs that change by a tenth cost nothing that
# can be measured, and from a half on they fail.
_DROP, _KEPT, _ERROR = (1.0, 5.0), (0.98, 0.9), (0.1, 0.3)
# Of fewer inputs, answers say little by themselves: the change of the outputs counts, too.
_FEW = 32


@dataclass(frozen=True)
class Compared:
    """One thing before and now, as text.

    Attributes:
        name: of what is compared.
        before, now: values; empty where there is none.
        words: what that means: "4.0x smaller".
    """

    name: str
    before: str
    now: str
    words: str


@dataclass(frozen=True)
class Verdict:
    """What a compression comes to.

    Attributes:
        light: "green", "yellow", "red", or empty where nothing was measured that tells.
        sentence: for anyone.
        lines: what was before and is now: file, time, accuracy, answers or outputs.
    """

    light: str
    sentence: str
    lines: tuple[Compared, ...]

    @property
    def words(self) -> str:
        """What the light says."""
        return WORDS[self.light]


def verdict_of(report: Report) -> Verdict:
    """The verdict on the network of a report."""
    known = report.network
    found = [_file(report), _time(known), _accuracy(known), _answers(known)]
    # Error of the outputs says nothing to most: only where neither accuracy nor answers are known.
    if known.accuracy is None and known.answers is None:
        found.append(_outputs(known))
    light, cost = _judged(known)
    gains = [line.words for line in found[:2] if line is not None and line.words and line.words[0].isdigit()]
    gain = " and ".join(gains)
    joined = f"{gain}, and {cost}" if gain else cost
    sentence = f"{WORDS[light][0].upper()}{WORDS[light][1:]}: {joined}."
    return Verdict(light, sentence, tuple(line for line in found if line is not None))


def _judged(known: NetworkReport) -> tuple[str, str]:
    """The light, and what the compression costs, in words."""
    if known.drop is not None and known.accuracy is not None and known.float_accuracy is not None:
        light = _light(known.drop, _DROP)
        cost = f"the accuracy is {known.accuracy:.1f} %, {_points(known)}"
    elif known.answers is not None:
        answers = known.answers
        light = _light(1 - answers.share, (1 - _KEPT[0], 1 - _KEPT[1]))
        if known.output_error is not None:
            change = _light(known.output_error, _ERROR)
            if answers.count >= _FEW:
                change = YELLOW if change == RED else GREEN
            light = max(light, change, key=[GREEN, YELLOW, RED].index)
        cost = f"{answers.kept} of {counted(answers.count, _kind(known) + 'input')} " + (
            "is answered as before" if answers.kept == 1 else "are answered as before"
        )
    elif known.output_error is not None:
        light = _light(known.output_error, _ERROR)
        cost = f"the outputs change by {known.output_error:.1%} of their norm"
    else:
        return "", "what it does to the answers was not measured"
    if (known.warnings or known.no_file) and light == GREEN:
        light = YELLOW
    if known.no_file:
        cost += ", but it has no file"
    return light, cost


def _light(value: float, limits: tuple[float, float]) -> str:
    # A share that was counted is a float: 2 of 100 are no more than 0.02.
    return GREEN if value <= limits[0] + 1e-9 else YELLOW if value <= limits[1] + 1e-9 else RED


def _file(report: Report) -> Compared | None:
    known = report.network
    before = known.parameter_bytes or report.float_bytes
    if known.no_file:
        return Compared("file", format_bytes(before), "none", known.no_file)
    now = known.file_bytes or report.bytes
    name = "weights" if known.file_bytes is None else "file"
    return Compared(name, format_bytes(before), format_bytes(now), times(before, now, "smaller", "larger"))


def _time(known: NetworkReport) -> Compared | None:
    if known.milliseconds is None:
        return None
    threads = counted(known.threads or 1, "thread")
    if known.speed is None:
        return Compared("one input", "", f"{milliseconds(known.milliseconds)} on {threads}", "")
    low, middle, high = known.speed.speedup
    if known.speed.steady:
        words = times(middle, 1.0, "faster", "slower")
    elif low >= 1:
        words = f"{low:.1f}x to {high:.1f}x faster on a busy machine"
    else:
        words = "the machine was too busy to tell"
    return Compared(
        "one input", milliseconds(known.speed.float_milliseconds), f"{milliseconds(known.milliseconds)} on {threads}",
        words,
    )  # fmt: skip


def _accuracy(known: NetworkReport) -> Compared | None:
    if known.accuracy is None:
        return None
    before = "" if known.float_accuracy is None else with_margin(known.float_accuracy, known.evaluated)
    return Compared("accuracy", before, with_margin(known.accuracy, known.evaluated), _points(known))


def _answers(known: NetworkReport) -> Compared | None:
    answers = known.answers
    if answers is None:
        return None
    low, high = interval(answers.share, answers.count)
    inputs = counted(answers.count, _kind(known) + "input")
    return Compared(
        "answers kept", "", f"{answers.share:.1%}", f"of {inputs}; of all, {100 * low:.1f} to {100 * high:.1f} %"
    )


def _outputs(known: NetworkReport) -> Compared | None:
    if known.output_error is None:
        return None
    where = "" if known.inputs is None else f"on {counted(known.inputs, _kind(known) + 'input')}"
    return Compared("change of the outputs", "", f"{known.output_error:.1%}", where)


def _kind(known: NetworkReport) -> str:
    return "held-out " if known.held_out else "of these " if known.inputs is not None else ""


def _points(known: NetworkReport) -> str:
    """What happened to the accuracy."""
    if known.drop is None or known.accuracy is None or known.float_accuracy is None:
        return ""
    words = f"{-known.drop:+.2f} points" if round(known.drop, 2) else "as before"
    margin = known.drop_margin
    if known.evaluated and round(known.drop, 2) and margin is not None and abs(known.drop) <= margin:
        words += f", less than {counted(known.evaluated, 'input')} can tell"
    return words


def with_margin(accuracy: float, count: int | None) -> str:
    """An accuracy, in per cent, with how far it may be off where it is known on how many inputs it was measured."""
    if not count:
        return f"{accuracy:.2f} %"
    low, high = interval(min(max(accuracy / 100, 0.0), 1.0), count)
    return f"{accuracy:.2f} % ± {50 * (high - low):.1f}"


def times(before: float, now: float, less: str, more: str) -> str:
    """How many times less or more it is now: "4.0x smaller"."""
    if not before or not now:
        return ""
    ratio, word = (before / now, less) if before >= now else (now / before, more)
    return f"{ratio:.0f}x {word}" if ratio >= 20 else f"{ratio:.1f}x {word}"


def milliseconds(value: float) -> str:
    """A time with three digits that mean something: "0.123 ms", "31.4 ms"."""
    return f"{value:.3f} ms" if value < 1 else f"{value:.2f} ms" if value < 10 else f"{value:.1f} ms"
