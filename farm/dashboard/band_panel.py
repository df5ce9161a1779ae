"""A band structure as a figure of the page."""

from __future__ import annotations

import numpy as np
from markupsafe import Markup

from farm.band_axes import corner_ticks, energy_range_ev, gaps_text
from farm.bandstructure import BandStructure, symbol
from farm.dashboard.figure import Dot, Figure, Line, Mark, Scale, Shade, nice_scale, svg

_HEIGHT = 320
_MARGINS = (50, 12, 24, 30)
_FRAME_WIDTH = 440 - _MARGINS[0] - _MARGINS[1]
_LETTER_WIDTH = 8.0


def band_figure(bands: BandStructure) -> Markup:
    """Energies relative to the valence maximum along the path, the gap shaded, its edges dotted."""
    ticks = corner_ticks(bands)
    bottom, top = energy_range_ev(bands)
    figure = Figure(
        x=Scale(low=ticks[0][0], high=ticks[-1][0], label="", ticks=tuple(_apart(ticks))),
        y=nice_scale(bottom, top, "energy above the valence maximum (eV)", wanted=6, loose=False),
        alt=f"Band structure: {gaps_text(bands)}; {edges_text(bands)}.",
        lines=_lines(bands),
        dots=_edges(bands),
        marks=[Mark(at=at, look="corner") for at, _ in ticks[1:-1]],
        shades=_gap(bands),
        height=_HEIGHT,
        margins=_MARGINS,
    )
    return svg(figure, "bands")


def edges_text(bands: BandStructure) -> str:
    """Where the edges lie, in words."""
    return (
        f"valence maximum {_at(bands.valence_maximum_at)}, "
        f"conduction minimum {_at(bands.conduction_minimum_at)}"
    )


def _at(place: str) -> str:
    return symbol(place) if place.startswith("between") else f"at {symbol(place)}"


def _lines(bands: BandStructure) -> list[Line]:
    return [
        Line(
            x=bands.distances[piece],
            y=np.ascontiguousarray(bands.energies_ev[piece, band]),
            look="line " + ("filled" if band < bands.n_valence else "empty"),
        )
        for band in range(bands.n_bands)
        for piece in bands.pieces()
    ]


def _gap(bands: BandStructure) -> list[Shade]:
    if bands.gap_indirect_ev <= 0:
        return []
    low, high = float(bands.highest_filled_ev.max()), float(bands.lowest_empty_ev.min())
    return [Shade(low=low, high=high, look="gap-shade")]


def _edges(bands: BandStructure) -> list[Dot]:
    """The valence maximum and the conduction minimum, wherever the path comes through them."""
    if bands.gap_indirect_ev <= 0:
        return []
    dots = []
    for point, energies_ev, look, name in (
        (bands.valence_maximum, bands.highest_filled_ev, "filled", "valence maximum"),
        (bands.conduction_minimum, bands.lowest_empty_ev, "empty", "conduction minimum"),
    ):
        title = f"{name} {_at(bands.place(point))}, {energies_ev[point]:.3f} eV"
        same = np.isclose(bands.kpoints, bands.kpoints[point], atol=1e-6).all(axis=1)
        dots += [
            Dot(x=float(bands.distances[i]), y=float(energies_ev[i]), look=look, title=title)
            for i in np.flatnonzero(same)
        ]
    return dots


def _apart(ticks: list[tuple[float, str]]) -> list[tuple[float, str]]:
    """Those whose texts do not run into the text before; the first and the last are kept."""
    scale = _FRAME_WIDTH / (ticks[-1][0] - ticks[0][0])
    kept, end = [], -np.inf
    last_half = 0.5 * _LETTER_WIDTH * len(ticks[-1][1])
    for number, (at, text) in enumerate(ticks):
        half, place = 0.5 * _LETTER_WIDTH * len(text), scale * (at - ticks[0][0])
        is_last = number == len(ticks) - 1
        if is_last or (place - half > end and place + half < _FRAME_WIDTH - last_half):
            kept.append((at, text))
            end = place + half
    return kept
