"""The ground state of a stored result made again, and the other engine on it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from farm.comparison import OtherEngine, agreement, worst_difference
from farm.crystal import Crystal
from farm.errors import InputError, MissingProgramError
from farm.job import Engine, Job, Outcome
from farm.kpoints import grid_divisions, shifted_grid, space_group
from farm.protocol import PRESETS
from farm.result import Result
from workers.compute import compute
from workers.other_engine import compute_again, ground_state_kgrid, response_density, same_ground_state
from workers.yambo.symmetry import sampled_points

# The grid of the scf run is none that its density gives: as after a ladder.
RECORDED = {"ecutwfc_ry": 45.0, "ground_state_kgrid": [5, 5, 5], "response_kgrid": [8, 8, 8]}
CRUDE = {"ecutwfc_ry": 30, "ground_state_kppa": 16, "response_kppa": 16, "gmax_max_mry": 4000}


@pytest.fixture
def compare(pw_x: Path, tmp_path: Path) -> Callable[[Result], OtherEngine]:
    """The other engine on a result, in the test's directory."""
    assert pw_x

    def run(stored: Result) -> OtherEngine:
        return compute_again(
            stored,
            tmp_path / "again",
            on_progress=lambda _stage, _name: None,
            cancelled=threading.Event(),
        )

    return run


def _job(crystal: Crystal, engine: Engine = Engine.NATIVE, **changes: Any) -> Job:
    protocol = PRESETS["demo"].model_copy(update=CRUDE | changes)
    return Job(crystal=crystal, protocol=protocol.to_dict(), protocol_hash=protocol.hash, engine=engine)


def _recorded(crystal: Crystal, parameters: dict[str, Any], **changes: Any) -> Result:
    job = _job(crystal, **changes)
    return Result(
        crystal=crystal,
        protocol=job.protocol,
        protocol_hash=job.protocol_hash,
        engine=job.engine,
        outcome=Outcome.DONE,
        parameters=parameters,
    )


def test_one_scf_where_the_ladder_ended(diamond: Crystal) -> None:
    stored = _recorded(diamond, RECORDED, energy_tolerance_kcal_mol=1.0)
    protocol = same_ground_state(stored)
    assert (protocol.ecutwfc_ry, protocol.energy_tolerance_kcal_mol) == (45, None)
    assert (protocol.bands, protocol.response_kppa) == ("nscf", 16)
    assert protocol.scf_threshold_ry == stored.protocol["scf_threshold_ry"]
    assert ground_state_kgrid(stored) == (5, 5, 5)


def test_a_converged_kgrid_is_taken_as_it_is(diamond: Crystal) -> None:
    protocol = same_ground_state(_recorded(diamond, RECORDED, kgrid="converged"))
    assert protocol.kgrid == "published"
    assert grid_divisions(diamond, protocol.response_kppa, even=True) == (8, 8, 8)


@pytest.mark.parametrize("kppa", [1, 16, 57, 100, 499, 1500, 12_345])
@pytest.mark.parametrize("name", ["diamond", "layered"])
def test_every_grid_has_its_density(request: pytest.FixtureRequest, name: str, kppa: int) -> None:
    crystal = request.getfixturevalue(name)
    grid = grid_divisions(crystal, kppa, even=True)
    found = response_density(crystal, grid)
    assert found <= kppa
    assert grid_divisions(crystal, found, even=True) == grid


def test_a_grid_that_no_density_gives_is_refused(layered: Crystal) -> None:
    with pytest.raises(InputError, match="no density of k-points gives its 4x4x8 grid"):
        response_density(layered, (4, 4, 8))


def test_a_result_that_does_not_say_how_it_was_made_is_refused(diamond: Crystal) -> None:
    with pytest.raises(InputError, match="does not say what ground state"):
        ground_state_kgrid(_recorded(diamond, {}))
    turned = RECORDED | {"computed_cell": [[0, 1, 0], [1, 0, 0], [0, 0, 1]]}
    with pytest.raises(InputError, match="in another cell"):
        ground_state_kgrid(_recorded(diamond, turned))


