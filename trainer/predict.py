"""Spectra of crystals nobody has computed: a checkpoint, asked."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np

from farm.crystal import Crystal
from farm.errors import CheckpointError, InputError
from farm.spectrum import (
    FloatArray,
    absorption_per_cm,
    energy_grid_ev,
    kramers_kronig_real,
    reflectivity,
    refractive_index,
)
from trainer.card import Card
from trainer.graph import crystal_graph
from trainer.network import SpectrumNetwork, predict_spectra
from trainer.registry import Registry, Rung


class Property(StrEnum):
    """What to give of the predicted response; all but ``eps`` follow from it by Kramers-Kronig."""

    EPS = "eps"
    ABSORPTION = "absorption"
    REFRACTIVE_INDEX = "refractive-index"
    REFLECTIVITY = "reflectivity"


AXIS_LABELS = {
    Property.EPS: r"Im $\varepsilon$ (trace/3)",
    Property.ABSORPTION: r"absorption coefficient (1/cm)",
    Property.REFRACTIVE_INDEX: "refractive index",
    Property.REFLECTIVITY: "reflectivity",
}


@dataclass(frozen=True, kw_only=True, eq=False)
class Prediction:
    """One predicted spectrum.

    values:       of ``quantity`` at ``energies_ev``, both ``(n_energies,)``
    checkpoint:   version that predicted it
    milliseconds: wall time from the file (or the crystal in hand) to ``values``
    """

    crystal: Crystal
    rung: Rung
    quantity: Property
    energies_ev: FloatArray
    values: FloatArray
    checkpoint: str
    milliseconds: float

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as printed by ``farm predict --json``."""
        return {
            "material": self.crystal.material_id,
            "formula": self.crystal.formula,
            "rung": self.rung,
            "property": self.quantity.value,
            "energies_ev": self.energies_ev.tolist(),
            "values": self.values.tolist(),
            "checkpoint": self.checkpoint,
            "milliseconds": round(self.milliseconds, 3),
        }


class Predictor:
    """A loaded checkpoint; one crystal at a time, a few milliseconds each."""

    def __init__(self, model: SpectrumNetwork, card: Card, rung: Rung) -> None:
        self.model, self.card, self.rung = model, card, rung
        self.energies_ev = energy_grid_ev(model.config.n_energies, card.energy_max_ev)

    @classmethod
    def load(
        cls, checkpoints_dir: Path, reference: str | None = None, rung: Rung | None = None
    ) -> Predictor:
        """The version, path, or (None) `latest`, on its highest rung by itself. Raises CheckpointError."""
        model, card = Registry(checkpoints_dir).load(reference, rung)
        return cls(model, card, rung or card.rungs[-1])

    def eps_imag_mean(self, crystal: Crystal) -> FloatArray:
        """Im of a third of the trace of eps, ``(n_energies,)``, nowhere negative.

        Raises CrystalError for elements that the model does not know.
        """
        spectrum = predict_spectra(self.model, [crystal_graph(crystal)])[0].numpy().astype(np.float64)
        if not np.isfinite(spectrum).all():
            raise CheckpointError(
                f"{self.card.version} predicts numbers that are not finite for {crystal.material_id}",
                fix="Go back to the one before: `farm checkpoints rollback`",
            )
        return spectrum

    def predict(
        self, crystal: Crystal, quantity: Property = Property.EPS, *, started_s: float | None = None
    ) -> Prediction:
        """Predict one crystal. ``started_s``: ``time.perf_counter()`` when its reading began."""
        started_s = time.perf_counter() if started_s is None else started_s
        values = derive(self.eps_imag_mean(crystal), self.energies_ev, quantity)
        return Prediction(
            crystal=crystal,
            rung=self.rung,
            quantity=quantity,
            energies_ev=self.energies_ev,
            values=values,
            checkpoint=self.card.version,
            milliseconds=1e3 * (time.perf_counter() - started_s),
        )


def derive(eps_imag: FloatArray, energies_ev: FloatArray, quantity: Property) -> FloatArray:
    """The quantity, ``(n_energies,)``, from Im eps of an isotropic average.

    Re eps is the Kramers-Kronig transform over the grid; what absorbs above its end is missing, which
    lowers the static value a little. Absorption in 1/cm.
    """
    if quantity is Property.EPS:
        return eps_imag
    eps = kramers_kronig_real(eps_imag, energies_ev) + 1j * eps_imag
    if quantity is Property.ABSORPTION:
        return absorption_per_cm(eps, energies_ev)
    if quantity is Property.REFRACTIVE_INDEX:
        return np.ascontiguousarray(refractive_index(eps).real)
    return reflectivity(eps)


def predict_file(
    predictor: Predictor, path: Path, quantity: Property = Property.EPS
) -> Iterator[Prediction | InputError]:
    """Every crystal of a file: its prediction, or the error that says why there is none."""
    from farm.sources import read_source

    started_s = time.perf_counter()
    for found in read_source(path):
        if isinstance(found, Crystal):
            try:
                yield predictor.predict(found, quantity, started_s=started_s)
            except InputError as error:
                yield InputError(f"{path}: {error.message}", fix=error.fix)
        else:
            yield InputError(f"{found.source}: {found.reason}", fix=found.fix)
        started_s = time.perf_counter()


def stored_spectrum(
    store_path: Path, crystal: Crystal, rung: Rung, energies_ev: FloatArray
) -> FloatArray | None:
    """The calculated Im eps (trace/3) of this structure, None where the store has none."""
    from farm.store import open_store

    if not store_path.is_file():
        return None
    with open_store(store_path) as store:
        if not np.array_equal(store.energies_ev, energies_ev):
            return None
        for row in store.rows():
            held = row.has_rpa if rung == "rpa" else row.has_ipa
            # The formula is in the table; the structure costs a read.
            if held and row.formula == crystal.formula and _same_crystal(store.crystal(row.index), crystal):
                read = store.rpa_spectra if rung == "rpa" else store.ipa_spectra
                return np.asarray(read([row.index])[0].imag.mean(axis=0), dtype=np.float64)
    return None


def _same_crystal(one: Crystal, other: Crystal) -> bool:
    """The same structure to 1 % in lengths, whatever its setting: files round and turn cells."""
    if one.content_hash == other.content_hash:
        return True
    from pymatgen.analysis.structure_matcher import StructureMatcher

    matcher = StructureMatcher(ltol=0.01, stol=0.05, angle_tol=1.0, scale=False)
    return bool(matcher.fit(one.to_structure(), other.to_structure()))
