"""Kleinman-Bylander projectors of a crystal: <b_i|n> and its gradient with respect to k.

b_ilm(K) = (4 pi / sqrt V) R_i(K) S_lm(K) exp(-i G . tau),  K = k + G,  R = f_l(K)/K^l,
S_lm real solid harmonics (K^l Y_lm). (-i)^l drops out of |b><b|, and so does exp(-i k . tau).
Kleinman and Bylander, Phys. Rev. Lett. 48, 1425 (1982); ONCV: Hamann, Phys. Rev. B 88, 085117 (2013).

All but the phase is real and the same for every atom of a species, so that the sums over plane waves
are real matrix products: form factors times phased coefficients.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from farm.kpoints import FloatArray, IntArray
from workers.rpa.radial import RadialTable
from workers.rpa.save import Save
from workers.rpa.solid_harmonics import solid_harmonics
from workers.rpa.upf import Pseudopotential
from workers.rpa.wavefunctions import SingleComplexArray, Wavefunctions


@dataclass(frozen=True, eq=False)
class _Species:
    """Atoms that share their form factors.

    table:     R and D of the radial projectors
    angular:   l of each radial projector
    positions: fractional, shape ``(n_atoms, 3)``
    """

    table: RadialTable
    angular: tuple[int, ...]
    positions: FloatArray


class NonlocalPotential:
    """sum_ij |b_i> D_ij <b_j| of a crystal, at any k-point.

    ``d_ij`` has shape ``(n_projectors, n_projectors)``, hartree; the order of projectors is species,
    atom, radial projector, m. ``rows``: those of each atom that has any.
    """

    def __init__(
        self, save: Save, pseudos: dict[str, Pseudopotential], *, largest: float | None = None
    ) -> None:
        """``largest`` |k + G| that will be asked for, 1/bohr; that of the cutoff where it is None."""
        self._reciprocal = save.reciprocal
        self._scale = 4 * np.pi / np.sqrt(save.volume)
        largest = largest or float(np.sqrt(2 * save.cutoff))
        self._species, blocks = [], []
        rows: dict[int, slice] = {}
        at = 0
        for label, pseudo in pseudos.items():
            if pseudo.angular:
                atoms = [i for i, name in enumerate(save.species) if name == label]
                positions = save.positions[atoms]
                self._species.append(_Species(RadialTable(pseudo, largest), pseudo.angular, positions))
                block = _expand_m(pseudo)
                blocks += [block] * len(atoms)
                for atom in atoms:
                    rows[atom] = slice(at, at := at + len(block))
        self.d_ij = _block_diagonal(blocks)
        self.rows = rows

    def projectors(self, kpoint: FloatArray, millers: IntArray) -> SingleComplexArray:
        """<b_i|k+G>, shape ``(n_projectors, n_pw)``: ``projectors @ c`` is <b_i|n>."""
        vectors, lengths = self._vectors(kpoint, millers)
        found = [np.zeros((0, len(millers)), dtype=np.complex64)]
        for species in self._species:
            forms = self._form_factors(species, vectors, lengths, gradients=False)[0]
            found += [forms * _phase(millers, position) for position in species.positions]
        return np.concatenate(found)

    def matrix_elements(self, waves: Wavefunctions) -> SingleComplexArray:
        """<b_i|n> and <d b_i/d k_a|n>, shape ``(4, n_projectors, n_bands)``: value, then x, y, z."""
        vectors, lengths = self._vectors(waves.kpoint, waves.millers)
        coefficients = waves.coefficients.T
        found = []
        for species in self._species:
            forms = self._form_factors(species, vectors, lengths, gradients=True)
            flat = forms.reshape(-1, len(lengths))
            for position in species.positions:
                # <b|n> = sum_G form(K) exp(i G . tau) c_n(G); columns are Re, Im of each band.
                phase = _phase(waves.millers, position)
                phased = np.multiply(coefficients, phase[:, None], order="C")
                sums = (flat @ phased.view(np.float32)).view(np.complex64)
                found.append(sums.reshape(4, -1, coefficients.shape[1]))
        if not found:
            return np.zeros((4, 0, coefficients.shape[1]), dtype=np.complex64)
        return np.concatenate(found, axis=1)

    def _vectors(self, kpoint: FloatArray, millers: IntArray) -> tuple[FloatArray, FloatArray]:
        # k + G and its length, 1/bohr
        vectors = (kpoint + millers) @ self._reciprocal
        return vectors, np.sqrt(np.einsum("ga,ga->g", vectors, vectors))

    def _form_factors(
        self, species: _Species, vectors: FloatArray, lengths: FloatArray, *, gradients: bool
    ) -> NDArray[np.float32]:
        """R S and its gradient D K S + R grad S, shape ``(4, n_forms, n_pw)``; or ``(1, ...)`` without."""
        radial, slope = species.table.at(lengths)
        harmonics = {l_value: solid_harmonics(l_value, vectors) for l_value in set(species.angular)}
        n_forms = sum(2 * l_value + 1 for l_value in species.angular)
        forms = np.empty((4 if gradients else 1, n_forms, len(lengths)), dtype=np.float32)
        single = (self._scale * vectors.T).astype(np.float32)
        scale = np.float32(self._scale)
        at = 0
        for i, l_value in enumerate(species.angular):
            solid, gradient = harmonics[l_value]
            rows = slice(at, at := at + 2 * l_value + 1)
            forms[0, rows] = scale * radial[i] * solid
            if not gradients:
                continue
            forms[1:, rows] = (single * slope[i])[:, None] * solid + scale * radial[i] * gradient
        return forms


def _phase(millers: IntArray, position: FloatArray) -> SingleComplexArray:
    # exp(i G . tau)
    phase: SingleComplexArray = np.exp(2j * np.pi * (millers @ position)).astype(np.complex64)
    return phase


def _expand_m(pseudo: Pseudopotential) -> FloatArray:
    # D_ij couples equal l and equal m only.
    sizes = [2 * l_value + 1 for l_value in pseudo.angular]
    starts = np.concatenate([[0], np.cumsum(sizes)]).astype(int)
    full = np.zeros((starts[-1], starts[-1]))
    for i, size in enumerate(sizes):
        for j, other in enumerate(pseudo.angular):
            if pseudo.angular[i] == other:
                block = pseudo.d_ij[i, j] * np.eye(size)
                full[starts[i] : starts[i + 1], starts[j] : starts[j + 1]] = block
    return full


def _block_diagonal(blocks: list[FloatArray]) -> FloatArray:
    size = sum(len(block) for block in blocks)
    full, at = np.zeros((size, size)), 0
    for block in blocks:
        full[at : at + len(block), at : at + len(block)] = block
        at += len(block)
    return full
