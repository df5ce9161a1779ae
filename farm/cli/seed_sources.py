"""Where ``farm seed`` takes structures from: files, the bundled crystals, or a database on the network."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from farm.errors import InputError, MissingProgramError, SourceError

if TYPE_CHECKING:
    from farm.crystal import Crystal
    from farm.sources import Filters, Meter, Rejected, Unparsed

    Items = Iterator[Unparsed | Crystal | Rejected]
    # Told how far it is, and asks whether to stop.
    Cut = Callable[[Meter, Callable[[], bool]], Items]

Command = TypeVar("Command", bound=Callable[..., Any])


def source_options(command: Command) -> Command:
    """The flags that name a database."""
    for option in (
        click.option(
            "--filter",
            "optimade_filter",
            metavar="FILTER",
            help="With --source optimade: only what meets this filter in OPTIMADE's language.",
        ),
        click.option("--base-url", metavar="URL", help="With --source optimade: the server to ask."),
        click.option(
            "--provider",
            metavar="NAME",
            help="With --source optimade: whose database (alexandria, cod, mc3d, mp, nmd, oqmd, ...).",
        ),
        click.option(
            "--source",
            "database",
            type=click.Choice(["optimade", "mp"]),
            help="A database in place of files: any OPTIMADE server, or the Materials Project.",
        ),
    ):
        command = option(command)
    return command


class Reading:
    """Structures as they are read, and what came in between.

    meter:       how far it is
    count_bytes: finds out what there is to be read, as the meter counts; None: it counts entries
    broken:      why the source ended before its end; what came before is good
    stop:        set to True, a source that waits for its server ends
    """

    def __init__(self, cut: Cut, count_bytes: Callable[[], int] | None = None) -> None:
        from farm.sources import Meter

        self._cut = cut
        self.meter = Meter()
        self.count_bytes = count_bytes
        self.broken: SourceError | None = None
        self.stop = False

    def __iter__(self) -> Items:
        try:
            yield from self._cut(self.meter, lambda: self.stop)
        except SourceError as error:
            # Not raised here: what was read before it is still on its way to the queue.
            self.broken = error


def reading_of(
    paths: tuple[Path, ...],
    database: str | None,
    filters: Filters,
    *,
    provider: str | None,
    base_url: str | None,
    optimade_filter: str | None,
) -> Reading:
    """What is named by the arguments and :func:`source_options`.

    Raises InputError for what does not go together, MissingProgramError for a package that is not there.
    """
    if database is not None and paths:
        raise InputError(f"--source {database} reads no files: {paths[0]}", fix="Seed these on their own")
    if database != "optimade" and (provider, base_url, optimade_filter) != (None, None, None):
        raise InputError(
            "--provider, --base-url and --filter are for --source optimade",
            fix="Add it, or leave them out",
        )
    if database == "optimade":
        return _optimade(filters, provider, base_url, optimade_filter or "")
    if database == "mp":
        return _materials_project(filters)
    return _files(paths)


def _files(paths: tuple[Path, ...]) -> Reading:
    from farm.sources import cut_source, source_bytes

    sources = paths or (None,)
    return Reading(
        lambda meter, _: chain.from_iterable(cut_source(source, meter) for source in sources),
        lambda: sum(map(source_bytes, sources)),
    )


def _optimade(filters: Filters, name: str | None, base_url: str | None, text: str) -> Reading:
    _need("optimade", "optimade", "optimade", "--source optimade")
    from farm.sources.optimade import Query, Server, check_filter, cut_optimade, find_provider

    if text:
        check_filter(text)
    provider = find_provider(name, base_url)

    def cut(meter: Meter, stopped: Callable[[], bool]) -> Items:
        with Server(provider.name, provider.base_url, stopped=stopped) as server:
            yield from cut_optimade(Query(text, filters), provider, server, meter)

    return Reading(cut)


def _materials_project(filters: Filters) -> Reading:
    from farm.sources.materials_project import cut_materials_project, open_client

    key = _materials_project_key()
    _need("mp_api", "mp-api", "mp", "--source mp")

    def cut(meter: Meter, stopped: Callable[[], bool]) -> Items:
        yield from cut_materials_project(open_client(key), filters, meter, stopped)

    return Reading(cut)


def _materials_project_key() -> str:
    if key := os.environ.get("MP_API_KEY", "").strip():
        return key
    raise InputError(
        "--source mp needs a key of the Materials Project",
        fix="Set MP_API_KEY to yours, from materialsproject.org/api",
    )


def _need(module: str, package: str, extra: str, flag: str) -> None:
    if find_spec(module) is None:
        raise MissingProgramError(
            f"{flag} needs the package {package}",
            fix=f"`pip install {package}`, or the farm with its extra: `pip install '.[{extra}]'`",
        )
