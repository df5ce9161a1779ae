"""Real pw.x on a two-atom cell."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from farm.crystal import Crystal
from farm.pseudopotentials import count_electrons, entry
from workers.qe.inputs import PwInput
from workers.qe.jobs import PwSession

StartWorker = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def start_worker() -> Iterator[StartWorker]:
    """Start worker_process.py with some arguments; whatever is left of them is killed in the end."""
    processes: list[subprocess.Popen[bytes]] = []

    def start(*arguments: str) -> subprocess.Popen[bytes]:
        script = Path(__file__).with_name("worker_process.py")
        process = subprocess.Popen([sys.executable, str(script), *arguments], process_group=0)
        processes.append(process)
        return process

    yield start
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


FIXTURES = Path(__file__).parent.parent / "fixtures"


@pytest.fixture(scope="session")
def good_nscf() -> Path:
    """A recorded band run that ended well."""
    return FIXTURES / "qe" / "nscf_ok"


@pytest.fixture(scope="session")
def failures() -> Path:
    """One folder a recorded run of pw.x, p2y or yambo, named after what went wrong."""
    return FIXTURES / "failures"


@pytest.fixture
def diamond() -> Crystal:
    """Two carbon atoms."""
    a = 1.7835
    return Crystal(
        material_id="C",
        lattice_angstrom=((0.0, a, a), (a, 0.0, a), (a, a, 0.0)),
        species=("C", "C"),
        frac_coords=((0.0, 0.0, 0.0), (0.25, 0.25, 0.25)),
    )


@pytest.fixture
def pw_input(diamond: Crystal) -> PwInput:
    """A crude scf of diamond: a tenth of a second."""
    return PwInput(
        calculation="scf",
        lattice_angstrom=diamond.lattice_angstrom,
        species=diamond.species,
        frac_coords=diamond.frac_coords,
        pseudo_files={"C": entry("C").file},
        masses_amu={"C": 12.011},
        pseudo_dir="../pseudo/",
        ecutwfc_ry=20,
        ecutrho_ry=80,
        kgrid=(2, 2, 2),
        conv_thr_ry=1e-9,
    )


@pytest.fixture
def make_session(pw_x: Path, tmp_path: Path, diamond: Crystal) -> Callable[..., PwSession]:
    """Sessions of pw.x runs below the test's directory."""
    (tmp_path / "pseudo").symlink_to(pw_x)

    def make(pw_input: PwInput, **options: Any) -> PwSession:
        step = options.pop("step", pw_input.calculation)
        directory = tmp_path / step
        directory.mkdir()
        n_electrons = options.pop("n_electrons", count_electrons(diamond))
        return PwSession(step, pw_input, directory, n_electrons=n_electrons, **options)

    return make


@pytest.fixture
def qe_texts(failures: Path) -> Callable[[str], dict[str, str]]:
    """Standard output, CRASH and standard error of a recorded failure, by name."""

    def read(name: str) -> dict[str, str]:
        folder = failures / name
        output = folder / "nscf.out" if (folder / "nscf.out").is_file() else folder / "scf.out"
        files = {"pw.out": output, "CRASH": folder / "CRASH", "pw.err": folder / "stderr.txt"}
        return {key: file.read_text() if file.is_file() else "" for key, file in files.items()}

    return read
