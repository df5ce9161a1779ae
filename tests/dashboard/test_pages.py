"""What the pages say of a farm."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from contextlib import nullcontext

import pytest
from fastapi.testclient import TestClient

from farm.backlog import Backlog
from farm.dashboard.farm_view import Farm, Moment
from farm.errors import BrokerError
from farm.hold import Hold
from farm.job import Job
from farm.result import Result
from farm.settings import Settings
from farm.store import StoreWriter
from tests.dashboard.conftest import MATERIALS

Browse = Callable[..., TestClient]


@pytest.mark.usefixtures("stored")
def test_the_table_has_every_material(browse: Browse) -> None:
    page = browse().get("/materials").text
    for material_id, *_ in MATERIALS:
        assert f"/materials/{material_id}" in page


@pytest.mark.usefixtures("stored")
def test_failures_say_what_to_do(browse: Browse) -> None:
    page = browse().get("/failures").text
    for words in ("scf not converged", "atoms may be too close", "ladder unconverged"):
        assert words in page, words


@pytest.mark.usefixtures("stored")
def test_a_material_has_its_numbers_and_its_files(browse: Browse) -> None:
    client = browse()
    page = client.get("/materials/BN-hexagonal").text
    for words in ("4.25", "4.69", "P6_3/mmc", "Local fields", "Structure", "<svg"):
        assert words in page, words
    cif = client.get("/materials/BN-hexagonal/structure.cif")
    assert cif.headers["content-disposition"] == 'attachment; filename="BN-hexagonal.cif"'
    assert cif.text.count("B3+") + cif.text.count(" B ") >= 1


@pytest.mark.usefixtures("stored")
def test_a_failed_one_says_why(browse: Browse) -> None:
    page = browse().get("/materials/agm000999002").text
    for words in ("scf did not converge in 200 iterations", "mixing_beta = 0.3", "atoms may be too close"):
        assert words in page, words


def test_a_waiting_one_is_known(browse: Browse, backlog: Backlog, make_job: Callable[..., Job]) -> None:
    backlog.enqueue([make_job("waits-here", 12.0)])
    answer = browse().get("/materials/waits-here")
    assert answer.status_code == 200
    assert "Nothing in the store yet: 2 atoms" in answer.text
    assert "ready" in answer.text


def test_the_gauge_of_what_waits(browse: Browse, backlog: Backlog, make_job: Callable[..., Job]) -> None:
    backlog.enqueue([make_job(name) for name in "ABCD"])
    first, second = backlog.dispatch(2, 60)
    backlog.start(first.job_id, first.token, "worker@a.1", 60)
    told = browse().get("/api/backlog").json()
    assert told["waiting"] == 3
    assert told["native"]["small"] == {"ready": 2, "waiting": 3, "running": 1}
    assert second.job_id != first.job_id


def test_roles_say_why_they_take_no_jobs_and_what_room_they_have(browse: Browse, backlog: Backlog) -> None:
    disk = {"free_disk_mb": 2000, "writes_to": "/fast/scratch"}
    worker = {"role": "worker", "slots": 2, **disk}
    backlog.roster.report_worker("worker@a.1", worker, 60, Hold("pw.x not found"))
    backlog.roster.report_worker("worker@b.1", worker, 60, Hold("had no job for 5 min", is_leaving=True))
    page = browse().get("/").text
    assert 'takes no jobs</span> <span class="small">pw.x not found<' in page
    assert 'leaves</span> <span class="small">had no job for 5 min<' in page
    assert ("taken by worker@a.1" in page, "taken by worker@b.1" in page) == (True, False)
    assert page.count('title="/fast/scratch">2.1 GB<') == 2


@pytest.mark.usefixtures("stored")
def test_status_is_that_of_the_command(browse: Browse, run: Callable[..., tuple[int, str, str]]) -> None:
    shown = browse().get("/api/status").json()
    said = json.loads(run("status", "--json")[1])
    assert shown["store"] == said["store"]
    assert shown["jobs"] == said["jobs"]
    assert shown["advice"] == said["advice"]


@pytest.mark.usefixtures("stored")
def test_materials_for_programs(browse: Browse) -> None:
    client = browse()
    told = client.get("/api/materials").json()
    assert told["total"] == len(MATERIALS)
    ids = {material_id for material_id, *_ in MATERIALS}
    assert {row["material_id"] for row in told["materials"]} == ids
    table = csv.DictReader(io.StringIO(client.get("/materials.csv").text))
    assert {row["material_id"] for row in table} == ids


def test_metrics_have_failures(browse: Browse, stored: object) -> None:
    assert stored
    assert 'farm_failures{diagnosis="scf_not_converged",farm="farm"} 2.0' in browse().get("/metrics").text


def test_a_table_of_nothing_has_the_header_of_every_table(
    browse: Browse, settings: Settings, make_job: Callable[..., Job], make_result: Callable[..., Result]
) -> None:
    client = browse()
    nothing = client.get("/materials.csv").text
    with StoreWriter(settings.store_path) as writer:
        writer.append(make_result(make_job("A")))
    header, row = browse().get("/materials.csv").text.splitlines()
    assert nothing == f"{header}\n"
    assert row.startswith("A,")


def test_whether_it_answers_is_told_without_a_body(browse: Browse) -> None:
    answer = browse().head("/health")
    assert (answer.status_code, answer.content) == (200, b"")


def test_an_empty_farm_has_pages(browse: Browse) -> None:
    client = browse()
    for path in ("/", "/materials", "/jobs", "/failures", "/model"):
        assert client.get(path).status_code == 200


@pytest.mark.usefixtures("stored")
def test_without_redis_the_store_is_shown(settings: Settings) -> None:
    from farm.dashboard.access import make_access
    from farm.dashboard.app import make_app
    from farm.dashboard.server import patient_backlog

    farm = Farm(settings, patient_backlog("redis://127.0.0.1:1/0", "farm"))
    with TestClient(make_app(farm, make_access("127.0.0.1")), base_url="http://127.0.0.1:8080") as client:
        assert "BN-hexagonal" in client.get("/materials").text
        away = client.get("/jobs")
        assert away.status_code == 503
        assert "Redis" in away.text
        assert "Traceback" not in away.text


@pytest.mark.parametrize("is_away", [False, True])
def test_who_waited_for_redis_gets_what_the_first_got(
    settings: Settings, backlog: Backlog, monkeypatch: pytest.MonkeyPatch, is_away: bool
) -> None:
    farm, clock, asked = Farm(settings, backlog), [0.0], []
    gather = farm._gather

    def slowly() -> Moment:
        asked.append(clock[0])
        clock[0] += 10.0
        if is_away:
            raise BrokerError("Redis does not answer", fix="Start it")
        return gather()

    monkeypatch.setattr(farm, "_gather", slowly)
    monkeypatch.setattr("farm.dashboard.farm_view.time.monotonic", lambda: clock[0])
    for _ in range(5):
        with pytest.raises(BrokerError, match="Start it") if is_away else nullcontext():
            farm.moment()
    assert asked == [0.0]
    clock[0] += 2.0
    with pytest.raises(BrokerError) if is_away else nullcontext():
        farm.moment()
    assert asked == [0.0, 12.0]
