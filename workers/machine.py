"""What this machine has left, and what a process tree of ours uses: measured, not decided."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

_CGROUP = Path("/sys/fs/cgroup")


@dataclass(frozen=True, kw_only=True)
class TreeUse:
    """CPU seconds and resident bytes of a process and its living descendants."""

    cpu_s: float
    resident_bytes: int


def available_memory_bytes() -> int:
    """Memory that can still be had, under the limit of this control group where there is one."""
    available: int = psutil.virtual_memory().available
    limit, used = (_number(_CGROUP / name) for name in ("memory.max", "memory.current"))
    if limit is None or used is None:
        return available
    # Page cache counts as used, and is given up first.
    cache = 0
    with suppress(OSError, ValueError):
        for line in (_CGROUP / "memory.stat").read_text().splitlines():
            if line.startswith("inactive_file "):
                cache = int(line.split()[1])
    return min(available, limit - used + cache)


def memory_kills() -> int:
    """How often the kernel killed for want of memory: in this control group, else on this machine."""
    for path in (_CGROUP / "memory.events", Path("/proc/vmstat")):
        with suppress(OSError, ValueError):
            for line in path.read_text().splitlines():
                if line.startswith("oom_kill "):
                    return int(line.split()[1])
    return 0


def total_memory_bytes() -> int:
    """Memory of this machine, or of this control group where that has less."""
    total: int = psutil.virtual_memory().total
    limit = _number(_CGROUP / "memory.max")
    return total if limit is None else min(total, limit)


def tree_use(pid: int) -> TreeUse:
    """What a process and its descendants have used so far; zeros where it is gone."""
    cpu_s, resident = 0.0, 0
    with suppress(psutil.Error):
        root = psutil.Process(pid)
        for process in (root, *root.children(recursive=True)):
            with suppress(psutil.Error):
                times = process.cpu_times()
                cpu_s += times.user + times.system
                resident += process.memory_info().rss
    return TreeUse(cpu_s=cpu_s, resident_bytes=resident)


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):  # "max": no limit
        return None
