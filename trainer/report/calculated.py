"""The calculated side of the materials that a page shows, and what a checkpoint has to do with each."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from trainer.checkpoints.card import Card
from trainer.data.split import SplitRule, composition_key
from trainer.fitting.metrics import score_spectra
from trainer.report.contents import Group, Materials

if TYPE_CHECKING:
    from trainer.data.dataset import Dataset

# More would make the page too heavy for a browser; the held-out ones are always among them.
MOST_MATERIALS = 5000


def describe(
    dataset: Dataset,
    card: Card | None,
    gaps_ev: dict[str, float | None] | None = None,
    protocol: dict[str, Any] | None = None,
) -> Materials:
    """Every material of a dataset that has both rungs. ``gaps_ev``: direct gaps by material id."""
    ipa, rpa = dataset.ipa.numpy(), dataset.rpa.numpy()
    ids = tuple(row.material_id for row in dataset.rows)
    return Materials(
        ids=ids,
        formulas=tuple(crystal.formula for crystal in dataset.crystals),
        n_atoms=np.array([crystal.n_atoms for crystal in dataset.crystals], dtype=np.int64),
        groups=_groups(dataset, card),
        energies_ev=dataset.energies_ev,
        ipa=ipa,
        rpa=rpa,
        sc_ipa=np.array([score.sc for score in score_spectra(ipa, rpa, dataset.energies_ev)]),
        gap_ev=tuple((gaps_ev or {}).get(name) for name in ids),
        n_in_store=len(dataset),
        protocol=protocol or {},
    )


def _groups(dataset: Dataset, card: Card | None) -> NDArray[np.int64]:
    # Imported weights do not say what they have learnt from.
    if card is None or not {"salt", "held_out_share"} <= set(card.split):
        return np.full(len(dataset), int(Group.UNKNOWN), dtype=np.int64)
    measured = {str(record["material"]) for record in card.held_out}
    rule = SplitRule.from_dict(card.split)
    groups = [
        Group.HELD_OUT
        if crystal.material_id in measured
        else Group.LATER
        if rule.is_held_out(composition_key(crystal))
        else Group.LEARNING
        for crystal in dataset.crystals
    ]
    return np.array(groups, dtype=np.int64)


def chosen(materials: Materials) -> NDArray[np.int64]:
    """Ascending row numbers: the held-out ones, and as many others as a page can carry."""
    held_out = materials.held_out[:MOST_MATERIALS]
    others = np.flatnonzero(materials.groups != Group.HELD_OUT)
    room = MOST_MATERIALS - held_out.size
    if others.size > room:
        others = np.random.default_rng(0).permutation(others)[:room]
    return np.sort(np.concatenate([held_out, others]))


def part(materials: Materials, rows: NDArray[np.int64]) -> Materials:
    """These rows of materials of which nothing is predicted yet."""
    return replace(
        materials,
        ids=tuple(materials.ids[i] for i in rows),
        formulas=tuple(materials.formulas[i] for i in rows),
        gap_ev=tuple(materials.gap_ev[i] for i in rows),
        **{name: getattr(materials, name)[rows] for name in ("n_atoms", "groups", "ipa", "rpa", "sc_ipa")},
    )
