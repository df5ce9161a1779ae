"""What one ``farm seed`` asks for, as typed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from farm.cli.seed_sources import Reading, reading_of
from farm.console import screen
from farm.errors import InputError
from farm.job import Engine
from farm.protocol import Protocol, load_protocol
from farm.sources import Filters
from farm.usable_cpus import usable_cpus

if TYPE_CHECKING:
    from farm.cli.seed_rungs import RungFlag

# Beyond so many the one that reads the files and queues the jobs has no time for more.
MOST_PROCESSES = 8


@dataclass(frozen=True, kw_only=True)
class Request:
    """The arguments and flags of the command, under the names that click gives them."""

    paths: tuple[Path, ...]
    database: str | None
    provider: str | None
    base_url: str | None
    optimade_filter: str | None
    max_atoms: int | None
    elements: frozenset[str] | None
    exclude: frozenset[str] | None
    min_gap: float | None
    max_hull: float | None
    space_group: int | None
    limit: int | None
    distinct: bool
    protocol: str
    bands: str | None
    rung: RungFlag
    ipa_enough: float | None
    engine: str
    processes: int | None
    rejected_path: Path | None
    dry_run: bool
    as_json: bool

    @property
    def n_processes(self) -> int:
        """How many parse."""
        return self.processes or min(usable_cpus(), MOST_PROCESSES)

    def filters(self) -> Filters:
        """What is kept of a source."""
        return Filters(
            max_atoms=self.max_atoms,
            elements=self.elements,
            exclude=self.exclude or frozenset(),
            min_gap_ev=self.min_gap,
            max_hull_ev=self.max_hull,
            space_group=self.space_group,
            limit=self.limit,
        )

    def reading(self) -> Reading:
        """The source. Raises InputError for flags that do not go together."""
        return reading_of(
            self.paths,
            self.database,
            self.filters(),
            provider=self.provider,
            base_url=self.base_url,
            optimade_filter=self.optimade_filter,
        )

    def chosen_protocol(self) -> Protocol:
        """The protocol that was asked for, with bands that the engine can take."""
        chosen, bands = load_protocol(self.protocol), self.bands
        by_yambo = Engine(self.engine) is Engine.YAMBO
        if by_yambo and bands == "reduced-basis":
            raise InputError("--engine yambo takes its bands by nscf", fix="Leave --bands out")
        if by_yambo and chosen.kgrid == "converged":
            raise InputError(
                "--engine yambo cannot converge the k-grid", fix="Take a protocol with kgrid = 'published'"
            )
        if by_yambo and chosen.bands != "nscf":
            bands = "nscf"
            screen(stderr=True).print("YAMBO: bands by a dense nscf run, in place of the protocol's")
        if bands is None:
            return chosen
        return Protocol.from_dict({**chosen.to_dict(), "bands": bands}, origin="--bands")
