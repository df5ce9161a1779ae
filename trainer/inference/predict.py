"""Spectra of crystals nobody has computed: a checkpoint, asked."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch_geometric.data import Data

from farm.crystal import MATERIAL_ID, Crystal
from farm.errors import CheckpointError, InputError
from farm.spectrum import (
    FloatArray,
    absorption_per_cm,
    energy_grid_ev,
    kramers_kronig_real,
    reflectivity,
    refractive_index,
)
from trainer.checkpoints.card import Card
from trainer.checkpoints.registry import Registry, Rung
from trainer.networks.calibration import BAND_LEVEL, Calibration
from trainer.networks.ensemble import Ensemble
from trainer.networks.graph import crystal_graph
from trainer.networks.network import SpectrumNetwork

if TYPE_CHECKING:
    from farm.sources import Rejected


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
    half_width:   of the interval that holds Im eps in 80 % of all cases, ``(n_energies,)``; None: the
                  checkpoint cannot say, or ``quantity`` is another
    expected_sc:  the SC to a calculation that half of such predictions exceed; None: as above
    along:        of ``quantity`` along Cartesian x, y, z of the cell, ``(3, n_energies)``; None: not asked
                  for, or the network gives no directions
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
    half_width: FloatArray | None = None
    expected_sc: float | None = None
    along: FloatArray | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as printed by ``farm predict --json``."""
        unsure = None
        if self.half_width is not None:
            unsure = {"level": BAND_LEVEL, "half_width": self.half_width.tolist()}
        along = None if self.along is None else dict(zip("xyz", self.along.tolist(), strict=True))
        return {
            "material": self.crystal.material_id,
            "formula": self.crystal.formula,
            "rung": self.rung,
            "property": self.quantity.value,
            "energies_ev": self.energies_ev.tolist(),
            "values": self.values.tolist(),
            "directions": along,
            "uncertainty": unsure,
            "expected_sc": self.expected_sc,
            "checkpoint": self.checkpoint,
            "milliseconds": round(self.milliseconds, 3),
        }


class Predictor:
    """A loaded checkpoint; one crystal at a time, a few milliseconds each."""

    def __init__(self, model: SpectrumNetwork, card: Card, rung: Rung) -> None:
        self.model, self.card, self.rung = model.eval(), card, rung
        self.energies_ev = energy_grid_ev(model.config.n_energies, card.energy_max_ev)
        found = card.uncertainty.get("calibration") if rung == "rpa" else None
        self.calibration = None if found is None else Calibration.from_dict(found)

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
        mean: FloatArray = self._members(crystal_graph(crystal)).mean(axis=0)
        return mean

    @property
    def has_directions(self) -> bool:
        """Whether :meth:`predict` can give the three directions."""
        return self.model.has_directions

    def predict(
        self,
        crystal: Crystal,
        quantity: Property = Property.EPS,
        *,
        directions: bool = False,
        started_s: float | None = None,
    ) -> Prediction:
        """Predict one crystal. ``started_s``: ``time.perf_counter()`` when its reading began.

        Raises CrystalError for elements that the model does not know, CheckpointError for a model that
        gives no finite numbers.
        """
        started_s = time.perf_counter() if started_s is None else started_s
        graph = crystal_graph(crystal)
        members = self._members(graph, name=crystal.material_id)
        sure = self.calibration if members.shape[0] > 1 else None
        along = self._along(graph, quantity) if directions and self.has_directions else None
        return Prediction(
            crystal=crystal,
            rung=self.rung,
            quantity=quantity,
            energies_ev=self.energies_ev,
            values=derive(members.mean(axis=0), self.energies_ev, quantity, eps_real=self._real(graph)),
            checkpoint=self.card.version,
            milliseconds=1e3 * (time.perf_counter() - started_s),
            half_width=sure.half_width(members) if sure and quantity is Property.EPS else None,
            expected_sc=float(sure.expected_sc(members)) if sure else None,
            along=along,
        )

    @torch.inference_mode()
    def _members(self, graph: Data, *, name: str = "this crystal") -> FloatArray:
        """What each member says, ``(n_members, n_energies)``, nowhere negative."""
        model = self.model
        found = model.each(graph)[0] if isinstance(model, Ensemble) else model(graph).clamp(min=0.0)
        spectra = found.numpy().astype(np.float64)
        if not np.isfinite(spectra).all():
            raise CheckpointError(
                f"{self.card.version} predicts numbers that are not finite for {name}",
                fix="Go back to the one before: `farm checkpoints rollback`",
            )
        return np.asarray(spectra, dtype=np.float64)

    @torch.inference_mode()
    def _real(self, graph: Data) -> FloatArray | None:
        found = self.model.eps_real(graph)
        return None if found is None else found[0].numpy().astype(np.float64)

    @torch.inference_mode()
    def _along(self, graph: Data, quantity: Property) -> FloatArray:
        spectra = self.model.diagonal(graph)[0].clamp(min=0.0).numpy().astype(np.float64)
        return np.stack([derive(row, self.energies_ev, quantity) for row in spectra])


def derive(
    eps_imag: FloatArray,
    energies_ev: FloatArray,
    quantity: Property,
    *,
    eps_real: FloatArray | None = None,
) -> FloatArray:
    """The quantity, ``(n_energies,)``, from Im eps of an isotropic average.

    Without ``eps_real`` of a network that gives it, Re eps is the Kramers-Kronig transform over the grid;
    what absorbs above its end is missing, which lowers the static value a little. Absorption in 1/cm.
    """
    if quantity is Property.EPS:
        return eps_imag
    real = kramers_kronig_real(eps_imag, energies_ev) if eps_real is None else eps_real
    eps = real + 1j * eps_imag
    if quantity is Property.ABSORPTION:
        return absorption_per_cm(eps, energies_ev)
    if quantity is Property.REFRACTIVE_INDEX:
        return np.ascontiguousarray(refractive_index(eps).real)
    return reflectivity(eps)


def predict_file(
    predictor: Predictor, path: Path, quantity: Property = Property.EPS, *, directions: bool = False
) -> Iterator[Prediction | InputError]:
    """Every crystal of a file: its prediction, or the error that says why there is none."""
    started_s = time.perf_counter()
    for found in read_crystals(path):
        if isinstance(found, Crystal):
            try:
                yield predictor.predict(found, quantity, directions=directions, started_s=started_s)
            except InputError as error:
                yield InputError(f"{path}: {error.message}", fix=error.fix)
        else:
            yield InputError(f"{found.source}: {found.reason}", fix=found.fix)
        started_s = time.perf_counter()


def read_crystals(path: Path) -> Iterator[Crystal | Rejected]:
    """The crystals of a file; a plain CIF without the search for its symmetry, which no model needs."""
    from farm.sources import read_simple_cif, read_source

    if path.suffix.lower() != ".cif":
        yield from read_source(path)
        return
    if (plain := read_simple_cif(path)) is not None:
        yield plain
        return
    found = list(read_source(path))
    # A crystal alone in its CIF has the name of the file, whichever of the two has read it.
    is_alone = len(found) == 1 and MATERIAL_ID.fullmatch(path.stem)
    for item in found:
        yield replace(item, material_id=path.stem) if is_alone and isinstance(item, Crystal) else item


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
