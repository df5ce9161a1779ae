"""What real materials cost: a store that `farm seed` and `farm up` filled, stage by stage.

    python benchmarks/alexandria_cost.py STORE [--alexandria FILE...] [--harvest FILE]

Prints outcomes, CPU seconds by number of atoms and by stage, how good the cost model is on them, and what
did not end well. With ``--alexandria`` (files of structures): the predicted CPU hours of those under the
published protocol, beside the published 193,639 CPU hours for about 6,000 spectra. With ``--harvest`` (an
HDF5 file of spectra and CPU seconds of an earlier program on some of the same materials, default
$HARVEST): both on the same materials.
"""

from __future__ import annotations

import argparse
import os
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from cost_model import print_model
from numpy.typing import NDArray

from farm.cost import predict_cost
from farm.crystal import Crystal
from farm.errors import CrystalError
from farm.job import Outcome, Stage
from farm.protocol import PRESETS, Protocol
from farm.result import Result
from farm.sources import read_source
from farm.spectrum import similarity_coefficient
from farm.store import open_store

# Grunert, Grossmann, Runge, Nat. Commun. 16, 8142 (2025).
PUBLISHED_CPU_HOURS, PUBLISHED_SPECTRA, PUBLISHED_UP_TO_4_ATOMS = 193_639, 6_000, 1_500
STAGES = tuple(Stage)


@dataclass(frozen=True, kw_only=True)
class Row:
    """One material: seconds by stage, measured and predicted."""

    result: Result
    measured: NDArray[np.float64]
    predicted: NDArray[np.float64]


def read_rows(path: Path) -> list[Row]:
    """Every result of a store."""
    rows = []
    with open_store(path) as store:
        for stored in store.rows():
            result = store.result(stored.index)
            seconds = {usage.stage: usage.cpu_s for usage in result.stages}
            estimate = predict_cost(result.crystal, Protocol.from_dict(dict(result.protocol))).cpu_s
            rows.append(
                Row(
                    result=result,
                    measured=np.array([seconds.get(stage, 0.0) for stage in STAGES]),
                    predicted=np.array([estimate[stage] for stage in STAGES]),
                )
            )
    return rows


def print_outcomes(rows: list[Row]) -> None:
    """How the jobs ended, and every one that did not end well."""
    counts = Counter(row.result.outcome for row in rows)
    fallen_back = sum("bands" in row.result.parameters and _by_nscf(row) for row in rows)
    print(f"{len(rows)} materials: " + ", ".join(f"{n} {outcome.value}" for outcome, n in counts.items()))
    corrected = sum(bool(row.result.corrections) for row in rows)
    print(f"bands by nscf after all: {fallen_back}; corrected: {corrected}")
    for row in rows:
        if row.result.outcome is not Outcome.DONE:
            crystal, outcome = row.result.crystal, row.result.outcome.value
            print(f"  {crystal.material_id} {crystal.formula}: {outcome}, {row.result.reason}")
    errors = [1e3 * row.result.parameters.get("bands_error_window_ev", np.nan) for row in rows]
    measured = np.array([error for error in errors if np.isfinite(error)])
    if measured.size:
        print(
            f"measured error of the bands, meV: median {np.median(measured):.2f}, "
            f"95 % below {np.percentile(measured, 95):.2f}, largest {measured.max():.2f}"
        )


def _by_nscf(row: Row) -> bool:
    return row.result.parameters["bands"] == "nscf" and row.result.protocol["bands"] != "nscf"


def print_costs(rows: list[Row]) -> None:
    """CPU seconds by atoms and stage, and the cost model against them."""
    by_atoms: defaultdict[str, list[Row]] = defaultdict(list)
    for row in rows:
        by_atoms[str(row.result.crystal.n_atoms)].append(row)
    stages = "".join(f"{stage.value:>14}" for stage in STAGES)
    print(f"\n{'atoms':<6}{'number':>7}{'electrons':>10}{'volume':>8}{stages}", end="")
    print(f"{'mean':>8}{'median':>8}{'10-90 %':>14}")
    for name, group in [*sorted(by_atoms.items()), ("all", rows)]:
        seconds = np.array([row.measured for row in group])
        total = seconds.sum(axis=1)
        electrons = np.mean([row.result.parameters["n_electrons"] for row in group])
        volume = np.mean([row.result.crystal.volume_angstrom3 for row in group])
        low, high = np.percentile(total, [10, 90])
        print(f"{name:<6}{len(group):>7}{electrons:>10.1f}{volume:>8.1f}"
              + "".join(f"{s:>14.2f}" for s in seconds.mean(axis=0))
              + f"{total.mean():>8.1f}{np.median(total):>8.1f}{f'{low:.1f}-{high:.1f}':>14}")  # fmt: skip
    print("\nthe cost model:")
    done = [row for row in rows if (row.measured > 0).all()]
    print_model(np.array([row.predicted for row in done]), np.array([row.measured for row in done]))


