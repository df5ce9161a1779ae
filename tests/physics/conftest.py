"""Small pw.x calculations, made once a session."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from decks import SHIFT, Deck, RunPw, boron_nitride, fcc, reduced
from ground_states import CASES, Case, GroundState, select
from low_symmetry import LOW_SYMMETRY

from farm.crystal import Crystal
from farm.kpoints import shifted_grid, space_group
from workers.potentials import POTENTIAL_FILE, run_local_potential
from workers.reduced_basis.bands import ReducedBands, compute_bands
from workers.reduced_basis.potential import read_local_potential
from workers.rpa.save import read_save
from workers.rpa.upf import read_pseudopotentials


def pw(deck: Deck, calculation: str, directory: Path, pseudo_dir: Path) -> Path:
    """Run one step of a Deck in ``directory``; the save directory."""
    deck_file = directory / f"{calculation}.in"
    deck_file.write_text(deck.text(calculation, pseudo_dir.resolve()))
    done = subprocess.run(
        ["pw.x", "-inp", deck_file.name],
        cwd=directory,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )
    assert "JOB DONE" in done.stdout, done.stdout[-2000:]
    return directory / "out" / "x.save"


@pytest.fixture(scope="session")
def run_pw(pw_x: Path, tmp_path_factory: pytest.TempPathFactory) -> RunPw:
    """Runs scf and nscf of a Deck; returns the save directory."""

    def run(deck: Deck) -> Path:
        directory = tmp_path_factory.mktemp("pw")
        pw(deck, "scf", directory, pw_x)
        return pw(deck, "nscf", directory, pw_x)

    return run


@pytest.fixture(scope="session")
def run_ground_state(pp_x: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[Case], GroundState]:
    """Runs scf, pp.x, and nscf in a copy, so that the first save stays that of a ground state."""

    def run(case: Case) -> GroundState:
        scf, pp, dense = (tmp_path_factory.mktemp(name) for name in ("scf", "pp", "nscf"))
        deck = case.deck()
        directory = pw(deck, "scf", scf, pp_x)
        run_local_potential(directory, pp, threading.Event())
        without_waves = shutil.ignore_patterns("wfc*")
        shutil.copytree(directory, dense / "out" / directory.name, ignore=without_waves)
        n_more = len(case.more)
        nscf = read_save(pw(deck, "nscf", dense, pp_x))
        save = read_save(directory, empty_bands=False)
        return GroundState(
            case=case,
            directory=directory,
            save=save,
            pseudos=read_pseudopotentials(save, None),
            potential=read_local_potential(pp / POTENTIAL_FILE),
            potential_file=pp / POTENTIAL_FILE,
            group=space_group(save.crystal()),
            dense=select(nscf, slice(0, -n_more)),
            more=select(nscf, slice(len(nscf.kpoints) - n_more, None)),
        )

    return run


@pytest.fixture(scope="session")
def ground_state(run_ground_state: Callable[[Case], GroundState]) -> Callable[[str], GroundState]:
    """One of CASES, made when it is first asked for."""
    return cache(lambda name: run_ground_state(CASES[name]))


@pytest.fixture(scope="session")
def reduced_bands(ground_state: Callable[[str], GroundState]) -> Callable[[str], ReducedBands]:
    """Its bands in a reduced basis, at the points of the nscf run."""

    def compute(name: str) -> ReducedBands:
        state = ground_state(name)
        return compute_bands(state.save, state.pseudos, state.potential, state.group, state.request())

    return cache(compute)


@pytest.fixture(scope="session")
def run_scf(pw_x: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[Crystal, str], Path]:
    """Runs scf alone, 24 Ry; returns the save directory."""

    def run(crystal: Crystal, system: str = "") -> Path:
        deck = Deck(
            crystal=crystal,
            kpoints=np.zeros((1, 3)),
            weights=[1.0],
            n_bands=0,
            scf_grid=(2, 2, 2),
            system=system,
        )
        return pw(deck, "scf", tmp_path_factory.mktemp("scf"), pw_x)

    return run


@pytest.fixture(scope="session")
def diamond_on_reference_grid(run_pw: RunPw) -> Path:
    """C exactly as in the YAMBO reference (60 Ry, 8x8x8 shifted), by its 288 inequivalent points."""
    crystal = fcc(3.567, ("C", "C"))
    kpoints, weights = reduced(crystal, (8, 8, 8))
    return run_pw(
        Deck(
            crystal=crystal,
            kpoints=kpoints,
            weights=weights,
            n_bands=10,
            scf_grid=(8, 8, 8),
            cutoff_ry=60,
        )
    )


@pytest.fixture(scope="session")
def diamond_small(run_pw: RunPw) -> Path:
    """C, 2x2x2 shifted, reduced; many bands."""
    crystal = fcc(3.567, ("C", "C"))
    kpoints, weights = reduced(crystal, (2, 2, 2))
    return run_pw(Deck(crystal=crystal, kpoints=kpoints, weights=weights, n_bands=30))


@pytest.fixture(scope="session")
def boron_nitride_small(run_pw: RunPw) -> Path:
    """h-BN on two inequivalent points."""
    crystal = boron_nitride()
    kpoints = shifted_grid((2, 1, 1), SHIFT)
    return run_pw(
        Deck(crystal=crystal, kpoints=kpoints, weights=[1, 1], n_bands=14, scf_grid=(4, 4, 2), cutoff_ry=30)
    )


@pytest.fixture(scope="session")
def low_symmetry_save(run_pw: RunPw) -> Callable[[str], Path]:
    """The save of one of LOW_SYMMETRY, made when it is first asked for."""
    return cache(lambda name: run_pw(LOW_SYMMETRY[name][0]))
