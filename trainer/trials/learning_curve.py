"""`farm train curve`: what more materials would bring, by fits at several numbers of them.

A transfer from an IPA base, a fit to RPA from nothing, and a transfer that sees small cells only: the
published questions (Nat. Commun. 16, 8142). Each seed draws its own split by composition, first weights and
materials, so that the scatter over seeds is that of the whole procedure. The base of a seed is fitted once,
to all IPA spectra that may be learnt from.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from farm.errors import InputError
from trainer.data.dataset import Dataset
from trainer.data.split import Split, SplitRule
from trainer.fitting.fit import n_batches
from trainer.fitting.metrics import score_ipa_as_rpa, score_model, summarise
from trainer.fitting.plan import FitPlan
from trainer.fitting.recipes import RefitPlan, default_plan
from trainer.fitting.rungs import Data, fit_rung
from trainer.networks.architectures import new_model
from trainer.networks.network import SpectrumNetwork
from trainer.trials.trial import data_of

CurveKind = Literal["transfer", "direct", "small-cells"]
# (the fit that runs, counted from 1; how many there are; what it is; its epoch from 0; of how many)
CurveProgress = Callable[[int, int, str, int, int], None]

# Fewer say nothing, and a batch normalises over two at least.
FEWEST = 4


@dataclass(frozen=True, kw_only=True)
class CurveFit:
    """One fit of the curve: on ``n`` materials, of at most ``max_atoms`` atoms where that is given."""

    kind: CurveKind
    n: int
    max_atoms: int | None = None

    def __str__(self) -> str:
        return f"{self.kind} on {self.n}" + (f", <= {self.max_atoms} atoms" if self.max_atoms else "")


def curve_plan(
    architecture: str, *, device: str = "cpu", threads: int | None = None, epochs: int | None = None
) -> RefitPlan:
    """The recipes of a farm's refits, for every fit of the curve."""
    plan = default_plan(architecture, device=device)
    changes: dict[str, Any] = {"threads": threads}
    if epochs is not None:
        changes |= {"epochs": epochs, "least_steps": 0}
    return replace(plan, base=replace(plan.base, **changes), transfer=replace(plan.transfer, **changes))


def seed_rule(seed: int) -> SplitRule:
    """The split of one seed; no checkpoint of a farm is made with it."""
    return SplitRule(salt=f"learning-curve-{seed}")


def some(split: Split, n: int, seed: int) -> Split:
    """``n`` rows to learn from, those of a smaller ``n`` among them; all of them where there are fewer.

    Of these the same share stops the training early as in ``split``, and at least one from eight on.
    """
    if n >= split.n_learning:
        return split
    generator = np.random.default_rng(seed)
    train, validation = (generator.permutation(rows) for rows in (split.train, split.validation))
    share = split.validation.size / split.n_learning
    n_validation = min(max(round(share * n), 1 if n >= 8 else 0), validation.size, n - 2)
    n_train = min(n - n_validation, train.size)
    return Split(np.sort(train[:n_train]), np.sort(validation[: n - n_train]), split.held_out)


def small_cells(split: Split, n_atoms: NDArray[np.int64], max_atoms: int) -> Split:
    """Of what may be learnt from, the cells of at most so many atoms; all sizes stay held out."""
    train, validation = (rows[n_atoms[rows] <= max_atoms] for rows in (split.train, split.validation))
    return Split(train, validation, split.held_out)


def atom_counts(dataset: Dataset) -> NDArray[np.int64]:
    """Atoms a cell, ``(n_rows,)``."""
    return np.array([crystal.n_atoms for crystal in dataset.crystals], dtype=np.int64)


def planned_fits(
    splits: Sequence[Split],
    n_atoms: NDArray[np.int64],
    sizes: Sequence[int | None],
    cells: Sequence[int],
) -> list[CurveFit]:
    """The fits of each seed; every seed has the same, so that their scatter means something.

    sizes: numbers of materials, None: all; what there is not is left out
    cells: largest numbers of atoms of the fits on small cells

    Raises InputError where nothing is left to fit.
    """
    most = min(split.n_learning for split in splits)
    numbers = sorted({most if n is None else n for n in sizes if n is None or n <= most})
    kinds: tuple[CurveKind, ...] = ("transfer", "direct")
    fits = [CurveFit(kind=kind, n=n) for n in numbers if n >= FEWEST for kind in kinds]
    for max_atoms in sorted(set(cells)):
        parts = [small_cells(split, n_atoms, max_atoms) for split in splits]
        n = min(part.n_learning for part in parts)
        if n >= FEWEST and min(part.train.size for part in parts) >= 2:
            fits.append(CurveFit(kind="small-cells", n=n, max_atoms=max_atoms))
    if not fits:
        raise InputError(
            f"{most} materials with RPA spectra to learn from are too few for a curve",
            fix=f"Ask for smaller --sizes (at least {FEWEST}), or let the farm compute more",
        )
    return fits


