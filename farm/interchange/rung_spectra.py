"""The spectra of one rung in an entry's ``data``: read, filled up to x, y, z, and taken out; pure.

``data.ipa_epsR = {"xx": [...], "zz": [...]}``, ``ipa_epsI``, and ``rpa_epsR``, ``rpa_epsI`` alike, without
directions that are equal by symmetry.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from farm.errors import InputError
from farm.interchange import fields
from farm.interchange.decimals import Recipe, as_float32, recipe, recovered
from farm.interchange.directions import KEYS, Filling
from farm.rung import Rung
from farm.spectrum import ComplexArray, FloatArray

# Real and imaginary part, in the order of the arrays here.
PARTS = ("R", "I")


@dataclass(frozen=True, eq=False)
class RungSpectra:
    """The spectra of one rung as they are given.

    keys:   directions, in the order of the file
    values: float64, shape ``(2, n_keys, n_energies)``, axis order ``[re|im, direction, energy]``
    """

    keys: tuple[str, ...]
    values: FloatArray

    def filled(self, filling: Filling) -> ComplexArray:
        """All three directions, as the store keeps them: complex ``(3, n_energies)`` of float32 values."""
        places = [self.keys.index(KEYS[source]) for source in filling]
        kept = as_float32(self.values[:, places]).astype(np.float64)
        eps: ComplexArray = kept[0] + 1j * kept[1]
        return eps

    def recipes(self) -> tuple[dict[str, Recipe], ...]:
        """How to get the doubles back, for real and imaginary part, in the order of the file."""
        return tuple(
            {key: recipe(numbers) for key, numbers in zip(self.keys, part, strict=True)}
            for part in self.values
        )


def field_names(rung: Rung) -> tuple[str, str]:
    """The fields of real and imaginary part in ``data``."""
    real, imaginary = (f"{rung.value}_eps{part}" for part in PARTS)
    return real, imaginary


def is_without_value(data: Mapping[str, Any], rung: Rung) -> bool:
    """Whether the file says NaN in place of the spectra of a rung."""
    return all(fields.is_nan(data.get(name)) for name in field_names(rung))


def read_rung(data: Mapping[str, Any], rung: Rung, n_energies: int) -> RungSpectra | None:
    """The spectra of a rung; None where the file has none. Raises InputError naming the field."""
    names = field_names(rung)
    if all(data.get(name) is None for name in names):
        return None
    parts = [_directions(data.get(name), f"data.{name}") for name in names]
    keys = tuple(parts[0])
    if set(keys) != set(parts[1]):
        raise InputError(
            f"fields data.{names[0]} and {names[1]} have other directions: {', '.join(keys)} and "
            f"{', '.join(parts[1])}",
            fix="Give real and imaginary part along the same directions",
        )
    values = [
        [fields.spectrum(part[key], f"data.{name}.{key}", n_energies) for key in keys]
        for name, part in zip(names, parts, strict=True)
    ]
    return RungSpectra(keys, np.array(values))


def write_part(eps: ComplexArray, part: str, recipes: Mapping[str, Recipe]) -> dict[str, FloatArray]:
    """One part of a rung as it was given: the doubles of its directions.

    eps: complex ``(3, n_energies)`` of float32 values. Raises ValueError for recipes of something else.
    """
    kept = as_float32(eps.real if part == PARTS[0] else eps.imag)
    return {key: recovered(kept[KEYS.index(key)], how) for key, how in recipes.items()}


def _directions(value: Any, field: str) -> Mapping[str, Any]:
    found = fields.mapping(value, field)
    unknown: Sequence[str] = [key for key in found if key not in KEYS]
    if unknown or not found:
        told = f"has the direction {unknown[0]!r:.20}" if unknown else "has no direction"
        raise InputError(f"field {field} {told}", fix=f"Give one or more of {', '.join(KEYS)}")
    return found
