"""Band structures as the store keeps them: encoded, written behind one another, and read back."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from farm.bandstructure import BandStructure
from farm.errors import ResultRefusedError
from farm.store.layout import CORNER_DTYPE, PATH_DTYPE, POINT_DTYPE, VALUES_CHUNK, grow
from farm.store.store_file import StoreFile


@dataclass(frozen=True, eq=False)
class BandRecord:
    """One band structure, encoded.

    corners:   shape ``(n_corners,)``, CORNER_DTYPE
    points:    shape ``(n_points,)``, POINT_DTYPE
    energies:  float32, eV, shape ``(n_points, n_bands)``
    n_valence: filled bands
    """

    corners: NDArray[np.void]
    points: NDArray[np.void]
    energies: NDArray[np.float32]
    n_valence: int


class BandEnds(NamedTuple):
    """Where the corners, points and energies of the next band structure go."""

    corners: int = 0
    points: int = 0
    values: int = 0


def encode_bands(bands: BandStructure | None, name: str) -> BandRecord | None:
    """The record of a band structure of material ``name``; None for none.

    Raises ResultRefusedError where a label is too long or a number too large.
    """
    if bands is None:
        return None
    corners = np.zeros(len(bands.corners), dtype=CORNER_DTYPE)
    points = np.zeros(bands.n_points, dtype=POINT_DTYPE)
    corners["point"] = bands.corners
    for corner, label in zip(corners, bands.labels, strict=True):
        encoded, room = label.encode(), CORNER_DTYPE["label"].itemsize
        if not encoded or len(encoded) > room:
            raise ResultRefusedError(
                f"{name}: label {label!r} of its band structure does not fit", fix=f"Use 1 to {room} bytes"
            )
        corner["label"] = encoded
    with np.errstate(over="ignore"):
        points["kpoint_crystal"], points["distance_per_angstrom"] = bands.kpoints, bands.distances
        energies = bands.energies_ev.astype("<f4")
    for values in (energies, points["kpoint_crystal"], points["distance_per_angstrom"]):
        if not np.isfinite(values).all():
            raise ResultRefusedError(
                f"{name}: its band structure has numbers beyond float32", fix="Compute it again"
            )
    return BandRecord(corners, points, energies, bands.n_valence)


def decode_bands(record: BandRecord | None) -> BandStructure | None:
    """The inverse of :func:`encode_bands`; numbers come back as the float32 values that were kept."""
    if record is None:
        return None
    return BandStructure(
        labels=tuple(label.decode() for label in record.corners["label"].tolist()),
        corners=tuple(record.corners["point"].tolist()),
        kpoints=record.points["kpoint_crystal"].astype(np.float64),
        distances=record.points["distance_per_angstrom"].astype(np.float64),
        energies_ev=record.energies.astype(np.float64),
        n_valence=record.n_valence,
    )


def checksum_bands(record: BandRecord | None, crc: int) -> int:
    """CRC-32 continued over a band structure; without one ``crc`` stays as it is."""
    if record is None:
        return crc
    sizes = np.array([*record.energies.shape, record.n_valence], dtype="<i8")
    for part in (sizes, record.corners, record.points, record.energies):
        crc = zlib.crc32(part.tobytes(), crc)
    return crc


def band_ends(path: Any) -> BandEnds:
    """The ends after a row: ``path`` is its element of /bands/paths."""
    n_values = _whole_chunks(int(path["n_points"]) * int(path["n_bands"]))
    return BandEnds(
        int(path["first_corner"]) + int(path["n_corners"]),
        int(path["first_point"]) + int(path["n_points"]),
        int(path["first_value"]) + n_values,
    )


def write_bands(
    file: StoreFile, first_row: int, records: Sequence[BandRecord | None], ends: BandEnds
) -> BandEnds:
    """Write what belongs to the rows from ``first_row`` on behind ``ends``; the new ends."""
    paths = np.zeros(len(records), dtype=PATH_DTYPE)
    start = ends
    for path, record in zip(paths, records, strict=True):
        path["first_corner"], path["first_point"], path["first_value"] = ends
        if record is not None:
            path["n_corners"], path["n_points"] = record.corners.size, record.points.size
            path["n_bands"], path["n_valence"] = record.energies.shape[1], record.n_valence
        ends = band_ends(path)
    _write(file["bands/paths"], first_row, [paths])
    kept = [record for record in records if record is not None]
    if kept:
        _write(file["bands/corners"], start.corners, [record.corners for record in kept])
        _write(file["bands/points"], start.points, [record.points for record in kept])
        _write(file["bands/energies_ev"], start.values, [_padded(record.energies) for record in kept])
    return ends


def read_bands(file: StoreFile, row_index: int) -> BandRecord | None:
    """The band structure of a row; None where it has none, as all rows of layout 1."""
    if "bands" not in file:
        return None
    path = file["bands/paths"][row_index]
    n_corners, n_points, n_bands = (int(path[name]) for name in ("n_corners", "n_points", "n_bands"))
    if n_points == 0:
        return None
    start = BandEnds(int(path["first_corner"]), int(path["first_point"]), int(path["first_value"]))
    energies = file["bands/energies_ev"][start.values : start.values + n_points * n_bands]
    return BandRecord(
        corners=file["bands/corners"][start.corners : start.corners + n_corners],
        points=file["bands/points"][start.points : start.points + n_points],
        energies=energies.reshape(n_points, n_bands),
        n_valence=int(path["n_valence"]),
    )


def _write(dataset: Any, first: int, parts: Sequence[NDArray[Any]]) -> None:
    joined = np.concatenate(parts)
    grow(dataset, first + joined.size)
    dataset[first : first + joined.size] = joined


def _whole_chunks(n_values: int) -> int:
    return -(-n_values // VALUES_CHUNK) * VALUES_CHUNK


def _padded(energies: NDArray[np.float32]) -> NDArray[np.float32]:
    values = np.zeros(_whole_chunks(energies.size), dtype="<f4")
    values[: energies.size] = energies.ravel()
    return values
