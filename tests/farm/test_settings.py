"""Settings: precedence, and one clear error for what is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from farm.errors import SettingsError
from farm.settings import load_settings


def test_flags_win_over_environment_over_file(tmp_path: Path) -> None:
    (tmp_path / "farm.toml").write_text("slots = 2\nlease_s = 7\nname = 'filed'\n")
    environment = {"FARM_HOME": str(tmp_path), "FARM_SLOTS": "3", "FARM_NAME": "environs"}
    settings = load_settings({"slots": 4, "name": None}, environment)
    assert (settings.home, settings.lease_s, settings.name, settings.slots) == (tmp_path, 7, "environs", 4)


def test_everything_lives_in_the_home(tmp_path: Path) -> None:
    settings = load_settings({"home": tmp_path}, {})
    assert settings.store_path == tmp_path / "spectra.h5"
    assert all(
        tmp_path in p.parents for p in (settings.checkpoints_dir, settings.scratch_dir, settings.logs_dir)
    )


def test_scratch_may_lie_elsewhere_and_is_seen_from_home(tmp_path: Path) -> None:
    home = {"home": tmp_path}
    assert load_settings(home, {"FARM_SCRATCH_DIR": "/local/farm"}).scratch_dir == Path("/local/farm")
    assert load_settings(home, {"FARM_SCRATCH_DIR": "fast"}).scratch_dir == tmp_path / "fast"
    (tmp_path / "farm.toml").write_text("scratch_dir = '~/scratch'\n")
    assert load_settings(home, {}).scratch_dir == Path.home() / "scratch"


@pytest.mark.parametrize(
    ("file", "environment", "told"),
    [
        ("slot = 2\n", {}, r"farm\.toml: slot: no such setting. There are name"),
        ("slots = 0\n", {}, r"farm\.toml: slots: .*greater than or equal to 1"),
        ("slots = [\n", {}, r"farm\.toml: not valid TOML"),
        ("", {"FARM_LEASE_S": "long"}, "environment: FARM_LEASE_S: .*number"),
        ("", {"FARM_NAME": "a:b"}, "environment: FARM_NAME: .*A-Z"),
        ("lease_s = inf\n", {}, "lease_s: .*finite number"),
        ("home = '/elsewhere'\n", {}, "home cannot be set there"),
    ],
)
def test_a_wrong_setting_is_named_with_its_source(
    tmp_path: Path, file: str, environment: dict[str, str], told: str
) -> None:
    (tmp_path / "farm.toml").write_text(file)
    with pytest.raises(SettingsError, match=told):
        load_settings({"home": tmp_path}, environment)


def test_a_file_of_an_editor_of_windows_is_read(tmp_path: Path) -> None:
    (tmp_path / "farm.toml").write_text("\ufeffslots = 3\r\n", encoding="utf-8")
    assert load_settings({"home": tmp_path}, environment={}).slots == 3
