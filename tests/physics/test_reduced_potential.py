"""The local potential by the real pp.x: the mesh of pw.x, the symmetry of the crystal, broken saves."""

from __future__ import annotations

import shutil
import threading
import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from decks import Deck
from ground_states import FACE, GENERIC, Case, GroundState, argon

from farm.errors import CalculationError, LeaseLostError
from farm.kpoints import FloatArray
from farm.units import BOHR_ANGSTROM, HARTREE_EV
from workers.potentials import POTENTIAL_FILE, run_local_potential
from workers.reduced_basis.davidson import first_guess, solve_lowest
from workers.reduced_basis.hamiltonian import Hamiltonian
from workers.reduced_basis.potential import read_local_potential
from workers.rpa.save import XML_NAME

StateOf = Callable[[str], GroundState]


def mesh(save_dir: Path) -> tuple[int, ...]:
    """The FFT grid that pw.x wrote."""
    found = ET.parse(save_dir / XML_NAME).getroot().find("output/basis_set/fft_grid")  # noqa: S314 - a file of pw.x
    assert found is not None
    return tuple(int(found.attrib[f"nr{i}"]) for i in (1, 2, 3))


@pytest.mark.parametrize("name", ["diamond", "h-BN", "LiF, small mesh"])
def test_potential_on_the_mesh_of_pw(ground_state: StateOf, name: str) -> None:
    state = ground_state(name)
    assert state.potential.shape == mesh(state.directory)
    # Some hartree deep at the nuclei, below zero on average.
    assert -20 < state.potential.min() < -2
    assert -1.5 < state.potential.mean() < 0


def test_axes_are_not_mixed(ground_state: StateOf) -> None:
    """Of h-BN every operation of the space group maps the potential on itself, and no mirror image does."""
    state = ground_state("h-BN")
    shape = np.array(state.potential.shape)
    points = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)

    def image(rotation: np.ndarray, shift: FloatArray) -> FloatArray:
        there = (points / shape @ rotation.T + shift) * shape
        assert np.abs(there - np.rint(there)).max() < 1e-6
        return state.potential[tuple(np.moveaxis(np.rint(there).astype(int) % shape, -1, 0))]

    operations = list(zip(state.group.rotations, state.group.translations, strict=True))
    assert len(operations) == 24
    for rotation, shift in operations:
        assert np.abs(image(rotation, np.rint(2 * shift) / 2) - state.potential).max() < 1e-6
    assert np.abs(image(np.eye(3), np.array([0, 0, 0.5])) - state.potential).max() > 0.1


def test_the_save_is_left_as_it_was(ground_state: StateOf, tmp_path: Path) -> None:
    directory = ground_state("Ar").directory
    before = {p.name: p.stat().st_mtime_ns for p in directory.iterdir()}
    usage = run_local_potential(directory, tmp_path, threading.Event())
    assert {p.name: p.stat().st_mtime_ns for p in directory.iterdir()} == before
    assert usage.cpu_s > 0
    again = read_local_potential(tmp_path / POTENTIAL_FILE)
    np.testing.assert_array_equal(again, ground_state("Ar").potential)


@dataclass(frozen=True, kw_only=True, eq=False)
class FccDeck(Deck):
    """A deck that gives the cell by pw.x' number of its lattice and not by vectors."""

    def text(self, calculation: str, pseudo_dir: Path) -> str:
        """The pw.x input."""
        text = super().text(calculation, pseudo_dir)
        edge = 2 * self.crystal.lattice[0, 1] / BOHR_ANGSTROM
        start, end = text.index("CELL_PARAMETERS"), text.index("ATOMIC_POSITIONS")
        return text[:start].replace("ibrav=0,", f"ibrav=2, celldm(1)={edge},") + text[end:]


class FccCase(Case):
    """One point; its crystal coordinates are in the vectors of pw.x."""

    def deck(self) -> Deck:
        """With the cell by its number."""
        return FccDeck(**vars(super().deck()))


def test_cell_without_vectors(
    run_ground_state: Callable[[Case], GroundState], ground_state: StateOf
) -> None:
    case = FccCase(crystal=argon(), divisions=(1, 1, 1), shift=GENERIC, n_bands=8, more=(FACE,))
    state = run_ground_state(case)
    assert "\n     2 " in state.potential_file.read_text()[:400]
    assert state.potential.shape == mesh(state.directory)
    assert state.potential.mean() == pytest.approx(ground_state("Ar").potential.mean(), abs=1e-4)
    point = Hamiltonian(state.save, state.pseudos, state.potential).at(state.more.kpoints[0])
    found = solve_lowest(point, first_guess(point, 12), 8, 1e-6)
    assert np.abs(found.energies[:8] - state.more.eigenvalues[0, 0]).max() * HARTREE_EV < 1e-4


@pytest.mark.parametrize("lost", ["charge-density.dat", XML_NAME])
@pytest.mark.parametrize("share", [0.0, 0.5])
def test_a_save_whose_file_is_absent_or_cut_short(
    ground_state: StateOf, tmp_path: Path, lost: str, share: float
) -> None:
    directory, job = tmp_path / "out" / "x.save", tmp_path / "job"
    shutil.copytree(ground_state("Ar").directory, directory)
    whole = (directory / lost).read_bytes()
    (directory / lost).unlink()
    if share:
        (directory / lost).write_bytes(whole[: int(share * len(whole))])
    job.mkdir()
    with pytest.raises(
        CalculationError, match=r"potential\.dat is no local potential .* exit code -?\d+; \S"
    ):
        run_local_potential(directory, job, threading.Event())


def test_cancelled_before_it_ends(ground_state: StateOf, tmp_path: Path) -> None:
    cancelled = threading.Event()
    cancelled.set()
    with pytest.raises(LeaseLostError):
        run_local_potential(ground_state("Ar").directory, tmp_path, cancelled)
