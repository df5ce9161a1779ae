"""The order in which waiting crystals are computed, by what the model in use knows of them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from farm.crystal import Crystal
from farm.errors import CheckpointError
from farm.job import Job
from farm.policy import IntArray, Policy, order
from farm.spectrum import FloatArray
from farm.store import open_store
from trainer.checkpoints.registry import Registry
from trainer.data.dataset import choose_rows
from trainer.networks.graph import crystal_graphs, visible
from trainer.networks.network import SpectrumNetwork, pooled_vectors

LOGGER = logging.getLogger(__name__)

# At the next refit, with twice as many spectra, everything is ranked anew: more choices than there are
# known crystals are not used. On few of these, what arrives meanwhile is more than what is known.
LEAST_CHOICES = 1000
# Redis keeps nine digits of a place: nearer ones would be sorted by id.
_STEP = 1e-7
# Graphs of so many crystals are in memory at a time.
_CRYSTALS_AT_A_TIME = 512


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """Where ready jobs shall stand.

    places:     by job id, among predicted CPU seconds; None: the place of its cost
    n_left_out: jobs whose crystals the model cannot see; they stand at the place of their cost
    message:    all of it in one sentence
    """

    places: dict[str, float | None]
    n_left_out: int
    message: str


def rank(
    jobs: Sequence[Job], policy: Policy, *, checkpoints_dir: Path, store_path: Path, device: str = "cpu"
) -> Ranking:
    """Order ready jobs by what the model in use would learn from them.

    What the store holds counts as known, held-out materials too: the side of a composition is drawn by a
    hash, and whoever looked at it would measure the model on other materials than it learns from.
    Without a checkpoint, or with one that cannot be read, cost decides until the next refit. Raises
    StoreError where the store cannot be read.
    """
    try:
        model, card = Registry(checkpoints_dir).load()
    except CheckpointError as error:
        by_cost = dict.fromkeys(job.job_id for job in jobs)
        return Ranking(places=by_cost, n_left_out=0, message=f"cheapest first: {error.message}")
    model.to(device)
    known, _ = latents(model, stored_crystals(store_path))
    waiting, seen = latents(model, [job.crystal for job in jobs])
    cpu_s = np.array([jobs[i].predicted_cpu_s for i in seen], dtype=np.float64)
    chosen = order(policy, cpu_s, waiting, known, limit=max(LEAST_CHOICES, len(known)))
    placed = places(chosen, cpu_s)
    found = {jobs[i].job_id: float(place) for i, place in zip(seen, placed, strict=True)}
    n_left_out = len(jobs) - seen.size
    return Ranking(
        places={job.job_id: found.get(job.job_id) for job in jobs},
        n_left_out=n_left_out,
        message=f"{seen.size} jobs by {policy} with {card.version}, {len(known)} known"
        + (f"; {n_left_out} that it cannot see by cost" if n_left_out else ""),
    )


def places(chosen: IntArray, cpu_s: FloatArray) -> FloatArray:
    """The place of each job, ``(n,)``, in predicted CPU seconds, strictly rising along ``chosen``.

    The r-th in the order gets the r-th smallest cost. So the places of all together stay what they
    were, and a job that is seeded later, whose place is its cost, stands after as many ranked jobs as are
    cheaper than it: neither lost behind them nor always first.
    """
    rising = np.sort(cpu_s)
    for i in range(1, rising.size):
        rising[i] = max(rising[i], rising[i - 1] + _STEP * max(rising[i - 1], 1.0))
    placed = np.empty_like(rising)
    placed[chosen] = rising
    return placed


def latents(model: SpectrumNetwork, crystals: Sequence[Crystal]) -> tuple[FloatArray, IntArray]:
    """Pooled vectors ``(k, d)`` and the indices ``(k,)`` of the crystals that they belong to.

    A crystal that the encoding does not cover, or to which the network gives no finite numbers, is left
    out. The model's device computes; a batch is in memory at a time.
    """
    vectors: list[NDArray[np.float32]] = []
    seen: list[int] = []
    for start in range(0, len(crystals), _CRYSTALS_AT_A_TIME):
        part = crystals[start : start + _CRYSTALS_AT_A_TIME]
        found = visible(part)
        pooled = pooled_vectors(model, crystal_graphs([part[n] for n in found])).numpy()
        finite = np.isfinite(pooled).all(axis=1)
        vectors.append(pooled[finite])
        seen += [start + n for n, is_finite in zip(found, finite, strict=True) if is_finite]
    width = model.config.pooled_width
    together = np.concatenate([np.empty((0, width), dtype=np.float32), *vectors])
    return together.astype(np.float64), np.array(seen, dtype=np.int64)


def stored_crystals(store_path: Path) -> list[Crystal]:
    """The crystals whose spectra a refit would learn from or be measured on; none without a store."""
    if not store_path.is_file():
        return []
    with open_store(store_path) as store:
        return [store.crystal(row.index) for row in choose_rows(store.rows())]


def ranking_device() -> str:
    """A GPU where there is one."""
    return "cuda" if torch.cuda.is_available() else "cpu"
