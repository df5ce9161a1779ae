"""Checkpoints from other places and to them: web servers that fail in their ways, buckets, directories."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import fsspec
import pytest
import torch
from checkpoint_samples import serving, write_versions

from farm.errors import CheckpointError, InputError, MissingProgramError
from trainer.checkpoints import exchange
from trainer.checkpoints.exchange import pull, push
from trainer.checkpoints.registry import Registry
from trainer.checkpoints.remote import Patience

HASTY = Patience(attempts=3, pause_s=0.01, connect_s=5, read_s=5)


@pytest.fixture
def origin(tmp_path, small_config) -> Registry:
    """A farm's checkpoints: two versions, the second in use."""
    registry = Registry(tmp_path / "origin")
    write_versions(registry, small_config, 2)
    registry.promote(registry.versions()[-1])
    return registry


@pytest.fixture
def here(tmp_path) -> Registry:
    return Registry(tmp_path / "here")


def assert_untouched(registry: Registry) -> None:
    """Nothing was pulled, and nothing half pulled is left."""
    names = {path.name for path in registry.directory.iterdir()} if registry.directory.exists() else set()
    assert names == set()


def assert_same(one: Registry, two: Registry, version: str) -> None:
    for rung in ("ipa", "rpa"):
        a, b = (r.load(version, rung)[0].state_dict() for r in (one, two))
        assert all(torch.equal(a[name], b[name]) for name in a)


def test_pull_from_a_web_server_over_a_checkpoints_directory(origin, here):
    first, last = origin.versions()
    with serving(origin.directory) as (url, asked):
        assert pull(here, url, patience=HASTY).version == last
        assert here.latest() == last
        assert pull(here, f"{url}/", first, patience=HASTY).version == first
    assert (here.versions(), here.latest()) == ([first, last], last)
    for version in (first, last):
        assert_same(origin, here, version)
    # No listing, and nothing twice.
    assert len(asked) == len(set(asked)) == 6


def test_pull_from_a_server_whose_latest_is_a_text(origin, here):
    (origin.directory / "latest").unlink()
    (origin.directory / "latest").write_text(f"{origin.versions()[0]}\n")
    with serving(origin.directory) as (url, _):
        assert pull(here, url, patience=HASTY).version == origin.versions()[0]
    other = Registry(here.directory.with_name("other"))
    assert pull(other, origin.directory).version == origin.versions()[0]


def test_a_server_that_answers_403_for_what_is_not_there_may_have_a_text(origin, here):
    version = origin.versions()[0]
    (origin.directory / "latest").unlink()
    (origin.directory / "latest").write_text(version)

    def like_a_bucket(handler) -> bool:
        missing = not Path(handler.translate_path(handler.path)).is_file()
        return missing and handler.answer(403, b"<Error><Code>AccessDenied</Code></Error>")

    with serving(origin.directory, like_a_bucket) as (url, _):
        assert pull(here, url, patience=HASTY).version == version


def test_what_is_here_already_is_not_fetched_again_and_what_is_damaged_is_mended(origin, here):
    version = origin.latest()
    with serving(origin.directory) as (url, asked):
        pull(here, url, patience=HASTY)
        n_asked = len(asked)
        pull(here, url, patience=HASTY)
        assert len(asked) == n_asked + 1  # the card
        (here.directory / version / "ipa.safetensors").write_bytes(b"rot")
        with pytest.raises(CheckpointError, match="does not match"):
            here.load(version, "ipa")
        pull(here, url, patience=HASTY)
    assert_same(origin, here, version)
    assert [entry.event for entry in here.history().entries] == ["pulled", "promoted", "pulled"]
    assert sorted(p.name for p in here.directory.iterdir()) == sorted([version, "latest", "history.jsonl"])


