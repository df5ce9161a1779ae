"""The sums of ``farm report`` against numbers worked out by hand."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import pytest

from farm.errors import StoreError
from farm.tally import Told, tally


def stage(name: str, cpu_s: float, wall_s: float = 1.0, peak_memory_mb: float = 50.0) -> dict[str, Any]:
    return {"stage": name, "cpu_s": cpu_s, "wall_s": wall_s, "peak_memory_mb": peak_memory_mb}


def step(name: str, disk_mb: float) -> dict[str, Any]:
    return {"name": f"step of {name}", "stage": name, "disk_mb": disk_mb}


def correction(diagnosis: str, remedy: str, **fields: Any) -> dict[str, Any]:
    return {"step": "scf", "diagnosis": diagnosis, "remedy": remedy, "changes_physics": False, **fields}


def told(material: str = "one", outcome: str = "done", **fields: Any) -> Told:
    """A result that says nothing but its outcome, and what is given; lists become JSON."""
    texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in fields.items()}
    nothing = dict.fromkeys(Told._fields, "")
    return Told(**(nothing | {"material": material, "outcome": outcome} | texts))


def by_stage(results: Iterable[Told]) -> dict[str, dict[str, Any]]:
    stages = tally(results)["stages"]
    found = {document["stage"]: document for document in stages}
    assert len(found) == len(stages)
    return found


def test_nothing_adds_up_to_nothing() -> None:
    assert tally([]) == {
        "results": 0,
        "outcomes": {"done": 0, "metal": 0, "unconverged": 0, "failed": 0},
        "stages": [],
        "remedies": [],
        "not_done": [],
    }


def test_outcomes_are_counted() -> None:
    document = tally([told(outcome=o) for o in ("done", "failed", "done", "metal", "done")])
    assert document["results"] == 5
    assert document["outcomes"] == {"done": 3, "metal": 1, "unconverged": 0, "failed": 1}


def test_stages_come_in_their_order_and_all_of_them_last() -> None:
    stages = [stage("response", 1.0), stage("ground_state", 1.0)]
    assert list(by_stage([told(stages=stages)])) == ["ground_state", "response", "all"]


def test_quantiles_sums_and_shares_of_a_stage() -> None:
    results = [told(stages=[stage("ground_state", float(i)), stage("bands", 1.0)]) for i in range(11)]
    stages = by_stage(results)
    assert stages["ground_state"]["cpu_s"] == {
        "results": 11,
        "median": 5.0,
        "p90": 9.0,
        "max": 10.0,
        "sum": 55.0,
        "share": pytest.approx(55 / 66),
    }
    assert stages["bands"]["cpu_s"]["share"] == pytest.approx(11 / 66)
    assert stages["all"]["cpu_s"]["sum"] == 66.0
    assert stages["all"]["cpu_s"]["share"] == 1.0
    assert stages["all"]["cpu_s"]["max"] == 11.0  # of one material, not of one stage
    assert stages["bands"]["wall_s"]["share"] == 0.5


def test_memory_is_the_largest_and_not_the_sum() -> None:
    stages = [stage("bands", 1.0, peak_memory_mb=70.0), stage("response", 1.0, peak_memory_mb=300.0)]
    found = by_stage([told(stages=stages)])
    expected = {"results": 1, "median": 300.0, "p90": 300.0, "max": 300.0}
    assert found["all"]["peak_memory_mb"] == expected
    assert found["bands"]["peak_memory_mb"]["max"] == 70.0


def test_disk_of_a_stage_is_its_largest_step() -> None:
    steps = [step("ground_state", 2.0), step("ground_state", 5.0), step("ground_state", 3.0)]
    steps.append(step("response", 1.0))
    found = by_stage([told(stages=[stage("ground_state", 1.0), stage("response", 1.0)], steps=steps)])
    assert {name: found[name]["disk_mb"]["max"] for name in found} == {
        "ground_state": 5.0,
        "response": 1.0,
        "all": 5.0,
    }


def test_a_stage_that_only_steps_tell_has_a_disk_and_no_time() -> None:
    found = by_stage([told(stages=[stage("bands", 1.0)], steps=[step("response", 4.0)])])
    assert found["response"]["disk_mb"]["max"] == 4.0
    assert found["response"]["cpu_s"] is None
    assert found["all"]["cpu_s"]["sum"] == 1.0


def test_results_of_older_versions_do_not_spoil_the_disk_of_the_others() -> None:
    older = told(stages=[stage("bands", 1.0)])
    newer = told(stages=[stage("bands", 3.0)], steps=[step("bands", 8.0)])
    assert by_stage([older])["bands"]["disk_mb"] is None
    found = by_stage([older, newer])["bands"]
    assert found["disk_mb"] == {"results": 1, "median": 8.0, "p90": 8.0, "max": 8.0}
    assert found["cpu_s"]["results"] == 2


def test_what_took_no_time_has_no_share() -> None:
    assert by_stage([told(stages=[stage("bands", 0.0)])])["bands"]["cpu_s"]["share"] == 0.0


def test_a_metal_by_its_electron_count_cost_nothing() -> None:
    results = [told(outcome="metal", stages="[]", corrections="[]"), told(stages=[stage("bands", 4.0)])]
    assert by_stage(results)["all"]["cpu_s"]["results"] == 1
    assert by_stage(results)["all"]["cpu_s"]["median"] == 4.0


def test_the_share_of_a_remedy_is_of_the_cases_in_which_it_is_known() -> None:
    worked = [True, True, False, None]
    corrections = [correction("scf_unconverged", "slower mixing", worked=w) for w in worked]
    corrections.append(correction("scf_unconverged", "slower mixing"))  # says nothing, as older ones
    assert tally([told(corrections=corrections)])["remedies"] == [
        {
            "diagnosis": "scf_unconverged",
            "remedy": "slower mixing",
            "tried": 5,
            "worked": 2,
            "not_known": 2,
            "share": pytest.approx(2 / 3),
        }
    ]


def test_a_remedy_of_which_nothing_is_known_has_no_share() -> None:
    (remedy,) = tally([told(corrections=[correction("killed", "again")])])["remedies"]
    assert (remedy["worked"], remedy["not_known"], remedy["share"]) == (0, 1, None)


def test_remedies_are_told_apart_by_diagnosis_and_ordered_by_use() -> None:
    rare = correction("killed", "again", worked=True)
    often = correction("silent", "again", worked=False)
    tied = correction("broyden", "shorter", worked=True)
    remedies = tally([told(corrections=[rare, often]), told(corrections=[often, tied])])["remedies"]
    assert [(r["diagnosis"], r["tried"], r["share"]) for r in remedies] == [
        ("silent", 2, 0.0),
        ("broyden", 1, 1.0),
        ("killed", 1, 1.0),
    ]


def test_what_is_not_done_has_the_first_example_and_any_advice() -> None:
    results = [
        told("good"),
        told("a", "failed", diagnosis="overlap", reason="atoms overlap"),
        told("b", "metal", diagnosis="small_gap", reason="gap 0"),
        told("c", "failed", diagnosis="overlap", reason="other", advice="Look at it"),
        told("d", "failed", diagnosis="overlap", advice="Not the first"),
        told("e", "unconverged", diagnosis="overlap"),
        *(told(f"odd-{i}", "metal", diagnosis="odd_electrons") for i in range(4)),
    ]
    not_done = tally(results)["not_done"]
    assert [(e["outcome"], e["diagnosis"], e["count"], e["example"]) for e in not_done] == [
        ("metal", "odd_electrons", 4, "odd-0"),
        ("failed", "overlap", 3, "a"),
        ("metal", "small_gap", 1, "b"),
        ("unconverged", "overlap", 1, "e"),
    ]
    assert (not_done[1]["reason"], not_done[1]["advice"]) == ("atoms overlap", "Look at it")


@pytest.mark.parametrize("field", ["stages", "steps", "corrections"])
def test_a_damaged_text_names_its_material(field: str) -> None:
    with pytest.raises(StoreError, match="the record of broken is damaged"):
        tally([told(), told("broken", **{field: '[{"stage'})])
