"""What an import has done: how many came in, were there, or cannot be taken and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from farm.interchange.importing import Imported, Row
from farm.sources.items import Rejected, Skipped

N_SHOWN = 20


class ImportReport:
    """Rows of an import, counted and kept.

    by_outcome:     how many came in, by outcome
    skipped_kinds:  how many were left out, by reason
    rejected_kinds: how many cannot be taken, by what mends it, which is the same for one kind of trouble
    """

    def __init__(self) -> None:
        self.imported: list[Imported] = []
        self.skipped: list[Skipped] = []
        self.rejected: list[Rejected] = []
        self.by_outcome: Counter[str] = Counter()
        self.skipped_kinds: Counter[str] = Counter()
        self.rejected_kinds: Counter[str] = Counter()

    def add(self, rows: Iterable[Row]) -> None:
        """Count a batch."""
        for row in rows:
            if isinstance(row, Imported):
                self.imported.append(row)
                self.by_outcome[row.outcome.value] += 1
            elif isinstance(row, Skipped):
                self.skipped.append(row)
                self.skipped_kinds[row.reason] += 1
            else:
                self.rejected.append(row)
                self.rejected_kinds[row.fix] += 1

    @property
    def nothing_came_in(self) -> bool:
        """Whether all that was given was refused."""
        return bool(self.rejected) and not self.imported and not self.skipped

    @property
    def sums(self) -> str:
        """One line."""
        outcomes = ", ".join(f"{n:,} {outcome}" for outcome, n in self.by_outcome.most_common())
        return (
            f"{len(self.imported):,}"
            + (f" ({outcomes})" if outcomes else "")
            + f", skipped {len(self.skipped):,}, rejected {len(self.rejected):,}"
        )

    def to_dict(self) -> dict[str, Any]:
        """As `farm import --json` has it."""
        return {
            "imported": [vars(row) | {"outcome": row.outcome.value} for row in self.imported],
            "skipped": [{"material": row.material, "reason": row.reason} for row in self.skipped],
            "rejected": [vars(row) for row in self.rejected],
        }
