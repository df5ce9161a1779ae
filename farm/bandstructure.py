"""Bands along a path of high symmetry: gaps, and where the band edges lie."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from farm.errors import InputError
from farm.spectrum import FloatArray

# Equivalent points differ by the numerics of the bands; of those this close a corner is named.
_SAME_ENERGY_EV = 1e-3
# A jump has length 0, but for the rounding to float32.
_SAME_DISTANCE = 1e-6

_GREEK = {"GAMMA": "Γ", "DELTA": "Δ", "LAMBDA": "Λ", "SIGMA": "Σ"}
_LOWERED = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")


@dataclass(frozen=True, kw_only=True, eq=False)
class BandStructure:
    """Bands along a path of high symmetry.

    labels:      name of each corner of the path as seekpath gives it ("GAMMA", "X", ...), ``n_corners``
    corners:     number of the path point of each label, ascending, the first and the last point among
                 them; where the path jumps two neighbouring points are both corners
    kpoints:     crystal coordinates, shape ``(n_points, 3)``
    distances:   along the path, 1/angstrom (a jump has length 0), shape ``(n_points,)``
    energies_ev: relative to the valence band maximum of the path and the grid together, eV, ascending at
                 each point, shape ``(n_points, n_bands)``
    n_valence:   filled bands; there are empty ones, too

    Raises InputError where shapes do not fit or numbers are not finite.
    """

    labels: tuple[str, ...]
    corners: tuple[int, ...]
    kpoints: FloatArray
    distances: FloatArray
    energies_ev: FloatArray
    n_valence: int

    def __post_init__(self) -> None:
        _check_path(self)
        if self.energies_ev.ndim != 2 or len(self.energies_ev) != self.n_points:
            raise InputError(
                f"a band structure of {self.n_points} points needs energies of shape "
                f"({self.n_points}, n_bands), got {self.energies_ev.shape}"
            )
        if not 0 < self.n_valence < self.n_bands:
            raise InputError(f"{self.n_valence} of {self.n_bands} bands filled: it takes filled and empty")
        for name in ("kpoints", "distances", "energies_ev"):
            if not np.isfinite(getattr(self, name)).all():
                raise InputError(f"{name} of a band structure hold numbers that are not finite")

    @property
    def n_points(self) -> int:
        """Points of the path."""
        return self.distances.size

    @property
    def n_bands(self) -> int:
        """Bands, filled and empty."""
        return int(self.energies_ev.shape[1])

    @property
    def highest_filled_ev(self) -> FloatArray:
        """The top of the filled bands at each point, shape ``(n_points,)``."""
        return np.ascontiguousarray(self.energies_ev[:, self.n_valence - 1])

    @property
    def lowest_empty_ev(self) -> FloatArray:
        """The bottom of the empty bands at each point, shape ``(n_points,)``."""
        return np.ascontiguousarray(self.energies_ev[:, self.n_valence])

    @property
    def gap_indirect_ev(self) -> float:
        """From the highest filled to the lowest empty energy of the path; negative where they overlap."""
        return float(self.lowest_empty_ev.min() - self.highest_filled_ev.max())

    @property
    def gap_direct_ev(self) -> float:
        """The smallest distance of filled and empty bands at one point."""
        return float((self.lowest_empty_ev - self.highest_filled_ev).min())

    @property
    def valence_maximum(self) -> int:
        """Number of the point of the highest filled energy; a corner if one is as high."""
        return self._extreme(-self.highest_filled_ev)

    @property
    def conduction_minimum(self) -> int:
        """Number of the point of the lowest empty energy; a corner if one is as low."""
        return self._extreme(self.lowest_empty_ev)

    @property
    def direct_gap(self) -> int:
        """Number of the point of the direct gap; a corner if it is as small at one."""
        return self._extreme(self.lowest_empty_ev - self.highest_filled_ev)

    @property
    def valence_maximum_at(self) -> str:
        """Where it lies: "GAMMA", or "between GAMMA and X"."""
        return self.place(self.valence_maximum)

    @property
    def conduction_minimum_at(self) -> str:
        """Where it lies: "X", or "between GAMMA and X"."""
        return self.place(self.conduction_minimum)

    @property
    def direct_gap_at(self) -> str:
        """Where it lies: "GAMMA", or "between GAMMA and X"."""
        return self.place(self.direct_gap)

    def place(self, point: int) -> str:
        """The label of a point that is a corner, else the labels of the corners around it."""
        right = int(np.searchsorted(self.corners, point))
        if self.corners[right] == point:
            return self.labels[right]
        return f"between {self.labels[right - 1]} and {self.labels[right]}"

    def pieces(self) -> list[slice]:
        """The points between two jumps of the path: bands are continuous within each piece."""
        at = np.array(self.corners)
        neighbours = np.diff(at) == 1
        jumps = neighbours & (np.diff(self.distances[at]) <= _SAME_DISTANCE)
        ends = [*at[1:][jumps].tolist(), self.n_points]
        return [slice(start, end) for start, end in zip([0, *ends], ends, strict=False)]

    def pack(self) -> dict[str, Any]:
        """Plain values for msgpack; arrays as little-endian float32, row by row."""
        return {
            "labels": list(self.labels),
            "corners": list(self.corners),
            "kpoints": self.kpoints.astype("<f4").tobytes(),
            "distances": self.distances.astype("<f4").tobytes(),
            "energies_ev": self.energies_ev.astype("<f4").tobytes(),
            "n_valence": self.n_valence,
        }

    @classmethod
    def unpack(cls, data: Mapping[str, Any]) -> BandStructure:
        """The inverse of :meth:`pack`. Raises InputError for anything else."""
        try:
            distances = _floats(data["distances"])
            return cls(
                labels=tuple(data["labels"]),
                corners=tuple(data["corners"]),
                kpoints=_floats(data["kpoints"]).reshape(-1, 3),
                distances=distances,
                energies_ev=_floats(data["energies_ev"]).reshape(distances.size, -1),
                n_valence=data["n_valence"],
            )
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"not a band structure: {error!r}") from error

    def _extreme(self, energies: FloatArray) -> int:
        lowest = np.flatnonzero(energies <= energies.min() + _SAME_ENERGY_EV)
        corner = np.isin(lowest, self.corners)
        if corner.any():
            return int(lowest[corner][0])
        return int(energies.argmin())


def symbol(place: str) -> str:
    """A label, or a place as :meth:`BandStructure.place` words it, as printed: "Γ", "between Γ and X₁"."""
    words = []
    for word in place.split(" "):
        letter, _, number = word.partition("_")
        words.append(_GREEK.get(letter, letter) + number.translate(_LOWERED))
    return " ".join(words)


def _check_path(bands: BandStructure) -> None:
    n_points, corners = bands.n_points, bands.corners
    if bands.distances.ndim != 1 or bands.kpoints.shape != (n_points, 3):
        raise InputError(
            f"a path needs kpoints of shape (n_points, 3) and distances of shape (n_points,), got "
            f"{bands.kpoints.shape} and {bands.distances.shape}"
        )
    if len(bands.labels) != len(corners) or len(corners) < 2:
        raise InputError(f"a path needs one label a corner, got {len(bands.labels)} for {len(corners)}")
    if (corners[0], corners[-1]) != (0, n_points - 1) or min(np.diff(corners)) < 1:
        raise InputError(f"corners of a path ascend from 0 to {n_points - 1}, got {corners}")
    if (np.diff(bands.distances) < 0).any():
        raise InputError("distances along a path do not fall")


def _floats(packed: bytes) -> NDArray[np.float64]:
    return np.frombuffer(packed, dtype="<f4").astype(np.float64)
