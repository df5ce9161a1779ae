"""The whole response by YAMBO: SAVE from pw.x' bands, then one ladder for each inequivalent direction."""

from __future__ import annotations

import json
import shutil
import threading
import xml.etree.ElementTree as ET
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from farm.crystal import Crystal
from farm.errors import CalculationError, CrystalError, FarmError, InputError
from farm.kpoints import space_group
from farm.protocol import Protocol
from farm.result import Correction
from farm.spectrum import DIRECTIONS, energy_grid_ev
from farm.units import BOHR_ANGSTROM
from workers.diagnosis import Diagnosis, RunOutcome
from workers.history import Done, StepFailed
from workers.launcher import Usage
from workers.machine import available_memory_bytes
from workers.responses import read_response
from workers.rpa.gvectors import shells_up_to, symmetric_metric
from workers.scratch import RESPONSE_FILE
from workers.sessions import Session, read_text
from workers.spectra import ResponseData
from workers.supervise import run_session
from workers.used_inputs import UsedInput, used_yambo_inputs
from workers.yambo.inputs import YamboInput
from workers.yambo.jobs import JOB, PW_SAVE, SAVE, P2ySession, ResponseSession, SetupSession
from workers.yambo.ladder import RungResult, join_directions, next_gmax
from workers.yambo.layout import (
    Dimensions,
    Layout,
    choose_layout,
    estimate_memory_mb,
    mesh_points,
    require_memory,
)
from workers.yambo.outputs import SetupReport
from workers.yambo.remedies import P2yRun, ResponseRun, SetupRun
from workers.yambo.symmetry import inequivalent_axes, symmorphic_rotations, symmorphic_save_xml

