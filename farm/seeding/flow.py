"""The way of all structures of a source into the backlog, batch by batch, in bounded memory."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from functools import partial

from farm.crystal import Crystal
from farm.job import Job, JobState
from farm.processes import map_batches
from farm.rung import Rung
from farm.seeding.appraisal import Terms, Unpriced, appraise
from farm.seeding.queueing import Queued, Queueing
from farm.seeding.rungs import Rungs, Settled, settle
from farm.sources import Rejected, Sieve, Skipped, Unparsed

Row = Queued | Skipped | Rejected


def seed_rows(
    items: Iterable[Unparsed | Crystal | Rejected],
    terms: Terms,
    *,
    queueing: Queueing | None = None,
    held_job_ids: frozenset[str] = frozenset(),
    rungs: Rungs | None = None,
    n_processes: int = 1,
    sieve: Sieve | None = None,
) -> Generator[list[Row], None, None]:
    """Queue what a source gives; what became of each structure, in its order and a batch at a time.

    A batch is in the backlog when its rows come out, and nothing waits for the end of the source: jobs are
    cheapest first among all that are queued so far. Stopped or killed anywhere, the same call goes on: what
    the backlog or the store knows is skipped.

    queueing:     None: nothing is queued, and told as if it were
    held_job_ids: jobs the store has answered; their materials are skipped
    rungs:        None: all are computed under ``terms`` as they are
    n_processes:  how many parse and predict, where there is enough to do
    sieve:        what lets each crystal pass once; None: one with the limit of the filters

    Raises BrokerError for Redis, ResourceError for a process that died, and what a chooser of rungs raises;
    the batches before are queued.
    """
    sieve = sieve or Sieve(terms.filters.limit)
    if sieve.is_full:
        return
    one_rung = Rung.IPA if terms.protocol.is_ipa_only else Rung.RPA
    with closing(map_batches(partial(appraise, terms=terms), items, n_processes)) as batches:
        for answers in batches:
            sifted = list(_sifted(answers, sieve, held_job_ids))
            if rungs is None:
                rows = [Settled(row) if isinstance(row, Job) else row for row in sifted]
            else:
                rows = settle(sifted, rungs, held_job_ids, queueing)
            jobs = [row.job for row in rows if isinstance(row, Settled)]
            known = queueing.queue(jobs) if queueing and jobs else {}
            yield [_told(row, known, one_rung) if isinstance(row, Settled) else row for row in rows]
            if sieve.is_full:
                return


def _sifted(
    answers: Iterable[Job | Unpriced | Rejected | Skipped], sieve: Sieve, held_job_ids: frozenset[str]
) -> Iterator[Job | Rejected | Skipped]:
    """Each crystal once, and none that the store holds; ends when the sieve is full."""
    for answer in answers:
        if sieve.is_full:
            return
        if not isinstance(answer, Job | Unpriced):
            yield answer
        elif refused := sieve.refuse(answer.crystal):
            yield refused
        elif isinstance(answer, Unpriced):
            yield answer.rejected
        elif answer.job_id in held_job_ids:
            yield Skipped(answer.crystal.material_id, "in the store already")
        else:
            yield answer


def _told(row: Settled, known: dict[str, JobState], one_rung: Rung) -> Queued | Skipped:
    if state := known.get(row.job.job_id):
        return Skipped(row.job.crystal.material_id, f"{state.value} in this farm already")
    return Queued.from_job(row.job, row.choice.rung if row.choice else one_rung, row.choice)
