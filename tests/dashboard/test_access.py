"""Who may look and who may act: every door tried without its key."""

from __future__ import annotations

import logging
import re
import subprocess
import sys
from collections.abc import Callable

import pytest
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from farm.backlog import Backlog
from farm.dashboard.access import Access, make_access
from farm.errors import SettingsError
from farm.job import Job, JobState
from tests.dashboard.conftest import OPERATE_TOKEN, VIEW_TOKEN

Browse = Callable[..., TestClient]
PAGES = ("/", "/materials", "/jobs", "/failures", "/model", "/api/status", "/api/backlog", "/metrics")

ANYWHERE = "0.0.0.0"  # noqa: S104 - nothing listens


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def log_in(client: TestClient, token: str) -> None:
    answer = client.post("/login", data={"token": token, "next": "/jobs"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/jobs")


def csrf_of(client: TestClient) -> str:
    found = re.search(r'name="csrf" value="([^"]+)"', client.get("/jobs").text)
    assert found is not None
    return found[1]


@pytest.mark.parametrize("path", PAGES)
def test_beyond_loopback_nothing_is_shown_without_a_token(
    browse: Browse, guarded: Access, path: str
) -> None:
    client = browse(guarded)
    asked = client.get(path)
    if path.startswith(("/api", "/metrics")):
        assert asked.status_code == 401
    else:
        assert (asked.status_code, asked.headers["location"].partition("?")[0]) == (303, "/login")
    for wrong in (VIEW_TOKEN[:-1], VIEW_TOKEN + "x", "", OPERATE_TOKEN.upper()):
        assert client.get(path, headers=bearer(wrong)).status_code == 401
    assert client.get(path, headers=bearer(VIEW_TOKEN)).status_code == 200


def test_health_is_open_and_says_nothing_else(browse: Browse, guarded: Access) -> None:
    assert browse(guarded).get("/health").json() == {"ok": True}


def test_on_loopback_everybody_looks_and_nobody_acts(
    browse: Browse, backlog: Backlog, make_job: Callable[..., Job]
) -> None:
    backlog.enqueue([make_job("A")])
    client = browse()
    assert all(client.get(path).status_code == 200 for path in PAGES)
    assert client.post("/jobs/pause").status_code == 403
    assert client.post("/jobs/cancel", data={"state": "ready"}).status_code == 403
    assert not backlog.paused()
    assert backlog.counts()[JobState.READY] == 1


def test_the_view_token_acts_on_nothing(browse: Browse, guarded: Access, backlog: Backlog) -> None:
    client = browse(guarded)
    assert client.post("/jobs/pause", headers=bearer(VIEW_TOKEN)).status_code == 403
    log_in(client, VIEW_TOKEN)
    assert client.post("/jobs/pause", data={"csrf": "x"}).status_code == 403
    assert not backlog.paused()


def test_a_session_acts_with_its_own_form_only(
    browse: Browse, guarded: Access, backlog: Backlog, make_job: Callable[..., Job]
) -> None:
    jobs = [make_job("A"), make_job("B")]
    backlog.enqueue(jobs)
    client, other = browse(guarded), browse(guarded)
    log_in(client, OPERATE_TOKEN)
    log_in(other, OPERATE_TOKEN)
    for data in ({}, {"csrf": ""}, {"csrf": "x" * 64}):
        assert client.post("/jobs/pause", data=data).status_code == 403
    assert not backlog.paused()
    assert client.post("/jobs/pause", data={"csrf": csrf_of(client)}).status_code == 303
    assert backlog.paused()
    asked = client.post(
        "/jobs/confirm", data={"csrf": csrf_of(client), "action": "cancel", "job": jobs[0].job_id}
    )
    assert asked.status_code == 200
    assert backlog.counts()[JobState.CANCELLED] == 0
    client.post("/jobs/cancel", data={"csrf": csrf_of(client), "job": jobs[0].job_id})
    assert backlog.counts()[JobState.CANCELLED] == 1


def test_the_operate_token_of_a_program_acts(browse: Browse, guarded: Access, backlog: Backlog) -> None:
    headers = bearer(OPERATE_TOKEN) | {"Accept": "application/json"}
    assert browse(guarded).post("/jobs/pause", headers=headers).json() == {"paused": True}
    assert backlog.paused()


def test_a_forged_or_old_cookie_is_nobody(browse: Browse, guarded: Access) -> None:
    client = browse(guarded)
    log_in(client, VIEW_TOKEN)
    cookie = client.cookies["farm_session"]
    assert client.get("/").status_code == 200
    assert VIEW_TOKEN not in cookie
    for forged in (cookie[:-2] + ("AA" if not cookie.endswith("AA") else "BB"), cookie + "A", "x", ""):
        client.cookies.clear()
        client.cookies.set("farm_session", forged)
        assert client.get("/").status_code != 200
    assert guarded.session(cookie, now_s=4e9) is None


def test_the_cookie_is_for_this_site_and_no_script(browse: Browse, guarded: Access) -> None:
    answer = browse(guarded).post("/login", data={"token": VIEW_TOKEN})
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie


def test_wrong_tokens_are_counted(browse: Browse, guarded: Access) -> None:
    client = browse(guarded)
    codes = [client.post("/login", data={"token": f"wrong-{i:020d}"}).status_code for i in range(40)]
    assert codes[0] == 401
    assert codes[-1] == 429


@pytest.mark.parametrize(
    "onward", ["//evil.example", "https://evil.example", "/\\evil.example", "javascript:x"]
)
def test_a_login_leads_to_this_server(browse: Browse, guarded: Access, onward: str) -> None:
    answer = browse(guarded).post("/login", data={"token": VIEW_TOKEN, "next": onward})
    assert answer.headers["location"] == "/"


def test_another_host_name_is_refused(browse: Browse) -> None:
    client = browse()
    for host in ("evil.example", "evil.example:8080", "127.0.0.1.evil.example", ""):
        assert client.get("/", headers={"Host": host}).status_code == 400
    assert client.get("/", headers={"Host": "localhost:8080"}).status_code == 200


@pytest.mark.parametrize(
    ("host", "is_own"),
    [
        ("127.0.0.1", True),
        ("[::1]:8080", True),
        ("::1", True),
        ("farm.example.org:443", True),
        ("FARM.example.org", True),
        ("127.0.0.1:8080/login?", False),
        ("[::1]/login?", False),
        ("farm.example.org:443/static/#", False),
        ("farm.example.org:8080@evil.example", False),
    ],
)
def test_a_host_is_a_name_and_a_port_and_nothing_else(host: str, is_own: bool) -> None:
    access = make_access(ANYWHERE, view_token=VIEW_TOKEN, host_names=("farm.example.org",))
    assert access.is_own_host(host) is is_own


@pytest.mark.parametrize("origin", ["http://[", "null", "", "//127.0.0.1:8080/"])
def test_an_origin_that_is_none_is_refused(browse: Browse, guarded: Access, origin: str) -> None:
    answer = browse(guarded).post("/login", data={"token": VIEW_TOKEN}, headers={"Origin": origin})
    assert answer.status_code == 403


@pytest.mark.usefixtures("stored")
@pytest.mark.parametrize("path", [*PAGES[:5], "/materials/BN-hexagonal", "/nowhere", "/static/style.css"])
def test_every_answer_has_its_headers(browse: Browse, path: str) -> None:
    headers = browse().get(path).headers
    policy = headers["content-security-policy"]
    assert "default-src 'self'" in policy or "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert headers["x-content-type-options"] == "nosniff"


@pytest.mark.usefixtures("stored")
@pytest.mark.parametrize(
    "path",
    [
        "/materials/..%2f..%2fetc%2fpasswd",
        "/materials/%2e%2e",
        "/materials/nope",
        "/checkpoints/..%2f/card.json",
        "/checkpoints/latest/..%2f..%2ffarm.toml",
        "/checkpoints/0001/%2e%2e/%2e%2e/farm.toml",
        "/static/..%2fapp.py",
        "/static/%2e%2e/app.py",
    ],
)
def test_no_address_reaches_the_file_system(browse: Browse, settings: object, path: str) -> None:
    (settings.home / "farm.toml").write_text("slots = 1\n")  # type: ignore[attr-defined]
    answer = browse().get(path)
    assert answer.status_code in (400, 404)
    assert "slots" not in answer.text
    assert "root:" not in answer.text


def test_tokens_are_in_no_page_and_no_log(
    browse: Browse, guarded: Access, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    client = browse(guarded)
    log_in(client, OPERATE_TOKEN)
    pages = "".join(client.get(path).text for path in PAGES)
    client.post("/login", data={"token": "wrong-0123456789abcdef"})
    for token in (OPERATE_TOKEN, VIEW_TOKEN, "wrong-0123456789abcdef"):
        assert token not in pages
        assert token not in caplog.text


@pytest.mark.parametrize(
    ("tokens", "words"),
    [
        ({}, ANYWHERE),
        ({"operate_token": "short"}, "shorter"),
        ({"operate_token": "x" * 20, "view_token": "x" * 20}, "the same"),
    ],
)
def test_rules_that_protect_nothing_are_refused(tokens: dict[str, str], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        make_access(ANYWHERE, **tokens)


def test_it_does_not_start_beyond_loopback_without_a_token(tmp_path: object) -> None:
    command = [
        sys.executable,
        "-m",
        "farm.cli.main",
        "--home",
        str(tmp_path),
        "dashboard",
        "--host",
        ANYWHERE,
    ]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 2
    assert ended.stderr.startswith("farm: ")
    assert ended.stderr.count("\n") == 1


@pytest.mark.parametrize("host", ["farm..example.org", "a" * 70])
def test_what_is_no_host_is_one_line(
    run: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    monkeypatch.setenv("FARM_DASHBOARD_TOKEN", OPERATE_TOKEN)
    code, _, said = run("dashboard", "--host", host)
    assert (code, said.count("\n")) == (1, 1)
    assert said.startswith("farm: ")


def test_an_address_that_a_proxy_tells_is_not_kept_at_any_length(
    browse: Browse, guarded: Access, caplog: pytest.LogCaptureFixture
) -> None:
    client = browse(guarded, client=("x" * 50_000, 1))
    assert client.post("/login", data={"token": "wrong-0123456789abcdef"}).status_code == 401
    assert "was shown by xxx" in caplog.text
    assert len(caplog.text) < 1000


@pytest.fixture
def visitor(browse: Browse, stored: object) -> TestClient:
    """Somebody on loopback, of a farm with some materials."""
    assert stored
    return browse()


@hypothesis_settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    page=st.sampled_from(("/materials", "/jobs", "/failures", "/materials/BN-hexagonal", "/api/materials")),
    query=st.dictionaries(
        st.sampled_from(
            (
                "text",
                "page",
                "sort",
                "descending",
                "state",
                "name",
                "outcome",
                "engine",
                "protocol",
                "gap_min_ev",
                "atoms_max",
                "did",
                "n",
            )
        )
        | st.text(max_size=5),
        st.text(max_size=12) | st.integers().map(str) | st.floats().map(str),
        max_size=4,
    ),
)
def test_whatever_is_asked_is_answered(visitor: TestClient, page: str, query: dict[str, str]) -> None:
    assert visitor.get(page, params=query).status_code < 500
