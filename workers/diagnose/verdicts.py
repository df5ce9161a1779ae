"""Every run of a tree judged, and which of them is the cause; pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from workers.diagnose.runs import FoundRun, find_runs
from workers.diagnose.tree import Tree
from workers.diagnosis import Diagnosis, Evidence, RunOutcome
from workers.qe import verdict as pw_verdict
from workers.qe.printout import Printout, read_printout
from workers.qe.remedies import REMEDIES as PW_REMEDIES
from workers.yambo import verdict as yambo_verdict
from workers.yambo.failures import diagnose_p2y, diagnose_yambo

# o-files of the usual grid of 2001 energies are larger than this; for those known by a listing only.
_LEAST_SPECTRUM_BYTES = 150_000


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """One run and what is wrong with it; None: nothing."""

    run: FoundRun
    diagnosis: Diagnosis | None

    @property
    def outcome(self) -> RunOutcome:
        """What the run is worth."""
        return self.diagnosis.outcome if self.diagnosis else RunOutcome.OK

    @property
    def remedies(self) -> tuple[str, ...]:
        """What to do: first for a person, then what a worker tries by itself, in order."""
        if self.diagnosis is None:
            return ()
        tried = PW_REMEDIES.get(self.diagnosis.name, ()) if self.run.program == "pw.x" else ()
        advice = (self.diagnosis.advice,) if self.diagnosis.advice else ()
        return (*advice, *(remedy.name for remedy in tried))


def judge_tree(tree: Tree) -> list[Verdict]:
    """The verdicts of all runs, in the order in which they follow one another."""
    runs = find_runs(tree)
    printouts = {
        run.main: read_printout(tree.texts.get(run.main, "")) for run in runs if run.program == "pw.x"
    }
    verdicts = []
    for run in runs:
        if run.program == "pw.x":
            found = _judge_pw(tree, run, printouts)
        elif run.program == "p2y":
            found = _judge_p2y(tree, run)
        else:
            found = _judge_yambo(tree, run, printouts)
        verdicts.append(Verdict(run=run, diagnosis=found))
    return verdicts


def cause(verdicts: list[Verdict]) -> Verdict:
    """The first run that is not ok, or the last of all: what comes after a failure fails because of it."""
    for verdict in verdicts:
        if verdict.outcome is not RunOutcome.OK:
            return verdict
    return verdicts[-1]


def _texts(tree: Tree, run: FoundRun) -> dict[str, str]:
    return {path: tree.texts.get(path, "") for path in (run.main, *run.others)}


def _judge_pw(tree: Tree, run: FoundRun, printouts: dict[str, Printout]) -> Diagnosis | None:
    if run.main not in tree.texts and not any(tree.texts[path].strip() for path in run.others):
        return Diagnosis(
            name="not_run",
            evidence=Evidence(file=run.asked or run.place, text="an input, but no output"),
            outcome=RunOutcome.INCOMPLETE,
            advice="Run it, or name the directory that its output went to",
        )
    own = printouts[run.main]
    scf = None
    if own.is_band_run:
        beside = [p for path, p in printouts.items() if _place(path) == run.place and not p.is_band_run]
        scf = beside[-1] if beside else None
    return pw_verdict.judge_run(
        pw_verdict.PwRun(texts=_texts(tree, run), density_bytes=_density_bytes(tree, run), scf=scf)
    )


def _density_bytes(tree: Tree, run: FoundRun) -> int | None:
    # pw.x says from where it reads: "The potential is recalculated from file : <dir>/charge-density".
    text = tree.texts.get(run.main, "")
    match = re.search(r"recalculated from file :\s*\n?\s*(\S+)/charge-density", text)
    if match is None:
        return None
    directory = match[1].removeprefix("./")
    path = f"{directory}/charge-density.dat"
    return tree.sizes.get(f"{run.place}/{path}" if run.place else path)


def _judge_p2y(tree: Tree, run: FoundRun) -> Diagnosis | None:
    found = diagnose_p2y(_texts(tree, run))
    if found is None or found.name != "p2y_incomplete":
        return found
    fault = _save_directory_fault(tree, run)
    if fault is None:
        return found
    return Diagnosis(
        name="save_incomplete",
        evidence=fault,
        advice="The nscf run left an incomplete save directory: run it again, then p2y",
    )


def _save_directory_fault(tree: Tree, run: FoundRun) -> Evidence | None:
    """The first wavefunction file that is missing or short in pw.x' save directory."""
    found: dict[int, tuple[str, int]] = {}
    for path, size in tree.sizes.items():
        match = re.search(r"\.save/wfc(\d+)\.(?:dat|hdf5)$", path)
        if match or (match := re.match(r"wfc(\d+)\.(?:dat|hdf5)$", path)):
            found[int(match[1])] = (path, size)
    for path, whole in tree.cut_off.items():
        return Evidence(file=path, text=f"{tree.sizes[path]} of {whole} bytes")
    if not found:
        return None
    usual = sorted(size for _, size in found.values())[len(found) // 2]
    for k in range(1, max(found) + 1):
        if k not in found:
            return Evidence(file=run.main, text=f"wfc{k} is missing among {len(found)} wavefunction files")
        path, size = found[k]
        # Plane waves of k-points differ by a few per cent.
        if size < 0.8 * usual:
            return Evidence(file=path, text=f"{size} bytes, the others have about {usual}")
    return None


def _judge_yambo(tree: Tree, run: FoundRun, printouts: dict[str, Printout]) -> Diagnosis | None:
    prefix = f"{run.place}/" if run.place else ""
    save = _below(tree.sizes, f"{prefix}SAVE/")
    if run.main not in tree.texts:
        return _judge_mute(tree, run, save)
    name = run.main.rpartition("/")[2]
    is_setup = bool(re.search(r"_setup(_\d\d)?$", name))
    return yambo_verdict.judge_run(
        yambo_verdict.YamboRun(
            texts=_texts(tree, run),
            is_setup=is_setup,
            asked=(run.asked, tree.texts[run.asked]) if run.asked else None,
            spectra={} if is_setup else _spectra_of(tree, run, name),
            save=save,
            cut_off=_below(tree.cut_off, f"{prefix}SAVE/"),
            top_ev=_top_ev(run, printouts),
        )
    )


def _judge_mute(tree: Tree, run: FoundRun, save: dict[str, int]) -> Diagnosis | None:
    """A yambo run that wrote nothing: from what it was given."""
    prefix = f"{run.place}/" if run.place else ""
    spectra = [path for path in tree.sizes if re.match(re.escape(prefix) + r"o[-.].*eps", path)]
    if spectra and all(tree.sizes[path] > _LEAST_SPECTRUM_BYTES for path in spectra):
        return None
    if not save:
        return diagnose_yambo(_texts(tree, run))
    if fault := yambo_verdict.save_fault(save, _below(tree.cut_off, f"{prefix}SAVE/")):
        return Diagnosis(
            name="database_cut_off",
            evidence=fault,
            advice="Remove SAVE and run p2y again, then the set-up; with enough free disk",
        )
    if not {"ndb.gops", "ndb.kindx"} <= save.keys():
        return Diagnosis(
            name="setup_missing",
            evidence=Evidence(file=f"{prefix}SAVE", text="no ndb.gops and ndb.kindx"),
            advice="Run yambo once without an input: the set-up must come before anything else",
        )
    return Diagnosis(
        name="no_output",
        evidence=Evidence(file=f"{prefix}SAVE", text="there is a SAVE, but no report of any run"),
        outcome=RunOutcome.INCOMPLETE,
        advice="yambo has not been run here, or died without a word: remove ndb.* and run the set-up again",
    )


def _spectra_of(tree: Tree, run: FoundRun, report: str) -> dict[str, str]:
    repeat = match[0] if (match := re.search(r"_\d\d$", report)) else ""
    # r-<job>_<runlevels> belongs to o-<job>.<quantity>.
    levels = report.removesuffix(repeat)[2:]
    found = {}
    for path, text in tree.texts.items():
        match = re.fullmatch(r"o[-.](.*?)\.?eps_q1.*?(_\d\d)?", path.rpartition("/")[2])
        if _place(path) != run.place or match is None or (match[2] or "") != repeat:
            continue
        if levels.startswith(match[1]):
            found[path] = text
    longest = max((len(path) for path in found), default=0)
    return {path: text for path, text in found.items() if len(path) == longest}


def _top_ev(run: FoundRun, printouts: dict[str, Printout]) -> float | None:
    """How high the bands of the nscf run beside this one reach above the valence bands, eV."""
    for path, printout in printouts.items():
        energies = printout.eigenvalues_ev
        if not printout.is_band_run or _place(path) != run.place or printout.n_electrons is None:
            continue
        n_filled = round(printout.n_electrons) // 2
        if energies.shape[1] > n_filled:
            return float(energies[:, -1].min() - energies[:, n_filled - 1].max())
    return None


def _below(sizes: Mapping[str, int], prefix: str) -> dict[str, int]:
    return {path.removeprefix(prefix): size for path, size in sizes.items() if path.startswith(prefix)}


def _place(path: str) -> str:
    return path.rpartition("/")[0]
