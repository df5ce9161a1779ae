"""The store as a dataset of torch: graphs with their spectra, read from the file as batches ask for them.

For networks of your own; what the farm fits is in memory as a whole (:mod:`trainer.data.dataset`)::

    from torch_geometric.loader import DataLoader

    dataset = StoreDataset("farm-home/spectra.h5", rung="rpa")
    for batch in DataLoader(dataset, batch_size=32, shuffle=True):
        batch.x, batch.edge_index, batch.edge_attr, batch.batch  # the crystals
        batch.rpa_eps_imag                                       # float32 [graph, direction, energy]
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from operator import index as as_integer
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset as TorchDataset
from torch_geometric.data import Data

from farm.crystal import Crystal
from farm.errors import CrystalError, StoreError
from farm.rung import Rung
from farm.store import Store, StoredRow, open_store
from trainer.data.dataset import rows_to_learn
from trainer.networks.graph import check_crystal, crystal_graphs


class StoreDataset(TorchDataset[Data]):
    """What can be learned from a store, chosen as refits choose it; one item a material.

    An item is the graph of :func:`trainer.networks.graph.crystal_graph` with ``material_id`` and, for each
    rung, ``ipa_eps_imag`` or ``rpa_eps_imag``: Im eps, float32 ``(1, 3, n_energies)``, axis order
    ``[graph, direction, energy]``. Graphs are made when they are asked for, a batch of them at once.
    Spectra are not looked at before: one that is zero everywhere is not left out.

    rows:        of the store, in the order of the items, by material id
    crystals:    of each
    energies_ev: photon energies of every spectrum, ``(n_energies,)``, eV
    rejected:    what has no graph and why, one sentence each

    The dataset is the store as it was when it was made. Each process of a loader opens the file for itself.
    """

    def __init__(
        self,
        path: Path | str,
        rung: Rung | str | Iterable[Rung] = Rung.RPA,
        protocol_hash: str | None = None,
    ) -> None:
        """Choose the rows; all that have IPA where ``rung`` is IPA alone, else those that have both.

        protocol_hash: whose spectra, for those of two must not be mixed; None: the one with most rows

        Raises StoreError when the store is missing or cannot be read.
        """
        self.path = Path(path)
        self.rungs = tuple(map(Rung, [rung] if isinstance(rung, str) else rung))
        self._store: Store | None = None
        self._opened_by = 0
        with open_store(self.path) as store:
            both, ipa_only = rows_to_learn(store, protocol_hash)
            chosen = both if Rung.RPA in self.rungs else [*both, *ipa_only]
            found, rejected = _with_graphs(store, sorted(chosen, key=lambda row: row.material_id))
            self.energies_ev = store.energies_ev
            self.rows = tuple(row for row, _ in found)
            self.crystals = tuple(crystal for _, crystal in found)
            self.rejected = tuple(rejected)
            self._checksums = self._checksums_in(store)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, item: int) -> Data:
        """One graph. Raises IndexError behind the last, StoreError where the file cannot be read."""
        return self.__getitems__([as_integer(item)])[0]

    def __getitems__(self, items: Sequence[int]) -> list[Data]:
        """A batch in one reading; torch's loaders call this where there is one."""
        rows = [self.rows[item] for item in items]
        graphs = crystal_graphs([self.crystals[item] for item in items])
        for rung in self.rungs:
            eps_imag = torch.from_numpy(self._opened().eps_imag(rung, [row.index for row in rows]))
            for n, graph in enumerate(graphs):
                graph[f"{rung}_eps_imag"] = eps_imag[n : n + 1]
        for graph, row in zip(graphs, rows, strict=True):
            graph.material_id = row.material_id
        return graphs

    def close(self) -> None:
        """Close the file, which the next item opens again."""
        if self._store is not None:
            self._store.close()
            self._store = None

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_store": None}

    def _opened(self) -> Store:
        """The store, opened by this process: an HDF5 file does not go through a fork."""
        if self._store is None or self._opened_by != os.getpid():
            self.close()
            store = open_store(self.path)
            if not np.array_equal(self._checksums_in(store), self._checksums):
                raise StoreError(
                    f"{self.path}: rows have moved since the dataset was made",
                    fix="Make it anew: the store was compacted or recovered meanwhile",
                )
            self._store, self._opened_by = store, os.getpid()
        return self._store

    def _checksums_in(self, store: Store) -> list[int]:
        """Of each row; what is done is never replaced by another, so that the rows stay current."""
        found = dict(zip(store.indices().tolist(), store.column("crc32").tolist(), strict=True))
        return [found.get(row.index, -1) for row in self.rows]


def _with_graphs(
    store: Store, rows: Sequence[StoredRow]
) -> tuple[list[tuple[StoredRow, Crystal]], list[str]]:
    """Rows whose crystal has a graph, with it; and why others have none."""
    wanted = {row.index for row in rows}
    texts = {
        index: text
        for index, (text,) in zip(store.indices().tolist(), store.texts("crystal"), strict=True)
        if index in wanted
    }
    found, rejected = [], []
    for row in rows:
        crystal = Crystal.from_dict(json.loads(texts[row.index]))
        try:
            check_crystal(crystal)
        except CrystalError as error:
            rejected.append(str(error))
        else:
            found.append((row, crystal))
    return found, rejected
