"""How many processors this process may use: not all that the machine has."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")


def usable_cpus(cgroup: Path = _CGROUP) -> int:
    """Those it may run on (taskset, cpusets), and no more than its control group's quota (containers)."""
    n_cpus = len(os.sched_getaffinity(0))
    quota = _quota(cgroup)
    return n_cpus if quota is None else max(1, min(n_cpus, int(quota)))


def _quota(cgroup: Path) -> float | None:
    """Processors' worth of time; None: no limit. Control groups of version 2, then 1."""
    with suppress(OSError, ValueError):
        limit, period = (cgroup / "cpu.max").read_text().split()
        return None if limit == "max" else int(limit) / int(period)
    with suppress(OSError, ValueError):
        limit, period = ((cgroup / f"cpu/cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        return None if int(limit) < 0 else int(limit) / int(period)
    return None
