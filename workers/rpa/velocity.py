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

    The first axis is Cartesian x, y, z.
    """
    bra = waves.coefficients[left].conj()
    ket = np.ascontiguousarray(waves.coefficients[right].T)
    vectors = (waves.kpoint + waves.millers) @ reciprocal
    kinetic = np.stack([(bra * vectors[:, axis]) @ ket for axis in range(3)])
    b, db = nonlocal_part.projectors(waves.kpoint, waves.millers)
    d_ij = nonlocal_part.d_ij
    b_ket = d_ij @ (b.conj() @ ket)
    bra_b = (bra @ b.T) @ d_ij
    bra_db = np.matmul(bra, db.transpose(0, 2, 1))
    db_ket = np.matmul(db.conj(), ket)
    result: ComplexArray = kinetic + bra_db @ b_ket + bra_b @ db_ket
    return result
