"""Velocities against the slopes of the bands, with projectors from s to f."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from decks import Deck, RunPw, fcc
from low_symmetry import barium_sulfide

from farm.crystal import Crystal
from farm.kpoints import FloatArray
from farm.units import BOHR_ANGSTROM
from workers.rpa.projectors import NonlocalPotential
from workers.rpa.save import Save, read_save
from workers.rpa.upf import Pseudopotential, read_pseudopotentials
from workers.rpa.velocity import velocity
from workers.rpa.wavefunctions import read_wavefunctions

CENTRE = np.array([0.13, 0.21, 0.34])
STEP = 5e-4  # of the crystal coordinates
AROUND = np.concatenate([np.zeros((1, 3)), STEP * np.eye(3), -STEP * np.eye(3)])

# Highest projectors -> crystal, least cutoff, bands.
DECKS = {"d": (fcc(4.50, ("Ga", "N")), 30, 12), "f": (barium_sulfide(), 25, 13)}


def cutoff_between_plane_waves(crystal: Crystal, least_ry: float) -> float:
    """A cutoff that no |k + G|^2 crosses within AROUND.

    The bands are then those of one and the same set of plane waves, however small it is, and their
    slopes are exact; a wave that enters or leaves makes steps of 1e-3 in the slopes even at 60 Ry.
    """
    reciprocal = 2 * np.pi * np.linalg.inv(crystal.lattice / BOHR_ANGSTROM).T
    millers = np.stack(np.meshgrid(*[np.arange(-12, 13)] * 3, indexing="ij"), axis=-1).reshape(-1, 1, 3)
    squares = (((CENTRE + AROUND + millers) @ reciprocal) ** 2).sum(axis=-1)
    order = np.argsort(squares.min(axis=1))
    starts, ends = squares.min(axis=1)[order], np.maximum.accumulate(squares.max(axis=1)[order])
    free = (ends[:-1] >= least_ry) & (starts[1:] - ends[:-1] > 0.01)
    first = int(np.flatnonzero(free)[0])
    return float(ends[first] + starts[first + 1]) / 2


def without(pseudo: Pseudopotential, l_value: int) -> Pseudopotential:
    """The same without the projectors of one angular momentum."""
    keep = [i for i, other in enumerate(pseudo.angular) if other != l_value]
    angular = tuple(pseudo.angular[i] for i in keep)
    return replace(pseudo, angular=angular, beta=pseudo.beta[keep], d_ij=pseudo.d_ij[np.ix_(keep, keep)])


def misses(save: Save, pseudos: dict[str, Pseudopotential]) -> FloatArray:
    """<n|v|n> - (e(k+d) - e(k-d))/2d, shape ``(n_bands, 3)``, atomic units, Cartesian."""
    slopes = (save.eigenvalues[0, 1:4] - save.eigenvalues[0, 4:7]).T / (2 * STEP)  # per crystal k
    bands = slice(0, save.n_bands)
    nonlocal_part = NonlocalPotential(save, pseudos)
    v = velocity(read_wavefunctions(save, 0), save.reciprocal, nonlocal_part, bands, bands)
    assert np.allclose(v, v.conj().transpose(0, 2, 1), atol=3e-6)  # single-precision sums
    diagonal: FloatArray = np.einsum("xnn->nx", v).real
    return diagonal - slopes @ np.linalg.inv(save.reciprocal).T


@pytest.mark.parametrize("projectors", list(DECKS))
def test_velocities_are_the_slopes_of_the_bands(run_pw: RunPw, projectors: str) -> None:
    crystal, least_ry, n_bands = DECKS[projectors]
    deck = Deck(
        crystal=crystal,
        kpoints=CENTRE + AROUND,
        weights=[1.0] * len(AROUND),
        n_bands=n_bands,
        scf_grid=(1, 1, 1),
        cutoff_ry=cutoff_between_plane_waves(crystal, least_ry),
    )
    save = read_save(run_pw(deck))
    pseudos = read_pseudopotentials(save, None)
    highest = "spdf".index(projectors)
    assert max(max(p.angular) for p in pseudos.values()) == highest
    # 3e-6 and 1.3e-5, the third derivative of the bands.
    assert np.abs(misses(save, pseudos)).max() < 5e-5
    lame = {label: without(pseudo, highest) for label, pseudo in pseudos.items()}
    assert np.abs(misses(save, lame)).max() > 0.01
    local = {label: replace(p, d_ij=0 * p.d_ij) for label, p in pseudos.items()}
    assert np.abs(misses(save, local)).max() > 0.02  # the commutator is not small
