"""Which order of materials gives the best model for the least CPU time? A recorded set, replayed.

    OMP_NUM_THREADS=1 python benchmarks/policy_simulation.py [RECORDED.h5] [--seeds 0 1 2 3 4] [--quick]

RECORDED.h5 (default $HARVEST) is a file as `transfer_on_harvest.py` reads it with CPU seconds in it, or the
store of a farm. Materials arrive in the order of a policy, which sees predicted costs and the latents of
the present model, and their measured CPU seconds are paid. When the CPU seconds spent reach 1/32, 1/16 ...
1/2 of those of all, the network is refitted by transfer from an IPA base to what has arrived, as the farm
does it (early stopping included), measured on held-out materials, and the rest is ordered anew.

Each seed draws its own split by composition, base and random orders; all policies share them. What is known
at the start: ``--base known`` (as in the published work, and after `farm pull`) an IPA base fitted to all
materials that may be learnt from; ``--base arrived`` nothing, and the base is refitted to the IPA spectra
of what has arrived whenever that has grown by half.

Printed: held-out median SC at each budget; median and mean SC less those of the random order in the same
split, with the standard error over splits; and CPU hours until marks are reached: the mean curves over
splits, best so far (a worse refit is not promoted), interpolated in the logarithm of CPU time, with the
ratio to random and its 10th and 90th percentile over resampled splits.
"""

from __future__ import annotations

import argparse
import copy
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import click
import h5py
import numpy as np
import torch
from numpy.typing import NDArray
from transfer_on_harvest import read_harvest

from farm.cost import predict_cost
from farm.policy import Policy, order
from farm.protocol import PRESETS, Protocol
from farm.store import open_store
from trainer.data.dataset import Dataset, load_dataset
from trainer.data.split import Split, SplitRule, split_crystals
from trainer.fitting.metrics import score_ipa_as_rpa, score_model, summarise
from trainer.fitting.recipes import FROM_SCRATCH, TRANSFER
from trainer.fitting.rungs import fit_rung
from trainer.networks.architectures import new_model
from trainer.networks.network import SpectrumNetwork, pooled_vectors
from trainer.networks.optimate import OptiMateConfig

POLICIES: tuple[Policy, ...] = ("cheapest", "uncertainty-per-cost", "diverse")
# Of the CPU seconds of all; the farm refits when its set has doubled.
SHARES = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2)
BASE_GROWTH = 1.5
RANDOM_DRAWS = 2
# The least that a transfer can be fitted to.
FEWEST = 4
# (rows that wait, rows that arrived, present model if any) -> order of the waiting
Ordering = Callable[[NDArray[np.int64], NDArray[np.int64], SpectrumNetwork | None], NDArray[np.int64]]


@dataclass(frozen=True)
class Recorded:
    """Materials with their spectra, measured and predicted CPU seconds ``(n,)``."""

    dataset: Dataset
    cpu_s: NDArray[np.float64]
    predicted_cpu_s: NDArray[np.float64]


def read_recorded(path: Path) -> Recorded:
    """A harvest file or the store of a farm."""
    with h5py.File(path, swmr=True) as file:
        is_harvest = "ipa_im" in file
    if is_harvest:
        dataset = read_harvest(path)
        with h5py.File(path) as file:
            ids = [name.decode() for name in file["mat_id"][:]]
            cpu_s = dict(zip(ids, file["cpu_total"][:], strict=True))
        changes = {"ground_state_kppa": 250, "energy_tolerance_kcal_mol": None, "response_kppa": 600}
        like_it = Protocol.from_dict({**PRESETS["paper"].to_dict(), **changes})
        protocols = dict.fromkeys(ids, like_it)
    else:
        dataset = load_dataset(path)
        chosen = {row.material_id for row in dataset.rows}
        with open_store(path) as store:
            rows = [row for row in store.rows() if row.material_id in chosen]
            cpu_s = {row.material_id: row.cpu_s for row in rows}
            protocols = {
                row.material_id: Protocol.from_dict(dict(store.result(row.index).protocol)) for row in rows
            }
    return Recorded(
        dataset,
        np.array([cpu_s[row.material_id] for row in dataset.rows]),
        np.array(
            [predict_cost(row.crystal, protocols[row.material_id]).total_cpu_s for row in dataset.rows]
        ),
    )


def by_policy(policy: Policy, recorded: Recorded) -> Ordering:
    """As the farm orders: predicted costs, latents of the present model, all chosen by the policy."""
    graphs = recorded.dataset.graphs

    def ordering(
        waiting: NDArray[np.int64], arrived: NDArray[np.int64], model: SpectrumNetwork | None
    ) -> NDArray[np.int64]:
        if model is None:
            return np.argsort(recorded.predicted_cpu_s[waiting], kind="stable")
        latents, known = (
            pooled_vectors(model, [graphs[i] for i in rows]).numpy() for rows in (waiting, arrived)
        )
        return order(
            policy, recorded.predicted_cpu_s[waiting], latents, known.astype(float), limit=waiting.size
        )

    return ordering


