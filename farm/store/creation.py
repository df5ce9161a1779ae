"""A new store: its datasets, and the attributes by which the file documents itself."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from farm.spectrum import DIRECTIONS, FloatArray
from farm.store.layout import (
    CORNER_DTYPE,
    FORMAT,
    LAYOUT_VERSION,
    LIBRARY_BOUNDS,
    PATH_DTYPE,
    POINT_DTYPE,
    ROW_DTYPE,
    SPECTRA,
    STEP_DTYPE,
    STEP_SPECTRA,
    TEXT_CHUNK,
    TEXTS,
    VALUES_CHUNK,
    hdf5_errors,
    publish,
)
from farm.store.packing import ENCODING, HOW_TO_UNPACK, PACKED

_ROW_NOTES = {
    "has_*": "False: the field of that name says nothing and holds 0",
    "outcome": "done | metal | unconverged (spectra of the last step) | failed",
    "gap_*_ev": "eV, on the k-grid of the spectra",
    "eps_inf_*": "a third of the trace of Re eps(0), valid where has_ipa, has_rpa",
    "similarity_rpa_ipa": "SC[RPA;IPA] of Im eps averaged over directions, reference IPA",
    "gmax_converged_mry": "mRy per direction x, y, z; -1: the ladder did not converge there",
    "cpu_s": "user + system CPU seconds of all stages; wall_s likewise; peak_memory_mb: largest stage",
    "first_step, n_steps": "where the row's rungs begin in /ladder/steps, and how many they are",
    "first_between": (
        "where the spectra of the rungs between the first, which is IPA, and the last, which is RPA, "
        "begin in /ladder/eps_real and eps_imag; there are n_steps - 2, or none"
    ),
    "replaces": "the row of the same material, protocol and engine that counted before this one; -1: none",
    "stored_unix_s": "seconds since 1970-01-01 UTC",
    "crc32": "zlib.crc32 of the row's fields, texts, spectra and bands (farm.store.record.checksum)",
}
_PATH_NOTES = {
    "n_points": "points of the path; 0: the row has no band structure",
    "n_bands": "bands, filled and empty; n_valence: filled ones",
    "first_corner, n_corners": "where the row's corners begin in /bands/corners, and how many they are",
    "first_point": "where the row's points begin in /bands/points",
    "first_value": (
        "where the row's energies begin: energies_ev[first_value:first_value + n_points * n_bands] "
        "reshaped to [n_points, n_bands]"
    ),
}
_EPS_NOTE = "{rung}: {part} part of the diagonal of the macroscopic dielectric tensor"
_RUNG_NAMES = {
    "ipa": "without local fields",
    "rpa": "with local fields, at the end of the ladder",
    "ladder": "at the cutoffs between, where rows.first_between says",
}
# Filters that every HDF5 has had since the first.
_SMALLER: dict[str, Any] = {"compression": "gzip", "compression_opts": 4, "shuffle": True}


def create_file(path: Path, energies_ev: FloatArray, *, packed: bool = False) -> None:
    """Make an empty store at ``path``, complete or not at all. Replaces what is there.

    packed: IPA and RPA are kept as :mod:`farm.store.packing` says, not as floats
    """
    unfinished = path.with_name(path.name + ".new")
    with hdf5_errors(path, "creating the store"):
        with h5py.File(unfinished, "w", libver=LIBRARY_BOUNDS) as file:
            _describe(file)
            _make_tables(file)
            _make_spectra(file, energies_ev, packed=packed)
            _make_bands(file)
        publish(unfinished, path)


def _describe(file: Any) -> None:
    file.attrs["format"] = FORMAT
    file.attrs["layout_version"] = LAYOUT_VERSION
    file.attrs["file_id"] = secrets.token_hex(16)
    file.attrs["title"] = "IPA and RPA dielectric functions and band structures, one row a calculation"
    file.attrs["how_to_read"] = (
        "Only the first `committed` rows are valid. The newest row of each (material_id, "
        "protocol_hash, engine) counts. While a writer has the file open, open it with SWMR read."
    )


def _table(
    file: Any, name: str, shape: tuple[int, ...], dtype: Any, chunk: int, note: str, **filters: Any
) -> Any:
    """An extendable dataset along its first axis; unwritten chunks take no space and read as 0."""
    dataset = file.create_dataset(
        name,
        shape=shape,
        maxshape=(None, *shape[1:]),
        chunks=(chunk, *shape[1:]),
        dtype=dtype,
        fillvalue=None if np.dtype(dtype).names else 0,
        **filters,
    )
    dataset.attrs["description"] = note
    return dataset


def _make_tables(file: Any) -> None:
    _table(file, "committed", (1,), "<i8", 1, "number of valid rows, written after their data")
    rows = _table(file, "rows", (0,), ROW_DTYPE, 64, "one row a calculation; see the field_* attributes")
    for field, note in _ROW_NOTES.items():
        rows.attrs[f"field_{field}"] = note
    _table(file, "text", (0,), "u1", TEXT_CHUNK, "UTF-8 texts of all rows; 0 between them", **_SMALLER)
    offsets = _table(
        file,
        "text_offsets",
        (0, len(TEXTS) + 1),
        "<i8",
        256,
        "text c of row r is text[text_offsets[r, c]:text_offsets[r, c + 1]]",
    )
    offsets.attrs["columns"] = ", ".join(TEXTS)
    offsets.attrs["encoding"] = "UTF-8; JSON except space_group, reason, diagnosis and advice"
    offsets.attrs["empty"] = "of the last four: the row does not say"
    steps = _table(file, "ladder/steps", (0,), STEP_DTYPE, 256, "one row a step of a local-field ladder")
    steps.attrs["field_row"] = "the row of /rows it belongs to"
    steps.attrs["field_gmax_mry"] = "mRy; cutoff of the response block that was asked for, 0 is IPA"
    steps.attrs["field_n_g"] = "number of G vectors in the block"
    steps.attrs["field_step_similarity"] = "SC against the step before per direction x, y, z"


def _make_spectra(file: Any, energies_ev: FloatArray, *, packed: bool) -> None:
    n_energies = energies_ev.size
    grid = _table(file, "energies_ev", (n_energies,), "<f8", n_energies, "photon energies of all spectra")
    grid.attrs["units"] = "eV"
    grid[:] = energies_ev
    file.attrs["energy_grid"] = grid_text(energies_ev)
    for name in (*SPECTRA, *STEP_SPECTRA):
        rung, part = name.split("/eps_")
        axis = "between" if rung == "ladder" else "row"
        shape = (0, len(DIRECTIONS), n_energies)
        is_packed = packed or rung == "ladder"
        note = _EPS_NOTE.format(rung=_RUNG_NAMES[rung], part=part)
        dataset = _table(file, name, shape, "<i4" if is_packed else "<f4", 1, note, **_SMALLER)
        if is_packed:
            dataset.attrs[ENCODING] = PACKED
            dataset.attrs["how_to_unpack"] = HOW_TO_UNPACK
        dataset.attrs["units"] = "dimensionless"
        dataset.attrs["axis_order"] = f"{axis}, direction (Cartesian x, y, z), energy (see /energies_ev)"
        if axis == "row":
            dataset.attrs["valid"] = f"where rows.has_{rung} is True; 0 elsewhere"


def _make_bands(file: Any) -> None:
    paths = _table(file, "bands/paths", (0,), PATH_DTYPE, 256, "band structures, one row a row of /rows")
    for field, note in _PATH_NOTES.items():
        paths.attrs[f"field_{field}"] = note
    corners = _table(
        file, "bands/corners", (0,), CORNER_DTYPE, 256, "corners of the paths of high symmetry"
    )
    corners.attrs["field_label"] = "as seekpath names it: GAMMA, X, ..."
    corners.attrs["field_point"] = (
        "which of the row's points it is, from 0; where a path jumps, two in a row"
    )
    points = _table(file, "bands/points", (0,), POINT_DTYPE, 256, "points along the paths of high symmetry")
    points.attrs["field_kpoint_crystal"] = "in the reciprocal vectors of the row's crystal"
    points.attrs["field_distance_per_angstrom"] = (
        "1/angstrom, from the begin of the path; a jump has length 0"
    )
    note = "energies of the bands relative to the valence band maximum, ascending at each point"
    energies = _table(file, "bands/energies_ev", (0,), "<f4", VALUES_CHUNK, note, **_SMALLER)
    energies.attrs["units"] = "eV"
    energies.attrs["axis_order"] = "row by row as /bands/paths says; of a row: point, band"
    energies.attrs["valid"] = "where /bands/paths says; 0 from the end of a row to that of its chunk"


def grid_text(energies_ev: FloatArray) -> str:
    """The energy grid in words, for attributes and messages."""
    return f"{energies_ev.size} points from {energies_ev[0]:g} to {energies_ev[-1]:g} eV"
