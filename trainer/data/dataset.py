"""What the store holds, as tensors: graphs built once, both rungs of spectra, and a hash of it all."""

from __future__ import annotations

import hashlib
import itertools
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
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
from farm.protocol import Protocol
from farm.rung import Rung
from farm.spectrum import FloatArray, energy_grid_ev, similarity_coefficient
from farm.store import Store, StoredRow, open_store
from trainer.networks.graph import check_crystal, crystal_graphs

# 25 MB.
_ROWS_AT_A_TIME = 512


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainingRow:
    """One material with its spectra.

    ipa_eps_imag, rpa_eps_imag: Im eps along Cartesian x, y, z, ``(3, n_energies)``; None: no RPA yet
    protocol_hash: under which both were computed
    """

    crystal: Crystal
    ipa_eps_imag: NDArray[np.float32]
    rpa_eps_imag: NDArray[np.float32] | None
    protocol_hash: str = ""

    @property
    def material_id(self) -> str:
        """The id of the crystal."""
        return self.crystal.material_id

    @property
    def spectra(self) -> tuple[NDArray[np.float32], ...]:
        """Those that there are, IPA first."""
        return (self.ipa_eps_imag,) if self.rpa_eps_imag is None else (self.ipa_eps_imag, self.rpa_eps_imag)


@dataclass(frozen=True, eq=False)
class Dataset:
    """Rows in the order of their material ids, with one graph each.

    graphs:       see :func:`trainer.networks.graph.crystal_graph`
    ipa_diagonal: Im eps, float32 ``(n_rows, 3, n_energies)``, axis order ``[material, direction, energy]``
    energies_ev:  photon energies of every spectrum, ``(n_energies,)``, eV
    rejected:     what the model cannot learn from and why, one sentence each
    """

    rows: tuple[TrainingRow, ...]
    graphs: tuple[Data, ...]
    ipa_diagonal: Tensor
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
    def rpa_diagonal(self) -> Tensor:
        """As ``ipa_diagonal``. Raises InputError where a row has no RPA: take it of :attr:`with_rpa`."""
        spectra = [row.rpa_eps_imag for row in self.rows if row.rpa_eps_imag is not None]
        if len(spectra) < len(self):
            raise InputError(f"{len(self) - len(spectra)} materials have no RPA spectrum")
        return _stack(spectra, self.energies_ev.size)

    @cached_property
    def ipa(self) -> Tensor:
        """Im of a third of the trace, float32 ``(n_rows, n_energies)``."""
        return self.ipa_diagonal.mean(dim=1)

    @cached_property
    def rpa(self) -> Tensor:
        """Im of a third of the trace, float32 ``(n_rows, n_energies)``."""
        return self.rpa_diagonal.mean(dim=1)

    @cached_property
    def similarity(self) -> Tensor:
        """SC[RPA; IPA] of the isotropic spectra, ``(n_rows, 1)``: how far IPA is from RPA."""
        pairs = zip(self.ipa.double().numpy(), self.rpa.double().numpy(), strict=True)
        found = [similarity_coefficient(ipa, rpa, self.energies_ev) for ipa, rpa in pairs]
        return torch.tensor(found, dtype=torch.float32)[:, None]

    @cached_property
    def with_rpa(self) -> Dataset:
        """The rows that have both rungs."""
        rows = [n for n, row in enumerate(self.rows) if row.rpa_eps_imag is not None]
        return self if len(rows) == len(self) else self.take(rows)

    def take(self, rows: Sequence[int] | NDArray[np.int64]) -> Dataset:
        """The set of these row numbers, ascending."""
        rows = [int(n) for n in rows]
        return Dataset(
            rows=tuple(self.rows[n] for n in rows),
            graphs=tuple(self.graphs[n] for n in rows),
            ipa_diagonal=self.ipa_diagonal[rows],
            energies_ev=self.energies_ev,
            rejected=self.rejected,
        )

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
    kept, rejected = [], []
    for row in ordered:
        try:
            check_crystal(row.crystal)
            _check_spectra(row, grid.size)
        except CrystalError as error:
            rejected.append(str(error))
            continue
        kept.append(row)
    return Dataset(
        rows=tuple(kept),
        graphs=tuple(crystal_graphs([row.crystal for row in kept])),
        ipa_diagonal=_stack([row.ipa_eps_imag for row in kept], grid.size),
        energies_ev=grid,
        rejected=tuple(rejected),
    )


