"""How many threads a network gets where nobody says: what the system allows, and pays for."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from niwaki.runtime import threads


def system(root: Path, groups: str, limits: dict[str, str]) -> Path:
    """A system whose control groups have these files."""
    files = {"proc/self/cgroup": groups} | {f"sys/fs/cgroup/{name}": words for name, words in limits.items()}
    for name, words in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(words + "\n", encoding="ascii")
    return root


V1 = "9:memory:/box\n5:cpu,cpuacct:/box/a\n1:name=systemd:/"


@pytest.mark.parametrize(
    ("groups", "limits", "cpus"),
    [
        ("0::/", {"cpu.max": "200000 100000"}, 2),
        ("0::/", {"cpu.max": "150000 100000"}, 2),  # whole threads
        ("0::/", {"cpu.max": "20000 100000"}, 1),
        ("0::/", {"cpu.max": "max 100000"}, None),
        ("0::/", {}, None),  # the root of a machine has no such file
        ("0::/a/b", {"a/b/cpu.max": "max 100000", "a/cpu.max": "300000 100000"}, 3),
        ("0::/a/b", {"a/b/cpu.max": "400000 100000", "a/cpu.max": "300000 50000"}, 4),
        (V1, {"cpu,cpuacct/box/a/cpu.cfs_quota_us": "250000", "cpu,cpuacct/box/a/cpu.cfs_period_us": "50000"}, 5),
        (V1, {"cpu/cpu.cfs_quota_us": "100000", "cpu/cpu.cfs_period_us": "100000"}, 1),  # as Docker mounts it
        (V1, {"cpu/box/cpu.cfs_quota_us": "-1", "cpu/box/cpu.cfs_period_us": "100000"}, None),
        ("0::/../elsewhere", {"cpu.max": "200000 100000"}, 2),
        ("words", {"cpu.max": "200000 100000"}, None),
    ],
)  # fmt: skip
def test_quotas_of_containers(
    groups: str, limits: dict[str, str], cpus: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threads, "_SYSTEM", system(tmp_path, groups, limits))
    monkeypatch.setattr(threads.os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 6)
    assert threads.available_cpus() == (cpus or 8)
    assert threads.check_threads(None) == min(cpus or 6, 6), "beside torch its number, if it is less"
    assert threads.check_threads(12) == 12, "who says how many gets them"


def test_affinity_counts_where_it_is_less_than_a_quota(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limits = {"cpu.max": "400000 100000"}
    monkeypatch.setattr(threads, "_SYSTEM", system(tmp_path, "0::/", limits))
    monkeypatch.setattr(threads.os, "sched_getaffinity", lambda _: {3, 5}, raising=False)
    assert threads.available_cpus() == 2
