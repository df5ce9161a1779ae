"""Databases of ASE, row by row: SQLite (``.db``) through the package ``ase``, and its JSON without."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from farm.sources.admission import MAX_ATOMS_READ, too_large
from farm.sources.cells import structure_dictionary
from farm.sources.items import Rejected, Unparsed
from farm.sources.opening import Meter, brief
from farm.sources.properties import known_properties

_AT_A_TIME = 500
_COLUMNS = ["id", "unique_id", "numbers", "positions", "cell", "pbc", "magmom", "key_value_pairs"]
_FIX = "Correct the row"
_NEXT_ROWS = "SELECT id FROM systems WHERE id > ? ORDER BY id LIMIT ?"
_MAGIC = b"SQLite format 3\0"
# Our names -> those that databases of this form use, best first.
_GIVEN_AS: Mapping[str, tuple[str, ...]] = {
    "band_gap_ind": ("band_gap_ind", "band_gap", "bandgap", "gap"),
    "e_above_hull": ("e_above_hull", "ehull", "energy_above_hull", "hull_distance"),
    "spg": ("spg", "spgnum", "space_group_number", "international"),
    "total_mag": ("total_mag", "total_magnetization", "magmom"),
}
_ID_KEYS = ("mat_id", "material_id", "uid")


def cut_ase_database(path: Path, meter: Meter) -> Iterator[Unparsed | Rejected]:
    """The rows of an SQLite database; bad ones are named. Some hundred are in memory at a time.

    The file is opened for reading only: ASE by itself makes a database of what is none.
    """
    if path.stat().st_size == 0:
        yield Rejected(str(path), "the file is empty", "Give an ASE database")
        return
    with path.open("rb") as file:
        if file.read(len(_MAGIC)) != _MAGIC:
            yield Rejected(str(path), "not an SQLite file", "Give an ASE database, unpacked")
            return
    if find_spec("ase") is None:
        fix = "`pip install ase`, or the farm with its extra: `pip install '.[ase]'`"
        yield Rejected(str(path), "ASE databases need the package ase", fix)
        return
    last = 0
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as connection:
            for last, row in _rows(path, connection):
                if isinstance(row, Exception):
                    yield Rejected(f"{path}, row {last}", f"cannot be read: {brief(row)}", _FIX)
                else:
                    yield _cut_row(row, last, path)
    except sqlite3.Error as error:
        where = f"{path}, after row {last}" if last else str(path)
        fix = "Get the file again" + ("; what came before is used" if last else "")
        what = "broken off" if last else "no ASE database"
        yield Rejected(where, f"{what}: {brief(error)}", fix)
        return
    finally:
        # SQLite does not tell how much it has read.
        meter.n_bytes += path.stat().st_size
    if last == 0:
        yield Rejected(str(path), "no rows", "Give a database with structures")


def is_ase_row(key: str, value: Any) -> bool:
    """Whether a member of a JSON document is a row of ASE's JSON database."""
    return key.isdecimal() and isinstance(value, dict) and {"numbers", "positions"} <= value.keys()


def cut_json_row(row: Mapping[str, Any], path: Path) -> Unparsed | Rejected:
    """A row of ASE's JSON database, with its number as ``id``."""
    plain = {name: _plain(value) for name, value in row.items() if name in _COLUMNS}
    return _cut_row(plain, int(row["id"]), path)


def _rows(
    path: Path, connection: sqlite3.Connection
) -> Iterator[tuple[int, Mapping[str, Any] | Exception]]:
    """Number and fields of each row in their order, or what ASE says of a row that it cannot read."""
    from ase.db import connect

    database: Any = connect(path, type="db", use_lock_file=False, create_indices=False)  # type: ignore[no-untyped-call]
    # Ours, which cannot write; ASE counts its changes to an open connection.
    database.connection, database.change_count = connection, 0
    last = 0
    # ASE would read all rows at once. One by one, a broken one does not end the reading.
    while numbers := connection.execute(_NEXT_ROWS, (last, _AT_A_TIME)).fetchall():
        for (last,) in numbers:
            try:
                (row,) = database.select(id=last, columns=_COLUMNS)
                fields = {name: row.get(name) for name in _COLUMNS if name != "key_value_pairs"}
                yield last, {**fields, "key_value_pairs": row.key_value_pairs}
            except Exception as error:  # noqa: BLE001 - ASE raises anything on a damaged row
                yield last, error


