"""The resume manifest: steps that have run, as JSON and back; pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from farm.errors import InputError
from farm.result import Correction
from workers.history import (
    BandAccuracy,
    BandsDone,
    BandsStep,
    Done,
    PotentialDone,
    PotentialStep,
    ResponseDone,
    ResponseStep,
    ScfDone,
    ScfStep,
    SpectraDone,
    SpectraStep,
    Step,
    StepFailed,
)
from workers.launcher import Usage
from workers.used_inputs import UsedInput

MANIFEST_VERSION = 2


@dataclass(frozen=True, kw_only=True)
class Record:
    """One step that has run: what came out, what it cost, what was corrected, which program and inputs."""

    step: Step
    done: Done
    usage: Usage
    corrections: tuple[Correction, ...] = ()
    program: str = ""
    inputs: tuple[UsedInput, ...] = ()


def encode_manifest(job_id: str, records: Sequence[Record]) -> str:
    """The manifest of a job."""
    document = {
        "version": MANIFEST_VERSION,
        "job_id": job_id,
        "records": [_to_json(record) for record in records],
    }
    return json.dumps(document, indent=1)


def decode_manifest(text: str, job_id: str) -> list[Record]:
    """The records of a manifest; none where it is of another version or job, or cannot be read."""
    try:
        data = json.loads(text)
        if data["version"] != MANIFEST_VERSION or data["job_id"] != job_id:
            return []
        return [_from_json(item) for item in data["records"]]
    except (ValueError, KeyError, TypeError, InputError):
        return []  # start again rather than trust it


def _to_json(record: Record) -> dict[str, Any]:
    return {
        "step": encode_step(record.step),
        "done": {"kind": type(record.done).__name__, **asdict(record.done)},
        "usage": asdict(record.usage),
        "corrections": [asdict(correction) for correction in record.corrections],
        "program": record.program,
        "inputs": [used.to_dict() for used in record.inputs],
    }


def _from_json(data: dict[str, Any]) -> Record:
    return Record(
        step=decode_step(data["step"]),
        done=_done_from_json(dict(data["done"])),
        usage=Usage(**data["usage"]),
        corrections=tuple(Correction(**item) for item in data["corrections"]),
        program=data["program"],
        inputs=tuple(UsedInput.from_dict(item) for item in data.get("inputs", ())),
    )


def encode_step(step: Step) -> dict[str, Any]:
    """A step as JSON values; read with :func:`decode_step`."""
    return {"kind": type(step).__name__, **_lists(asdict(step))}


def decode_step(data: Mapping[str, Any]) -> Step:
    """The step of plain values. Raises ValueError, KeyError or TypeError for anything else."""
    data = dict(data)
    kind = data.pop("kind", "ScfStep")
    if kind == "ScfStep":
        return ScfStep(**{**data, "kgrid": tuple(data["kgrid"])})
    if kind in ("BandsStep", "PotentialStep", "SpectraStep"):
        ground_state = decode_step(data["ground_state"])
        if not isinstance(ground_state, ScfStep):
            raise ValueError("a ground state is an scf run")
        if kind == "BandsStep":
            return BandsStep(ground_state=ground_state, nbnd=data["nbnd"])
        if kind == "PotentialStep":
            return PotentialStep(ground_state=ground_state)
        check = data.get("check_kgrid")
        return SpectraStep(ground_state=ground_state, check_kgrid=tuple(check) if check else None)
    if kind == "ResponseStep":
        bands = decode_step({"kind": "BandsStep", **data["bands"]})
        if isinstance(bands, BandsStep):
            return ResponseStep(bands=bands, n_bands=data.get("n_bands"))
    raise ValueError(f"unknown step {kind}")


_DONE: dict[str, Any] = {
    kind.__name__: kind
    for kind in (ScfDone, PotentialDone, SpectraDone, BandsDone, ResponseDone, StepFailed)
}
# Fields of SpectraDone that are values of their own.
_PARTS: dict[str, Any] = {"bands": BandsDone, "accuracy": BandAccuracy, "response": ResponseDone}


def _done_from_json(data: dict[str, Any]) -> Done:
    done: Done = _DONE[data.pop("kind")](**_values(data))
    return done


def _values(data: dict[str, Any]) -> dict[str, Any]:
    # JSON knows neither tuples nor the values within a value.
    return {
        key: _PARTS[key](**_values(value)) if isinstance(value, dict) else _tuples(value)
        for key, value in data.items()
    }


def _lists(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _lists(item) for key, item in value.items()}
    return list(value) if isinstance(value, tuple) else value


def _tuples(value: Any) -> Any:
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value


def completed(records: Sequence[Record]) -> list[tuple[Step, Done]]:
    """The history that :func:`workers.pipeline.next_step` wants."""
    return [(record.step, record.done) for record in records]