@pytest.mark.parametrize(("n", "found", "every"), [(2, 74, 288), (6, 8322, 9504), (8, 23040, 23040)])
def test_points_are_counted_as_yambo_does(diamond: Crystal, n: int, found: int, every: int) -> None:
    group = space_group(diamond)
    symmorphic = group.rotations[
        np.abs(group.translations - np.rint(group.translations)).max(axis=1) < 1e-4
    ]
    kpoints = shifted_grid((n, n, n), (1 / 64, 2 / 64, 3 / 64))
    assert sampled_points(kpoints, symmorphic) == (found, every)


def test_our_result_by_yambo(
    engine: Callable[[str], str],
    compare: Callable[[Result], OtherEngine],
    diamond: Crystal,
    pw_x: Path,
    tmp_path: Path,
) -> None:
    which = engine("C")
    # In a reduced basis, and on a ground state that is not the protocol's first.
    job = _job(diamond, bands="nscf")
    native = compute(job, scratch=tmp_path / "first", pseudo_dir=pw_x, ground_state_kgrid=(3, 3, 3))
    assert native.parameters["ground_state_kgrid"] == [3, 3, 3]
    other = compare(native)
    assert other.result.engine is Engine.YAMBO
    assert other.result.parameters["ground_state_kgrid"] == [3, 3, 3]
    assert next(step.name for step in other.result.steps) == "scf-30Ry-3x3x3"
    assert other.sampled == (74, 288)
    assert other.note == ""
    assert list((tmp_path / "again").iterdir()) == []
    if which == "real":
        # Of 288 points 74 are left, which have lost their symmetry: our solver takes means over stars.
        exact = worst_difference(agreement(native.ladder, other.result))
        assert worst_difference(agreement(other.same_points, other.result)) < exact / 2


def test_yambos_result_by_our_solver(
    engine: Callable[[str], str],
    compare: Callable[[Result], OtherEngine],
    diamond: Crystal,
    pw_x: Path,
    tmp_path: Path,
) -> None:
    which = engine("C")
    job = _job(diamond, Engine.YAMBO, bands="nscf")
    yambo = compute(job, scratch=tmp_path / "first", pseudo_dir=pw_x)
    other = compare(yambo)
    assert (other.result.engine, other.result.parameters["bands"]) == (Engine.NATIVE, "nscf")
    assert other.sampled == (74, 288)
    assert [step.gmax_mry for step in other.same_points] == [0, 2000, 4000]
    if which == "real":
        exact = worst_difference(agreement(other.result.ladder, yambo))
        assert worst_difference(agreement(other.same_points, yambo)) < exact / 2


def test_crystals_that_yambo_knows_half_are_told(
    stand_in: Callable[..., None], compare: Callable[[Result], OtherEngine], layered: Crystal
) -> None:
    stand_in("BN")
    recorded = {"ecutwfc_ry": 30, "ground_state_kgrid": [2, 2, 1]}
    other = compare(_recorded(layered, recorded))
    assert other.result.ladder
    assert other.same_points == ()
    assert other.note.startswith("not reproduced")


def test_failed_job_is_a_result(
    stand_in: Callable[..., None], compare: Callable[[Result], OtherEngine], diamond: Crystal
) -> None:
    stand_in(failure="no_commutator")
    other = compare(_recorded(diamond, RECORDED | {"ecutwfc_ry": 30, "ground_state_kgrid": [2, 2, 2]}))
    assert other.result.outcome is Outcome.FAILED
    assert other.sampled == (0, 0)


def test_without_yambo_it_names_the_command(
    compare: Callable[[Result], OtherEngine], diamond: Crystal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.preflight.shutil.which", lambda name: name if name == "mpirun" else None)
    with pytest.raises(MissingProgramError, match="needs p2y") as raised:
        compare(replace(_recorded(diamond, RECORDED)))
    assert "conda install -c conda-forge yambo" in raised.value.fix
