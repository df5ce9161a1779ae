"""How the store lies in one HDF5 file: names, types, units, and the creation of an empty one.

::

    /committed               int64 [1]               rows that are valid; everything beyond is debris
    /energies_ev             float64 [energy]
    /rows                    table [row]             what is short: ids, outcome, gaps, sizes
    /text, /text_offsets     uint8 [byte], int64 [row, 9]    eight texts a row, most of them JSON
    /ipa/eps_real, eps_imag  float32 [row, direction, energy]    /rpa/... alike
    /ladder/steps            table [step]            cutoffs and SC of every rung
    /ladder/eps_real, ...    float32 [step, direction, energy]

Every dataset is chunked and made here: a file open to a writer and its readers at the same time
(HDF5's SWMR) can neither get new datasets nor hold strings of variable length. Rows are only ever
added; the newest row of a (material, protocol, engine) is the one that counts.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from farm.errors import StoreError
from farm.spectrum import DIRECTIONS, FloatArray

FORMAT = "farm-spectra"
LAYOUT_VERSION = 1
# The oldest HDF5 that knows SWMR: every tool of the last ten years opens the file.
LIBRARY_BOUNDS = ("v110", "v110")

TEXTS = ("crystal", "protocol", "space_group", "reason", "parameters", "programs", "stages", "corrections")

ROW_DTYPE = np.dtype(
    [
        ("material_id", "S64"),
        ("formula", "S128"),
        ("protocol_hash", "S64"),
        ("engine", "S16"),
        ("outcome", "S16"),
        ("n_atoms", "<i4"),
        ("has_ipa", "?"),
        ("has_rpa", "?"),
        ("has_gap_indirect", "?"),
        ("has_gap_direct", "?"),
        ("has_similarity", "?"),
        ("physics_changed", "?"),
        ("gap_indirect_ev", "<f8"),
        ("gap_direct_ev", "<f8"),
        ("eps_inf_ipa", "<f8"),
        ("eps_inf_rpa", "<f8"),
        ("similarity_rpa_ipa", "<f8"),
        ("gmax_converged_mry", "<i4", (3,)),
        ("cpu_s", "<f8"),
        ("wall_s", "<f8"),
        ("peak_memory_mb", "<f8"),
        ("first_step", "<i8"),
        ("n_steps", "<i4"),
        ("stored_unix_s", "<f8"),
        ("crc32", "<u4"),
    ]
)

STEP_DTYPE = np.dtype(
    [
        ("row", "<i8"),
        ("gmax_mry", "<i4"),
        ("n_g", "<i4"),
        ("has_similarity", "?"),
        ("step_similarity", "<f8", (3,)),
    ]
)

_ROW_NOTES = {
    "has_*": "False: the field of that name says nothing and holds 0",
    "outcome": "done | metal | unconverged (spectra of the last step) | failed",
    "gap_*_ev": "eV, on the k-grid of the spectra",
    "eps_inf_*": "a third of the trace of Re eps(0), valid where has_ipa, has_rpa",
    "similarity_rpa_ipa": "SC[RPA;IPA] of Im eps averaged over directions, reference IPA",
    "gmax_converged_mry": "mRy per direction x, y, z; -1: the ladder did not converge there",
    "cpu_s": "user + system CPU seconds of all stages; wall_s likewise; peak_memory_mb: largest stage",
    "first_step, n_steps": "where the row's rungs begin in /ladder, and how many they are",
    "stored_unix_s": "seconds since 1970-01-01 UTC",
    "crc32": "zlib.crc32 of the row's fields, texts and spectra as stored",
}
_EPS_NOTE = "{rung}: {part} part of the diagonal of the macroscopic dielectric tensor"

SPECTRA = ("ipa/eps_real", "ipa/eps_imag", "rpa/eps_real", "rpa/eps_imag")
STEP_SPECTRA = ("ladder/eps_real", "ladder/eps_imag")
GROWING = ("rows", "text", "text_offsets", *SPECTRA, "ladder/steps", *STEP_SPECTRA)


@contextmanager
def hdf5_errors(path: Path, doing: str) -> Iterator[None]:
    """Turn what h5py raises inside into StoreError, naming the file."""
    try:
        yield
    except (OSError, KeyError, RuntimeError, ValueError, IndexError) as error:
        fix = "Check the disk's space and health; if the file was damaged, restore it or import its export"
        raise StoreError(f"{path}: {doing} failed: {error}", fix=fix) from error


def create_file(path: Path, energies_ev: FloatArray) -> None:
    """Make an empty store at ``path``, complete or not at all. Replaces what is there."""
    unfinished = path.with_name(path.name + ".new")
    with hdf5_errors(path, "creating the store"):
        with h5py.File(unfinished, "w", libver=LIBRARY_BOUNDS) as file:
            _describe(file)
            _make_tables(file)
            _make_spectra(file, energies_ev)
        publish(unfinished, path)


def publish(finished: Path, path: Path) -> None:
    """Move a complete file to its name, durably: both the content and the name survive a power cut."""
    fsync_path(finished)
    os.replace(finished, path)
    fsync_path(path.parent)


def fsync_path(path: Path) -> None:
    """Force a file, or the names in a directory, onto the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def check_layout(path: Path, file: Any) -> None:
    """Raise StoreError unless ``file`` is a store of this layout."""
    found = file.attrs.get("format")
    if found != FORMAT:
        raise StoreError(
            f"{path}: an HDF5 file, but not a store of spectra",
            fix="Give the spectra.h5 of a farm home, or move this file aside",
        )
    version = int(file.attrs.get("layout_version", 0))
    if version != LAYOUT_VERSION:
        raise StoreError(
            f"{path}: layout version {version}, this program reads {LAYOUT_VERSION}",
            fix="Use the release of farm that wrote it, and export and import the content",
        )
    missing = [name for name in (*GROWING, "committed", "energies_ev") if name not in file]
    if missing:
        raise StoreError(f"{path}: dataset {missing[0]} is missing", fix="Restore the file from a copy")


