"""Which rows of a store are exported."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from farm.errors import InputError
from farm.job import Engine, Outcome
from farm.rung import Rung
from farm.store import Store, StoredRow


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Rows that fulfil every condition given.

    protocol_hash: the beginning of it
    rung:          those that have a spectrum of it
    """

    outcome: Outcome | None = None
    engine: Engine | None = None
    protocol_hash: str = ""
    rung: Rung | None = None

    def rows(self, store: Store) -> list[StoredRow]:
        """The current rows that are chosen, in order of arrival. Raises InputError where there is none."""
        rows = list(self._chosen(store))
        if not rows:
            raise InputError(
                f"{store.path}: nothing in it is like that" if store.n_rows else f"{store.path} is empty",
                fix="`farm jobs` lists outcomes, engines and protocols",
            )
        return rows

    def _chosen(self, store: Store) -> Iterator[StoredRow]:
        for row in store.rows():
            if (
                (self.outcome in (None, row.outcome))
                and (self.engine in (None, row.engine))
                and row.protocol_hash.startswith(self.protocol_hash)
                and (self.rung is None or (row.has_rpa if self.rung is Rung.RPA else row.has_ipa))
            ):
                yield row
