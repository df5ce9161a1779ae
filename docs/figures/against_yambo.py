"""The figure of docs/explanation/physics.md: this solver and YAMBO on the same wavefunctions.

    python docs/figures/against_yambo.py REFERENCE_DIR WORK_DIR

REFERENCE_DIR and WORK_DIR are those of benchmarks/rpa_against_yambo.py, which makes the wavefunctions.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib as mpl
import numpy as np

from farm.spectrum import energy_grid_ev, similarity_coefficient
from workers.rpa.response import ResponseRequest, compute_response

mpl.use("Agg")
import matplotlib.pyplot as plt

# Directory, title, Cartesian direction and its name in YAMBO's files, cutoff of the RPA in mRy
PANELS = (
    ("LiF_k8", "LiF", 0, "100", 4000),
    ("hBN", "h-BN along z", 2, "001", 4000),
)
IPA_COLOUR, RPA_COLOUR = "0.55", "#d9541e"
EVERY = 15
MAGNIFIED = 1000


def yambo_imag(directory: Path, direction: str, gmax_mry: int) -> np.ndarray:
    """Im eps on the grid of 2001 energies."""
    path = directory / f"o-RPA_dir_{direction}_sc_{gmax_mry}.eps_q1_inv_rpa_dyson"
    return np.loadtxt(path)[:, 1]


def main() -> None:
    """Compute both crystals and draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("reference", type=Path)
    parser.add_argument("work", type=Path)
    asked = parser.parse_args()
    energies_ev = energy_grid_ev(2001, 20.0)
    size = {"figsize": (9.2, 4.2), "constrained_layout": True}
    figure, axes = plt.subplots(2, 2, sharex=True, height_ratios=(4, 1), **size)
    for column, (name, title, direction, word, gmax_mry) in enumerate(PANELS):
        save = next((asked.work / name / "out").glob("*.save"))
        request = ResponseRequest(gmax_mry=(0, gmax_mry), energies_ev=energies_ev, damping_ev=0.3)
        response = compute_response(save, request)
        upper, lower = axes[:, column]
        for step, (gmax, colour, label) in enumerate(
            ((0, IPA_COLOUR, "IPA"), (gmax_mry, RPA_COLOUR, "RPA"))
        ):
            ours = response.eps[step, direction].imag
            theirs = yambo_imag(asked.reference / name, word, gmax)
            error = 1 - similarity_coefficient(ours, theirs, energies_ev)
            upper.plot(energies_ev, ours, color=colour, lw=1.6, label=f"{label}, 1 - SC = {error:.0e}")
            upper.plot(energies_ev[::EVERY], theirs[::EVERY], "o", ms=2.4, color="0.1", mew=0)
            lower.plot(energies_ev, MAGNIFIED * (ours - theirs), color=colour, lw=1.0)
        upper.set_title(title, loc="left", fontsize=11)
        upper.legend(frameon=False, fontsize=9)
        upper.set_ylim(bottom=0)
        lower.set_xlabel("photon energy (eV)")
        lower.set_xlim(0, 20)
    axes[0, 0].set_ylabel("Im ε")
    axes[1, 0].set_ylabel(f"difference, {MAGNIFIED}-fold")
    for axis in axes.flat:
        axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(Path(__file__).with_name("against-yambo.png"), dpi=170)


if __name__ == "__main__":
    main()
