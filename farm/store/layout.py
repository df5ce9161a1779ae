"""How the store lies in one HDF5 file: names, types and versions.

::

    /committed               int64 [1]               rows that are valid; everything beyond is debris
    /energies_ev             float64 [energy]
    /rows                    table [row]             what is short: ids, outcome, gaps, sizes
    /text, /text_offsets     uint8 [byte], int64 [row, 13]   twelve texts a row, most of them JSON
    /ipa/eps_real, eps_imag  float32 [row, direction, energy]    /rpa/... alike
    /ladder/steps            table [step]            cutoffs and SC of every rung
    /ladder/eps_real, ...    int32 [between, direction, energy]  the rungs between IPA and RPA
    /bands/paths             table [row]             where the band structure of a row is, how large
    /bands/corners           table [corner]          labels of the path's corners
    /bands/points            table [point]           k-points and distances along the path
    /bands/energies_ev       float32 [value]         all bands of one point after those of another

Every dataset is chunked and made with the file: one open to a writer and its readers at the same time
(HDF5's SWMR) can neither get new datasets nor hold strings of variable length. Rows are only ever
added; the newest row of a (material, protocol, engine) is the one that counts.

Spectra are floats that every tool can plot. In a *packed* store those of /ipa and /rpa are kept as the
rungs between are: exactly the same numbers in three fifths of the space (see :mod:`farm.store.packing`).

Older versions are read as they are, and copied into the newest by the first who appends. Version 1 has no
/bands, 1 and 2 only the first eight texts, and up to 3 the ladder holds all its spectra as floats,
first and last once more; nothing is compressed there.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from farm.errors import StoreError
from farm.store.store_file import StoreFile

FORMAT = "farm-spectra"
LAYOUT_VERSION = 4
# The oldest HDF5 that knows SWMR: every tool of the last ten years opens the file.
LIBRARY_BOUNDS = ("v110", "v110")

TEXTS_OF_VERSION_1 = (
    "crystal",
    "protocol",
    "space_group",
    "reason",
    "parameters",
    "programs",
    "stages",
    "corrections",
)
# An empty text stands for what the row does not say, as in rows of older versions.
TEXTS_OF_VERSION_3 = (*TEXTS_OF_VERSION_1, "steps", "diagnosis", "advice")
TEXTS = (*TEXTS_OF_VERSION_3, "origin")
# A row's texts begin with a chunk of their own: a compressed chunk is written once and never read back.
TEXT_CHUNK = 4096

# What a row says, and its place where version 3 kept it.
ROW_DTYPE_OF_VERSION_3 = np.dtype(
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
ROW_DTYPE = np.dtype([*ROW_DTYPE_OF_VERSION_3.descr, ("first_between", "<i8"), ("replaces", "<i8")])

STEP_DTYPE = np.dtype(
    [
        ("row", "<i8"),
        ("gmax_mry", "<i4"),
        ("n_g", "<i4"),
        ("has_similarity", "?"),
        ("step_similarity", "<f8", (3,)),
    ]
)

CORNER_DTYPE = np.dtype([("label", "S32"), ("point", "<i4")])

POINT_DTYPE = np.dtype([("kpoint_crystal", "<f4", (3,)), ("distance_per_angstrom", "<f4")])

PATH_DTYPE = np.dtype(
    [
        ("first_corner", "<i8"),
        ("first_point", "<i8"),
        ("first_value", "<i8"),
        ("n_corners", "<i4"),
        ("n_points", "<i4"),
        ("n_bands", "<i4"),
        ("n_valence", "<i4"),
    ]
)
# As of texts: energies of a band structure fill whole chunks, the rest of the last one with zeros.
VALUES_CHUNK = 4096

SPECTRA = ("ipa/eps_real", "ipa/eps_imag", "rpa/eps_real", "rpa/eps_imag")
STEP_SPECTRA = ("ladder/eps_real", "ladder/eps_imag")
BANDS = ("bands/paths", "bands/corners", "bands/points", "bands/energies_ev")
_OF_VERSION_1 = ("rows", "text", "text_offsets", *SPECTRA, "ladder/steps", *STEP_SPECTRA)
_OF_VERSION_2 = (*_OF_VERSION_1, *BANDS)
_GROWING: dict[int, tuple[str, ...]] = {1: _OF_VERSION_1, **dict.fromkeys((2, 3, 4), _OF_VERSION_2)}


@contextmanager
def hdf5_errors(path: Path, doing: str) -> Iterator[None]:
    """Turn what h5py raises inside into StoreError, naming the file."""
    try:
        yield
    except (OSError, KeyError, RuntimeError, ValueError, IndexError) as error:
        fix = (
            "Check the disk's space and health; if the file was damaged, `farm store verify` tells how much"
        )
        raise StoreError(f"{path}: {doing} failed: {error}", fix=fix) from error


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


def layout_version(file: StoreFile) -> int:
    """The version of the layout that a file says it has; 0: it says none."""
    return int(file.attrs.get("layout_version", 0))


def repeats_ends(file: StoreFile) -> bool:
    """Whether the ladder of this file's layout holds the spectra of IPA and RPA once more."""
    return layout_version(file) < 4


def growing(file: StoreFile) -> tuple[str, ...]:
    """The datasets that get longer with each row, in the layout of this file."""
    return _GROWING[layout_version(file)]


def grow(dataset: Any, length: int) -> None:
    """Make a dataset at least ``length`` long along its first axis."""
    # Never shrunk: under SWMR a reader may be looking at the debris.
    if dataset.shape[0] < length:
        dataset.resize(length, axis=0)


def in_newest_form(rows: NDArray[np.void]) -> NDArray[np.void]:
    """Elements of /rows of any version, as ROW_DTYPE; what their version lacks is -1."""
    if rows.dtype == ROW_DTYPE:
        return rows
    newest = np.zeros(rows.shape, dtype=ROW_DTYPE)
    for field in rows.dtype.names or ():
        newest[field] = rows[field]
    newest["first_between"] = newest["replaces"] = -1
    return newest


def check_layout(path: Path, file: StoreFile) -> None:
    """Raise StoreError unless ``file`` is a store of a layout that can be read."""
    found = file.attrs.get("format")
    if found != FORMAT:
        raise StoreError(
            f"{path}: an HDF5 file, but not a store of spectra",
            fix="Give the spectra.h5 of a farm home, or move this file aside",
        )
    version = layout_version(file)
    if version not in _GROWING:
        raise StoreError(
            f"{path}: layout version {version}, this program reads 1 to {LAYOUT_VERSION}",
            fix="Use the release of farm that wrote it, and export and import the content",
        )
    missing = [name for name in (*growing(file), "committed", "energies_ev") if name not in file]
    if missing:
        raise StoreError(f"{path}: dataset {missing[0]} is missing", fix="Restore the file from a copy")
