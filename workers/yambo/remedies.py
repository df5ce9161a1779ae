"""What may be changed in a yambo run after a failure, in order and bounded; none changes the physics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from workers.diagnosis import Remedy
from workers.yambo.inputs import YamboInput
from workers.yambo.layout import Layout


@dataclass(frozen=True, kw_only=True)
class P2yRun:
    """What SAVE has to hold."""

    n_kpoints: int
    n_bands: int
    n_electrons: int
    n_symmetries: int


@dataclass(frozen=True, kw_only=True)
class SetupRun:
    """What the set-up has to find in SAVE.

    rebuilds: times SAVE is to have been made anew
    """

    save: P2yRun
    rebuilds: int = 0


@dataclass(frozen=True, kw_only=True)
class ResponseRun:
    """One response.

    dipoles:  databases of an earlier run to take the dipoles from, as seen from the run's directory;
              they are the same for every direction and block. "": computed
    rebuilds: times SAVE is to have been made anew
    """

    asked: YamboInput
    dipoles: str = ""
    rebuilds: int = 0

    def with_layout(self, layout: Layout) -> ResponseRun:
        """The same run, shared in another way."""
        return replace(self, asked=self.asked.evolve(layout=layout))


def _identical(run: Any) -> Any:
    return run


def _fresh(run: ResponseRun) -> ResponseRun:
    return replace(run, dipoles="")


def _serial(run: ResponseRun) -> ResponseRun | None:
    if run.asked.layout == Layout() and not run.dipoles:
        return None
    return _fresh(run.with_layout(Layout()))


def _without_roles(run: ResponseRun) -> ResponseRun | None:
    layout = run.asked.layout
    return run.with_layout(replace(layout, k=0, c=0, v=0)) if layout.has_roles else None


def _balanced(run: ResponseRun) -> ResponseRun | None:
    layout = run.asked.layout
    if layout.ranks == 1 or layout.mode == "balanced":
        return None
    return run.with_layout(Layout(ranks=layout.ranks, threads=layout.threads, mode="balanced"))


def _half_the_ranks(run: ResponseRun) -> ResponseRun | None:
    layout = run.asked.layout
    if layout.ranks == 1:
        return None
    return run.with_layout(Layout(ranks=layout.ranks // 2, threads=layout.threads * 2, mode=layout.mode))


def _memory_mode(run: ResponseRun) -> ResponseRun | None:
    layout = run.asked.layout
    if layout.ranks == 1 or layout.mode == "memory":
        return None
    return run.with_layout(Layout(ranks=layout.ranks, threads=layout.threads, mode="memory"))


def _rebuild(run: ResponseRun) -> ResponseRun:
    return replace(run, dipoles="", rebuilds=run.rebuilds + 1)


def _rebuild_for_setup(run: SetupRun) -> SetupRun:
    return replace(run, rebuilds=run.rebuilds + 1)


_AGAIN: Remedy[Any] = Remedy(name="the same again from a clean directory", change=_identical)
_REBUILD_SETUP = Remedy(name="SAVE made anew", change=_rebuild_for_setup)
_REBUILD = Remedy(name="SAVE made anew", change=_rebuild)
_FRESH = Remedy(name="fresh databases", change=_fresh)
_SERIAL = Remedy(name="one rank with fresh databases", change=_serial)
_HALF = Remedy(name="half the ranks with twice the threads", change=_half_the_ranks, limit=6)
_MEMORY = Remedy(name="shared for least memory", change=_memory_mode)
_NO_ROLES = Remedy(name="no parallel roles", change=_without_roles)
_BALANCED = Remedy(name="balanced parallel structure", change=_balanced)

P2Y_REMEDIES: Mapping[str, tuple[Remedy[P2yRun], ...]] = dict.fromkeys(
    ("killed", "silent", "p2y_incomplete", "incomplete_output"), (_AGAIN,)
)

SETUP_REMEDIES: Mapping[str, tuple[Remedy[SetupRun], ...]] = {
    "killed": (_AGAIN, _REBUILD_SETUP),
    "silent": (_AGAIN,),
    "save_missing": (_REBUILD_SETUP,),
    "save_inconsistent": (_REBUILD_SETUP,),
    "databases_inconsistent": (_REBUILD_SETUP,),
    "stopped": (_REBUILD_SETUP,),
    "incomplete_output": (_REBUILD_SETUP,),
}

RESPONSE_REMEDIES: Mapping[str, tuple[Remedy[ResponseRun], ...]] = {
    "out_of_memory": (_HALF, _MEMORY),
    "too_few_slots": (_HALF,),
    "parallel_structure": (_NO_ROLES, _BALANCED, _HALF),
    "databases_inconsistent": (_FRESH, _REBUILD),
    "database_unreadable": (_REBUILD,),
    "save_missing": (_REBUILD,),
    "save_inconsistent": (_REBUILD,),
    "stopped": (_FRESH, _REBUILD),
    # yambo dies without a word over a database that is cut off, as it does when it is killed.
    "killed": (_AGAIN, _FRESH, _REBUILD),
    # Several ranks wait for one that died; one alone hangs where memory is limited.
    "silent": (_SERIAL, _AGAIN),
    "incomplete_output": (_FRESH, _SERIAL, _REBUILD),
}
