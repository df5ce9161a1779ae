"""How fast is a refit? The farm's transfer against the published loop, from the same base, to the same SC.

    OMP_NUM_THREADS=1 python benchmarks/refit_speed.py [HARVEST.h5] [--seeds 3] [--quick]

HARVEST.h5 (default $HARVEST): see transfer_on_harvest.py; all its spectra that may be learnt from are.
The baseline is the published recipe (Nat. Commun. 16, 8142) written plainly with torch_geometric: every
neighbour within 5 angstrom an edge, GATv2Conv, DataLoader with batches of 128, Adam with lr 1e-5 and
weight decay 1e-4, L1, 500 epochs, the weights of the best validation epoch. Both networks of the farm are
fitted as its refits do, OPTIMATE from the very base of the baseline, the oscillators from a base of their
own.

Seconds are CPU (user + system, one thread) and wall. The held-out SC is looked at after each epoch, to see
when that of the baseline's end is first reached, by the baseline too; that look is not counted, early
stopping is. After the 100th epoch every fifth is looked at. Medians over seeds.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

import click
import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import Data as Graph
from torch_geometric.loader import DataLoader
from torch_geometric.nn import MLP, GATv2Conv, global_add_pool
from torch_geometric.utils import softmax
from transfer_on_harvest import read_harvest

from farm.crystal import Crystal
from trainer.fitting.metrics import score_model, score_spectra, summarise
from trainer.fitting.plan import PUBLISHED_TRANSFER
from trainer.fitting.recipes import RefitPlan, default_plan
from trainer.fitting.rungs import Data, fit_rung, member_rows
from trainer.networks.architectures import new_model
from trainer.networks.ensemble import Ensemble
from trainer.networks.graph import distance_features, neighbour_list, node_features
from trainer.networks.network import SpectrumNetwork
from trainer.networks.optimate import OptiMateConfig
from trainer.trials.learning_curve import seed_rule
from trainer.trials.trial import data_of

MEMBERS = 4


class PlainOptiMate(torch.nn.Module):
    """The published network from the parts that torch_geometric has; its state dict is OPTIMATE's."""

    def __init__(self, config: OptiMateConfig) -> None:
        super().__init__()
        self.mlp_init_node = MLP([13, *config.embedding])
        (c1, h1), (c2, h2) = config.attention
        self.gat1 = GATv2Conv(config.embedding[-1], c1, heads=h1, edge_dim=51, add_self_loops=False)
        self.gat2 = GATv2Conv(c1 * h1, c2, heads=h2, edge_dim=51, add_self_loops=False)
        self.mlp_att = MLP([c2 * h2, c2 * h2])
        self.mlp1 = MLP([c2 * h2, *config.output, config.n_energies])

    def forward(self, batch: Graph) -> Tensor:
        x = self.mlp_init_node(batch.x)
        x = self.gat1(x, batch.edge_index, batch.edge_attr)
        x = self.gat2(x, batch.edge_index, batch.edge_attr)
        weights = softmax(self.mlp_att(x), batch.batch)
        return torch.nn.functional.leaky_relu(self.mlp1(global_add_pool(x * weights, batch.batch)))


def plain_graph(crystal: Crystal, target: Tensor) -> Graph:
    """Every neighbour an edge of its own."""
    centres, neighbours, distances = neighbour_list(crystal)
    return Graph(
        x=torch.from_numpy(node_features(crystal)),
        edge_index=torch.from_numpy(np.stack([neighbours, centres])),
        edge_attr=torch.from_numpy(distance_features(distances)),
        y=target[None],
    )


