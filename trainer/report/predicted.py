"""The predicted side: spectra and how sure they are, pooled vectors, and earlier versions on the same."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from farm.spectrum import energy_grid_ev
from trainer.checkpoints.card import Card
from trainer.fitting.metrics import score_spectra
from trainer.report.contents import Materials, MeasuredNow, Note

if TYPE_CHECKING:
    from torch_geometric.data import Data

    from trainer.networks.network import SpectrumNetwork

# Spectra of all members of so many crystals are in memory at a time.
_CRYSTALS_AT_A_TIME = 256


def ask(
    materials: Materials, graphs: Sequence[Data], model: SpectrumNetwork, card: Card
) -> tuple[Materials, tuple[Note, ...]]:
    """Materials with what the model says of them, where it predicts on their grid; else why not."""
    from trainer.networks.network import pooled_vectors, predict_spectra

    pooled = pooled_vectors(model, graphs).numpy()
    if not np.isfinite(pooled).all():
        return materials, (Note(f"{card.version} gives numbers that are not finite: it is not shown."),)
    materials = replace(materials, pooled=pooled)
    grid, own = energy_grid_ev(int(card.model["n_energies"]), card.energy_max_ev), materials.energies_ev
    if not np.array_equal(grid, own):
        text = (
            f"{card.version} predicts {grid.size} points up to {grid[-1]:g} eV, the store holds {own.size} "
            f"up to {own[-1]:g} eV: predicted and calculated spectra are not compared."
        )
        return materials, (Note(text),)
    predicted = predict_spectra(model, graphs).numpy()
    if not np.isfinite(predicted).all():
        return materials, (Note(f"{card.version} predicts numbers that are not finite: it is not shown."),)
    scores = score_spectra(predicted, materials.rpa, own)
    materials = replace(materials, predicted=predicted, sc=np.array([score.sc for score in scores]))
    return _with_uncertainty(materials, graphs, model, card), ()


def _with_uncertainty(
    materials: Materials, graphs: Sequence[Data], model: SpectrumNetwork, card: Card
) -> Materials:
    record = card.uncertainty.get("calibration")
    if not record or materials.predicted is None:
        return materials
    from trainer.networks.calibration import Calibration
    from trainer.networks.ensemble import member_spectra

    calibration = Calibration.from_dict(record)
    half_widths, expected = [], []
    for start in range(0, len(graphs), _CRYSTALS_AT_A_TIME):
        members = member_spectra(model, graphs[start : start + _CRYSTALS_AT_A_TIME]).numpy()
        if members.shape[1] < 2:
            return materials
        half_widths.append(calibration.half_width(members).astype(np.float32))
        expected.append(calibration.expected_sc(members))
    half_width = np.concatenate(half_widths)
    band = (np.maximum(materials.predicted - half_width, 0.0), materials.predicted + half_width)
    return replace(materials, band=band, sc_expected=np.concatenate(expected))


def measure_now(
    models: Iterable[tuple[Card, SpectrumNetwork]], materials: Materials, graphs: Sequence[Data]
) -> MeasuredNow | None:
    """Versions on the held-out materials, whose ``graphs`` these are; None for fewer than two."""
    from trainer.networks.network import predict_spectra

    rows = materials.held_out
    points: list[tuple[int, float]] = []
    for card, model in models:
        spectra = predict_spectra(model, graphs).numpy()
        scores = score_spectra(spectra, materials.rpa[rows], materials.energies_ev)
        median = float(np.median([score.sc for score in scores]))
        if card.n_train is not None and np.isfinite(median):
            points.append((card.n_train, median))
    if len(points) < 2:
        return None
    mark = float(np.median(materials.sc_ipa[rows]))
    return MeasuredNow(points=tuple(sorted(points)), n_held_out=rows.size, ipa_as_rpa=mark)


def is_comparable(one: Card, other: Card) -> bool:
    """Whether two versions hold out the same and predict on the same grid.

    Under another split one may have learnt from what the other holds out.
    """
    keys: list[tuple[Any, ...]] = [
        (card.split.get("hash"), card.model.get("n_energies"), card.energy_max_ev) for card in (one, other)
    ]
    return keys[0] == keys[1]
