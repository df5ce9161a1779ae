"""``farm cost``, and what it learns from a store."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from pymatgen.core import Lattice, Structure

from farm.cost import predict_cost
from farm.cost_fit import fit_to_store
from farm.cost_model import model_key
from farm.crystal import crystal_from_structure
from farm.job import Engine, Job, Outcome, Stage
from farm.protocol import PRESETS
from farm.result import Result, StageUsage
from farm.settings import Settings
from farm.store import StoreWriter, open_store

Run = Callable[..., "tuple[int, str, str]"]
Make = Callable[..., Job]
MakeResult = Callable[..., Result]

DEMO = PRESETS["demo"]
MGO = Structure.from_spacegroup("Fm-3m", Lattice.cubic(4.2), ["Mg", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]])


@pytest.fixture
def mgo(tmp_path: Path) -> Path:
    path = tmp_path / "MgO.cif"
    MGO.to(str(path))
    return path


def _measured(job: Job, make_result: MakeResult, factor: float) -> Result:
    """A result whose stages took ``factor`` times what is predicted."""
    cpu_s = predict_cost(job.crystal, DEMO).cpu_s
    stages = tuple(
        StageUsage(stage=stage, cpu_s=factor * cpu_s[stage], wall_s=1.0, peak_memory_mb=100.0)
        for stage in Stage
    )
    return replace(make_result(job), stages=stages)


@pytest.fixture
def fill(settings: Settings, make_job: Make, make_result: MakeResult) -> Callable[[float], None]:
    """Put twelve results into the farm's store that took so many times what is predicted."""

    def write(factor: float) -> None:
        jobs = [make_job(f"m{number}") for number in range(12)]
        with StoreWriter(settings.store_path) as writer:
            writer.append_many(_measured(job, make_result, factor) for job in jobs)
            writer.append(replace(_measured(make_job("no"), make_result, 1e3), outcome=Outcome.METAL))

    return write


def test_numbers_are_those_of_the_prediction(run: Run, mgo: Path) -> None:
    code, out, _ = run("cost", str(mgo), "--json")
    document = json.loads(out)
    (row,) = document["structures"]
    estimate = predict_cost(crystal_from_structure(MGO), PRESETS["paper"])
    assert code == 0
    assert (document["fitted_to"], document["rejected"]) == (0, [])
    assert (row["formula"], row["n_atoms"], row["n_electrons"]) == ("MgO", 2, 16)
    assert row["n_kpoints_response"] == estimate.size.n_kpoints
    assert row["cpu_s"]["bands"] == pytest.approx(estimate.cpu_s[Stage.BANDS], rel=1e-3)
    assert row["peak_memory_mb"] == pytest.approx(max(estimate.memory_mb.values()), rel=1e-3)
    assert (row["slot_class"], row["ranks"]) == ("small", 1)
    low, high = row["interval_80_cpu_s"]
    assert low < row["total_cpu_s"] < high
    assert row["dominated_by"] == max(row["cpu_s"], key=row["cpu_s"].__getitem__)


def test_text_says_what_the_json_says(run: Run, mgo: Path) -> None:
    _, out, _ = run("cost", str(mgo), "--protocol", "demo")
    for words in ("2 atoms, 16 electrons", "80 % between", "peak memory", "small, 1 rank", "not fitted"):
        assert words in out


def test_store_of_the_farm_corrects_it(run: Run, mgo: Path, fill: Callable[[float], None]) -> None:
    def total(*flags: str) -> tuple[float, int]:
        document = json.loads(run("cost", str(mgo), "--json", *flags)[1])
        return document["structures"][0]["total_cpu_s"], document["fitted_to"]

    before, _ = total("--protocol", "demo")
    fill(3.0)
    after, fitted_to = total("--protocol", "demo")
    assert after == pytest.approx(3.0 * before, rel=0.1)
    assert fitted_to == 12  # the metal does not count
    assert "fitted to 12 materials" in run("cost", str(mgo), "--protocol", "demo")[1]
    # Of another protocol it says nothing.
    assert total("--protocol", "paper")[1] == 0