@dataclass
class Watch:
    """CPU and wall seconds of what runs between looks, and held-out SC after each epoch."""

    look: Callable[[], float]
    cpu_s: float = 0.0
    wall_s: float = 0.0
    n_epochs: int = 0
    seen: list[tuple[float, float]] = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        self.seen = []
        self.go()

    def go(self) -> None:
        self._cpu, self._wall = time.process_time(), time.perf_counter()

    def stop(self) -> None:
        self.cpu_s += time.process_time() - self._cpu
        self.wall_s += time.perf_counter() - self._wall

    def epoch(self, *_: object) -> None:
        self.stop()
        self.n_epochs += 1
        # Later the loops go slowly.
        if self.n_epochs <= 100 or self.n_epochs % 5 == 0:
            self.seen.append((self.cpu_s, self.look()))
        self.go()

    def reached(self, sc: float) -> float:
        """CPU seconds after which the held-out SC was first that high; inf: never."""
        return next((cpu_s for cpu_s, found in self.seen if found >= sc), float("inf"))


@dataclass(frozen=True)
class Fitted:
    """One way to refit: held-out median SC of what it leaves, its cost, and its way there."""

    sc: float
    cpu_s: float
    wall_s: float
    watch: Watch | None = None


def published_loop(base: SpectrumNetwork, data: Data, seed: int, epochs: int) -> Fitted:
    """The loop as one would write it."""
    both, split = data.both, data.split
    watch = Watch(lambda: 0.0)  # graphs are part of a refit
    graphs = [plain_graph(crystal, target) for crystal, target in zip(both.crystals, both.rpa, strict=True)]
    torch.manual_seed(seed)
    model = PlainOptiMate(base.config)
    model.load_state_dict(base.state_dict())
    recipe = PUBLISHED_TRANSFER
    train, validation, held_out = (
        DataLoader([graphs[i] for i in rows], batch_size=recipe.batch_size, shuffle=shuffle)
        for rows, shuffle in ((split.train, True), (split.validation, False), (split.held_out, False))
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=recipe.lr, weight_decay=recipe.weight_decay)
    loss_function = torch.nn.L1Loss()

    def look() -> float:
        model.eval()
        with torch.no_grad():
            spectra = torch.cat([model(batch) for batch in held_out]).clamp(min=0.0).numpy()
        truth = both.rpa.numpy()[split.held_out]
        return summarise(score_spectra(spectra, truth, both.energies_ev)).median_sc

    watch.look = look
    best_loss, best = float("inf"), copy.deepcopy(model.state_dict())
    for _ in range(epochs):
        model.train()
        for batch in train:
            optimizer.zero_grad()
            loss = loss_function(model(batch), batch.y)
            loss.backward()
            optimizer.step()
        model.eval()
        total, n = 0.0, 0
        with torch.no_grad():
            for batch in validation:
                total += float(loss_function(model(batch), batch.y)) * batch.num_graphs
                n += batch.num_graphs
        if total / n < best_loss:
            best_loss, best = total / n, copy.deepcopy(model.state_dict())
        watch.epoch()
    watch.stop()
    model.load_state_dict(best)
    return Fitted(look(), watch.cpu_s, watch.wall_s, watch)


def farm_refit(base: SpectrumNetwork, data: Data, plan: RefitPlan) -> tuple[Fitted, Fitted]:
    """One transfer of the farm, and all the members of a refit."""
    truth = data.both.rpa.numpy()

    def held_out_sc(model: SpectrumNetwork) -> float:
        return summarise(score_model(model, data.both, data.split.held_out, truth)).median_sc

    members, results = [], []
    for number in range(MEMBERS):
        model = copy.deepcopy(base)
        part = replace(data.split, train=member_rows(data.both, data.split.train, number))
        recipe = replace(plan.transfer, seed=plan.transfer.seed + number)
        watch = Watch(lambda model=model, number=number: held_out_sc(model) if number == 0 else 0.0)
        fit_rung(model, "rpa", data.both, part, recipe, watch.epoch)
        watch.stop()
        members.append(model)
        results.append(Fitted(held_out_sc(model), watch.cpu_s, watch.wall_s, watch))
    cpu_s, wall_s = sum(r.cpu_s for r in results), sum(r.wall_s for r in results)
    return results[0], Fitted(held_out_sc(Ensemble(members)), cpu_s, wall_s)


