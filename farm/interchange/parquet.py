"""A store as one Parquet file, for pandas, polars, DuckDB and the like: a row a result."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import farm
from farm.errors import MissingProgramError
from farm.interchange.whole_file import whole_file
from farm.rung import Rung
from farm.spectrum import DIRECTIONS
from farm.store import Store, StoredRow

# 12 MB of spectra are in memory at a time.
GROUP_ROWS = 128
_PARTS = ("real", "imag")

README = (
    "One row a calculation. Spectra are the diagonal of the macroscopic dielectric tensor along Cartesian "
    "x, y, z of the cell in lattice_angstrom, on the photon energies numpy.linspace(0, energy_max_ev, "
    "n_energies); null where a calculation has none. Units are in the metadata of each column."
)


@dataclass(frozen=True)
class _Column:
    """A scalar column.

    kind: name of its Arrow type
    of:   its value for a row, None where that does not say
    """

    name: str
    kind: str
    unit: str
    note: str
    of: Callable[[StoredRow], Any]


def _same(name: str, kind: str, unit: str, note: str) -> _Column:
    return _Column(name, kind, unit, note, lambda row: getattr(row, name))


def _cutoff(axis: int) -> _Column:
    name = f"gmax_converged_{DIRECTIONS[axis]}_mry"
    note = "cutoff at which the local fields converged; null: not"
    return _Column(name, "int32", "mRy", note, lambda row: row.gmax_converged_mry[axis])


_SCALARS = (
    _same("material_id", "string", "", "unique in a farm"),
    _same("formula", "string", "", "reduced"),
    _same("protocol_hash", "string", "", "SHA-256 of all parameters; equal ones can be compared"),
    _Column("engine", "string", "", "who computed the response", lambda row: row.engine.value),
    _Column("outcome", "string", "", "done, metal, unconverged, failed", lambda row: row.outcome.value),
    _same("n_atoms", "int32", "", "sites of the cell"),
    _same("physics_changed", "bool", "", "a correction changed the physics: do not train on it"),
    _same("gap_indirect_ev", "double", "eV", "on the k-grid of the spectra"),
    _same("gap_direct_ev", "double", "eV", "on the k-grid of the spectra"),
    _same("eps_inf_ipa", "double", "1", "a third of the trace of Re eps(0)"),
    _same("eps_inf_rpa", "double", "1", "a third of the trace of Re eps(0)"),
    _same("similarity_rpa_ipa", "double", "1", "SC[RPA;IPA] of Im eps averaged over directions"),
    *(_cutoff(axis) for axis in range(3)),
    _same("cpu_s", "double", "s", "user + system CPU time; 0 where imported"),
    _same("wall_s", "double", "s", "wall time"),
    _same("peak_memory_mb", "double", "MB", "of the largest stage"),
)
# Of the crystal: name, Arrow type of the elements of the list, unit, note.
_CRYSTAL = (
    (
        "lattice_angstrom",
        "double",
        "angstrom",
        "nine numbers: the cell vectors a, b, c one after the other",
    ),
    ("species", "string", "", "element of each site"),
    ("frac_coords", "double", "1", "three fractional coordinates of each site, one site after the other"),
)
_TEXTS = (
    ("space_group", "international symbol"),
    ("reason", "why it is not done"),
    ("parameters", "JSON: what was really used"),
    ("protocol", "JSON: every parameter of the calculation"),
    ("programs", "JSON: version of each program"),
)


def export_parquet(
    store: Store, rows: Sequence[StoredRow], path: Path, told_of: Callable[[int], None] = lambda _: None
) -> None:
    """Write rows of a store to ``path``, which appears complete or not at all; streamed in row groups.

    told_of: is given how many rows were written

    Raises MissingProgramError without pyarrow, StoreError where the file cannot be written.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise MissingProgramError(
            "Parquet needs pyarrow", fix="pip install 'pyarrow>=21', or choose --format npz"
        ) from error
    schema = _schema(pa, store.energies_ev)
    spectra = [f"{field.name}.list.element" for field in schema if pa.types.is_fixed_size_list(field.type)]
    # Equal bytes of neighbouring numbers side by side: what compression finds in spectra, it finds there.
    options = {"compression": "zstd", "use_dictionary": False, "use_byte_stream_split": spectra}
    with whole_file(path) as unfinished, pq.ParquetWriter(unfinished, schema, **options) as file:
        for group in _groups(store, rows, pa, schema):
            file.write_table(group, row_group_size=GROUP_ROWS)
            told_of(group.num_rows)


