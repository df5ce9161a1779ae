"""What to compute next: which crystals a CPU second teaches the model most about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from farm.crystal import Crystal
from farm.errors import CheckpointError
from farm.job import Job
from farm.policy import Policy, order
from trainer.checkpoints.registry import Registry
from trainer.inference.ranking import latents, stored_crystals
from trainer.inference.similarity import SimilarityModel
from trainer.networks.calibration import Calibration
from trainer.networks.ensemble import member_spectra
from trainer.networks.graph import crystal_graphs
from trainer.networks.network import SpectrumNetwork


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """One crystal worth computing.

    predicted_cpu_s: what it costs
    expected_sc:     SC to the calculation that half of such predictions exceed; None: it cannot be said
    similarity:      predicted SC[RPA; IPA]; None: the checkpoint has no model of it
    """

    crystal: Crystal
    predicted_cpu_s: float
    expected_sc: float | None
    similarity: float | None

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as printed by ``farm next --json``."""
        return {
            "material": self.crystal.material_id,
            "formula": self.crystal.formula,
            "n_atoms": self.crystal.n_atoms,
            "predicted_cpu_s": round(self.predicted_cpu_s, 3),
            "expected_sc": self.expected_sc,
            "predicted_similarity": self.similarity,
        }


def propose(
    jobs: Sequence[Job],
    policy: Policy,
    *,
    limit: int,
    checkpoints_dir: Path,
    store_path: Path,
    reference: str | None = None,
) -> tuple[list[Proposal], int]:
    """The first ``limit`` of ``jobs`` in the order of a policy, and how many the model cannot see.

    What the store holds counts as known. Raises CheckpointError where there is no checkpoint, StoreError
    where the store cannot be read.
    """
    registry = Registry(checkpoints_dir)
    model, card = registry.load(reference)
    waiting, seen = latents(model, [job.crystal for job in jobs])
    known, _ = latents(model, stored_crystals(store_path))
    cpu_s = np.array([jobs[i].predicted_cpu_s for i in seen], dtype=np.float64)
    chosen = [jobs[seen[i]] for i in order(policy, cpu_s, waiting, known, limit=limit)[:limit]]
    crystals = [job.crystal for job in chosen]
    expected = _expected(model, crystals, card.uncertainty.get("calibration"))
    similar = _similarities(checkpoints_dir, reference, crystals)
    found = [
        Proposal(crystal=job.crystal, predicted_cpu_s=job.predicted_cpu_s, expected_sc=sc, similarity=alike)
        for job, sc, alike in zip(chosen, expected, similar, strict=True)
    ]
    return found, len(jobs) - seen.size


def _expected(
    model: SpectrumNetwork, crystals: Sequence[Crystal], calibration: dict[str, Any] | None
) -> list[float | None]:
    if calibration is None or not crystals:
        return [None] * len(crystals)
    members = member_spectra(model, crystal_graphs(crystals)).numpy()
    return [float(sc) for sc in Calibration.from_dict(calibration).expected_sc(members)]


def _similarities(
    checkpoints_dir: Path, reference: str | None, crystals: Sequence[Crystal]
) -> list[float | None]:
    try:
        model = SimilarityModel.load(checkpoints_dir, reference)
    except CheckpointError:
        return [None] * len(crystals)
    return [None if found is None else found.value for found in model.predict(crystals)]
