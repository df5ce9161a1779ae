"""How a waiting job is kept: as few bytes as its numbers need, for there may be a million of them.

A record is its version, the length of the cost prior and the prior itself, and the crystal: MessagePack,
deflated with a dictionary of the words that sources use. The protocol is kept once for all its jobs.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any

import msgpack
import numpy as np

from farm.cost_prior import CostPrior
from farm.crystal import Crystal
from farm.errors import FarmError, InputError
from farm.job import Job, split_job_id
from farm.slot_class import SlotClass

RECORD_VERSION = 2

# Deflate looks here for what it has not seen yet; what is likeliest comes last.
_WORDS = (
    b"is_hubbard decomposes_to formula prototype_id magnetic total_magnetization space_group energy_total "
    b"elements nsites stress energy_corrected volume energy_above_hull total_mag dos_ef formation_energy "
    b"e_form e_phase_separation e_above_hull band_gap_dir band_gap_ind spg mat_id alexandria_ "
    b"entry json.bz2"
)
_LEVEL = 6


def pack_record(job: Job) -> bytes:
    """What :func:`unpack_job` needs besides the id, the protocol and the cost."""
    crystal = job.crystal
    content = msgpack.packb(
        [
            np.asarray(crystal.lattice_angstrom, dtype="<f8").tobytes(),
            " ".join(crystal.species),
            np.asarray(crystal.frac_coords, dtype="<f8").tobytes(),
            crystal.source,
            dict(crystal.properties),
        ]
    )
    deflate = zlib.compressobj(_LEVEL, wbits=-15, zdict=_WORDS)
    body = deflate.compress(content) + deflate.flush()
    prior = job.prior.pack() if job.prior else b""
    return bytes([RECORD_VERSION, len(prior)]) + prior + body


def is_current(record: bytes) -> bool:
    """Whether this version wrote the record."""
    return record[:1] == bytes([RECORD_VERSION])


def unpack_prior(record: bytes) -> CostPrior | None:
    """The cost prior alone; None where the record has none or is of another version."""
    packed = record[2 : 2 + record[1]] if is_current(record) else b""
    return CostPrior.unpack(packed) if packed else None


def unpack_job(
    job_id: str, record: bytes, protocol: bytes | None, predicted_cpu_s: float, queue: str
) -> Job:
    """The job as it was queued. Raises InputError for a record that this version did not write."""
    material_id, _, engine = split_job_id(job_id)
    try:
        if not is_current(record):
            raise ValueError(f"version {record[0]}, not {RECORD_VERSION}")
        if protocol is None:
            raise ValueError("its protocol is not known")
        inflate = zlib.decompressobj(wbits=-15, zdict=_WORDS)
        lattice, species, coords, source, properties = msgpack.unpackb(
            inflate.decompress(record[2 + record[1] :]) + inflate.flush()
        )
        protocol_hash, fields = msgpack.unpackb(protocol)
        crystal = Crystal(
            material_id=material_id,
            lattice_angstrom=_rows(lattice),
            species=tuple(species.split()),
            frac_coords=_rows(coords),
            source=source,
            properties=properties,
        )
        return Job(
            crystal=crystal,
            protocol=fields,
            protocol_hash=protocol_hash,
            engine=engine,
            predicted_cpu_s=predicted_cpu_s,
            prior=unpack_prior(record),
            slot_class=SlotClass(queue.split(".")[1]),
        )
    except (ValueError, TypeError, IndexError, zlib.error, msgpack.UnpackException, FarmError) as error:
        raise InputError(
            f"{job_id}: not a job record of this version: {error}", fix="Seed the material again"
        ) from error


def pack_protocol(protocol_hash: str, protocol: Mapping[str, Any]) -> bytes:
    """A protocol with its whole hash, of which job ids show the beginning."""
    packed: bytes = msgpack.packb([protocol_hash, dict(protocol)])
    return packed


def _rows(packed: bytes) -> tuple[tuple[float, float, float], ...]:
    rows = np.frombuffer(packed, dtype="<f8").reshape(-1, 3).tolist()
    return tuple((x, y, z) for x, y, z in rows)
