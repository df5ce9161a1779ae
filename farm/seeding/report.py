"""What `farm seed` tells at its end, kept in bounded memory: sums, and the first of each kind."""

from __future__ import annotations

from bisect import insort
from collections import Counter, defaultdict
from collections.abc import Iterable

from farm.rung import Rung
from farm.seeding.flow import Row
from farm.seeding.queueing import Queued
from farm.sources import Rejected, Skipped


class SeedReport:
    """Sums over all structures.

    cheapest:         the first in the order of the queue, ``n_kept`` at most
    rungs:            how many were queued at which rung, and why; "" where none was chosen
    skipped:          how many, by kind of reason
    rejected:         how many, by what mends it, which is the same for one kind of trouble
    examples:         the first rejection of each of these kinds
    first_rejected:   the first rejections, ``n_kept`` at most
    predicted_cpu_s:  of the queued jobs, by number of atoms in the cell
    """

    def __init__(self, n_kept: int = 20) -> None:
        self._n_kept = n_kept
        self.n_queued = 0
        self.cheapest: list[Queued] = []
        self.rungs: Counter[tuple[Rung, str]] = Counter()
        self.skipped: Counter[str] = Counter()
        self.rejected: Counter[str] = Counter()
        self.examples: dict[str, Rejected] = {}
        self.first_rejected: list[Rejected] = []
        self.predicted_cpu_s: defaultdict[int, float] = defaultdict(float)

    @property
    def n_skipped(self) -> int:
        """Crystals that were left out."""
        return self.skipped.total()

    @property
    def n_rejected(self) -> int:
        """Files and entries that cannot be treated."""
        return self.rejected.total()

    @property
    def is_mixed(self) -> bool:
        """Whether rungs were chosen, or not all is RPA."""
        return any(reason or rung is not Rung.RPA for rung, reason in self.rungs)

    @property
    def predicted_cpu_hours(self) -> dict[int, float]:
        """Predicted CPU hours of the queued jobs by number of atoms in the cell."""
        return {n: seconds / 3600 for n, seconds in sorted(self.predicted_cpu_s.items())}

    def add(self, rows: Iterable[Row]) -> None:
        """Count a batch."""
        for row in rows:
            if isinstance(row, Queued):
                self._add_queued(row)
            elif isinstance(row, Skipped):
                self.skipped[row.kind or row.reason] += 1
            else:
                self.rejected[row.fix] += 1
                self.examples.setdefault(row.fix, row)
                if len(self.first_rejected) < self._n_kept:
                    self.first_rejected.append(row)

    def _add_queued(self, row: Queued) -> None:
        self.n_queued += 1
        self.rungs[row.rung, row.choice.reason if row.choice else ""] += 1
        self.predicted_cpu_s[row.n_atoms] += row.predicted_cpu_s
        insort(self.cheapest, row, key=place_in_queue)
        del self.cheapest[self._n_kept :]


def place_in_queue(row: Queued) -> tuple[float, int, str]:
    """Redis' order: by cost, then by size, then by job id, in which a dot follows the material."""
    return row.predicted_cpu_s, row.n_atoms, row.material + "."
