"""The figure of `farm predict --plot`, and the style that all figures of the trainer share.

IPA is grey and dashed, RPA red, in every figure.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from farm.errors import InputError
from farm.spectrum import FloatArray
from trainer.inference.predict import AXIS_LABELS, Prediction
from trainer.networks.calibration import BAND_LEVEL

COLOURS = {"ipa": "#7f8c8d", "rpa": "#c0392b"}
DIRECTION_COLOURS = {"x": "#2471a3", "y": "#1e8449", "z": "#b9770e"}
LINE_STYLES = {"ipa": "--", "rpa": "-"}

INK, MUTED, FAINT = "#22262b", "#6b7480", "#d5dae0"
# From little to much, told apart in print and by the colour blind, on white and on black.
RAMP = ("#2b5c8a", "#5b84a8", "#969c98", "#c9a257", "#e39a12")
# Of matplotlib, for `matplotlib.rc_context`.
STYLE: Any = {
    "font.family": "sans-serif",
    "font.size": 9.0,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.labelsize": 9.0,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.axisbelow": True,
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 8.0,
    "ytick.labelsize": 8.0,
    "grid.color": FAINT,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 8.0,
    # The same data give the same file.
    "svg.hashsalt": "farm",
}


def plot_predictions(
    predictions: Sequence[Prediction], references: Sequence[FloatArray | None], path: Path
) -> None:
    """One panel a crystal: the prediction as a line, the calculated spectrum as an area behind it.

    Raises InputError for a file type that matplotlib cannot write.
    """
    from matplotlib import rc_context

    with rc_context(STYLE):
        _plot_predictions(predictions, references, path)


def _plot_predictions(
    predictions: Sequence[Prediction], references: Sequence[FloatArray | None], path: Path
) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    n_columns = min(3, len(predictions))
    n_rows = -(-len(predictions) // n_columns)
    figure = Figure(figsize=(4.2 * n_columns, 3.0 * n_rows), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(n_rows, n_columns, squeeze=False).flat
    for prediction, reference, panel in zip(predictions, references, panels, strict=False):
        energies_ev, colour = prediction.energies_ev, COLOURS[prediction.rung]
        name = prediction.rung.upper()
        if reference is not None:
            panel.fill_between(
                energies_ev, reference, color=colour, alpha=0.25, lw=0, label=f"{name} calculated"
            )
        if prediction.half_width is not None:
            low, high = (prediction.values + sign * prediction.half_width for sign in (-1.0, 1.0))
            panel.fill_between(
                energies_ev,
                low.clip(min=0.0),
                high,
                fc="none",
                ec=colour,
                hatch="////",
                alpha=0.35,
                lw=0,
                label=f"holds {BAND_LEVEL:.0%}",
            )
        for axis, values in zip("xyz", () if prediction.along is None else prediction.along, strict=False):
            panel.plot(energies_ev, values, color=DIRECTION_COLOURS[axis], lw=0.9, label=axis)
        panel.plot(
            energies_ev,
            prediction.values,
            color=colour,
            ls=LINE_STYLES[prediction.rung],
            lw=1.4,
            label=f"{name} predicted",
        )
        panel.set(
            title=prediction.crystal.material_id,
            xlabel="photon energy (eV)",
            ylabel=AXIS_LABELS[prediction.quantity],
            xlim=(energies_ev[0], energies_ev[-1]),
        )
        panel.set_ylim(bottom=0)
        panel.legend(frameon=False, fontsize="small")
    for panel in list(panels):
        panel.set_axis_off()
    figure.suptitle(f"checkpoint {predictions[0].checkpoint}", fontsize="small")
    try:
        figure.savefig(path, dpi=150)
    except ValueError as error:
        raise InputError(f"{path}: {error}", fix="Name a .png, .pdf or .svg file") from error
