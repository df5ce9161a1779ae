"""Databases of ASE, row by row."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator
from ase.db import connect

from farm.crystal import Crystal
from farm.sources import Filters, Meter, Rejected, Unparsed, cut_source, read_source, select, source_bytes


def written(path: Path, *rows: tuple[Atoms, dict[str, Any]]) -> Path:
    with connect(path) as database:
        for atoms, pairs in rows:
            database.write(atoms, data={"spectrum": np.zeros(1000)}, **pairs)
    return path


def magnetic(atoms: Atoms, moment: float) -> Atoms:
    atoms.calc = SinglePointCalculator(atoms, energy=-1.0, magmom=moment)
    return atoms


ROWS = (
    (bulk("MgO", "rocksalt", a=4.21, cubic=True), {"gap": 4.5, "ehull": 0.01, "uid": "1MgO-1"}),
    (bulk("Si"), {"band_gap": 0.6}),
    (magnetic(bulk("NaCl", "rocksalt", a=5.64), 2.0), {}),
    (Atoms("N2", [[0, 0, 0], [0, 0, 1.1]]), {}),
    (Atoms("C", cell=np.eye(3), pbc=True), {"uid": "../../evil"}),
)


@pytest.mark.parametrize("name", ["my.db", "my.json"])
def test_rows_of_both_forms(tmp_path: Path, name: str) -> None:
    path = written(tmp_path / name, *ROWS)
    before = hashlib.sha256(path.read_bytes()).digest()
    magnesia, silicon, salt, molecule, carbon = read_source(path)
    assert isinstance(magnesia, Crystal)
    assert (magnesia.material_id, magnesia.formula, magnesia.n_atoms) == ("1MgO-1", "MgO", 2)
    assert magnesia.source == f"{path}, row 1"
    assert magnesia.properties["band_gap_ind"] == 4.5
    assert magnesia.properties["e_above_hull"] == 0.01
    assert isinstance(silicon, Crystal)
    assert (silicon.material_id, silicon.properties["band_gap_ind"]) == ("my-2", 0.6)
    assert silicon.volume_angstrom3 == pytest.approx(abs(np.linalg.det(bulk("Si").cell.array)))
    for item, reason in (
        (salt, "magnetic (total_mag 2.00"),
        (molecule, "not periodic in three dimensions"),
    ):
        assert isinstance(item, Rejected)
        assert reason in item.reason
    assert isinstance(carbon, Crystal)
    assert carbon.material_id.startswith("C-")
    # ASE writes into what it opens; we do not.
    assert hashlib.sha256(path.read_bytes()).digest() == before
    assert [entry.name for entry in tmp_path.iterdir()] == [name]


def test_filters_know_what_the_rows_say(tmp_path: Path) -> None:
    path = written(tmp_path / "my.db", *ROWS)
    passed = [
        item for item in select(read_source(path), Filters(min_gap_ev=1.0)) if isinstance(item, Crystal)
    ]
    assert [crystal.material_id for crystal in passed] == ["1MgO-1"]


def test_a_large_database_is_read_as_it_is_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "large.db"
    with connect(path) as database:
        for number in range(1200):
            database.write(bulk("MgO", "rocksalt", a=4.2 + 1e-4 * number))
    with connect(path) as database:
        database.delete([1, 700])
    meter = Meter()
    rows = cut_source(path, meter)
    first = next(rows)
    assert isinstance(first, Unparsed)
    assert first.material_id == "large-2"
    assert meter.n_bytes == 0
    names = [first.material_id, *(item.material_id for item in rows if isinstance(item, Unparsed))]
    assert names == [f"large-{n}" for n in range(1, 1201) if n not in (1, 700)]
    assert meter.n_bytes == source_bytes(path)


def test_a_damaged_row_is_named_and_the_others_are_read(tmp_path: Path) -> None:
    path = written(tmp_path / "my.db", *[(bulk("Si"), {"uid": f"s{n}"}) for n in range(6)])
    with sqlite3.connect(path) as connection:
        for number, column, value in (
            (1, "numbers", b"12345"),
            (2, "positions", b""),
            (3, "key_value_pairs", "{broken"),
            (4, "cell", np.full(9, np.nan).tobytes()),
            (5, "numbers", np.array([14, 200], np.int32).tobytes()),
        ):
            connection.execute(f"UPDATE systems SET {column} = ? WHERE id = ?", (value, number))  # noqa: S608
    connection.close()
    *bad, good = read_source(path)
    assert isinstance(good, Crystal)
    assert good.material_id == "s5"
    for number, (item, reason) in enumerate(
        zip(bad, ("cannot be read", "do not fit", "cannot be read", "not finite", "Z=200"), strict=True),
        start=1,
    ):
        assert isinstance(item, Rejected)
        assert item.source in (f"{path}, row {number}", f"{path}, row {number}, s{number - 1}")
        assert reason in item.reason


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "the file is empty"),
        (b"CREATE TABLE", "not an SQLite file"),
        (b"SQLite format 3\0" + b"x" * 5000, "no ASE database"),
    ],
)
def test_a_file_that_is_no_database_is_named(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "my.db"
    path.write_bytes(content)
    (item,) = read_source(path)
    assert isinstance(item, Rejected)
    assert reason in item.reason
    assert path.read_bytes() == content


def test_a_database_of_something_else_stays_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "my.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE invoices (amount)")
    connection.close()
    before = path.read_bytes()
    (item,) = read_source(path)
    assert isinstance(item, Rejected)
    assert "no such table: systems" in item.reason
    assert path.read_bytes() == before
    (empty,) = read_source(written(tmp_path / "none.db"))
    assert isinstance(empty, Rejected)


def test_without_the_package_a_database_is_named_with_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(tmp_path / "my.db", *ROWS)
    written(tmp_path / "my.json", *ROWS[:2])
    monkeypatch.setattr("farm.sources.ase_databases.find_spec", lambda _: None)
    missing, *others = read_source(tmp_path)
    assert isinstance(missing, Rejected)
    assert "`pip install ase`" in missing.fix
    # Its JSON needs none.
    assert [type(item) for item in others] == [Crystal, Crystal]


def test_rows_of_json_in_which_nothing_is_right_are_named(tmp_path: Path) -> None:
    path = tmp_path / "my.json"
    good = json.loads(written(tmp_path / "good.json", ROWS[1]).read_text())["1"]
    nonsense = (
        {"numbers": 3, "positions": None},
        {**good, "cell": {"__ndarray__": [[3, 3], "float64", [1]]}},
        {**good, "positions": [["a", 1, 2], [1, 2, 3]]},
        {**good, "numbers": {"__ndarray__": 5}},
        {**good, "pbc": [True, True, False]},
        {**good, "cell": [[0, 0, 0]] * 3},
        {**good, "key_value_pairs": 7},
    )
    rows = {str(n): row for n, row in enumerate(nonsense, start=1)}
    path.write_text(json.dumps({**rows, "ids": list(range(1, 8)), "nextid": 8}))
    *bad, last = read_source(path)
    assert [type(item) for item in bad] == [Rejected] * 6
    assert all(str(item.source).startswith(f"{path}, row ") for item in bad)
    assert isinstance(last, Crystal)