def _cut_row(row: Mapping[str, Any], number: int, path: Path) -> Unparsed | Rejected:
    source = f"{path}, row {number}"
    said = row.get("key_value_pairs")
    pairs: Mapping[str, Any] = said if isinstance(said, Mapping) else {}
    own_id = next((str(pairs[key]) for key in _ID_KEYS if pairs.get(key)), f"{_stem(path)}-{number}")
    try:
        numbers, positions = _array(row, "numbers", 1), _array(row, "positions", 2)
        cell = _array(row, "cell", 2)
        periodic = _array(row, "pbc", 1)
    except (TypeError, ValueError) as error:
        return Rejected(source, str(error) or "not numbers", _FIX)
    if len(numbers) > MAX_ATOMS_READ:
        return too_large(source, len(numbers), "the cell")
    if cell.shape != (3, 3) or positions.shape != (len(numbers), 3):
        return Rejected(source, "cell, positions and numbers do not fit together", _FIX)
    if not (periodic.shape == (3,) and periodic.all()):
        return Rejected(source, "not periodic in three dimensions", "Give crystals")
    if not all(np.isfinite(array).all() for array in (cell, positions, numbers)):
        return Rejected(source, "cell, positions or numbers are not finite", _FIX)
    on_sites = [[{"element": _symbol(int(number)), "occu": 1}] for number in numbers]
    structure = structure_dictionary(cell, positions, on_sites)
    if structure is None:
        return Rejected(source, "the cell has no volume", _FIX)
    return Unparsed("structure", structure, source, own_id, _properties(row, pairs))


def _properties(row: Mapping[str, Any], pairs: Mapping[str, Any]) -> dict[str, Any]:
    said = {"magmom": row.get("magmom"), **pairs}
    said = {key: value.item() if isinstance(value, np.generic) else value for key, value in said.items()}
    found = {
        ours: next((said[name] for name in names if said.get(name) is not None), None)
        for ours, names in _GIVEN_AS.items()
    }
    unique = row.get("unique_id")
    return {**known_properties(found), **({"ase_unique_id": unique} if isinstance(unique, str) else {})}


def _array(row: Mapping[str, Any], field: str, n_dimensions: int) -> NDArray[np.float64]:
    """Raises ValueError or TypeError for what is no array of numbers."""
    value = row.get(field)
    if value is None:
        raise ValueError(f"field {field} is missing")
    found = np.asarray(value, dtype=np.float64)
    if found.ndim != n_dimensions:
        raise ValueError(f"field {field}: {found.ndim} dimensions")
    return found


def _plain(value: Any) -> Any:
    """ASE's JSON of an array or a cell (``{"__ndarray__": [shape, type, flat]}``) as an array."""
    if isinstance(value, dict) and value.get("__ase_objtype__") == "cell":
        value = value.get("array")
    if isinstance(value, dict) and "__ndarray__" in value:
        try:
            shape, _, flat = value["__ndarray__"]
            return np.array(flat, dtype=np.float64).reshape(shape)
        except (TypeError, ValueError, OverflowError):
            return None
    return value


def _symbol(atomic_number: int) -> str:
    from pymatgen.core import Element

    # What is no element is named where structures are read.
    return Element.from_Z(atomic_number).symbol if 0 < atomic_number < 119 else f"Z={atomic_number}"


def _stem(path: Path) -> str:
    return path.name.split(".", 1)[0]
