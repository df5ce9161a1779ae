"""What the store holds, as tensors: graphs built once, both rungs of spectra, and a hash of it all."""

from __future__ import annotations

import hashlib
import itertools
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch_geometric.data import Data

from farm.crystal import Crystal
from farm.errors import CrystalError, InputError
from farm.job import Engine, Outcome
from farm.spectrum import FloatArray, energy_grid_ev
from farm.store import StoredRow, open_store
from trainer.graph import crystal_graph

# Directions and real parts are read and dropped: 512 rows are 50 MB.
_ROWS_AT_A_TIME = 512


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainingRow:
    """One material with its spectra on both rungs.

    ipa_eps_imag_mean, rpa_eps_imag_mean: Im of a third of the trace, ``(n_energies,)``
    protocol_hash: under which both were computed
    """

    crystal: Crystal
    ipa_eps_imag_mean: NDArray[np.float32]
    rpa_eps_imag_mean: NDArray[np.float32]
    protocol_hash: str = ""

    @property
    def material_id(self) -> str:
        """The id of the crystal."""
        return self.crystal.material_id


@dataclass(frozen=True, eq=False)
class Dataset:
    """Rows in the order of their material ids, with one graph each.

    graphs:   see :func:`trainer.graph.crystal_graph`
    ipa, rpa: float32 ``(n_rows, n_energies)``, axis order ``[material, energy]``
    energies_ev: photon energies of every spectrum, ``(n_energies,)``, eV
    rejected: what the model cannot learn from and why, one sentence each
    """

    rows: tuple[TrainingRow, ...]
    graphs: tuple[Data, ...]
    ipa: Tensor
    rpa: Tensor
    energies_ev: FloatArray
    rejected: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def crystals(self) -> tuple[Crystal, ...]:
        """The crystal of each row."""
        return tuple(row.crystal for row in self.rows)

    @property
    def protocol_hashes(self) -> tuple[str, ...]:
        """The distinct protocols of the rows, sorted."""
        return tuple(sorted({row.protocol_hash for row in self.rows}))

    @cached_property
    def hash(self) -> str:
        """SHA-256 over ids, structures, protocols and spectra, whatever order rows came in."""
        return _hash_rows(self.rows)


def build_dataset(rows: Iterable[TrainingRow], energies_ev: FloatArray | None = None) -> Dataset:
    """Graphs and tensors of the rows that the model can treat; the others are named in ``rejected``.

    energies_ev: the grid of all spectra; None: the published one, 2001 points from 0 to 20 eV

    Raises InputError when a material stands there twice: its spectra would count twice.
    """
    ordered = sorted(rows, key=lambda row: row.material_id)
    for one, other in itertools.pairwise(ordered):
        if one.material_id == other.material_id:
            raise InputError(f"{one.material_id} is in the training set twice")
    grid = energy_grid_ev() if energies_ev is None else energies_ev
    kept, graphs, rejected = [], [], []
    for row in ordered:
        try:
            graph = crystal_graph(row.crystal)
            _check_spectra(row, grid.size)
        except CrystalError as error:
            rejected.append(str(error))
            continue
        kept.append(row)
        graphs.append(graph)
    return Dataset(
        rows=tuple(kept),
        graphs=tuple(graphs),
        ipa=_stack([row.ipa_eps_imag_mean for row in kept], grid.size),
        rpa=_stack([row.rpa_eps_imag_mean for row in kept], grid.size),
        energies_ev=grid,
        rejected=tuple(rejected),
    )


def _check_spectra(row: TrainingRow, n_energies: int) -> None:
    for spectrum in (row.ipa_eps_imag_mean, row.rpa_eps_imag_mean):
        if spectrum.shape != (n_energies,):
            raise CrystalError(f"{row.material_id}: a spectrum of shape {spectrum.shape}, not {n_energies}")
        # A spectrum of zeros has no similarity to anything.
        if not (np.isfinite(spectrum).all() and np.any(spectrum)):
            raise CrystalError(f"{row.material_id}: a spectrum that is not finite, or zero everywhere")


def _stack(spectra: Sequence[NDArray[np.float32]], n_energies: int) -> Tensor:
    if not spectra:
        return torch.empty(0, n_energies)
    return torch.from_numpy(np.stack(spectra).astype(np.float32))


def _hash_rows(rows: Sequence[TrainingRow]) -> str:
    digest = hashlib.sha256()
    for row in rows:
        digest.update(f"{row.material_id}\n{row.crystal.content_hash}\n{row.protocol_hash}\n".encode())
        for spectrum in (row.ipa_eps_imag_mean, row.rpa_eps_imag_mean):
            digest.update(np.ascontiguousarray(spectrum, dtype="<f4").tobytes())
    return digest.hexdigest()


def load_dataset(store_path: Path, protocol_hash: str | None = None) -> Dataset:
    """A snapshot of a store, ready to learn from. See :func:`choose_rows` for what counts.

    Raises StoreError when the store is missing or cannot be read.
    """
    with open_store(store_path) as store:
        chosen = choose_rows(store.rows(), protocol_hash)
        rows: list[TrainingRow] = []
        for start in range(0, len(chosen), _ROWS_AT_A_TIME):
            part = chosen[start : start + _ROWS_AT_A_TIME]
            ipa, rpa = store.spectra([row.index for row in part])
            rows += [
                TrainingRow(
                    crystal=store.crystal(row.index),
                    ipa_eps_imag_mean=ipa[n].imag.mean(axis=0),
                    rpa_eps_imag_mean=rpa[n].imag.mean(axis=0),
                    protocol_hash=row.protocol_hash,
                )
                for n, row in enumerate(part)
            ]
        return build_dataset(rows, store.energies_ev)


def choose_rows(rows: Iterable[StoredRow], protocol_hash: str | None = None) -> list[StoredRow]:
    """The rows to learn from: done, with both rungs, physics as asked for, one a material.

    Spectra of two protocols must not be mixed in one training: without ``protocol_hash`` it is the
    one with most rows. Of two engines the native one counts.
    """
    usable = [
        row
        for row in rows
        if row.outcome == Outcome.DONE and row.has_ipa and row.has_rpa and not row.physics_changed
    ]
    counts = Counter(row.protocol_hash for row in usable)
    if protocol_hash is None and counts:
        protocol_hash = min(counts, key=lambda name: (-counts[name], name))
    chosen: dict[str, StoredRow] = {}
    for row in usable:
        better = row.material_id not in chosen or row.engine == Engine.NATIVE
        if row.protocol_hash == protocol_hash and better:
            chosen[row.material_id] = row
    return list(chosen.values())
