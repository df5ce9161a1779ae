"""Predicted against measured cost: before anything is measured, and refitted with every material.

    python benchmarks/cost_model.py [STORE...] [--harvest FILE] [--alexandria FILE...]

STORE (default ./farm-home/spectra.h5) are stores of computed materials; --harvest (default $HARVEST) an
HDF5 file of structures and CPU seconds of an earlier program. For each: rank correlation, median relative
error and ratio of sums by stage of the physical estimate; the same of predictions that are made one after
another, each before its material is seen, in random order (mean of five) and in the order of predicted
cost; ten folds against a fit of CPU s = c N_e^a V^b n_k^d on the same folds; how often the 80 % interval
holds. Of stores also the peak memory, and what a model of one protocol says of the next. With --alexandria
(files of structures): milliseconds a crystal with the symmetry found at reading, and with a search for it.
"""

from __future__ import annotations

import argparse
import json
import os
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray
from pymatgen.core import Structure
from scipy.stats import spearmanr

from farm.cost import CostEstimate, cost_prior, predict_cost
from farm.cost_model import CostModel
from farm.cost_prior import CostPrior
from farm.crystal import Crystal, crystal_from_structure
from farm.job import Outcome
from farm.protocol import PRESETS, Protocol
from farm.slot_class import SAFETY_FACTOR, slot_class
from farm.sources import read_source
from farm.stage import Stage
from farm.store import open_store

STAGES = tuple(Stage)
SEEDS = range(5)
FOLDS = 10
# Materials after which a farm's first predictions are behind it.
EARLY = 30
# What the harvest was computed with, as near as a protocol of ours says it.
HARVEST_PROTOCOL = PRESETS["paper"].model_copy(
    update={
        "band_path_points": 0,
        "ecutrho_per_ecutwfc": 3.0,
        "energy_tolerance_kcal_mol": None,
        "gmax_max_mry": 8000,
        "ground_state_kppa": 250,
        "response_kppa": 600,
    }
)

FloatArray = NDArray[np.float64]
# Prediction of each material of a list from what is known of others.
Predict = Callable[[Sequence[int], Sequence[int]], FloatArray]


@dataclass(frozen=True, kw_only=True)
class Material:
    """One computed material: what is predicted of it, seconds and MB by stage that were measured."""

    estimate: CostEstimate
    prior: CostPrior
    volume: float
    seconds: FloatArray
    memory_mb: FloatArray | None = None

    @property
    def by_stage(self) -> dict[Stage, float]:
        """Measured seconds as a model takes them."""
        return dict(zip(STAGES, self.seconds.tolist(), strict=True))


def read_store(path: Path) -> list[Material]:
    """The complete calculations of a store, in order of arrival."""
    found = []
    with open_store(path) as store:
        for row in store.rows():
            usage = {each.stage: each for each in store.stages(row.index)}
            if row.outcome is not Outcome.DONE or set(usage) != set(Stage):
                continue  # a metal or a failure: it never got to the end
            crystal = store.crystal(row.index)
            estimate = predict_cost(crystal, Protocol.from_dict(store.protocol(row.index)), row.engine)
            found.append(
                Material(
                    estimate=estimate,
                    prior=estimate.prior,
                    volume=crystal.volume_angstrom3,
                    seconds=np.array([usage[stage].cpu_s for stage in STAGES]),
                    memory_mb=np.array([usage[stage].peak_memory_mb for stage in STAGES]),
                )
            )
    return found


def read_harvest(path: Path) -> list[Material]:
    """The harvest; its own steps are summed to the stages they belong to."""
    found = []
    with h5py.File(path) as file:
        steps = {name: file[name][:] for name in file if name.startswith("cpu_")}
        bands = steps["cpu_coarse"] + steps["cpu_setup"] + steps["cpu_pp"]
        for i, length in enumerate(file["structure_len"]):
            structure = Structure.from_dict(json.loads(bytes(file["structure_json"][i, :length])))
            crystal = crystal_from_structure(structure, material_id=file["mat_id"][i].decode())
            estimate = predict_cost(crystal, HARVEST_PROTOCOL)
            found.append(
                Material(
                    estimate=estimate,
                    prior=estimate.prior,
                    volume=crystal.volume_angstrom3,
                    seconds=np.array([steps["cpu_scf"][i], bands[i], steps["cpu_eig_chi"][i]]),
                )
            )
    return found


def print_model(predicted: FloatArray, measured: FloatArray) -> None:
    """The table of CPU seconds by stage, both of shape ``(n_materials, n_stages)``."""
    x, y = (np.column_stack([seconds, seconds.sum(axis=1)]) for seconds in (predicted, measured))
    print(f"{'stage':<14}{'Spearman':>9}{'median error':>14}{'sum predicted/measured':>24}")
    for column, name in enumerate([*(stage.value for stage in Stage), "total"]):
        rank, error = quality(x[:, column], y[:, column])
        print(f"{name:<14}{rank:>9.3f}{error:>14.1%}{x[:, column].sum() / y[:, column].sum():>24.2f}")


