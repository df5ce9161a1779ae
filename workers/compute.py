"""One job to one result: ground state, bands, response, in a scratch directory of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from farm.compact_cell import compact_cell
from farm.errors import LeaseLostError, ProtocolError
from farm.job import Engine, Job, Outcome, Stage
from farm.protocol import Protocol
from farm.pseudopotentials import count_electrons
from farm.result import Result
from workers.context import StepContext
from workers.convergence import Grid
from workers.history import BandsStep
from workers.manifest import completed
from workers.pipeline import Finished, make_plan, next_step
from workers.preflight import require_engine
from workers.pseudos import checked_pseudopotentials
from workers.results import make_result
from workers.scratch import failed_directory, open_workspace
from workers.steps import run_step

PSEUDO_LINK = "pseudo"


def _silent(stage: Stage, text: str) -> None:
    """Progress that nobody reads."""


def _leave(context: StepContext) -> None:
    """Nothing that is on disk is wanted."""


def compute(
    job: Job,
    *,
    scratch: Path,
    pseudo_dir: Path,
    on_progress: Callable[[Stage, str], None] = _silent,
    cancelled: threading.Event | None = None,
    ranks: int = 1,
    ground_state_kgrid: Grid | None = None,
    on_end: Callable[[StepContext], None] = _leave,
) -> Result:
    """Run a job to its result; a calculation that fails is a result, not an error.

    scratch:     ``<scratch>/<job_id>/`` is made, resumed after a kill, and removed
    pseudo_dir:  folder of the UPF files
    on_progress: called before each step, from this thread
    cancelled:   set by another thread to stop: all processes are killed first
    ranks:       MPI ranks of pw.x and YAMBO; one runs pw.x directly
    ground_state_kgrid: of the computed cell, for a protocol without a ladder; None: the protocol's
    on_end:      called with what is on disk before it is removed

    Raises CrystalError (an element without a pseudopotential), ProtocolError (a protocol that is not
    what its hash says), MissingProgramError, ResourceError (the machine's fault: give the job back
    uncounted) and LeaseLostError (cancelled).
    """
    protocol = Protocol.from_dict(dict(job.protocol), origin=job.crystal.material_id)
    if protocol.hash != job.protocol_hash:
        raise ProtocolError(
            "the job's protocol is not the one its hash names", fix="Seed the material again"
        )
    require_engine(job.engine)
    if job.engine is Engine.YAMBO and protocol.bands != "nscf":
        raise ProtocolError(
            "YAMBO takes the bands of a dense nscf run, the protocol has none",
            fix="Seed the material again with --engine yambo",
        )
    n_electrons = count_electrons(job.crystal)
    if n_electrons % 2:
        return make_result(
            job,
            Finished(
                outcome=Outcome.METAL,
                reason=f"odd electron count {n_electrons}: not an insulator",
                diagnosis="odd_electrons",
            ),
        )
    pseudo_files = checked_pseudopotentials(job.crystal.elements, pseudo_dir)
    with open_workspace(scratch, job.job_id) as workspace:
        # A link of fixed name keeps inputs free of this machine's paths and their length limits.
        link = workspace.directory / PSEUDO_LINK
        link.unlink(missing_ok=True)
        link.symlink_to(pseudo_dir.resolve(), target_is_directory=True)
        context = StepContext(
            crystal=job.crystal,
            cell=compact_cell(job.crystal),
            protocol=protocol,
            n_electrons=n_electrons,
            pseudo_files=pseudo_files,
            workspace=workspace,
            cancelled=cancelled or threading.Event(),
            ranks=ranks,
            engine=job.engine,
        )
        finished = _run(context, on_progress, ground_state_kgrid)
        on_end(context)
        if finished.outcome is Outcome.FAILED:
            workspace.keep_texts(failed_directory(scratch, job.job_id))
        return make_result(job, finished, context)


def _run(
    context: StepContext, on_progress: Callable[[Stage, str], None], ground_state_kgrid: Grid | None
) -> Finished:
    workspace = context.workspace
    plan = make_plan(context.cell.crystal, context.protocol, context.n_electrons)
    if ground_state_kgrid is not None:
        plan = replace(plan, ladder=replace(plan.ladder, kgrids=(ground_state_kgrid,)))
    while True:
        step = next_step(completed(workspace.records), plan)
        if isinstance(step, Finished):
            return step
        if context.cancelled.is_set():
            raise LeaseLostError("stopped: the job is no longer this worker's")
        on_progress(step.stage, step.name)
        if isinstance(step, BandsStep):
            # Bands that fell short are not needed again, and are the largest files there are.
            workspace.drop_wavefunctions()
        workspace.append(run_step(step, context))
