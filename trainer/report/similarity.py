"""How alike predicted and calculated spectra are: by cell size, and against the IPA taken for the RPA."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from farm.spectrum import FloatArray
from trainer.inference.plot import COLOURS, INK, MUTED, RAMP
from trainer.report.contents import Materials
from trainer.report.figure import MOST_VECTOR_MARKS, Panel, Plate

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LOWEST_SHOWN = -0.5
_BIN = 0.05
_LARGEST_CELL = 5


def by_cell_size(n_atoms: NDArray[np.int64], sc: FloatArray) -> dict[str, FloatArray]:
    """SC of the materials of each cell size: ``"1"``, ``"2"``, ... and ``"5+"`` for all larger."""
    found = {}
    for size in range(1, _LARGEST_CELL + 1):
        rows = n_atoms >= size if size == _LARGEST_CELL else n_atoms == size
        if rows.any():
            found[f"{size}+" if size == _LARGEST_CELL else str(size)] = sc[rows]
    return found


def similarity_plate(materials: Materials) -> Plate | None:
    """Both panels for the held-out materials; None where nothing is predicted."""
    rows = materials.held_out
    if materials.sc is None or not rows.size:
        return None
    sc, sc_ipa, n_atoms = materials.sc[rows], materials.sc_ipa[rows], materials.n_atoms[rows]
    sizes = by_cell_size(n_atoms, sc)
    medians = ", ".join(f"{np.median(found):.3f} ({found.size} of {size})" for size, found in sizes.items())
    n_better = int((sc > sc_ipa).sum())
    below = int((sc < LOWEST_SHOWN).sum())
    caption = (
        "Left: similarity of predicted and calculated RPA spectra by atoms in the cell. Right: each "
        f"material against the calculated IPA spectrum taken for RPA; above the diagonal ({n_better} of "
        f"{sc.size}) the model is nearer."
    )
    if below:
        caption += f" {below} below {LOWEST_SHOWN:g} stand at the edge."
    return Plate(
        name="similarity",
        caption=caption,
        panels=(
            Panel(
                name="sc-by-size",
                alt=f"Histogram of the similarity of {sc.size} held-out materials. Median by atoms in the "
                f"cell: {medians}.",
                draw=lambda axis: _draw_histogram(axis, sizes),
            ),
            Panel(
                name="sc-against-ipa",
                alt=f"Similarity of the model against that of IPA taken for RPA: the model is nearer for "
                f"{n_better} of {sc.size} materials.",
                draw=lambda axis: _draw_against_ipa(axis, sc_ipa, sc),
            ),
        ),
        columns=2,
    )


def size_colours(sizes: Sequence[str]) -> list[str]:
    """One colour a cell size, the same whatever other sizes there are."""
    return [RAMP[int(size.rstrip("+")) - 1] for size in sizes]


def _draw_histogram(axis: Axes, sizes: dict[str, FloatArray]) -> None:
    from matplotlib.ticker import MaxNLocator

    every = np.concatenate(list(sizes.values()))
    low = max(LOWEST_SHOWN, np.floor(every.min() / _BIN) * _BIN)
    edges = np.arange(round((1.0 - low) / _BIN) + 1) * _BIN + low
    labels = [f"{size} atom{'' if size == '1' else 's'} ({found.size})" for size, found in sizes.items()]
    axis.hist(
        [np.clip(found, low, 1.0 - 1e-9) for found in sizes.values()],
        bins=list(edges),
        stacked=True,
        color=size_colours(list(sizes)),
        label=labels,
        rwidth=0.92,
    )
    median = float(np.median(every))
    axis.axvline(max(median, low), color=INK, lw=1)
    axis.annotate(
        f" median {median:.3f} ",
        (max(median, low), 1.0),
        xycoords=("data", "axes fraction"),
        ha="right" if median > (low + 1.0) / 2 else "left",
        va="top",
        fontsize=8,
    )
    axis.yaxis.set_major_locator(MaxNLocator(integer=True))
    axis.set(xlabel="SC", ylabel="held-out materials", xlim=(low, 1.0), title="by cell size")
    axis.legend(loc="best")


def _draw_against_ipa(axis: Axes, sc_ipa: FloatArray, sc: FloatArray) -> None:
    low = max(LOWEST_SHOWN, float(min(sc_ipa.min(), sc.min())) - 0.03)
    axis.plot([low, 1], [low, 1], color=MUTED, lw=0.8)
    axis.scatter(
        np.clip(sc_ipa, low, 1),
        np.clip(sc, low, 1),
        s=11,
        color=COLOURS["rpa"],
        alpha=0.6,
        lw=0,
        rasterized=sc.size > MOST_VECTOR_MARKS,
    )
    axis.set(
        xlabel="SC of IPA as RPA",
        ylabel="SC of the model",
        xlim=(low, 1.01),
        ylim=(low, 1.01),
        title="against the IPA",
    )
    axis.set_aspect("equal")
