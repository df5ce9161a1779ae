"""Whether a checkpoint knows how sure it is: what its intervals promise, and what they hold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from farm.spectrum import FloatArray
from trainer.checkpoints.card import Card
from trainer.inference.plot import COLOURS, INK, MUTED
from trainer.report.contents import Materials
from trainer.report.figure import MOST_VECTOR_MARKS, Panel, Plate

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LOWEST_SHOWN = -0.5


def uncertainty_plate(card: Card | None, materials: Materials | None) -> Plate | None:
    """Calibration from the card, and expected against found SC; None where the card says nothing."""
    held = {} if card is None else card.uncertainty.get("held_out") or {}
    panels = []
    if held:
        shares = ", ".join(
            f"{level:.0%} held in {point:.0%} of points"
            for level, point in zip(held["levels"], held["point"], strict=True)
        )
        panels.append(
            Panel(
                name="calibration",
                alt=f"Intervals: {shares}.",
                draw=lambda axis: _draw_calibration(axis, held),
            )
        )
    rows = np.array([], dtype=np.int64) if materials is None else materials.held_out
    if (
        materials is not None
        and materials.sc is not None
        and materials.sc_expected is not None
        and rows.size
    ):
        sc, expected = materials.sc[rows], materials.sc_expected[rows]
        n_above = int((sc >= expected).sum())
        panels.append(
            Panel(
                name="expected-sc",
                alt=f"SC found against SC expected: {n_above} of {sc.size} materials reach it.",
                draw=lambda axis: _draw_expected(axis, expected, sc),
            )
        )
    if not panels:
        return None
    return Plate(name="uncertainty", caption=_caption(card, held), panels=tuple(panels), columns=2)


def _caption(card: Card | None, held: Mapping[str, Any]) -> str:
    members = None if card is None else card.uncertainty.get("members")
    parts = [f"Intervals from the spread of {members} members." if members else "Intervals of the model."]
    if held:
        parts.append(
            f"Left: the share of held-out points and whole spectra that lie inside, against what was "
            f"promised (mean distance {held['point_error']:.3f} and {held['spectrum_error']:.3f})."
        )
        if held.get("rank_correlation") is not None:
            parts.append(f"Spread and error rank alike: Spearman {held['rank_correlation']:.2f}.")
    parts.append("The expected SC is one that half of such spectra exceed.")
    return " ".join(parts)


def _draw_calibration(axis: Axes, held: Mapping[str, Any]) -> None:
    axis.plot([0, 1], [0, 1], color=MUTED, lw=0.8)
    axis.plot(
        held["levels"], held["point"], color=COLOURS["rpa"], marker="o", ms=4.5, lw=1.4, label="points"
    )
    axis.plot(
        held["levels"], held["spectrum"], color=INK, marker="s", ms=4, lw=1.2, ls=":", label="spectra"
    )
    axis.set(
        xlabel="promised share", ylabel="share inside", xlim=(0.4, 1), ylim=(0, 1.01), title="calibration"
    )
    axis.grid(axis="y")
    axis.legend(loc="lower right")


def _draw_expected(axis: Axes, expected: FloatArray, sc: FloatArray) -> None:
    low = max(_LOWEST_SHOWN, float(min(expected.min(), sc.min())) - 0.03)
    axis.plot([low, 1], [low, 1], color=MUTED, lw=0.8)
    many = sc.size > MOST_VECTOR_MARKS
    shown = (np.clip(expected, low, 1), np.clip(sc, low, 1))
    axis.scatter(*shown, s=11, color=COLOURS["rpa"], alpha=0.6, lw=0, rasterized=many)
    axis.set(
        xlabel="expected SC",
        ylabel="SC found",
        xlim=(low, 1.01),
        ylim=(low, 1.01),
        title="expected and found",
    )
    axis.set_aspect("equal")
