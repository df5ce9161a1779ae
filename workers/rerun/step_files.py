"""What one step of a rerun is: files, and the lines of shell that run it."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class StepFiles:
    """One step.

    directory: of the step, in that of the rerun
    texts:     path in ``directory`` -> text
    lines:     of shell, run in ``directory``; none: there is nothing to run
    programs:  that have to be on PATH
    notes:     what differs from the farm's own run, in words
    shared:    path in the directory of the rerun -> text that several steps may need
    """

    directory: str
    texts: dict[str, str] = field(default_factory=dict)
    lines: tuple[str, ...] = ()
    programs: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    shared: dict[str, str] = field(default_factory=dict)


def differs(directory: str, file: str) -> str:
    """The note on a file whose bytes are not those that ran."""
    return (
        f"{directory}/{file} is not the file that the farm ran: the SHA-256 of that one is another. This"
        " version of the farm writes it in another way."
    )