def test_models_are_kept_by_engine_and_protocol(
    settings: Settings, make_job: Make, make_result: MakeResult
) -> None:
    job = make_job("a")
    other = {**DEMO.to_dict(), "response_kppa": 600}
    jobs = [
        job,
        replace(make_job("b"), engine=Engine.YAMBO),
        replace(make_job("c"), protocol=other, protocol_hash="c" * 64),
        replace(make_job("d"), protocol={**DEMO.to_dict(), "no such field": 1}, protocol_hash="d" * 64),
    ]
    with StoreWriter(settings.store_path) as writer:
        writer.append_many(_measured(each, make_result, 2.0) for each in jobs)
    with open_store(settings.store_path) as store:
        models = fit_to_store(store)
        assert {key: model.n_observed for key, model in models.items()} == {
            model_key(Engine.NATIVE, DEMO.hash): 1,
            model_key(Engine.YAMBO, DEMO.hash): 1,
            model_key(Engine.NATIVE, "c" * 64): 1,
        }
        assert list(fit_to_store(store, only=model_key(Engine.YAMBO, DEMO.hash))) == [
            model_key(Engine.YAMBO, DEMO.hash)
        ]


def test_newest_results_are_taken_first(
    settings: Settings, make_job: Make, make_result: MakeResult
) -> None:
    with StoreWriter(settings.store_path) as writer:
        for number, factor in enumerate([9.0] * 10 + [2.0] * 10):
            writer.append(_measured(make_job(f"m{number}"), make_result, factor))
    with open_store(settings.store_path) as store:
        (model,) = fit_to_store(store, most=10).values()
    assert model.n_observed == 10
    prior = predict_cost(make_job("x").crystal, DEMO).prior
    assert model.predict(prior).cpu_s == pytest.approx(2.0 * prior.total_cpu_s, rel=0.1)


def test_bad_input_is_named_and_the_others_go_on(run: Run, mgo: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.cif"
    broken.write_text("no cell here")
    heavy = tmp_path / "U.cif"
    Structure(Lattice.cubic(3.0), ["U"], [[0, 0, 0]]).to(str(heavy))
    code, out, err = run("cost", str(broken), "absent.cif", str(heavy), str(mgo), "--json")
    document = json.loads(out)
    assert code == 0
    assert [row["formula"] for row in document["structures"]] == ["MgO"]
    assert len(document["rejected"]) == 3
    lines = err.splitlines()
    assert len(lines) == 3
    assert "broken.cif" in lines[0]
    assert "no such file" in lines[1]
    assert "U" in lines[2]
    assert "pseudopotential" in lines[2]


def test_nothing_that_can_be_priced_is_a_failure(run: Run) -> None:
    assert run("cost", "absent.cif")[0] == 1
    assert run("cost")[0] == 2


def test_many_structures_make_a_table(run: Run, tmp_path: Path) -> None:
    for number in range(5):
        MGO.copy().apply_strain(0.01 * number).to(str(tmp_path / f"{number}.vasp"), fmt="poscar")
    code, out, _ = run("cost", str(tmp_path), "--protocol", "demo")
    assert code == 0
    assert sum("MgO" in line for line in out.splitlines()) == 5
    assert "5 structures" in out


def test_yambo_has_bands_and_memory_of_its_own(run: Run, mgo: Path) -> None:
    native = json.loads(run("cost", str(mgo), "--json")[1])["structures"][0]
    code, out, err = run("cost", str(mgo), "--json", "--engine", "yambo")
    yambo = json.loads(out)["structures"][0]
    assert code == 0
    assert "nscf" in err
    assert yambo["cpu_s"]["ground_state"] > 0
    assert yambo["total_cpu_s"] > 5 * native["total_cpu_s"]
    assert yambo["peak_memory_mb"] > native["peak_memory_mb"]


def test_store_that_cannot_be_read_is_told(run: Run, mgo: Path, settings: Settings) -> None:
    settings.store_path.write_bytes(b"no HDF5")
    code, out, err = run("cost", str(mgo))
    assert code == 0
    assert "MgO" in out
    assert err.count("not fitted to measured costs") == 1