def test_pulls_at_the_same_time_all_succeed(origin, here):
    failed = []

    def one() -> None:
        try:
            pull(here, origin.directory)
        except Exception as error:  # noqa: BLE001 - of a thread, told below
            failed.append(error)

    threads = [threading.Thread(target=one) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert_same(origin, here, origin.latest())
    assert not [path for path in here.directory.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize("name", ["with space", "a::b", "50%", "what?", "#1", "http:"])
def test_directories_of_any_name_are_read(name, origin, here, tmp_path):
    odd = tmp_path / name
    odd.mkdir()
    origin.directory.rename(odd / "checkpoints")
    assert pull(here, str(odd / "checkpoints")).version == here.latest()
    assert pull(Registry(tmp_path / "two"), odd / "checkpoints").version == here.latest()


def test_a_farms_own_model_is_not_replaced_unasked(origin, here, small_config):
    (own,) = write_versions(here, small_config, 1)
    here.promote(own)
    pull(here, origin.directory)
    assert here.latest() == own


def test_a_connection_that_breaks_off_is_tried_again(origin, here):
    cuts = {"ipa.safetensors": 2, "card.json": 1}

    def cut(handler) -> bool:
        name = Path(handler.path).name
        if cuts.get(name, 0) == 0:
            return False
        cuts[name] -= 1
        data = handler.file_bytes()
        handler.answer(200, data[: len(data) // 2], Content_Length=str(len(data)))
        handler.connection.close()
        return True

    with serving(origin.directory, cut) as (url, asked):
        pull(here, url, patience=HASTY)
    assert_same(origin, here, origin.latest())
    assert len(asked) == 3 + 3


def test_a_connection_that_always_breaks_off_leaves_nothing(origin, here):
    def cut(handler) -> bool:
        if not handler.path.endswith("rpa.safetensors"):
            return False
        handler.answer(200, handler.file_bytes()[:100], Content_Length="100000")
        handler.connection.close()
        return True

    with serving(origin.directory, cut) as (url, asked):
        with pytest.raises(CheckpointError, match=rf"^{url}/.*rpa\.safetensors: the connection broke off"):
            pull(here, url, patience=HASTY)
        assert sum(path.endswith("rpa.safetensors") for path in asked) == HASTY.attempts
    assert_untouched(here)


def test_a_server_in_trouble_is_tried_again(origin, here):
    answers = [503, 429, 500]

    def trouble(handler) -> bool:
        return bool(answers) and handler.answer(answers.pop(), b"later")

    with serving(origin.directory, trouble) as (url, _):
        with pytest.raises(CheckpointError, match="the server answers 503"):
            pull(here, url, patience=HASTY)
        pull(here, url, patience=HASTY)
    assert here.latest() == origin.latest()


def test_altered_bytes_are_refused(origin, here):
    def alter(handler) -> bool:
        if not handler.path.endswith("ipa.safetensors"):
            return False
        data = bytearray(handler.file_bytes())
        data[len(data) // 2] ^= 1
        return handler.answer(200, bytes(data))

    refused = pytest.raises(
        CheckpointError, match=r"^http://.*/ipa\.safetensors: does not match the SHA-256"
    )
    with serving(origin.directory, alter) as (url, _), refused:
        pull(here, url, patience=HASTY)
    assert_untouched(here)


def test_a_checkpoint_without_its_weights_is_refused(origin, here):
    (origin.path() / "rpa.safetensors").unlink()
    with serving(origin.directory) as (url, _):
        for place in (url, origin.directory):
            with pytest.raises(CheckpointError, match=r"rpa\.safetensors: not found") as error:
                pull(here, place, patience=HASTY)
            assert "incomplete" in error.value.fix
    assert_untouched(here)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda card: card | {"n_train": 10_000}, "altered"),
        (lambda card: card | {"version": "../../x-000000"}, "altered"),
        (lambda _: "<html>Welcome</html>", "not a checkpoint card"),
        (lambda card: [[[card]]], "not a checkpoint card"),
        (lambda card: card | {"format": 99}, "format 99"),
    ],
)
def test_cards_that_are_none_are_refused(change, message, origin, here):
    def answer(handler) -> bool:
        if not handler.path.endswith("card.json"):
            return False
        return handler.answer(200, json.dumps(change(json.loads(handler.file_bytes()))).encode())

    with (
        serving(origin.directory, answer) as (url, _),
        pytest.raises(CheckpointError, match=message) as error,
    ):
        pull(here, url, patience=HASTY)
    assert str(error.value).startswith(f"{url}/latest/card.json: ")
    assert_untouched(here)


def test_a_card_of_another_version_than_asked_for_is_refused(origin, here):
    first, last = origin.versions()

    def swap(handler) -> bool:
        handler.path = handler.path.replace(first, last)
        return False

    with (
        serving(origin.directory, swap) as (url, _),
        pytest.raises(CheckpointError, match=f"that of {last}"),
    ):
        pull(here, url, first, patience=HASTY)
    assert_untouched(here)


@pytest.mark.parametrize("length", ["declared", "unknown"])
def test_files_without_end_are_cut_off(length, origin, here, monkeypatch):
    monkeypatch.setattr(exchange, "WEIGHTS_LIMIT", 10**6)
    sent = []

    def flood(handler) -> bool:
        if not handler.path.endswith("ipa.safetensors"):
            return False
        handler.send_response(200)
        if length == "declared":
            handler.send_header("Content-Length", str(10**12))
        handler.end_headers()
        try:
            while len(sent) < 1000:
                sent.append(handler.wfile.write(bytes(10**6)))
        except OSError:
            handler.close_connection = True
        return True

    too_large = pytest.raises(CheckpointError, match="larger than the 1 MB")
    with serving(origin.directory, flood) as (url, _), too_large:
        pull(here, url, patience=HASTY)
    assert len(sent) < 1000
    assert_untouched(here)


def test_a_card_that_is_too_large_is_not_read(origin, here, monkeypatch):
    monkeypatch.setattr(exchange, "CARD_LIMIT", 100)
    with serving(origin.directory) as (url, _), pytest.raises(CheckpointError, match="larger than"):
        pull(here, url, patience=HASTY)
    with pytest.raises(CheckpointError, match="larger than"):
        pull(here, origin.directory)
    assert_untouched(here)


def test_redirects_are_followed_and_their_loops_left(origin, here):
    def loop(handler) -> bool:
        if handler.path.startswith("/moved"):
            return handler.answer(302, b"", Location=handler.path.removeprefix("/moved"))
        return handler.path.startswith("/loop") and handler.answer(302, b"", Location=handler.path)

    with serving(origin.directory, loop) as (url, asked):
        with pytest.raises(CheckpointError, match=rf"^{url}/loop/.*redirects without end"):
            pull(here, f"{url}/loop", patience=HASTY)
        assert len(asked) < 20
        assert_untouched(here)
        assert pull(here, f"{url}/moved", patience=HASTY).version == origin.latest()


def test_a_server_that_says_nothing_is_given_up(origin, here):
    silent = threading.Event()

    def wait(_handler) -> bool:
        silent.wait(20)
        return True

    with serving(origin.directory, wait) as (url, _):
        with pytest.raises(CheckpointError, match=rf"^{url}/latest/card\.json: no answer within 0.2 s"):
            pull(here, url, patience=Patience(attempts=2, pause_s=0.01, read_s=0.2))
        silent.set()
    assert_untouched(here)


def test_places_that_cannot_be_reached_say_so_in_a_sentence(here):
    with serving(here.directory) as (url, _):
        pass
    for place, message in (
        (url, "cannot be reached"),
        ("http://no-such-host.invalid/checkpoints", "cannot be reached"),
        ("memory://nothing-here", "no checkpoint there"),
    ):
        with pytest.raises(CheckpointError, match=rf"^{place}.*{message}") as error:
            pull(here, place, patience=HASTY)
        assert "\n" not in str(error.value)
        assert error.value.fix
    assert_untouched(here)


@pytest.mark.parametrize(
    "version", ["../../etc", "0001-abcdef/..", "", "latest", "0001-ABCDEF", "0001-abcdef\n"]
)
def test_a_version_is_never_a_path(version, origin, here):
    with pytest.raises(InputError, match="is not a version"):
        pull(here, origin.directory, version)
    (origin.directory / "latest").unlink()
    (origin.directory / "latest").write_text(f"{version}x")
    with pytest.raises(CheckpointError, match="names no version"):
        pull(here, origin.directory)
    assert_untouched(here)


def test_what_is_no_place_is_a_users_error(here, tmp_path):
    for place in (
        "zzz://x",
        "http://[",
        "https://host:x/",
        tmp_path / "nowhere",
        str(tmp_path / "nowhere"),
    ):
        with pytest.raises(InputError):
            pull(here, place)
    with pytest.raises(InputError, match="only read"):
        push(here, "https://example.invalid/checkpoints")


def test_passwords_and_signatures_are_not_shown(here):
    with serving(here.directory.parent) as (url, asked):
        secret = url.replace("http://", "http://user:hunter2@") + "/x?signature=hunter2"
        with pytest.raises(CheckpointError) as error:
            pull(here, secret, patience=HASTY)
        assert asked[0] == "/x/latest/card.json?signature=hunter2"
    assert "hunter2" not in str(error.value)
    assert f"{url}/x/latest/card.json" in str(error.value)


def test_a_driver_that_is_not_installed_is_named_with_its_command(here, monkeypatch):
    # None makes the import fail as if it were not there.
    monkeypatch.setitem(sys.modules, "s3fs", None)
    monkeypatch.delitem(sys.modules["fsspec.registry"]._registry, "s3", raising=False)
    with pytest.raises(MissingProgramError, match="pip install s3fs"):
        pull(here, "s3://bucket/checkpoints")


def test_progress_counts_the_bytes_of_each_file(origin, here):
    told: dict[str, list[tuple[int, int | None]]] = {}
    with serving(origin.directory) as (url, _):
        pull(here, url, patience=HASTY, on_progress=lambda name, *n: told.setdefault(name, []).append(n))
    assert sorted(told) == ["ipa.safetensors", "rpa.safetensors"]
    for name, counts in told.items():
        size = (here.path() / name).stat().st_size
        assert counts[-1] == (size, size)
        assert [so_far for so_far, _ in counts] == sorted(so_far for so_far, _ in counts)


def test_a_pull_that_is_killed_leaves_only_what_the_next_one_clears(origin, here):
    first, last = origin.versions()
    stalled, release = threading.Event(), threading.Event()

    def stall(handler) -> bool:
        if stalled.is_set() or handler.path != f"/{last}/rpa.safetensors":
            return False
        handler.answer(200, handler.file_bytes()[:1000], Content_Length="100000")
        handler.wfile.flush()
        stalled.set()
        release.wait(60)
        return True

    code = "import sys; from trainer.checkpoints.exchange import pull;"
    code += "from trainer.checkpoints.registry import Registry;"
    code += "pull(Registry(sys.argv[1]), sys.argv[2])"
    with serving(origin.directory, stall) as (url, _):
        process = subprocess.Popen([sys.executable, "-c", code, str(here.directory), url])
        try:
            assert stalled.wait(60)
            (staging,) = here.directory.iterdir()
            # Another pull leaves the directory of one that lives alone.
            pull(here, url, first, patience=HASTY)
            assert staging.exists()
        finally:
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
            release.set()
        assert staging.name.startswith(".farm-staging-")
        assert here.versions() == [first]
        pull(here, url, patience=HASTY)
    assert not [path for path in here.directory.iterdir() if path.name.startswith(".")]
    assert_same(origin, here, last)


@pytest.fixture
def bucket():
    """A place without directories and links, empty before and after."""
    memory = fsspec.filesystem("memory")
    memory.store.clear()
    yield "memory://bucket/checkpoints"
    memory.store.clear()


def test_a_driver_over_another_is_a_place_too(bucket, origin, here):
    push(origin, bucket)
    assert pull(here, f"simplecache::{bucket}").version == origin.latest()
    with pytest.raises(CheckpointError, match=r"simplecache::memory://bucket/none/latest/card\.json"):
        pull(here, "simplecache::memory://bucket/none")


def test_a_bucket_is_pushed_to_and_pulled_from(bucket, origin, here):
    first, last = origin.versions()
    push(origin, bucket, first)
    assert pull(here, bucket).version == first
    push(origin, bucket)
    assert pull(here, bucket).version == last
    push(origin, bucket, first, keep_latest=True)
    assert fsspec.filesystem("memory").cat("/bucket/checkpoints/latest") == f"{last}\n".encode()
    for version in (first, last):
        assert_same(origin, here, version)


def test_a_push_sends_weights_first_and_latest_last_and_nothing_twice(bucket, origin, monkeypatch):
    memory = fsspec.filesystem("memory")
    sent: list[str] = []
    pipe_file = type(memory).pipe_file

    def noting(self, path, value, **options):
        sent.append(path.removeprefix("/bucket/checkpoints/"))
        return pipe_file(self, path, value, **options)

    monkeypatch.setattr(type(memory), "pipe_file", noting)
    version = origin.latest()
    files = [f"{version}/{name}" for name in ("ipa.safetensors", "rpa.safetensors", "card.json")]
    push(origin, bucket)
    assert sent == [*files, "latest"]
    sent.clear()
    push(origin, bucket)
    assert sent == ["latest"]
    # Weights that were lost there come back.
    memory.rm(f"/bucket/checkpoints/{files[0]}")
    sent.clear()
    push(origin, bucket)
    assert sent == [files[0], "latest"]


def test_a_push_replaces_no_other_checkpoint_and_sends_nothing_damaged(bucket, origin):
    version = origin.latest()
    place = f"/bucket/checkpoints/{version}/card.json"
    memory = fsspec.filesystem("memory")
    memory.pipe_file(place, b"{}")
    with pytest.raises(CheckpointError, match="another checkpoint of that name"):
        push(origin, bucket)
    memory.rm(place)
    (origin.directory / version / "rpa.safetensors").write_bytes(b"rot")
    with pytest.raises(CheckpointError, match="does not match"):
        push(origin, bucket)
    assert memory.find("/bucket") == []


def test_a_push_to_a_directory_makes_a_registry(origin, tmp_path):
    there = Registry(tmp_path / "www" / "checkpoints")
    first, last = origin.versions()
    push(origin, there.directory)
    push(origin, str(there.directory), first)
    assert (there.versions(), there.latest()) == ([first, last], first)
    push(origin, f"file://{there.directory}", last, keep_latest=True)
    assert there.latest() == first
    assert_same(origin, there, last)
    before = time.time_ns()
    push(origin, there.directory, last)
    assert (there.directory / last).stat().st_mtime_ns < before
    assert there.latest() == last
