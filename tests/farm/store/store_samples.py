"""Results to put into a store, and what child processes do to it; imported by the tests beside it."""

from __future__ import annotations

import os
import resource
import signal
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from band_samples import chance_bands
from numpy.lib.recfunctions import repack_fields

from farm.bandstructure import BandStructure
from farm.crystal import Crystal
from farm.errors import StoreError
from farm.job import Engine, Outcome, Stage
from farm.result import Correction, LadderStep, Result, StageUsage, StepUsage
from farm.store import StoreWriter, open_store
from farm.store.layout import (
    FORMAT,
    LIBRARY_BOUNDS,
    ROW_DTYPE_OF_VERSION_3,
    SPECTRA,
    TEXTS_OF_VERSION_1,
    TEXTS_OF_VERSION_3,
)
from farm.store.tables import read_record

PROTOCOL = {
    "n_energies": 101,
    "energy_max_ev": 20.0,
    "functional": "PBE",
    "kshift": [1 / 64, 2 / 64, 3 / 64],
}


def make_eps(seed: int, n_energies: int = 101) -> np.ndarray:
    """A reproducible complex ``[3, n_energies]`` that float32 holds exactly."""
    values = np.random.default_rng(seed).integers(1, 4096, size=(2, 3, n_energies)) / 256.0
    return values[0] + 1j * values[1]


def make_bands(number: int) -> BandStructure | None:
    """For every other number, each of another size; that of number 3 takes more than one chunk."""
    if number % 2 == 0:
        return None
    return chance_bands(number, n_points=10 + 37 * number % 170, n_bands=5 + 11 * number % 40)


def make_steps(number: int) -> tuple[StepUsage, ...]:
    """For every other number, as many as the number says."""
    if number % 2 == 0:
        return ()
    usage = {"attempts": 1, "wall_s": 0.75, "peak_memory_mb": 80.5, "disk_mb": 0.125}
    return tuple(
        StepUsage(name=f"scf-{i}", stage=Stage.GROUND_STATE, outcome="ok", cpu_s=0.5 + i, **usage)
        for i in range(1 + number % 5)
    )


# What results of the oldest layout lack.
NOTHING_NEW: dict[str, Any] = {"band_structure": None, "steps": (), "diagnosis": "", "advice": ""}


def make_result(
    number: int,
    *,
    n_steps: int = 3,
    outcome: Outcome = Outcome.DONE,
    protocol: dict[str, Any] | None = None,
    engine: Engine = Engine.NATIVE,
    **fields: Any,
) -> Result:
    """Result ``number``: everything in it follows from the number."""
    protocol = protocol or PROTOCOL
    n_energies = protocol["n_energies"]
    crystal = Crystal(
        material_id=f"crystal-{number}",
        lattice_angstrom=((0.0, 2.1 + number * 1e-3, 2.1), (2.1, 0.0, 2.1), (2.1, 2.1, 0.0)),
        species=("Mg", "O"),
        frac_coords=((0.0, 0.0, 0.0), (0.5, 0.5, 0.5)),
        source="testkristall \u00e4\u00f6",
        properties={"band_gap_ind": 4.5, "e_above_hull": 0.0},
    )
    ladder = tuple(
        LadderStep(
            gmax_mry=2000 * i,
            n_g=1 if i == 0 else 27 * i,
            step_similarity=(0.1 * i, 0.2, 1 / 3) if i else None,
            eps=make_eps(100 * number + i, n_energies),
        )
        for i in range(n_steps)
    )
    values: dict[str, Any] = {
        "crystal": crystal,
        "protocol": protocol,
        "protocol_hash": f"{n_energies:064x}",
        "engine": engine,
        "outcome": outcome,
        "reason": "" if outcome is Outcome.DONE else f"weil \u2260 konvergiert {number}",
        "diagnosis": "" if outcome is Outcome.DONE else f"diagnosis_{number}",
        "advice": "" if number % 2 else "wähle ein anderes",
        "ladder": ladder,
        "gmax_converged_mry": (4000, None, 2000) if n_steps > 1 else (None, None, None),
        "gap_indirect_ev": 4.25 + number,
        "gap_direct_ev": None,
        "band_structure": make_bands(number),
        "space_group": "Fm-3m (225)",
        "parameters": {"ecutwfc_ry": 60, "nbnd": 24, "kgrid": [8, 8, 8], "smearing": None},
        "programs": {"pw.x": "6.7MaX", "farm": "0.1.0"},
        "stages": (
            StageUsage(stage=Stage.GROUND_STATE, cpu_s=1.25, wall_s=1.5, peak_memory_mb=90.0),
            StageUsage(stage=Stage.RESPONSE, cpu_s=3.0, wall_s=3.5, peak_memory_mb=310.5),
        ),
        "steps": make_steps(number),
        "corrections": (
            Correction(step="bands", diagnosis="too_many_bands", remedy="cg", changes_physics=False),
        ),
    }
    return Result(**(values | fields))


