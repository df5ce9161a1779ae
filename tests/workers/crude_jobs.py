"""Jobs at settings so crude that they take seconds."""

from __future__ import annotations

from typing import Any

from farm.crystal import Crystal
from farm.job import Job
from farm.protocol import PRESETS

CRUDE = {
    "ecutwfc_ry": 30,
    "ground_state_kppa": 16,
    "response_kppa": 16,
    "n_energies": 201,
    "gmax_max_mry": 6000,
}


def make_job(crystal: Crystal, **changes: Any) -> Job:
    """A job under the demo preset at crude settings."""
    protocol = PRESETS["demo"].model_copy(update=CRUDE | changes)
    return Job(crystal=crystal, protocol=protocol.to_dict(), protocol_hash=protocol.hash)
