"""What one job brings back: spectra on both rungs and bands, or a typed outcome that says why not.

A result travels as msgpack; spectra and bands as little-endian float32: the store keeps no more.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import msgpack
import numpy as np
from numpy.typing import NDArray

from farm.bandstructure import BandStructure
from farm.crystal import Crystal
from farm.errors import InputError
from farm.job import Engine, Outcome, Stage, make_job_id
from farm.spectrum import ComplexArray, FloatArray, Spectrum, energy_grid_ev

RECORD_VERSION = 1


@dataclass(frozen=True, kw_only=True, eq=False)
class LadderStep:
    """One rung of the local-field ladder.

    gmax_mry:        cutoff of the response block that was asked for, mRy (0: IPA)
    n_g:             number of G vectors in the block, closed shells
    step_similarity: SC of this step against the one before, per direction; None for the first
    eps:             complex, shape ``(3, n_energies)``
    """

    gmax_mry: int
    n_g: int
    step_similarity: tuple[float, float, float] | None
    eps: ComplexArray


@dataclass(frozen=True, kw_only=True)
class StageUsage:
    """What one stage cost: user + system CPU seconds of all its processes, wall seconds, peak MB."""

    stage: Stage
    cpu_s: float
    wall_s: float
    peak_memory_mb: float


@dataclass(frozen=True, kw_only=True)
class StepUsage:
    """What one step cost, good or not.

    name:           of the step, such as ``scf-60Ry-4x4x4``
    stage:          where most of it belongs; ``Result.stages`` splits a step that serves two
    attempts:       runs of its program; those of a worker that was killed are not known
    cpu_s, wall_s:  of all attempts together, user + system
    peak_memory_mb: of the largest attempt, all processes of it
    disk_mb:        size of the step's files when it ended, before anything was cleaned up
    """

    name: str
    stage: Stage
    outcome: Literal["ok", "failed"]
    attempts: int
    cpu_s: float
    wall_s: float
    peak_memory_mb: float
    disk_mb: float

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for JSON and msgpack."""
        return vars(self) | {"stage": self.stage.value}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> StepUsage:
        """The inverse of :meth:`to_dict`."""
        return cls(**{**data, "stage": Stage(data["stage"])})


