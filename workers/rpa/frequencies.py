"""Photon energies at which the Dyson equation is solved, and the way back to the requested ones.

A spectrum is smooth on the scale of the damping: six points a damping are enough, and rational
interpolation without poles fills in the rest. Floater and Hormann, Numer. Math. 107, 315 (2007):
eps(w) = sum_k c_k/(w - w_k) eps_k / sum_k c_k/(w - w_k).
"""

from __future__ import annotations

from math import comb

import numpy as np

from farm.kpoints import FloatArray
from farm.spectrum import ComplexArray

_POINTS_PER_DAMPING = 6
# Degree of the blended polynomials. Sharp Lorentzians come back to 1e-7 on average, 1e-5 at their peak.
_DEGREE = 7


def solved_energies(energies: FloatArray, damping: float) -> FloatArray:
    """As requested, or coarser and uniform where that is fewer; all in one unit."""
    n_coarse = max(int(np.ceil((energies[-1] - energies[0]) / damping * _POINTS_PER_DAMPING)) + 1, 16)
    return energies if n_coarse >= energies.size else np.linspace(energies[0], energies[-1], n_coarse)


def interpolate(values: ComplexArray, solved: FloatArray, wanted: FloatArray) -> ComplexArray:
    """``values`` at uniform ``solved`` energies (last axis) taken to the ``wanted`` ones."""
    if solved is wanted:
        return values
    last = solved.size - 1
    signed = [
        (-1) ** k
        * sum(comb(_DEGREE, k - i) for i in range(max(0, k - _DEGREE), min(k, last - _DEGREE) + 1))
        for k in range(last + 1)
    ]
    distance = wanted[:, None] - solved[None, :]
    hit = np.abs(distance) < 1e-9 * (solved[1] - solved[0])
    weights = np.array(signed, dtype=np.float64) / np.where(hit, 1.0, distance)
    on_point = hit.any(axis=1)
    weights[on_point] = hit[on_point]
    weights /= weights.sum(axis=1, keepdims=True)
    result: ComplexArray = values @ weights.T
    return result
