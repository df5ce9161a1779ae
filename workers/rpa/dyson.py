"""From the spectral matrix to the macroscopic dielectric function.

eps(w) = 1 - sum_n g(w, E_n) S(E_n);  eps_M = eps_00 - w^T B^-1 w  (Schur complement of the body B)
g(w, E) = 1/(w + i eta - E) - 1/(w -+ i eta + E): upper sign time-ordered, lower sign retarded.
IPA is the head eps_00 alone. Every smaller Gmax is a leading block of the same matrix.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from farm.kpoints import FloatArray
from farm.spectrum import ComplexArray
from workers.rpa.device import Array, Device

GreenFunction = Literal["time-ordered", "retarded"]


def kernel(
    photon: FloatArray, transition: FloatArray, damping: float, green_function: GreenFunction
) -> ComplexArray:
    """g(w, E), shape ``(n_photon, n_transition)``; everything in hartree."""
    sign = -1 if green_function == "time-ordered" else 1
    w, e = photon[:, None], transition[None, :]
    result: ComplexArray = 1 / (w + 1j * damping - e) - 1 / (w + sign * 1j * damping + e)
    return result


def macroscopic(
    device: Device,
    slabs: list[Array],
    g: ComplexArray,
    n_heads: int,
    n_functions: tuple[int, ...],
    *,
    block_bytes: int = 64 * 2**20,
) -> ComplexArray:
    """eps_M for each Gmax, head and photon energy, shape ``(n_gmax, n_heads, n_photon)``.

    slabs:       of the spectral matrix S on the device, heads first; see SpectralMatrix
    g:           kernel at the nodes, shape ``(n_photon, n_nodes)``
    n_functions: functions of the body that each Gmax takes
    block_bytes: dielectric matrices of as many photon energies at a time as fit into this
    """
    size = slabs[-1].shape[2]
    block = max(1, block_bytes // (16 * size * size))
    result = np.empty((len(n_functions), n_heads, len(g)), dtype=np.complex128)
    for start in range(0, len(g), block):
        part = slice(start, start + block)
        eps = _dielectric_matrix(device, slabs, g[part])
        for i, n_body in enumerate(n_functions):
            result[i, :, part] = device.get(_schur(device, eps, n_heads, n_heads + n_body)).T
    return result


def _dielectric_matrix(device: Device, slabs: list[Array], g: ComplexArray) -> Array:
    """1 - sum_n g(w, E_n) S(E_n), shape ``(n_photon, n, n)``, in the precision of S."""
    single = "float32" in str(slabs[0].dtype)
    size, n_photon = slabs[-1].shape[2], len(g)
    # Real and imaginary part in one product: S is read once.
    parts = np.concatenate([g.real, g.imag]).astype(np.float32 if single else np.float64)
    kernels = device.put(parts)
    eps = device.zeros((n_photon, size, size), np.complex64 if single else np.complex128)
    for slab in slabs:
        n_nodes, rows, end = slab.shape
        chi = (kernels @ slab.reshape(n_nodes, rows * end)).reshape(2, n_photon, rows, end)
        eps[:, end - rows : end, :end] = -(chi[0] + 1j * chi[1])
        eps[:, : end - rows, end - rows : end] = eps[:, end - rows : end, : end - rows].swapaxes(1, 2)
    diagonal = np.arange(size)
    eps[:, diagonal, diagonal] += 1
    return eps


def _schur(device: Device, eps: Array, n_heads: int, end: int) -> Array:
    # The diagonal of the heads' block, shape (n_photon, n_heads).
    heads = np.arange(n_heads)
    head = eps[:, heads, heads]
    if end == n_heads:
        return head
    # complex symmetric: the wings are each other's transpose, without conjugation
    wings = eps[:, n_heads:end, :n_heads]
    return head - (wings * device.solve(eps[:, n_heads:end, n_heads:end], wings)).sum(1)
