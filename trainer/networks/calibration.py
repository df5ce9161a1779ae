"""How sure a prediction is: the spread of an ensemble, turned into intervals that hold what they say.

The members' standard deviation at an energy says where they disagree, not by how much they are wrong. The
ratio of the true error to it, on materials that none of them learnt from, has quantiles, and these are
what the intervals are made of (split conformal prediction: Lei et al., JASA 113, 1094 (2018)):

    |Im eps - mean| <= q_p (std + floor)        in a share p of all points

and of whole spectra ``1 - SC <= Q_p u`` with ``u`` the mean of 1 - SC of the members to their mean.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from farm.spectrum import FloatArray

LEVELS = (0.5, 0.68, 0.8, 0.9, 0.95)
BAND_LEVEL = 0.8
# Fewer materials than these say nothing of a quantile: then no interval is given at all.
LEAST_MATERIALS = 8
# Of the mean of a spectrum: where all members say the same they are still not certain.
_FLOOR_SHARE = 0.02


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """Quantiles of true error over spread, by :data:`LEVELS`, from ``n`` materials.

    point:    of ``|Im eps - mean| / (std + floor)`` over all energies
    spectrum: of ``(1 - SC) / u`` over materials
    """

    n: int
    point: tuple[float, ...]
    spectrum: tuple[float, ...]

    def half_width(self, members: NDArray[np.floating], level: float = BAND_LEVEL) -> FloatArray:
        """Of the interval at each energy, ``(..., n_energies)`` from ``(..., n_members, n_energies)``."""
        return float(np.interp(level, LEVELS, self.point)) * _spread(members)

    def expected_sc(self, members: NDArray[np.floating]) -> FloatArray:
        """The SC that half of such spectra exceed, ``(...,)``."""
        return 1.0 - float(np.interp(0.5, LEVELS, self.spectrum)) * disagreement(members)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for a card."""
        return {
            "n": self.n,
            "levels": list(LEVELS),
            "point": list(self.point),
            "spectrum": list(self.spectrum),
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Calibration:
        """The inverse of :meth:`to_dict`."""
        return cls(n=int(data["n"]), point=tuple(data["point"]), spectrum=tuple(data["spectrum"]))


def calibrate(members: NDArray[np.floating], truth: NDArray[np.floating]) -> Calibration | None:
    """Quantiles from materials that none of the members learnt from; None for too few of them.

    members: ``(n_materials, n_members, n_energies)``; truth: ``(n_materials, n_energies)``
    """
    n_materials, n_members = members.shape[:2]
    if n_materials < LEAST_MATERIALS or n_members < 2:
        return None
    mean = members.mean(axis=1)
    point = np.quantile(np.abs(truth - mean) / _spread(members), LEVELS)
    errors = np.abs(truth - mean).sum(axis=-1) / np.abs(truth).sum(axis=-1)
    # Of n materials the k-th smallest is exceeded by a new one in 1 - k / (n + 1) of all cases.
    ranks = np.minimum(np.array(LEVELS) * (n_materials + 1) / n_materials, 1.0)
    spectrum = np.quantile(errors / disagreement(members), ranks, method="inverted_cdf")
    return Calibration(n=n_materials, point=tuple(point.tolist()), spectrum=tuple(spectrum.tolist()))


def coverage(
    calibration: Calibration, members: NDArray[np.floating], truth: NDArray[np.floating]
) -> dict[str, Any]:
    """What the intervals hold of other materials, and the mean distance to what they promise.

    ``point`` and ``spectrum``: shares by :data:`LEVELS`; ``point_error``, ``spectrum_error``: the mean of
    |share - level|; ``rank_correlation``: Spearman's of u with 1 - SC.
    """
    mean = members.mean(axis=1)
    ratio = np.abs(truth - mean) / _spread(members)
    point = [float((ratio <= q).mean()) for q in calibration.point]
    errors = np.abs(truth - mean).sum(axis=-1) / np.abs(truth).sum(axis=-1)
    unsure = disagreement(members)
    spectrum = [float((errors / unsure <= q).mean()) for q in calibration.spectrum]
    return {
        "n": len(truth),
        "levels": list(LEVELS),
        "point": point,
        "spectrum": spectrum,
        "point_error": float(np.mean(np.abs(np.array(point) - LEVELS))),
        "spectrum_error": float(np.mean(np.abs(np.array(spectrum) - LEVELS))),
        "rank_correlation": _spearman(unsure, errors),
    }


def disagreement(members: NDArray[np.floating]) -> FloatArray:
    """Mean over the members of 1 - SC to their mean, ``(...,)``: how far they are from each other."""
    members = np.asarray(members, dtype=np.float64)
    mean = members.mean(axis=-2, keepdims=True)
    apart = np.abs(members - mean).sum(axis=-1).mean(axis=-1)
    whole: FloatArray = apart / np.maximum(mean.sum(axis=-1)[..., 0], 1e-12)
    return np.maximum(whole, 1e-6)


def _spread(members: NDArray[np.floating]) -> FloatArray:
    """Standard deviation and floor, ``(..., n_energies)``."""
    members = np.asarray(members, dtype=np.float64)
    floor = _FLOOR_SHARE * members.mean(axis=(-2, -1))[..., None]
    spread: FloatArray = members.std(axis=-2, ddof=1) + np.maximum(floor, 1e-9)
    return spread


def _spearman(x: FloatArray, y: FloatArray) -> float | None:
    if len(x) < 3 or np.ptp(x) == 0.0 or np.ptp(y) == 0.0:
        return None
    return float(spearmanr(x, y).statistic)
