"""The response by the defining sums: no symmetry, no binning, no real-space box, no Schur complement.

eps_GG'(w) over an explicit list of k-points that holds every member of every star, and eps_M as the
inverse of the head of the inverse matrix.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from farm.kpoints import FloatArray, IntArray, space_group
from farm.spectrum import ComplexArray
from farm.units import HARTREE_EV
from workers.rpa.gvectors import shells_up_to, symmetric_metric
from workers.rpa.projectors import NonlocalPotential
from workers.rpa.save import read_save
from workers.rpa.upf import read_pseudopotentials
from workers.rpa.velocity import velocity
from workers.rpa.wavefunctions import Wavefunctions, read_wavefunctions


def pair_densities(waves: Wavefunctions, n_valence: int, millers: IntArray) -> ComplexArray:
    """<c| exp(i G . r) |v> = sum_G' c_c*(G' + G) c_v(G'), shape ``(n_g, n_c, n_v)``."""
    index = {tuple(m): i for i, m in enumerate(waves.millers.tolist())}
    c = waves.coefficients
    result = np.zeros((len(millers), len(c) - n_valence, n_valence), dtype=np.complex128)
    for i, g in enumerate(millers):
        pairs = [(index.get(tuple(m)), j) for j, m in enumerate((waves.millers + g).tolist())]
        to, of = np.array([(a, b) for a, b in pairs if a is not None]).T
        result[i] = c[n_valence:, to].conj() @ c[:n_valence, of].T
    return result


# Unit vectors whose eps_M hold every component of a symmetric tensor: x, y, z, then yz, zx, xy.
SIX_DIRECTIONS = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 1, 1], [1, 0, 1], [1, 1, 0]]) / np.sqrt(
    [[1], [1], [1], [2], [2], [2]]
)


def tensor(along: ComplexArray) -> ComplexArray:
    """The tensor eps with u . eps . u = ``along`` for SIX_DIRECTIONS, shape ``(3, 3, n_energies)``."""
    eps = np.empty((3, 3, along.shape[-1]), dtype=np.complex128)
    for axis in range(3):
        i, j = (axis + 1) % 3, (axis + 2) % 3
        eps[axis, axis] = along[axis]
        eps[i, j] = eps[j, i] = along[3 + axis] - (along[i] + along[j]) / 2
    return eps


def local_field_vectors(save_dir: Path, gmax_mry: int) -> IntArray:
    """Every G but 0 that this Gmax takes, by length, shape ``(n_g - 1, 3)``."""
    save = read_save(save_dir)
    rotations = space_group(save.crystal()).point_group
    return shells_up_to((0, gmax_mry), symmetric_metric(save.reciprocal, rotations)).millers[1:]


def distance(a: ComplexArray, b: ComplexArray) -> float:
    """Largest difference of two spectra in parts of the largest value."""
    return float(np.abs(a - b).max() / np.abs(b).max())


def brute_force(
    save_dir: Path,
    millers: IntArray,
    energies_ev: FloatArray,
    damping_ev: float,
    directions: FloatArray = SIX_DIRECTIONS[:3],
) -> ComplexArray:
    """eps_M for q along each direction with the local fields of ``millers`` (0 excluded).

    Shape ``(n_directions, n_energies)``; directions are unit vectors, x, y and z unless given.
    Time-ordered. Every k-point of the save has the same weight.
    """
    save = read_save(save_dir)
    nonlocal_part = NonlocalPotential(save, read_pseudopotentials(save, None))
    w, eta = energies_ev / HARTREE_EV, damping_ev / HARTREE_EV
    n_g = len(millers)
    lengths = np.linalg.norm(millers @ save.reciprocal, axis=1)
    eps = np.tile(np.eye(n_g + 1, dtype=np.complex128), (len(directions), w.size, 1, 1))
    states = [(s, i) for s in range(save.n_spin) for i in range(len(save.kpoints))]
    for spin, i in states:
        n, levels = save.n_valence[spin], save.eigenvalues[spin, i]
        waves = read_wavefunctions(save, i, spin)
        gaps = levels[n:, None] - levels[None, :n]
        v = velocity(waves, save.reciprocal, nonlocal_part, slice(n, save.n_bands), slice(0, n))
        body = (pair_densities(waves, n, millers) / lengths[:, None, None]).reshape(n_g, gaps.size)
        e = gaps.ravel()
        g = 1 / (w[:, None] + 1j * eta - e) - 1 / (w[:, None] - 1j * eta + e)
        for a, direction in enumerate(directions):
            head = np.tensordot(direction, v, 1) / gaps
            x = np.concatenate([head.reshape(1, -1), body])
            factor = 8 * np.pi / save.volume / len(states)
            eps[a] -= factor * np.einsum("it,wt,jt->wij", x.conj(), g, x, optimize=True)
    result: ComplexArray = 1 / np.linalg.inv(eps)[:, :, 0, 0]
    return result
