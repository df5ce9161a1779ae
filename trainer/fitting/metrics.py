"""How good predicted spectra are on materials that were held out: the published three measures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from farm.errors import InputError
from farm.spectrum import FloatArray, mean_absolute_error, mean_squared_error, similarity_coefficient
from trainer.data.dataset import Dataset
from trainer.networks.network import SpectrumNetwork, predict_spectra


@dataclass(frozen=True, kw_only=True)
class Score:
    """One material: similarity coefficient, mean squared and mean absolute error of Im eps."""

    sc: float
    mse: float
    mae: float


@dataclass(frozen=True, kw_only=True)
class Metrics:
    """Medians over materials of each measure, and the mean of SC; ``n`` is how many there were."""

    n: int
    median_sc: float
    mean_sc: float
    median_mse: float
    median_mae: float

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for a card."""
        return asdict(self)


def score_spectra(
    spectra: NDArray[np.floating], references: NDArray[np.floating], energies_ev: FloatArray
) -> tuple[Score, ...]:
    """Score each row of ``spectra`` against ``references``, both ``(n_materials, n_energies)``."""
    return tuple(
        Score(
            sc=similarity_coefficient(x, y, energies_ev),
            mse=mean_squared_error(x, y),
            mae=mean_absolute_error(x, y),
        )
        for x, y in zip(
            np.asarray(spectra, dtype=np.float64), np.asarray(references, dtype=np.float64), strict=True
        )
    )


def summarise(scores: Sequence[Score]) -> Metrics:
    """Medians over materials. Raises InputError for none at all."""
    if not scores:
        raise InputError("no held-out material to measure on")
    return Metrics(
        n=len(scores),
        median_sc=median(score.sc for score in scores),
        mean_sc=sum(score.sc for score in scores) / len(scores),
        median_mse=median(score.mse for score in scores),
        median_mae=median(score.mae for score in scores),
    )


def score_model(
    model: SpectrumNetwork, dataset: Dataset, rows: NDArray[np.int64], references: NDArray[np.floating]
) -> tuple[Score, ...]:
    """Predict the rows and score them against ``references`` of all rows, ``[material, energy]``."""
    spectra = predict_spectra(model, [dataset.graphs[i] for i in rows]).numpy()
    return score_spectra(spectra, references[rows], dataset.energies_ev)


def score_ipa_as_rpa(dataset: Dataset, rows: NDArray[np.int64]) -> tuple[Score, ...]:
    """The calculated IPA spectra taken for the RPA ones: what a model has to beat to be of use."""
    return score_spectra(dataset.ipa.numpy()[rows], dataset.rpa.numpy()[rows], dataset.energies_ev)


@dataclass(frozen=True, eq=False)
class HeldOutScores:
    """Scores of each held-out material.

    rpa, ipa:   each model against the calculated spectra of its own rung
    ipa_as_rpa: the calculated IPA spectra taken for the RPA ones
    """

    rpa: tuple[Score, ...]
    ipa: tuple[Score, ...]
    ipa_as_rpa: tuple[Score, ...]

    @classmethod
    def measure(
        cls, ipa: SpectrumNetwork, rpa: SpectrumNetwork, dataset: Dataset, held_out: NDArray[np.int64]
    ) -> HeldOutScores:
        """Score both models on the rows that were held out."""
        return cls(
            rpa=score_model(rpa, dataset, held_out, dataset.rpa.numpy()),
            ipa=score_model(ipa, dataset, held_out, dataset.ipa.numpy()),
            ipa_as_rpa=score_ipa_as_rpa(dataset, held_out),
        )

    @property
    def metrics(self) -> dict[str, Metrics]:
        """Medians under the names ``rpa``, ``ipa``, ``ipa_as_rpa``."""
        return {
            "rpa": summarise(self.rpa),
            "ipa": summarise(self.ipa),
            "ipa_as_rpa": summarise(self.ipa_as_rpa),
        }

    def per_material(self, dataset: Dataset, held_out: NDArray[np.int64]) -> tuple[dict[str, Any], ...]:
        """One plain record a material, for a card."""
        return tuple(
            {
                "material": dataset.rows[i].material_id,
                "formula": dataset.rows[i].crystal.formula,
                "sc": model.sc,
                "sc_ipa_as_rpa": dft.sc,
            }
            for i, model, dft in zip(held_out.tolist(), self.rpa, self.ipa_as_rpa, strict=True)
        )
