"""Spectra of one material as panels: a quantity along each direction, on all rungs of the ladder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup

from farm.dashboard.figure import HEIGHT, ROW, Figure, Line, Mark, nice_scale, svg
from farm.result import Result
from farm.spectrum import (
    DIRECTIONS,
    ComplexArray,
    FloatArray,
    absorption_per_cm,
    equal_directions,
    loss_function,
    reflectivity,
    refractive_index,
)

_ENERGY = "photon energy (eV)"
# Of the absorption: as large numbers as these on an axis are read by nobody.
_PER_CM = 1e6
_ALPHA = "\N{GREEK SMALL LETTER ALPHA}"
# Gaps this close are one mark.
_SAME_GAP_EV = 0.005
# Two rows of words above the frame.
_WORDS = 2 * ROW

# eps and photon energies (eV) to values
_Make = Callable[[ComplexArray, FloatArray], FloatArray]


@dataclass(frozen=True)
class Part:
    """One number of a quantity at each energy: its symbol, and its unit where it has one."""

    symbol: str
    unit: str
    make: _Make

    @property
    def label(self) -> str:
        """Symbol and unit, as axes are labelled."""
        return f"{self.symbol} ({self.unit})" if self.unit else self.symbol


@dataclass(frozen=True)
class Quantity:
    """What can be shown of a spectrum."""

    title: str
    parts: tuple[Part, ...]


QUANTITIES: dict[str, Quantity] = {
    "eps": Quantity(
        "dielectric function",
        (Part("Im ε", "", lambda eps, _: eps.imag), Part("Re ε", "", lambda eps, _: eps.real)),
    ),
    "refractive-index": Quantity(
        "refractive index",
        (
            Part("n", "", lambda eps, _: refractive_index(eps).real),
            Part("k", "", lambda eps, _: refractive_index(eps).imag),
        ),
    ),
    "absorption": Quantity(
        "absorption coefficient",
        (Part(_ALPHA, "10⁶/cm", lambda eps, energies_ev: absorption_per_cm(eps, energies_ev) / _PER_CM),),
    ),
    "reflectivity": Quantity("reflectivity", (Part("R", "", lambda eps, _: reflectivity(eps)),)),
    "loss": Quantity(
        "energy loss function",
        (Part("−Im 1/ε", "", lambda eps, _: loss_function(eps)),),  # noqa: RUF001
    ),
}


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One figure of the page: a part along the directions that have it in common."""

    name: str
    title: str
    svg: Markup


@dataclass(frozen=True)
class Rung:
    """A step of the ladder as it is drawn: IPA, RPA (the last) or one in between."""

    gmax_mry: int
    look: str

    @property
    def label(self) -> str:
        """As the legend says it; cutoffs in Ry."""
        if self.look == "ipa":
            return "IPA"
        return f"RPA, Gmax {self.gmax_mry / 1000:g} Ry"


def rungs_of(result: Result) -> list[Rung]:
    """All steps of the ladder, IPA first."""
    last = len(result.ladder) - 1
    looks = ["ipa" if i == 0 else "rpa" if i == last else "between" for i in range(last + 1)]
    return [Rung(step.gmax_mry, look) for step, look in zip(result.ladder, looks, strict=True)]


def directions_of(result: Result) -> list[list[int]]:
    """Directions with equal spectra on all rungs in groups of 0 (x), 1 (y), 2 (z)."""
    return equal_directions(np.stack([step.eps for step in result.ladder]))


def named(group: Sequence[int]) -> str:
    """``x, y`` for ``[0, 1]``."""
    return ", ".join(DIRECTIONS[direction] for direction in group)


def panels(result: Result, quantity: Quantity) -> list[Panel]:
    """The parts of a quantity, direction by direction; there are spectra."""
    groups, rungs, energies_ev = directions_of(result), rungs_of(result), result.energies_ev
    values = _values(result, quantity, groups)
    found = []
    for n_part, part in enumerate(quantity.parts):
        for n_group, group in enumerate(groups):
            rows = values[n_part, n_group]
            # Above the panel is the symbol; a unit is said at the axis.
            y = _scale(rows, part.label if part.unit else "")
            # What matters most is drawn last, over the others.
            order = sorted(range(len(rungs)), key=lambda i: ("between", "ipa", "rpa").index(rungs[i].look))
            figure = Figure(
                x=nice_scale(energies_ev[0], energies_ev[-1], _ENERGY, loose=False),
                y=y,
                alt=_told(part, group, rungs, rows, energies_ev),
                lines=[Line(x=energies_ev, y=rows[i], look=_look(rungs[i], i)) for i in order],
                marks=[*_zero(y.low, y.high), *gap_marks(result, words=n_part == 0)],
                height=HEIGHT + _WORDS,
                margins=(50, 12, 24 + _WORDS, 40),
            )
            name = f"part{n_part}-{n_group}"
            found.append(
                Panel(name=name, title=f"{part.symbol} along {named(group)}", svg=svg(figure, name))
            )
    # Side by side: the parts of one direction.
    n_groups = len(groups)
    return [
        found[part * n_groups + group] for group in range(n_groups) for part in range(len(quantity.parts))
    ]


