"""What `farm doctor` says of how a farm is run."""

from __future__ import annotations

from pathlib import Path

import pytest

from farm.operation_checks import operation_checks, redis_access
from farm.settings import load_settings


def checks(home: Path, environment: dict[str, str] | None = None) -> dict[str, tuple[bool, str, str]]:
    found = operation_checks(load_settings({"home": home}, environment={}), environment or {})
    assert not any(check.required for check in found)
    return {check.name: (check.ok, check.detail, check.fix) for check in found}


@pytest.mark.parametrize(
    ("url", "ok", "word"),
    [
        (None, None, ""),
        ("redis://127.0.0.1:6379/0", None, ""),
        ("redis://farm:se[cret@head:6379/0", None, ""),  # the check of Redis says that it is no URL
        ("head:6379", None, ""),
        ("redis://head:6379/0", False, "no password"),
        ("rediss://head:6379/0", False, "no password"),
        ("redis://farm:secret@head:6379/0", False, "unencrypted"),
        ("rediss://farm:secret@head:6379/0", True, "TLS"),
    ],
)
def test_a_redis_beyond_this_machine(url: str | None, ok: bool | None, word: str) -> None:
    check = redis_access(url)
    assert (check and check.ok) is ok
    if check:
        assert word in check.detail
        assert "secret" not in check.detail + check.fix
        assert bool(check.fix) is not ok


def test_a_password_that_others_can_read(tmp_path: Path) -> None:
    path = tmp_path / "farm.toml"
    path.write_text('redis_url = "rediss://farm:secret@head:6379/0"\n')
    path.chmod(0o644)
    assert checks(tmp_path)["secrets"] == (
        False,
        f"{path} holds a password and can be read by others",
        f"chmod 600 {path}",
    )
    path.chmod(0o600)
    assert checks(tmp_path)["secrets"][0]


def test_no_secret_no_word(tmp_path: Path) -> None:
    (tmp_path / "farm.toml").write_text("slots = 2\n")
    assert "secrets" not in checks(tmp_path)


def test_launchers_are_told_where_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, body in {"sbatch": "echo slurm 22.05.8", "kubectl": "echo broken >&2; exit 3"}.items():
        (programs / name).write_text(f"#!/bin/sh\n{body}\n")
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(programs))
    found = checks(tmp_path)
    assert found["sbatch"] == (True, "slurm 22.05.8 (deploy/slurm)", "")
    assert found["kubectl"][:2] == (False, "broken")
    assert "docker" not in found


def test_tokens_are_named_and_not_shown(tmp_path: Path) -> None:
    ok, detail, _ = checks(tmp_path, {"FARM_DASHBOARD_TOKEN": "hush-hush-hush-hush"})["dashboard"]
    assert ok
    assert "FARM_DASHBOARD_TOKEN set" in detail
    assert "hush" not in detail
