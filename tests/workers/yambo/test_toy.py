"""What `farm doctor --run` finds: our solver, and YAMBO where it is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from farm.checks import Check
from farm.crystal import Crystal
from farm.job import Job
from farm.protocol import PRESETS
from workers.toy import toy_run

COARSE = {"ecutwfc_ry": 30, "ground_state_kppa": 16, "response_kppa": 16, "gmax_max_mry": 4000}


@pytest.fixture
def check(pw_x: Path, tmp_path: Path, diamond: Crystal) -> Callable[[], list[Check]]:
    """The findings on diamond on 8 k-points."""
    assert pw_x
    # The k-grid is too coarse for the ladder to end otherwise.
    protocol = PRESETS["demo"].model_copy(update=COARSE | {"similarity_threshold": 0.7})
    job = Job(crystal=diamond, protocol=protocol.to_dict(), protocol_hash=protocol.hash)
    return lambda: toy_run(job, tmp_path / "scratch", lambda _stage, _step: None)


def test_both_engines_run(engine: Callable[[str], str], check: Callable[[], list[Check]]) -> None:
    engine("C")
    ours, by_yambo = check()
    assert (ours.name, ours.ok) == ("run of C", True)
    assert (by_yambo.name, by_yambo.ok) == ("run with yambo", True), by_yambo
    assert "dielectric constant" in by_yambo.detail
    assert "fewer k-points" in by_yambo.detail


def test_absent_yambo_is_no_failure(
    check: Callable[[], list[Check]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.toy.missing_programs", lambda _: ["p2y", "yambo"])
    _, by_yambo = check()
    assert by_yambo.detail == "not done: p2y, yambo not on PATH"
    assert (by_yambo.ok, by_yambo.required) == (False, False)


def test_p2y_of_another_version_has_its_own_line(
    stand_in: Callable[..., None], check: Callable[[], list[Check]]
) -> None:
    stand_in(failure="p2y_version")
    ours, mismatch = check()
    assert ours.ok
    assert (mismatch.name, mismatch.ok, mismatch.required) == ("p2y and pw.x", False, True)
    assert "does not read what pw.x writes" in mismatch.detail
    assert "QE format not recognised" in mismatch.detail
    assert mismatch.fix.startswith("Install a YAMBO")


def test_a_run_that_fails_says_where_its_texts_are(
    stand_in: Callable[..., None], check: Callable[[], list[Check]], tmp_path: Path
) -> None:
    stand_in(failure="no_commutator")
    _, failed = check()
    assert (failed.name, failed.ok, failed.required) == ("run with yambo", False, True)
    assert failed.detail.startswith("failed after ")
    assert Path(failed.fix.rpartition(" ")[2]).is_relative_to(tmp_path)