@dataclass(frozen=True, kw_only=True)
class Correction:
    """One remedy that was applied.

    step:            of the job
    diagnosis:       name of what was wrong, a word of the catalogue
    evidence:        file, line and text that say so
    remedy:          what was changed
    changes_physics: the spectrum is tagged and not trained on
    worked:          whether the step was good with it, and no other remedy after it; None: not known
    """

    step: str
    diagnosis: str
    remedy: str
    changes_physics: bool
    evidence: str = ""
    worked: bool | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Result:
    """The answer of one job. Spectra are present exactly when there is something to believe.

    outcome:             done, metal, unconverged (spectra of the last step kept) or failed
    reason:              one sentence, for every outcome but done
    diagnosis:           its name, a word of the catalogue; "" for done and in results of older versions
    advice:              what a person does about it; "" where there is nothing to do
    ladder:              every step of the local-field ladder; the first is IPA, the last is RPA; IPA alone
                         under a protocol without local fields
    gmax_converged_mry:  per direction x, y, z the cutoff at which the ladder converged; None: not
    gap_indirect_ev:     on the spectra's k-grid
    band_structure:      None where the protocol asks for none, and in results of older versions
    parameters:          what was really used (``ecutwfc_ry``, ``nbnd``, k-grids, ...)
    programs:            name -> version of each program that ran
    steps:               in the order in which they ran; none in results of older versions
    origin:              what its source said of it, where it was imported; has a JSON form
    """

    crystal: Crystal
    protocol: Mapping[str, Any]
    protocol_hash: str
    engine: Engine
    outcome: Outcome
    reason: str = ""
    diagnosis: str = ""
    advice: str = ""
    ladder: tuple[LadderStep, ...] = ()
    gmax_converged_mry: tuple[int | None, int | None, int | None] = (None, None, None)
    gap_indirect_ev: float | None = None
    gap_direct_ev: float | None = None
    band_structure: BandStructure | None = None
    space_group: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    programs: Mapping[str, str] = field(default_factory=dict)
    stages: tuple[StageUsage, ...] = ()
    steps: tuple[StepUsage, ...] = ()
    corrections: tuple[Correction, ...] = ()
    origin: Mapping[str, Any] = field(default_factory=dict)

    @property
    def job_id(self) -> str:
        """The job this answers."""
        return make_job_id(self.crystal.material_id, self.protocol_hash, self.engine)

    @property
    def energies_ev(self) -> FloatArray:
        """The photon energy grid of the protocol, shape ``(n_energies,)``."""
        return energy_grid_ev(int(self.protocol["n_energies"]), float(self.protocol["energy_max_ev"]))

    @property
    def ipa(self) -> Spectrum | None:
        """The spectrum without local fields."""
        return Spectrum(self.energies_ev, self.ladder[0].eps) if self.ladder else None

    @property
    def rpa(self) -> Spectrum | None:
        """The spectrum with local fields at the last step of the ladder."""
        return Spectrum(self.energies_ev, self.ladder[-1].eps) if len(self.ladder) > 1 else None

    @property
    def cpu_s(self) -> float:
        """User + system CPU seconds of all stages."""
        return sum(stage.cpu_s for stage in self.stages)

    @property
    def physics_changed(self) -> bool:
        """True when a remedy changed the physics: kept, tagged, and not trained on."""
        return any(correction.changes_physics for correction in self.corrections)

    def pack(self) -> bytes:
        """One msgpack document."""
        return bytes(
            msgpack.packb(
                {
                    "version": RECORD_VERSION,
                    "crystal": self.crystal.to_dict(),
                    "protocol": dict(self.protocol),
                    "protocol_hash": self.protocol_hash,
                    "engine": self.engine.value,
                    "outcome": self.outcome.value,
                    "reason": self.reason,
                    "diagnosis": self.diagnosis,
                    "advice": self.advice,
                    "ladder": [_pack_step(step) for step in self.ladder],
                    "gmax_converged_mry": list(self.gmax_converged_mry),
                    "gap_indirect_ev": self.gap_indirect_ev,
                    "gap_direct_ev": self.gap_direct_ev,
                    "band_structure": self.band_structure.pack() if self.band_structure else None,
                    "space_group": self.space_group,
                    "parameters": dict(self.parameters),
                    "programs": dict(self.programs),
                    "stages": [vars(stage) | {"stage": stage.stage.value} for stage in self.stages],
                    "steps": [step.to_dict() for step in self.steps],
                    "corrections": [vars(correction) for correction in self.corrections],
                    "origin": dict(self.origin),
                }
            )
        )

    @classmethod
    def unpack(cls, payload: bytes) -> Result:
        """The inverse of :meth:`pack`. Raises InputError for anything else."""
        try:
            data = msgpack.unpackb(payload)
            if data["version"] != RECORD_VERSION:
                raise ValueError(f"record version {data['version']}, expected {RECORD_VERSION}")
            bands = data.get("band_structure")
            return cls(
                crystal=Crystal.from_dict(data["crystal"]),
                protocol=data["protocol"],
                protocol_hash=data["protocol_hash"],
                engine=Engine(data["engine"]),
                outcome=Outcome(data["outcome"]),
                reason=data["reason"],
                diagnosis=data.get("diagnosis", ""),
                advice=data.get("advice", ""),
                ladder=tuple(_unpack_step(step) for step in data["ladder"]),
                gmax_converged_mry=tuple(data["gmax_converged_mry"]),
                gap_indirect_ev=data["gap_indirect_ev"],
                gap_direct_ev=data["gap_direct_ev"],
                band_structure=BandStructure.unpack(bands) if bands else None,
                space_group=data["space_group"],
                parameters=data["parameters"],
                programs=data["programs"],
                stages=tuple(
                    StageUsage(**(stage | {"stage": Stage(stage["stage"])})) for stage in data["stages"]
                ),
                steps=tuple(StepUsage.from_dict(step) for step in data.get("steps", ())),
                corrections=tuple(Correction(**c) for c in data["corrections"]),
                origin=data.get("origin", {}),
            )
        except InputError:
            raise
        except Exception as error:  # any malformed document: the message is all that matters
            raise InputError(f"not a result record: {error!r}") from error


def _pack_step(step: LadderStep) -> dict[str, Any]:
    return {
        "gmax_mry": step.gmax_mry,
        "n_g": step.n_g,
        "step_similarity": list(step.step_similarity) if step.step_similarity else None,
        "eps": np.stack([step.eps.real, step.eps.imag]).astype("<f4").tobytes(),
    }


def _unpack_step(data: Mapping[str, Any]) -> LadderStep:
    flat: NDArray[np.float64] = np.frombuffer(data["eps"], dtype="<f4").astype(np.float64)
    real, imag = flat.reshape(2, 3, -1)
    similarity = data["step_similarity"]
    return LadderStep(
        gmax_mry=data["gmax_mry"],
        n_g=data["n_g"],
        step_similarity=tuple(similarity) if similarity else None,
        eps=real + 1j * imag,
    )
