"""The directory of one job: its lock, its resume manifest, and its removal.

::

    scratch/<job_id>/manifest.json      steps whose output parsed good, replaced atomically
    scratch/<job_id>/<step>/            inputs, outputs and pw.x's save directory
    scratch/failed/<job_id>/<step>/     small text files of a failed job, for diagnosis
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from farm.errors import LeaseLostError, ResourceError
from workers.diagnose.listing import make_listing
from workers.directory_lock import make_and_lock, remove_locked, try_lock, unlock
from workers.history import BandsStep, PotentialStep, ResponseStep, ScfStep, SpectraStep, Step, StepFailed
from workers.manifest import Record, decode_manifest, encode_manifest
from workers.potentials import POTENTIAL_FILE
from workers.qe.inputs import OUTDIR, PREFIX

RESPONSE_FILE = "response.npz"
LISTING_FILE = "listing.txt"
_MANIFEST = "manifest.json"
_KEPT_SUFFIXES = frozenset({".in", ".out", ".err"})
# Of p2y and yambo: logs, reports and spectra.
_KEPT_PREFIXES = ("CRASH", _MANIFEST, "l_", "l-", "r_", "r-", "o-")
_KEPT_BYTES = 1_000_000
_MAX_NAMESAKES = 8
_MACHINE_ERRNOS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.ENOMEM})


class Workspace:
    """The scratch directory of one job; open it with :func:`open_workspace`."""

    def __init__(self, directory: Path, job_id: str) -> None:
        self.directory = directory
        self.job_id = job_id
        self.records: list[Record] = []

    def step_directory(self, step: Step) -> Path:
        """The directory of a step, made when absent."""
        directory = self.directory / step.name
        directory.mkdir(exist_ok=True)
        return directory

    def save_directory(self, step: ScfStep | BandsStep) -> Path:
        """Where pw.x saves density, bands and wavefunctions of a step."""
        return self.save_directory_named(step.name)

    def save_directory_named(self, name: str) -> Path:
        """The same by the name of the step."""
        return self.directory / name / OUTDIR / f"{PREFIX}.save"

    def potential_file(self, step: PotentialStep) -> Path:
        """Where pp.x leaves the local potential."""
        return self.directory / step.name / POTENTIAL_FILE

    def append(self, record: Record) -> None:
        """Add a step that is done, and replace the manifest on disk."""
        self.records.append(record)
        path = self.directory / _MANIFEST
        temporary = path.with_suffix(".tmp")
        with temporary.open("w", encoding="utf-8") as file:
            file.write(encode_manifest(self.job_id, self.records))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)

    def resume(self) -> None:
        """Read the steps an earlier, killed run left behind, as far as their data is still there."""
        try:
            text = (self.directory / _MANIFEST).read_text(encoding="utf-8")
        except OSError:
            return
        records = decode_manifest(text, self.job_id)
        last_bands = max((i for i, r in enumerate(records) if isinstance(r.step, BandsStep)), default=-1)
        for i, record in enumerate(records):
            # What has failed left nothing that is needed.
            failed = isinstance(record.done, StepFailed)
            if not failed and not self._has_data(record.step, with_wavefunctions=i == last_bands):
                break
            self.records.append(record)

    def drop_wavefunctions(self) -> None:
        """Delete every wavefunction; densities and texts stay."""
        for pattern in ("wfc*", f"{PREFIX}.wfc*"):
            for path in self.directory.rglob(pattern):
                path.unlink(missing_ok=True)

    def keep_texts(self, failed: Path) -> None:
        """Copy the small text files to ``failed`` with the sizes of all, replacing an earlier try's."""
        shutil.rmtree(failed, ignore_errors=True)
        failed.mkdir(parents=True)
        files = sorted(self.directory.rglob("*"))
        sizes = {str(p.relative_to(self.directory)): p.stat().st_size for p in files if p.is_file()}
        # What `farm diagnose` needs to know of files that are not kept.
        (failed / LISTING_FILE).write_text(make_listing(sizes), encoding="utf-8")
        for path in files:
            wanted = path.suffix in _KEPT_SUFFIXES or path.name.startswith(_KEPT_PREFIXES)
            if wanted and path.is_file() and path.stat().st_size < _KEPT_BYTES:
                target = failed / path.relative_to(self.directory)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, target)

    def disk_mb(self, step: Step) -> float:
        """Size of a step's files, MB; what links lead to is somebody else's."""
        return _bytes_below(self.directory / step.name) / 1e6

    def remove(self) -> None:
        """Delete the directory."""
        remove_locked(self.directory)

    def _has_data(self, step: Step, *, with_wavefunctions: bool) -> bool:
        if isinstance(step, ResponseStep | SpectraStep):
            return (self.directory / step.name / RESPONSE_FILE).is_file()
        if isinstance(step, PotentialStep):
            return self.potential_file(step).is_file()
        save = self.save_directory(step)
        if not (save / "data-file-schema.xml").is_file():
            return False
        if isinstance(step, ScfStep):
            return any(save.glob("charge-density.*"))
        return not with_wavefunctions or any(save.glob("wfc*"))


