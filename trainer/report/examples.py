"""Spectra of held-out materials from the worst to nearly the best: chosen by rank, not by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from farm.spectrum import FloatArray
from trainer.inference.plot import COLOURS, INK
from trainer.report.contents import Materials
from trainer.report.figure import Panel, Plate

if TYPE_CHECKING:
    from matplotlib.axes import Axes

QUANTILES = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9)


def at_quantiles(sc: FloatArray, quantiles: tuple[float, ...] = QUANTILES) -> list[int]:
    """Row numbers of the materials whose SC stands at each quantile, nearest rank; none twice."""
    order = np.argsort(sc, kind="stable")
    ranks = [round(q * (order.size - 1)) for q in quantiles]
    return [int(order[rank]) for rank in dict.fromkeys(ranks)]


def examples_plate(materials: Materials) -> Plate | None:
    """One panel a quantile of the held-out materials; None where nothing is predicted."""
    rows = materials.held_out
    if materials.sc is None or materials.predicted is None or not rows.size:
        return None
    chosen = [int(rows[i]) for i in at_quantiles(materials.sc[rows])]
    band = " Grey shade: 80 % interval of the prediction." if materials.band is not None else ""
    return Plate(
        name="examples",
        caption=(
            "Held-out materials at the 0, 10, 25, 50, 75 and 90 % quantiles of SC. Area: calculated RPA; "
            "grey dashed: calculated IPA; red line: predicted RPA." + band
        ),
        panels=tuple(_panel(materials, row) for row in chosen),
        columns=3,
    )


def _panel(materials: Materials, row: int) -> Panel:
    sc = 0.0 if materials.sc is None else float(materials.sc[row])
    name, formula = materials.ids[row], materials.formulas[row]
    return Panel(
        name=f"example-{row}",
        alt=f"Im ε of {formula} ({name}): calculated RPA and IPA, and predicted RPA with SC {sc:.3f}.",
        draw=lambda axis: _draw(axis, materials, row),
        width_inches=3.2,
        height_inches=2.4,
    )


def _draw(axis: Axes, materials: Materials, row: int) -> None:
    if materials.predicted is None or materials.sc is None:
        return
    # As many points as a panel of this size can show: 0.1 eV on the published grid.
    step = max(1, (materials.energies_ev.size - 1) // 200)
    energies_ev = materials.energies_ev[::step]
    area, dashed, line = (s[row, ::step] for s in (materials.rpa, materials.ipa, materials.predicted))
    axis.fill_between(energies_ev, area, color=COLOURS["rpa"], alpha=0.2, lw=0)
    axis.plot(energies_ev, dashed, color=COLOURS["ipa"], ls="--", lw=1.1)
    if materials.band is not None:
        lower, upper = (edge[row, ::step] for edge in materials.band)
        axis.fill_between(energies_ev, lower, upper, color=INK, alpha=0.14, lw=0)
    axis.plot(energies_ev, line, color=COLOURS["rpa"], lw=1.4)
    axis.set(
        title=f"{materials.formulas[row]} · SC {materials.sc[row]:.3f}",
        xlabel="photon energy (eV)",
        ylabel="Im ε",
        xlim=(float(energies_ev[0]), float(energies_ev[-1])),
    )
    axis.set_ylim(bottom=0)
