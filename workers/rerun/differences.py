"""What a rerun does in another way than the farm did, and what is not known of it, in words; pure."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import farm
from farm.job import Outcome
from farm.kpoints import grid_divisions
from farm.result import Result
from workers.rerun.past import Past
from workers.rerun.subject import Subject

_ALWAYS = (
    "The farm watches its programs and ends one that stagnates, fills the disk or says nothing any more;"
    " run.sh lets each run to its end.",
    "The farm deletes what the next step does not need, wavefunctions above all; here all of it stays.",
)


def differences(result: Result, subject: Subject, past: Past, notes: Sequence[str]) -> list[str]:
    """One sentence or two each; ``notes`` of the steps first."""
    if not past.steps:
        return [*notes]
    if not past.by_farm:
        return [*notes, *_imported(result, subject)]
    found = [*notes]
    version = result.programs.get("farm", "(version not recorded)")
    if version != farm.__version__:
        found.append(f"The result is of farm {version}, these files are of farm {farm.__version__}.")
    if any(correction.diagnosis == "scf_stagnated" for correction in result.corrections):
        found.append(
            "A run that stagnated was stopped by the farm so that its density was kept; when exactly is not"
            " recorded. Here it goes on to its last iteration."
        )
    if result.outcome is Outcome.FAILED:
        found.append("The farm gave the job up: what failed there is expected to fail here.")
    return [*found, *_ALWAYS]


def _imported(result: Result, subject: Subject) -> list[str]:
    protocol, recorded = subject.protocol, result.parameters
    says = {
        name: value
        for name, value in recorded.items()
        if isinstance(value, int | float) or (isinstance(value, list) and len(value) <= 3)
    }
    found = []
    if says:
        told = ", ".join(f"{name} {value}" for name, value in says.items())
        found.append(f"With the imported spectra came: {told}.")
    grid = grid_divisions(subject.crystal, protocol.response_kppa, even=True)
    kppa = prod(grid) * subject.crystal.n_atoms
    if recorded.get("rpa_kppa", kppa) not in (kppa, protocol.response_kppa):
        found.append(
            f"The protocol's {protocol.response_kppa} k-points times atoms come to a grid of"
            f" {'x'.join(map(str, grid))}, {kppa} in all, where the imported spectra say"
            f" {recorded['rpa_kppa']}: their grid was perhaps another."
        )
    found.append(
        "Not recorded with imported spectra: cutoff and k-grid of their ground state, the number of bands,"
        " thresholds, versions of programs. The number of bands here is the first estimate: the farm would"
        f" add bands until they reach {protocol.energy_window_ev:g} eV above the valence band, and then use"
        " the fewest that do."
    )
    return found
