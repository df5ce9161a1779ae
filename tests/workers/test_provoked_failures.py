"""Failures provoked in whole jobs with real programs: the same spectrum in the end, or the right typed end.

A script stands before pw.x or pp.x on PATH and spoils one call, or all; what it starts is the real program.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from crude_jobs import make_job

from farm.crystal import Crystal
from farm.errors import MissingProgramError, ResourceError
from farm.job import Outcome
from farm.result import Result
from farm.spectrum import similarity_coefficient
from workers.compute import compute

Sabotage = Callable[..., None]


def distance(result: Result, reference: Result) -> float:
    """1 - SC of the RPA spectra along x."""
    assert result.rpa is not None
    assert reference.rpa is not None
    expected, energies_ev = reference.rpa.eps[0].imag, reference.energies_ev
    return 1 - similarity_coefficient(result.rpa.eps[0].imag, expected, energies_ev)


@pytest.fixture(scope="module")
def carbon() -> Crystal:
    a = 1.7835
    return Crystal(
        material_id="C",
        lattice_angstrom=((0.0, a, a), (a, 0.0, a), (a, a, 0.0)),
        species=("C", "C"),
        frac_coords=((0.0, 0.0, 0.0), (0.25, 0.25, 0.25)),
    )


@pytest.fixture(scope="module")
def undisturbed(carbon: Crystal, pw_x: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Result]:
    """An undisturbed run of each way to the bands."""
    return {
        way: compute(make_job(carbon, bands=way), scratch=tmp_path_factory.mktemp(way), pseudo_dir=pw_x)
        for way in ("reduced-basis", "nscf")
    }


@pytest.fixture
def sabotage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sabotage:
    """Spoils call number ``at`` of a program (0: every call) by shell lines; ``$real`` is the program."""
    places = tmp_path / "bin"
    places.mkdir()
    monkeypatch.setenv("PATH", f"{places}{os.pathsep}{os.environ['PATH']}")

    def spoil(program: str, lines: str, *, at: int = 1) -> None:
        real = shutil.which(program, path=os.environ["PATH"].partition(os.pathsep)[2])
        script = places / program
        script.write_text(
            f"#!/bin/bash\nreal={real}\necho x >> {places}/{program}.calls\n"
            f"calls=$(wc -l < {places}/{program}.calls)\n"
            f'if [ {at} = 0 ] || [ $calls = {at} ]; then\n{lines}\nfi\nexec $real "$@"\n'
        )
        script.chmod(0o755)

    return spoil


@pytest.fixture(autouse=True)
def nothing_survives(tmp_path: Path) -> Iterator[None]:
    """No process is left that works below the test's directory."""
    yield
    left = []
    for process in psutil.process_iter(["pid", "name", "cwd", "status"]):
        inside = (process.info["cwd"] or "").startswith(str(tmp_path))
        if inside and process.info["status"] != psutil.STATUS_ZOMBIE:
            left.append(process.info)
    assert left == []


DENSITY = "out/pwscf.save/charge-density.dat"
XML = "out/pwscf.save/data-file-schema.xml"

# MPI alone takes half a gigabyte of address space.
OUT_OF_MEMORY = (
    'sed -i "s/ecutwfc = .*/ecutwfc = 1000.0/;s/ecutrho = .*/ecutrho = 16000.0/" "$2"\n'
    'ulimit -v 700000; exec $real "$@"'
)

