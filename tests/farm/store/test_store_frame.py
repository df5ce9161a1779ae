"""The current rows as a table: the same as row by row, and what is not said is missing."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest
from store_samples import make_older, make_result

from farm.errors import InputError, MissingProgramError
from farm.interchange import parquet
from farm.job import Engine, Outcome
from farm.store import StoreWriter, open_store
from farm.store.frame import COLUMNS, CRYSTAL_COLUMNS
from farm.store.layout import ROW_DTYPE

# What only the file needs: places in it, and a checksum; flags that become missing values.
NOT_FOR_USERS = {"first_step", "first_between", "replaces", "crc32", "has_gap_indirect", "has_gap_direct"}
CUTOFFS = [f"gmax_converged_{axis}_mry" for axis in "xyz"]
STORED_UNIX_S = 1_700_000_000.25


@pytest.fixture
def path(tmp_path):
    return tmp_path / "s.h5"


@pytest.fixture
def filled(path):
    """One done, one of IPA alone, one failed and then done, one metal of the other engine."""
    properties = {
        "band_gap_ind": 1,
        "spg": 225,
        "stable": True,
        "hull_ev": 0.5,
        "tag": "x",
        "huge": 2**63,
        "list": [1],
    }
    with StoreWriter(path, clock=lambda: STORED_UNIX_S) as writer:
        writer.append(make_result(0))
        writer.append(make_result(1, n_steps=1))
        writer.append(make_result(2, n_steps=0, outcome=Outcome.FAILED, stages=(), gap_indirect_ev=None))
        metal = make_result(3, n_steps=0, outcome=Outcome.METAL, engine=Engine.YAMBO, stages=())
        crystal = replace(metal.crystal, properties=properties, source="")
        writer.append(replace(metal, crystal=crystal, gap_indirect_ev=None, space_group=""))
        writer.append(make_result(2))
    return path


def test_every_number_is_that_of_the_row(filled):
    with open_store(filled) as store:
        frame = store.frame()
        rows = list(store.rows())
    assert frame.index.tolist() == [row.index for row in rows] == [0, 1, 3, 4]
    assert list(frame) == list(COLUMNS)
    told = {name for name in COLUMNS if name not in {"stored_utc", *CUTOFFS}}
    assert told == {
        name for name in vars(rows[0]) if name not in {"index", "gmax_converged_mry", "stored_unix_s"}
    }
    for row in rows:
        # Of an import nobody measured what it took; a row says 0 there.
        unmeasured = not row.wall_s
        for name in told:
            expected = (
                None if unmeasured and name in {"cpu_s", "wall_s", "peak_memory_mb"} else getattr(row, name)
            )
            found = frame.loc[row.index, name]
            assert found is pd.NA if expected is None else found == expected, (row.index, name)
        cutoffs = [frame.loc[row.index, name] for name in CUTOFFS]
        assert [None if cutoff is pd.NA else cutoff for cutoff in cutoffs] == list(row.gmax_converged_mry)


def test_no_field_of_the_file_is_forgotten():
    of_file = {name for name in ROW_DTYPE.names if name not in NOT_FOR_USERS}
    renamed = {"has_similarity", "gmax_converged_mry", "stored_unix_s"}
    assert of_file - renamed == set(COLUMNS) - {"stored_utc", *CUTOFFS}


def test_nothing_missing_is_a_number_below(filled):
    with open_store(filled) as store:
        frame = store.frame()
    for name in ("gap_direct_ev", "eps_inf_rpa", "similarity_rpa_ipa", "cpu_s", "gmax_converged_y_mry"):
        assert frame[name].isna().any(), name
        # A NaN is no missing value for a column of numbers that can be missing.
        assert not np.isnan(frame[name].dropna().to_numpy(dtype=float)).any()
    assert frame.gap_indirect_ev.mean() == pytest.approx(np.mean([4.25, 5.25, 6.25]))
    assert frame.stored_utc.iloc[0] == datetime(2023, 11, 14, 22, 13, 20, 250_000, tzinfo=UTC)


def test_the_index_is_what_the_store_takes(filled):
    with open_store(filled) as store:
        frame = store.frame()
        chosen = frame[frame.has_rpa & (frame.outcome == "done")]
        eps = store.ipa_spectra(chosen.index)
        assert [store.crystal(index).material_id for index in chosen.index] == chosen.material_id.tolist()
    assert eps.shape == (2, 3, 101)
    assert np.array_equal(eps[1], make_result(2).ladder[0].eps)


def test_outcomes_and_engines_are_all_there_to_count(filled):
    with open_store(filled) as store:
        frame = store.frame()
    assert frame.outcome.value_counts().to_dict() == {"done": 3, "metal": 1, "unconverged": 0, "failed": 0}
    assert frame.groupby("engine", observed=True).size().to_dict() == {"native": 3, "yambo": 1}


def test_what_the_source_says_comes_with_the_crystal(filled):
    with open_store(filled) as store:
        frame = store.frame(crystal=True)
        volumes = [store.crystal(index).volume_angstrom3 for index in frame.index]
    assert list(frame)[: len(COLUMNS) + len(CRYSTAL_COLUMNS)] == [*COLUMNS, *CRYSTAL_COLUMNS]
    assert frame.volume_angstrom3.tolist() == pytest.approx(volumes)
    assert frame.space_group.tolist()[:2] == ["Fm-3m (225)"] * 2
    metal = frame.loc[3]
    assert metal.space_group is pd.NA
    assert metal.source is pd.NA
    assert metal.reason == make_result(3, outcome=Outcome.METAL).reason
    assert (metal.source_stable, metal.source_hull_ev, metal.source_tag) == (True, 0.5, "x")
    assert frame.source_band_gap_ind.tolist() == [4.5, 4.5, 1.0, 4.5]
    assert metal.source_huge == float(2**63)
    assert "source_list" not in frame
    assert frame.source_spg.isna().tolist() == [True, True, False, True]
    kinds = {name: str(frame[f"source_{name}"].dtype) for name in ("spg", "stable", "tag")}
    assert kinds == {"spg": "Int64", "stable": "boolean", "tag": "string"}


def test_an_empty_store_has_the_same_columns(path):
    with StoreWriter(path) as writer:
        writer.append(make_result(0))
    with open_store(path) as store:
        kinds = store.frame(crystal=True).dtypes
        store._table.counts[:] = False
        empty = store.frame(crystal=True)
    assert empty.empty
    known = [*COLUMNS, *CRYSTAL_COLUMNS]
    assert [str(kind) for kind in empty[known].dtypes] == [str(kind) for kind in kinds[known]]


@pytest.mark.parametrize("version", [1, 2, 3])
def test_stores_of_older_layouts_have_one_too(path, version):
    with StoreWriter(path) as writer:
        writer.append(make_result(0, band_structure=None, steps=(), diagnosis="", advice=""))
    with open_store(path) as store:
        expected = store.frame(crystal=True)
    make_older(path, version)
    with open_store(path) as store:
        pd.testing.assert_frame_equal(store.frame(crystal=True), expected)


def test_parquet_calls_the_same_things_by_the_same_names(filled, tmp_path):
    with open_store(filled) as store:
        frame = store.frame(crystal=True)
        parquet.export_parquet(store, list(store.rows()), tmp_path / "s.parquet")
    exported = pd.read_parquet(tmp_path / "s.parquet")
    shared = set(exported) & set(frame)
    assert shared >= set(COLUMNS) - {"has_ipa", "has_rpa", "n_steps", "stored_utc"}
    for name in sorted(shared - {"cpu_s", "wall_s", "peak_memory_mb", "reason", "space_group"}):
        ours, theirs = frame[name].astype(object), exported[name].astype(object)
        assert [None if v is pd.NA else v for v in ours] == [None if pd.isna(v) else v for v in theirs], (
            name
        )


def test_polars_has_the_same_table(filled):
    pl = pytest.importorskip("polars")
    with open_store(filled) as store:
        frame = store.frame(crystal=True).reset_index()
        other = store.frame("polars", crystal=True)
    assert other.columns == list(frame)
    assert other.schema["outcome"] == pl.Enum([outcome.value for outcome in Outcome])
    for name in frame:
        ours = [None if value is pd.NA else value for value in frame[name]]
        assert other[name].to_list() == ours, name


def test_without_polars_it_is_named(filled, monkeypatch):
    monkeypatch.setitem(sys.modules, "polars", None)
    with open_store(filled) as store, pytest.raises(MissingProgramError, match="pip install polars"):
        store.frame("polars")


def test_another_kind_is_refused(filled):
    with open_store(filled) as store, pytest.raises(InputError, match=r"'spark'.*pandas or polars"):
        store.frame("spark")


def test_reading_without_a_frame_loads_no_pandas(filled):
    code = (
        "import sys, pathlib; from farm.store import open_store\n"
        "with open_store(pathlib.Path(sys.argv[1])) as store: store.ipa_spectra([0])\n"
        "print({'pandas', 'polars', 'pyarrow'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(filled)], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "set()"