def at_random(seed: int) -> Ordering:
    """The baseline: any order."""
    draw = np.random.default_rng(seed)
    return lambda waiting, _arrived, _model: draw.permutation(waiting.size)


class Replay:
    """One split: its base, and what each order of arrival leads to."""

    def __init__(self, recorded: Recorded, seed: int, *, base_known: bool, epochs: tuple[int, int]) -> None:
        self.recorded, self.dataset = recorded, recorded.dataset
        self.rule = SplitRule(salt=f"policy-{seed}")
        self.scratch = replace(FROM_SCRATCH, seed=seed, threads=1, epochs=epochs[0])
        self.transfer = replace(TRANSFER, seed=seed, threads=1, epochs=epochs[1])
        self.split = split_crystals(self.dataset.crystals, self.rule)
        self.learning = np.sort(np.concatenate([self.split.train, self.split.validation]))
        self.total_cpu_s = float(recorded.cpu_s[self.learning].sum())
        self.base_known = base_known
        self.base = new_model(OptiMateConfig(n_energies=self.dataset.energies_ev.size), seed)
        if base_known:
            fit_rung(self.base, "ipa", self.dataset, self.split, self.scratch)

    def run(self, ordering: Ordering) -> NDArray[np.float64]:
        """Held-out median SC, mean SC, number of arrived materials at each budget, ``(3, len(SHARES))``."""
        waiting, arrived, spent = self.learning, np.array([], dtype=np.int64), 0.0
        base, n_base = self.base, 0
        model = self.base if self.base_known else None
        found = []
        for share in SHARES:
            waiting = waiting[ordering(waiting, arrived, model)]
            costs = spent + np.cumsum(self.recorded.cpu_s[waiting])
            # What runs when the budget ends does not count; the first few do in any case.
            n_new = max(int((costs <= share * self.total_cpu_s).sum()), FEWEST - arrived.size)
            if n_new:
                spent = float(costs[n_new - 1])
            arrived, waiting = np.concatenate([arrived, waiting[:n_new]]), waiting[n_new:]
            part = self.part(arrived)
            if not self.base_known and arrived.size > BASE_GROWTH * n_base:
                base = new_model(self.base.config, self.scratch.seed)
                fit_rung(base, "ipa", self.dataset, part, self.scratch)
                n_base = arrived.size
            model = copy.deepcopy(base)
            fit_rung(model, "rpa", self.dataset, part, self.transfer)
            found.append((*self.held_out_sc(model), arrived.size))
        return np.array(found).T

    def part(self, arrived: NDArray[np.int64]) -> Split:
        """Of what has arrived an eighth of the compositions stops the training, as everywhere."""
        arrived = np.sort(arrived)
        part = split_crystals([self.dataset.crystals[i] for i in arrived], self.rule)
        return Split(arrived[part.train], arrived[part.validation], self.split.held_out)

    def held_out_sc(self, model: SpectrumNetwork) -> tuple[float, float]:
        """Median and mean over the held-out materials."""
        scores = score_model(model, self.dataset, self.split.held_out, self.dataset.rpa.numpy())
        found = summarise(scores)
        return found.median_sc, found.mean_sc

    def ends(self) -> tuple[float, float, float]:
        """Median SC of the calculated IPA spectra taken as RPA, of the base, of a fit to all."""
        ipa = summarise(score_ipa_as_rpa(self.dataset, self.split.held_out)).median_sc
        base, everything = copy.deepcopy(self.base), copy.deepcopy(self.base)
        if not self.base_known:
            fit_rung(everything, "ipa", self.dataset, self.split, self.scratch)
        fit_rung(everything, "rpa", self.dataset, self.split, self.transfer)
        return ipa, self.held_out_sc(base)[0], self.held_out_sc(everything)[0]


def hours_until(mark: float, sc: NDArray[np.float64], hours: NDArray[np.float64]) -> float:
    """CPU hours at which the best so far of a curve reaches the mark; inf where it does not."""
    best = np.maximum.accumulate(sc)
    if best[0] >= mark:
        return float(hours[0])
    reached = np.flatnonzero(best >= mark)
    if not reached.size:
        return float("inf")
    i = int(reached[0])
    part = (mark - best[i - 1]) / (best[i] - best[i - 1])
    return float(np.exp(np.log(hours[i - 1]) + part * np.log(hours[i] / hours[i - 1])))


