"""Saves that other people's inputs leave: grids that pw.x reduced, Gamma only, metals, broken files."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from brute_force import brute_force, distance, local_field_vectors
from decks import Deck, RunPw, boron_nitride, fcc
from low_symmetry import boron_nitride_rhombohedral, crystal

from farm.crystal import Crystal
from farm.errors import CalculationError, InputError
from farm.kpoints import shifted_grid
from workers.rpa.response import Response, ResponseRequest, compute_response
from workers.rpa.save import read_save
from workers.rpa.upf import read_pseudopotentials

ENERGIES = np.linspace(0.0, 20.0, 41)
GMAX = (0, 2500)


@dataclass(frozen=True, kw_only=True, eq=False)
class Variant(Deck):
    """A Deck with other occupations, and other k-points in the nscf step (both steps with gamma)."""

    points: str
    occupations: str = "occupations='fixed',"

    def text(self, calculation: str, pseudo_dir: Path) -> str:
        """The pw.x input."""
        text = super().text(calculation, pseudo_dir)
        assert text.count("occupations='fixed',") == text.count("K_POINTS") == 1
        text = text.replace("occupations='fixed',", self.occupations)
        if calculation == "scf" and self.points != "gamma":
            return text
        text = text.replace("nosym=.true., noinv=.true.,", "")
        return text[: text.index("K_POINTS")] + f"K_POINTS {self.points}\n"


def spectra(save_dir: Path) -> Response:
    return compute_response(save_dir, ResponseRequest(gmax_mry=GMAX, energies_ev=ENERGIES, damping_ev=0.3))


# Space group -> crystal, divisions, offset in half steps, bands (no degenerate level is cut in two).
GRIDS = {
    "F-43m": (fcc(3.615, ("B", "N")), (3, 3, 3), 0, 8),
    "R3m": (boron_nitride_rhombohedral(), (2, 2, 2), 1, 9),
}


@pytest.mark.parametrize("name", list(GRIDS))
def test_grid_reduced_by_pw_is_the_whole_grid(run_pw: RunPw, name: str) -> None:
    cell, divisions, offset, n_bands = GRIDS[name]
    whole = shifted_grid(divisions, tuple(offset / (2 * n) for n in divisions))
    full = Deck(
        crystal=cell, kpoints=whole, weights=[1.0] * len(whole), n_bands=n_bands, scf_grid=(2, 2, 2)
    )
    points = "automatic\n{} {} {} {o} {o} {o}".format(*divisions, o=offset)
    few = Variant(**vars(full), points=points)
    full_dir, few_dir = run_pw(full), run_pw(few)
    assert len(read_save(few_dir).kpoints) < len(whole) / 2
    direct = brute_force(full_dir, local_field_vectors(few_dir, GMAX[-1]), ENERGIES, 0.3)
    # Both 5e-5 to 7e-5; the grid of pw.x counted by stars once more 0.25.
    assert distance(spectra(few_dir).eps[1], direct) < 3e-4
    assert distance(spectra(full_dir).eps[1], direct) < 3e-4


def test_list_expanded_by_pw_keeps_its_weights(run_pw: RunPw) -> None:
    # Where the symmorphic operations are fewer than the lattice's, pw.x adds the members it misses.
    listed, weights = np.array([[0.11, 0.23, 0.17], [0.2, 0.2, 0.0]]), [1.0, 3.0]
    deck = Deck(
        crystal=boron_nitride(),
        kpoints=listed,
        weights=weights,
        n_bands=14,
        scf_grid=(2, 2, 1),
        cutoff_ry=20,
        system="force_symmorphic=.true.,",
    )
    rows = (f"{k[0]} {k[1]} {k[2]} {w}" for k, w in zip(listed, weights, strict=True))
    points = "\n".join(["crystal", "2", *rows])
    plain, expanded = spectra(run_pw(deck)), spectra(run_pw(Variant(**vars(deck), points=points)))
    assert (plain.n_kpoints, plain.n_kpoints_used) == (2, 2)
    assert expanded.n_kpoints > expanded.n_kpoints_used == 2
    assert distance(expanded.eps, plain.eps) < 1e-6


def test_gamma_only_save_is_refused(run_pw: RunPw) -> None:
    deck = Variant(
        crystal=fcc(3.567, ("C", "C")), kpoints=np.zeros((1, 3)), weights=[1.0], n_bands=8, points="gamma"
    )
    with pytest.raises(InputError, match="Gamma-only"):
        spectra(run_pw(deck))


def beryllium() -> Crystal:
    """A metal of even electron number."""
    a, c = 2.29, 3.58
    lattice = np.array([[a, 0, 0], [-a / 2, a * 3**0.5 / 2, 0], [0, 0, c]])
    return crystal("Be", lattice, [("Be", (1 / 3, 2 / 3, 0.25)), ("Be", (2 / 3, 1 / 3, 0.75))])


def test_metal(run_pw: RunPw) -> None:
    points = "automatic\n3 3 2 0 0 0"
    deck = Variant(crystal=beryllium(), kpoints=np.zeros((1, 3)), weights=[1.0], n_bands=8, points=points)
    # Fixed occupations run through without an error; the eigenvalues tell.
    save = read_save(run_pw(deck))
    assert save.gap_indirect_ev < -0.3
    smeared = replace(deck, occupations="occupations='smearing', degauss=0.02,")
    with pytest.raises(CalculationError, match="fractional occupations") as caught:
        spectra(run_pw(smeared))
    assert caught.value.fix


def test_pseudopotential_of_another_element(boron_nitride_small: Path, tmp_path: Path) -> None:
    save_dir = tmp_path / "x.save"
    shutil.copytree(boron_nitride_small, save_dir)
    shutil.copy(save_dir / "B_ONCV_PBE-1.2.upf", save_dir / "N_ONCV_PBE-1.2.upf")
    with pytest.raises(InputError, match=r"bring 12 electrons, .* has 16"):
        spectra(save_dir)


def test_charged_cell(run_pw: RunPw) -> None:
    deck = Variant(
        crystal=fcc(4.0, ("Li", "F"), 0.5),
        kpoints=np.zeros((1, 3)),
        weights=[1.0],
        n_bands=8,
        points="automatic\n2 2 2 0 0 0",
        system="tot_charge=2,",
    )
    save = read_save(run_pw(deck))
    assert (save.n_valence, save.neutral_electrons) == ((4,), 10.0)
    assert set(read_pseudopotentials(save, None)) == {"Li", "F"}  # their ten electrons are no mistake


def test_broken_pseudopotential(boron_nitride_small: Path, tmp_path: Path) -> None:
    save_dir = tmp_path / "x.save"
    shutil.copytree(boron_nitride_small, save_dir)
    path = save_dir / "N_ONCV_PBE-1.2.upf"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"N_ONCV_PBE-1\.2\.upf is not a UPF version 2 file"):
        spectra(save_dir)
