"""Figure of a band structure along its path of high symmetry."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from farm.band_axes import corner_ticks, energy_range_ev, gaps_text
from farm.bandstructure import BandStructure
from farm.cli.figures import IPA_COLOUR, RPA_COLOUR, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FILLED_COLOUR = "#2c3e50"
EMPTY_COLOUR = RPA_COLOUR
_GAP_COLOUR = "#f39c12"

_LETTER_INCH = 0.09


def draw_bands(bands: BandStructure, name: str, path: Path) -> None:
    """Energies relative to the valence band maximum, filled and empty bands, the gap between shaded."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    ticks = corner_ticks(bands)
    width_inch = max(6.4, 2.0 + 0.5 * len(ticks))
    figure = Figure(figsize=(width_inch, 5.0), layout="constrained")
    axis = figure.subplots()
    for piece in bands.pieces():
        along, energies = bands.distances[piece], bands.energies_ev[piece]
        filled = axis.plot(along, energies[:, : bands.n_valence], color=FILLED_COLOUR, linewidth=1.3)
        empty = axis.plot(along, energies[:, bands.n_valence :], color=EMPTY_COLOUR, linewidth=1.3)
    _mark_gap(axis, bands)
    for distance, _ in ticks[1:-1]:
        axis.axvline(distance, color=IPA_COLOUR, linewidth=0.7, zorder=0)
    axis.set_xticks([distance for distance, _ in ticks], _staggered(ticks, width_inch))
    axis.set_xlim(ticks[0][0], ticks[-1][0])
    axis.set_ylim(*energy_range_ev(bands))
    axis.set_ylabel("energy above the valence maximum (eV)")
    axis.tick_params(axis="x", length=0, labelsize=10)
    axis.tick_params(axis="y", labelsize=8)
    axis.yaxis.set_major_locator(MaxNLocator(integer=True))
    axis.spines[["top", "right"]].set_visible(False)
    axis.set_title(f"{name}, {gaps_text(bands)}", loc="left", fontsize=10)
    axis.legend(
        [filled[0], empty[0]],
        ["filled", "empty"],
        loc="lower right",
        bbox_to_anchor=(1.0, 1.0),
        ncols=2,
        frameon=False,
        fontsize=9,
    )
    save(figure, path)


def _staggered(ticks: list[tuple[float, str]], width_inch: float) -> list[str]:
    """The texts of the ticks, a line lower where one would run into the text before it."""
    per_inch = (ticks[-1][0] - ticks[0][0]) / (width_inch - 0.6)
    texts, end, lowered = [], -np.inf, False
    for distance, text in ticks:
        half = 0.5 * _LETTER_INCH * (len(text) + 1) * per_inch
        lowered = distance - half < end and not lowered
        texts.append("\n" + text if lowered else text)
        end = max(end, distance + half)
    return texts


def _mark_gap(axis: Axes, bands: BandStructure) -> None:
    """Shade the gap and dot its edges; nothing where filled and empty bands overlap."""
    if bands.gap_indirect_ev <= 0:
        return
    top, bottom = bands.highest_filled_ev.max(), bands.lowest_empty_ev.min()
    axis.axhspan(top, bottom, color=_GAP_COLOUR, alpha=0.12, linewidth=0, zorder=0)
    for point, energies, colour in (
        (bands.valence_maximum, bands.highest_filled_ev, FILLED_COLOUR),
        (bands.conduction_minimum, bands.lowest_empty_ev, EMPTY_COLOUR),
    ):
        # A path comes through the same corner more than once.
        same = np.isclose(bands.kpoints, bands.kpoints[point], atol=1e-6).all(axis=1)
        axis.plot(
            bands.distances[same],
            energies[same],
            "o",
            color=colour,
            markersize=5,
            markeredgecolor="white",
            markeredgewidth=0.8,
            clip_on=False,
            zorder=5,
        )