def _describe(file: Any) -> None:
    file.attrs["format"] = FORMAT
    file.attrs["layout_version"] = LAYOUT_VERSION
    file.attrs["title"] = "IPA and RPA dielectric functions, one row a calculation"
    file.attrs["how_to_read"] = (
        "Only the first `committed` rows are valid. The newest row of each (material_id, "
        "protocol_hash, engine) counts. While a writer has the file open, open it with SWMR read."
    )


def _table(file: Any, name: str, shape: tuple[int, ...], dtype: Any, chunk: int, note: str) -> Any:
    """An extendable dataset along its first axis; unwritten chunks take no space and read as 0."""
    dataset = file.create_dataset(
        name,
        shape=shape,
        maxshape=(None, *shape[1:]),
        chunks=(chunk, *shape[1:]),
        dtype=dtype,
        fillvalue=None if np.dtype(dtype).names else 0,
    )
    dataset.attrs["description"] = note
    return dataset


def _make_tables(file: Any) -> None:
    _table(file, "committed", (1,), "<i8", 1, "number of valid rows, written after their data")
    rows = _table(file, "rows", (0,), ROW_DTYPE, 64, "one row a calculation; see the field_* attributes")
    for field, note in _ROW_NOTES.items():
        rows.attrs[f"field_{field}"] = note
    _table(file, "text", (0,), "u1", 65536, "UTF-8 texts of all rows, one after the other")
    offsets = _table(
        file,
        "text_offsets",
        (0, len(TEXTS) + 1),
        "<i8",
        256,
        "text c of row r is text[text_offsets[r, c]:text_offsets[r, c + 1]]",
    )
    offsets.attrs["columns"] = ", ".join(TEXTS)
    offsets.attrs["encoding"] = "UTF-8; JSON except space_group and reason"
    steps = _table(file, "ladder/steps", (0,), STEP_DTYPE, 256, "one row a step of a local-field ladder")
    steps.attrs["field_row"] = "the row of /rows it belongs to"
    steps.attrs["field_gmax_mry"] = "mRy; cutoff of the response block that was asked for, 0 is IPA"
    steps.attrs["field_n_g"] = "number of G vectors in the block"
    steps.attrs["field_step_similarity"] = "SC against the step before per direction x, y, z"


def _make_spectra(file: Any, energies_ev: FloatArray) -> None:
    n_energies = energies_ev.size
    grid = _table(file, "energies_ev", (n_energies,), "<f8", n_energies, "photon energies of all spectra")
    grid.attrs["units"] = "eV"
    grid[:] = energies_ev
    file.attrs["energy_grid"] = grid_text(energies_ev)
    for name in (*SPECTRA, *STEP_SPECTRA):
        rung, part = name.split("/eps_")
        axis = "step" if rung == "ladder" else "row"
        shape = (0, len(DIRECTIONS), n_energies)
        dataset = _table(file, name, shape, "<f4", 1, _EPS_NOTE.format(rung=rung, part=part))
        dataset.attrs["units"] = "dimensionless"
        dataset.attrs["axis_order"] = f"{axis}, direction (Cartesian x, y, z), energy (see /energies_ev)"
        if axis == "row":
            dataset.attrs["valid"] = f"where rows.has_{rung} is True; 0 elsewhere"


def grid_text(energies_ev: FloatArray) -> str:
    """The energy grid in words, for attributes and messages."""
    return f"{energies_ev.size} points from {energies_ev[0]:g} to {energies_ev[-1]:g} eV"