def print_harvest(rows: list[Row], path: Path) -> None:
    """The same materials by an earlier program: CPU seconds and spectra."""
    with h5py.File(path) as file:
        names = [name.decode() for name in file["mat_id"][:]]
        total = file["cpu_total"][:]
        energies_ev, ipa_im, rpa_im = file["energies_ev"][:], file["ipa_im"][:], file["rpa_im"][:]
    both = [(row, names.index(row.result.crystal.material_id)) for row in rows
            if row.result.crystal.material_id in names and row.result.rpa is not None]  # fmt: skip
    if not both:
        return
    ours = np.array([row.measured.sum() for row, _ in both])
    theirs = np.array([total[i] for _, i in both])
    print(
        f"\n{len(both)} of them also by the earlier program (bands without the cut at the cutoff sphere):"
    )
    print(
        f"CPU s a material, mean: {ours.mean():.2f} here, {theirs.mean():.2f} there, "
        f"ratio of sums {theirs.sum() / ours.sum():.2f}, median ratio {np.median(theirs / ours):.2f}"
    )
    for name, spectra, rung in (("IPA", ipa_im, "ipa"), ("RPA", rpa_im, "rpa")):
        scores = [
            # The earlier file keeps no orientation: traces can be compared.
            similarity_coefficient(
                getattr(row.result, rung).eps.imag.mean(axis=0), spectra[i].mean(axis=0), energies_ev
            )
            for row, i in both
        ]
        print(
            f"SC of Im trace/3, {name}: median {np.median(scores):.4f}, 5 % {np.percentile(scores, 5):.4f}"
        )


def print_extrapolation(paths: Iterable[Path]) -> None:
    """Predicted CPU hours of all structures under the published protocol, scaled to the published set."""
    protocol = PRESETS["paper"]
    hours: defaultdict[bool, list[NDArray[np.float64]]] = defaultdict(list)
    for path in paths:
        for item in read_source(path):
            if not isinstance(item, Crystal):
                continue
            try:
                cost = predict_cost(item, protocol).cpu_s
            except CrystalError:
                continue
            hours[item.n_atoms <= 4].append(np.array([cost[stage] for stage in STAGES]) / 3600)
    print(
        f"\npredicted under the published protocol ({protocol.response_kppa} k-points per reciprocal atom)"
    )
    total = 0.0
    for small, label in ((True, "up to 4 atoms"), (False, "more")):
        if not hours[small]:
            continue
        mean = np.mean(hours[small], axis=0)
        number = PUBLISHED_UP_TO_4_ATOMS if small else PUBLISHED_SPECTRA - PUBLISHED_UP_TO_4_ATOMS
        total += number * mean.sum()
        parts = ", ".join(f"{s.value} {3600 * h:.1f}" for s, h in zip(STAGES, mean, strict=True))
        print(f"{label:<14}{len(hours[small]):>6} structures, mean CPU s {3600 * mean.sum():.1f} ({parts})")
    print(
        f"for {PUBLISHED_SPECTRA} spectra, {PUBLISHED_UP_TO_4_ATOMS} of up to 4 atoms: {total:,.0f} CPU "
        f"hours; published {PUBLISHED_CPU_HOURS:,}, {PUBLISHED_CPU_HOURS / total:.0f} times as many"
    )


def main() -> None:
    """Print all tables that the arguments allow."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("store", type=Path, nargs="?", default=Path("farm-home/spectra.h5"))
    parser.add_argument("--alexandria", type=Path, nargs="*", default=[])
    parser.add_argument("--harvest", type=Path, default=os.environ.get("HARVEST"))
    arguments = parser.parse_args()
    if not arguments.store.is_file():
        print(f"skipped: needs a store of computed materials; {arguments.store} is none")
        return
    rows = read_rows(arguments.store)
    print_outcomes(rows)
    print_costs(rows)
    if arguments.harvest:
        print_harvest(rows, Path(arguments.harvest))
    if arguments.alexandria:
        print_extrapolation(arguments.alexandria)


if __name__ == "__main__":
    main()
