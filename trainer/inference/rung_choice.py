"""Whether IPA is enough for a crystal: what `farm seed --rung auto` asks, found by entry point."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from farm.crystal import Crystal
from farm.rung import Rung, RungChoice, RungChooser

if TYPE_CHECKING:
    from trainer.inference.similarity import PredictedSimilarity


def choose_rung(predicted: PredictedSimilarity | None, enough_sc: float) -> RungChoice:
    """IPA where the predicted SC[RPA;IPA] less its error is at least ``enough_sc``; else RPA.

    The error is half of an 80 % interval, so that of crystals right at the bound one in ten is less alike
    than asked for. What the model cannot see is computed at RPA, as everything is without a model.
    """
    if predicted is None or not (math.isfinite(predicted.value) and math.isfinite(predicted.error)):
        return RungChoice(rung=Rung.RPA, reason="the model cannot tell RPA from IPA")
    asked = f"predicted SC[RPA;IPA], less its error, is {{}} {enough_sc:g}"
    if predicted.value - predicted.error >= enough_sc:
        rung, reason = Rung.IPA, asked.format("at least")
    else:
        rung, reason = Rung.RPA, asked.format("below")
    return RungChoice(rung=rung, reason=reason, predicted_similarity=predicted.value)


def make_chooser(checkpoints_dir: Path, enough_sc: float) -> RungChooser:
    """A chooser by the checkpoint in use.

    Raises CheckpointError where there is none, or it holds no model of the similarity.
    """
    import torch

    from trainer.inference.similarity import SimilarityModel

    model = SimilarityModel.load(checkpoints_dir)
    # Batches are small, and the other cores parse.
    torch.set_num_threads(1)

    def choose(crystals: Sequence[Crystal]) -> list[RungChoice]:
        return [choose_rung(predicted, enough_sc) for predicted in model.predict(crystals)]

    return choose
