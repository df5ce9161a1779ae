"""yambo and p2y, real or as the stand-in that replays them, on real saves of pw.x."""

from __future__ import annotations

import gzip
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from farm.compact_cell import compact_cell
from farm.crystal import Crystal
from farm.protocol import Protocol
from farm.pseudopotentials import count_electrons, entry
from tests.conftest import missing
from workers.qe.inputs import PwInput
from workers.qe.jobs import PwSession
from workers.supervise import run_pw
from workers.yambo.response import Request
from workers.yambo.symmetry import symmorphic_rotations, yambo_kpoints

RECORDS = Path(__file__).parent.parent.parent / "fixtures" / "yambo"
STAND_IN = Path(__file__).with_name("stand_in.py")

# Grids of 2 x 2 x 2: a second for pw.x, and spectra that change with every rung.
PROTOCOL = Protocol(response_kppa=16, gmax_max_mry=8000, similarity_threshold=0.7)
LAYERED_PROTOCOL = Protocol(response_kppa=32, gmax_max_mry=8000)
ECUTWFC_RY = 20


def record(name: str) -> str:
    """The text of a recorded run, e.g. ``C/r_setup``."""
    return gzip.decompress((RECORDS / f"{name}.gz").read_bytes()).decode()


@pytest.fixture
def layered() -> Crystal:
    """Hexagonal boron nitride: half of its operations have a fractional translation."""
    a, c = 2.504, 6.661
    return Crystal(
        material_id="BN",
        lattice_angstrom=((a, 0.0, 0.0), (-a / 2, a * 3**0.5 / 2, 0.0), (0.0, 0.0, c)),
        species=("B", "B", "N", "N"),
        frac_coords=(
            (1 / 3, 2 / 3, 0.25),
            (2 / 3, 1 / 3, 0.75),
            (2 / 3, 1 / 3, 0.25),
            (1 / 3, 2 / 3, 0.75),
        ),
    )


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Puts the stand-in on PATH for one crystal's records, failing as told."""
    if shutil.which("mpirun") is None:
        missing("mpirun")

    def install(crystal: str = "C", failure: str = "") -> None:
        programs = tmp_path / "programs"
        programs.mkdir(exist_ok=True)
        for name in ("yambo", "p2y"):
            path = programs / name
            path.write_text(f"#!{sys.executable}\n{STAND_IN.read_text()}")
            path.chmod(0o755)
        monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
        monkeypatch.setenv("FARM_STAND_IN_RECORDS", str(RECORDS / crystal))
        monkeypatch.setenv("FARM_STAND_IN_FAILURE", failure)

    return install


@pytest.fixture(params=["stand-in", "real"])
def engine(request: pytest.FixtureRequest, stand_in: Callable[..., None]) -> Callable[[str], str]:
    """Makes one of the two answer for a crystal; returns which. The real one where it is on PATH."""

    def choose(crystal: str) -> str:
        if request.param == "stand-in":
            stand_in(crystal)
        elif shutil.which("yambo") is None or shutil.which("p2y") is None:
            pytest.skip("yambo missing: it is optional")
        return str(request.param)

    return choose


@pytest.fixture
def make_request(tmp_path: Path, make_bands: Callable[..., Path]) -> Callable[..., Request]:
    """What the engine is asked, on a finished band calculation of a crystal."""

    def make(crystal: Crystal, protocol: Protocol = PROTOCOL, ranks: int = 1) -> Request:
        root = make_bands(crystal, protocol)
        directory = tmp_path / "yambo"
        directory.mkdir(exist_ok=True)
        n_electrons = count_electrons(crystal)
        return Request(
            bands=root / "nscf" / "out" / "pwscf.save",
            ground_state=root / "scf" / "out" / "pwscf.save",
            directory=directory,
            crystal=compact_cell(crystal).crystal,
            protocol=protocol,
            n_electrons=n_electrons,
            nbnd=n_electrons // 2 + 4,
            n_bands_used=n_electrons // 2 + 4,
            ecutwfc_ry=ECUTWFC_RY,
            ranks=ranks,
        )

    return make


@pytest.fixture(scope="session")
def make_bands(pw_x: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """scf and nscf runs of a crystal for yambo; each crystal once."""
    finished: dict[str, Path] = {}

    def make(crystal: Crystal, protocol: Protocol) -> Path:
        if crystal.material_id not in finished:
            root = tmp_path_factory.mktemp(crystal.material_id)
            (root / "pseudo").symlink_to(pw_x)
            _run(root, crystal, protocol)
            finished[crystal.material_id] = root
        return finished[crystal.material_id]

    return make


def _run(root: Path, crystal: Crystal, protocol: Protocol) -> None:
    cell = compact_cell(crystal)
    n_electrons = count_electrons(crystal)
    common = PwInput(
        calculation="scf",
        lattice_angstrom=cell.crystal.lattice_angstrom,
        species=cell.crystal.species,
        frac_coords=cell.crystal.frac_coords,
        pseudo_files={element: entry(element).file for element in crystal.elements},
        masses_amu=dict.fromkeys(crystal.elements, 12.0),
        pseudo_dir="../pseudo/",
        ecutwfc_ry=ECUTWFC_RY,
        ecutrho_ry=4 * ECUTWFC_RY,
        kgrid=(2, 2, 2),
        conv_thr_ry=1e-8,
    )

    def run(step: str, pw_input: PwInput, density: Path | None = None) -> Path:
        def prepare(save: Path) -> None:
            for path in density.iterdir() if density else ():
                if not path.name.startswith("wfc"):
                    shutil.copyfile(path, save / path.name)

        (root / step).mkdir()
        session = PwSession(step, pw_input, root / step, n_electrons=n_electrons, prepare=prepare)
        run_pw(session)
        return session.save_directory

    ground_state = run("scf", common)
    rotations = symmorphic_rotations((ground_state / "data-file-schema.xml").read_text())
    kpoints = yambo_kpoints(crystal, cell, protocol, rotations)
    bands = common.evolve(
        calculation="nscf",
        kgrid=None,
        kpoints=tuple((float(x), float(y), float(z)) for x, y, z in kpoints),
        kweights=(1.0,) * len(kpoints),
        nbnd=n_electrons // 2 + 4,
        use_symmetry=False,
        diago_thr_ry=1e-6,
    )
    run("nscf", bands, ground_state)
