"""Ground states that need no pw.x: free electrons, and silicon by Cohen and Bergstresser's form factors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import scipy.linalg
from band_samples import FORM_FACTORS_RY

from farm.crystal import Crystal
from farm.kpoints import FloatArray, SpaceGroup, space_group
from farm.units import BOHR_ANGSTROM
from workers.reduced_basis.bands import BandsRequest, ReducedBands, compute_bands
from workers.reduced_basis.hamiltonian import Hamiltonian, PointHamiltonian
from workers.reduced_basis.training import BandTolerance, Sample
from workers.rpa.save import Save

FCC = ((0.0, 2.715, 2.715), (2.715, 0.0, 2.715), (2.715, 2.715, 0.0))
SILICON = Crystal("Si", FCC, ("Si", "Si"), ((0.875,) * 3, (0.125,) * 3))
SHIFT = (1 / 64, 2 / 64, 3 / 64)
MESH = 15

Components = Mapping[tuple[int, int, int], complex]


def form_factors(crystal: Crystal) -> dict[tuple[int, int, int], complex]:
    """V(G) of silicon in the fcc cell with its origin between two atoms, hartree."""
    edge = 2 * crystal.lattice[0, 1]
    reciprocal = np.linalg.inv(crystal.lattice).T * edge
    found = {}
    for miller in np.stack(np.meshgrid(*[np.arange(-4, 5)] * 3, indexing="ij"), -1).reshape(-1, 3):
        square = round(float(((miller @ reciprocal) ** 2).sum()))
        if square in FORM_FACTORS_RY:
            factor = np.exp(-2j * np.pi * np.array(crystal.frac_coords) @ miller).mean()
            found[tuple(miller.tolist())] = complex(0.5 * FORM_FACTORS_RY[square] * factor)
    return found


def on_mesh(components: Components, mesh: int = MESH) -> FloatArray:
    """The potential on the points of a mesh, hartree."""
    grid = np.zeros((mesh, mesh, mesh), dtype=np.complex128)
    for miller, value in components.items():
        grid[tuple(np.mod(miller, mesh))] += value
    values = np.fft.ifftn(grid) * mesh**3
    assert np.abs(values.imag).max() < 1e-10
    return np.ascontiguousarray(values.real)


def empty_save(crystal: Crystal, cutoff: float, n_valence: int) -> Save:
    """A save without bands; cutoff in hartree."""
    return Save(
        directory=Path("model.save"),
        lattice=crystal.lattice / BOHR_ANGSTROM,
        species=crystal.species,
        positions=np.array(crystal.frac_coords),
        pseudo_files={},
        kpoints=np.zeros((0, 3)),
        weights=np.zeros(0),
        weights_final=True,
        n_plane_waves=np.zeros(0, dtype=np.int64),
        eigenvalues=np.zeros((1, 0, 0)),
        n_valence=(n_valence,),
        cutoff=cutoff,
        neutral_electrons=2.0 * n_valence,
    )


def dense(point: PointHamiltonian) -> np.ndarray[tuple[int, ...], np.dtype[np.complex128]]:
    """The matrix of H at one k-point."""
    rows = point.apply(np.eye(len(point.millers), dtype=point.crystal.dtype))
    return rows.T.astype(np.complex128)


class Model:
    """A crystal, its local potential, and the bands that one dense diagonalisation a k-point gives."""

    def __init__(
        self, crystal: Crystal, components: Components, *, cutoff: float = 6.0, n_valence: int = 4
    ) -> None:
        self.crystal = crystal
        self.group: SpaceGroup = space_group(crystal)
        self.potential = on_mesh(components)
        self.hamiltonian = Hamiltonian(empty_save(crystal, cutoff, n_valence), {}, self.potential)
        kpoints = np.array([[0.1, 0.2, 0.05], [0.0, 0.0, 0.0]])
        self.save = replace(
            empty_save(crystal, cutoff, n_valence),
            kpoints=kpoints,
            weights=np.array([0.75, 0.25]),
            eigenvalues=self.exact(kpoints, n_valence)[None],
        )

    def exact(self, kpoints: FloatArray, n_bands: int) -> FloatArray:
        """Energies of the lowest bands, shape ``(n_k, n_bands)``, hartree."""
        return np.array(
            [
                scipy.linalg.eigh(
                    dense(self.hamiltonian.at(k)), eigvals_only=True, subset_by_index=[0, n_bands - 1]
                )
                for k in kpoints
            ]
        )

    def bands(
        self,
        grid: FloatArray,
        n_bands: int,
        window_ev: float | None = None,
        *,
        known: Iterable[Sample] = (),
        tolerance: BandTolerance | None = None,
        path: FloatArray | None = None,
    ) -> ReducedBands:
        """What the reduced basis makes of it."""
        request = BandsRequest(
            grid=grid,
            n_bands=n_bands,
            window_ev=window_ev,
            tolerance=tolerance or BandTolerance(),
            path=np.zeros((0, 3)) if path is None else path,
        )
        return compute_bands(self.save, {}, self.potential, self.group, request, known=known)


def silicon() -> Model:
    """Four filled bands, a gap of 1 eV."""
    return Model(SILICON, form_factors(SILICON))


def free_electrons(level: float = -0.2) -> Model:
    """In an fcc box: a metal whose bands are |k + G|^2 / 2 + level."""
    box = Crystal("box", FCC, ("He",), ((0.0, 0.0, 0.0),))
    return Model(box, {(0, 0, 0): level}, n_valence=1)
