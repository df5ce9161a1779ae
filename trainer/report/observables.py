"""Numbers that an experiment would read off a spectrum, for parity plots.

All from Im of a third of the trace of eps on a uniform grid from 0, ``(n_materials, n_energies)``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from farm.spectrum import FloatArray, kramers_kronig_real

Spectra = NDArray[np.floating]

# Of the maximum of Im eps: below lies the tail of the broadening.
ONSET_SHARE = 0.1


def static_eps(eps_imag: Spectra, energies_ev: FloatArray) -> FloatArray:
    """Re eps(0) by Kramers-Kronig over the grid, ``(n_materials,)``; see ``kramers_kronig_real``."""
    real = kramers_kronig_real(eps_imag, energies_ev)
    return np.ascontiguousarray(real[..., 0])


def peak_ev(eps_imag: Spectra, energies_ev: FloatArray) -> FloatArray:
    """Photon energy of the largest Im eps, eV, ``(n_materials,)``."""
    return np.asarray(energies_ev[np.argmax(eps_imag, axis=-1)], dtype=np.float64)


def plasma_energy_ev(eps_imag: Spectra, energies_ev: FloatArray) -> FloatArray:
    """sqrt((2/pi) int w Im eps(w) dw) in eV, ``(n_materials,)``.

    The f-sum rule (e.g. Dressel and Gruener, Electrodynamics of Solids, 3.2) makes this the plasma
    energy of the electrons that absorb below the end of the grid.
    """
    weighted = np.asarray(eps_imag, dtype=np.float64) * energies_ev
    return np.asarray(np.sqrt(2.0 / np.pi * np.trapezoid(weighted, energies_ev, axis=-1)), dtype=np.float64)


def onset_ev(eps_imag: Spectra, energies_ev: FloatArray) -> FloatArray:
    """Lowest photon energy, eV, at which Im eps reaches a tenth of its maximum, ``(n_materials,)``.

    Interpolated between grid points. The share is above the tail that the damping puts into the gap,
    so an onset lies near the direct gap, a little above or below it.
    """
    spectra = np.asarray(eps_imag, dtype=np.float64)
    level = ONSET_SHARE * spectra.max(axis=-1, keepdims=True)
    first = np.argmax(spectra >= level, axis=-1)
    rows = np.arange(len(spectra))
    before = np.maximum(first - 1, 0)
    low, high = spectra[rows, before], spectra[rows, first]
    share = np.where(first > 0, (level[:, 0] - low) / np.where(high > low, high - low, 1.0), 0.0)
    step = energies_ev[1] - energies_ev[0]
    return np.asarray(energies_ev[before] + share * step * (first > before), dtype=np.float64)


@dataclass(frozen=True)
class Observable:
    """A number read off a spectrum: its name, unit (empty: none) and function."""

    name: str
    title: str
    symbol: str
    unit: str
    of: Callable[[Spectra, FloatArray], FloatArray]


OBSERVABLES = (
    Observable("eps0", "static dielectric constant", "ε(0)", "", static_eps),
    Observable("peak", "position of the highest peak", "peak", "eV", peak_ev),
    Observable("plasma", "plasma energy by the f-sum rule", "ħωp", "eV", plasma_energy_ev),
    Observable("onset", "onset of absorption", "onset", "eV", onset_ev),
)