def _check_spectra(row: TrainingRow, n_energies: int) -> None:
    for spectrum in row.spectra:
        if spectrum.shape != (3, n_energies):
            raise CrystalError(
                f"{row.material_id}: a spectrum of shape {spectrum.shape}, not 3 x {n_energies}"
            )
        # A spectrum of zeros has no similarity to anything.
        if not (np.isfinite(spectrum).all() and np.any(spectrum)):
            raise CrystalError(f"{row.material_id}: a spectrum that is not finite, or zero everywhere")


def _stack(spectra: Sequence[NDArray[np.float32]], n_energies: int) -> Tensor:
    if not spectra:
        return torch.empty(0, 3, n_energies)
    return torch.from_numpy(np.stack(spectra).astype(np.float32))


def _hash_rows(rows: Sequence[TrainingRow]) -> str:
    digest = hashlib.sha256()
    for row in rows:
        digest.update(f"{row.material_id}\n{row.crystal.content_hash}\n{row.protocol_hash}\n".encode())
        for spectrum in row.spectra:
            digest.update(np.ascontiguousarray(spectrum, dtype="<f4").tobytes())
    return digest.hexdigest()


def load_dataset(store_path: Path, protocol_hash: str | None = None) -> Dataset:
    """A snapshot of a store, ready to learn from: :func:`rows_to_learn`.

    Raises StoreError when the store is missing or cannot be read.
    """
    with open_store(store_path) as store:
        both, ipa_only = rows_to_learn(store, protocol_hash)
        rows = [*_read_rows(store, both, with_rpa=True), *_read_rows(store, ipa_only, with_rpa=False)]
        return build_dataset(rows, store.energies_ev)


def rows_to_learn(
    store: Store, protocol_hash: str | None = None
) -> tuple[list[StoredRow], list[StoredRow]]:
    """Those with both rungs by :func:`choose_rows`, those with IPA alone by :func:`choose_ipa_rows`."""
    stored = list(store.rows())
    both = choose_rows(stored, protocol_hash)
    ipa_hash = Protocol.from_dict(store.protocol(both[0].index)).ipa_hash if both else protocol_hash
    return both, choose_ipa_rows(stored, ipa_hash, known={row.material_id for row in both})


def _read_rows(store: Store, chosen: Sequence[StoredRow], *, with_rpa: bool) -> Iterator[TrainingRow]:
    for start in range(0, len(chosen), _ROWS_AT_A_TIME):
        part = chosen[start : start + _ROWS_AT_A_TIME]
        indices = [row.index for row in part]
        ipa = store.eps_imag(Rung.IPA, indices)
        rpa = store.eps_imag(Rung.RPA, indices) if with_rpa else None
        for n, row in enumerate(part):
            yield TrainingRow(
                crystal=store.crystal(row.index),
                ipa_eps_imag=ipa[n],
                rpa_eps_imag=None if rpa is None else rpa[n],
                protocol_hash=row.protocol_hash,
            )


def choose_rows(rows: Iterable[StoredRow], protocol_hash: str | None = None) -> list[StoredRow]:
    """The rows to learn both rungs from: done, physics as asked for, one a material.

    Spectra of two protocols must not be mixed in one training: without ``protocol_hash`` it is the
    one with most rows. Of two engines the native one counts.
    """
    return _one_a_material([row for row in rows if _is_usable(row) and row.has_rpa], protocol_hash)


def choose_ipa_rows(
    rows: Iterable[StoredRow], ipa_hash: str | None, *, known: Collection[str]
) -> list[StoredRow]:
    """Rows without RPA that the base can learn from, but for materials ``known`` to have both.

    ipa_hash: of the protocol that gives the IPA spectra of the others; None: the one with most rows
    """
    usable = [row for row in rows if _is_usable(row) and not row.has_rpa and row.material_id not in known]
    return _one_a_material(usable, ipa_hash)


def _is_usable(row: StoredRow) -> bool:
    return row.outcome == Outcome.DONE and row.has_ipa and not row.physics_changed


def _one_a_material(usable: Sequence[StoredRow], protocol_hash: str | None) -> list[StoredRow]:
    counts = Counter(row.protocol_hash for row in usable)
    if protocol_hash is None and counts:
        protocol_hash = min(counts, key=lambda name: (-counts[name], name))
    chosen: dict[str, StoredRow] = {}
    for row in usable:
        better = row.material_id not in chosen or row.engine == Engine.NATIVE
        if row.protocol_hash == protocol_hash and better:
            chosen[row.material_id] = row
    return list(chosen.values())
