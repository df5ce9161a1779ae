"""One row of the store as the rest of the farm sees it, without its spectra."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from farm.job import Engine, Outcome, make_job_id
from farm.store.record import key_of


@dataclass(frozen=True)
class StoreCounts:
    """Distinct materials held (failed ones too), and spectra on each rung."""

    materials: int
    ipa: int
    rpa: int


@dataclass(frozen=True, kw_only=True)
class StoredRow:
    """One row without its spectra; None where the calculation does not say.

    index:              the row, for ``spectra``, ``result`` and the others
    eps_inf_ipa, _rpa:  a third of the trace of Re eps(0)
    similarity_rpa_ipa: SC[RPA;IPA] of the directional mean of Im eps
    gmax_converged_mry: mRy per direction x, y, z
    """

    index: int
    material_id: str
    formula: str
    protocol_hash: str
    engine: Engine
    outcome: Outcome
    n_atoms: int
    has_ipa: bool
    has_rpa: bool
    physics_changed: bool
    gap_indirect_ev: float | None
    gap_direct_ev: float | None
    eps_inf_ipa: float | None
    eps_inf_rpa: float | None
    similarity_rpa_ipa: float | None
    gmax_converged_mry: tuple[int | None, int | None, int | None]
    n_steps: int
    cpu_s: float
    wall_s: float
    peak_memory_mb: float
    stored_unix_s: float

    @property
    def job_id(self) -> str:
        """The job it answers."""
        return make_job_id(self.material_id, self.protocol_hash, self.engine)


def stored_row(index: int, row: Any) -> StoredRow:
    """Row ``index`` of /rows (an element of ROW_DTYPE) in plain values."""
    x, y, z = (int(g) if g >= 0 else None for g in row["gmax_converged_mry"])

    def known(field: str, flag: str) -> float | None:
        return float(row[field]) if row[flag] else None

    material_id, protocol_hash, engine = key_of(row)
    return StoredRow(
        index=index,
        material_id=material_id,
        formula=row["formula"].decode(),
        protocol_hash=protocol_hash,
        engine=Engine(engine),
        outcome=Outcome(row["outcome"].decode()),
        n_atoms=int(row["n_atoms"]),
        has_ipa=bool(row["has_ipa"]),
        has_rpa=bool(row["has_rpa"]),
        physics_changed=bool(row["physics_changed"]),
        gap_indirect_ev=known("gap_indirect_ev", "has_gap_indirect"),
        gap_direct_ev=known("gap_direct_ev", "has_gap_direct"),
        eps_inf_ipa=known("eps_inf_ipa", "has_ipa"),
        eps_inf_rpa=known("eps_inf_rpa", "has_rpa"),
        similarity_rpa_ipa=known("similarity_rpa_ipa", "has_similarity"),
        gmax_converged_mry=(x, y, z),
        n_steps=int(row["n_steps"]),
        cpu_s=float(row["cpu_s"]),
        wall_s=float(row["wall_s"]),
        peak_memory_mb=float(row["peak_memory_mb"]),
        stored_unix_s=float(row["stored_unix_s"]),
    )
