"""Is what was just fitted better than what is in use? Both are measured on the same materials."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from farm.errors import CheckpointError
from trainer.card import Card, read_card
from trainer.dataset import Dataset
from trainer.metrics import score_model, summarise
from trainer.network import SpectrumNetwork
from trainer.registry import Registry
from trainer.split import Split

LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class InUse:
    """The checkpoint that `latest` names when a refit starts."""

    card: Card
    ipa: SpectrumNetwork
    rpa: SpectrumNetwork


def load_current(registry: Registry) -> InUse | None:
    """What is in use; None when there is nothing, or nothing that can be read."""
    if registry.latest() is None:
        return None
    try:
        (ipa, card), (rpa, _) = registry.load(rung="ipa"), registry.load(rung="rpa")
    except CheckpointError as error:
        # A damaged checkpoint serves nobody: what is fitted now replaces it.
        LOGGER.warning("the checkpoint in use is left out: %s", error)
        return None
    return InUse(card, ipa, rpa)


def fitted_before(registry: Registry, request: str) -> Card | None:
    """The card of the newest version that answers the same request."""
    for version in reversed(registry.versions()):
        try:
            card = read_card(registry.directory / version)
        except CheckpointError as error:
            LOGGER.warning("%s", error)
            continue
        if card.dataset.get("request") == request:
            return card
    return None


def median_sc_in_use(current: InUse | None, card: Card, dataset: Dataset, split: Split) -> float | None:
    """The present held-out median SC of the RPA model in use, None where it cannot be compared.

    Under another split rule it may have learnt from what is held out now, and then its score would
    be flattered; on another energy grid it predicts something else.
    """
    if current is None:
        return None
    same_rule = current.card.split.get("hash") == card.split.get("hash")
    grids = [(c.energy_max_ev, c.model.get("n_energies")) for c in (current.card, card)]
    if not same_rule or grids[0] != grids[1]:
        return None
    return summarise(score_model(current.rpa, dataset, split.held_out, dataset.rpa.numpy())).median_sc
