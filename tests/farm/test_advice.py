"""What `farm status` tells somebody to do: for every state that waits for a hand a command that exists."""

from __future__ import annotations

from typing import Any

import pytest

from farm.advice import Urgency, advise
from farm.job import JobState
from tests.command_lines import parse

WELL: dict[str, Any] = {
    "jobs": {state.value: 0 for state in JobState},
    "paused": False,
    "leader": "host:1",
    "workers": [
        {"name": "worker@host.2", "role": "worker", "slots": 2},
        {"name": "writer@host.3", "role": "writer", "slots": 0},
    ],
    "unstored": 0,
    "unserved": {},
    "checkpoint_damage": None,
    "refit_failures": 0,
    "refit_message": "",
}


def farm(**changes: Any) -> dict[str, Any]:
    """A document of a farm that is well but for the changes."""
    jobs = WELL["jobs"] | changes.pop("jobs", {})
    return WELL | changes | {"jobs": jobs}


ILL: dict[str, tuple[dict[str, Any], str, Urgency]] = {
    "nothing runs": (farm(jobs={"ready": 3}, leader="", workers=[]), "farm up", Urgency.NOW),
    "no scheduler": (farm(jobs={"ready": 3}, leader=""), "farm scheduler", Urgency.NOW),
    "no worker": (farm(jobs={"ready": 1}, workers=WELL["workers"][1:]), "farm worker", Urgency.NOW),
    "no writer": (farm(unstored=4, workers=WELL["workers"][:1]), "farm writer", Urgency.SOON),
    "a slow writer": (farm(unstored=1), "farm writer", Urgency.SOON),
    "paused": (farm(paused=True), "farm resume", Urgency.NOW),
    "no yambo": (farm(unserved={"yambo.small": 2}), "farm doctor", Urgency.SOON),
    "no memory": (farm(unserved={"native.large": 2}), "farm worker --slots 1", Urgency.SOON),
    "a full disk": (
        farm(workers=[{"name": "w", "role": "worker", "slots": 1, "hold": "scratch is full"}]),
        "farm doctor",
        Urgency.SOON,
    ),
    "no room for the store": (
        farm(
            workers=[WELL["workers"][0], WELL["workers"][1] | {"free_disk_mb": 312, "writes_to": "/data"}]
        ),
        "farm doctor",
        Urgency.SOON,
    ),
    "a damaged card": (farm(checkpoint_damage="it is damaged"), "farm checkpoints list", Urgency.SOON),
    "failed refits": (
        farm(refit_failures=3, refit_message="no space"),
        "farm train transfer",
        Urgency.SOON,
    ),
    "failed jobs": (farm(jobs={"failed": 1}), "farm report", Urgency.SOON),
    "unconverged": (farm(jobs={"unconverged": 2}), "farm jobs --state unconverged", Urgency.NEWS),
    "cancelled": (farm(jobs={"cancelled": 2}), "farm retry --state cancelled", Urgency.NEWS),
}


def test_a_farm_that_is_well_asks_for_nothing() -> None:
    assert advise(farm(jobs={"ready": 5, "running": 1, "done": 7, "metal": 1})) == []


def test_a_worker_that_leaves_in_good_order_asks_for_nothing() -> None:
    leaving = {"name": "w", "role": "worker", "slots": 1, "hold": "leaves in 27 s", "leaving": True}
    assert advise(farm(workers=[*WELL["workers"], leaving])) == []


def test_an_idle_farm_without_roles_asks_for_nothing() -> None:
    assert advise(farm(jobs={"done": 7}, leader="", workers=[])) == []


@pytest.mark.parametrize("name", ILL)
def test_each_trouble_names_its_command(name: str) -> None:
    document, command, urgency = ILL[name]
    told = advise(document)
    assert (command, urgency) in [(advice.command, advice.urgency) for advice in told]


@pytest.mark.parametrize("name", ILL)
def test_every_command_is_one_of_farm(name: str) -> None:
    for advice in advise(ILL[name][0]):
        parse(advice.command)


def test_the_most_urgent_comes_first() -> None:
    told = advise(farm(jobs={"failed": 1, "cancelled": 1, "ready": 1}, paused=True))
    assert [advice.urgency for advice in told] == sorted(
        (advice.urgency for advice in told), key=list(Urgency).index
    )
    assert told[0].urgency is Urgency.NOW
