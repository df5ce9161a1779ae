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
    spectral: Array,
    g: ComplexArray,
    n_heads: int,
    n_functions: tuple[int, ...],
    *,
    block_bytes: int = 64 * 2**20,
) -> ComplexArray:
    """eps_M for each Gmax, head and photon energy, shape ``(n_gmax, n_heads, n_photon)``.

    spectral:    S on the device, shape ``(n_nodes, n, n)``, heads first
    g:           kernel at the nodes, shape ``(n_photon, n_nodes)``
    n_functions: functions of the body that each Gmax takes
    block_bytes: dielectric matrices of as many photon energies at a time as fit into this
    """
    n_nodes, size, _ = spectral.shape
    flat = spectral.reshape(n_nodes, size * size)
    kind = np.float32 if "float32" in str(spectral.dtype) else np.float64
    identity = device.put(np.eye(size, dtype=kind))
    block = max(1, block_bytes // (16 * size * size))
    result = np.empty((len(n_functions), n_heads, len(g)), dtype=np.complex128)
    for start in range(0, len(g), block):
        part = slice(start, start + block)
        real, imag = device.put(g.real[part].astype(kind)), device.put(g.imag[part].astype(kind))
        chi = (real @ flat).reshape(-1, size, size) + 1j * (imag @ flat).reshape(-1, size, size)
        eps = identity - chi
        for i, n_body in enumerate(n_functions):
            result[i, :, part] = device.get(_schur(device, eps, n_heads, n_heads + n_body)).T
    return result


def _schur(device: Device, eps: Array, n_heads: int, end: int) -> Array:
    # The diagonal of the heads' block, shape (n_photon, n_heads).
    heads = np.arange(n_heads)
    head = eps[:, heads, heads]
    if end == n_heads:
        return head
    # complex symmetric: the wings are each other's transpose, without conjugation
    wings = eps[:, n_heads:end, :n_heads]
    return head - (wings * device.solve(eps[:, n_heads:end, n_heads:end], wings)).sum(1)
