"""Which jobs a command means: by id, material or formula, by state, by what they are made of and cost."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import click

from farm.backlog import JobView, Register
from farm.crystal import elements_of
from farm.errors import InputError
from farm.finite import Finite
from farm.job import JobState

_ISOTOPES = {"D": "H", "T": "H"}

Command = TypeVar("Command", bound=Callable[..., Any])


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What the user named; jobs must meet all of it.

    names:     job ids, materials, formulas
    states:    any of these; none: any state
    elements:  only jobs of crystals made of these elements
    max_atoms: sites in the primitive cell, at most
    max_cpu_s: predicted CPU seconds, at most
    """

    names: tuple[str, ...] = ()
    states: tuple[JobState, ...] = ()
    elements: frozenset[str] | None = None
    max_atoms: int | None = None
    max_cpu_s: float | None = None

    @property
    def is_empty(self) -> bool:
        """Whether nothing was named, which would mean every job there is."""
        return not (self.names or self.states or self.has_conditions)

    @property
    def has_conditions(self) -> bool:
        """Whether more is asked than names and states."""
        return any(each is not None for each in (self.elements, self.max_atoms, self.max_cpu_s))

    def holds(self, job: JobView) -> bool:
        """Whether a job meets all but the names."""
        return (
            (not self.states or job.state in self.states)
            and (self.elements is None or elements_of(job.formula) <= self.elements)
            and (self.max_atoms is None or job.n_atoms <= self.max_atoms)
            and (self.max_cpu_s is None or job.predicted_cpu_s <= self.max_cpu_s)
        )


def choose(register: Register, choice: Choice) -> list[JobView]:
    """The jobs that are meant, cheapest first.

    Ids and materials are found at once; formulas and conditions by going through all jobs of their states.
    Raises InputError for a name that no job has, and where nothing was named.
    """
    if choice.is_empty:
        raise InputError("nothing was named", fix="Give materials, formulas, --state or a condition")
    found = {job.job_id: job for job in _candidates(register, choice)}
    named = {name for job in found.values() for name in (job.job_id, job.material_id, job.formula)}
    if missing := [name for name in choice.names if name not in named]:
        raise InputError(f"no such job: {', '.join(missing)}", fix="`farm jobs` lists them")
    chosen = [job for job in found.values() if choice.holds(job)]
    return sorted(chosen, key=lambda job: (job.predicted_cpu_s, job.n_atoms, job.job_id))


def _candidates(register: Register, choice: Choice) -> Iterator[JobView]:
    if not choice.names:
        # What is in order is read in order; a condition alone asks for every job.
        yield from register.jobs(choice.states or None)
        return
    formulas = []
    for name in choice.names:
        ids = [name] if "." in name else register.ids_of_material(name)
        jobs = register.views(ids)
        yield from jobs
        if not jobs:
            formulas.append(name)
    if formulas:
        yield from register.select(formulas)


def element_symbols(
    ctx: click.Context,  # noqa: ARG001 - click's signature
    parameter: click.Parameter,  # noqa: ARG001
    text: str | None,
) -> frozenset[str] | None:
    """For click: ``Si,O``, refused where one is no element; None stays None."""
    if text is None:
        return None
    from pymatgen.core import Element

    # Crystals hold isotopes of hydrogen as H.
    symbols = frozenset(_ISOTOPES.get(symbol, symbol) for symbol in text.replace(",", " ").split())
    if not symbols:
        raise click.BadParameter("no element is named; write for example Si,O")
    if unknown := sorted(symbol for symbol in symbols if not Element.is_valid_symbol(symbol)):
        raise click.BadParameter(f"no such element: {', '.join(unknown)}; write for example Si,O")
    return symbols


def choice_options(command: Command) -> Command:
    """The arguments and options that make a :class:`Choice`; pass them on as ``chosen(**options)``."""
    options: Iterable[Callable[[Command], Command]] = (
        click.argument("names", nargs=-1, metavar="[ID|MATERIAL|FORMULA]..."),
        click.option(
            "--state",
            "states",
            multiple=True,
            type=click.Choice([state.value for state in JobState]),
            help="Jobs in this state; may be repeated.",
        ),
        click.option("--elements", callback=element_symbols, metavar="A,B,...", help="Of these alone."),
        click.option("--max-atoms", type=click.IntRange(1), help="Only cells of at most this many atoms."),
        click.option("--max-cpu-s", type=Finite(0), help="Only of so many predicted CPU s at most."),
    )
    for option in reversed(list(options)):
        command = option(command)
    return command


def chosen(
    *,
    names: tuple[str, ...],
    states: tuple[str, ...],
    elements: frozenset[str] | None,
    max_atoms: int | None,
    max_cpu_s: float | None,
) -> Choice:
    """The choice that the options of :func:`choice_options` make."""
    return Choice(
        names=names,
        states=tuple(JobState(state) for state in states),
        elements=elements,
        max_atoms=max_atoms,
        max_cpu_s=max_cpu_s,
    )
