"""What the scheduler decides at a tick: pure, from what it saw."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from farm.job import Engine, queue_name
from farm.settings import Settings
from farm.slot_class import SlotClass

_REFIT_ATTEMPTS = 3
# From the start of a job to the arrival of the next message: what starts meanwhile must wait already.
_ANSWER_S = 0.03
# Of jobs ever queued, so much growth since the last ranking asks for another.
_RANK_GROWTH = 0.1


@dataclass(frozen=True, kw_only=True)
class Situation:
    """What the scheduler knows at a tick.

    slots_by_queue:  jobs of each queue that the living workers can run at a time
    slots:           jobs they can run at a time in all
    trainers:        living trainers
    n_unfinished:    jobs not in a final state
    n_unserved:      of these, ready ones that no living worker can take
    n_rpa:           RPA spectra in the store
    n_rpa_fitted:    RPA spectra at the last finished refit
    refit_busy:      a refit is queued or running and its trainer is alive
    refit_failures:  refits that died in a row since the last finished one
    starts_per_s:    messages that went out lately
    n_queued:        jobs of any state
    n_queued_ranked: jobs of any state at the last ranking
    """

    slots_by_queue: Mapping[str, int] = field(default_factory=dict)
    slots: int
    trainers: int
    n_unfinished: int
    n_unserved: int = 0
    n_rpa: int
    n_rpa_fitted: int
    refit_busy: bool
    refit_failures: int
    starts_per_s: float = 0.0
    n_queued: int = 0
    n_queued_ranked: int = 0


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What to do.

    window: messages that may wait in all Celery queues together
    queues: messages that may wait in each
    refit:  whether to ask for a refit
    rank:   whether to ask for a new order of what waits
    """

    window: int
    queues: Mapping[str, int]
    refit: bool
    rank: bool = False


def decide(situation: Situation, settings: Settings) -> Plan:
    """One message waits for each slot, and for jobs of milliseconds as many as start before an answer.

    Messages leave in the order in which they came: only what is queued later cannot overtake them.
    """
    refit = situation.trainers > 0 and refit_due(situation, settings)
    # Before the first worker one job waits for it, of the kind that any worker takes.
    slots = situation.slots_by_queue or {queue_name(Engine.NATIVE, SlotClass.SMALL): 1}
    ahead = int(situation.starts_per_s * _ANSWER_S)
    return Plan(
        window=max(1, situation.slots) + ahead,
        queues={queue: n + ahead for queue, n in slots.items()},
        refit=refit,
        rank=not refit and rank_due(situation, settings),
    )


def refit_due(situation: Situation, settings: Settings) -> bool:
    """True when enough RPA spectra arrived, or when nothing more will come and some are new."""
    if situation.refit_busy or situation.refit_failures >= _REFIT_ATTEMPTS:
        return False
    if situation.n_rpa < settings.refit_min_spectra or situation.n_rpa <= situation.n_rpa_fitted:
        return False
    grown = situation.n_rpa >= situation.n_rpa_fitted * (1 + settings.refit_growth)
    return grown or situation.n_unfinished == 0


def rank_due(situation: Situation, settings: Settings) -> bool:
    """True when a policy asks the model for the order, there is one, and many jobs came since.

    After each refit the trainer ranks by itself.
    """
    if settings.policy == "cheapest" or not situation.trainers or situation.refit_busy:
        return False
    return situation.n_queued > situation.n_queued_ranked * (1 + _RANK_GROWTH)


def unserved(ready: Mapping[str, int], workers: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """Ready jobs by queue that no living worker can take, not even one that pauses."""
    served = {queue for worker in workers for queue in _queues(worker)}
    return {queue: n for queue, n in ready.items() if n and served and queue not in served}


def n_slots_by_queue(workers: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """How many jobs of each queue the workers that take jobs can run at a time."""
    slots: Counter[str] = Counter()
    for worker in workers:
        if not worker.get("hold"):
            for queue in _queues(worker):
                slots[queue] += int(worker["slots"])
    return dict(slots)


def _queues(worker: Mapping[str, Any]) -> list[str]:
    if worker["role"] != "worker":
        return []
    return list(worker.get("queues", [queue_name(Engine.NATIVE, SlotClass.SMALL)]))
