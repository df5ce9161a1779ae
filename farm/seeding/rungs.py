"""At which rung crystals are queued: with local fields, without, or as a chooser says of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from farm.job import Job, make_job_id
from farm.rung import Rung, RungChoice, RungChooser
from farm.seeding.appraisal import Pricer, Terms, Unpriced
from farm.seeding.queueing import Queueing
from farm.sources import Rejected, Skipped


@dataclass(frozen=True, kw_only=True)
class Rungs:
    """What is done where not everything has to be RPA.

    rpa_hash:       of the protocol with local fields. Its results hold the IPA spectra, too: what they
                    answer is not computed again without
    failed_job_ids: jobs that the store has answered by a failure, which answers no other
    choose, ipa:    says of each crystal whether IPA is enough, and under which terms it is then computed;
                    None where all are computed without
    """

    rpa_hash: str
    failed_job_ids: frozenset[str] = frozenset()
    choose: RungChooser | None = None
    ipa: Terms | None = None


@dataclass(frozen=True)
class Settled:
    """A job at the rung that was chosen for it; no choice where all are computed at one rung."""

    job: Job
    choice: RungChoice | None = None


def settle(
    rows: Sequence[Job | Rejected | Skipped],
    rungs: Rungs,
    held_job_ids: frozenset[str],
    queueing: Queueing | None,
) -> list[Settled | Rejected | Skipped]:
    """Leave out what is answered at RPA, and choose the rung of the others."""
    unanswered = _without_answered(rows, rungs, held_job_ids, queueing)
    if rungs.choose is None or rungs.ipa is None:
        return [Settled(row) if isinstance(row, Job) else row for row in unanswered]
    jobs = [row for row in unanswered if isinstance(row, Job)]
    chosen = rungs.choose([job.crystal for job in jobs]) if jobs else []
    choices = {job.job_id: choice for job, choice in zip(jobs, chosen, strict=True)}
    at_ipa = Pricer(rungs.ipa)
    return [
        _chosen(row, choices[row.job_id], at_ipa, held_job_ids) if isinstance(row, Job) else row
        for row in unanswered
    ]


def _without_answered(
    rows: Sequence[Job | Rejected | Skipped],
    rungs: Rungs,
    held_job_ids: frozenset[str],
    queueing: Queueing | None,
) -> list[Job | Rejected | Skipped]:
    siblings = {
        row.job_id: make_job_id(row.crystal.material_id, rungs.rpa_hash, row.engine)
        for row in rows
        if isinstance(row, Job)
    }
    states = queueing.answered(siblings.values()) if queueing and siblings else {}
    kept: list[Job | Rejected | Skipped] = []
    for row in rows:
        if not isinstance(row, Job):
            kept.append(row)
            continue
        sibling = siblings[row.job_id]
        at_rpa = "" if sibling == row.job_id else ", at RPA"
        if sibling in held_job_ids and sibling not in rungs.failed_job_ids:
            kept.append(Skipped(row.crystal.material_id, f"in the store already{at_rpa}"))
        elif state := states.get(sibling):
            kept.append(Skipped(row.crystal.material_id, f"{state.value} in this farm already{at_rpa}"))
        else:
            kept.append(row)
    return kept


def _chosen(
    job: Job, choice: RungChoice, at_ipa: Pricer, held_job_ids: frozenset[str]
) -> Settled | Rejected | Skipped:
    if choice.rung is Rung.RPA:
        return Settled(job, choice)
    priced = at_ipa(job.crystal)
    if isinstance(priced, Unpriced):
        return priced.rejected
    if priced.job_id in held_job_ids:
        return Skipped(job.crystal.material_id, "in the store already")
    return Settled(priced, choice)
