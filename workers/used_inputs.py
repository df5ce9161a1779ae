"""The input files of a step as they are kept with its result, and back; pure.

Parameters recorded are parameters used: every setting that went into a file, after all corrections, and the
SHA-256 of its bytes, by which a file that is written again can be told to be the same. What the crystal and
the protocol determine (cell, positions, lists of k-points) is not kept a second time.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, get_args

from farm.errors import InputError
from workers.qe.inputs import PwInput
from workers.sessions import Attempt
from workers.yambo.inputs import YamboInput
from workers.yambo.layout import Layout, ParallelMode
from workers.yambo.remedies import ResponseRun

# Made again from the crystal, the protocol and the table of pseudopotentials.
_DETERMINED = frozenset(
    {
        "lattice_angstrom",
        "species",
        "frac_coords",
        "pseudo_files",
        "masses_amu",
        "pseudo_dir",
        "kpoints",
        "kweights",
    }
)

# Results travel: names that they bring become paths and words of a shell script.
_FILE = re.compile(r"pw-\d{1,3}\.in|[xyz]-\d{1,7}-\d{1,3}/yambo\.in")
_DIPOLES = re.compile(r"(\.\./[xyz]-\d{1,7}-\d{1,3}/run)?")


@dataclass(frozen=True, kw_only=True)
class UsedInput:
    """One input file that a program was given.

    file:    path in the directory of the step
    sha256:  of its bytes
    values:  settings, as plain JSON values
    clean:   whether the run began with an empty output directory, not with what the one before had left
    dipoles: yambo: databases of an earlier run, as seen from the run's directory; "": its own
    """

    file: str
    sha256: str
    values: Mapping[str, Any]
    clean: bool = True
    dipoles: str = ""

    def to_dict(self) -> dict[str, Any]:
        """As plain values; what is at its default is left out."""
        data: dict[str, Any] = {"file": self.file, "sha256": self.sha256, "values": dict(self.values)}
        if not self.clean:
            data["clean"] = False
        if self.dipoles:
            data["dipoles"] = self.dipoles
        return data

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> UsedInput:
        """The inverse of :meth:`to_dict`. Raises InputError for anything else."""
        try:
            used = cls(**data)
            is_ours = _FILE.fullmatch(used.file) and _DIPOLES.fullmatch(used.dipoles)
            if not is_ours or not isinstance(used.values, Mapping):
                raise ValueError("no input of a program")
        except (TypeError, ValueError) as error:
            raise InputError(f"not the record of an input: {data!r:.100}: {error}") from error
        return used


def sha256_of(text: str) -> str:
    """Of the file with this text."""
    return hashlib.sha256(text.encode()).hexdigest()


def used_pw_inputs(attempts: Sequence[Attempt[PwInput]]) -> tuple[UsedInput, ...]:
    """The inputs of all attempts at a pw.x step."""
    return tuple(
        UsedInput(
            file=pw_file(number),
            sha256=sha256_of(attempt.asked.text()),
            values=_settings(attempt.asked),
            clean=attempt.clean,
        )
        for number, attempt in enumerate(attempts, start=1)
    )


def used_yambo_inputs(name: str, attempts: Sequence[Attempt[ResponseRun]]) -> tuple[UsedInput, ...]:
    """The inputs of all attempts at one response of yambo; ``name`` as in ``x-2000``."""
    return tuple(
        UsedInput(
            file=yambo_file(name, number),
            sha256=sha256_of(attempt.asked.asked.text()),
            values=asdict(attempt.asked.asked) | {"direction": list(attempt.asked.asked.direction)},
            dipoles=attempt.asked.dipoles,
        )
        for number, attempt in enumerate(attempts, start=1)
    )


def pw_file(attempt: int) -> str:
    """Name of the input of an attempt at a pw.x step, counted from 1."""
    return f"pw-{attempt}.in"


def yambo_file(name: str, attempt: int) -> str:
    """The same of a response of yambo."""
    return f"{name}-{attempt}/yambo.in"


def pw_input_again(determined: PwInput, values: Mapping[str, Any]) -> PwInput:
    """The input with the cell, positions and k-points of ``determined`` and the settings of a record.

    Raises InputError for settings that this version does not know.
    """
    known = {field.name for field in fields(PwInput)} - _DETERMINED
    _refuse_unknown(values, known)
    kgrid = values.get("kgrid")
    return determined.evolve(**{**values, "kgrid": tuple(int(n) for n in kgrid) if kgrid else None})


def yambo_input_again(values: Mapping[str, Any]) -> YamboInput:
    """The input of a record. Raises InputError for settings that this version does not know."""
    _refuse_unknown(values, {field.name for field in fields(YamboInput)})
    try:
        x, y, z = (float(value) for value in values["direction"])
        layout = _layout(values["layout"])
        return YamboInput(**{**values, "direction": (x, y, z), "layout": layout})
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"not the record of a yambo input: {error!r}") from error


def _layout(values: Mapping[str, Any]) -> Layout:
    mode = values["mode"]
    if mode not in get_args(ParallelMode):
        raise ValueError(f"no parallel mode: {mode!r}")
    # Numbers become words of a shell script.
    return Layout(mode=mode, **{name: int(values[name]) for name in ("ranks", "threads", "k", "c", "v")})


def _settings(pw_input: PwInput) -> dict[str, Any]:
    values = {
        field.name: getattr(pw_input, field.name)
        for field in fields(PwInput)
        if field.name not in _DETERMINED
    }
    return values | {"kgrid": list(pw_input.kgrid) if pw_input.kgrid else None}


def _refuse_unknown(values: Mapping[str, Any], known: set[str]) -> None:
    if unknown := sorted(values.keys() - known):
        raise InputError(
            f"recorded by another version of the farm: {', '.join(unknown)}", fix="Update this farm"
        )
