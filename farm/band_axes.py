"""What every figure of a band structure shows: corners of its path, energies, gaps in words; pure."""

from __future__ import annotations

from farm.bandstructure import BandStructure, symbol

# Bands below a gap as wide as this are core-like and flat: the figure ends above them.
_CORE_GAP_EV = 6.0
_DEEPEST_EV = -30.0
_TOP_EV = 12.0
# At least so much above the conduction band minimum is shown, if there are bands.
_ABOVE_GAP_EV = 5.0


def corner_ticks(bands: BandStructure) -> list[tuple[float, str]]:
    """Distance (1/angstrom) and text of each corner; the two of a jump are one, "U|K"."""
    ticks: list[tuple[float, str]] = []
    jumps = {piece.start for piece in bands.pieces()[1:]}
    for label, corner in zip(bands.labels, bands.corners, strict=True):
        text = symbol(label)
        if corner in jumps:
            text = f"{ticks.pop()[1]}|{text}"
        ticks.append((float(bands.distances[corner]), text))
    return ticks


def gaps_text(bands: BandStructure) -> str:
    """The gaps in words; one where the smallest is direct."""
    if bands.gap_indirect_ev <= 0:
        return f"filled and empty bands overlap by {-bands.gap_indirect_ev:.2f} eV"
    indirect, direct = f"{bands.gap_indirect_ev:.2f} eV", f"{bands.gap_direct_ev:.2f} eV"
    return f"direct gap {direct}" if indirect == direct else f"gap {indirect}, direct {direct}"


def energy_range_ev(bands: BandStructure) -> tuple[float, float]:
    """From below the valence bands, without those that are core-like, to where bands are complete, about
    12 eV.
    """
    lowest, highest = bands.energies_ev.min(axis=0), bands.energies_ev.max(axis=0)
    bottom = float(lowest[bands.n_valence - 1])
    for band in range(bands.n_valence - 2, -1, -1):
        if bottom - highest[band] > _CORE_GAP_EV or lowest[band] < _DEEPEST_EV:
            break
        bottom = min(bottom, float(lowest[band]))
    # Above the lowest energy of the last band others are missing that were not computed.
    complete = float(lowest[-1])
    edge = float(bands.lowest_empty_ev.min())
    top = max(min(max(_TOP_EV, edge + _ABOVE_GAP_EV), complete), edge + 1.0)
    margin = 0.03 * (top - bottom)
    return bottom - margin, top
