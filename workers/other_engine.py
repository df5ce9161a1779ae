"""The other engine on the ground state of a stored result, for `farm compare`."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import ceil, prod
from pathlib import Path

import numpy as np

from farm.compact_cell import compact_cell
from farm.comparison import OtherEngine
from farm.crystal import Crystal
from farm.errors import InputError
from farm.job import Engine, Job, Stage
from farm.kpoints import grid_divisions
from farm.protocol import Protocol
from farm.pseudopotentials import pseudopotential_directory
from farm.result import LadderStep, Result
from workers.attempts import run_attempts
from workers.compute import compute
from workers.context import StepContext
from workers.convergence import Grid
from workers.history import ResponseStep, StepFailed
from workers.preflight import require_engine, require_programs
from workers.responses import judge, read_response, response_argv
from workers.scratch import RESPONSE_FILE
from workers.sessions import read_text
from workers.spectra import ladder_steps, load_response
from workers.yambo.jobs import PW_SAVE
from workers.yambo.response import link_save
from workers.yambo.symmetry import sampled_points, symmorphic_rotations, yambo_kpoints

_POINTS = "yambo-points"


def compute_again(
    stored: Result,
    scratch: Path,
    *,
    on_progress: Callable[[Stage, str], None],
    cancelled: threading.Event,
    ranks: int = 1,
) -> OtherEngine:
    """Make the ground state of a result again, and the response with the engine that did not make it.

    Bands come from a dense nscf run, which both engines can take. What a failed job said is left in
    ``scratch / "failed"``.

    Raises InputError for a result that does not say how it was made, and as :func:`compute` does.
    """
    engine = Engine.NATIVE if stored.engine is Engine.YAMBO else Engine.YAMBO
    require_engine(engine)
    require_programs()
    kgrid = ground_state_kgrid(stored)
    protocol = same_ground_state(stored)
    job = Job(
        crystal=stored.crystal, protocol=protocol.to_dict(), protocol_hash=protocol.hash, engine=engine
    )
    points = _Points(on_progress)
    result = compute(
        job,
        scratch=scratch,
        pseudo_dir=pseudopotential_directory(),
        on_progress=on_progress,
        cancelled=cancelled,
        ranks=ranks,
        ground_state_kgrid=kgrid,
        on_end=points.examine,
    )
    return OtherEngine(
        result=result,
        sampled=points.sampled,
        same_points=points.ladder,
        same_points_cpu_s=points.cpu_s,
        note=points.note,
    )


def ground_state_kgrid(stored: Result) -> Grid:
    """The converged grid of a result's ground state. Raises InputError where it does not say."""
    recorded = stored.parameters
    name = stored.crystal.material_id
    if "ground_state_kgrid" not in recorded or "ecutwfc_ry" not in recorded:
        raise InputError(
            f"the result of {name} does not say what ground state it rests on",
            fix="Compute the material in this farm: `farm seed`, then `farm up`",
        )
    basis = compact_cell(stored.crystal).basis
    if not np.array_equal(recorded.get("computed_cell", basis), basis):
        raise InputError(f"{name} was computed in another cell by another version of the farm")
    a, b, c = recorded["ground_state_kgrid"]
    return int(a), int(b), int(c)


def same_ground_state(stored: Result) -> Protocol:
    """The protocol of a result with one scf run at its converged cutoff, bands by nscf, its last k-grid."""
    recorded, crystal = stored.parameters, stored.crystal
    cutoff_ry = round(recorded["ecutwfc_ry"])
    changes = {
        "energy_tolerance_kcal_mol": None,
        "ecutwfc_ry": cutoff_ry,
        "ecutwfc_max_ry": max(cutoff_ry, int(stored.protocol.get("ecutwfc_max_ry", 0))),
        "bands": "nscf",
    }
    if stored.protocol.get("kgrid") == "converged":
        a, b, c = (int(n) for n in recorded["response_kgrid"])
        changes |= {"kgrid": "published", "response_kppa": response_density(crystal, (a, b, c))}
    return Protocol.from_dict({**stored.protocol, **changes}, origin=crystal.material_id)


def response_density(crystal: Crystal, grid: Grid) -> int:
    """The least k-points times atoms for which the spectra's grid is this one.

    Raises InputError where there is none.
    """
    lengths = np.linalg.norm(crystal.lattice, axis=1)
    # Rounded up to even: n - 1 divisions are enough for n, and 2 is the least there is.
    mean = max(float((n - 1) * length) if n > 2 else 0.0 for n, length in zip(grid, lengths, strict=True))
    kppa = max(1, ceil(crystal.n_atoms * mean**3 / float(np.prod(lengths)) - 1e-6))
    if grid_divisions(crystal, kppa, even=True) != grid:
        raise InputError(
            f"{crystal.material_id}: no density of k-points gives its {'x'.join(map(str, grid))} grid",
            fix='Compare a result of a protocol with kgrid = "published"',
        )
    return kppa


@dataclass
class _Points:
    """What YAMBO's counting of k-points does to the spectra, examined before the files are removed."""

    on_progress: Callable[[Stage, str], None]
    sampled: tuple[int, int] = (0, 0)
    ladder: tuple[LadderStep, ...] = ()
    cpu_s: float = 0.0
    note: str = ""

    def examine(self, context: StepContext) -> None:
        """Count the points; where members of stars are lost, run our solver with the same loss."""
        last = context.workspace.records[-1] if context.workspace.records else None
        if last is None or not isinstance(last.step, ResponseStep) or isinstance(last.done, StepFailed):
            return
        workspace, ground_state = context.workspace, last.step.bands.ground_state
        rotations = symmorphic_rotations(
            read_text(workspace.save_directory(ground_state) / "data-file-schema.xml")
        )
        kpoints = yambo_kpoints(context.crystal, context.cell, context.protocol, rotations)
        self.sampled = sampled_points(kpoints, rotations)
        if self.sampled[0] == self.sampled[1]:
            return
        n_listed = prod(grid_divisions(context.crystal, context.protocol.response_kppa, even=True))
        if len(kpoints) != n_listed:
            self.note = "not reproduced by our solver: the crystal has operations that YAMBO does not know"
            return
        self.on_progress(Stage.RESPONSE, "response with YAMBO's points")
        self._run(last.step, context)

    def _run(self, step: ResponseStep, context: StepContext) -> None:
        workspace = context.workspace
        directory = workspace.directory / _POINTS
        directory.mkdir(exist_ok=True)
        save = directory / PW_SAVE
        # With the operations in pw.x' order: which member of a pair is lost depends on it.
        link_save(
            workspace.save_directory(step.bands), workspace.save_directory(step.bands.ground_state), save
        )
        argv = [*response_argv(save, context.protocol, step.n_bands), "--weights", "yambo"]
        read = partial(read_response, directory, context.protocol)
        attempted = run_attempts(
            "response", argv, directory, directory / RESPONSE_FILE, read, context.cancelled
        )
        self.cpu_s = attempted.usage.cpu_s
        if attempted.value is None or isinstance(attempted.value, StepFailed):
            self.note = (
                f"not reproduced by our solver: {getattr(attempted.value, 'reason', attempted.reason)}"
            )
            return
        data = load_response(directory / RESPONSE_FILE)
        self.ladder = ladder_steps(data, judge(data, context.protocol).step_similarity, (None,) * 3)
