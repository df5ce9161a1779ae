"""How similar RPA and IPA of a crystal are, without computing either: which rung it needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from farm.crystal import Crystal
from farm.errors import CheckpointError
from trainer.checkpoints.card import Card
from trainer.checkpoints.registry import Registry
from trainer.networks.graph import crystal_graphs, visible
from trainer.networks.network import SpectrumNetwork, in_batches


@dataclass(frozen=True, kw_only=True)
class PredictedSimilarity:
    """SC[RPA; IPA] of one crystal, and half the width of the interval that holds it in 80 % of cases."""

    value: float
    error: float


class SimilarityModel:
    """The similarity model of a checkpoint."""

    def __init__(self, model: SpectrumNetwork, card: Card) -> None:
        if card.similarity.get("half_width") is None:
            raise CheckpointError(
                f"{card.version} has learnt SC[RPA; IPA] from too few materials to say how sure it is",
                fix="Compute more with both rungs: `farm seed --rung rpa`",
            )
        self.model, self.card = model, card
        self.half_width = float(card.similarity["half_width"])

    @classmethod
    def load(cls, checkpoints_dir: Path, reference: str | None = None) -> SimilarityModel:
        """That of a version, path, or (None) of `latest`. Raises CheckpointError where there is none."""
        return cls(*Registry(checkpoints_dir).load(reference, "similarity"))

    def predict(self, crystals: Sequence[Crystal]) -> list[PredictedSimilarity | None]:
        """One a crystal, in their order; None: the model cannot see it."""
        seen = visible(crystals)
        found: list[PredictedSimilarity | None] = [None] * len(crystals)
        values = in_batches(self.model, self.model, crystal_graphs([crystals[n] for n in seen]), 1)
        for n, value in zip(seen, values[:, 0].double().tolist(), strict=True):
            if np.isfinite(value):
                # SC is at most 1.
                found[n] = PredictedSimilarity(value=min(value, 1.0), error=self.half_width)
        return found
