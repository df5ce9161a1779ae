"""The table of materials: what an address asks for, and which rows it gets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm.dashboard.catalogue import Catalogue
from farm.dashboard.query import SORTABLE, Query, read_query
from farm.dashboard.snapshot import Snapshot
from farm.job import Job, Outcome
from farm.result import Result
from farm.settings import Settings
from farm.store import StoreWriter


@pytest.fixture
def snapshot(settings: Settings, stored: list[Result]) -> Snapshot:
    """Of the eight materials."""
    catalogue = Catalogue(settings.store_path)
    assert catalogue.look()
    catalogue.close()
    assert catalogue.snapshot is not None
    assert len(catalogue.snapshot.table) == len(stored)
    return catalogue.snapshot


def formulas(snapshot: Snapshot, **asked: object) -> list[str]:
    found = snapshot.table.select(Query(**asked))  # type: ignore[arg-type]
    return list(snapshot.frame["formula"].iloc[found])


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ({"text": "mgo"}, {"MgO"}),
        ({"text": "agm00099"}, {"Li3N", "ZnS", "CdTe"}),
        ({"text": "F-43m zn"}, {"ZnS"}),
        ({"text": "has N"}, {"BN", "Li3N"}),
        ({"text": "has N, B"}, {"BN"}),
        ({"text": "N, B"}, {"BN"}),
        ({"text": "Li,N"}, {"Li3N"}),
        ({"text": "only Si, O, Mg"}, {"MgO", "Si"}),
        ({"text": "has N agm"}, {"Li3N"}),
        ({"text": "nowhere"}, set()),
        ({"outcome": "failed"}, {"ZnS", "CdTe"}),
        ({"outcome": "failed", "text": "te"}, {"CdTe"}),
        ({"diagnosis": "ladder_unconverged"}, {"Li3N"}),
        ({"gap_min_ev": 4.25, "gap_max_ev": 5}, {"MgO", "BN"}),
        ({"atoms_min": 4}, {"BN", "Li3N"}),
        ({"atoms_max": 1}, {"Al"}),
        ({"engine": "yambo"}, set()),
        ({"protocol": "0" * 12}, set()),
        ({"physics": "changed"}, set()),
        ({"physics": "kept", "atoms_min": 4}, {"BN", "Li3N"}),
        # What is not known is neither above nor below: metals and failures have no SC.
        ({"sc_min": 0.0}, {"MgO", "Si", "CaF2", "BN", "Li3N"}),
        ({"sc_max": 1.0}, {"MgO", "Si", "CaF2", "BN", "Li3N"}),
    ],
)
def test_rows_that_meet_a_query(snapshot: Snapshot, asked: dict[str, object], found: set[str]) -> None:
    assert set(formulas(snapshot, **asked)) == found


def test_rows_are_sorted_and_the_unknown_come_last(snapshot: Snapshot) -> None:
    known = ["Si", "Li3N", "BN", "MgO", "CaF2"]
    up = formulas(snapshot, sort="gap_indirect_ev")
    down = formulas(snapshot, sort="gap_indirect_ev", descending=True)
    assert up[:5] == known
    assert down[:5] == known[::-1]
    assert set(up[5:]) == set(down[5:]) == {"Al", "ZnS", "CdTe"}
    assert formulas(snapshot, sort="formula") == sorted(formulas(snapshot))


def test_texts_that_are_not_known_come_last_too(
    settings: Settings, make_job: Callable[..., Job], make_result: Callable[..., Result]
) -> None:
    groups = {"a": "Fm-3m", "b": "", "c": "Fd-3m"}
    with StoreWriter(settings.store_path) as writer:
        writer.append_many(
            [replace(make_result(make_job(name)), space_group=group) for name, group in groups.items()]
        )
    catalogue = Catalogue(settings.store_path)
    assert catalogue.look()
    catalogue.close()
    assert catalogue.snapshot is not None
    ids, select = catalogue.snapshot.table.material_ids, catalogue.snapshot.table.select
    assert list(ids[select(Query(sort="space_group"))]) == ["c", "a", "b"]
    assert list(ids[select(Query(sort="space_group", descending=True))]) == ["a", "c", "b"]


def test_the_last_that_arrived_come_first(snapshot: Snapshot, stored: list[Result]) -> None:
    assert formulas(snapshot) == [result.crystal.formula for result in reversed(stored)]


@pytest.mark.parametrize("column", SORTABLE)
def test_every_column_sorts_all_rows(snapshot: Snapshot, column: str) -> None:
    assert sorted(snapshot.table.select(Query(sort=column))) == list(range(len(snapshot.table)))


@given(
    st.builds(
        Query,
        text=st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), max_size=12),
        outcome=st.sampled_from(["", *Outcome]).map(str),
        gap_min_ev=st.none() | st.floats(-10, 10),
        atoms_max=st.none() | st.integers(0, 100),
        sort=st.sampled_from(["", *SORTABLE]),
        descending=st.booleans(),
        page=st.integers(1, 10**6),
    )
)
def test_an_address_says_what_was_asked(query: Query) -> None:
    address = query.address("/materials")
    assert read_query(dict(parse_qsl(urlsplit(address).query))) == query


def test_what_cannot_be_understood_is_said_and_left_out() -> None:
    query = read_query({"gap_min_ev": "wide", "atoms_max": "-1", "sort": "colour", "text": "MgO", "x": "y"})
    assert len(query.problems) == 3
    assert query.problems[0].startswith("gap from: 'wide'")
    assert (query.text, query.gap_min_ev, query.atoms_max, query.sort) == ("MgO", None, None, "")


def test_a_snapshot_sums_failures_and_remedies(snapshot: Snapshot) -> None:
    assert snapshot.by_diagnosis == {"scf_not_converged": 2, "ladder_unconverged": 1}
    assert [(ended["diagnosis"], ended["count"]) for ended in snapshot.not_done] == [
        ("scf_not_converged", 2),
        ("ladder_unconverged", 1),
    ]
    (remedy,) = snapshot.remedies
    assert (remedy["remedy"], remedy["tried"], remedy["worked"]) == ("mixing_beta = 0.3", 2, 0)


def test_a_catalogue_takes_in_what_arrives_and_forgets_what_was_replaced(
    settings: Settings,
    stored: list[Result],
    make_job: Callable[..., Job],
    make_result: Callable[..., Result],
) -> None:
    catalogue = Catalogue(settings.store_path)
    assert catalogue.look()
    assert not catalogue.look()
    failed = next(result for result in stored if result.outcome is Outcome.FAILED)
    with StoreWriter(settings.store_path) as writer:
        writer.append(make_result(make_job("later")))
        # The same material computed again, and done this time.
        writer.append(make_result(make_job(failed.crystal.material_id)))
    assert catalogue.look()
    assert catalogue.snapshot is not None
    assert len(catalogue.snapshot.table) == len(stored) + 1
    assert catalogue.snapshot.by_diagnosis["scf_not_converged"] == 1
    assert catalogue.snapshot.counts["materials"] == len(stored) + 1
    catalogue.close()


def test_a_catalogue_starts_anew_with_another_file(
    settings: Settings, stored: list[Result], tmp_path: Path
) -> None:
    catalogue = Catalogue(settings.store_path)
    assert catalogue.look()
    with StoreWriter(tmp_path / "other.h5") as writer:
        writer.append(stored[-1])
    (tmp_path / "other.h5").replace(settings.store_path)
    assert catalogue.look()
    assert catalogue.snapshot is not None
    assert list(catalogue.snapshot.frame["space_group"]) == [stored[-1].space_group]
    catalogue.close()


def test_a_damaged_store_is_told_and_what_was_read_stays(settings: Settings, stored: list[Result]) -> None:
    catalogue = Catalogue(settings.store_path)
    assert catalogue.look()
    settings.store_path.unlink()
    settings.store_path.write_bytes(b"no store")
    assert not catalogue.look()
    assert str(settings.store_path) in catalogue.error
    assert catalogue.snapshot is not None
    assert len(catalogue.snapshot.table) == len(stored)
    catalogue.close()


@pytest.mark.usefixtures("stored")
def test_a_store_that_is_gone_is_told_and_what_was_read_stays(settings: Settings) -> None:
    catalogue = Catalogue(settings.store_path)
    assert catalogue.look()
    settings.store_path.unlink()
    for _ in range(2):
        assert not catalogue.look()
        assert settings.store_path.name in catalogue.error
    catalogue.close()
    assert catalogue.snapshot is not None


@pytest.mark.usefixtures("stored")
def test_no_damage_of_a_text_ends_the_catalogue(settings: Settings) -> None:
    with h5py.File(settings.store_path, "r+") as file:
        texts = file["text"][:].tobytes()
        damaged = texts.replace(b'"diagnosis":', b'"diagnosi_":')
        assert damaged != texts
        file["text"][:] = np.frombuffer(damaged, dtype=np.uint8)
    catalogue = Catalogue(settings.store_path)
    assert not catalogue.look()
    catalogue.close()
    assert "damaged" in catalogue.error


def test_one_long_text_does_not_widen_all_rows(
    settings: Settings, make_job: Callable[..., Job], make_result: Callable[..., Result]
) -> None:
    results = [make_result(make_job(name), Outcome.FAILED, "why") for name in ("a", "b")]
    with StoreWriter(settings.store_path) as writer:
        writer.append_many(
            [replace(results[0], diagnosis="x" * 100_000, space_group="y" * 100_000), results[1]]
        )
    catalogue = Catalogue(settings.store_path)
    assert catalogue.look()
    catalogue.close()
    assert catalogue.snapshot is not None
    table = catalogue.snapshot.table
    assert sum(column.nbytes for column in table._columns.values()) < 10_000
    assert table.select(read_query({"diagnosis": "x" * 100_000})).tolist() == [0]