def quality(predicted: FloatArray, measured: FloatArray) -> tuple[float, float]:
    """Rank correlation and median relative error."""
    rank = float(spearmanr(predicted, measured).statistic)
    return rank, float(np.median(np.abs(predicted / measured - 1)))


def one_after_another(materials: list[Material], order: Sequence[int]) -> FloatArray:
    """Seconds by stage, sum and interval of each, before it is seen, shape ``(n, 6)`` in that order."""
    model, rows = CostModel(), []
    for i in order:
        said = model.predict(materials[i].prior)
        rows.append([*said.stages_cpu_s.values(), said.cpu_s, said.low_cpu_s, said.high_cpu_s])
        model = model.observe(materials[i].prior, materials[i].by_stage)
    return np.array(rows)


def print_one_after_another(materials: list[Material]) -> None:
    """Quality by stage over all, and of the total over the later half; how often the interval holds."""
    n = len(materials)
    measured = np.array([[*m.seconds, m.seconds.sum()] for m in materials])
    orders = [np.random.default_rng(seed).permutation(n) for seed in SEEDS]
    by_cost = [np.argsort([m.prior.total_cpu_s for m in materials])]
    print(f"{'refitted, in order':<20}" + "".join(f"{stage.value:>16}" for stage in STAGES), end="")
    print(f"{'total':>16}{'later half':>16}{f'80 % holds: {EARLY} first':>23}{'then':>7}{'width':>7}")
    for name, several in (("random", orders), ("of predicted cost", by_cost)):
        columns, held = [], []
        for order in several:
            said, truth = one_after_another(materials, order), measured[order]
            halves = [(said[:, j], truth[:, j]) for j in range(4)] + [
                (said[n // 2 :, 3], truth[n // 2 :, 3])
            ]
            columns.append([quality(*half) for half in halves])
            inside = (said[:, 4] < truth[:, 3]) & (truth[:, 3] < said[:, 5])
            width = np.median(said[EARLY:, 5] / said[EARLY:, 4]) if n > EARLY else np.nan
            held.append([inside[:EARLY].mean(), inside[EARLY:].mean() if n > EARLY else np.nan, width])
        cells = "".join(f"{rank:>8.3f}{error:>8.1%}" for rank, error in np.mean(columns, axis=0))
        early, late, width = np.mean(held, axis=0)
        print(f"{name:<20}{cells}{early:>23.0%}{late:>7.0%}{width:>7.2f}")


def print_folds(materials: list[Material]) -> None:
    """Held-out folds: no fit, ours, and a power law of electrons, volume and k-points."""
    measured = np.array([m.seconds.sum() for m in materials])
    sizes = [m.estimate.size for m in materials]
    logs = np.log([[s.n_electrons, m.volume, s.n_kpoints] for s, m in zip(sizes, materials, strict=True)])
    columns = np.column_stack([np.ones(len(logs)), logs])

    def ours(known: Sequence[int], asked: Sequence[int]) -> FloatArray:
        model = CostModel()
        for i in known:
            model = model.observe(materials[i].prior, materials[i].by_stage)
        return np.array([model.predict(materials[i].prior).cpu_s for i in asked])

    def power_law(known: Sequence[int], asked: Sequence[int]) -> FloatArray:
        exponents = np.linalg.lstsq(columns[known], np.log(measured[known]), rcond=None)[0]
        fitted: FloatArray = np.exp(columns[asked] @ exponents)
        return fitted

    def physical(_: Sequence[int], asked: Sequence[int]) -> FloatArray:
        return np.array([materials[i].prior.total_cpu_s for i in asked])

    print(f"{f'{FOLDS} folds held out':<20}{'Spearman':>9}{'median error':>14}{'90 % within':>13}")
    for name, predict in (("physical alone", physical), ("power law", power_law), ("refitted", ours)):
        folds = [_held_out(predict, len(materials), seed) for seed in SEEDS]
        values = [(*quality(p, measured), np.quantile(np.abs(p / measured - 1), 0.9)) for p in folds]
        rank, error, wide = np.mean(values, axis=0)
        print(f"{name:<20}{rank:>9.3f}{error:>14.1%}{wide:>13.0%}")


def _held_out(predict: Predict, n: int, seed: int) -> FloatArray:
    shuffled = np.random.default_rng(seed).permutation(n)
    predicted = np.zeros(n)
    for fold in range(FOLDS):
        asked = shuffled[fold::FOLDS]
        known = np.setdiff1d(shuffled, asked)
        predicted[asked] = predict(known.tolist(), asked.tolist())
    return predicted


def print_memory(materials: list[Material]) -> None:
    """How peak memory compares, stage by stage, and how often the slot class was too small."""
    measured = np.array([m.memory_mb for m in materials])
    predicted = np.array([[m.estimate.memory_mb[stage] for stage in STAGES] for m in materials])
    print(f"{'peak memory':<14}{'measured MB':>20}{'median error':>14}{'':>3}", end="")
    print("measured/predicted 1, 50, 99, 100 %")
    for j, stage in enumerate(STAGES):
        ratio = measured[:, j] / predicted[:, j]
        low, middle, high = np.quantile(measured[:, j], [0, 0.5, 1])
        ends = "".join(f"{x:>7.2f}" for x in np.quantile(ratio, [0.01, 0.5, 0.99, 1]))
        error = np.median(np.abs(1 / ratio - 1))
        print(f"{stage.value:<14}{f'{low:.0f} - {middle:.0f} - {high:.0f}':>20}{error:>14.1%}{ends:>38}")
    peak, said = measured.max(axis=1), predicted.max(axis=1)
    over = int((peak > SAFETY_FACTOR * said).sum())
    small = sum(p > slot_class(s).memory_mb for p, s in zip(peak, said, strict=True))
    print(f"above {SAFETY_FACTOR} x predicted: {over} of {len(peak)}; above their slot class: {small}")


def print_transfer(names: list[str], sets: list[list[Material]]) -> None:
    """What a model of one store says of the materials of another, as it is and going on from there."""
    print(f"{'fitted to':<26}{'predicts':<14}{'Spearman':>9}{'median error':>14}{'80 % holds':>12}")
    for asked, materials in zip(names, sets, strict=True):
        for known, others in [("nothing", []), *zip(names, sets, strict=True)]:
            if known == asked:
                continue
            fitted = CostModel()
            for material in others:
                fitted = fitted.observe(material.prior, material.by_stage)
            for learns in (False, True):
                rank, error, held = _going_on(fitted, materials, learns=learns)
                what = known + (", goes on" if learns else "")
                print(f"{what:<26}{asked:<14}{rank:>9.3f}{error:>14.1%}{held:>12.0%}")


def _going_on(model: CostModel, materials: list[Material], *, learns: bool) -> tuple[float, float, float]:
    order = np.random.default_rng(0).permutation(len(materials))
    rows = []
    for i in order:
        said = model.predict(materials[i].prior)
        rows.append([said.cpu_s, said.low_cpu_s, said.high_cpu_s])
        if learns:
            model = model.observe(materials[i].prior, materials[i].by_stage)
    said_of, measured = np.array(rows), np.array([materials[i].seconds.sum() for i in order])
    held = (said_of[:, 1] < measured) & (measured < said_of[:, 2])
    return *quality(said_of[:, 0], measured), float(held.mean())


def print_speed(paths: list[Path]) -> None:
    """Milliseconds a crystal: read just now, and one whose symmetry must be searched."""
    crystals = [item for path in paths for item in read_source(path) if isinstance(item, Crystal)]
    protocol = PRESETS["paper"]
    half = len(crystals) // 2
    searched = [replace(crystal) for crystal in crystals[half : half + 300]]  # copies do not know theirs

    def milliseconds(some: list[Crystal]) -> float:
        start = time.perf_counter()
        for crystal in some:
            cost_prior(crystal, protocol)
        return 1e3 * (time.perf_counter() - start) / len(some)

    first, rest, slow = milliseconds(crystals[:half]), milliseconds(crystals[half:]), milliseconds(searched)
    print(f"{len(crystals)} crystals of at most {max(c.n_atoms for c in crystals)} atoms, ms a crystal:")
    print(f"first half {first:.2f}, second half {rest:.2f}; with a search for the symmetry {slow:.2f},")
    print(f"{slow / rest:.0f} times as long; {1e3 / rest:,.0f} crystals/s in one process")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("stores", nargs="*", type=Path, default=[Path("farm-home/spectra.h5")])
    parser.add_argument("--harvest", type=Path, default=os.environ.get("HARVEST"))
    parser.add_argument("--alexandria", nargs="*", type=Path, default=[])
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    names, sets = [], []
    for path in given.stores:
        if path.is_file():
            names.append(path.parent.name if path.parent.name != "farm-home" else path.parent.parent.name)
            sets.append(read_store(path))
        else:
            print(f"skipped: needs a store of computed materials; {path} is none")
    harvest = [("harvest", read_harvest(Path(given.harvest)))] if given.harvest else []
    for name, materials in [*zip(names, sets, strict=True), *harvest]:
        print(f"\n{len(materials)} materials of {name}\nphysical estimate")
        print_model(np.array([m.prior.cpu_s for m in materials]), np.array([m.seconds for m in materials]))
        print_one_after_another(materials)
        print_folds(materials)
        if materials[0].memory_mb is not None:
            print_memory(materials)
    if len(sets) > 1:
        print()
        print_transfer(names, sets)
    if given.alexandria:
        print()
        print_speed(given.alexandria)


if __name__ == "__main__":
    main()