def _schema(pa: Any, energies_ev: NDArray[np.float64]) -> Any:
    def field(name: str, kind: Any, unit: str, note: str) -> Any:
        return pa.field(name, kind, metadata={"unit": unit, "description": note})

    spectrum = pa.list_(pa.float32(), energies_ev.size)
    columns = [field(c.name, pa.type_for_alias(c.kind), c.unit, c.note) for c in _SCALARS]
    columns += [field(name, pa.string(), "", note) for name, note in _TEXTS]
    columns += [
        field(name, pa.list_(pa.type_for_alias(kind)), unit, note) for name, kind, unit, note in _CRYSTAL
    ]
    columns += [
        field(
            f"{rung.value}_eps_{part}_{direction}",
            spectrum,
            "1",
            f"{rung.value.upper()}: {part} part of eps_{direction}{direction}, one number an energy",
        )
        for rung in Rung
        for part in _PARTS
        for direction in DIRECTIONS
    ]
    about = {
        "description": README,
        "energies_ev": json.dumps({"energy_max_ev": energies_ev[-1], "n_energies": energies_ev.size}),
        "created_by": f"farm {farm.__version__}",
    }
    return pa.schema(columns, metadata=about)


def _groups(store: Store, rows: Sequence[StoredRow], pa: Any, schema: Any) -> Iterator[Any]:
    names = [name for name, _ in _TEXTS]
    # Read for all current rows in one go a block, of which the chosen ones are kept.
    chosen = {row.index for row in rows}
    texts = (
        text
        for row, text in zip(store.rows(), store.texts("crystal", *names), strict=True)
        if row.index in chosen
    )
    for start in range(0, len(rows), GROUP_ROWS):
        group = rows[start : start + GROUP_ROWS]
        told = [next(texts) for _ in group]
        crystals = [json.loads(text[0]) for text in told]
        columns: dict[str, Any] = {c.name: [c.of(row) for row in group] for c in _SCALARS}
        columns |= {name: [text[i] for text in told] for i, name in enumerate(names, start=1)}
        columns |= {
            "species": [crystal["species"] for crystal in crystals],
            **{
                name: [np.ravel(crystal[name]).tolist() for crystal in crystals]
                for name in ("lattice_angstrom", "frac_coords")
            },
        }
        for rung in Rung:
            columns |= _spectra(store, group, rung, pa)
        yield pa.table({field.name: columns[field.name] for field in schema}, schema=schema)


def _spectra(store: Store, group: Sequence[StoredRow], rung: Rung, pa: Any) -> dict[str, Any]:
    """Six columns, null where a row has no spectrum of the rung."""
    has = np.array([row.has_rpa if rung is Rung.RPA else row.has_ipa for row in group])
    read = store.rpa_spectra if rung is Rung.RPA else store.ipa_spectra
    eps = np.zeros((len(group), len(DIRECTIONS), store.energies_ev.size), dtype=np.complex64)
    if has.any():
        eps[has] = read([row.index for row, there in zip(group, has, strict=True) if there])
    missing = pa.array(~has)
    return {
        f"{rung.value}_eps_{part}_{direction}": pa.FixedSizeListArray.from_arrays(
            pa.array(np.ascontiguousarray(getattr(eps, part)[:, axis], dtype=np.float32).ravel()),
            eps.shape[-1],
            mask=missing,
        )
        for part in _PARTS
        for axis, direction in enumerate(DIRECTIONS)
    }