def make_older(path: Path, version: int) -> None:
    """Rewrite a store of results with ``NOTHING_NEW`` as versions 1 to 3 of the layout kept it."""
    names = TEXTS_OF_VERSION_1 if version < 3 else TEXTS_OF_VERSION_3
    newer = path.with_name("newer.h5")
    path.rename(newer)
    with h5py.File(newer, "r") as new, h5py.File(path, "w", libver=LIBRARY_BOUNDS) as old:
        records = [read_record(new, row) for row in range(new["committed"][0])]
        assert not any(text for record in records for text in record.texts[len(names) :])
        texts = [record.texts[: len(names)] for record in records]
        lengths = np.array([[len(text) for text in row] for row in texts])
        ends = np.cumsum(lengths).reshape(lengths.shape)
        rows = np.concatenate([record.row for record in records])
        tables = {
            "rows": repack_fields(rows[list(ROW_DTYPE_OF_VERSION_3.names)]),
            "text": np.frombuffer(b"".join(b"".join(row) for row in texts), dtype="u1"),
            "text_offsets": np.column_stack([np.concatenate([[0], ends[:-1, -1]]), ends]),
            "ladder/steps": new["ladder/steps"][:],
            "ladder/eps_real": np.concatenate([record.step_eps[:, 0] for record in records]),
            "ladder/eps_imag": np.concatenate([record.step_eps[:, 1] for record in records]),
            **{name: new[name][:] for name in ("committed", "energies_ev", *SPECTRA)},
        }
        for name, array in tables.items():
            old.create_dataset(name, data=array, maxshape=(None, *array.shape[1:]))
        if version > 1:
            new.copy("bands", old)
        old.attrs.update({"format": FORMAT, "layout_version": version})
    newer.unlink()


def damage_chunk(path: Path, name: str, *, row: int) -> None:
    """Change a byte in the middle of a compressed chunk of a row, where it lies on the disk."""
    with h5py.File(path, "r") as file:
        first = {
            "text": int(file["text_offsets"][row, 0]),
            "ladder/eps_imag": int(file["rows"][row]["first_between"]),
            "bands/energies_ev": int(file["bands/paths"][row]["first_value"]),
        }.get(name, row)
        dataset = file[name].id
        chunk = dataset.get_chunk_info_by_coord((first, *([0] * (dataset.rank - 1))))
    with open(path, "r+b") as raw:
        raw.seek(chunk.byte_offset + chunk.size // 2)
        byte = raw.read(1)[0]
        raw.seek(-1, os.SEEK_CUR)
        raw.write(bytes([byte ^ 0xFF]))


def damage_table(path: Path, name: str, *, row: int) -> None:
    """Change one number of what a table says of a row."""
    field, table, first = {
        "rows": ("gap_indirect_ev", "rows", None),
        "bands/paths": ("n_valence", "bands/paths", None),
        "bands/points": ("distance_per_angstrom", "bands/paths", "first_point"),
        "bands/corners": ("point", "bands/paths", "first_corner"),
        "ladder/steps": ("n_g", "rows", "first_step"),
    }[name]
    with h5py.File(path, "r+", libver=LIBRARY_BOUNDS) as file:
        index = row if first is None else int(file[table][first][row])
        element = file[name][index : index + 1]
        element[field] += 1
        file[name][index : index + 1] = element


def append_from(path: str, first: int, acknowledge: Connection) -> None:
    """Append results ``first``, ``first + 1``, ... until killed, acknowledging each."""
    acknowledge.send(-1)
    with StoreWriter(Path(path)) as writer:
        for number in range(first, first + 10_000):
            writer.append(make_result(number, n_steps=1 + number % 4))
            acknowledge.send(number)


def append_between(path: str, first: int, last: int) -> None:
    """Append results ``first`` to ``last - 1``."""
    with StoreWriter(Path(path)) as writer:
        for number in range(first, last):
            writer.append(make_result(number, n_steps=1 + number % 4))


def watch(path: str, n_rows: int, answer: Connection) -> None:
    """Read everything over and over until ``n_rows`` are there; answer with what was seen."""
    sizes, faults = [], []
    with open_store(Path(path)) as store:
        answer.send("open")
        while store.refresh() < n_rows:
            sizes.append(store.n_rows)
            faults += inconsistencies(store)
        sizes.append(store.n_rows)
        faults += inconsistencies(store)
    answer.send((sizes, faults))


def fill_until_refused(path: str, limit_bytes: int, answer: Connection) -> None:
    """Append until the file may not grow any more; answer with the number acknowledged and the error."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, limit_bytes))
    acknowledged = 0
    try:
        with StoreWriter(Path(path)) as writer:
            while True:
                writer.append(make_result(acknowledged))
                acknowledged += 1
    except StoreError as error:
        answer.send((acknowledged, str(error)))
    # As a killed process: no clean-up of a file that cannot be written.
    os._exit(0)


def inconsistencies(store: Any) -> list[str]:
    """The rows of a store that are not what ``make_result`` made; at most the newest 20 are compared."""
    faults = []
    for row in list(store.rows())[-20:]:
        number = int(row.material_id.removeprefix("crystal-"))
        expected = make_result(number, n_steps=1 + number % 4)
        if store.result(row.index).pack() != expected.pack():
            faults.append(f"row {row.index}: {row.material_id}")
        if not np.array_equal(store.ipa_spectra([row.index])[0], expected.ladder[0].eps):
            faults.append(f"row {row.index}: {row.material_id}, ipa")
    return faults
