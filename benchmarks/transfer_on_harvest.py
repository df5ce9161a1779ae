"""Does transfer from IPA to RPA pay on a few hundred materials? Held-out SC over seeds, and CPU seconds.

    OMP_NUM_THREADS=1 python benchmarks/transfer_on_harvest.py [HARVEST.h5] [--seeds 5] [--quick]

HARVEST.h5 (default $HARVEST) holds ``ipa_im`` and ``rpa_im`` as ``[material, direction, energy]`` and the
structures as JSON bytes. Each seed draws its own split by composition, first weights and materials; both
networks share them. Printed for each network, mean and standard deviation over seeds: its base as it is,
transfer and direct fits at 30, 100 and all spectra, an ensemble of four, transfer on small cells only; and
refits of a growing set, each from the base or each from the RPA model before. CPU seconds are user + system
of one thread, of a transfer those after the base.
``--out FILE`` notes each fit as a line of JSON while it runs; with the same file it goes on with the
seeds that are not whole there, and ``--seeds 0`` prints the tables of what it holds.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import fmean, stdev

import click
import h5py
import torch
from pymatgen.core import Structure

from farm.crystal import Crystal
from trainer.data.dataset import Dataset, TrainingRow, build_dataset
from trainer.data.split import Split
from trainer.fitting.metrics import Score, score_ipa_as_rpa, score_model, summarise
from trainer.fitting.plan import FitPlan
from trainer.fitting.recipes import RefitPlan, default_plan
from trainer.fitting.rungs import Data, fit_rung, member_rows
from trainer.networks.architectures import ARCHITECTURES, new_model
from trainer.networks.ensemble import Ensemble
from trainer.networks.network import SpectrumNetwork
from trainer.trials.learning_curve import atom_counts, seed_rule, small_cells, some
from trainer.trials.trial import data_of

SIZES = (30, 100)
GROWING = (60, 120)
CELLS = (2, 3)
MEMBERS = 4
LAST_FIT = f"transfer, <= {CELLS[-1]} atoms"


def read_harvest(path: Path) -> Dataset:
    """The materials of the file as one dataset."""
    with h5py.File(path) as file:
        texts = [
            bytes(text[:length])
            for text, length in zip(file["structure_json"][:], file["structure_len"][:], strict=True)
        ]
        ids = [name.decode() for name in file["mat_id"][:]]
        ipa, rpa = file["ipa_im"][:], file["rpa_im"][:]
        energies_ev = file["energies_ev"][:]
    rows = [
        TrainingRow(crystal=as_stored(name, text), ipa_eps_imag=x, rpa_eps_imag=y)
        for name, text, x, y in zip(ids, texts, ipa, rpa, strict=True)
    ]
    return build_dataset(rows, energies_ev)


def as_stored(material_id: str, text: bytes) -> Crystal:
    """The cell as it was computed, not reduced once more."""
    structure = Structure.from_dict(json.loads(text))
    return Crystal.from_dict(
        {
            "material_id": material_id,
            "lattice_angstrom": structure.lattice.matrix.tolist(),
            "species": [site.specie.symbol for site in structure],
            "frac_coords": (structure.frac_coords % 1.0).tolist(),
        }
    )


@dataclass
class Notes:
    """What has been measured, by network and name; each is written down at once."""

    out: Path | None = None
    found: dict[tuple[str, str], list[dict[str, float]]] = field(default_factory=lambda: defaultdict(list))

    def __post_init__(self) -> None:
        if self.out is None or not self.out.is_file():
            return
        last = {}
        for line in self.out.read_text().splitlines():
            record = json.loads(line)
            # Of a seed that was made again the later fits count.
            last[record.pop("network"), record.pop("fit"), record["seed"]] = record
        for (network, name, _), record in last.items():
            self.found[network, name].append(record)

    def is_whole(self, network: str, seed: int) -> bool:
        """Whether all fits of a seed are there; what there is of one that is not is made again."""
        whole = any(record["seed"] == seed for record in self.found[network, LAST_FIT])
        if not whole:
            for of, name in list(self.found):
                if of == network:
                    self.found[of, name] = [r for r in self.found[of, name] if r["seed"] != seed]
        return whole

    def add(
        self, network: str, name: str, seed: int, n: int, scores: tuple[Score, ...], cpu_s: float
    ) -> None:
        m = summarise(scores)
        record = {"seed": seed, "n": n, "median_sc": m.median_sc, "mean_sc": m.mean_sc}
        record |= {"mse": m.median_mse, "mae": m.median_mae, "cpu_s": cpu_s}
        self.found[network, name].append(record)
        if self.out is not None:
            with self.out.open("a") as file:
                file.write(json.dumps({"network": network, "fit": name, **record}) + "\n")

    def show(self, network: str) -> None:
        """Mean and standard deviation over seeds."""
        head = ("spectra", "median SC", "mean SC", "median MSE", "CPU s")
        click.echo(
            f"\n{network:26s} {head[0]:>8s} {head[1]:>15s} {head[2]:>15s} {head[3]:>15s} {head[4]:>6s}"
        )
        for (of, name), records in self.found.items():
            if of != network or not records:
                continue
            columns = [spread([r[key] for r in records]) for key in ("median_sc", "mean_sc", "mse")]
            n, cpu_s = (fmean(r[key] for r in records) for key in ("n", "cpu_s"))
            click.echo(f"{name:26s} {n:8.0f} " + " ".join(f"{c:>15s}" for c in columns) + f" {cpu_s:6.1f}")

    def differences(self, network: str, pairs: Sequence[tuple[str, str]]) -> None:
        """Of two fits on the same seeds: mean difference of median SC, its standard error, seeds won."""
        for one, other in pairs:
            a, b = ([r["median_sc"] for r in self.found[network, name]] for name in (one, other))
            if len(a) == len(b) > 1:
                apart = [x - y for x, y in zip(a, b, strict=True)]
                error, won = stdev(apart) / len(apart) ** 0.5, sum(x > 0 for x in apart)
                click.echo(f"  {one} less {other}: {fmean(apart):+.3f} +- {error:.3f} ({won} of {len(a)})")


def spread(values: Sequence[float]) -> str:
    return f"{fmean(values):.3f} +- {stdev(values) if len(values) > 1 else 0.0:.3f}"


def fitted(
    model: SpectrumNetwork, rung: str, dataset: Dataset, split: Split, plan: FitPlan
) -> tuple[SpectrumNetwork, float]:
    """Fit in place; the model and user + system CPU seconds."""
    start = time.process_time()
    fit_rung(model, rung, dataset, split, plan)
    return model, time.process_time() - start


class OneSeed:
    """All fits of one network and one seed."""

    def __init__(self, data: Data, plan: RefitPlan, seed: int, notes: Notes) -> None:
        self.data, self.seed, self.notes = data, seed, notes
        self.network = plan.model.architecture
        model = replace(plan.model, n_energies=data.both.energies_ev.size)
        # Seeds of members follow each other: those of other seeds must not be among them.
        one, other = (replace(p, seed=100 * seed, threads=1) for p in (plan.base, plan.transfer))
        self.plan = replace(plan, model=model, base=one, transfer=other)

    def note(self, name: str, n: int, model: SpectrumNetwork, cpu_s: float, rung: str = "rpa") -> None:
        both, rows = self.data.both, self.data.split.held_out
        truth = (both.ipa if rung == "ipa" else both.rpa).numpy()
        self.notes.add(self.network, name, self.seed, n, score_model(model, both, rows, truth), cpu_s)

    def transfer(
        self, start: SpectrumNetwork, part: Split, number: int = 0
    ) -> tuple[SpectrumNetwork, float]:
        recipe = replace(self.plan.transfer, seed=self.plan.transfer.seed + number)
        return fitted(copy.deepcopy(start), "rpa", self.data.both, part, recipe)

    def run(self) -> None:
        """All fits of the seed, each written when it is done."""
        data, seed = self.data, self.seed
        everything = data.split.n_learning
        scores = score_ipa_as_rpa(data.both, data.split.held_out)
        self.notes.add(self.network, "DFT IPA as RPA", seed, 0, scores, 0.0)
        base, cpu_s = fitted(
            new_model(self.plan.model, self.plan.base.seed),
            "ipa",
            data.everything,
            data.base_split,
            self.plan.base,
        )
        self.note("base, against IPA", data.base_split.n_learning, base, cpu_s, "ipa")
        self.note("base as RPA", 0, base, 0.0)
        for n in (*SIZES, everything):
            part = some(data.split, n, seed)
            name = "all" if n == everything else str(n)
            model, cpu_s = self.transfer(base, part)
            self.note(f"transfer on {name}", n, model, cpu_s)
            if n == everything:
                self.ensemble(base, model, cpu_s)
                self.refits(base)
            direct, cpu_s = fitted(
                new_model(self.plan.model, self.plan.base.seed), "rpa", data.both, part, self.plan.base
            )
            self.note(f"direct on {name}", n, direct, cpu_s)
        for cells in CELLS:
            part = small_cells(data.split, atom_counts(data.both), cells)
            model, cpu_s = self.transfer(base, part)
            self.note(f"transfer, <= {cells} atoms", part.n_learning, model, cpu_s)

    def ensemble(self, base: SpectrumNetwork, first: SpectrumNetwork, cpu_s: float) -> None:
        members, split = [first], self.data.split
        for number in range(1, MEMBERS):
            part = replace(split, train=member_rows(self.data.both, split.train, number))
            model, more_s = self.transfer(base, part, number)
            members.append(model)
            cpu_s += more_s
        self.note(f"ensemble of {MEMBERS} on all", split.n_learning, Ensemble(members), cpu_s)

    def refits(self, base: SpectrumNetwork) -> None:
        """A growing set: always from the base, or always from the RPA model before."""
        split = self.data.split
        last = base
        for n in (*GROWING, split.n_learning):
            part, name = some(split, n, self.seed), "all" if n == split.n_learning else str(n)
            is_first, start = last is base, last
            last, cpu_s = self.transfer(start, part)
            # The first refit has no RPA model before it; that on all from the base was made already.
            if not is_first:
                self.note(f"refit on {name} from last", n, last, cpu_s)
            if name != "all":
                model, cpu_s = (last, cpu_s) if is_first else self.transfer(base, part)
                self.note(f"transfer on {name}", n, model, cpu_s)


def main() -> None:
    """Print the tables of both networks."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("harvest", type=Path, nargs="?", default=os.environ.get("HARVEST"))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--architectures", nargs="+", choices=ARCHITECTURES, default=ARCHITECTURES)
    parser.add_argument("--out", type=Path, help="each fit as a line of JSON, while it runs")
    parser.add_argument("--quick", action="store_true", help="fits of three epochs: a trial")
    arguments = parser.parse_args()
    if arguments.harvest is None:
        click.echo("skipped: needs a file of computed spectra, as an argument or in HARVEST")
        return
    torch.set_num_threads(1)
    dataset = read_harvest(Path(arguments.harvest))
    notes = Notes(arguments.out)
    for seed in range(arguments.seeds):
        data = data_of(dataset, seed_rule(seed))
        for architecture in arguments.architectures:
            if notes.is_whole(architecture, seed):
                continue
            plan = default_plan(architecture, device="cpu")
            if arguments.quick:
                short = {"epochs": 3, "least_steps": 0}
                plan = replace(
                    plan, base=replace(plan.base, **short), transfer=replace(plan.transfer, **short)
                )
            OneSeed(data, plan, seed, notes).run()
    click.echo(f"{len(dataset)} materials: mean +- standard deviation over seeds")
    for architecture in arguments.architectures:
        notes.show(architecture)
        pairs = [(f"transfer on {n}", f"direct on {n}") for n in (*SIZES, "all")]
        pairs += [(f"refit on {n} from last", f"transfer on {n}") for n in (*GROWING[1:], "all")]
        notes.differences(architecture, [(f"ensemble of {MEMBERS} on all", "transfer on all"), *pairs])


if __name__ == "__main__":
    main()
