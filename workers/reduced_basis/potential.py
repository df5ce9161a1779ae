"""The local Kohn-Sham potential as pp.x writes it (``plot_num = 1``: ionic + Hartree + xc)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from farm.errors import CalculationError
from farm.kpoints import FloatArray

TOTAL_POTENTIAL = 1
_RYDBERG = 0.5  # hartree


def read_local_potential(path: Path) -> FloatArray:
    """The potential on the points of pw.x' FFT grid, shape ``(n1, n2, n3)``, hartree.

    Raises CalculationError where the file is absent, cut short or holds another quantity.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        sizes = [int(word) for word in lines[1].split()]
        (padded, grid), (n_atoms, n_species) = (sizes[:3], sizes[3:6]), sizes[6:8]
        # A cell given by its vectors (ibrav = 0) has them on three more lines.
        at = 6 if lines[2].split()[0] == "0" else 3
        plot_num = int(lines[at].split()[3])
        values = np.array(" ".join(lines[at + 1 + n_species + n_atoms :]).split(), dtype=np.float64)
        if plot_num != TOTAL_POTENTIAL or not np.isfinite(values).all():
            raise ValueError(f"plot_num {plot_num}, or numbers that are not finite")
        # The first axis is the fastest in the file.
        stored = values.reshape(padded[::-1]).transpose(2, 1, 0)
    except (OSError, ValueError, IndexError, UnicodeDecodeError) as error:
        raise CalculationError(
            f"{path} is no local potential of pp.x ({error})", fix="Run pp.x with plot_num = 1 again"
        ) from error
    n1, n2, n3 = grid
    return np.ascontiguousarray(_RYDBERG * stored[:n1, :n2, :n3])
