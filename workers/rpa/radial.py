"""Fourier transforms of radial projectors, tabulated once and interpolated at every |k + G|.

With g_l(x) = j_l(x)/x^l, an even entire function, and g_l'(x) = -x g_{l+1}(x),

    R(K) = f_l(K)/K^l  = int r^{l+2} beta(r) g_l(Kr) dr
    D(K) = R'(K)/K     = -int r^{l+4} beta(r) g_{l+1}(Kr) dr

are smooth and even in K: there is nothing to divide by where K = 0. (``PP_BETA`` is r beta(r).)
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from farm.kpoints import FloatArray
from workers.rpa.upf import Pseudopotential

# Spacing of the table in 1/bohr: for all of SG15 cubic interpolation is then exact to 1e-7 of the largest
# value, which is single precision.
TABLE_STEP = 0.02

# Below: Taylor series; above: upward recurrence, which loses digits as x^-2l.
_SERIES_END = 2.0
_SERIES_TERMS = 14

# Cubic through the nodes -1, 0, 1, 2: values -> coefficients of 1, t, t^2, t^3 for t in [0, 1).
_CUBIC = np.linalg.inv(np.vander([-1.0, 0.0, 1.0, 2.0], 4, increasing=True))


def reduced_bessel(l_max: int, x: FloatArray) -> FloatArray:
    """g_l(x) = j_l(x)/x^l for l = 0..l_max, shape ``(l_max + 1, *x.shape)``.

    Series sum_n (-x^2/2)^n / (n! (2l+2n+1)!!) below 2, else g_{l+1} = ((2l+1) g_l - g_{l-1})/x^2
    (DLMF 10.53.1, 10.51.1).
    """
    result = np.empty((l_max + 1, *x.shape))
    small = x < _SERIES_END
    near, far = -0.5 * x[small] ** 2, x[~small]
    for l_value in range(l_max + 1):
        value = np.ones_like(near)
        for n in range(_SERIES_TERMS, 0, -1):
            value = 1 + value * near / (n * (2 * l_value + 2 * n + 1))
        result[l_value][small] = value / float(np.prod(np.arange(1, 2 * l_value + 2, 2)))
    sine, square = np.sin(far) / far, far**2
    before, current = np.cos(far), sine  # g_{-1} = cos x
    for l_value in range(l_max + 1):
        result[l_value][~small] = current
        before, current = current, ((2 * l_value + 1) * current - before) / square
    return result


def radial_transform(pseudo: Pseudopotential, wave_numbers: FloatArray) -> tuple[FloatArray, FloatArray]:
    """R(K) and D(K) of every radial projector, both of shape ``(n_K, n_beta)``."""
    # Beyond their radius projectors are zero: most of the mesh.
    n_mesh = int(np.flatnonzero(np.abs(pseudo.beta).max(axis=0)).max(initial=0)) + 1
    radius = pseudo.radius[:n_mesh]
    g = reduced_bessel(max(pseudo.angular) + 1, np.outer(wave_numbers, radius))
    values, slopes = np.empty((2, wave_numbers.size, len(pseudo.angular)))
    for i, l_value in enumerate(pseudo.angular):
        weighted = pseudo.beta[i, :n_mesh] * pseudo.weights[:n_mesh] * radius ** (l_value + 1)
        values[:, i] = g[l_value] @ weighted
        slopes[:, i] = -g[l_value + 1] @ (weighted * radius**2)
    return values, slopes


class RadialTable:
    """R and D of one pseudopotential at any K up to a largest one."""

    def __init__(self, pseudo: Pseudopotential, largest: float) -> None:
        # One node below zero, where the even functions are known, and two above the largest K.
        nodes = TABLE_STEP * np.arange(-1, int(largest / TABLE_STEP) + 4)
        values = np.concatenate(radial_transform(pseudo, np.abs(nodes)), axis=1)
        stencils = np.stack([values[i : len(values) - 3 + i] for i in range(4)])
        # [cell, power of t, R of all projectors then D of all]: one row a cell is read at a time.
        self._cells = np.einsum("pi,icb->cpb", _CUBIC, stencils).astype(np.float32)
        self._n_beta = len(pseudo.angular)

    def at(self, lengths: FloatArray) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """R and D at the wave numbers ``lengths``, both of shape ``(n_beta, n_K)``."""
        position = lengths / TABLE_STEP
        cell = position.astype(np.int64)
        t = (position - cell).astype(np.float32)[:, None]
        rows = self._cells[cell]
        found = ((rows[:, 3] * t + rows[:, 2]) * t + rows[:, 1]) * t + rows[:, 0]
        return found[:, : self._n_beta].T, found[:, self._n_beta :].T
