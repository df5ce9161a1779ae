"""A farm with a small store and a backlog, and browsers that look at it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from fastapi.testclient import TestClient

from farm.backlog import Backlog
from farm.crystal import Crystal
from farm.dashboard.access import Access, make_access
from farm.dashboard.app import make_app
from farm.dashboard.farm_view import Farm
from farm.job import Job, Outcome
from farm.result import Correction, Result, StageUsage
from farm.settings import Settings
from farm.stage import Stage
from farm.store import StoreWriter

ADDRESS = "http://127.0.0.1:8080"
OPERATE_TOKEN = "operate-0123456789abcdef"  # noqa: S105
VIEW_TOKEN = "view-0123456789abcdefghij"  # noqa: S105

# id, species, outcome, gaps and CPU seconds: as such crystals come out, the spectra are made up.
MATERIALS: tuple[tuple[str, tuple[str, ...], Outcome, float | None, float | None, float], ...] = (
    ("agm002153972", ("Mg", "O"), Outcome.DONE, 4.45, 4.45, 12.5),
    ("agm001234567", ("Si", "Si"), Outcome.DONE, 0.57, 2.55, 8.2),
    ("agm003000001", ("Ca", "F", "F"), Outcome.DONE, 6.99, 7.30, 31.0),
    ("BN-hexagonal", ("B", "N", "B", "N"), Outcome.DONE, 4.25, 4.69, 55.3),
    ("agm000000013", ("Al",), Outcome.METAL, None, None, 3.1),
    ("agm000999001", ("Li", "Li", "Li", "N"), Outcome.UNCONVERGED, 1.15, 1.60, 140.0),
    ("agm000999002", ("Zn", "S"), Outcome.FAILED, None, None, 44.0),
    ("agm000999003", ("Cd", "Te"), Outcome.FAILED, None, None, 21.5),
)
_SPACE_GROUPS = {
    "Si": "Fd-3m",
    "Ca": "Fm-3m",
    "B": "P6_3/mmc",
    "Li": "P6/mmm",
    "Zn": "F-43m",
    "Cd": "F-43m",
}


@pytest.fixture
def stored(
    settings: Settings, make_job: Callable[..., Job], make_result: Callable[..., Result]
) -> list[Result]:
    """The results of MATERIALS, in the store."""
    results = [_result(make_job, make_result, *fields) for fields in MATERIALS]
    with StoreWriter(settings.store_path) as writer:
        writer.append_many(results)
    return results


def _result(
    make_job: Callable[..., Job],
    make_result: Callable[..., Result],
    material_id: str,
    species: tuple[str, ...],
    outcome: Outcome,
    gap_indirect_ev: float | None,
    gap_direct_ev: float | None,
    cpu_s: float,
) -> Result:
    job = make_job(material_id)
    n = len(species)
    crystal = Crystal(
        material_id=material_id,
        lattice_angstrom=((0.0, 2.7, 2.7), (2.7, 0.0, 2.7), (2.7, 2.7, 0.0)),
        species=species,
        frac_coords=tuple((i / n, i / n, i / n) for i in range(n)),
        source=f"Alexandria {material_id}" if material_id.startswith("agm") else "bundled",
    )
    result = make_result(dataclasses.replace(job, crystal=crystal), outcome)
    said: dict[str, Any] = {}
    if outcome is Outcome.FAILED:
        said = {
            "reason": "scf did not converge in 200 iterations",
            "diagnosis": "scf_not_converged",
            "advice": "Look at the structure: atoms may be too close",
            "corrections": (
                Correction(
                    step="scf-60Ry-4x4x4",
                    diagnosis="scf_not_converged",
                    remedy="mixing_beta = 0.3",
                    changes_physics=False,
                    evidence="pw.out:312: convergence NOT achieved after 200 iterations",
                    worked=False,
                ),
            ),
        }
    elif outcome is Outcome.UNCONVERGED:
        said = {"reason": "the ladder of local fields did not converge", "diagnosis": "ladder_unconverged"}
    elif outcome is Outcome.METAL:
        said = {"reason": "the bands overlap", "diagnosis": "metal_bands"}
    return dataclasses.replace(
        result,
        gap_indirect_ev=gap_indirect_ev,
        gap_direct_ev=gap_direct_ev,
        space_group=_SPACE_GROUPS.get(species[0], "Fm-3m"),
        stages=(
            StageUsage(
                stage=Stage.GROUND_STATE, cpu_s=cpu_s * 0.3, wall_s=cpu_s * 0.4, peak_memory_mb=80.0
            ),
            StageUsage(stage=Stage.RESPONSE, cpu_s=cpu_s * 0.7, wall_s=cpu_s, peak_memory_mb=210.0),
        ),
        **said,
    )


@pytest.fixture
def browse(settings: Settings, backlog: Backlog) -> Iterator[Callable[..., TestClient]]:
    """Look at the farm: under given rules, else on loopback without tokens. Exceptions are raised."""
    with ExitStack() as opened:

        def look(access: Access | None = None, **options: Any) -> TestClient:
            app = make_app(Farm(settings, backlog), access or make_access("127.0.0.1"))
            client = TestClient(app, base_url=ADDRESS, follow_redirects=False, **options)
            return opened.enter_context(client)

        yield look


@pytest.fixture
def guarded() -> Access:
    """Rules with both tokens, for a server that others can reach."""
    return make_access("0.0.0.0", operate_token=OPERATE_TOKEN, view_token=VIEW_TOKEN)  # noqa: S104
