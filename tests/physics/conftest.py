"""Small pw.x calculations, made once a session."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from decks import SHIFT, Deck, RunPw, boron_nitride, fcc, reduced
from low_symmetry import LOW_SYMMETRY

from farm.kpoints import shifted_grid


@pytest.fixture(scope="session")
def run_pw(pw_x: Path, tmp_path_factory: pytest.TempPathFactory) -> RunPw:
    """Runs scf and nscf of a Deck; returns the save directory."""

    def run(deck: Deck) -> Path:
        directory = tmp_path_factory.mktemp("pw")
        for calculation in ("scf", "nscf"):
            deck_file = directory / f"{calculation}.in"
            deck_file.write_text(deck.text(calculation, pw_x.resolve()))
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