def show_budgets(found: dict[str, NDArray[np.float64]], hours: NDArray[np.float64]) -> None:
    """Median SC and number of materials at each budget; then both kinds of SC less those of random."""
    click.echo("\nheld-out median SC, mean over splits +- their standard deviation (materials)")
    click.echo(f"{'CPU h':22s}" + "".join(f"{h:>22.3f}" for h in hours))
    for name, runs in found.items():
        sc, numbers = runs[:, 0], runs[:, 2].mean(0)
        pairs = zip(sc.mean(0), sc.std(0, ddof=1), numbers, strict=True)
        row(name, [f"{m:.3f} +- {s:.3f} ({n:3.0f})" for m, s, n in pairs])
    for kind, measure in enumerate(("median", "mean")):
        click.echo(
            f"\n{measure} SC less that of random in the same split, mean +- standard error; over all"
        )
        for name in POLICIES:
            less = found[name][:, kind] - found["random"][:, kind]
            less = np.concatenate([less, less.mean(axis=1, keepdims=True)], axis=1)
            error = less.std(0, ddof=1) / np.sqrt(len(less))
            row(name, [f"{m:+.3f} +- {e:.3f}" for m, e in zip(less.mean(0), error, strict=True)])


def row(name: str, cells: list[str], width: int = 22) -> None:
    click.echo(f"{name:22s}" + "".join(f"{cell:>{width}s}" for cell in cells))


def show_marks(
    curves: dict[str, NDArray[np.float64]], hours: NDArray[np.float64], marks: list[float]
) -> None:
    """CPU hours to reach each mark, and how many times less than random."""
    click.echo(
        "\nCPU hours until the mark, and random / policy (10th to 90th percentile of resampled splits)"
    )
    row("median SC", [f"{mark:.3f}" for mark in marks], 30)
    n_splits = len(curves["random"])
    draws = np.random.default_rng(0).integers(n_splits, size=(1000, n_splits))

    def needed(name: str, mark: float, splits: NDArray[np.int64]) -> float:
        return hours_until(mark, curves[name][splits].mean(axis=0), hours)

    for name in curves:
        cells = []
        for mark in marks:
            own = needed(name, mark, np.arange(n_splits))
            # Where neither gets there the draw says nothing.
            pairs = [(needed("random", mark, d), needed(name, mark, d)) for d in draws]
            ratios = [a / b for a, b in pairs if min(a, b) < np.inf]
            low, high = np.percentile(ratios, [10, 90], method="lower") if ratios else (0.0, np.inf)
            ratio = needed("random", mark, np.arange(n_splits)) / own
            cells.append(
                "not reached" if own == np.inf else f"{own:.3f}  {ratio:.2f} ({low:.2f} to {high:.2f})"
            )
        row(name, cells, 30)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recorded", type=Path, nargs="?", default=os.environ.get("HARVEST"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--base", choices=["known", "arrived"], default="known")
    parser.add_argument("--quick", action="store_true", help="two splits and fits of 20 epochs: a trial")
    arguments = parser.parse_args()
    if arguments.recorded is None:
        click.echo("skipped: needs a file of computed spectra, as an argument or in HARVEST")
        return
    torch.set_num_threads(1)
    seeds, epochs = arguments.seeds, (FROM_SCRATCH.epochs, TRANSFER.epochs)
    if arguments.quick:
        seeds, epochs = [0, 1], (20, 20)
    recorded = read_recorded(Path(arguments.recorded))
    correlation = np.corrcoef(
        *(np.argsort(np.argsort(x)) for x in (recorded.cpu_s, recorded.predicted_cpu_s))
    )
    click.echo(
        f"{len(recorded.dataset)} materials, {recorded.cpu_s.sum() / 3600:.2f} CPU h; predicted cost: rank "
        f"correlation {correlation[0, 1]:.2f}; IPA base: {arguments.base}"
    )
    collected: dict[str, list[NDArray[np.float64]]] = {}
    ends, totals = [], []
    start = time.process_time()
    for seed in seeds:
        replay = Replay(recorded, seed, base_known=arguments.base == "known", epochs=epochs)
        for policy in POLICIES:
            collected.setdefault(policy, []).append(replay.run(by_policy(policy, recorded)))
        draws = [replay.run(at_random(100 * seed + n)) for n in range(RANDOM_DRAWS)]
        collected.setdefault("random", []).append(np.mean(draws, axis=0))
        ends.append(replay.ends())
        totals.append(replay.total_cpu_s / 3600)
        click.echo(
            f"seed {seed}: {replay.learning.size} to learn from, {replay.split.held_out.size} held out, "
            f"{totals[-1]:.2f} CPU h; {time.process_time() - start:.0f} CPU s so far",
            err=True,
        )
    ipa, base, everything = np.mean(ends, axis=0)
    click.echo(f"median SC: IPA as RPA {ipa:.3f}, before any RPA {base:.3f}, of all {everything:.3f}")
    found = {name: np.array(runs) for name, runs in collected.items()}
    hours = np.array(SHARES) * np.mean(totals)
    show_budgets(found, hours)
    # Where the random order stands after 1/8, 1/4 and 1/2 of all: what the policies are to reach earlier.
    medians = {name: runs[:, 0] for name, runs in found.items()}
    show_marks(medians, hours, np.maximum.accumulate(medians["random"].mean(0))[2:].tolist())


if __name__ == "__main__":
    main()