# What is done to the call, the call, and the diagnosis that has to follow.
RECOVERS: dict[str, tuple[str, str, str]] = {
    "killed": ("pw.x", '$real "$@" & sleep 0.05; kill -9 $!; wait $!; exit 137', "killed"),
    "terminated": ("pw.x", '$real "$@" & sleep 0.05; kill $!; wait $!; exit 143', "killed"),
    "segmentation fault": ("pw.x", '$real "$@" & sleep 0.05; kill -SEGV $!; wait $!; exit 139', "crashed"),
    "mute": ("pw.x", "exit 0", "killed"),
    "aborted": ("pw.x", 'echo "MPI_ABORT was invoked on rank 0" >&2; exit 1', "aborted"),
    "out of memory": ("pw.x", OUT_OF_MEMORY, "out_of_memory"),
    "spinning": ("pw.x", "while true; do :; done", "silent"),
    "density cut off": ("pw.x", f'$real "$@"; truncate -s 5000 {DENSITY}; exit 0', "incomplete_output"),
    "density gone": ("pw.x", f'$real "$@"; rm {DENSITY}; exit 0', "incomplete_output"),
    "XML cut off": ("pw.x", f'$real "$@"; truncate -s 3000 {XML}; exit 0', "incomplete_output"),
    "XML gone": ("pw.x", f'$real "$@"; rm {XML}; exit 0', "incomplete_output"),
    "output cut off": ("pw.x", '$real "$@" | head -c 4000; exit 0', "killed"),
    "stopped softly": ("pw.x", 'touch out/pwscf.EXIT; exec $real "$@"', "stopped_on_request"),
    "too few iterations": (
        "pw.x",
        'sed -i "s/electron_maxstep = .*/electron_maxstep = 3/" "$2"; exec $real "$@"',
        "scf_unconverged",
    ),
    "out of time": (
        "pw.x",
        'sed -i "s/^&CONTROL/\\&CONTROL\\n max_seconds = 0/" "$2"; exec $real "$@"',
        "time_limit",
    ),
}


