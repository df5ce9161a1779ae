"""The store as one .npz file, for those who want arrays and nothing else."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from farm.interchange.whole_file import whole_file
from farm.store import Store, StoredRow

BLOCK_ROWS = 256

README = """\
Arrays of dielectric functions, one entry a calculation (`n`), read with numpy.load.

material_id, formula, protocol_hash, engine, outcome   text [n]
crystal                    text [n], JSON: lattice_angstrom, species, frac_coords, source, properties
n_atoms                    int [n]
gap_indirect_ev, gap_direct_ev, eps_inf_ipa, eps_inf_rpa, similarity_rpa_ipa   float [n]
has_<name>                 bool [n] for each of those five: where False, the value 0 says nothing
gmax_converged_mry         int [n, 3], mRy per direction x, y, z; -1: not converged
physics_changed            bool [n], a correction changed the physics: do not train on it
cpu_s                      float [n], user + system CPU seconds
energies_ev                float [e], photon energies, eV
ipa_entry, rpa_entry       int [m], [k]: which of the n entries the spectra below belong to
ipa_eps_real, ipa_eps_imag float32 [m, 3, e], diagonal of eps, directions Cartesian x, y, z
rpa_eps_real, rpa_eps_imag float32 [k, 3, e], the same with local fields
"""

_OPTIONAL = ("gap_indirect_ev", "gap_direct_ev", "eps_inf_ipa", "eps_inf_rpa", "similarity_rpa_ipa")


def export_npz(store: Store, rows: Sequence[StoredRow], path: Path) -> None:
    """Write rows of a store to ``path``. Its ``README`` array says what is what.

    Spectra are streamed: memory stays small however large the store is. The file appears complete
    or not at all. Raises StoreError if it cannot be written.
    """
    with whole_file(path) as unfinished, zipfile.ZipFile(unfinished, "w", zipfile.ZIP_STORED) as archive:
        for name, array in _columns(store, rows).items():
            with archive.open(name + ".npy", "w") as member:
                np.lib.format.write_array(member, array, allow_pickle=False)
        for rung in ("ipa", "rpa"):
            _write_rung(archive, store, rung, [row.index for row in rows if getattr(row, f"has_{rung}")])


def _columns(store: Store, rows: Sequence[StoredRow]) -> dict[str, NDArray[Any]]:
    columns: dict[str, NDArray[Any]] = {"README": np.array(README), "energies_ev": store.energies_ev}
    for name in ("material_id", "formula", "protocol_hash"):
        columns[name] = np.array([getattr(row, name) for row in rows], dtype=np.str_)
    columns["engine"] = np.array([row.engine.value for row in rows], dtype=np.str_)
    columns["outcome"] = np.array([row.outcome.value for row in rows], dtype=np.str_)
    columns["crystal"] = np.array([store.crystal_json(row.index) for row in rows], dtype=np.str_)
    columns["n_atoms"] = np.array([row.n_atoms for row in rows], dtype=np.int64)
    for name in _OPTIONAL:
        values = [getattr(row, name) for row in rows]
        columns[f"has_{name}"] = np.array([value is not None for value in values], dtype=np.bool_)
        columns[name] = np.array([value or 0.0 for value in values], dtype=np.float64)
    converged = [[-1 if g is None else g for g in row.gmax_converged_mry] for row in rows]
    columns["gmax_converged_mry"] = np.array(converged, dtype=np.int64).reshape(len(rows), 3)
    columns["physics_changed"] = np.array([row.physics_changed for row in rows], dtype=np.bool_)
    columns["cpu_s"] = np.array([row.cpu_s for row in rows], dtype=np.float64)
    for rung in ("ipa", "rpa"):
        entries = [i for i, row in enumerate(rows) if getattr(row, f"has_{rung}")]
        columns[f"{rung}_entry"] = np.array(entries, dtype=np.int64)
    return columns


def _write_rung(archive: zipfile.ZipFile, store: Store, rung: str, indices: list[int]) -> None:
    read = store.ipa_spectra if rung == "ipa" else store.rpa_spectra
    shape = (len(indices), 3, store.energies_ev.size)
    header = {"descr": "<f4", "fortran_order": False, "shape": shape}
    for part in ("real", "imag"):
        with archive.open(f"{rung}_eps_{part}.npy", "w", force_zip64=True) as member:
            np.lib.format.write_array_header_1_0(member, header)
            for start in range(0, len(indices), BLOCK_ROWS):
                eps = read(indices[start : start + BLOCK_ROWS])
                member.write(np.ascontiguousarray(getattr(eps, part), dtype="<f4").tobytes())
