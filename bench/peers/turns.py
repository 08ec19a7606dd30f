"""Engines side by side, turn and turn about, so that a machine's ups and downs hit all of them alike."""

from __future__ import annotations

import json
import statistics
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from peers.cases import GAIN_FROM_ZEROS, Case, Setting
from peers.environments import worker_environment

START_LIMIT = 900.0  # seconds
TURN_LIMIT = 300.0
PAUSE = 0.3  # the last engine's threads may still be spinning

Times = dict[str, list[float]]
"""Milliseconds per image of each round, by engine."""


class EngineError(Exception):
    """An engine that did not start or stopped, in one sentence."""


@dataclass(frozen=True)
class Place:
    """Where engines run: the Python of each, the folder with the ONNX files, and one for logs."""

    pythons: Mapping[str, Path]
    models: Path
    logs: Path
    size: int = 224


class Worker:
    """An engine's process with one network."""

    def __init__(self, engine: str, case: str, setting: Setting, place: Place) -> None:
        self.engine = engine
        self.images = setting.images
        place.logs.mkdir(parents=True, exist_ok=True)
        self.log = place.logs / f"{engine}-{case}-{setting.images}x{setting.threads}.log"
        arguments = [engine, case, setting.images, setting.threads, place.size, place.models]
        with self.log.open("w", encoding="utf-8") as log:
            self._process = subprocess.Popen(
                [str(place.pythons[engine]), "-m", "peers.engines", *map(str, arguments)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=worker_environment(engine),
            )

    def wait_until_ready(self) -> str:
        """The engine's version, once the network is warm."""
        answer = self._read(START_LIMIT)
        if "version" not in answer:
            raise EngineError(f"{answer.get('error', 'it did not say why')} (see {self.log})")
        return str(answer["version"])

    def turn(self, calls: int) -> float:
        """The fastest of some calls, milliseconds per image."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(f"{calls}\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise EngineError(f"it stopped (see {self.log})") from None
        return min(self._read(TURN_LIMIT)["milliseconds"]) / self.images

    def stop(self) -> None:
        """Ends the process."""
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            self._process.stdin.close()
            self._process.wait(10)
        except (subprocess.TimeoutExpired, BrokenPipeError):
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()

    def _read(self, limit: float) -> dict:
        assert self._process.stdout is not None
        timer = threading.Timer(limit, self._process.kill)
        timer.start()
        try:
            line = self._process.stdout.readline()
        finally:
            timer.cancel()
        if not line:
            raise EngineError(f"it stopped, or took more than {limit:.0f} s (see {self.log})")
        return json.loads(line)


def compare(
    case: str,
    setting: Setting,
    engines: Sequence[str],
    rounds: int,
    place: Place,
    after_round: Callable[[], None] = lambda: None,
) -> dict:
    """Times one network on all engines.

    Args:
        case, setting: what to run.
        engines: niwaki among them; all ratios are against it.
        rounds: how often each has its turn.
        place: where the engines live.
        after_round: called after each round, for a progress bar.

    Returns:
        The row of the table: what `summarize` returns as "engines", with "versions" and "missing" (reasons) by engine.

    Raises:
        EngineError: niwaki itself did not start, or stopped.
    """
    twin = Case.parse(case).dense_twin
    wanted = {engine: (engine, case) for engine in engines}
    if twin != case:
        wanted.update({_dense(engine): (engine, twin) for engine in engines if engine in GAIN_FROM_ZEROS})
    versions: dict[str, str] = {}
    missing: dict[str, str] = {}
    workers = {key: Worker(engine, name, setting, place) for key, (engine, name) in wanted.items()}
    times: Times = {key: [] for key in workers}
    try:
        for key, worker in list(workers.items()):
            try:
                versions[worker.engine] = worker.wait_until_ready()
            except EngineError as error:
                _drop(key, str(error), workers, missing)
        for _ in range(rounds):
            for key, worker in list(workers.items()):
                time.sleep(PAUSE)
                try:
                    times[key].append(worker.turn(setting.calls))
                except EngineError as error:
                    _drop(key, str(error), workers, missing)
            after_round()
    finally:
        for worker in workers.values():
            worker.stop()
    found = {key: of_rounds for key, of_rounds in times.items() if len(of_rounds) == rounds}
    return {
        "case": case,
        "batch": setting.images,
        "threads": setting.threads,
        "rounds": rounds,
        "engines": summarize(found),
        "versions": versions,
        "missing": missing,
    }


def _dense(engine: str) -> str:
    return f"{engine} dense"


def _drop(key: str, reason: str, workers: dict[str, Worker], missing: dict[str, str]) -> None:
    workers.pop(key).stop()
    if key == "niwaki":
        raise EngineError(f"niwaki, which all are compared with, is not there: {reason}")
    missing[key] = reason


def summarize(times: Times) -> dict[str, dict]:
    """For each engine: the median over rounds ("ms_per_image"), and how many times as long as niwaki it took, round by
    round: the median ("ratio"), the least and the most. Engines that ran the dense network beside have a "gain", the
    dense time over the pruned one.
    """
    base = times.get("niwaki")
    summary = {}
    for engine, own in times.items():
        if engine.endswith(" dense"):
            continue
        row: dict = {"ms_per_image": round(statistics.median(own), 4), "rounds": [round(ms, 4) for ms in own]}
        if base:
            ratios = [ms / reference for ms, reference in zip(own, base, strict=True)]
            row |= {
                "ratio": round(statistics.median(ratios), 4),
                "ratio_min": round(min(ratios), 4),
                "ratio_max": round(max(ratios), 4),
            }
        dense = times.get(_dense(engine))
        if dense:
            row["dense_ms_per_image"] = round(statistics.median(dense), 4)
            gains = [ms / pruned for ms, pruned in zip(dense, own, strict=True)]
            row["gain"] = round(statistics.median(gains), 4)
        summary[engine] = row
    return summary
