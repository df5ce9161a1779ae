"""What a yambo run of any origin is worth, from what its directory still holds; pure.

Each check has caught a run that ended with exit code 0, most of them with Game Over.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from workers.diagnosis import Diagnosis, Evidence, RunOutcome, Severity, find_evidence
from workers.plausibility import implausible
from workers.yambo.failures import GAME_OVER, diagnose_yambo
from workers.yambo.keywords import misspelt, read_values

# netCDF headers alone are larger: databases below these sizes were cut off, whatever they hold.
_LEAST_BYTES: Mapping[str, int] = {"ns.db1": 10_000, "ndb.gops": 8_000, "ns.wf": 4_000, "ndb.kindx": 4_000}

_FRAGMENT = re.compile(r"(ns\.wf_fragments_|ns\.kb_pp\w*_fragment_)(\d+)(.*)")

# Fragments of one family differ by a few bytes only.
_LEAST_SHARE = 0.9

# A spectrum whose bands end below this share of its energy range lacks most of its transitions.
_LEAST_REACH = 0.75


@dataclass(frozen=True, kw_only=True)
class YamboRun:
    """One ended run.

    texts:    report first, then logs and standard error, by name; the report may be absent
    is_setup: a run without a response
    asked:    name and text of its input, where it is there
    spectra:  ``o-*.eps*`` files, by name
    save:     sizes of the files in SAVE; empty where unknown
    cut_off:  bytes that files in SAVE should have, where they have fewer
    top_ev:   the highest band's minimum above the valence band maximum, where known
    """

    texts: Mapping[str, str]
    is_setup: bool
    asked: tuple[str, str] | None = None
    spectra: Mapping[str, str] = field(default_factory=dict)
    save: Mapping[str, int] = field(default_factory=dict)
    cut_off: Mapping[str, int] = field(default_factory=dict)
    top_ev: float | None = None


def judge_run(run: YamboRun) -> Diagnosis | None:
    """What is wrong with a run, a metal included; None: nothing that can be seen."""
    found = diagnose_yambo(run.texts)
    file, report = next(iter(run.texts.items()))
    if found is not None and found.outcome is not RunOutcome.METAL:
        if _ended(run) and (cut := _spectra_cut(run, report)):
            return cut
        return _database_fault(run) or found
    if run.is_setup:
        return _input_not_read(file, report) or found
    return (
        _spectra_absent(run, file)
        or _spectra_cut(run, report)
        or _not_as_asked(run, file, report)
        or _without_commutator(file, report)
        or found
        or _unphysical(run)
        or _bands_short(run, report)
    )


def _ended(run: YamboRun) -> bool:
    return any(GAME_OVER in text for text in run.texts.values())


def _database_fault(run: YamboRun) -> Diagnosis | None:
    fault = save_fault(run.save, run.cut_off)
    if fault is None:
        return None
    return Diagnosis(
        name="database_cut_off",
        evidence=fault,
        advice="Remove SAVE and run p2y again, with enough free disk",
    )


def save_fault(save: Mapping[str, int], cut_off: Mapping[str, int]) -> Evidence | None:
    """The first file of SAVE that is missing or cut off.

    save:    name -> bytes
    cut_off: name -> bytes it should have
    """
    for name, whole in cut_off.items():
        return Evidence(file=f"SAVE/{name}", text=f"{save.get(name, 0)} of {whole} bytes")
    for name, least in _LEAST_BYTES.items():
        if name in save and save[name] < least:
            return Evidence(file=f"SAVE/{name}", text=f"{save[name]} bytes are too few for its header")
    return _fragment_fault(save)


def _fragment_fault(save: Mapping[str, int]) -> Evidence | None:
    matches = {
        name: re.fullmatch(r"(ns\.wf_fragments_|ns\.kb_pp\w*_fragment_)(\d+)(.*)", name) for name in save
    }
    families: dict[tuple[str, str], dict[int, int]] = {}
    for name, match in matches.items():
        if match:
            families.setdefault((match[1], match[3]), {})[int(match[2])] = save[name]
    # Fragments of one family are of one size, one a k-point.
    n_kpoints = max((max(sizes) for sizes in families.values()), default=0)
    for (head, tail), sizes in families.items():
        usual = int(np.median(list(sizes.values())))
        for k in range(1, n_kpoints + 1):
            if k not in sizes:
                return Evidence(file=f"SAVE/{head}{k}{tail}", text="missing")
            if sizes[k] < _LEAST_SHARE * usual:
                return Evidence(file=f"SAVE/{head}{k}{tail}", text=f"{sizes[k]} of {usual} bytes")
    return None


def _input_not_read(file: str, report: str) -> Diagnosis | None:
    # A set-up needs no job name: whoever gave one had asked for more.
    if not re.search(r"^\s*Job\s+string\s*:\s*\S+", report, re.MULTILINE):
        return None
    return Diagnosis(
        name="input_not_read",
        evidence=find_evidence(file, report, r"^\s*Input file\s*:", "only the set-up was run"),
        severity=Severity.INPUT,
        advice="yambo ran the set-up instead: name an input with -F that exists and asks for a runlevel",
    )


def _spectra_absent(run: YamboRun, file: str) -> Diagnosis | None:
    if run.spectra:
        return None
    return Diagnosis(
        name="output_missing",
        evidence=Evidence(file=file, text="Game Over, but there is no o-*.eps* file of this run"),
        advice="A database of the job directory was not readable: remove it and run again",
    )


def _spectra_cut(run: YamboRun, report: str) -> Diagnosis | None:
    asked = dict(read_values(run.asked[1])) if run.asked else {}
    wanted = _first_number(read_values(report, echoed=True).get("ETStpsXd") or asked.get("ETStpsXd"))
    for name, text in run.spectra.items():
        rows = spectrum_rows(text)
        if (
            wanted is None
            and GAME_OVER not in report
            and not text.rstrip().rpartition("\n")[2].startswith("#")
        ):
            reason = f"it ends after {len(rows)} rows, without the input that closes it"
        elif wanted is not None and len(rows) != wanted:
            reason = f"{len(rows)} of {wanted:g} rows"
        elif not len(rows):
            reason = "no rows"
        elif not np.isfinite(rows).all():
            reason = "holds numbers that are not finite"
        else:
            continue
        return Diagnosis(
            name="output_cut_off",
            evidence=Evidence(file=name, text=reason),
            severity=Severity.MACHINE,
            outcome=RunOutcome.INCOMPLETE,
            advice="The disk was full or the run was stopped: run it again in an empty job directory",
        )
    return None


def spectrum_rows(text: str) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """Rows of numbers of an o-file, shape ``(n_energies, n_columns)``; up to the first that is cut off."""
    rows: list[list[float]] = []
    for line in text.splitlines():
        if line.startswith("#") or not line.strip():
            continue
        try:
            row = [float(value) for value in line.split()]
        except ValueError:
            break
        if rows and len(row) != len(rows[0]):
            break
        rows.append(row)
    return np.array(rows) if rows else np.zeros((0, 0))


def _not_as_asked(run: YamboRun, file: str, report: str) -> Diagnosis | None:
    if run.asked is None:
        return None
    name, text = run.asked
    asked, used = read_values(text), read_values(report, echoed=True)
    for wrong, meant in misspelt(asked):
        return Diagnosis(
            name="keyword_misspelt",
            evidence=find_evidence(name, text, rf"\b{re.escape(wrong)}\b", wrong),
            severity=Severity.INPUT,
            advice=f"{wrong} is no keyword and was ignored, the default was used: write {meant}",
        )
    bands, used_bands = asked.get("BndsRnXd", ""), used.get("BndsRnXd", "")
    if _last_number(bands) is not None and _last_number(bands) != _last_number(used_bands):
        return Diagnosis(
            name="bands_clipped",
            evidence=find_evidence(name, text, r"BndsRnXd", bands),
            severity=Severity.INPUT,
            advice=f"asked for bands {bands}, used {used_bands}: run nscf with more bands, then p2y",
        )
    block, used_block = asked.get("NGsBlkXd", ""), used.get("NGsBlkXd", "")
    if (_first_number(block) or 0.0) > 1 and used_block.split()[:2] == ["1", "RL"]:
        return Diagnosis(
            name="block_size_not_used",
            evidence=find_evidence(file, report, r"NGsBlkXd=", used_block),
            severity=Severity.INPUT,
            advice=f"asked for NGsBlkXd = {block}, used {used_block}: this spectrum has no local fields",
        )
    return None


def _without_commutator(file: str, report: str) -> Diagnosis | None:
    if not re.search(r"\[r,Vnl\] included\s*: *no", report):
        return None
    return Diagnosis(
        name="nonlocal_commutator_missing",
        evidence=find_evidence(file, report, r"\[r,Vnl\] included\s*: *no", ""),
        advice="p2y found no pseudopotentials: put the UPF files into the save directory, run p2y again",
    )


def _unphysical(run: YamboRun) -> Diagnosis | None:
    for name, text in run.spectra.items():
        rows = spectrum_rows(text)
        reason = implausible(rows[:, 2] + 1j * rows[:, 1])
        if reason is None:
            continue
        return Diagnosis(
            name="spectrum_unphysical",
            evidence=Evidence(file=name, text=reason),
            advice="Run again with fresh databases; if it stays, do not use it",
        )
    return None


def _bands_short(run: YamboRun, report: str) -> Diagnosis | None:
    energies = read_values(report, echoed=True).get("EnRngeXd", "")
    end_ev = _last_number(energies)
    if run.top_ev is None or end_ev is None or run.top_ev >= _LEAST_REACH * end_ev:
        return None
    return Diagnosis(
        name="bands_short",
        evidence=Evidence(
            text=f"bands reach {run.top_ev:.1f} eV above the valence band, the spectrum {end_ev:g} eV"
        ),
        severity=Severity.INPUT,
        outcome=RunOutcome.UNCONVERGED,
        advice="Run nscf with more bands, then p2y and yambo again",
    )


def _first_number(value: str | None) -> float | None:
    numbers = _numbers(value)
    return numbers[0] if numbers else None


def _last_number(value: str | None) -> float | None:
    numbers = _numbers(value)
    return numbers[-1] if numbers else None


def _numbers(value: str | None) -> list[float]:
    return [float(number) for number in re.findall(r"-?\d+(?:\.\d*)?(?:[Ee][-+]?\d+)?", value or "")]
