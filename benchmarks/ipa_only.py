"""What a job without local fields costs, against the whole ladder.

Baseline, in the same run: the same job with its local fields. User + system CPU seconds of one core,
medians of --repeats runs of each, in turn. `response` is that stage alone, `predicted` the ratio of the
whole jobs that the cost estimate gives before anything is measured. dIPA: largest difference of the IPA
eps of both, over the largest Im eps.

    python benchmarks/ipa_only.py [--repeats 3] [--paper-too]
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np

from farm.cost import predict_cost
from farm.crystal import Crystal
from farm.job import Job, Stage
from farm.protocol import PRESETS, Protocol
from farm.pseudopotentials import pseudopotential_directory
from farm.result import Result
from farm.sources import read_source
from workers.compute import compute

DEMO = PRESETS["demo"]
DENSE = DEMO.model_copy(update={"response_kppa": 1500})
BY_NSCF = DEMO.model_copy(update={"bands": "nscf", "band_path_points": 0})
CASES: tuple[tuple[str, str, Protocol], ...] = (
    ("MgO", "demo", DEMO),
    ("Si", "demo", DEMO),
    ("LiN3", "demo", DEMO),
    ("Se-trigonal", "demo", DEMO),
    ("Se-trigonal", "demo, 1500 kppa", DENSE),
    ("LiN3", "demo, 1500 kppa", DENSE),
    ("MgO", "demo, bands by nscf", BY_NSCF),
)
PAPER: tuple[tuple[str, str, Protocol], ...] = (("LiN3", "paper", PRESETS["paper"]),)


@dataclass(frozen=True)
class Compared:
    """Medians of both kinds of job."""

    whole: dict[Stage, float]
    alone: dict[Stage, float]
    peak_mb: tuple[float, float]
    difference: float

    @property
    def ratio(self) -> float:
        return sum(self.whole.values()) / sum(self.alone.values())


def run(crystal: Crystal, protocol: Protocol) -> Result:
    """One job."""
    job = Job(crystal=crystal, protocol=protocol.to_dict(), protocol_hash=protocol.hash)
    with tempfile.TemporaryDirectory() as scratch:
        result = compute(job, scratch=Path(scratch), pseudo_dir=pseudopotential_directory())
    if result.ipa is None or (result.rpa is None) != protocol.is_ipa_only:
        raise RuntimeError(f"{crystal.material_id}: {result.outcome.value}, {result.reason}")
    return result


def compare(crystal: Crystal, protocol: Protocol, repeats: int) -> Compared:
    """Both kinds in turn, so that what else the machine does meets both."""
    runs = [(run(crystal, protocol), run(crystal, protocol.ipa_only())) for _ in range(repeats)]
    whole, alone = zip(*runs, strict=True)
    one, other = whole[-1].ladder[0].eps, alone[-1].ladder[0].eps
    return Compared(
        whole=_seconds(whole),
        alone=_seconds(alone),
        peak_mb=(_peak_mb(whole), _peak_mb(alone)),
        difference=float(np.abs(one - other).max() / one.imag.max()),
    )


def _seconds(results: tuple[Result, ...]) -> dict[Stage, float]:
    by_stage = [{usage.stage: usage.cpu_s for usage in result.stages} for result in results]
    return {stage: median(seconds[stage] for seconds in by_stage) for stage in Stage}


def _peak_mb(results: tuple[Result, ...]) -> float:
    return median(max(usage.peak_memory_mb for usage in result.stages) for result in results)


def predicted_ratio(crystal: Crystal, protocol: Protocol) -> float:
    """Of the whole jobs, by the physical estimate alone."""
    alone = predict_cost(crystal, protocol.ipa_only()).total_cpu_s
    return predict_cost(crystal, protocol).total_cpu_s / alone


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--paper-too", action="store_true", help="also one crystal as published")
    options = parser.parse_args()
    bundled = {c.material_id: c for c in read_source(None) if isinstance(c, Crystal)}
    print("                                      whole ladder, CPU s        IPA alone, CPU s      ratio of")
    print(
        "crystal      protocol             scf  bands response    all   scf  bands response    all"
        "  response   all  predicted  peak MB      dIPA"
    )
    ratios = []
    for name, told, protocol in CASES + (PAPER if options.paper_too else ()):
        found = compare(bundled[name], protocol, options.repeats)
        ratios.append(found.ratio)
        cells = ""
        for side in (found.whole, found.alone):
            scf, bands, response = (side[stage] for stage in Stage)
            cells += f"{scf:6.2f} {bands:6.2f} {response:8.2f} {sum(side.values()):6.2f}"
        response = found.whole[Stage.RESPONSE] / found.alone[Stage.RESPONSE]
        print(
            f"{name:12} {told:18} {cells} {response:9.2f} {found.ratio:5.2f}"
            f" {predicted_ratio(bundled[name], protocol):10.2f}"
            f" {found.peak_mb[0]:4.0f} {found.peak_mb[1]:4.0f} {found.difference:9.1e}",
            flush=True,
        )
    print(f"CPU of the whole ladder over IPA alone: median {median(ratios):.2f}, largest {max(ratios):.2f}")


if __name__ == "__main__":
    main()
