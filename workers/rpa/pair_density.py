"""Pair densities rho_vc(G) = <c| exp(i G . r) |v> for a sphere of G, in real space.

u_c* u_v is formed on a coarse box and taken to the few G that are needed by a separable, truncated
Fourier sum: three matrix products, which is cheaper than a full FFT of every pair.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from farm.kpoints import FloatArray, IntArray
from workers.rpa.wavefunctions import Wavefunctions

# Single precision: spectra change by 5e-8, the box costs half.
SingleComplexArray = NDArray[np.complex64]

# Part of the alias-free box that is used. What folds back are the tails of u_c* u_v far beyond the
# wavefunction cutoff: at 60 Ry spectra change by 5e-5 at 0.6 and less than 1e-6 at 0.8; the rest is
# for low cutoffs (h-BN at 20 Ry: 6e-4 at 0.8, below 1e-5 at 0.9).
BOX_FRACTION = 0.9


class PairDensityBox:
    """The real-space box of a crystal, and the transform from it to a sphere of G."""

    def __init__(self, lattice: FloatArray, cutoff: float, millers: IntArray) -> None:
        """``lattice`` rows in bohr, ``cutoff`` in hartree, ``millers`` of shape ``(n_g, 3)``."""
        reach = np.sqrt(2 * cutoff) * np.linalg.norm(lattice, axis=1) / (2 * np.pi)
        limits = np.abs(millers).max(axis=0)
        alias_free = 2 * np.floor(reach) + 2 + limits
        sizes = np.maximum(np.ceil(BOX_FRACTION * alias_free), 2 * limits + 2)
        self._sizes = tuple(int(n) for n in sizes)
        # exp(i G . r)/n along each axis, shape (n_points, 2 limit + 1).
        self._forward = [
            _waves_on_axis(n, np.arange(-m, m + 1)) / np.float32(n)
            for n, m in zip(self._sizes, limits, strict=True)
        ]
        index = (millers + limits).T
        self._sphere = np.ravel_multi_index(tuple(index), tuple(2 * limits + 1))
        self.n_g = len(millers)

    def real_space(self, waves: Wavefunctions, bands: slice) -> SingleComplexArray:
        """u_n(r) of ``bands`` on the box, shape ``(n, n1, n2, n3)``, scaled so that mean |u|^2 is 1.

        Plane waves beyond the box fold back: the values at the points of the box are exact.
        """
        coefficients = waves.coefficients[bands]
        low = waves.millers.min(axis=0)
        shape = waves.millers.max(axis=0) - low + 1
        box = np.zeros((len(coefficients), int(np.prod(shape))), dtype=np.complex64)
        box[:, np.ravel_multi_index(tuple((waves.millers - low).T), tuple(shape))] = coefficients
        phases = [
            _waves_on_axis(n, low[axis] + np.arange(shape[axis])).T for axis, n in enumerate(self._sizes)
        ]
        return _separable(box.reshape(-1, *shape), phases)

    def transform(
        self, conduction_conj: SingleComplexArray, valence: SingleComplexArray
    ) -> SingleComplexArray:
        """<c| exp(i G . r) |v> of all c with one v, shape ``(n_c, n_g)``.

        ``conduction_conj`` is u_c*, shape ``(n_c, n1, n2, n3)``; ``valence`` u_v, ``(n1, n2, n3)``.
        """
        sums = _separable(conduction_conj * valence, self._forward)
        density: SingleComplexArray = sums.reshape(len(conduction_conj), -1)[:, self._sphere]
        return density


def _waves_on_axis(n_points: int, millers: IntArray) -> SingleComplexArray:
    # exp(2 pi i m j / n), shape (n_points, n_millers)
    waves = np.exp(2j * np.pi * np.outer(np.arange(n_points), millers) / n_points)
    single: SingleComplexArray = waves.astype(np.complex64)
    return single


def _separable(values: SingleComplexArray, matrices: list[SingleComplexArray]) -> SingleComplexArray:
    # sum_xyz values[n, x, y, z] A[x, a] B[y, b] C[z, c], the first axis first: it is one long product.
    n_first, shape = len(values), values.shape
    first, second, third = matrices
    step = np.matmul(first.T, values.reshape(n_first, shape[1], -1))
    step = step.reshape(-1, shape[3]) @ third
    result = np.matmul(second.T, step.reshape(n_first * first.shape[1], shape[2], -1))
    shaped: SingleComplexArray = result.reshape(n_first, first.shape[1], second.shape[1], third.shape[1])
    return shaped
