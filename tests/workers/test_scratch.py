"""The job directory: what is resumed, what is kept, and that nothing heavy stays."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from farm.errors import CalculationError, LeaseLostError, ResourceError
from farm.result import Correction
from workers.history import (
    BandAccuracy,
    BandsDone,
    BandsStep,
    PotentialDone,
    PotentialStep,
    ResponseDone,
    ResponseStep,
    ScfDone,
    ScfStep,
    SpectraDone,
    SpectraStep,
    StepFailed,
)
from workers.launcher import Usage
from workers.manifest import Record
from workers.scratch import LISTING_FILE, RESPONSE_FILE, Workspace, failed_directory, open_workspace, sweep
from workers.used_inputs import UsedInput

SCF = ScfStep(ecutwfc_ry=40, kgrid=(4, 4, 4))
BANDS = BandsStep(ground_state=SCF, nbnd=20)
JOB = "MgO.0123456789ab.native"


def _scf_record() -> Record:
    return Record(
        step=SCF,
        done=ScfDone(energy_ev=-200.123456789),
        usage=Usage(cpu_s=1.5, wall_s=2.0, peak_memory_mb=40.0, disk_mb=0.25, attempts=2),
        corrections=(
            Correction(step=SCF.name, diagnosis="killed: x", remedy="again", changes_physics=False),
        ),
        program="6.7MaX",
        inputs=(
            UsedInput(file="pw-1.in", sha256="0" * 64, values={"kgrid": [4, 4, 4], "nbnd": None}),
            UsedInput(file="pw-2.in", sha256="1" * 64, values={"kgrid": [4, 4, 4]}, clean=False),
        ),
    )


def _bands_record(nbnd: int = 20) -> Record:
    done = BandsDone(gap_indirect_ev=4.5, gap_direct_ev=5.0, top_ev=26.0)
    return Record(step=BandsStep(ground_state=SCF, nbnd=nbnd), done=done, usage=Usage(cpu_s=3.0))


def _response_record() -> Record:
    done = ResponseDone(
        converged_gmax_mry=(4000, None, 6000), last_gmax_mry=10000, last_similarity=(0.9, 0.8, 0.95)
    )
    return Record(step=ResponseStep(bands=BANDS), done=done, usage=Usage())


def _potential_record() -> Record:
    return Record(step=PotentialStep(ground_state=SCF), done=PotentialDone(), usage=Usage(cpu_s=0.3))


def _spectra_record(response: ResponseDone | None) -> Record:
    done = SpectraDone(
        bands=BandsDone(gap_indirect_ev=4.5, gap_direct_ev=5.0, top_ev=26.0),
        accuracy=BandAccuracy(
            window_error_mev=1.5, top_error_mev=2.5, pw_error_mev=0.1, n_functions=90, n_samples=9
        ),
        nbnd=18,
        kgrids=((8, 8, 8),),
        n_kpoints=288,
        kgrid_similarity=None,
        kgrid_converged=None,
        bands_cpu_s=1.5,
        response=response,
    )
    return Record(step=SpectraStep(ground_state=SCF), done=done, usage=Usage(cpu_s=3.0))


def _fill(workspace: Workspace, record: Record) -> None:
    """Put the files there that the step would leave, and record it."""
    directory = workspace.step_directory(record.step)
    (directory / "pw-1.out").write_text("JOB DONE.")
    if isinstance(record.step, ResponseStep | SpectraStep):
        (directory / RESPONSE_FILE).write_bytes(b"npz")
    elif isinstance(record.step, PotentialStep):
        workspace.potential_file(record.step).write_text("1.0")
    else:
        save = workspace.save_directory(record.step)
        save.mkdir(parents=True)
        (save / "data-file-schema.xml").write_text("<xml/>")
        (save / "charge-density.dat").write_bytes(b"rho")
        if isinstance(record.step, BandsStep):
            (save / "wfc1.dat").write_bytes(b"psi")
    workspace.append(record)


def _die(scratch: Path, *records: Record) -> None:
    """A worker that did these steps and was killed by a signal it could not catch."""
    workspace = Workspace(scratch / JOB, JOB)
    workspace.directory.mkdir(parents=True)
    for record in records:
        _fill(workspace, record)


def _end_with(error: BaseException, scratch: Path, leave: Callable[[Workspace], None]) -> None:
    """A job that did something, then ended with an error."""

    def run() -> None:
        with open_workspace(scratch, JOB) as workspace:
            leave(workspace)
            raise error

    with pytest.raises(type(error)):
        run()


def test_killed_job_resumes_with_equal_records(tmp_path: Path) -> None:
    records = [_scf_record(), _bands_record(), _response_record()]
    _die(tmp_path, *records)
    with open_workspace(tmp_path, JOB) as workspace:
        assert workspace.records == records
    assert not (tmp_path / JOB).exists()


_IPA_ALONE = ResponseDone(converged_gmax_mry=(None, None, None), last_gmax_mry=0, last_similarity=None)


@pytest.mark.parametrize("response", [None, _response_record().done, _IPA_ALONE])
def test_job_in_the_reduced_basis_resumes_with_equal_records(
    tmp_path: Path, response: ResponseDone | None
) -> None:
    records = [_scf_record(), _potential_record(), _spectra_record(response)]
    _die(tmp_path, *records)
    with open_workspace(tmp_path, JOB) as workspace:
        assert workspace.records == records


def test_way_that_failed_is_not_tried_again(tmp_path: Path) -> None:
    done = StepFailed(reason="no", diagnosis="potential_failed", advice="mend it")
    failed = Record(step=PotentialStep(ground_state=SCF), done=done, usage=Usage())
    _die(tmp_path, _scf_record(), failed)
    (tmp_path / JOB / "potential/potential.dat").unlink()
    with open_workspace(tmp_path, JOB) as workspace:
        assert workspace.records == [_scf_record(), failed]


def test_bands_that_fell_short_are_remembered_without_their_wavefunctions(tmp_path: Path) -> None:
    _die(tmp_path, _scf_record(), _bands_record(20), _bands_record(24))
    (tmp_path / JOB / "bands-20/out/pwscf.save/wfc1.dat").unlink()
    with open_workspace(tmp_path, JOB) as workspace:
        assert len(workspace.records) == 3


@pytest.mark.parametrize(
    ("lost", "left"),
    [
        ("scf-40Ry-4x4x4/out/pwscf.save/charge-density.dat", 0),
        ("bands-20/out/pwscf.save/wfc1.dat", 1),
        ("bands-20/out/pwscf.save/data-file-schema.xml", 1),
        ("response/response.npz", 2),
    ],
)
def test_history_ends_where_data_is_missing(tmp_path: Path, lost: str, left: int) -> None:
    _die(tmp_path, _scf_record(), _bands_record(), _response_record())
    (tmp_path / JOB / lost).unlink()
    with open_workspace(tmp_path, JOB) as workspace:
        assert len(workspace.records) == left


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"version": 99}', '{"version": 2, "job_id": "other", "records": []}']
)
def test_manifest_that_cannot_be_trusted_means_from_scratch(tmp_path: Path, text: str) -> None:
    _die(tmp_path, _scf_record())
    (tmp_path / JOB / "manifest.json").write_text(text)
    with open_workspace(tmp_path, JOB) as workspace:
        assert workspace.records == []


def test_manifest_is_never_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _die(tmp_path, _scf_record())

    def fail(_: int) -> None:
        raise OSError(errno.EIO, "no")

    with open_workspace(tmp_path, JOB) as workspace:
        with monkeypatch.context() as patch:
            patch.setattr("workers.scratch.os.fsync", fail)
            with pytest.raises(OSError, match="no"):
                workspace.append(_bands_record())
        data = json.loads((workspace.directory / "manifest.json").read_text())
        assert len(data["records"]) == 1


def test_size_of_a_step_is_that_of_its_own_files(tmp_path: Path) -> None:
    with open_workspace(tmp_path, JOB) as workspace:
        assert workspace.disk_mb(SCF) == 0
        save = workspace.save_directory(SCF)
        save.mkdir(parents=True)
        (save / "wfc1.dat").write_bytes(bytes(2_000_000))
        (workspace.step_directory(SCF) / "pw-1.out").write_bytes(bytes(500_000))
        (workspace.step_directory(BANDS) / "out").symlink_to(save)
        (workspace.step_directory(BANDS) / "link").symlink_to(save / "wfc1.dat")
        assert workspace.disk_mb(SCF) == 2.5
        assert workspace.disk_mb(BANDS) < 0.001


def test_error_keeps_small_texts_only(tmp_path: Path) -> None:
    def leave(workspace: Workspace) -> None:
        _fill(workspace, _scf_record())
        (workspace.step_directory(SCF) / "CRASH").write_text("from davcio")
        (workspace.step_directory(SCF) / "pw-2.out").write_bytes(b"x" * 2_000_000)

    _end_with(CalculationError("broken"), tmp_path, leave)
    assert not (tmp_path / JOB).exists()
    kept = failed_directory(tmp_path, JOB)
    names = sorted(path.name for path in kept.rglob("*") if path.is_file())
    assert names == ["CRASH", LISTING_FILE, "manifest.json", "pw-1.out"]


@pytest.mark.parametrize("error", [LeaseLostError("gone"), ResourceError("full")])
def test_nothing_stays_of_a_job_that_goes_elsewhere(tmp_path: Path, error: Exception) -> None:
    _end_with(error, tmp_path, lambda workspace: _fill(workspace, _bands_record()))
    assert not (tmp_path / JOB).exists()
    assert not list(tmp_path.rglob("wfc*"))


def test_stopped_worker_leaves_densities_but_no_wavefunctions(tmp_path: Path) -> None:
    def leave(workspace: Workspace) -> None:
        _fill(workspace, _scf_record())
        _fill(workspace, _bands_record())

    _end_with(SystemExit(0), tmp_path, leave)
    assert not list(tmp_path.rglob("wfc*"))
    with open_workspace(tmp_path, JOB) as workspace:
        assert [record.step for record in workspace.records] == [SCF]


def test_full_disk_is_the_machines_fault(tmp_path: Path) -> None:
    with pytest.raises(ResourceError, match="Free space"), open_workspace(tmp_path, JOB):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert not (tmp_path / JOB).exists()


def test_second_worker_does_not_enter_a_locked_directory(tmp_path: Path) -> None:
    with open_workspace(tmp_path, JOB) as first, open_workspace(tmp_path, JOB) as second:
        assert first.directory != second.directory
        _fill(first, _scf_record())
        assert second.records == []
    assert list(tmp_path.iterdir()) == []


def test_scratch_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ResourceError, match="cannot be used"), open_workspace(tmp_path / "file", JOB):
        pass


def test_what_killed_workers_left_is_swept_but_for_jobs_that_may_resume(tmp_path: Path) -> None:
    for name in (JOB, f"{JOB}.1", "NaCl.0123456789ab.native", "KCl.0123456789ab.native"):
        (tmp_path / name / "bands").mkdir(parents=True)
        (tmp_path / name / "bands" / "wfc1.dat").touch()
    (tmp_path / "failed" / JOB).mkdir(parents=True)
    with open_workspace(tmp_path, "KCl.0123456789ab.native"):
        swept = sweep(tmp_path, lambda job_id: job_id.startswith("NaCl"))
    assert swept == [JOB, f"{JOB}.1"]
    assert (tmp_path / "NaCl.0123456789ab.native" / "bands" / "wfc1.dat").exists()
    assert (tmp_path / "failed" / JOB).exists()
    assert sweep(tmp_path / "never made", lambda _: False) == []


def test_sweeping_worker_passes_over_what_another_sweeps(tmp_path: Path) -> None:
    def is_open(job_id: str) -> bool:
        shutil.rmtree(tmp_path / job_id)
        return False

    (tmp_path / JOB).mkdir()
    assert sweep(tmp_path, is_open) == []


def test_directory_that_is_being_removed_stays_locked_until_it_is_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left: list[set[str]] = []
    unlink = os.unlink

    def look(path: str | Path, *, dir_fd: int | None = None) -> None:
        if Path(path).name == ".lock":
            left.append(set(os.listdir(tmp_path / JOB)))
        unlink(path, dir_fd=dir_fd)

    with open_workspace(tmp_path, JOB) as workspace:
        for i in range(100):
            (workspace.directory / f"{i}.out").touch()
        monkeypatch.setattr(os, "unlink", look)
    assert left == [{".lock"}]


def test_directory_removed_while_it_is_entered_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flock = fcntl.flock

    def late(lock: int, operation: int) -> None:
        monkeypatch.setattr(fcntl, "flock", flock)
        shutil.rmtree(tmp_path / JOB)
        flock(lock, operation)

    monkeypatch.setattr(fcntl, "flock", late)
    with open_workspace(tmp_path, JOB) as workspace:
        assert workspace.step_directory(SCF).is_dir()
        with open_workspace(tmp_path, JOB) as second:
            assert second.directory != workspace.directory


def test_file_system_without_locks_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: int, __: int) -> None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(ResourceError, match="Function not implemented"), open_workspace(tmp_path, JOB):
        pass
