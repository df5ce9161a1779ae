"""Real solid harmonics S_lm(K) = K^l Y_lm and their gradients, as polynomials, up to l = 3."""

from __future__ import annotations

import numpy as np

from farm.kpoints import FloatArray

_Polynomial = dict[tuple[int, int, int], float]  # exponents of x, y, z -> coefficient

# Real solid harmonics, orthonormal on the unit sphere after division by K^l.
_PI = float(np.pi)
_SOLID_HARMONICS: dict[int, tuple[tuple[float, _Polynomial], ...]] = {
    0: (((1 / (4 * _PI)) ** 0.5, {(0, 0, 0): 1}),),
    1: tuple(((3 / (4 * _PI)) ** 0.5, {e: 1.0}) for e in ((1, 0, 0), (0, 1, 0), (0, 0, 1))),
    2: (
        *(((15 / (4 * _PI)) ** 0.5, {e: 1.0}) for e in ((1, 1, 0), (0, 1, 1), (1, 0, 1))),
        ((15 / (16 * _PI)) ** 0.5, {(2, 0, 0): 1, (0, 2, 0): -1}),
        ((5 / (16 * _PI)) ** 0.5, {(0, 0, 2): 2, (2, 0, 0): -1, (0, 2, 0): -1}),
    ),
    3: (
        ((105 / (4 * _PI)) ** 0.5, {(1, 1, 1): 1}),
        ((105 / (16 * _PI)) ** 0.5, {(2, 0, 1): 1, (0, 2, 1): -1}),
        ((35 / (32 * _PI)) ** 0.5, {(3, 0, 0): 1, (1, 2, 0): -3}),
        ((35 / (32 * _PI)) ** 0.5, {(2, 1, 0): 3, (0, 3, 0): -1}),
        ((21 / (32 * _PI)) ** 0.5, {(1, 0, 2): 4, (3, 0, 0): -1, (1, 2, 0): -1}),
        ((21 / (32 * _PI)) ** 0.5, {(0, 1, 2): 4, (2, 1, 0): -1, (0, 3, 0): -1}),
        ((7 / (16 * _PI)) ** 0.5, {(0, 0, 3): 2, (2, 0, 1): -3, (0, 2, 1): -3}),
    ),
}

L_MAX = max(_SOLID_HARMONICS)


def solid_harmonics(l_value: int, vectors: FloatArray) -> tuple[FloatArray, FloatArray]:
    """S_lm and its gradient at K: shapes ``(2l+1, n_K)`` and ``(3, 2l+1, n_K)``."""
    harmonics = _SOLID_HARMONICS[l_value]
    values = np.zeros((len(harmonics), len(vectors)))
    gradients = np.zeros((3, len(harmonics), len(vectors)))
    powers = [vectors.T**n for n in range(l_value + 1)]
    for m, (norm, polynomial) in enumerate(harmonics):
        for exponents, factor in polynomial.items():
            terms = [powers[n][axis] for axis, n in enumerate(exponents)]
            values[m] += norm * factor * terms[0] * terms[1] * terms[2]
            for axis, n in enumerate(exponents):
                if n:
                    others = terms[axis - 2] * terms[axis - 1]
                    gradients[axis, m] += norm * factor * n * powers[n - 1][axis] * others
    return values, gradients
