"""A yambo input of one response as a frozen value; its text is generated and read back, never edited.

yambo ignores keywords that it does not know and takes its defaults, without a word: what is written must
read back as it was meant, and what yambo repeats at the end of its report must agree with it
(:func:`workers.yambo.outputs.mismatch`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from farm.errors import CalculationError
from workers.yambo.layout import Layout

Value = str | int | float
Entry = Value | tuple[Value, ...]

GreenFunction = Literal["time-ordered", "retarded"]

RUNLEVELS = ("optics", "chi")
_ORDERING: dict[GreenFunction, str] = {"time-ordered": "T", "retarded": "R"}


@dataclass(frozen=True, kw_only=True)
class YamboInput:
    """The RPA response at q -> 0 along one direction, from all bands of SAVE.

    gmax_mry:       size of the response block as |G|^2, mRy; yambo rounds it up to a closed shell: 0 is one
                    G vector, no local fields
    direction:      of the electric field, Cartesian
    nbnd:           bands of SAVE
    energy_max_ev:  end of the photon energies, which start at 0
    damping_ev:     Lorentzian damping, the same at every energy
    layout:         how the work is shared by ranks
    """

    gmax_mry: int
    direction: tuple[float, float, float]
    nbnd: int
    energy_max_ev: float = 20.0
    n_energies: int = 2001
    damping_ev: float = 0.3
    green_function: GreenFunction = "time-ordered"
    layout: Layout = field(default_factory=Layout)

    def evolve(self, **changes: Any) -> YamboInput:
        """A copy with some fields changed."""
        return replace(self, **changes)

    def entries(self) -> dict[str, Entry]:
        """Keyword -> value; a tuple where there are several, or a value and its unit."""
        entries: dict[str, Entry] = {
            "Chimod": "HARTREE",
            "NGsBlkXd": (self.gmax_mry, "mRy"),
            "QpntsRXd": (1, 1),
            "BndsRnXd": (1, self.nbnd),
            "GrFnTpXd": _ORDERING[self.green_function],
            "EnRngeXd": (0.0, float(self.energy_max_ev), "eV"),
            "DmRngeXd": (float(self.damping_ev), float(self.damping_ev), "eV"),
            "ETStpsXd": self.n_energies,
            "LongDrXd": tuple(float(x) for x in self.direction),
        }
        layout = self.layout
        if layout.ranks > 1:
            entries["PAR_def_mode"] = layout.mode
        if layout.has_roles:
            entries |= {
                "X_CPU": f"1 1 {layout.k} {layout.c} {layout.v}",
                "X_ROLEs": "q g k c v",
                "DIP_CPU": f"{layout.k} {layout.c} {layout.v}",
                "DIP_ROLEs": "k c v",
            }
        if layout.threads > 1:
            entries |= {"X_Threads": layout.threads, "DIP_Threads": layout.threads}
        return entries

    def text(self) -> str:
        """The input file. Raises CalculationError when it does not read back as what was asked."""
        lines = list(RUNLEVELS)
        for key, entry in self.entries().items():
            lines += _lines(key, entry)
        text = "\n".join(lines) + "\n"
        if parse_input(text) != (RUNLEVELS, self.entries()):
            raise CalculationError("a yambo input did not read back as it was meant")
        return text


def parse_input(text: str) -> tuple[tuple[str, ...], dict[str, Entry]]:
    """Runlevels and entries of an input, as :meth:`YamboInput.entries` has them; comments are dropped.

    Raises CalculationError for a line that is neither, and for a block that does not end.
    """
    runlevels: list[str] = []
    entries: dict[str, Entry] = {}
    block = ""
    for raw in text.splitlines():
        line = raw.partition("#")[0].strip()
        if not line:
            continue
        if line.startswith("%"):
            block = line[1:].strip()
        elif block:
            entries[block] = tuple(_python(part.strip()) for part in line.strip("| ").split("|"))
        elif "=" in line:
            key, _, value = line.partition("=")
            entries[key.strip()] = _scalar(value.strip())
        elif re.fullmatch(r"\w+", line):
            runlevels.append(line)
        else:
            raise CalculationError(f"not a line of a yambo input: {line!r}")
    if block:
        raise CalculationError(f"the block {block} of a yambo input does not end")
    return tuple(runlevels), entries


def _lines(key: str, entry: Entry) -> list[str]:
    if isinstance(entry, tuple) and isinstance(entry[-1], str) and len(entry) == 2:
        return [f"{key}= {entry[0]} {entry[1]}"]
    if isinstance(entry, tuple):
        # A unit stands behind the last bar; without one the bar stays.
        values = " | ".join(str(value) for value in entry)
        return [f"% {key}", f" {values} |" if not isinstance(entry[-1], str) else f" {values}", "%"]
    if isinstance(entry, str):
        if '"' in entry or "\n" in entry:
            raise CalculationError(f"{entry!r} cannot be written into a yambo input")
        return [f'{key}= "{entry}"']
    return [f"{key}= {entry}"]


def _scalar(text: str) -> Entry:
    if text[:1] == '"':
        return text.strip('"')
    parts = text.split()
    values = tuple(_python(part) for part in parts)
    return values if len(values) > 1 else values[0]


def _python(text: str) -> Value:
    if re.fullmatch(r"[+-]?\d+", text):
        return int(text)
    if re.fullmatch(r"[+-]?\d*\.?\d+(?:\.\d*)?(?:[eEdD][+-]?\d+)?|[+-]?\d+\.", text):
        return float(re.sub(r"[dD]", "e", text))
    return text
