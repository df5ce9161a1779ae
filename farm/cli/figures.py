"""Figures of spectra: one material, or a page of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from farm.errors import InputError
from farm.result import Result
from farm.spectrum import DIRECTIONS, Spectrum, equal_directions

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

IPA_COLOUR = "#7f8c8d"
RPA_COLOUR = "#c0392b"
_IPA_STYLE = {"color": IPA_COLOUR, "linestyle": "--", "linewidth": 1.3, "label": "IPA"}
_RPA_STYLE = {"color": RPA_COLOUR, "linestyle": "-", "linewidth": 1.6, "label": "RPA"}

# Over the other line, which it lets through.
_OTHER_STYLE = {"color": "black", "linestyle": ":", "linewidth": 1.3}


@dataclass(frozen=True, kw_only=True, eq=False)
class Drawn:
    """A material with its spectra; no RPA where it was computed without local fields."""

    material_id: str
    ipa: Spectrum
    rpa: Spectrum | None


def draw_page(materials: Sequence[Drawn], path: Path, *, columns: int = 4) -> None:
    """Im eps (a third of the trace) of many materials on one page, IPA against RPA where there is one."""
    from matplotlib.figure import Figure

    columns = min(columns, len(materials))
    rows = -(-len(materials) // columns)
    figure = Figure(figsize=(3.0 * columns, 2.3 * rows + 0.4), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, sharex=True)
    for axis, material in zip(axes.flat, materials, strict=False):
        energies = material.ipa.energies_ev
        axis.plot(energies, material.ipa.eps_imag_mean, **_IPA_STYLE)
        if material.rpa is not None:
            axis.plot(energies, material.rpa.eps_imag_mean, **_RPA_STYLE)
            axis.fill_between(energies, material.rpa.eps_imag_mean, color=RPA_COLOUR, alpha=0.08)
        axis.set_title(material.material_id, fontsize=10)
        _bare(axis, energies)
    for axis in list(axes.flat)[len(materials) :]:
        axis.set_axis_off()
    # Of one that has both lines, where there is one.
    both = (axis for axis, material in zip(axes.flat, materials, strict=False) if material.rpa is not None)
    next(both, axes[0][0]).legend(frameon=False, fontsize=9)
    figure.supxlabel("photon energy (eV)", fontsize=10)
    figure.supylabel("Im ε (mean over directions)", fontsize=10)
    save(figure, path)


def draw_material(material: Drawn, path: Path) -> None:
    """Im and Re eps of each inequivalent direction, IPA against RPA where there is one."""
    from matplotlib.figure import Figure

    groups = equal_directions((material.rpa or material.ipa).eps)
    figure = Figure(figsize=(4.6 * len(groups), 5.4), layout="constrained")
    axes = figure.subplots(2, len(groups), squeeze=False, sharex=True)
    energies = material.ipa.energies_ev
    for column, group in enumerate(groups):
        for row, (part, name) in enumerate(((np.imag, "Im ε"), (np.real, "Re ε"))):
            axis = axes[row][column]
            axis.plot(energies, part(material.ipa.eps[group[0]]), **_IPA_STYLE)
            if material.rpa is not None:
                axis.plot(energies, part(material.rpa.eps[group[0]]), **_RPA_STYLE)
            axis.set_ylabel(name)
            _bare(axis, energies, at_zero=part is np.imag)
        axes[0][column].set_title(
            f"{material.material_id}, along {', '.join(DIRECTIONS[d] for d in group)}"
        )
        axes[1][column].set_xlabel("photon energy (eV)")
    axes[0][0].legend(frameon=False)
    save(figure, path)


def draw_comparison(one: Result, other: Result, path: Path) -> None:
    """Im eps of each inequivalent direction by two engines: IPA above, the last rung of both below.

    Without local fields there is IPA alone.
    """
    from matplotlib.figure import Figure

    common = sorted({s.gmax_mry for s in one.ladder} & {s.gmax_mry for s in other.ladder})
    shown = common if len(common) == 1 else [common[0], common[-1]]
    ladders = [{s.gmax_mry: s.eps for s in result.ladder} for result in (one, other)]
    groups = equal_directions(one.ladder[-1].eps)
    figure = Figure(figsize=(4.6 * len(groups), 2.7 * len(shown)), layout="constrained")
    axes = figure.subplots(len(shown), len(groups), squeeze=False, sharex=True)
    for column, group in enumerate(groups):
        for row, gmax in enumerate(shown):
            axis, where = axes[row][column], "IPA" if gmax == 0 else f"RPA, {gmax} mRy"
            for result, ladder, style in zip(
                (one, other), ladders, (_RPA_STYLE, _OTHER_STYLE), strict=True
            ):
                eps_imag = ladder[gmax][group[0]].imag
                axis.plot(result.energies_ev, eps_imag, **{**style, "label": result.engine.value})
            axis.set_ylabel(f"Im ε, {where}")
            _bare(axis, one.energies_ev)
        axes[0][column].set_title(
            f"{one.crystal.material_id}, along {', '.join(DIRECTIONS[d] for d in group)}"
        )
        axes[-1][column].set_xlabel("photon energy (eV)")
    axes[0][0].legend(frameon=False)
    save(figure, path)


def save(figure: Figure, path: Path) -> None:
    """Write a figure in the format that the name asks for. Raises InputError for one there is not."""
    try:
        figure.savefig(path, dpi=150)
    except ValueError as error:  # a file type that matplotlib does not write
        raise InputError(f"{path}: {error}", fix="Name a .png, .pdf or .svg file") from error


def _bare(axis: Axes, energies: np.ndarray, *, at_zero: bool = True) -> None:
    axis.set_xlim(float(energies[0]), float(energies[-1]))
    if at_zero:
        axis.set_ylim(bottom=0)
    axis.spines[["top", "right"]].set_visible(False)
    axis.tick_params(labelsize=8)