def readout(result: Result, quantity: Quantity) -> dict[str, Any]:
    """What a pointer reads: energies, and for each panel the values of each rung, to six digits."""
    groups = directions_of(result)
    values = _values(result, quantity, groups)
    return {
        "energies_ev": [float(f"{energy:.6g}") for energy in result.energies_ev],
        "rungs": [{"label": rung.label, "look": rung.look} for rung in rungs_of(result)],
        "panels": {
            f"part{n_part}-{n_group}": [
                [float(f"{value:.6g}") for value in row] for row in values[n_part, n_group].tolist()
            ]
            for n_part in range(len(quantity.parts))
            for n_group in range(len(groups))
        },
    }


def spectra_document(result: Result) -> dict[str, Any]:
    """What is downloaded: every rung along every direction, as `farm response --json` writes them."""
    return {
        "material": result.crystal.material_id,
        "formula": result.crystal.formula,
        "engine": result.engine.value,
        "protocol_hash": result.protocol_hash,
        "outcome": result.outcome.value,
        "physics_changed": result.physics_changed,
        "energies_ev": result.energies_ev.round(9).tolist(),
        "gmax_mry": [step.gmax_mry for step in result.ladder],
        "n_g": [step.n_g for step in result.ladder],
        "directions": list(DIRECTIONS),
        "eps_real": [_short(step.eps.real) for step in result.ladder],
        "eps_imag": [_short(step.eps.imag) for step in result.ladder],
    }


def gap_marks(result: Result, *, words: bool) -> list[Mark]:
    """Where the gaps lie; ``words`` says which is which."""
    indirect, direct = result.gap_indirect_ev, result.gap_direct_ev
    if direct is not None and (indirect is None or abs(direct - indirect) < _SAME_GAP_EV):
        return [Mark(at=direct, text=f"gap {direct:.2f} eV" if words else "", above=True, look="gap")]
    named_gaps = ((indirect, "indirect", "gap second"), (direct, "direct", "gap"))
    return [
        Mark(at=gap, text=f"{name} gap {gap:.2f} eV" if words else "", row=row, above=True, look=look)
        for row, (gap, name, look) in enumerate(named_gaps)
        if gap is not None and gap > 0
    ]


def _values(result: Result, quantity: Quantity, groups: list[list[int]]) -> FloatArray:
    """Shape ``(parts, groups, rungs, energies)``."""
    first = [group[0] for group in groups]
    eps = np.stack([step.eps[first] for step in result.ladder], axis=1)
    return np.stack([part.make(eps, result.energies_ev) for part in quantity.parts])


def _scale(values: FloatArray, label: str) -> Any:
    low, high = float(values.min()), float(values.max())
    # What is nowhere negative starts at 0; a little numerical noise below is not shown.
    if low > -0.02 * high:
        low = 0.0
    return nice_scale(low, high, label)


def _zero(low: float, high: float) -> list[Mark]:
    return [Mark(at=0.0, look="zero", across=True)] if low < 0 < high else []


def _look(rung: Rung, number: int) -> str:
    return f"line {rung.look} rung-{number}"


def _told(
    part: Part, group: Sequence[int], rungs: Sequence[Rung], rows: FloatArray, energies_ev: FloatArray
) -> str:
    """In words: the largest value of the first and the last rung."""
    peaks = [
        f"{rung.label} {row.max():.3g} at {energies_ev[int(row.argmax())]:.2f} eV"
        for rung, row in zip(rungs, rows, strict=True)
        if rung.look != "between"
    ]
    what = f"{part.symbol} in {part.unit}" if part.unit else part.symbol
    return f"{what} along {named(group)} against photon energy; largest value: {', '.join(peaks)}."


def _short(values: FloatArray) -> list[list[float]]:
    # float32 holds no more; as text it is a third shorter.
    return [[float(f"{value:.8g}") for value in row] for row in values.tolist()]
