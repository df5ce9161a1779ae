"""Who gets to a configured Redis, over which wire, and what he may do there; real servers, real TLS."""

from __future__ import annotations

import base64
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import kombu.exceptions
import pytest
import redis
from farm_roles import FarmRoles
from redis_server import RedisServer, free_port
from tls_redis import Certificates, make_certificates, tls_port

from farm.backlog import Backlog
from farm.broker import broker_url, complete_url, connect
from farm.checks import own_checks
from farm.cli.main import main
from farm.embedded_redis import RIGHTS
from farm.errors import BrokerError, SettingsError
from farm.job import Job
from farm.queues import STORE_QUEUE, make_app
from farm.settings import Settings, load_settings
from tests.conftest import missing

MakeJob = Callable[..., Job]
USERS = Path(__file__).parents[2] / "deploy" / "redis" / "users.acl.example"


def over_tls(server: RedisServer, port: int) -> str:
    """The URL of a server whose TLS is at this port."""
    return server.url.replace("redis://", "rediss://").replace(
        f"127.0.0.1:{server.port}", f"localhost:{port}"
    )


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A plain server with the users of the example; their passwords are their names."""
    server = RedisServer(tmp_path_factory.mktemp("server"))
    server.start()
    with server.admin() as admin:
        for line in USERS.read_text(encoding="utf-8").splitlines()[1:]:
            admin.execute_command("ACL", "SETUSER", *line.replace("CHANGE-", "").split()[1:])
    yield server
    server.stop()


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    if shutil.which("openssl") is None:
        missing("openssl")
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def encrypted(
    tmp_path_factory: pytest.TempPathFactory, certificates: Certificates, server: RedisServer
) -> Iterator[str]:
    """The URL of the port where the server speaks TLS."""
    with tls_port(tmp_path_factory.mktemp("tls"), certificates, server) as port:
        yield over_tls(server, port)


@pytest.fixture
def asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str]]:
    """Call ``farm status`` with these settings of Redis: exit code, and the one line it says."""

    def call(url: str, **fields: object) -> tuple[int, str]:
        monkeypatch.setenv("FARM_HOME", str(tmp_path))
        monkeypatch.setenv("FARM_REDIS_URL", url)
        for name, value in fields.items():
            monkeypatch.setenv(f"FARM_{name.upper()}", str(value))
        with pytest.raises(SystemExit) as ended:
            main(["status"])
        said = capsys.readouterr()
        lines = said.err.splitlines()
        assert len(lines) == (ended.value.code != 0), said.err
        return int(str(ended.value.code)), "".join(lines)

    return call


def settings_for(home: Path, url: str, **fields: object) -> Settings:
    return load_settings({"home": home, "redis_url": url, **fields}, environment={})


def test_both_clients_speak_tls_and_know_the_server(
    tmp_path: Path, encrypted: str, certificates: Certificates
) -> None:
    settings = settings_for(tmp_path, encrypted, redis_ca_file=certificates.certificate("ca"))
    with broker_url(settings) as url:
        app = make_app(url)
        app.send_task("a.task", queue=STORE_QUEUE)
        with connect(url) as client:
            assert client.llen("farm:store") == 1
        with app.connection_for_read() as connection:
            message = connection.SimpleQueue(STORE_QUEUE).get(timeout=10)
            message.ack()
    assert message.headers["task"] == "a.task"


def test_celery_does_not_talk_to_a_server_it_does_not_know(tmp_path: Path, encrypted: str) -> None:
    # Left to itself it takes rediss:// for "encrypt, and believe whoever answers".
    url = complete_url(settings_for(tmp_path, encrypted), encrypted)
    with make_app(url).connection_for_write() as connection:  # noqa: SIM117
        with pytest.raises(kombu.exceptions.OperationalError, match="CERTIFICATE_VERIFY_FAILED"):
            connection.ensure_connection(max_retries=1, interval_start=0)
    with pytest.raises(SettingsError, match="redis_ca_file"):
        complete_url(settings_for(tmp_path, encrypted), encrypted + "?ssl_cert_reqs=none")


def test_a_server_that_asks_for_a_certificate_gets_it(
    tmp_path: Path, certificates: Certificates, server: RedisServer, asked: Callable[..., tuple[int, str]]
) -> None:
    ca = certificates.certificate("ca")
    with tls_port(tmp_path / "mutual", certificates, server, mutual=True) as port:
        url = over_tls(server, port)
        code, said = asked(url, redis_ca_file=ca)
        assert (code, "asks for a client certificate" in said) == (1, True), said
        files = {
            "redis_cert_file": certificates.certificate("client"),
            "redis_key_file": certificates.key("client"),
        }
        assert asked(url, redis_ca_file=ca, **files) == (0, "")
        with broker_url(settings_for(tmp_path, url, redis_ca_file=ca, **files)) as complete:
            make_app(complete).send_task("a.task", queue=STORE_QUEUE)


def test_what_is_wrong_with_tls_is_one_line(
    tmp_path: Path,
    encrypted: str,
    certificates: Certificates,
    server: RedisServer,
    asked: Callable[..., tuple[int, str]],
) -> None:
    ca = certificates.certificate("ca")
    fix = "Set FARM_REDIS_CA_FILE to the file of the CA that signed it"
    code, said = asked(encrypted)
    assert code == 1
    assert said.startswith("farm: the certificate of Redis was not accepted")
    assert said.endswith(fix)
    assert asked(encrypted, redis_ca_file=certificates.certificate("other_ca"))[1].endswith(fix)
    with tls_port(tmp_path / "elsewhere", certificates, server, name="elsewhere") as port:
        code, said = asked(f"rediss://:x@localhost:{port}/0", redis_ca_file=ca)
        assert (code, "mismatch" in said, "as the certificate has it" in said) == (1, True, True), said
    code, said = asked(encrypted, redis_ca_file=tmp_path / "nowhere.pem")
    assert (code, said) == (2, f"farm: redis_ca_file: {tmp_path}/nowhere.pem: no such file")
    code, said = asked(server.url, redis_ca_file=ca)
    assert (code, said.split(",")[0]) == (2, "farm: redis_ca_file is set")


def test_plain_against_tls_and_tls_against_plain_are_told(
    encrypted: str, certificates: Certificates, server: RedisServer, asked: Callable[..., tuple[int, str]]
) -> None:
    code, said = asked(encrypted.replace("rediss://", "redis://"))
    assert (code, "Write rediss:// in FARM_REDIS_URL" in said) == (1, True), said
    code, said = asked(
        server.url.replace("redis://", "rediss://") + "?socket_connect_timeout=0.5",
        redis_ca_file=certificates.certificate("ca"),
    )
    assert (code, "no TLS is spoken" in said) == (1, True), said


@pytest.mark.parametrize(
    ("url", "code", "told"),
    [
        ("redis://127.0.0.1:{free}/0", 1, "refused. Start it, correct FARM_REDIS_URL"),
        ("redis://nowhere.invalid/0", 1, "Correct the host in FARM_REDIS_URL"),
        ("redis://127.0.0.1:{port}/0", 1, "refused user or password"),
        ("redis://:wrong@127.0.0.1:{port}/0", 1, "Correct both in FARM_REDIS_URL"),
        ("redis://farm:wrong@127.0.0.1:{port}/0", 1, "refused user or password"),
        ("redis://admin:admin@127.0.0.1:{port}/99", 1, "out of range"),
        ("redis://127.0.0.1:{port}/0?colour=red", 1, "unknown option"),
        ("redis://127.0.0.1:99999/0", 2, "not a Redis URL"),
        ("redis://127.0.0.1/farm", 2, "not a Redis URL"),
        ("http://127.0.0.1", 2, "not a Redis URL"),
    ],
)
def test_what_is_wrong_with_the_server_is_one_line(
    server: RedisServer, asked: Callable[..., tuple[int, str]], url: str, code: int, told: str
) -> None:
    assert asked(url.format(port=server.port, free=free_port()))[0] == code
    assert told in asked(url.format(port=server.port, free=free_port()))[1]


def test_a_server_that_loads_and_one_that_is_silent_are_told(asked: Callable[..., tuple[int, str]]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer() -> None:
            while True:
                try:
                    peer, _ = listening.accept()
                except OSError:
                    return
                with peer:
                    while peer.recv(4096):
                        peer.sendall(b"-LOADING Redis is loading the dataset in memory\r\n" * 8)

        loader = threading.Thread(target=answer, daemon=True)
        loader.start()
        url = f"redis://127.0.0.1:{listening.getsockname()[1]}/0"
        code, said = asked(url)
        assert (code, said) == (1, "farm: Redis is still loading its data. Try again in a moment")
        listening.shutdown(socket.SHUT_RDWR)
        loader.join()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        code, said = asked(f"redis://127.0.0.1:{silent.getsockname()[1]}/0?socket_timeout=0.2")
    assert (code, "did not answer in time" in said) == (1, True), said


@contextmanager
def flower(url: str, **environment: str) -> Iterator[Callable[[str], tuple[int, str]]]:
    """A real ``farm flower``; what yields asks it for a page: status and text."""
    port = free_port()
    variables = {key: value for key, value in os.environ.items() if not key.startswith("FARM_")}
    variables |= {"FARM_REDIS_URL": url, "FARM_FLOWER_PASSWORD": "sesame", **environment}

    def get(page: str) -> tuple[int, str]:
        request = urllib.request.Request(f"http://127.0.0.1:{port}{page}")
        request.add_header("Authorization", "Basic " + base64.b64encode(b"farm:sesame").decode())
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    command = [sys.executable, "-m", "farm.cli.main", "flower", "--port", str(port)]
    with subprocess.Popen(command, env=variables, stderr=subprocess.PIPE, text=True) as process:
        try:
            deadline = time.monotonic() + 60
            while True:
                assert process.poll() is None
                assert time.monotonic() < deadline
                with contextlib.suppress(urllib.error.URLError):
                    get("/healthcheck")
                    break
                time.sleep(0.1)
            yield get
        finally:
            process.send_signal(signal.SIGINT)
            _, said = process.communicate(timeout=30)
    assert "Traceback" not in said


FORBIDDEN = [
    ("FLUSHALL",),
    ("FLUSHDB",),
    ("KEYS", "*"),
    ("CONFIG", "GET", "requirepass"),
    ("CONFIG", "SET", "maxmemory", "1"),
    ("SHUTDOWN", "NOSAVE"),
    ("MONITOR",),
    ("REPLICAOF", "127.0.0.1", "1"),
    ("ACL", "LIST"),
    ("CLIENT", "LIST"),
    ("SCRIPT", "FLUSH"),
    ("FUNCTION", "FLUSH"),
    ("SWAPDB", "0", "1"),
    ("GET", "other:secret"),
    ("DEL", "other:secret"),
    ("PUBLISH", "other:/0.celery.pidbox", "shutdown"),
    ("PSUBSCRIBE", "*"),
    ("EVAL", "return redis.call('GET', 'other:secret')", "1", "farm:"),
    ("EVAL", "return redis.call('FLUSHALL')", "0"),
]


@pytest.mark.parametrize("command", FORBIDDEN, ids=" ".join)
def test_the_user_of_the_farm_may_not(server: RedisServer, command: tuple[str, ...]) -> None:
    with server.admin() as admin, server.as_user("farm") as client:
        admin.set("other:secret", "kept")
        with pytest.raises(redis.exceptions.ResponseError, match=r"permission|can't run|can't access"):
            client.execute_command(*command)
        assert admin.get("other:secret") == b"kept"


def test_who_lacks_a_right_is_told_which_file_gives_it(
    server: RedisServer, asked: Callable[..., tuple[int, str]]
) -> None:
    farm = f"redis://farm:farm@127.0.0.1:{server.port}/0"
    assert asked(farm) == (0, "")
    code, said = asked(farm, name="other")  # a farm of another name has another prefix
    assert (code, said[:43]) == (1, "farm: Redis forbids what farm 'other' needs")
    assert said.endswith("Give its user the rules of deploy/redis/users.acl.example, with ~other:*")
    rules = ["on", ">x", "~farm:*", "+@all", "-@dangerous"]
    for missing_right in ("-eval", "-publish", "-psubscribe", "-zrem", "resetchannels", "resetkeys"):
        with server.admin() as admin:
            admin.execute_command("ACL", "SETUSER", "less", "reset", "&*", *rules, missing_right)
        code, said = asked(f"redis://less:x@127.0.0.1:{server.port}/0", name="farm")
        assert (code, "users.acl.example" in said) == (1, True), (missing_right, said)


def test_a_farm_works_with_the_example_s_user_and_is_denied_nothing(
    server: RedisServer, tmp_path: Path, make_job: MakeJob
) -> None:
    url = f"redis://farm:farm@127.0.0.1:{server.port}/0"
    with server.admin() as admin:
        admin.flushdb()
        admin.execute_command("ACL", "LOG", "RESET")
        with FarmRoles(settings_for(tmp_path / "farm", url, lease_s=1.0)) as roles, flower(url) as get:
            roles.backlog.enqueue([make_job("First"), make_job("Second")])
            roles.wait_for(lambda: len(roles.stored()) == 2)
            assert len(roles.answering()) == 2
            assert [view.material_id for view in roles.backlog.jobs()]
            for page in ("/", "/broker", "/api/workers?refresh=true", "/api/tasks"):
                assert get(page)[0] == 200, page
        assert own_checks(settings_for(tmp_path, url))[0].ok  # INFO
        denied = admin.execute_command("ACL", "LOG")
    assert denied == []


def test_flower_sees_the_queues_over_tls(
    tmp_path: Path, encrypted: str, certificates: Certificates
) -> None:
    ca = certificates.certificate("ca")
    app = make_app(complete_url(settings_for(tmp_path, encrypted, redis_ca_file=ca), encrypted))
    for _ in range(321):
        app.send_task("a.task", queue=STORE_QUEUE)
    with flower(encrypted, FARM_REDIS_CA_FILE=str(ca)) as get:
        status, page = get("/broker")
    assert status == 200
    assert ">321<" in page


def test_the_example_and_the_embedded_server_give_the_same_rights() -> None:
    assert USERS.read_text(encoding="utf-8").splitlines()[-1].endswith(f" {RIGHTS}")


def test_a_denial_in_the_middle_of_work_is_one_line(server: RedisServer, make_job: MakeJob) -> None:
    with server.admin() as admin:
        admin.execute_command("ACL", "SETUSER", "halved", "on", ">x", "~farm:*", "&*", "+@all", "-hset")
    with (
        connect(f"redis://halved:x@127.0.0.1:{server.port}/0") as client,
        pytest.raises(BrokerError) as raised,
    ):
        Backlog(client).enqueue([make_job()])
    assert "\n" not in str(raised.value)
