"""`farm export` as it is typed: directories, Parquet, npz; filters; what stands there already."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from interchange_samples import PROTOCOL, TERMS, computed, entry, same

from farm.interchange import parquet
from farm.interchange.published_entry import result_of_published
from farm.job import Engine, Outcome
from farm.result import Result
from farm.store import StoreWriter

Run = Callable[..., tuple[int, str, str]]

IPA_ALONE = PROTOCOL.ipa_only()


@pytest.fixture
def results(tmp_path: Path) -> dict[str, Result]:
    """A store with one of each kind."""
    alone = {
        "protocol": IPA_ALONE.to_dict(),
        "protocol_hash": IPA_ALONE.hash,
        "ladder": computed(2).ladder[:1],
    }
    kinds = [
        computed(1, "tetragonal"),
        computed(2, gmax_converged_mry=(None, None, None), **alone),
        computed(3, outcome=Outcome.METAL, reason="no gap", ladder=(), gap_direct_ev=None),
        result_of_published(entry(4), TERMS, "agm000000004", "4.json"),
    ]
    with StoreWriter(tmp_path / "spectra.h5") as writer:
        writer.append_many(kinds)
    return {result.crystal.material_id: result for result in kinds}


def names(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


def test_a_directory_of_entries(run: Run, results: dict[str, Result], tmp_path: Path) -> None:
    out = tmp_path / "out" / "htrpa"
    code, text, err = run("export", str(out))
    assert (code, err) == (0, "")
    assert text.splitlines()[0] == f"4 entries in {out}"
    assert names(out) == {"m1.json", "m2.json", "m3.json", "agm000000004.json", "export.nomad.json"}
    assert same(json.loads((out / "agm000000004.json").read_text()), entry(4))
    first = json.loads((out / "m1.json").read_text())
    assert np.array_equal(np.float32(first["data"]["rpa_epsR"]["xx"]), results["m1"].ladder[-1].eps[0].real)
    metal = json.loads((out / "m3.json").read_text())
    assert metal["data"]["farm"]["outcome"] == "metal"
    assert "ipa_epsI" not in metal["data"]


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ((), {"m1", "m2", "m3", "agm000000004"}),
        (("--outcome", "done"), {"m1", "m2", "agm000000004"}),
        (("--outcome", "metal"), {"m3"}),
        (("--engine", "yambo"), {"agm000000004"}),
        (("--engine", "native", "--rung", "ipa"), {"m1", "m2"}),
        (("--rung", "rpa"), {"m1", "agm000000004"}),
        (("--protocol-hash", IPA_ALONE.hash), {"m2"}),
        (("--protocol-hash", PROTOCOL.hash[:9]), {"m1", "m3"}),
    ],
)
@pytest.mark.usefixtures("results")
def test_filters(run: Run, tmp_path: Path, flags: tuple[str, ...], expected: set[str]) -> None:
    assert run("export", str(tmp_path / "out"), *flags)[0] == 0
    assert names(tmp_path / "out") - {"export.nomad.json"} == {f"{name}.json" for name in expected}
    assert run("export", str(tmp_path / "t.parquet"), *flags)[0] == 0
    assert set(pd.read_parquet(tmp_path / "t.parquet")["material_id"]) == expected
    assert run("export", str(tmp_path / "t.npz"), *flags)[0] == 0
    with np.load(tmp_path / "t.npz") as arrays:
        assert set(arrays["material_id"]) == expected


@pytest.mark.usefixtures("results")
def test_nothing_like_that_is_said(run: Run, tmp_path: Path) -> None:
    code, out, err = run("export", str(tmp_path / "out"), "--outcome", "failed")
    assert (code, out) == (2, "")
    assert "nothing in it is like that" in err
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("results")
def test_the_name_tells_the_format_or_it_is_asked_for(run: Run, tmp_path: Path) -> None:
    code, _, err = run("export", str(tmp_path / "all.json"))
    assert code == 2
    assert "--format" in err
    assert run("export", str(tmp_path / "all.json"), "--format", "htrpa")[0] == 0
    assert run("export", str(tmp_path / "all.json"))[0] == 0  # it is a directory now
    assert run("export", str(tmp_path / "columns"), "--format", "parquet")[0] == 0
    assert len(pd.read_parquet(tmp_path / "columns")) == 4
    assert run("export", str(tmp_path / "arrays.dat"), "--format", "npz")[0] == 0


@pytest.mark.usefixtures("results")
def test_what_else_stands_there_is_not_touched(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine.json").write_text("my own")
    (out / "m1.json").write_text("an older export")
    assert run("export", str(out))[0] == 0
    assert (out / "mine.json").read_text() == "my own"
    assert json.loads((out / "m1.json").read_text())["entry_id"] == "m1"
    assert not [name for name in names(out) if name.startswith(".")]


def test_a_file_is_whole_or_the_old_one(
    run: Run, results: dict[str, Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "m2.json").write_text("an older export")
    written: list[str] = []

    def full_disk(path: Path, content: bytes) -> int:
        written.append(path.name)
        if len(written) == 2:
            with path.open("wb") as file:
                file.write(content[: len(content) // 2])
            raise OSError(28, "No space left on device", str(path))
        with path.open("wb") as file:
            return file.write(content)

    monkeypatch.setattr(Path, "write_bytes", full_disk)
    code, _, err = run("export", str(out))
    assert code == 1
    assert "No space left on device" in err
    assert names(out) == {"m1.json", "m2.json"}
    assert json.loads((out / "m1.json").read_text())["data"]["nsites"] == results["m1"].crystal.n_atoms
    assert (out / "m2.json").read_text() == "an older export"


def test_two_results_of_a_material_need_a_choice(run: Run, tmp_path: Path) -> None:
    first = computed(1)
    second = replace(first, engine=Engine.YAMBO)
    with StoreWriter(tmp_path / "spectra.h5") as writer:
        writer.append_many([first, second])
    code, _, err = run("export", str(tmp_path / "out"))
    assert code == 2
    assert "m1 has several results (native" in err
    assert not (tmp_path / "out").exists()
    assert run("export", str(tmp_path / "out"), "--engine", "yambo")[0] == 0
    assert run("export", str(tmp_path / "both.parquet"))[0] == 0


@pytest.mark.usefixtures("results")
@pytest.mark.parametrize("name", ["file/out", "file/t.parquet", "file/t.npz"])
def test_a_place_that_cannot_be_written_is_one_line(run: Run, tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    code, out, err = run("export", str(tmp_path / name))
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert str(tmp_path / "file") in err


def test_parquet_has_every_number_and_its_unit(
    run: Run, results: dict[str, Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet, "GROUP_ROWS", 2)
    path = tmp_path / "t.parquet"
    code, out, _ = run("export", str(path))
    assert code == 0
    assert out.splitlines()[0] == f"4 entries in {path}"
    table = pd.read_parquet(path).set_index("material_id")
    assert list(table.index) == list(results)
    for name, result in results.items():
        row = table.loc[name]
        assert (row["outcome"], row["engine"]) == (result.outcome.value, result.engine.value)
        assert row["formula"] == result.crystal.formula
        assert row["protocol_hash"] == result.protocol_hash
        assert json.loads(row["parameters"]) == dict(result.parameters)
        assert row["space_group"] == result.space_group
        assert np.array_equal(row["lattice_angstrom"].reshape(3, 3), result.crystal.lattice)
        assert tuple(row["species"]) == result.crystal.species
        assert np.array_equal(row["frac_coords"].reshape(-1, 3), result.crystal.frac_coords)
        for gap in ("gap_indirect_ev", "gap_direct_ev"):
            value = getattr(result, gap)
            assert pd.isna(row[gap]) if value is None else row[gap] == value
        rungs = {"ipa": result.ladder[:1], "rpa": result.ladder[1:][-1:]}
        for rung, steps in rungs.items():
            for part in ("real", "imag"):
                for axis, direction in enumerate("xyz"):
                    found = row[f"{rung}_eps_{part}_{direction}"]
                    if steps:
                        assert np.array_equal(found, getattr(steps[0].eps, part)[axis].astype(np.float32))
                    else:
                        assert found is None
    file = pq.ParquetFile(path)
    assert file.num_row_groups == 2
    units = {field.name: field.metadata[b"unit"].decode() for field in file.schema_arrow}
    assert units["gap_direct_ev"] == "eV"
    assert units["gmax_converged_x_mry"] == "mRy"
    assert units["lattice_angstrom"] == "angstrom"
    assert all(unit == "1" for name, unit in units.items() if "_eps_" in name)
    energies = json.loads(file.schema_arrow.metadata[b"energies_ev"])
    assert energies == {"energy_max_ev": 20.0, "n_energies": 101}
    about = json.loads((tmp_path / "t.parquet.nomad.json").read_text())
    assert [item["entry_name"] for item in about["entries"]] == list(results)


@pytest.mark.usefixtures("results")
def test_without_pyarrow_the_remedy_is_named(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    code, _, err = run("export", str(tmp_path / "t.parquet"))
    assert code == 1
    assert "pip install" in err
    assert not list(tmp_path.glob("*.parquet*"))


def test_the_metadata_for_archives(run: Run, results: dict[str, Result], tmp_path: Path) -> None:
    assert run("export", str(tmp_path / "out"))[0] == 0
    document = json.loads((tmp_path / "out" / "export.nomad.json").read_text())
    by_name = {item["entry_name"]: item for item in document["entries"]}
    assert set(by_name) == set(results)
    ours, theirs = by_name["m1"], by_name["agm000000004"]
    assert ours["file"] == "m1.json"
    method = ours["results"]["method"]["simulation"]
    assert (method["program_name"], method["program_version"]) == ("farm", "0.1.0")
    assert method["dft"]["xc_functional_names"] == ["GGA_X_PBE", "GGA_C_PBE"]
    calculation = ours["calculation"]
    assert calculation["k_mesh"]["grid"] == [9, 9, 9]
    assert (calculation["plane_wave_cutoff_ry"], calculation["broadening_ev"]) == (60, 0.3)
    assert calculation["pseudopotentials"]["files"]["Na"]["file"] == "Na_ONCV_PBE-1.2.upf"
    assert not calculation["declared"]
    # What its source did not record is not made up.
    assert theirs["calculation"]["declared"]
    assert theirs["results"]["method"]["simulation"]["program_version"] is None
    assert theirs["calculation"]["plane_wave_cutoff_ry"] is None
    assert theirs["calculation"]["k_mesh"]["k_points_per_reciprocal_atom"] == 1458


def test_npz_holds_every_current_row(run: Run, results: dict[str, Result], tmp_path: Path) -> None:
    assert run("export", str(tmp_path / "t.npz"))[:2] == (0, f"4 entries in {tmp_path / 't.npz'}\n")
    sent = list(results.values())
    with np.load(tmp_path / "t.npz", allow_pickle=False) as arrays:
        assert arrays["material_id"].tolist() == list(results)
        assert arrays["ipa_entry"].tolist() == [0, 1, 3]
        assert arrays["rpa_entry"].tolist() == [0, 3]
        assert np.array_equal(arrays["ipa_eps_imag"][1], sent[1].ladder[0].eps.imag.astype(np.float32))
        assert np.array_equal(arrays["rpa_eps_real"][1], sent[3].ladder[-1].eps.real.astype(np.float32))
        assert arrays["has_eps_inf_rpa"].tolist() == [True, False, False, True]
        assert json.loads(str(arrays["crystal"][1])) == sent[1].crystal.to_dict()
        for name in arrays.files:
            key = name.removeprefix("has_")
            assert name == "README" or key in str(arrays["README"]), name
    assert [path.name for path in tmp_path.glob("*t.npz*")] == ["t.npz"]
