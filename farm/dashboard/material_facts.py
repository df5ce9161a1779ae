"""One result as the rows of its page; pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from farm.job import Stage
from farm.protocol import Protocol
from farm.result import Result, StepUsage
from farm.spectrum import DIRECTIONS

STAGE_NAMES = {
    Stage.GROUND_STATE: "ground state",
    Stage.BANDS: "bands",
    Stage.RESPONSE: "response",
}
# The units that end names of parameters, the longest first.
_UNITS = {
    "_kcal_mol": "kcal/mol per atom",
    "_angstrom": "Å",
    "_kppa": "k-points × atoms",  # noqa: RUF001
    "_mry": "mRy",
    "_mev": "meV",
    "_ry": "Ry",
    "_ev": "eV",
    "_mb": "MB",
    "_s": "s",
}
# Every run with all its inputs: `farm show --inputs` writes them.
_LONG = ("runs", "symmorphic_rotations")


@dataclass(frozen=True, kw_only=True)
class Row:
    """A named value with its unit; ``about`` says more."""

    name: str
    value: str
    unit: str = ""
    about: str = ""


@dataclass(frozen=True, kw_only=True)
class Rung:
    """A row of the ladder; similarities to the step before, None for the first."""

    gmax_ry: float
    n_g: int | None
    eps_inf: tuple[float, float, float]
    similarities: tuple[float, float, float] | None
    converged: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class StageCost:
    """What a stage took, and its share of all in per cent."""

    name: str
    cpu_s: float
    wall_s: float
    peak_memory_mb: float
    share: float


def ladder_of(result: Result) -> list[Rung]:
    """Every rung; ``converged``: the directions that converged with it."""
    return [
        Rung(
            gmax_ry=step.gmax_mry / 1000,
            n_g=step.n_g or None,  # of an imported step it is not known
            eps_inf=_three(step.eps.real[:, 0].tolist()),
            similarities=step.step_similarity,
            converged=tuple(
                name
                for name, gmax in zip(DIRECTIONS, result.gmax_converged_mry, strict=True)
                if step.gmax_mry and gmax == step.gmax_mry
            ),
        )
        for step in result.ladder
    ]


def stage_costs(result: Result) -> list[StageCost]:
    """Stages that were measured, in their order."""
    total_s = result.cpu_s
    return [
        StageCost(
            name=STAGE_NAMES[usage.stage],
            cpu_s=usage.cpu_s,
            wall_s=usage.wall_s,
            peak_memory_mb=usage.peak_memory_mb,
            share=100 * usage.cpu_s / total_s if total_s else 0.0,
        )
        for usage in result.stages
    ]


def step_shares(steps: tuple[StepUsage, ...]) -> list[float]:
    """CPU of each step in per cent of the longest."""
    longest_s = max((step.cpu_s for step in steps), default=0.0)
    return [100 * step.cpu_s / longest_s if longest_s else 0.0 for step in steps]


def asked(protocol: Mapping[str, Any]) -> list[Row]:
    """The fields of a protocol with their units; those that this version does not know by their names."""
    rows = []
    for name, value in protocol.items():
        field = Protocol.model_fields.get(name)
        extra = field.json_schema_extra if field is not None else None
        unit = str(extra.get("unit", "")) if isinstance(extra, dict) else unit_of(name)[1]
        about = (field.description or "") if field is not None else ""
        rows.append(Row(name=name, value=text_of(value), unit=unit, about=about))
    return rows


def used(parameters: Mapping[str, Any]) -> list[Row]:
    """What was really used, each with the unit that its name ends with."""
    rows = []
    for name, value in parameters.items():
        if name in _LONG:
            continue
        words, unit = unit_of(name)
        if unit == "eV" and isinstance(value, float) and abs(value) < 0.1:
            value, unit = 1000 * value, "meV"
        rows.append(Row(name=words, value=text_of(value), unit=unit if value is not None else ""))
    return rows


def unit_of(name: str) -> tuple[str, str]:
    """``("ecutwfc", "Ry")`` for ``ecutwfc_ry``: the words of a name and its unit."""
    for ending, unit in _UNITS.items():
        if name.endswith(ending):
            return name.removesuffix(ending).replace("_", " "), unit
    return name.replace("_", " "), ""


def text_of(value: Any) -> str:
    """A value on one line, numbers to four digits."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list | tuple):
        nested = any(isinstance(item, list | tuple) for item in value)
        return (" / " if nested else " ").join(text_of(item) for item in value)
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {text_of(item)}" for key, item in value.items())
    return str(value)


def _three(values: list[float]) -> tuple[float, float, float]:
    x, y, z = values
    return x, y, z
