"""docker-compose.yml and the Dockerfile: what can be told without a Docker engine."""

from __future__ import annotations

import re
import shlex
from importlib.metadata import requires
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.command_lines import parse

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
COMPOSE = yaml.safe_load(TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
EXAMPLE = (ROOT / ".env.example").read_text(encoding="utf-8")
DOCKERFILE = (ROOT / "deploy/images/Dockerfile").read_text(encoding="utf-8")
STAGES = set(re.findall(r"^FROM \S+ AS (\S+)$", DOCKERFILE, re.MULTILINE))
OURS = {name: s for name, s in SERVICES.items() if "build" in s and s["build"]["target"] != "redis"}


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_is_bounded_and_shut_in(name: str) -> None:
    service = SERVICES[name]
    limits = service["deploy"]["resources"]["limits"]
    assert {"cpus", "memory", "pids"} <= set(limits)
    assert service["healthcheck"]
    assert service["restart"] in ("unless-stopped", "no")
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "container_name" not in service  # it could not be scaled


def test_what_is_published_is_on_loopback() -> None:
    published = [port for service in SERVICES.values() for port in service.get("ports", ())]
    assert len(published) == 3
    assert all(port.startswith("127.0.0.1:") for port in published)
    assert COMPOSE["networks"]["private"] == {"internal": True}


def test_no_secret_stands_there() -> None:
    for name in re.findall(r"\b(\w*(?:PASSWORD|TOKEN))\b", TEXT):
        assert name in EXAMPLE or name in ("GF_SECURITY_ADMIN_PASSWORD", "REDISCLI_AUTH"), name
    for line in EXAMPLE.splitlines():
        if re.match(r"\w*(PASSWORD|TOKEN|KEY)=", line):
            assert line.endswith("="), line


def test_every_variable_is_explained() -> None:
    asked = set(re.findall(r"(?<!\$)\$\{(\w+)", TEXT))
    given = set(re.findall(r"^(\w+)=", EXAMPLE, re.MULTILINE))
    assert asked <= given
    assert given - asked == {"COMPOSE_PROFILES"}


@pytest.mark.parametrize("name", [name for name, service in SERVICES.items() if "build" in service])
def test_every_image_is_a_stage(name: str) -> None:
    assert SERVICES[name]["build"]["target"] in STAGES
    assert (ROOT / SERVICES[name]["build"]["dockerfile"]).is_file()


@pytest.mark.parametrize("name", [name for name, service in SERVICES.items() if "build" in service])
def test_no_image_of_ours_is_looked_for_on_docker_hub(name: str) -> None:
    image = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", SERVICES[name]["image"])
    assert image.startswith("localhost/farm/")
    assert "\nFARM_IMAGES=localhost/farm\n" in EXAMPLE


@pytest.mark.parametrize("name", OURS)
def test_every_command_is_one_of_farm(name: str) -> None:
    words = [re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", word) for word in OURS[name].get("command", ())]
    if not words:
        return
    parse(shlex.join(["farm", *words]))
    check = OURS[name]["healthcheck"]["test"]
    if check[:2] == ["CMD", "farm"]:
        parse(shlex.join(check[1:]))


def test_workers_stop_within_their_grace() -> None:
    worker = SERVICES["cpu-worker"]
    grace_s = float(worker["command"][worker["command"].index("--grace-s") + 1])
    assert float(worker["stop_grace_period"].removesuffix("s")) > grace_s + 10


def test_only_writer_trainer_and_commands_write_the_store() -> None:
    for name, service in SERVICES.items():
        for volume in service.get("volumes", ()):
            if volume.startswith("home:"):
                writes = not volume.endswith(":ro")
                assert writes == (name in ("writer", "trainer-gpu", "trainer-cpu", "farm")), name


def test_no_image_runs_as_root() -> None:
    for target in ("redis", "control", "cpu-worker", "trainer"):
        stage = re.search(
            rf"^FROM \S+ AS {target}$(.*?)(?=^FROM |\Z)", DOCKERFILE, re.MULTILINE | re.DOTALL
        )
        assert stage is not None
        assert "USER 10001:10001" in stage[1], target
    assert not re.search(r"^FROM \S+:latest", DOCKERFILE, re.MULTILINE)


def test_packages_are_pinned() -> None:
    for name in ("control.txt", "trainer.txt"):
        lines = (ROOT / "deploy/images" / name).read_text(encoding="utf-8").splitlines()
        assert all("==" in line for line in lines if line and not line.startswith("#"))


def test_what_the_control_image_needs_is_pinned() -> None:
    text = (ROOT / "deploy/images/control.txt").read_text(encoding="utf-8")
    pinned = {canonicalize_name(name) for name in re.findall(r"^(\S+)==", text, re.MULTILINE)}
    assert needed("farm", frozenset({"dashboard", "optimade"})) - {"farm"} <= pinned


def needed(name: str, extras: frozenset[str] = frozenset()) -> set[str]:
    """A distribution and all that it needs, as installed here."""
    found, left = set[tuple[str, frozenset[str]]](), [(name, extras)]
    while left:
        each = left.pop()
        if each in found:
            continue
        found.add(each)
        for requirement in map(Requirement, requires(each[0]) or ()):
            chosen = ({"extra": extra} for extra in ("", *each[1]))
            if requirement.marker is None or any(map(requirement.marker.evaluate, chosen)):
                left.append((canonicalize_name(requirement.name), frozenset(requirement.extras)))
    return {name for name, _ in found}
