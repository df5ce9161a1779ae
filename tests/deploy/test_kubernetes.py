"""deploy/k8s: what can be told without a cluster."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from farm.slot_class import SlotClass
from tests.command_lines import parse

K8S = Path(__file__).parents[2] / "deploy" / "k8s"
DOCUMENTS = [
    (path.relative_to(K8S), document)
    for path in sorted(K8S.rglob("*.yaml"))
    for document in yaml.safe_load_all(path.read_text(encoding="utf-8"))
    if document and document.get("kind")
]
PODS: list[tuple[str, dict[str, Any]]] = [
    (f"{path}: {document['metadata']['name']}", template["spec"])
    for path, document in DOCUMENTS
    for spec in [document.get("spec") or {}]
    for template in [spec.get("template") or spec.get("jobTargetRef", {}).get("template")]
    if template
]


def test_there_are_pods() -> None:
    assert len(PODS) > 8


@pytest.mark.parametrize(("name", "pod"), PODS, ids=[name for name, _ in PODS])
def test_pods_are_shut_in_and_bounded(name: str, pod: dict[str, Any]) -> None:
    assert pod["automountServiceAccountToken"] is False, name
    assert pod["securityContext"]["runAsNonRoot"] is True
    for container in pod["containers"]:
        security = container["securityContext"]
        assert security["allowPrivilegeEscalation"] is False
        assert security["readOnlyRootFilesystem"] is True
        assert security["capabilities"] == {"drop": ["ALL"]}
        assert container["resources"]["limits"]["memory"]


@pytest.mark.parametrize(("name", "pod"), PODS, ids=[name for name, _ in PODS])
def test_commands_are_those_of_farm(name: str, pod: dict[str, Any]) -> None:  # noqa: ARG001 - the id
    for container in pod["containers"]:
        words = [str(word) for word in container.get("args", ())]
        if container.get("command", [""])[-1] != "farm" or not words:
            continue
        parse(shlex.join(["farm", *words]))


def test_scaled_jobs_read_our_gauge() -> None:
    scaled = [document for _, document in DOCUMENTS if document["kind"] == "ScaledJob"]
    assert scaled
    for document in scaled:
        for trigger in document["spec"]["triggers"]:
            assert trigger["type"] == "metrics-api"
            engine, slot_class, counted = trigger["metadata"]["valueLocation"].split(".")
            assert engine in ("native", "yambo")
            assert slot_class in set(SlotClass)
            assert counted in ("ready", "waiting", "running")
            assert trigger["metadata"]["url"].endswith("/api/backlog")


def test_no_secret_is_committed() -> None:
    example = (K8S / "secret/secrets.env.example").read_text(encoding="utf-8")
    assert all(line.endswith("=") for line in example.splitlines() if line and not line.startswith("#"))
    assert not any(document["kind"] == "Secret" for _, document in DOCUMENTS)


def test_only_pods_of_the_farm_reach_redis() -> None:
    policies = [document for _, document in DOCUMENTS if document["kind"] == "NetworkPolicy"]
    selected = {"app.kubernetes.io/name": "redis"}
    guarded = [p for p in policies if p["spec"]["podSelector"].get("matchLabels") == selected]
    assert guarded
    for policy in guarded:
        for rule in policy["spec"]["ingress"]:
            assert rule["from"] == [{"podSelector": {"matchLabels": {"farm/uses-redis": "true"}}}]
