"""What every step of a job needs."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass

from farm.compact_cell import CompactCell
from farm.crystal import Crystal
from farm.job import Engine
from farm.protocol import Protocol
from workers.scratch import Workspace


@dataclass(frozen=True, kw_only=True)
class StepContext:
    """The job, where it is computed, and what stops it.

    crystal:      as it was seeded; its cell says which k-points the spectra have
    cell:         the same in the most compact cell, which is computed
    pseudo_files: element -> file name below ``pseudo_dir``, checked
    engine:       who computes the response
    """

    crystal: Crystal
    cell: CompactCell
    protocol: Protocol
    n_electrons: int
    pseudo_files: Mapping[str, str]
    workspace: Workspace
    cancelled: threading.Event
    ranks: int = 1
    engine: Engine = Engine.NATIVE
