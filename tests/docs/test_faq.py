"""The page of failures has every diagnosis that the code can make, and no other."""

from __future__ import annotations

import ast
import sys
from pathlib import Path
from types import ModuleType

import pytest

from workers.qe.remedies import REMEDIES

ROOT = Path(__file__).parents[2]
WORKERS = ROOT / "workers"
# Diagnoses that are made outside of the files of one program.
_SHARED = ("monitors.py", "sessions.py", "supervise.py")


@pytest.fixture(scope="module")
def diagnoses() -> ModuleType:
    """The module that makes the tables."""
    sys.path.insert(0, str(ROOT / "docs/hooks"))
    import diagnoses

    return diagnoses


def names(diagnoses: ModuleType, *files: str) -> set[str]:
    return {name for file in files for name, _, _ in diagnoses.found_in(file)} - {""}


def test_every_diagnosis_of_pw_is_explained(diagnoses: ModuleType) -> None:
    made = (
        names(diagnoses, "qe/failures.py", "qe/verdict.py", *_SHARED)
        | {"not_run"}
        | {"odd_electrons", "metal"}
    )
    assert made == set(diagnoses.PW)
    assert len(made) > 25


def test_every_diagnosis_of_yambo_is_explained(diagnoses: ModuleType) -> None:
    files = ("yambo/failures.py", "yambo/verdict.py", "diagnose/verdicts.py", *_SHARED)
    assert names(diagnoses, *files) - {"not_run"} == set(diagnoses.YAMBO)


def test_every_diagnosis_of_a_job_is_explained(diagnoses: ModuleType) -> None:
    made = set()
    for path in WORKERS.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or getattr(node.func, "id", "") not in (
                "Finished",
                "StepFailed",
            ):
                continue
            for keyword in node.keywords:
                if keyword.arg == "diagnosis":
                    made |= {c.value for c in ast.walk(keyword.value) if isinstance(c, ast.Constant)} - {""}
    # <name>_failed, of the two processes of workers/responses.py; the correction of workers/steps.py.
    made = (made - {"_failed"}) | {"response_failed", "spectra_failed", "reduced_basis_failed"}
    assert made == set(diagnoses.JOB)


def test_remedies_are_those_of_the_code(diagnoses: ModuleType) -> None:
    rows = {row[0].strip("`"): row for row in diagnoses.rows("pw")}
    for name, remedies in REMEDIES.items():
        for remedy in remedies:
            assert remedy.name in rows[name][2]


@pytest.mark.parametrize("which", ["pw", "yambo", "job"])
def test_nobody_is_left_without_advice(diagnoses: ModuleType, which: str) -> None:
    for row in diagnoses.rows(which):
        assert all(cell.strip() for cell in row), row
