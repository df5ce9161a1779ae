"""A file of `farm train curve`: fits made at several numbers of materials, to see what more would bring."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from farm.errors import InputError

KINDS = ("transfer", "direct", "small-cells")
_WRITTEN_BY = "Write it with `farm train curve --json`"


@dataclass(frozen=True, kw_only=True)
class CurvePoint:
    """One fit: on ``n`` materials, of at most ``max_atoms`` where that is given, its held-out median SC."""

    kind: str
    n: int
    seed: int
    median_sc: float
    max_atoms: int | None = None


@dataclass(frozen=True, kw_only=True)
class Curve:
    """Fits that were made to draw a learning curve. ``ipa_as_rpa``: the mark to beat, or None."""

    points: tuple[CurvePoint, ...]
    ipa_as_rpa: float | None = None


def read_curve(path: Path) -> Curve:
    """A file of ``farm train curve``. Raises InputError naming the file and the field."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: not a learning curve: {error}", fix=_WRITTEN_BY) from error
    if not isinstance(data, dict) or not isinstance(data.get("points"), list):
        raise InputError(f"{path}: no list `points`", fix=_WRITTEN_BY)
    points = tuple(_point(record, f"{path}: points[{i}]") for i, record in enumerate(data["points"]))
    mark = data.get("ipa_as_rpa")
    return Curve(points=points, ipa_as_rpa=None if mark is None else _number(mark, f"{path}: ipa_as_rpa"))


def _point(record: Any, where: str) -> CurvePoint:
    if not isinstance(record, Mapping) or record.get("kind") not in KINDS:
        raise InputError(f"{where}: `kind` is none of {', '.join(KINDS)}", fix=_WRITTEN_BY)
    n, seed, sc = (_number(record.get(name), f"{where}.{name}") for name in ("n", "seed", "median_sc"))
    if n < 1:
        raise InputError(f"{where}.n: {n:g} is no number of materials", fix=_WRITTEN_BY)
    limit = record.get("max_atoms")
    return CurvePoint(
        kind=str(record["kind"]),
        n=int(n),
        seed=int(seed),
        median_sc=sc,
        max_atoms=None if limit is None else int(_number(limit, f"{where}.max_atoms")),
    )


def _number(value: Any, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise InputError(f"{where}: {value!r} is no number", fix=_WRITTEN_BY)
    return float(value)