@pytest.mark.parametrize("how", RECOVERS)
def test_spoilt_ground_state_recovers(
    how: str,
    carbon: Crystal,
    pw_x: Path,
    tmp_path: Path,
    undisturbed: dict[str, Result],
    sabotage: Sabotage,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("workers.monitors.SPEECHLESS_S", 2.0)
    program, lines, diagnosis = RECOVERS[how]
    sabotage(program, lines)
    result = compute(make_job(carbon), scratch=tmp_path / "scratch", pseudo_dir=pw_x)
    assert result.outcome is undisturbed["reduced-basis"].outcome
    assert [correction.diagnosis for correction in result.corrections] == [diagnosis]
    assert result.corrections[0].worked
    assert not result.physics_changed
    assert distance(result, undisturbed["reduced-basis"]) < 1e-4


@pytest.mark.parametrize(
    ("lines", "diagnosis"),
    [
        ('$real "$@" & sleep 0.05; kill -9 $!; wait $!; exit 137', "killed"),
        (f'truncate -s 2000 {XML}; exec $real "$@"', "killed"),
        (f'truncate -s 2000 {DENSITY}; exec $real "$@"', "files_corrupt"),
        ('$real "$@"; truncate -s 100 out/pwscf.save/wfc3.dat; exit 0', "incomplete_output"),
    ],
)
def test_spoilt_band_run_recovers(
    lines: str,
    diagnosis: str,
    carbon: Crystal,
    pw_x: Path,
    tmp_path: Path,
    undisturbed: dict[str, Result],
    sabotage: Sabotage,
) -> None:
    sabotage("pw.x", lines, at=2)
    result = compute(make_job(carbon, bands="nscf"), scratch=tmp_path / "scratch", pseudo_dir=pw_x)
    assert result.outcome is undisturbed["nscf"].outcome
    assert [correction.diagnosis for correction in result.corrections] == [diagnosis]
    assert distance(result, undisturbed["nscf"]) < 1e-4


def test_killed_pp_is_run_again(
    carbon: Crystal, pw_x: Path, tmp_path: Path, undisturbed: dict[str, Result], sabotage: Sabotage
) -> None:
    sabotage("pp.x", "kill -9 $$")
    result = compute(make_job(carbon), scratch=tmp_path / "scratch", pseudo_dir=pw_x)
    assert result.corrections == ()
    assert distance(result, undisturbed["reduced-basis"]) < 1e-4


def test_frozen_program_is_found_and_run_again(
    carbon: Crystal,
    pw_x: Path,
    tmp_path: Path,
    undisturbed: dict[str, Result],
    sabotage: Sabotage,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("workers.monitors.SILENCE_S", 2.0)
    sabotage("pw.x", "kill -STOP $$")
    result = compute(make_job(carbon), scratch=tmp_path / "scratch", pseudo_dir=pw_x)
    assert [correction.diagnosis for correction in result.corrections] == ["silent"]
    assert distance(result, undisturbed["reduced-basis"]) < 1e-4


@pytest.mark.parametrize(
    ("lines", "diagnosis"),
    [
        ('$real "$@" & sleep 0.05; kill -9 $!; wait $!; exit 137', "killed"),
        (f'$real "$@"; truncate -s 5000 {DENSITY}; exit 0', "incomplete_output"),
        ('sed -i "s/nat = 2/nta = 2/" "$2"; exec $real "$@"', "bad_input"),
        ('echo "Error in routine something_new (1):"; exit 1', "other_error"),
    ],
)
def test_what_always_fails_is_a_failed_result_that_says_why(
    lines: str, diagnosis: str, carbon: Crystal, pw_x: Path, tmp_path: Path, sabotage: Sabotage
) -> None:
    sabotage("pw.x", lines, at=0)
    result = compute(make_job(carbon), scratch=tmp_path / "scratch", pseudo_dir=pw_x)
    assert (result.outcome, result.diagnosis) == (Outcome.FAILED, diagnosis)
    assert result.reason.startswith("scf-30Ry-2x2x2: ")
    assert result.ladder == ()
    assert not any(correction.worked for correction in result.corrections)


def test_needed_smearing_is_a_metal(
    carbon: Crystal, pw_x: Path, tmp_path: Path, sabotage: Sabotage
) -> None:
    sabotage("pw.x", 'echo "     charge is wrong: smearing is needed"; exit 1', at=0)
    result = compute(make_job(carbon), scratch=tmp_path / "scratch", pseudo_dir=pw_x)
    assert (result.outcome, result.diagnosis) == (Outcome.METAL, "needs_smearing")


@pytest.mark.parametrize(
    ("lines", "diagnosis"),
    [
        (OUT_OF_MEMORY, "out_of_memory"),
        ('echo "There are not enough slots available in the system" >&2; exit 1', "too_few_slots"),
    ],
)
def test_machines_fault_gives_the_job_back(
    lines: str, diagnosis: str, carbon: Crystal, pw_x: Path, tmp_path: Path, sabotage: Sabotage
) -> None:
    sabotage("pw.x", lines, at=0)
    with pytest.raises(ResourceError, match=diagnosis):
        compute(make_job(carbon), scratch=tmp_path / "scratch", pseudo_dir=pw_x)
    assert [path.name for path in (tmp_path / "scratch").iterdir()] == ["failed"]


def test_pseudopotential_that_vanishes_is_a_matter_of_configuration(
    carbon: Crystal, pw_x: Path, tmp_path: Path, sabotage: Sabotage
) -> None:
    sabotage("pw.x", 'rm ../pseudo; exec $real "$@"')
    with pytest.raises(MissingProgramError, match="pseudopotential_missing"):
        compute(make_job(carbon), scratch=tmp_path / "scratch", pseudo_dir=pw_x)


def test_full_disk_gives_the_job_back_and_frees_what_it_wrote(
    carbon: Crystal, pw_x: Path, tmp_path: Path, undisturbed: dict[str, Result], sabotage: Sabotage
) -> None:
    scratch = tmp_path / "disk"
    scratch.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=100M", "tmpfs", str(scratch)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("mounting a small file system needs root")
    try:
        # Something else fills the disk while pw.x runs.
        sabotage("pw.x", f'head -c 200M /dev/zero > {scratch}/filler; exec $real "$@"')
        with pytest.raises(ResourceError, match=r"disk_full|No space left"):
            compute(make_job(carbon), scratch=scratch, pseudo_dir=pw_x)
        assert [path.name for path in scratch.iterdir() if path.name != "failed"] == ["filler"]
        (scratch / "filler").unlink()
        result = compute(make_job(carbon), scratch=scratch, pseudo_dir=pw_x)
        assert distance(result, undisturbed["reduced-basis"]) < 1e-4
    finally:
        subprocess.run(["umount", "-l", str(scratch)], check=True)
