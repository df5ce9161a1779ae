"""What p2y and yambo left behind, as values: reports for what was done, o-files for the numbers.

Success is judged here and only here. Exit code 0 and Game Over also follow a spectrum that was cut off, a
misspelt keyword, fewer bands than asked for, and dipoles without the nonlocal commutator.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from farm.errors import CalculationError
from farm.spectrum import energy_grid_ev
from workers.plausibility import implausible
from workers.yambo.failures import GAME_OVER, METALLIC, P2Y_COMPLETED
from workers.yambo.inputs import RUNLEVELS, Entry, YamboInput, parse_input

SPECTRUM_SUFFIX = ".eps_q1_inv_rpa_dyson"

_COLUMNS = 5
_MRY = {"mRy": 1.0, "Ry": 1e3, "mHa": 2.0, "Ha": 2e3}
# Energies are printed with five digits after the point at least.
_GRID_TOLERANCE_EV = 1e-4
# The block is printed as a whole number of mRy.
_BLOCK_TOLERANCE_MRY = 1.0
_ORDERINGS = {"T-ordered": "time-ordered", "Retarded": "retarded"}


@dataclass(frozen=True, kw_only=True)
class SaveSize:
    """What SAVE holds, as p2y or yambo says.

    n_symmetries: rotations in space, without those that time reversal adds
    """

    n_kpoints: int
    n_bands: int
    n_electrons: float
    n_symmetries: int
    time_reversal: bool


@dataclass(frozen=True, kw_only=True)
class SetupReport:
    """The facts of a set-up run.

    version:     of yambo, e.g. ``5.2.4``
    is_double:   double precision
    n_bz:        points of the whole zone: members of all stars, as far as yambo tells them apart
    n_waves:     plane waves at a k-point
    n_filled:    filled bands
    gap_indirect_ev, gap_direct_ev: None for a metal
    """

    version: str
    is_double: bool
    size: SaveSize
    n_bz: int
    n_waves: int
    n_filled: int
    gap_indirect_ev: float | None
    gap_direct_ev: float | None
    is_metallic: bool


@dataclass(frozen=True, kw_only=True, eq=False)
class ResponseOutput:
    """The numbers of one finished response.

    n_g:            G vectors of the response block
    block_mry:      the block that was used, mRy; None where yambo says a number of vectors
    repeated:       the input as yambo understood it
    has_commutator: dipoles with the nonlocal part of the pseudopotentials
    energies_ev:    shape ``(n_energies,)``
    eps, eps_ipa:   complex, shape ``(n_energies,)``, with and without local fields
    """

    version: str
    n_g: int
    block_mry: float | None
    repeated: dict[str, Entry]
    runlevels: tuple[str, ...]
    green_function: str
    has_commutator: bool
    energies_ev: NDArray[np.float64]
    eps: NDArray[np.complex128]
    eps_ipa: NDArray[np.complex128]


def parse_p2y(log: str) -> SaveSize:
    """Read the log of a finished p2y. Raises CalculationError naming what is missing."""
    if P2Y_COMPLETED not in log:
        raise CalculationError("p2y did not reach its end (no P2Y completed)")
    return SaveSize(
        n_kpoints=int(_number(log, r"K-points\s*:")),
        n_bands=int(_number(log, r"Bands\s*:")),
        n_electrons=_number(log, r"Electrons\s*:"),
        n_symmetries=int(_number(log, r"Symmetries\s+\[spatial\]\s*:")),
        time_reversal=_word(log, r"\[T-rev\]\s*:") == "yes",
    )


def parse_setup(report: str) -> SetupReport:
    """Read the report of a finished set-up. Raises CalculationError naming what is missing."""
    if GAME_OVER not in report:
        raise CalculationError("yambo did not reach the end of its set-up (no Game Over)")
    time_reversal = _word(report, r"K-space Time-reversal\s*:") == "yes"
    both = int(_number(report, r"Symmetries\s*:"))
    metallic = bool(re.search(METALLIC, report))
    return SetupReport(
        version=_word(report, r"Version"),
        is_double=_word(report, r"Precision\s*:") == "DOUBLE",
        size=SaveSize(
            n_kpoints=int(_number(report, r"K-points\s*:")),
            n_bands=int(_number(report, r"\n\s*Bands\s*:")),
            n_electrons=_number(report, r"\n\s*Electrons\s*:"),
            n_symmetries=both // 2 if time_reversal else both,
            time_reversal=time_reversal,
        ),
        n_bz=int(_number(report, r"Polarization last K\s*\(\s*bz\)\s*:")),
        n_waves=int(_number(report, r"Components\s*:")),
        n_filled=int(_number(report, r"Filled Bands\s*:")),
        gap_indirect_ev=None if metallic else _number(report, r"Indirect Gap\s*:"),
        gap_direct_ev=None if metallic else _number(report, r"\] Direct Gap\s*:"),
        is_metallic=metallic,
    )


def newest(names: Iterable[str], stem: str) -> str | None:
    """Of ``stem``, ``stem_01``, ``stem_02``... the last one written: yambo never overwrites."""
    pattern = re.compile(re.escape(stem) + r"(?:_(\d\d))?")
    numbered = [(int(match[1] or 0), name) for name in names if (match := pattern.fullmatch(name))]
    return max(numbered)[1] if numbered else None


def parse_response(report: str, spectrum: str) -> ResponseOutput:
    """Read a finished response. Raises CalculationError naming what is missing."""
    if GAME_OVER not in report:
        raise CalculationError("yambo did not reach its end (no Game Over)")
    runlevels, repeated = _repeated_input(report)
    rows = parse_rows(spectrum)
    block = repeated.get("NGsBlkXd", ())
    unit = _MRY.get(str(block[1])) if isinstance(block, tuple) and len(block) == 2 else None
    return ResponseOutput(
        version=_word(report, r"Version"),
        n_g=int(_number(spectrum, r"Hartree size\s*:")),
        block_mry=float(block[0]) * unit if isinstance(block, tuple) and unit else None,
        repeated=repeated,
        runlevels=runlevels,
        green_function=_ORDERINGS.get(_word(spectrum, r"Green.s Function\s*:"), "unknown"),
        has_commutator=_word(spectrum, r"\[r,Vnl\] included\s*:") == "yes",
        energies_ev=rows[:, 0],
        eps=rows[:, 2] + 1j * rows[:, 1],
        eps_ipa=rows[:, 4] + 1j * rows[:, 3],
    )


def parse_rows(spectrum: str) -> NDArray[np.float64]:
    """The numbers of an o-file, shape ``(n_energies, 5)``.

    Raises CalculationError for a row that is cut off, and where there is none.
    """
    rows = [line.split() for line in spectrum.splitlines() if line.strip() and not line.startswith("#")]
    try:
        values = np.array(rows, dtype=np.float64)
    except ValueError as error:
        raise CalculationError(f"the spectrum is cut off after {len(rows) - 1} rows") from error
    if values.ndim != 2 or values.shape[1] != _COLUMNS:
        raise CalculationError(f"the spectrum holds {len(rows)} rows, not of {_COLUMNS} numbers each")
    return values


def mismatch(output: ResponseOutput, asked: YamboInput) -> str | None:
    """What an output lacks of what was asked for, in words; None when all agrees."""
    grid = energy_grid_ev(asked.n_energies, asked.energy_max_ev)
    if output.energies_ev.shape != grid.shape:
        return f"the spectrum has {output.energies_ev.size} rows of {grid.size}"
    if np.abs(output.energies_ev - grid).max() > _GRID_TOLERANCE_EV:
        return "the energies of the spectrum are not those asked for"
    if not (np.isfinite(output.eps).all() and np.isfinite(output.eps_ipa).all()):
        return "the spectrum holds numbers that are not finite"
    if not output.has_commutator:
        return "the dipoles lack the nonlocal part of the pseudopotentials ([r,Vnl] is not included)"
    if not set(RUNLEVELS) <= set(output.runlevels):
        return f"yambo ran {' '.join(output.runlevels) or 'nothing'}, not {' '.join(RUNLEVELS)}"
    # Each comparison has caught a run that ended with Game Over.
    for key in ("Chimod", "BndsRnXd", "EnRngeXd", "DmRngeXd", "ETStpsXd", "LongDrXd"):
        found, expected = output.repeated.get(key), asked.entries()[key]
        if not _same(found, expected):
            return f"{key}: yambo used {found}, asked for {expected}"
    if output.green_function != asked.green_function:
        return f"Green's function: yambo used {output.green_function}, asked for {asked.green_function}"
    return _block_mismatch(output, asked) or _implausible(output)


def _block_mismatch(output: ResponseOutput, asked: YamboInput) -> str | None:
    if asked.gmax_mry == 0:
        return None if output.n_g == 1 else f"a block of {output.n_g} G vectors, asked for one"
    if output.n_g > 1 and (output.block_mry or 0.0) >= asked.gmax_mry - _BLOCK_TOLERANCE_MRY:
        return None
    used = "of unknown size" if output.block_mry is None else f"of {output.block_mry:g} mRy"
    return f"a block of {output.n_g} G vectors, {used}, asked for {asked.gmax_mry} mRy"


def _implausible(output: ResponseOutput) -> str | None:
    for name, eps in (("RPA", output.eps), ("IPA", output.eps_ipa)):
        if wrong := implausible(eps):
            return f"{name}: {wrong}"
    return None


def _same(found: Entry | None, expected: Entry) -> bool:
    first = found if isinstance(found, tuple) else (found,)
    second = expected if isinstance(expected, tuple) else (expected,)
    return len(first) == len(second) and all(
        a == b or (not isinstance(a, str | None) and not isinstance(b, str) and abs(a - b) < 1e-5)
        for a, b in zip(first, second, strict=True)
    )


def _repeated_input(report: str) -> tuple[tuple[str, ...], dict[str, Entry]]:
    """The input as it stands at the end of a report, each line behind a bar."""
    _, found, after = report.rpartition(".-Input file")
    if not found:
        raise CalculationError("the report does not repeat its input")
    lines = [line.strip()[1:] for line in after.splitlines() if line.strip().startswith("|")]
    return parse_input("\n".join(lines))


def _number(text: str, label: str) -> float:
    match = re.search(label + r"\s*(-?\d+\.?\d*(?:[EeDd][-+]?\d+)?)", text)
    if match is None:
        raise CalculationError(f"no number behind {_plain(label)}")
    return float(match[1].upper().replace("D", "E"))


def _word(text: str, label: str) -> str:
    match = re.search(label + r"\s*(\S+)", text)
    if match is None:
        raise CalculationError(f"nothing behind {_plain(label)}")
    return match[1]


def _plain(label: str) -> str:
    return re.sub(r"\\[sn][*+]?|[\\*+?()]", " ", label).strip()