_XML = "data-file-schema.xml"


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is to be computed.

    bands, ground_state: save directories of pw.x, on :func:`workers.yambo.symmetry.yambo_kpoints`
                         without symmetry, and with it
    directory: of all that is made; what an earlier, killed run has finished in it is kept
    crystal:   in the cell that was computed
    nbnd:      bands in the save directory; the lowest ``n_bands_used`` enter the response
    """

    bands: Path
    ground_state: Path
    directory: Path
    crystal: Crystal
    protocol: Protocol
    n_electrons: int
    nbnd: int
    n_bands_used: int
    ecutwfc_ry: float
    ranks: int = 1


@dataclass(frozen=True, kw_only=True, eq=False)
class _Rung:
    """A finished run, which gives two rungs; without local fields both are IPA.

    block_mry: what Gmax was rounded up to
    inputs:    of all attempts
    """

    ipa: RungResult
    rpa: RungResult
    block_mry: float
    inputs: tuple[UsedInput, ...]


class YamboResponse:
    """One run of the engine.

    usage, corrections: of all runs so far; ``version`` of yambo
    inputs:             of all responses so far, those of an earlier, killed run too
    diagnosis:          of the run that was given up
    """

    def __init__(self, request: Request, cancelled: threading.Event | None = None) -> None:
        self.request = request
        self.cancelled = cancelled or threading.Event()
        self.usage = Usage()
        self.corrections: list[Correction] = []
        self.inputs: list[UsedInput] = []
        self.version = ""
        self.diagnosis: Diagnosis | None = None
        self._setup: SetupReport | None = None
        self._dipoles = ""
        protocol = request.protocol
        self._energies_ev = energy_grid_ev(protocol.n_energies, protocol.energy_max_ev)
        self._group = space_group(request.crystal)
        self._n_g = self._block_sizes()

    def run(self) -> ResponseData:
        """All three directions.

        Raises as :func:`workers.supervise.run_session`, and ResourceError where the memory is too small.
        """
        axes = inequivalent_axes(self.request.crystal, self._group)
        try:
            ladders = {axis: self._ladder(axis) for axis in sorted(set(axes))}
        except BaseException:
            # Reports and finished rungs stay, what is as large as the wavefunctions does not.
            self._drop_databases()
            raise
        joined = [ladders[axis] for axis in axes]
        return join_directions(joined, self._energies_ev, self.usage.peak_memory_mb)

    def _drop_databases(self) -> None:
        for directory in (self.request.directory / SAVE, *self.request.directory.glob(f"*/{JOB}")):
            shutil.rmtree(directory, ignore_errors=True)

    def _ladder(self, axis: int) -> dict[int, RungResult]:
        gmax_mry = self.request.protocol.gmax_mry
        threshold = self.request.protocol.similarity_threshold
        if len(gmax_mry) == 1:
            return {gmax_mry[0]: self._rung(axis, gmax_mry[0]).ipa}
        rung = self._rung(axis, gmax_mry[1])
        done = {gmax_mry[0]: rung.ipa, gmax_mry[1]: rung.rpa}
        while (gmax := next_gmax(done, gmax_mry, self._energies_ev, threshold)) is not None:
            # The block of the last rung may hold this one already: nothing would change.
            if rung.block_mry < gmax:
                rung = self._rung(axis, gmax)
            done[gmax] = rung.rpa
        return done

    def _rung(self, axis: int, gmax: int) -> _Rung:
        name = rung_name(axis, gmax)
        kept = self.request.directory / f"{name}.npz"
        found = _load_rung(kept)
        if found is None:
            found = self._compute(name, axis, gmax)
            _save_rung(kept, found)
        else:
            self.inputs += found.inputs
        return found

    def _compute(self, name: str, axis: int, gmax: int) -> _Rung:
        request, protocol = self.request, self.request.protocol
        asked = rung_input(protocol, axis, gmax, request.n_bands_used, self._layout(name, gmax))
        session = ResponseSession(
            name,
            ResponseRun(asked=asked, dipoles=self._dipoles),
            request.directory,
            rebuild=self._make_save_and_set_up,
            cancelled=self.cancelled,
        )
        try:
            output = self._run(session)
        finally:
            inputs = used_yambo_inputs(name, session.attempts)
            self.inputs += inputs
        self.version = output.version
        if not session.asked.dipoles:
            # Relative to the directories of later runs, which lie beside this one.
            self._dipoles = f"../{session.run_directory.name}/{JOB}"
        return _Rung(
            ipa=RungResult(n_g=1, eps=output.eps_ipa),
            rpa=RungResult(n_g=output.n_g, eps=output.eps),
            block_mry=output.block_mry or 0.0,
            inputs=inputs,
        )

    def _layout(self, name: str, gmax: int) -> Layout:
        """As many ranks as work and memory allow. Raises ResourceError where one does not fit."""
        setup = self._set_up()
        dimensions = Dimensions(
            n_kpoints=setup.size.n_kpoints,
            n_bands=setup.size.n_bands,
            n_filled=setup.n_filled,
            n_waves=setup.n_waves,
            n_mesh=mesh_points(self.request.crystal.lattice, self.request.ecutwfc_ry),
            n_bytes=16 if setup.is_double else 8,
        )
        available_mb = available_memory_bytes() / 2**20
        for ranks in range(self.request.ranks, 0, -1):
            layout = choose_layout(ranks, dimensions)
            needed_mb = estimate_memory_mb(
                dimensions, self._n_g[gmax], self.request.protocol.n_energies, layout.ranks
            )
            if needed_mb <= available_mb:
                return layout
        require_memory(needed_mb, available_mb, name)
        return Layout()

    def _block_sizes(self) -> Mapping[int, int]:
        lattice = self.request.crystal.lattice / BOHR_ANGSTROM
        reciprocal = np.asarray(2 * np.pi * np.linalg.inv(lattice).T, dtype=np.float64)
        gmax_mry = self.request.protocol.gmax_mry
        shells = shells_up_to(gmax_mry, symmetric_metric(reciprocal, self._group.point_group))
        return dict(zip(gmax_mry, shells.n_g, strict=True))

    def _set_up(self) -> SetupReport:
        if self._setup is None:
            self._make_save_and_set_up()
        if self._setup is None:  # for the type checker
            raise CalculationError("yambo was not set up")
        return self._setup

    def _make_save_and_set_up(self) -> None:
        request = self.request
        self._make_save()
        session = SetupSession(
            SetupRun(save=self._expected()),
            request.directory,
            rebuild=self._make_save,
            cancelled=self.cancelled,
        )
        self._setup = self._run(session)

    def _make_save(self) -> None:
        request = self.request
        # What was computed from an earlier SAVE is not mixed with what comes.
        self._dipoles = ""
        link_save(request.bands, request.ground_state, request.directory / PW_SAVE)
        self._run(P2ySession("p2y", self._expected(), request.directory, cancelled=self.cancelled))

    def _expected(self) -> P2yRun:
        root = ET.fromstring(read_text(self.request.bands / _XML))  # noqa: S314  # written by pw.x
        return P2yRun(
            n_kpoints=len(root.findall("output/band_structure/ks_energies")),
            n_bands=self.request.nbnd,
            n_electrons=self.request.n_electrons,
            n_symmetries=len(symmorphic_rotations(read_text(self.request.ground_state / _XML))),
        )

    def _run(self, session: Session[Any, Any]) -> Any:
        try:
            return run_session(session)
        except FarmError:
            self.diagnosis = session.diagnosis
            raise
        finally:
            self.usage += session.usage
            self.corrections += session.corrections


def rung_input(
    protocol: Protocol, axis: int, gmax_mry: int, nbnd: int, layout: Layout | None = None
) -> YamboInput:
    """The input of one rung along x, y or z (``axis`` 0, 1, 2) before any correction."""
    field = [0.0, 0.0, 0.0]
    field[axis] = 1.0
    return YamboInput(
        gmax_mry=gmax_mry,
        direction=(field[0], field[1], field[2]),
        nbnd=nbnd,
        energy_max_ev=protocol.energy_max_ev,
        n_energies=protocol.n_energies,
        damping_ev=protocol.damping_ev,
        green_function=protocol.green_function,
        layout=layout or Layout(),
    )


def rung_name(axis: int, gmax_mry: int) -> str:
    """Of the run of one rung, such as ``x-2000``."""
    return f"{DIRECTIONS[axis]}-{gmax_mry}"


def respond(request: Request, cancelled: threading.Event) -> tuple[Done, YamboResponse]:
    """Compute, check and judge a response; the engine tells what it took.

    Raises what is not the material's fault: ResourceError, MissingProgramError and LeaseLostError.
    """
    engine = YamboResponse(request, cancelled)
    try:
        save_response(request.directory / RESPONSE_FILE, engine.run())
        return read_response(request.directory, request.protocol, whole_ladder=False), engine
    except (CalculationError, CrystalError) as error:
        found = engine.diagnosis
        failed = StepFailed(
            reason=error.message,
            diagnosis=found.name if found else "yambo_failed",
            advice=found.advice if found else "",
            is_metal=found is not None and found.outcome is RunOutcome.METAL,
        )
        return failed, engine


def link_save(bands: Path, ground_state: Path, directory: Path) -> None:
    """Show p2y a band calculation with the symmetry of its ground state; its files are only linked.

    Raises CalculationError for data files that do not belong together.
    """
    xml = symmorphic_save_xml(read_text(bands / _XML), read_text(ground_state / _XML))
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    for path in bands.resolve().iterdir():
        if path.name != _XML:
            (directory / path.name).symlink_to(path)
    (directory / _XML).write_text(xml, encoding="utf-8")


def save_response(path: Path, data: ResponseData) -> None:
    """Write a response as the project's own solver does; read with ``load_response``."""
    temporary = path.with_suffix(".tmp.npz")
    np.savez(
        temporary,
        energies_ev=data.energies_ev,
        gmax_mry=np.array(data.gmax_mry),
        n_g=np.array(data.n_g),
        eps_real=data.eps.real,
        eps_imag=data.eps.imag,
        peak_memory_mb=data.peak_memory_mb,
    )
    temporary.replace(path)


def _save_rung(path: Path, rung: _Rung) -> None:
    temporary = path.with_suffix(".tmp.npz")
    np.savez(
        temporary,
        ipa=rung.ipa.eps,
        rpa=rung.rpa.eps,
        n_g=rung.rpa.n_g,
        block_mry=rung.block_mry,
        inputs=json.dumps([used.to_dict() for used in rung.inputs]),
    )
    temporary.replace(path)


def _load_rung(path: Path) -> _Rung | None:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as data:
            return _Rung(
                ipa=RungResult(n_g=1, eps=data["ipa"]),
                rpa=RungResult(n_g=int(data["n_g"]), eps=data["rpa"]),
                block_mry=float(data["block_mry"]),
                inputs=tuple(UsedInput.from_dict(item) for item in json.loads(str(data["inputs"]))),
            )
    except (OSError, KeyError, ValueError, EOFError, InputError, zipfile.BadZipFile):
        return None  # absent, or cut off when an earlier run was killed
