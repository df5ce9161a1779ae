"""Is what was just fitted better than what is in use? Both are measured on the same materials."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from farm.errors import CheckpointError
from farm.spectrum import FloatArray
from trainer.checkpoints.card import Card, read_card
from trainer.checkpoints.registry import Registry
from trainer.data.dataset import Dataset
from trainer.fitting.metrics import score_model
from trainer.networks.network import SpectrumNetwork

LOGGER = logging.getLogger(__name__)

_RESAMPLES = 2000
# The held-out set of a farm is that of its first checkpoint until it could be so many times as large.
HELD_OUT_GROWTH = 1.5


@dataclass(frozen=True)
class InUse:
    """The checkpoint that `latest` names when a refit starts; ``rpa`` None: it holds none (imported)."""

    card: Card
    ipa: SpectrumNetwork
    rpa: SpectrumNetwork | None


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Two models on the same materials.

    median_sc, before: medians of the new one and of the one in use
    p_worse:           share of resampled sets of materials on which the new median is the lower one
    """

    median_sc: float
    before: float
    p_worse: float

    @property
    def is_not_worse(self) -> bool:
        """Whether the new one is at least as likely to be the better one."""
        return self.p_worse <= 0.5


@dataclass(frozen=True, eq=False)
class HeldOut:
    """The materials that models are measured on.

    version: counts how often they became more; models are compared on those of one version
    rows:    their numbers in the set of both rungs, ascending
    """

    version: int
    rows: NDArray[np.int64]


def load_current(registry: Registry) -> InUse | None:
    """What is in use; None when there is nothing, or nothing that can be read."""
    if registry.latest() is None:
        return None
    try:
        ipa, card = registry.load(rung="ipa")
        rpa = registry.load(rung="rpa")[0] if "rpa" in card.rungs else None
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


def held_out_set(
    dataset: Dataset, held_out: NDArray[np.int64], split_hash: str, parent: Card | None
) -> HeldOut:
    """Which of the rows that may be held out the models are measured on.

    Those of the parent's card, as long as there are not :data:`HELD_OUT_GROWTH` times as many: scores of
    versions can be compared then. Rows that are held out and not yet measured on are not learnt from.
    """
    told = {} if parent is None else parent.split
    known = set(told.get("materials", ()))
    rows = (
        held_out[[dataset.rows[i].material_id in known for i in held_out.tolist()]] if known else held_out
    )
    same_rule = told.get("hash") == split_hash
    if not known or not same_rule:
        return HeldOut(version=1, rows=held_out)
    version = int(told.get("held_out_version", 1))
    if rows.size == 0 or held_out.size >= HELD_OUT_GROWTH * len(known):
        return HeldOut(version=version + 1, rows=held_out)
    return HeldOut(version=version, rows=rows)


def compare(current: InUse | None, card: Card, dataset: Dataset, held_out: HeldOut) -> Comparison | None:
    """The new checkpoint against the one in use; None where they cannot be compared.

    Under another split rule the one in use may have learnt from what is held out now, and then its score
    would be flattered; on another energy grid it predicts something else. Imported weights are compared
    nevertheless: whatever they had seen, what replaces them has to be as good.
    """
    if current is None or current.rpa is None:
        return None
    same_rule = current.card.imported or current.card.split.get("hash") == card.split.get("hash")
    grids = [(c.energy_max_ev, c.model.get("n_energies")) for c in (current.card, card)]
    if not same_rule or grids[0] != grids[1]:
        return None
    old = [score.sc for score in score_model(current.rpa, dataset, held_out.rows, dataset.rpa.numpy())]
    return paired([float(record["sc"]) for record in card.held_out], old)


def paired(new: Sequence[float], old: Sequence[float], *, seed: int = 0) -> Comparison:
    """Paired bootstrap of two scores of the same materials: both medians on the same resampled sets.

    A resampled set on which they are equal counts half.
    """
    pair: FloatArray = np.array([new, old], dtype=np.float64)
    drawn = np.random.default_rng(seed).integers(pair.shape[1], size=(_RESAMPLES, pair.shape[1]))
    medians = np.median(pair[:, drawn], axis=2)
    # Sums of a GPU are not ordered: what differs by rounding is equal.
    apart = medians[0] - medians[1]
    worse = np.where(np.abs(apart) < 1e-6, 0.5, apart < 0.0)
    return Comparison(
        median_sc=float(np.median(pair[0])), before=float(np.median(pair[1])), p_worse=float(worse.mean())
    )
