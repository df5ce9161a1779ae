"""Velocity matrix elements v = dH(k)/dk with the commutator of the non-local potential.

<m|v|n> = sum_G c_m*(G) (k + G) c_n(G)
        + sum_ij D_ij [<m|db_i><b_j|n> + <m|b_i><db_j|n>],  d = gradient with respect to k.
Hybertsen and Louie, Phys. Rev. B 35, 5585 (1987). Without the second line optical spectra are wrong
by tens of per cent: there is no switch that leaves it out.
"""

from __future__ import annotations

import numpy as np

from farm.kpoints import FloatArray
from farm.spectrum import ComplexArray
from workers.rpa.projectors import NonlocalPotential
from workers.rpa.wavefunctions import Wavefunctions


def velocity(
    waves: Wavefunctions,
    reciprocal: FloatArray,
    nonlocal_part: NonlocalPotential,
    left: slice,
    right: slice,
) -> ComplexArray:
    """<m|v|n> for bands m in ``left`` and n in ``right``, shape ``(3, n_left, n_right)``, atomic units.

    The first axis is Cartesian x, y, z. Sums over plane waves are made in single precision
    (IPA spectra change by 1e-7), the rest in double.
    """
    bra, ket = waves.coefficients[left].conj(), waves.coefficients[right]
    vectors = ((waves.kpoint + waves.millers) @ reciprocal).astype(np.float32)
    # One product for all three directions: (3 n_right, n_pw) @ (n_pw, n_left).
    moved = (vectors.T[:, None, :] * ket).reshape(-1, ket.shape[1])
    kinetic = (moved @ bra.T).reshape(3, len(ket), len(bra)).transpose(0, 2, 1)
    elements = nonlocal_part.matrix_elements(waves).astype(np.complex128)
    b, db = elements[0], elements[1:]
    bra_b, bra_db = b[:, left].conj().T, db[:, :, left].conj().transpose(0, 2, 1)
    weighted = nonlocal_part.d_ij
    commutator = bra_db @ (weighted @ b[:, right]) + bra_b @ (weighted @ db[:, :, right])
    result: ComplexArray = kinetic + commutator
    return result
