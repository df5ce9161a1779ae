"""Parity: what an experiment reads off the predicted spectra against the same of the calculated ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from farm.spectrum import FloatArray
from trainer.inference.plot import COLOURS, MUTED
from trainer.report.contents import Materials
from trainer.report.figure import MOST_VECTOR_MARKS, Panel, Plate
from trainer.report.observables import OBSERVABLES, Observable

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True, kw_only=True, eq=False)
class Parity:
    """One observable of the held-out materials, ``(n_held_out,)`` each: of the calculated RPA spectra,
    of the predicted ones, and of the calculated IPA ones taken for them."""

    observable: Observable
    calculated: FloatArray
    predicted: FloatArray
    ipa: FloatArray

    @property
    def error(self) -> float:
        """Median absolute error of the predicted values, in the unit of the observable.

        The median: one crystal with hardly a gap has a static eps of a thousand.
        """
        return float(np.median(np.abs(self.predicted - self.calculated)))

    @property
    def error_ipa(self) -> float:
        """The same of the IPA values."""
        return float(np.median(np.abs(self.ipa - self.calculated)))

    @property
    def bias(self) -> float:
        """Median of predicted minus calculated."""
        return float(np.median(self.predicted - self.calculated))

    @property
    def shown(self) -> tuple[float, float]:
        """Ends of the axes: all but the outermost two percent, with a margin."""
        every = np.concatenate([self.calculated, self.predicted])
        low, high = (float(x) for x in np.percentile(every, [2, 98]))
        margin = 0.12 * (high - low) or 1.0
        return max(low - margin, float(every.min()) - margin), min(
            high + margin, float(every.max()) + margin
        )


def parities(materials: Materials) -> tuple[Parity, ...]:
    """Every observable for the held-out materials; empty where nothing is predicted."""
    rows, energies_ev = materials.held_out, materials.energies_ev
    if materials.predicted is None or not rows.size:
        return ()
    spectra = (materials.rpa[rows], materials.predicted[rows], materials.ipa[rows])
    return tuple(
        Parity(
            observable=observable,
            calculated=observable.of(spectra[0], energies_ev),
            predicted=observable.of(spectra[1], energies_ev),
            ipa=observable.of(spectra[2], energies_ev),
        )
        for observable in OBSERVABLES
    )


def parity_plate(found: tuple[Parity, ...]) -> Plate | None:
    """One panel an observable; None for none."""
    if not found:
        return None
    return Plate(
        name="parity",
        caption=(
            "Read off predicted (red) and calculated IPA (grey) spectra, against the calculated RPA "
            "spectra of the held-out materials. ε(0) by Kramers-Kronig over the grid; plasma energy from "
            "the f-sum rule up to the end of the grid; onset where Im ε reaches a tenth of its maximum. "
            "Above each: median absolute errors. What lies outside stands at the edge."
        ),
        panels=tuple(_panel(parity) for parity in found),
        columns=2,
    )


def _panel(parity: Parity) -> Panel:
    observable = parity.observable
    unit = f" {observable.unit}" if observable.unit else ""
    return Panel(
        name=f"parity-{observable.name}",
        alt=(
            f"{observable.title}, predicted against calculated for {parity.calculated.size} materials: "
            f"median absolute error {parity.error:.2f}{unit}, bias {parity.bias:+.2f}{unit}; IPA taken for "
            f"RPA {parity.error_ipa:.2f}{unit}."
        ),
        draw=lambda axis: _draw(axis, parity),
        width_inches=3.3,
        height_inches=3.1,
    )


def _draw(axis: Axes, parity: Parity) -> None:
    observable = parity.observable
    unit = f" {observable.unit}" if observable.unit else ""
    low, high = parity.shown
    axis.plot([low, high], [low, high], color=MUTED, lw=0.8)
    many = parity.calculated.size > MOST_VECTOR_MARKS
    shown = (
        ("ipa", f"IPA {parity.error_ipa:.2f}{unit}", parity.ipa, 0.4, 9),
        ("rpa", f"model {parity.error:.2f}{unit}", parity.predicted, 0.65, 11),
    )
    for name, label, values, alpha, size in shown:
        axis.scatter(
            np.clip(parity.calculated, low, high),
            np.clip(values, low, high),
            s=size,
            color=COLOURS[name],
            alpha=alpha,
            lw=0,
            label=label,
            rasterized=many,
        )
    of = observable.symbol + (f" ({observable.unit})" if observable.unit else "")
    axis.set(
        xlim=(low, high),
        ylim=(low, high),
        xlabel=f"calculated {of}",
        ylabel=f"predicted {of}",
    )
    axis.set_title(observable.title, pad=20)
    axis.set_aspect("equal")
    # Between title and axes, where no point can be.
    axis.legend(loc="lower left", bbox_to_anchor=(-0.03, 0.99), ncols=2, handletextpad=0.1, columnspacing=1)
