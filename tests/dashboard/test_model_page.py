"""The page of the model, and the files of its versions as `farm pull` takes them."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from fastapi.testclient import TestClient

from farm.backlog import Backlog
from farm.dashboard.access import Access, make_access
from farm.dashboard.app import make_app
from farm.dashboard.checkpoint_cards import checkpoint_file, read_checkpoints, read_history
from farm.dashboard.farm_view import Farm
from farm.settings import Settings
from tests.dashboard.conftest import OPERATE_TOKEN, VIEW_TOKEN

Browse = Callable[..., TestClient]
WEIGHTS = b"not really weights, but theirs" * 100


def make_version(
    directory: Path, number: int, *, n_train: int, median_sc: float, n_held_out: int = 8
) -> str:
    """A checkpoint as the trainer writes it, with a card that proves itself."""
    sc = [median_sc + 0.01 * (i - (n_held_out - 1) / 2) for i in range(n_held_out)]
    card: dict[str, Any] = {
        "version": "",
        "format": 2,
        "parent": None,
        "created": f"2026-11-{number:02d}T04:40:51+00:00",
        "n_train": n_train,
        "model": {"architecture": "oscillators"},
        "energy_max_ev": 20.0,
        "base": {"n_materials": n_train},
        "transfer": {},
        "dataset": {"n_rows": n_train + n_held_out, "hash": "d" * 64},
        "split": {"hash": "e" * 64},
        "protocol_hashes": ["51b583af65df" + "0" * 52],
        "metrics": {"rpa": {"n": n_held_out, "median_sc": median_sc}, "ipa_as_rpa": {"median_sc": 0.9}},
        "held_out": [
            {"material": f"m-{i}", "formula": "MgO", "sc": x, "sc_ipa_as_rpa": 0.9}
            for i, x in enumerate(sc)
        ],
        "software": {"farm": "0.1.0"},
        "uncertainty": {"members": 4, "held_out": {"levels": [0.5, 0.8], "point": [0.4, 0.71]}},
        "similarity": {},
        "files": {"rpa.safetensors": hashlib.sha256(WEIGHTS).hexdigest()},
    }
    content = {key: value for key, value in card.items() if key != "version"}
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    card["version"] = f"{number:04d}-{digest[:6]}"
    place = directory / card["version"]
    place.mkdir(parents=True)
    (place / "card.json").write_text(json.dumps(card))
    (place / "rpa.safetensors").write_bytes(WEIGHTS)
    return str(card["version"])


@pytest.fixture
def versions(settings: Settings) -> list[str]:
    """Three of them: promoted, kept aside, promoted; and what was decided."""
    directory = settings.checkpoints_dir
    names = [
        make_version(directory, number, n_train=n, median_sc=sc)
        for number, n, sc in ((1, 10, 0.61), (2, 20, 0.58), (3, 40, 0.733))
    ]
    (directory / "latest").symlink_to(names[2])
    lines = [
        {"event": "promoted", "version": names[0], "why": "nothing to compare with"},
        {
            "event": "refused",
            "version": names[1],
            "why": "worse on the held-out materials",
            "numbers": {"median_sc": 0.58, "before": 0.61, "p_worse": 0.93},
        },
        {"event": "promoted", "version": names[2], "why": "not worse", "numbers": {"median_sc": 0.733}},
    ]
    text = "".join(json.dumps({"time": "2026-11-30T04:40:03+00:00", **line}) + "\n" for line in lines)
    (directory / "history.jsonl").write_text(text + "cut off {\n")
    return names


def test_the_page_says_what_is_in_use_and_what_was_decided(browse: Browse, versions: list[str]) -> None:
    page = browse().get("/model").text
    said = (f"In use: {versions[2]}", "0.733", "0.900", "of 80% hold 71%", "d" * 64, "40")
    decided = (
        "kept aside: held-out median SC 0.580, 0.610 before (93% likely worse); worse on",
        "not worse",
    )
    for words in (*said, *decided, hashlib.sha256(WEIGHTS).hexdigest(), "farm pull --from"):
        assert words in page, words
    assert page.count('<g class="dot ') == 6
    assert page.count('<g class="dot aside"') == 1
    assert "style=" not in page


def test_a_farm_without_a_model_says_so(browse: Browse) -> None:
    assert "No model yet" in browse().get("/model").text


def test_a_refit_that_runs_is_told(browse: Browse, backlog: Backlog) -> None:
    backlog.roster.set_refit_state(state="running", progress="ipa, epoch 7, loss 0.123")
    assert "ipa, epoch 7, loss 0.123" in browse().get("/model").text
    backlog.roster.set_refit_state(state="idle", failures=2, message="the store has one protocol too many")
    assert "the store has one protocol too many" in browse().get("/model").text


def test_a_damaged_card_is_one_line(browse: Browse, settings: Settings, versions: list[str]) -> None:
    (settings.checkpoints_dir / versions[1] / "card.json").write_text("{")
    page = browse().get("/model")
    assert page.status_code == 200
    assert f"{versions[1]}: its card cannot be read" in page.text
    assert f"In use: {versions[2]}" in page.text
    answer = browse().get(f"/checkpoints/{versions[1]}/rpa.safetensors")
    assert answer.status_code == 404


@pytest.mark.parametrize(
    "said",
    [
        {"n_train": "many"},
        {"n_train": -3},
        {"n_train": 10**400},
        {"n_train": float("nan")},
        {"held_out": [{"material": "m", "formula": "MgO", "sc": 10**400, "sc_ipa_as_rpa": 0.9}]},
        {"uncertainty": {"held_out": {"levels": [0.8], "point": []}}},
    ],
    ids=str,
)
def test_whatever_a_card_says_the_pages_are_there(
    browse: Browse, settings: Settings, versions: list[str], said: dict[str, Any]
) -> None:
    path = settings.checkpoints_dir / versions[1] / "card.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | said))
    client = browse()
    page = client.get("/model")
    assert page.status_code == client.get("/").status_code == 200
    assert f"{versions[1]}: its card cannot be read" in page.text
    assert f"In use: {versions[2]}" in page.text


@pytest.mark.parametrize("number", [str(10**400), "1e999", "-1e999", "NaN", '"0.5"', "true"])
def test_what_is_no_number_is_not_told_of(browse: Browse, settings: Settings, number: str) -> None:
    what = '{"time": "2026-11-30", "event": "promoted", "version": "0001-abcdef", "numbers": {"median_sc": '
    line = what + number + "}}"
    settings.checkpoints_dir.mkdir()
    (settings.checkpoints_dir / "history.jsonl").write_text(line + "\n")
    assert [each.median_sc for each in read_history(settings.checkpoints_dir / "history.jsonl")] == [None]
    assert browse().get("/model").status_code == 200


def test_a_directory_that_cannot_be_read_is_one_line(
    browse: Browse, settings: Settings, versions: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = Path.iterdir

    def refused(path: Path) -> Iterator[Path]:
        if path == settings.checkpoints_dir:
            raise PermissionError(13, "Permission denied", str(path))
        return listed(path)

    monkeypatch.setattr(Path, "iterdir", refused)  # root may read everything
    client = browse()
    assert "checkpoints cannot be read: Permission denied" in client.get("/model").text
    assert client.get("/").status_code == 200
    assert client.get(f"/checkpoints/{versions[0]}/card.json").status_code == 404


def test_only_files_that_a_card_names_are_given(
    browse: Browse, settings: Settings, versions: list[str]
) -> None:
    directory, newest = settings.checkpoints_dir, versions[2]
    (directory / newest / "secret.txt").write_text("secret")
    client = browse()
    assert client.get(f"/checkpoints/{newest}/rpa.safetensors").content == WEIGHTS
    assert client.get("/checkpoints/latest/card.json").json()["version"] == newest
    for address in (
        f"{newest}/secret.txt",
        f"{newest}/..%2fhistory.jsonl",
        f"{newest}/%2e%2e",
        "..%2f..%2f/card.json",
        "..%2fcheckpoints/card.json",
        f"{newest}%2f..%2f{newest}/card.json",
        "0009-abcdef/card.json",
    ):
        assert client.get(f"/checkpoints/{address}").status_code == 404, address
    # A link in place of a file that the card names leads nowhere.
    weights = directory / newest / "rpa.safetensors"
    weights.unlink()
    weights.symlink_to(directory / newest / "secret.txt")
    assert checkpoint_file(directory, newest, "rpa.safetensors") is None


def test_latest_that_leads_elsewhere_is_none(settings: Settings, versions: list[str]) -> None:
    directory = settings.checkpoints_dir
    (directory / "latest").unlink()
    (directory / "latest").symlink_to("../..")
    found = read_checkpoints(directory)
    assert [version.name for version in found.versions] == versions
    assert found.latest == ""
    assert checkpoint_file(directory, "latest", "card.json") is None


def test_history_skips_what_is_cut_off(settings: Settings, versions: list[str]) -> None:
    history = read_history(settings.checkpoints_dir / "history.jsonl")
    assert [line.version for line in history] == versions
    assert history[1].p_worse == 0.93
    assert read_history(settings.home / "none.jsonl") == ()


def test_files_need_the_token_that_pages_need(browse: Browse, guarded: Access, versions: list[str]) -> None:
    client = browse(guarded)
    address = f"/checkpoints/{versions[2]}/card.json"

    def basic(token: str) -> dict[str, str]:
        return {"Authorization": "Basic " + base64.b64encode(f"farm:{token}".encode()).decode()}

    assert client.get(address).status_code == 401
    assert client.get(address, headers=basic("wrong-0123456789abcdef")).status_code == 401
    assert client.get(address, headers={"Authorization": "Basic ???"}).status_code == 401
    assert client.get(address, headers=basic(VIEW_TOKEN)).status_code == 200
    assert client.get(address, headers={"Authorization": f"Bearer {VIEW_TOKEN}"}).status_code == 200
    # A browser that remembers a password sends it along with forms of other pages: it opens nothing else.
    assert client.get("/model", headers=basic(OPERATE_TOKEN)).status_code == 401
    assert client.post("/jobs/pause", headers=basic(OPERATE_TOKEN)).status_code == 401


@pytest.fixture
def served(settings: Settings, backlog: Backlog, guarded: Access) -> Iterator[Callable[[bool], str]]:
    """The address of a real server, with tokens or on loopback without."""
    stops: list[Callable[[], None]] = []

    def serve(with_tokens: bool) -> str:
        app = make_app(Farm(settings, backlog), guarded if with_tokens else make_access("127.0.0.1"))
        listener = socket.create_server(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()

        def stop() -> None:
            server.should_exit = True
            thread.join()
            listener.close()

        stops.append(stop)
        deadline = time.monotonic() + 30
        while not server.started:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        return f"127.0.0.1:{listener.getsockname()[1]}"

    yield serve
    for stop in stops:
        stop()


def test_farm_pull_takes_it(
    run: Callable[..., tuple[int, str, str]],
    served: Callable[[bool], str],
    versions: list[str],
    tmp_path: Path,
) -> None:
    there, elsewhere = served(False), tmp_path / "elsewhere"
    code, _, said = run("pull", "--from", f"http://{there}/checkpoints", str(elsewhere))
    assert code == 0, said
    assert (elsewhere / versions[2] / "rpa.safetensors").read_bytes() == WEIGHTS
    code, _, said = run(
        "pull", "--from", f"http://{there}/checkpoints", "--version", versions[0], str(elsewhere)
    )
    assert code == 0, said
    assert (elsewhere / versions[0]).is_dir()
    shutil.rmtree(elsewhere)
    guarded = served(True)
    code, _, said = run("pull", "--from", f"http://{guarded}/checkpoints", str(elsewhere))
    assert code == 1
    assert "Traceback" not in said
    code, _, said = run("pull", "--from", f"http://farm:{VIEW_TOKEN}@{guarded}/checkpoints", str(elsewhere))
    assert code == 0, said
    assert (elsewhere / "latest").readlink() == Path(versions[2])
    assert VIEW_TOKEN not in (elsewhere / "history.jsonl").read_text() + said