@contextlib.contextmanager
def open_workspace(scratch: Path, job_id: str) -> Iterator[Workspace]:
    """Lock and resume the job's directory; nothing heavy survives any way out.

    A clean end and a lost lease remove the directory; an error keeps its texts in
    ``scratch/failed``; a stop of the worker keeps densities and manifest, so that the job resumes.

    Raises ResourceError when the directory cannot be made.
    """
    directory, lock = _lock(scratch, job_id)
    workspace = Workspace(directory, job_id)
    try:
        workspace.resume()
        yield workspace
        workspace.remove()
    except LeaseLostError:
        workspace.remove()
        raise
    except OSError as error:
        workspace.remove()
        if error.errno not in _MACHINE_ERRNOS:
            raise
        raise ResourceError(
            f"scratch {scratch}: {error.strerror}", fix="Free space there or set another scratch directory"
        ) from error
    except Exception:
        with contextlib.suppress(OSError):  # a full disk: the error that matters is on its way
            workspace.keep_texts(failed_directory(scratch, job_id))
        workspace.remove()
        raise
    except BaseException:
        workspace.drop_wavefunctions()
        raise
    finally:
        unlock(directory, lock)


def sweep(scratch: Path, is_open: Callable[[str], bool]) -> list[str]:
    """Remove what killed workers left of jobs that will not come back; returns the directories' names.

    is_open: whether a job may still be resumed. What a living worker holds is left alone, and so
    are the texts in ``failed``.
    """
    swept = []
    for directory in sorted(scratch.glob("*.*.*")) if scratch.is_dir() else ():
        job_id = ".".join(directory.name.split(".")[:3])
        if not directory.is_dir() or is_open(job_id):
            continue
        try:
            lock = try_lock(directory)
        except OSError:
            continue  # another worker sweeps as well, or it is not ours
        if lock is None:
            continue  # somebody computes there
        remove_locked(directory)
        unlock(directory, lock)
        swept.append(directory.name)
    return swept


def _bytes_below(directory: Path) -> int:
    total = 0
    for folder, _, names in os.walk(directory):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                total += os.lstat(os.path.join(folder, name)).st_size
    return total


def failed_directory(scratch: Path, job_id: str) -> Path:
    """Where the texts of a failed job are kept."""
    return scratch / "failed" / job_id


def _lock(scratch: Path, job_id: str) -> tuple[Path, int]:
    # A frozen worker whose lease died may still sit in the directory: then take the next name.
    for i in range(_MAX_NAMESAKES):
        directory = scratch / (f"{job_id}.{i}" if i else job_id)
        try:
            lock = make_and_lock(directory)
        except OSError as error:
            raise ResourceError(
                f"scratch directory {directory} cannot be used: {error.strerror}",
                fix="Free space there or set another scratch directory",
            ) from error
        if lock is not None:
            return directory, lock
    raise ResourceError(f"{_MAX_NAMESAKES} workers sit in scratch directories of job {job_id}")
