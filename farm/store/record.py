"""A Result as the arrays and bytes that the store keeps, and back; pure."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from farm.crystal import Crystal
from farm.errors import InputError, ResultRefusedError
from farm.job import Engine, Outcome, Stage
from farm.result import Correction, LadderStep, Result, StageUsage, StepUsage
from farm.spectrum import FloatArray, Spectrum, similarity_coefficient
from farm.store.bands import BandRecord, checksum_bands, decode_bands, encode_bands
from farm.store.layout import (
    ROW_DTYPE,
    ROW_DTYPE_OF_VERSION_3,
    STEP_DTYPE,
    TEXTS,
    TEXTS_OF_VERSION_1,
    TEXTS_OF_VERSION_3,
)

Key = tuple[str, str, str]

_AGAIN = "Compute it again"

# A retry may answer again what has no final answer yet, but never with less than is held.
_RANK = {Outcome.FAILED: 0, Outcome.UNCONVERGED: 1, Outcome.METAL: 2, Outcome.DONE: 2}

# Where and when a row was stored is not part of what it says.
_NOT_CONTENT = ("crc32", "first_step", "stored_unix_s")


@dataclass(frozen=True, eq=False)
class Record:
    """One result, encoded.

    row:      shape ``(1,)``, ROW_DTYPE; its place, what it replaces and the time are set when stored
    texts:    UTF-8, in the order of ``layout.TEXTS``
    steps:    shape ``(n_steps,)``, STEP_DTYPE; ``row`` is set when stored
    step_eps: float32, shape ``(n_steps, 2, 3, n_energies)``, axis order ``[step, re|im, x|y|z, energy]``
    bands:    None where there is no band structure
    """

    row: NDArray[np.void]
    texts: tuple[bytes, ...]
    steps: NDArray[np.void]
    step_eps: NDArray[np.float32]
    bands: BandRecord | None = None

    @property
    def key(self) -> Key:
        """(material id, protocol hash, engine)."""
        return key_of(self.row[0])

    @property
    def outcome(self) -> Outcome:
        """How the calculation ended."""
        return Outcome(self.row["outcome"][0].decode())

    @property
    def ipa(self) -> NDArray[np.float32] | None:
        """Shape ``(2, 3, n_energies)``, the first rung."""
        return self.step_eps[0] if self.row["has_ipa"][0] else None

    @property
    def rpa(self) -> NDArray[np.float32] | None:
        """Shape ``(2, 3, n_energies)``, the last rung."""
        return self.step_eps[-1] if self.row["has_rpa"][0] else None


def key_of(row: Any) -> Key:
    """The (material id, protocol hash, engine) of one element of /rows."""
    return row["material_id"].decode(), row["protocol_hash"].decode(), row["engine"].decode()


def supersedes(outcome: Outcome, crc32: int, held_outcome: Outcome, held_crc32: int) -> bool:
    """Whether a result for a key that is held already is kept, and counts from then on.

    The same result again never is, nor is anything once the answer is done or metal. A retry of a
    failed or unconverged job is, unless it brings less: a failure does not hide a spectrum.
    """
    final = held_outcome in (Outcome.DONE, Outcome.METAL)
    return not final and crc32 != held_crc32 and _RANK[outcome] >= _RANK[held_outcome]


def encode(result: Result) -> Record:
    """The record of a result.

    Raises ResultRefusedError naming the field for what cannot be kept: numbers that are not finite, shapes
    off the energy grid, a ladder that does not begin with IPA, values without a JSON form, ids too long.
    """
    name = result.crystal.material_id
    spectra = _finite_spectra(result, name)
    row = np.zeros(1, dtype=ROW_DTYPE)
    _fill_identity(row, result, name)
    _fill_numbers(row, result, spectra)
    steps = np.zeros(len(result.ladder), dtype=STEP_DTYPE)
    step_eps = np.zeros((len(result.ladder), 2, 3, result.energies_ev.size), dtype="<f4")
    for i, step in enumerate(result.ladder):
        steps[i]["gmax_mry"], steps[i]["n_g"] = step.gmax_mry, step.n_g
        if step.step_similarity is not None:
            steps[i]["has_similarity"], steps[i]["step_similarity"] = True, step.step_similarity
        step_eps[i, 0], step_eps[i, 1] = step.eps.real, step.eps.imag
    bands = encode_bands(result.band_structure, name)
    record = Record(row, _texts(result, name), steps, step_eps, bands)
    row["crc32"] = checksum(record)
    return record


def checksum(record: Record) -> int:
    """CRC-32 of everything a row says, whatever its place in the file."""
    # What later versions added is left out where a row does not have it: its checksum stays what it was.
    content, rungs = np.zeros(1, dtype=ROW_DTYPE_OF_VERSION_3), record.steps.copy()
    for field in set(ROW_DTYPE_OF_VERSION_3.names or ()).difference(_NOT_CONTENT):
        content[field] = record.row[field]
    rungs["row"] = 0
    crc = zlib.crc32(content.tobytes())
    for text in record.texts[: _n_texts(record.texts)]:
        crc = zlib.crc32(text, zlib.crc32(len(text).to_bytes(8, "little"), crc))
    crc = zlib.crc32(record.step_eps.tobytes(), zlib.crc32(rungs.tobytes(), crc))
    return checksum_bands(record.bands, crc)


def _n_texts(texts: Sequence[bytes]) -> int:
    """Texts of the oldest version that can say what these do."""
    for n in (len(TEXTS_OF_VERSION_1), len(TEXTS_OF_VERSION_3)):
        if not any(texts[n:]):
            return n
    return len(texts)


def decode(record: Record) -> Result:
    """The inverse of :func:`encode`; spectra and bands come back as the float32 values that were kept."""
    row = record.row[0]
    text = dict(zip(TEXTS, (part.decode() for part in record.texts), strict=True))
    converged = tuple(int(g) if g >= 0 else None for g in row["gmax_converged_mry"])
    stages = (StageUsage(**(s | {"stage": Stage(s["stage"])})) for s in json.loads(text["stages"]))
    return Result(
        crystal=Crystal.from_dict(json.loads(text["crystal"])),
        protocol=json.loads(text["protocol"]),
        protocol_hash=row["protocol_hash"].decode(),
        engine=Engine(row["engine"].decode()),
        outcome=record.outcome,
        reason=text["reason"],
        diagnosis=text["diagnosis"],
        advice=text["advice"],
        ladder=decode_ladder(record.steps, record.step_eps),
        gmax_converged_mry=(converged[0], converged[1], converged[2]),
        gap_indirect_ev=float(row["gap_indirect_ev"]) if row["has_gap_indirect"] else None,
        gap_direct_ev=float(row["gap_direct_ev"]) if row["has_gap_direct"] else None,
        band_structure=decode_bands(record.bands),
        space_group=text["space_group"],
        parameters=json.loads(text["parameters"]),
        programs=json.loads(text["programs"]),
        stages=tuple(stages),
        steps=tuple(StepUsage.from_dict(step) for step in json.loads(text["steps"] or "[]")),
        corrections=tuple(Correction(**c) for c in json.loads(text["corrections"])),
        origin=json.loads(text["origin"] or "{}"),
    )


def decode_ladder(steps: NDArray[np.void], step_eps: NDArray[np.float32]) -> tuple[LadderStep, ...]:
    """Ladder steps from their table and spectra (shapes as in :class:`Record`)."""
    ladder = []
    for step, (real, imag) in zip(steps, step_eps.astype(np.float64), strict=True):
        x, y, z = (float(s) for s in step["step_similarity"])
        ladder.append(
            LadderStep(
                gmax_mry=int(step["gmax_mry"]),
                n_g=int(step["n_g"]),
                step_similarity=(x, y, z) if step["has_similarity"] else None,
                eps=real + 1j * imag,
            )
        )
    return tuple(ladder)


def _finite_spectra(result: Result, name: str) -> list[Spectrum]:
    # The first rung is kept as IPA, any after it as RPA: neither may be the other.
    rungs = [step.gmax_mry for step in result.ladder]
    if rungs and (rungs[0] != 0 or rungs != sorted(set(rungs))):
        raise ResultRefusedError(f"{name}: ladder: Gmax {rungs} mRy does not ascend from 0", fix=_AGAIN)
    try:
        energies = result.energies_ev
        spectra = [Spectrum(energies, step.eps) for step in result.ladder]
    except (InputError, KeyError, TypeError, ValueError) as error:
        raise ResultRefusedError(
            f"{name}: ladder or energy grid: {error}", fix="Compute it again"
        ) from error
    largest = max((float(np.abs(s.eps).max()) for s in spectra), default=0.0)
    if largest > float(np.finfo(np.float32).max):
        raise ResultRefusedError(
            f"{name}: ladder: eps is as large as {largest:.1e}", fix="Compute it again"
        )
    return spectra


def _fill_identity(row: NDArray[np.void], result: Result, name: str) -> None:
    values = {
        "material_id": name,
        "formula": result.crystal.formula,
        "protocol_hash": result.protocol_hash,
        "engine": result.engine.value,
        "outcome": result.outcome.value,
    }
    for field, value in values.items():
        encoded, room = value.encode(), ROW_DTYPE[field].itemsize
        if not encoded or len(encoded) > room:
            raise ResultRefusedError(
                f"{name}: {field} {value!r} does not fit", fix=f"Use 1 to {room} bytes"
            )
        row[field] = encoded


def _fill_numbers(row: NDArray[np.void], result: Result, spectra: Sequence[Spectrum]) -> None:
    row["n_atoms"], row["n_steps"] = result.crystal.n_atoms, len(spectra)
    row["physics_changed"] = result.physics_changed
    for gap, value in (("indirect", result.gap_indirect_ev), ("direct", result.gap_direct_ev)):
        if value is not None:
            row[f"has_gap_{gap}"], row[f"gap_{gap}_ev"] = True, value
    row["gmax_converged_mry"] = [-1 if g is None else g for g in result.gmax_converged_mry]
    row["cpu_s"], row["wall_s"] = result.cpu_s, sum(stage.wall_s for stage in result.stages)
    row["peak_memory_mb"] = max((stage.peak_memory_mb for stage in result.stages), default=0.0)
    if spectra:
        row["has_ipa"], row["eps_inf_ipa"] = True, spectra[0].eps_inf
    if len(spectra) > 1:
        row["has_rpa"], row["eps_inf_rpa"] = True, spectra[-1].eps_inf
        similarity = _similarity(spectra[-1], spectra[0], result.energies_ev)
        if similarity is not None:
            row["has_similarity"], row["similarity_rpa_ipa"] = True, similarity
    for field in ("gap_indirect_ev", "gap_direct_ev", "cpu_s", "wall_s", "peak_memory_mb"):
        if not np.isfinite(row[field][0]):
            raise ResultRefusedError(
                f"{result.crystal.material_id}: {field} is not finite", fix="Compute it again"
            )


def _similarity(rpa: Spectrum, ipa: Spectrum, energies_ev: FloatArray) -> float | None:
    try:
        return similarity_coefficient(rpa.eps_imag_mean, ipa.eps_imag_mean, energies_ev)
    except InputError:  # no absorption anywhere on the grid: there is nothing to compare with
        return None


def _texts(result: Result, name: str) -> tuple[bytes, ...]:
    values: Mapping[str, Any] = {
        "crystal": result.crystal.to_dict(),
        "protocol": dict(result.protocol),
        "space_group": result.space_group,
        "reason": result.reason,
        "parameters": dict(result.parameters),
        "programs": dict(result.programs),
        "stages": [vars(stage) | {"stage": stage.stage.value} for stage in result.stages],
        "corrections": [vars(correction) for correction in result.corrections],
        "steps": [step.to_dict() for step in result.steps] or "",
        "diagnosis": result.diagnosis,
        "advice": result.advice,
        "origin": dict(result.origin) or "",
    }
    return tuple(_text(name, field, values[field]) for field in TEXTS)


def _text(name: str, field: str, value: Any) -> bytes:
    if isinstance(value, str):
        return value.encode("utf-8", errors="replace")
    try:
        return json.dumps(value, allow_nan=False, separators=(",", ":")).encode()
    except (TypeError, ValueError) as error:
        fix = "Keep only finite numbers, texts, lists and mappings there"
        raise ResultRefusedError(f"{name}: field {field} has no JSON form: {error}", fix=fix) from error


def placed(
    record: Record,
    *,
    row_index: int,
    first_step: int,
    first_between: int,
    replaces: int,
    stored_unix_s: float,
) -> Record:
    """The same record with its place in the file filled in."""
    row, steps = record.row.copy(), record.steps.copy()
    row["first_step"], row["first_between"], row["replaces"] = first_step, first_between, replaces
    row["stored_unix_s"] = stored_unix_s
    steps["row"] = row_index
    return replace(record, row=row, steps=steps)


def n_between(n_steps: int) -> int:
    """Spectra of a ladder that are neither its first, IPA, nor its last, RPA."""
    return max(n_steps - 2, 0)
