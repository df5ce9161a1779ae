"""What a run of YAMBO would cost, from what its runs on the reference crystals did.

    python benchmarks/yambo_cost.py REFERENCE_DIR

REFERENCE_DIR (default: $YAMBO_REFERENCE) as in rpa_against_yambo.py. A step along one direction takes

    P (a + c N_omega N_G^2) seconds, without c for IPA,    P = M (1 - exp(-N / M))

YAMBO takes transitions of one energy together: N at inequivalent k-points, whose stars have the same
energies, are P poles by its log, fewer the denser they lie. M and a are medians over the reference, c is
its least squares, so that the long steps count. p2y is left out. With all transitions of the zone in place
of P the ratios of estimate and measurement would scatter by 8 instead of 3, highest where symmetry is high.
"""

from __future__ import annotations

import argparse
import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

import numpy as np
from rpa_against_yambo import MERGED_KPOINTS
from scipy.optimize import brentq

from farm.kpoints import reduce_kpoints, space_group
from workers.rpa.save import read_save

N_ENERGIES = 2001


@dataclass(frozen=True, kw_only=True)
class YamboCost:
    """Parameters of the formula above: M, a and c."""

    poles: float
    ipa_s: float
    rpa_s: float

    def step_s(self, transitions: float, n_g: int) -> float:
        """CPU seconds of one step along one direction; n_g = 1 is IPA."""
        local_fields = (n_g > 1) * self.rpa_s * N_ENERGIES * n_g**2
        return float(self.poles * (1 - np.exp(-transitions / self.poles)) * (self.ipa_s + local_fields))


@dataclass(frozen=True, kw_only=True)
class Step:
    """One run of YAMBO: transitions at inequivalent k-points, G vectors, CPU seconds."""

    name: str
    transitions: int
    n_g: int
    cpu_s: float


def exact_names(reference: Path) -> list[str]:
    """Crystals of the reference on grids that YAMBO treats exactly."""
    names = (path.parent.name for path in sorted(reference.glob("*/timings.json")))
    return [name for name in names if name not in MERGED_KPOINTS]


def fit_yambo(reference: Path, names: Sequence[str]) -> tuple[YamboCost, list[Step]]:
    """The parameters, and the steps they are from."""
    mergers, steps = [], []
    for name in names:
        meta = json.loads((reference / name / "timings.json").read_text())["meta"]
        save = read_save(reference / name)
        kpoints, _ = reduce_kpoints(save.kpoints, space_group(save.crystal()).point_group)
        transitions = len(kpoints) * save.n_valence[0] * (save.n_bands - save.n_valence[0])
        log = next((reference / name).glob("l-*_sc_0_optics_chi")).read_text()
        poles = re.search(r"\[X-CG\] R\(p\) .*:\s*(\d+)", log)
        if poles is None:
            raise RuntimeError(f"{name}: no number of poles in YAMBO's log")
        mergers.append(_merger(transitions, int(poles[1])))
        steps += [
            Step(name=name, transitions=transitions, n_g=run["n_G"], cpu_s=run["cpu_s"])
            for direction in meta["rpa"].values()
            for run in direction
        ]
    fit = YamboCost(poles=median(mergers), ipa_s=1.0, rpa_s=0.0)
    ipa_s = median(step.cpu_s / fit.step_s(step.transitions, 1) for step in steps if step.n_g == 1)
    fit, unit = replace(fit, ipa_s=ipa_s), replace(fit, ipa_s=0.0, rpa_s=1.0)
    rpa = [step for step in steps if step.n_g > 1]
    x = np.array([unit.step_s(step.transitions, step.n_g) for step in rpa])
    y = np.array([step.cpu_s - fit.step_s(step.transitions, 1) for step in rpa])
    return replace(fit, rpa_s=float(x @ y / (x @ x))), steps


def quality(cost: YamboCost, steps: Sequence[Step]) -> str:
    """How well the formula gives the seconds it was fitted to."""
    estimates = [cost.step_s(step.transitions, step.n_g) for step in steps]
    pairs = list(zip(estimates, steps, strict=True))
    ratios = [estimate / step.cpu_s for estimate, step in pairs if step.n_g > 1]
    return (
        f"YAMBO's steps estimated / measured on the reference: median {median(ratios):.2f}, "
        f"{min(ratios):.2f} to {max(ratios):.2f} of {len(ratios)} RPA steps, "
        f"{sum(estimates) / sum(step.cpu_s for step in steps):.2f} of all seconds "
        f"(M = {cost.poles:.0f}, a = {cost.ipa_s:.1e} s, c = {cost.rpa_s:.1e} s)"
    )


def _merger(transitions: int, poles: int) -> float:
    """M of one run."""
    return float(brentq(lambda m: m * (1 - np.exp(-transitions / m)) - poles, 0.1 * poles, 1e4 * poles))


def main() -> None:
    """Print estimated beside measured seconds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("reference", type=Path, nargs="?", default=os.environ.get("YAMBO_REFERENCE"))
    reference = parser.parse_args().reference
    if reference is None:
        print("skipped: needs YAMBO reference runs, as an argument or in YAMBO_REFERENCE")
        return
    cost, steps = fit_yambo(reference, exact_names(reference))
    print("crystal   transitions  n_G  measured/s  estimated/s")
    for step in steps:
        estimate_s = cost.step_s(step.transitions, step.n_g)
        print(f"{step.name:9} {step.transitions:11} {step.n_g:4} {step.cpu_s:11.1f} {estimate_s:12.1f}")
    print(quality(cost, steps))


if __name__ == "__main__":
    main()
