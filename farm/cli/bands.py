"""What ``farm show --bands`` says: gaps along the path, where the edges are, how good the bands are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from farm.band_axes import corner_ticks
from farm.bandstructure import BandStructure, symbol
from farm.console import screen
from farm.errors import InputError
from farm.job import Outcome
from farm.result import Result

_ERRORS = {
    "bands_error_window_ev": "in the window",
    "bands_error_top_ev": "above it",
    "bands_error_pw_ev": "against pw.x",
}
_BASIS = {"reduced_basis_size": "{} functions", "reduced_basis_samples": "made of {} k-points"}

# Below this the valence maximum of the path is that of the grid: numerics of two calculations.
_SAME_MAXIMUM_EV = 1e-3


def band_structure_of(result: Result) -> BandStructure:
    """The band structure of a result. Raises InputError where it has none, with what to do."""
    if result.band_structure is not None:
        return result.band_structure
    name = result.crystal.material_id
    if result.outcome in (Outcome.METAL, Outcome.FAILED):
        raise InputError(f"{name} has no band structure: {result.reason or result.outcome.value}")
    raise InputError(
        f"{name} has no band structure: it was computed with bands = 'nscf' or by an older version",
        fix="Seed it again with a protocol whose bands are 'reduced-basis'",
    )


def bands_document(result: Result, bands: BandStructure) -> dict[str, Any]:
    """Everything about a band structure in plain values; energies of point after point."""
    names = (*_ERRORS, *_BASIS)
    return {
        "material": result.crystal.material_id,
        "formula": result.crystal.formula,
        "state": result.outcome.value,
        "engine": result.engine.value,
        "protocol_hash": result.protocol_hash,
        "gap_indirect_ev": _rounded(bands.gap_indirect_ev),
        "gap_direct_ev": _rounded(bands.gap_direct_ev),
        "gap_direct_at": bands.direct_gap_at,
        "valence_maximum_ev": _rounded(bands.highest_filled_ev.max()),
        "valence_maximum_at": bands.valence_maximum_at,
        "valence_maximum_kpoint": [_rounded(x) for x in bands.kpoints[bands.valence_maximum]],
        "conduction_minimum_ev": _rounded(bands.lowest_empty_ev.min()),
        "conduction_minimum_at": bands.conduction_minimum_at,
        "conduction_minimum_kpoint": [_rounded(x) for x in bands.kpoints[bands.conduction_minimum]],
        "n_points": bands.n_points,
        "n_bands": bands.n_bands,
        "n_valence": bands.n_valence,
        "parameters": {name: result.parameters[name] for name in names if name in result.parameters},
        "labels": list(bands.labels),
        "corners": list(bands.corners),
        "kpoints": [[_rounded(x) for x in kpoint] for kpoint in bands.kpoints],
        "distances_per_angstrom": [_rounded(x) for x in bands.distances],
        "energies_ev": [[_rounded(x) for x in energies] for energies in bands.energies_ev],
    }


def print_bands(result: Result, bands: BandStructure) -> None:
    """The table for people, and what was measured of the bands."""
    from rich.markup import escape
    from rich.table import Table

    console = screen()
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in _facts(result, bands).items():
        table.add_row(f"[bold]{name}", escape(value))
    console.print(table)
    for line in accuracy_lines(result.parameters):
        console.print(line)


def accuracy_lines(parameters: Mapping[str, Any]) -> list[str]:
    """What a result says of the errors and the basis of its bands; nothing where it says nothing."""
    lines = []
    errors = [
        f"{_digits(1000 * parameters[name])} meV {where}"
        for name, where in _ERRORS.items()
        if parameters.get(name) is not None
    ]
    if errors:
        lines.append(f"measured error of the bands: {', '.join(errors)}")
    basis = [
        what.format(parameters[name]) for name, what in _BASIS.items() if parameters.get(name) is not None
    ]
    if basis:
        lines.append(f"reduced basis: {', '.join(basis)}")
    return lines


def _facts(result: Result, bands: BandStructure) -> dict[str, str]:
    crystal, name, gap = result.crystal, result.crystal.material_id, bands.gap_indirect_ev
    way = " – ".join(text for _, text in corner_ticks(bands))  # noqa: RUF001 - as a path is printed
    below = -float(bands.highest_filled_ev.max())
    maximum = symbol(bands.valence_maximum_at)
    if below > _SAME_MAXIMUM_EV:
        maximum += f", {below:.3f} eV below that of the k-grid"
    facts = {
        "material": name if name == crystal.formula else f"{name} ({crystal.formula})",
        "path": f"{way}, {bands.n_points} points",
        "indirect gap": (
            f"{gap:.3f} eV" if gap > 0 else f"none, filled and empty bands overlap by {-gap:.3f} eV"
        ),
        "direct gap": f"{bands.gap_direct_ev:.3f} eV, {_at(bands.direct_gap_at)}",
        "valence maximum": maximum,
        "conduction minimum": symbol(bands.conduction_minimum_at),
        "bands": f"{bands.n_bands}, {bands.n_valence} of them filled",
    }
    if result.gap_indirect_ev is not None and result.gap_direct_ev is not None:
        gaps = f"indirect {result.gap_indirect_ev:.3f} eV, direct {result.gap_direct_ev:.3f} eV"
        facts["on the k-grid"] = gaps
    return facts


def _at(place: str) -> str:
    return symbol(place) if place.startswith("between") else f"at {symbol(place)}"


def _digits(mev: float) -> str:
    return f"{mev:.0f}" if mev >= 10 else f"{mev:.2g}"


def _rounded(value: float) -> float:
    # float32 says no more.
    return round(float(value), 6)
