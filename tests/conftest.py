"""Fixtures that several rooms share: a real Redis, small crystals, jobs and results."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import redis
from redis_server import RedisServer

from farm.backlog import Backlog
from farm.broker import connect
from farm.cli.main import main
from farm.crystal import Crystal
from farm.job import Engine, Job, Outcome, Stage
from farm.protocol import PRESETS
from farm.pseudopotentials import entry, pseudopotential_directory
from farm.result import LadderStep, Result, StageUsage
from farm.settings import Settings, load_settings


def pytest_configure() -> None:
    """Programs inherit what is ignored, as it is under nohup and in the background of a shell."""
    for number, usual in ((signal.SIGHUP, signal.SIG_DFL), (signal.SIGINT, signal.default_int_handler)):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, usual)


def missing(what: str) -> None:
    """A program or file that is not there: the test is skipped here and fails in CI."""
    if os.environ.get("CI"):
        pytest.fail(f"{what} missing: CI must run these tests")
    pytest.skip(f"{what} missing")


@pytest.fixture(scope="session")
def pseudo_dir() -> Path:
    """The folder of the UPF files."""
    directory = pseudopotential_directory()
    if not (directory / entry("C").file).is_file():
        missing(f"pseudopotentials in {directory}")
    return directory


@pytest.fixture(scope="session")
def pw_x(pseudo_dir: Path) -> Path:
    """The folder of the UPF files, with pw.x on PATH."""
    if shutil.which("pw.x") is None:
        missing("pw.x")
    return pseudo_dir


@pytest.fixture(scope="session")
def pp_x(pw_x: Path) -> Path:
    """The folder of the UPF files, with pw.x and pp.x on PATH."""
    if shutil.which("pp.x") is None:
        missing("pp.x")
    return pw_x


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real server of our own for the whole run: Redis on PATH, else the bundled Valkey."""
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server.url
    server.stop()


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    """A connection to an empty database."""
    client = connect(redis_url)
    client.flushdb()
    yield client
    client.close()


@pytest.fixture
def backlog(client: redis.Redis) -> Backlog:
    """An empty backlog on a real Redis."""
    return Backlog(client)


@pytest.fixture
def settings(tmp_path: Path, redis_url: str) -> Settings:
    """Settings of a farm in an empty directory, with short leases."""
    fields = {"home": tmp_path, "redis_url": redis_url, "slots": 1, "lease_s": 1.0}
    return load_settings(fields, environment={})


@pytest.fixture
def make_job() -> Callable[..., Job]:
    """Jobs of small cubic cells."""

    def make(material_id: str = "MgO", cost: float = 1.0) -> Job:
        protocol = PRESETS["demo"]
        crystal = Crystal(
            material_id=material_id,
            lattice_angstrom=((0.0, 2.1, 2.1), (2.1, 0.0, 2.1), (2.1, 2.1, 0.0)),
            species=("Mg", "O"),
            frac_coords=((0.0, 0.0, 0.0), (0.5, 0.5, 0.5)),
        )
        return Job(
            crystal=crystal,
            protocol=protocol.to_dict(),
            protocol_hash=protocol.hash,
            engine=Engine.NATIVE,
            predicted_cpu_s=cost,
        )

    return make


@pytest.fixture
def make_result() -> Callable[..., Result]:
    """Results with smooth made-up spectra on both rungs."""

    def make(job: Job, outcome: Outcome = Outcome.DONE, reason: str = "") -> Result:
        energies = np.linspace(0.0, 20.0, 2001)
        with_spectra = outcome in (Outcome.DONE, Outcome.UNCONVERGED)
        ladder = tuple(
            LadderStep(
                gmax_mry=gmax,
                n_g=n_g,
                step_similarity=None if gmax == 0 else (0.95, 0.95, 0.95),
                eps=np.repeat((1 + 60 / (64 - energies**2 - 1j * 4) * (1 - gmax / 50000))[None], 3, axis=0),
            )
            for gmax, n_g in ((0, 1), (2000, 15))
        )
        return Result(
            crystal=job.crystal,
            protocol=job.protocol,
            protocol_hash=job.protocol_hash,
            engine=job.engine,
            outcome=outcome,
            reason=reason,
            ladder=ladder if with_spectra else (),
            gmax_converged_mry=(2000, 2000, 2000) if with_spectra else (None, None, None),
            gap_indirect_ev=4.9 if with_spectra else None,
            gap_direct_ev=4.9 if with_spectra else None,
            stages=(StageUsage(stage=Stage.GROUND_STATE, cpu_s=1.5, wall_s=2.0, peak_memory_mb=80.0),),
        )

    return make


@pytest.fixture
def run(
    client: redis.Redis,  # an empty database
    settings: Settings,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[..., tuple[int, str, str]]:
    """Call ``farm`` in this process, in an empty farm on the test's Redis."""
    assert settings.redis_url is not None
    assert client.dbsize() == 0
    monkeypatch.setenv("FARM_REDIS_URL", settings.redis_url)
    monkeypatch.setenv("FARM_HOME", str(settings.home))
    monkeypatch.setenv("COLUMNS", "200")

    def call(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        captured = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return ended.value.code, captured.out, captured.err

    return call