def part_of(split: Split, fit: CurveFit, n_atoms: NDArray[np.int64], seed: int) -> Split:
    """What one fit learns from and is measured on."""
    seen = split if fit.max_atoms is None else small_cells(split, n_atoms, fit.max_atoms)
    return some(seen, fit.n, seed)


def learning_curve(
    dataset: Dataset,
    plan: RefitPlan,
    *,
    sizes: Sequence[int | None],
    n_seeds: int,
    cells: Sequence[int] = (),
    on_progress: CurveProgress | None = None,
) -> dict[str, Any]:
    """Plain values, as ``farm report --curve`` reads them.

    ``points``: kind, n, seed, median_sc, mean_sc, mse, max_atoms where it was limited. ``ipa_as_rpa``: the
    mean over seeds of the median SC of calculated IPA spectra taken for RPA, ``ipa_as_rpa_by_seed`` each.
    Raises InputError when there is too little to learn from.
    """
    plan = replace(plan, model=replace(plan.model, n_energies=dataset.energies_ev.size))
    seeds = range(n_seeds)
    parts = {seed: data_of(dataset, seed_rule(seed)) for seed in seeds}
    for data in parts.values():
        if data.split.held_out.size < 2:
            raise InputError(
                f"{len(data.both)} materials with RPA spectra are too few for a curve",
                fix="Let the farm compute some dozens",
            )
    n_atoms = atom_counts(dataset.with_rpa)
    fits = planned_fits([data.split for data in parts.values()], n_atoms, sizes, cells)
    report = _Report(on_progress, n_fits=n_seeds * (len(fits) + 1))
    points: list[dict[str, Any]] = []
    marks: dict[str, float] = {}
    for seed, data in parts.items():
        scores = score_ipa_as_rpa(data.both, data.split.held_out)
        marks[str(seed)] = summarise(scores).median_sc
        base = new_model(plan.model, seed)
        step = report.of(f"seed {seed}: base", plan.base, data.base_split)
        fit_rung(base, "ipa", dataset, data.base_split, replace(plan.base, seed=seed), step)
        for fit in fits:
            part = part_of(data.split, fit, n_atoms, seed)
            recipe = plan.base if fit.kind == "direct" else plan.transfer
            step = report.of(f"seed {seed}: {fit}", recipe, part)
            points.append(_point(base, data, fit, part, replace(recipe, seed=seed), step))
    return {
        "points": points,
        "ipa_as_rpa": fmean(marks.values()),
        "ipa_as_rpa_by_seed": marks,
        "architecture": plan.model.architecture,
        "base": plan.base.recipe,
        "transfer": plan.transfer.recipe,
    }


def _point(
    base: SpectrumNetwork,
    data: Data,
    fit: CurveFit,
    part: Split,
    recipe: FitPlan,
    on_progress: Callable[[str, int, float, float], None] | None,
) -> dict[str, Any]:
    model = new_model(base.config, recipe.seed) if fit.kind == "direct" else copy.deepcopy(base)
    report = fit_rung(model, "rpa", data.both, part, recipe, on_progress)
    found = summarise(score_model(model, data.both, part.held_out, data.both.rpa.numpy()))
    limit = {} if fit.max_atoms is None else {"max_atoms": fit.max_atoms}
    return {
        "kind": fit.kind,
        "n": fit.n,
        "seed": recipe.seed,
        "median_sc": found.median_sc,
        "mean_sc": found.mean_sc,
        "mse": found.median_mse,
        "n_held_out": found.n,
        "seconds": round(report.seconds, 3),
        **limit,
    }


class _Report:
    """Counts the fits for whoever watches."""

    def __init__(self, on_progress: CurveProgress | None, *, n_fits: int) -> None:
        self._on_progress, self._n_fits, self._number = on_progress, n_fits, 0

    def of(self, name: str, plan: FitPlan, split: Split) -> Callable[[str, int, float, float], None] | None:
        """What the next fit calls after each epoch."""
        self._number += 1
        if (on_progress := self._on_progress) is None:
            return None
        number = self._number
        epochs = plan.n_epochs(n_batches(split.train.size, plan.batch_size))

        def progress(_stage: str, epoch: int, _loss: float, _validation_loss: float) -> None:
            on_progress(number, self._n_fits, name, epoch, epochs)

        return progress


def curve_table(document: Mapping[str, Any]) -> list[tuple[str, int, int, float, float, float]]:
    """Kind, materials, seeds, mean over seeds of median SC, its standard deviation, mean of mean SC."""
    groups: dict[tuple[str, int], list[Mapping[str, Any]]] = {}
    for point in document["points"]:
        limit = point.get("max_atoms")
        name = point["kind"] if limit is None else f"{point['kind']} <= {limit} atoms"
        groups.setdefault((name, point["n"]), []).append(point)
    rows = []
    for (name, n), found in groups.items():
        medians = [point["median_sc"] for point in found]
        spread = float(np.std(medians, ddof=1)) if len(medians) > 1 else 0.0
        rows.append((name, n, len(found), fmean(medians), spread, fmean(p["mean_sc"] for p in found)))
    return rows
