"""The Kohn-Sham Hamiltonian of a finished ground state in the plane waves of one k-point.

H(k) = |k + G|^2 / 2 + V(G - G') + sum_ij |b_i> D_ij <b_j|, in all plane waves with |k + G|^2 / 2 below
the cutoff: the sphere that pw.x uses, and the same grid for the potential, so that eigenvalues agree
with those of pw.x to 1e-4 eV. Hartree atomic units.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from farm.errors import CalculationError
from farm.kpoints import FloatArray, IntArray
from workers.reduced_basis.inversion import partners
from workers.rpa.projectors import NonlocalPotential
from workers.rpa.save import Save
from workers.rpa.upf import Pseudopotential

# Of plane waves: float32 where the crystal has its centre of inversion at the origin, else complex64.
Coefficients = NDArray[Any]

# Largest imaginary part, hartree, that a potential with a centre of inversion may have by round-off.
_REAL_TOLERANCE = 1e-5

# Bands that are taken to real space together: few enough to stay in the processor's cache.
_BLOCK_BYTES = 2**22

# Crystal coordinates in the first zone are smaller, unless the cell is far more skewed than it must be.
_WIDEST_ZONE = 1.0


class Hamiltonian:
    """H of a crystal at any k-point.

    reciprocal: rows are the reciprocal vectors, shape ``(3, 3)``, 1/bohr
    cutoff:     kinetic energy cutoff, hartree
    d_ij:       coefficients of the projectors, shape ``(n_projectors, n_projectors)``, hartree
    is_real:    H is real symmetric in plane waves, and so are all coefficients
    """

    def __init__(self, save: Save, pseudos: dict[str, Pseudopotential], potential: FloatArray) -> None:
        """``potential`` on the points of the FFT grid, shape ``(n1, n2, n3)``, hartree.

        Where the origin is a centre of inversion, everything is real.
        """
        self.reciprocal = save.reciprocal
        self.cutoff = save.cutoff
        # Plane waves of one sphere may be used at another k-point of the zone.
        reach_of_zone = float(np.linalg.norm(save.reciprocal, axis=1).sum()) / 2
        self._nonlocal = NonlocalPotential(
            save, pseudos, largest=float(np.sqrt(2 * save.cutoff)) + 2 * reach_of_zone
        )
        self.d_ij = self._nonlocal.d_ij.astype(np.float32)
        self._potential = potential.astype(np.float32)
        self._sizes = potential.shape
        # V(G), on the grid; the smallest is the average of the potential.
        components = scipy.fft.fftn(potential) / potential.size
        images = partners(save.positions, save.species)
        self.is_real = images is not None and float(np.abs(components.imag).max()) < _REAL_TOLERANCE
        self.dtype = np.dtype(np.float32 if self.is_real else np.complex64)
        self._components = (components.real if self.is_real else components).astype(self.dtype)
        rows = self._nonlocal.rows
        self._pairs = [(rows[a], rows[b]) for a, b in enumerate(images or ()) if a < b and a in rows]
        reach = np.sqrt(2 * save.cutoff) * np.linalg.norm(save.lattice, axis=1) / (2 * np.pi)
        axes = [np.arange(-n, n + 1) for n in np.floor(reach + _WIDEST_ZONE).astype(int)]
        self._around = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)

    @property
    def average_potential(self) -> float:
        """Of the local part, hartree."""
        return float(self._components[0, 0, 0].real)

    def sphere(self, kpoint: FloatArray) -> tuple[IntArray, FloatArray]:
        """Millers of the plane waves at a k-point within the first zone, ``(n_pw, 3)``, and |k+G|^2/2.

        Raises CalculationError where the cell is so skewed that some would be missed.
        """
        kinetic = self._kinetic_around(kpoint)
        inside = kinetic < self.cutoff
        return self._around[inside], kinetic[inside]

    def union_of_spheres(self, kpoints: FloatArray) -> IntArray:
        """Millers of the plane waves of any of the k-points, in the order of :meth:`sphere`."""
        found = np.zeros(len(self._around), dtype=bool)
        for kpoint in kpoints:
            found |= self._kinetic_around(kpoint) < self.cutoff
        return self._around[found]

    def _kinetic_around(self, kpoint: FloatArray) -> FloatArray:
        if np.abs(kpoint).max() > _WIDEST_ZONE:
            raise CalculationError(
                f"k = {np.round(kpoint, 4).tolist()} lies in the first zone of a very skewed cell",
                fix="Use bands = 'nscf', or a more compact cell of the same lattice",
            )
        return self.kinetic(kpoint, self._around)

    def kinetic(self, kpoint: FloatArray, millers: IntArray) -> FloatArray:
        """|k + G|^2 / 2, shape ``(n_pw,)``, hartree."""
        vectors = (kpoint + millers) @ self.reciprocal
        half: FloatArray = 0.5 * np.einsum("ga,ga->g", vectors, vectors)
        return half

    def projectors(self, kpoint: FloatArray, millers: IntArray) -> Coefficients:
        """<b_i|k+G>, shape ``(n_projectors, n_pw)``."""
        found = self._nonlocal.projectors(kpoint, millers)
        if not self.is_real:
            return found
        real = np.ascontiguousarray(found.real)
        for one, other in self._pairs:
            # b* b + b b* of two images = 2 (Re b Re b + Im b Im b)
            real[one] = np.float32(np.sqrt(2)) * found[one].real
            real[other] = np.float32(np.sqrt(2)) * found[one].imag
        return real

    def potential_at(self, millers: IntArray) -> Coefficients:
        """V(G) of a list, shape ``(n,)`` for ``(n, 3)`` millers, hartree."""
        # As in pw.x, vectors beyond the grid come back on its other side.
        found: Coefficients = self._components[tuple((millers % self._sizes).T)]
        return found

    def apply_local(self, millers: IntArray, coefficients: Coefficients) -> Coefficients:
        """V c within the same plane waves, shape ``(n_bands, n_pw)``."""
        if not self.is_real:
            return self._apply_local(millers, coefficients)
        # Real and imaginary part of one transform take two bands: V does not mix them.
        n_bands = len(coefficients)
        pairs = np.zeros(((n_bands + 1) // 2, len(millers)), dtype=np.complex64)
        pairs.real = coefficients[0::2]
        pairs.imag[: n_bands // 2] = coefficients[1::2]
        moved = self._apply_local(millers, pairs)
        result = np.empty_like(coefficients)
        result[0::2] = moved.real
        result[1::2] = moved.imag[: n_bands // 2]
        return result

    def _apply_local(self, millers: IntArray, coefficients: Coefficients) -> Coefficients:
        flat = np.ravel_multi_index(tuple((millers % self._sizes).T), self._sizes)
        result = np.empty_like(coefficients)
        block = max(1, _BLOCK_BYTES // (8 * self._potential.size))
        axes = (1, 2, 3)
        for start in range(0, len(coefficients), block):
            part = coefficients[start : start + block]
            grid = np.zeros((len(part), self._potential.size), dtype=np.complex64)
            grid[:, flat] = part
            box = grid.reshape(-1, *self._sizes)
            box = scipy.fft.ifftn(box, axes=axes, overwrite_x=True, norm="forward") * self._potential
            box = scipy.fft.fftn(box, axes=axes, overwrite_x=True, norm="forward")
            result[start : start + block] = box.reshape(len(part), -1)[:, flat]
        return result

    def at(self, kpoint: FloatArray, millers: IntArray | None = None) -> PointHamiltonian:
        """H at one k-point of the first zone, in its own sphere or in the plane waves ``millers``."""
        if millers is None:
            millers, kinetic = self.sphere(kpoint)
        else:
            kinetic = self.kinetic(kpoint, millers)
        projectors = self.projectors(kpoint, millers)
        return PointHamiltonian(self, kpoint, millers, kinetic.astype(np.float32), projectors)


@dataclass(frozen=True, eq=False)
class PointHamiltonian:
    """H at one k-point.

    kpoint:     crystal coordinates
    millers:    of the plane waves, shape ``(n_pw, 3)``
    kinetic:    |k + G|^2 / 2, shape ``(n_pw,)``, hartree
    projectors: <b_i|k+G>, shape ``(n_projectors, n_pw)``
    """

    crystal: Hamiltonian
    kpoint: FloatArray
    millers: IntArray
    kinetic: NDArray[np.float32]
    projectors: Coefficients

    def apply(self, coefficients: Coefficients) -> Coefficients:
        """H c, shape ``(n_bands, n_pw)``."""
        result = self.crystal.apply_local(self.millers, coefficients)
        result += self.kinetic * coefficients
        projected = coefficients @ self.projectors.T
        result += (projected @ self.crystal.d_ij) @ self.projectors.conj()
        return result

    def in_lowest(self, n_waves: int) -> tuple[IntArray, Coefficients]:
        """H among the plane waves of lowest kinetic energy: which, and the matrix ``(n, n)``."""
        lowest = np.argsort(self.kinetic)[:n_waves]
        waves, projectors = self.millers[lowest], self.projectors[:, lowest]
        differences = (waves[:, None] - waves[None]).reshape(-1, 3)
        matrix = self.crystal.potential_at(differences).reshape(len(waves), -1)
        matrix[np.diag_indices(len(waves))] += self.kinetic[lowest]
        matrix += projectors.conj().T @ (self.crystal.d_ij @ projectors)
        return lowest, matrix
