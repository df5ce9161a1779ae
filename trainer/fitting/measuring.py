"""What a refit has come to, for its card: scores, how sure it is, and how well it knows SC[RPA; IPA]."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.data.dataset import Dataset
from trainer.fitting.metrics import HeldOutScores
from trainer.fitting.rungs import Data
from trainer.networks.calibration import LEAST_MATERIALS, calibrate, coverage
from trainer.networks.ensemble import Ensemble, member_spectra
from trainer.networks.network import SpectrumNetwork, in_batches

SIMILARITY_LEVEL = 0.8


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Plain values of a card's fields of the same names."""

    metrics: Mapping[str, Mapping[str, Any]]
    held_out: tuple[Mapping[str, Any], ...]
    uncertainty: Mapping[str, Any]
    similarity: Mapping[str, Any]


def measured(
    base: SpectrumNetwork,
    rpa: SpectrumNetwork,
    similarity: tuple[SpectrumNetwork, Mapping[str, Any]] | None,
    data: Data,
    held_out: NDArray[np.int64],
) -> Measured:
    """Everything on the held-out rows; intervals from the rows that stopped the fits early."""
    scores = HeldOutScores.measure(base, rpa, data.both, held_out)
    return Measured(
        metrics={name: metrics.to_dict() for name, metrics in scores.metrics.items()},
        held_out=scores.per_material(data.both, held_out),
        uncertainty=_uncertainty(rpa, data, held_out),
        similarity={} if similarity is None else _similarity(*similarity, data, held_out),
    )


def _uncertainty(rpa: SpectrumNetwork, data: Data, held_out: NDArray[np.int64]) -> dict[str, Any]:
    if not isinstance(rpa, Ensemble):
        return {}
    rows = data.split.validation
    truth = data.both.rpa.numpy()
    calibration = calibrate(_members(rpa, data.both, rows), truth[rows])
    record: dict[str, Any] = {"members": len(rpa.members)}
    if calibration is not None:
        record["calibration"] = calibration.to_dict()
        record["held_out"] = coverage(calibration, _members(rpa, data.both, held_out), truth[held_out])
    return record


def _members(rpa: SpectrumNetwork, dataset: Dataset, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    spectra: NDArray[np.float32] = member_spectra(rpa, [dataset.graphs[i] for i in rows]).numpy()
    return spectra


def _similarity(
    model: SpectrumNetwork, fitted: Mapping[str, Any], data: Data, held_out: NDArray[np.int64]
) -> dict[str, Any]:
    def errors(rows: NDArray[np.int64]) -> NDArray[np.float64]:
        found = in_batches(model, model, [data.both.graphs[i] for i in rows], 1).numpy()[:, 0]
        wrong: NDArray[np.float64] = found - data.both.similarity.numpy()[rows, 0].astype(np.float64)
        return np.abs(wrong)

    validation, measured_on = errors(data.split.validation), errors(held_out)
    # Without an interval it cannot be said that IPA is enough.
    known = validation.size >= LEAST_MATERIALS
    # Of n materials the k-th smallest error is exceeded by a new one in 1 - k / (n + 1) of all cases.
    rank = min(1.0, SIMILARITY_LEVEL * (validation.size + 1) / max(validation.size, 1))
    half_width = float(np.quantile(validation, rank, method="inverted_cdf")) if known else None
    return {
        "model": model.config.to_dict(),
        "fit": dict(fitted),
        "half_width": half_width,
        "level": SIMILARITY_LEVEL,
        "n": int(measured_on.size),
        "mean_error": float(measured_on.mean()),
        "median_error": float(np.median(measured_on)),
        "inside": None if half_width is None else float((measured_on <= half_width).mean()),
    }
