"""A refit's fits on disk while it runs: killed, it goes on where it was and on the same materials.

::

    checkpoints/.refit/
        lock             held by the one refit that runs
        request.json     which materials it learns from, and the hash of all it depends on
        <fit>.state      how far a fit is (trainer.fitting.fit_state)
        <fit>.safetensors, <fit>.json    a fit that is finished, and its report
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save

from farm.errors import CheckpointError
from trainer.checkpoints.staging import write_synced
from trainer.fitting.fit import FitReport
from trainer.networks.network import SpectrumNetwork

LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a refit was asked for.

    request:   hash of all it depends on
    materials: ids it learns from or is measured on
    n_rpa:     RPA spectra that the store held when it was asked
    """

    request: str
    materials: tuple[str, ...]
    n_rpa: int | None = None


class Workbench:
    """The directory of the refit that runs; use it inside :func:`workbench`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def request(self) -> Request | None:
        """What the refit that was killed had been asked for; None: nothing was left."""
        try:
            data = json.loads((self.directory / "request.json").read_text(encoding="utf-8"))
            return Request(**{**data, "materials": tuple(data["materials"])})
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def begin(self, request: Request) -> None:
        """Start on a request, or go on with it; what another one left is removed."""
        held = self.request()
        if held is not None and held.request == request.request:
            return
        self.clear()
        self.directory.mkdir(parents=True, exist_ok=True)
        write_synced(self.directory / "request.json", json.dumps(asdict(request)).encode())

    def fit(self, name: str, model: SpectrumNetwork, run: Callable[[Path], FitReport]) -> FitReport:
        """Do one fit, or take what it had come to before the refit was killed.

        ``run`` fits ``model`` in place and notes how far it is in the file it is given.
        """
        weights, told = (self.directory / f"{name}{end}" for end in (".safetensors", ".json"))
        state = self.directory / f"{name}.state"
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError, RuntimeError, SafetensorError):
            data = json.loads(told.read_text(encoding="utf-8"))
            report = FitReport(**{**data, "training_losses": tuple(data["training_losses"])})
            model.load_state_dict(load_file(weights))
            model.eval()
            return report
        report = run(state)
        values = {key: value.detach().cpu().contiguous() for key, value in model.state_dict().items()}
        write_synced(weights, save(values))
        # Last: weights without a report are those of a fit that was killed while it wrote them.
        write_synced(told, json.dumps(asdict(report)).encode())
        state.unlink(missing_ok=True)
        return report

    def clear(self) -> None:
        """Remove everything but the lock."""
        if self.directory.is_dir():
            for path in self.directory.iterdir():
                if path.name != "lock":
                    shutil.rmtree(path) if path.is_dir() else path.unlink()


@contextlib.contextmanager
def workbench(checkpoints_dir: Path) -> Iterator[Workbench]:
    """The workbench of a directory of checkpoints, for one refit at a time.

    Raises CheckpointError when another process refits there, or nothing can be written.
    """
    directory = checkpoints_dir / ".refit"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        lock = (directory / "lock").open("w")
    except OSError as error:
        raise CheckpointError(
            f"{directory}: cannot be written: {error}", fix="Free space on that disk and check its rights"
        ) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise CheckpointError(
                f"{directory}: another process refits", fix="Wait until it is done"
            ) from error
        yield Workbench(directory)