def one_seed(dataset, seed: int, quick: bool, out: Path | None) -> list[dict[str, object]]:
    """All ways of one seed, as plain rows."""
    data = data_of(dataset, seed_rule(seed))
    plans = {name: default_plan(name, device="cpu") for name in ("optimate", "oscillators")}
    bases = {}
    for name, plan in plans.items():
        changes = {"seed": 100 * seed, "threads": 1} | ({"epochs": 3, "least_steps": 0} if quick else {})
        model = replace(plan.model, n_energies=dataset.energies_ev.size)
        plans[name] = replace(
            plan,
            base=replace(plan.base, **changes),
            transfer=replace(plan.transfer, **changes),
            model=model,
        )
        bases[name] = new_model(model, 100 * seed)
        fit_rung(bases[name], "ipa", dataset, data.base_split, plans[name].base)
    baseline = published_loop(
        bases["optimate"], data, 100 * seed, 5 if quick else PUBLISHED_TRANSFER.epochs
    )
    named = {"published loop": baseline}
    for name, plan in plans.items():
        named[f"farm, {name}"], named[f"farm, {name}, {MEMBERS} members"] = farm_refit(
            bases[name], data, plan
        )
    rows = [
        {
            "way": way,
            "seed": seed,
            "n": data.split.n_learning,
            "sc": found.sc,
            "cpu_s": found.cpu_s,
            "wall_s": found.wall_s,
            "reached_s": None if found.watch is None else found.watch.reached(baseline.sc),
        }
        for way, found in named.items()
    ]
    if out is not None:
        with out.open("a") as file:
            file.writelines(json.dumps(row) + "\n" for row in rows)
    return rows


def show(rows: list[dict[str, object]]) -> None:
    """Medians over seeds, and the ratios to the baseline of the same seed."""
    baseline = {row["seed"]: row for row in rows if row["way"] == "published loop"}
    click.echo(
        f"{'':31s} {'median SC':>9s} {'CPU s':>7s} {'wall s':>7s} {'ratio':>6s} "
        f"{'to its SC, CPU s':>17s} {'ratio':>6s}"
    )
    for way in dict.fromkeys(row["way"] for row in rows):
        found = [row for row in rows if row["way"] == way]
        sc, cpu_s, wall_s = (median(row[key] for row in found) for key in ("sc", "cpu_s", "wall_s"))
        ratio = median(baseline[row["seed"]]["cpu_s"] / row["cpu_s"] for row in found)
        line = f"{way:31s} {sc:9.3f} {cpu_s:7.1f} {wall_s:7.1f} {ratio:6.1f}"
        if all(row["reached_s"] is not None for row in found):
            reached = median(row["reached_s"] for row in found)
            faster = median(baseline[row["seed"]]["reached_s"] / row["reached_s"] for row in found)
            line += f" {reached:17.1f} {faster:6.1f}"
        click.echo(line)
    for row in rows:
        click.echo(
            f"  seed {row['seed']} {row['way']:31s} SC {row['sc']:.3f}, {row['cpu_s']:.1f} CPU s"
            + ("" if row["reached_s"] is None else f", the baseline's SC after {row['reached_s']:.1f}")
        )


def noted(out: Path | None) -> list[dict[str, object]]:
    """The rows of seeds that were measured before."""
    if out is None or not out.is_file():
        return []
    return [json.loads(line) for line in out.read_text().splitlines()]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("harvest", type=Path, nargs="?", default=os.environ.get("HARVEST"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, help="each seed's rows as lines of JSON; what it holds is kept")
    parser.add_argument("--quick", action="store_true", help="a few epochs: a trial")
    arguments = parser.parse_args()
    if arguments.harvest is None:
        click.echo("skipped: needs a file of computed spectra, as an argument or in HARVEST")
        return
    torch.set_num_threads(1)
    dataset = read_harvest(Path(arguments.harvest))
    rows = noted(arguments.out)
    for seed in sorted(set(range(arguments.seeds)) - {row["seed"] for row in rows}):
        rows += one_seed(dataset, seed, arguments.quick, arguments.out)
    click.echo(f"{rows[0]['n']} spectra to learn from, {len({row['seed'] for row in rows})} seeds")
    show(rows)


if __name__ == "__main__":
    main()
