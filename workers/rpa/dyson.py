"""From the spectral matrix to the macroscopic dielectric function.

eps(w) = 1 - sum_n g(w, E_n) S(E_n);  eps_M = eps_00 - w^T B^-1 w  (Schur complement of the body B)
g(w, E) = 1/(w + i eta - E) - 1/(w -+ i eta + E): upper sign time-ordered, lower sign retarded.
IPA is the head eps_00 alone. Every smaller Gmax is a leading block of the same matrix.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from farm.kpoints import FloatArray
from farm.spectrum import ComplexArray

GreenFunction = Literal["time-ordered", "retarded"]

# Dielectric matrices of as many photon energies at a time as fit into this.
_BLOCK_BYTES = 64 * 2**20


def kernel(
    photon: FloatArray, transition: FloatArray, damping: float, green_function: GreenFunction
) -> ComplexArray:
    """g(w, E), shape ``(n_photon, n_transition)``; everything in hartree."""
    sign = -1 if green_function == "time-ordered" else 1
    w, e = photon[:, None], transition[None, :]
    result: ComplexArray = 1 / (w + 1j * damping - e) - 1 / (w + sign * 1j * damping + e)
    return result


def macroscopic(
    spectral: NDArray[np.floating], g: ComplexArray, n_heads: int, n_functions: tuple[int, ...]
) -> ComplexArray:
    """eps_M for each Gmax, head and photon energy, shape ``(n_gmax, n_heads, n_photon)``.

    spectral:    S, shape ``(n_nodes, n, n)``, heads first
    g:           kernel at the nodes, shape ``(n_photon, n_nodes)``
    n_functions: functions of the body that each Gmax takes
    """
    n_nodes, size, _ = spectral.shape
    flat = spectral.reshape(n_nodes, size * size)
    real, imag = g.real.astype(flat.dtype), g.imag.astype(flat.dtype)
    block = max(1, _BLOCK_BYTES // (16 * size * size))
    result = np.empty((len(n_functions), n_heads, len(g)), dtype=np.complex128)
    for start in range(0, len(g), block):
        part = slice(start, start + block)
        chi = (real[part] @ flat) + 1j * (imag[part] @ flat)
        eps = np.eye(size) - chi.reshape(-1, size, size)
        for i, n_body in enumerate(n_functions):
            result[i, :, part] = _schur(eps, n_heads, n_heads + n_body).T
    return result


def _schur(eps: ComplexArray, n_heads: int, end: int) -> ComplexArray:
    heads = np.arange(n_heads)
    head = eps[:, heads, heads]
    if end == n_heads:
        return head
    # complex symmetric: the wings are each other's transpose, without conjugation
    wings = eps[:, n_heads:end, :n_heads]
    solved = np.linalg.solve(eps[:, n_heads:end, n_heads:end], wings)
    schur: ComplexArray = head - np.einsum("wgh,wgh->wh", wings, solved)
    return schur
