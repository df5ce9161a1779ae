"""Pair densities rho_vc(G) = <c| exp(i G . r) |v> for a sphere of G, in real space.

u_c* u_v is formed on a coarse box and taken to the few G that are needed by a separable, truncated
Fourier sum: three matrix products, which is cheaper than a full FFT of every pair.
"""

from __future__ import annotations

import numpy as np

from farm.kpoints import FloatArray, IntArray
from workers.rpa.device import Array, Device
from workers.rpa.wavefunctions import SingleComplexArray, Wavefunctions

# Hartree. What folds back in a box are products of plane waves beyond the energy it is made for. At
# 60 Ry, a box for the plane waves below this changes spectra of seven crystals by at most 1e-5 (1 - SC).
BOX_CUTOFF = 18.0

# Products of a few bands at a time: they stay in the processor's cache.
_PRODUCT_BYTES = 2**20


class PairDensityBox:
    """The real-space box of a list of k-points, and the transform from it to a sphere of G."""

    def __init__(
        self, device: Device, lattice: FloatArray, cutoff: float, kpoints: FloatArray, millers: IntArray
    ) -> None:
        """``lattice`` rows in bohr, ``cutoff`` in hartree, ``millers`` of G, shape ``(n_g, 3)``."""
        self._device = device
        lengths = np.linalg.norm(lattice, axis=1) / (2 * np.pi)
        limits = np.abs(millers).max(axis=0)
        kept = np.floor(np.sqrt(2 * min(cutoff, BOX_CUTOFF)) * lengths)
        sizes = np.maximum(2 * kept + 2 + limits, 2 * limits + 2).astype(int).tolist()
        self._sizes = tuple(sizes)
        # Plane waves of any k-point of the list lie between these.
        reach = np.sqrt(2 * cutoff) * lengths
        self._low = np.ceil(-reach - kpoints.max(axis=0) - 1e-6).astype(np.int64)
        high = np.floor(reach - kpoints.min(axis=0) + 1e-6).astype(np.int64)
        self._shape = tuple((high - self._low + 1).tolist())
        # Axis by axis: to points of the box, shape (n_millers, n_points); and back to a sphere of G.
        self._to_box = [
            device.put(_waves(np.arange(low, low + m), n))
            for n, low, m in zip(sizes, self._low.tolist(), self._shape, strict=True)
        ]
        self._to_sphere = [
            device.put(_waves(np.arange(-m, m + 1), n).T / np.float32(n))
            for n, m in zip(sizes, limits.tolist(), strict=True)
        ]
        corner = np.ravel_multi_index(tuple((millers + limits).T), tuple(2 * limits + 1))
        self._sphere = device.put(corner.astype(np.int64))
        self.n_g = len(millers)

    def real_space(self, waves: Wavefunctions) -> Array:
        """u_n(r) of all bands, shape ``(n_bands, n1, n2, n3)``, scaled so that mean |u|^2 is 1.

        Plane waves beyond the box fold back: the values at the points of the box are exact.
        """
        flat = np.ravel_multi_index(tuple((waves.millers - self._low).T), self._shape)
        n_bands = len(waves.coefficients)
        grid = np.zeros((n_bands, int(np.prod(self._shape))), dtype=np.complex64)
        grid[:, flat] = waves.coefficients
        return self._separable(self._device.put(grid.reshape(n_bands, *self._shape)), self._to_box)

    def pair_densities(self, waves: Wavefunctions, n_valence: int) -> Array:
        """<c| exp(i G . r) |v> of all transitions, shape ``(n_v * n_c, n_g)``, v first: t = v n_c + c."""
        values = self.real_space(waves)
        valence, conduction = values[:n_valence], values[n_valence:].conj()
        n_conduction = len(conduction)
        result = self._device.zeros((n_valence * n_conduction, self.n_g), np.complex64)
        block = max(1, _PRODUCT_BYTES // (8 * n_conduction * int(np.prod(self._sizes))))
        for start in range(0, n_valence, block):
            part = valence[start : start + block]
            products = (part[:, None] * conduction[None]).reshape(-1, *self._sizes)
            sums = self._separable(products, self._to_sphere).reshape(len(products), -1)
            at = start * n_conduction
            result[at : at + len(products)] = sums[:, self._sphere]
        return result

    def _separable(self, values: Array, matrices: list[Array]) -> Array:
        # sum_xyz values[n, x, y, z] A[x, a] B[y, b] C[z, c], the first axis first: it is one long product.
        first, second, third = matrices
        n, _, n_y, n_z = values.shape
        a, b, c = first.shape[1], second.shape[1], third.shape[1]
        step = self._device.matmul(first.T, values.reshape(n, first.shape[0], -1))
        step = self._device.matmul(step.reshape(-1, n_z), third)
        step = self._device.matmul(second.T, step.reshape(n * a, n_y, c))
        return step.reshape(n, a, b, c)


def _waves(millers: IntArray, n_points: int) -> SingleComplexArray:
    # exp(2 pi i m j / n), shape (n_millers, n_points)
    waves = np.exp(2j * np.pi * np.outer(millers, np.arange(n_points)) / n_points)
    single: SingleComplexArray = waves.astype(np.complex64)
    return single
