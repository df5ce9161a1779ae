"""How much memory the response may take, and how it is shared."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from farm.errors import InputError
from workers.rpa.spectral import slab_bounds
from workers.rpa.symmetry import Channel

# More than this makes nothing faster.
_LARGEST_SHARE_BYTES = 192 * 2**20


@dataclass(frozen=True, kw_only=True)
class MatrixMemory:
    """How the memory limit is shared: precision of the spectral matrices, buffer, frequency blocks."""

    dtype: type[np.floating]
    buffer_bytes: int
    block_bytes: int

    @classmethod
    def of(cls, parts: tuple[Channel, ...], n_nodes: int, memory_mb: float) -> MatrixMemory:
        """Double precision where it takes at most an eighth of the limit, else single (as YAMBO).

        Raises InputError where not even single precision fits.
        """
        sizes = [len(p.directions) + p.n_functions[-1] for p in parts]
        entries = n_nodes * sum((b - a) * b for size in sizes for a, b in slab_bounds(size))
        largest = max(sizes)
        limit = memory_mb * 2**20
        double = 8 * entries <= limit / 8
        rest = limit - (8 if double else 4) * entries
        # A frequency block holds chi, eps and what the solver copies of them.
        needed = max(64 * largest**2, 2**24)
        if rest < needed:
            raise InputError(
                f"the response matrices need {(4 * entries + needed) / 2**20:.0f} MB, "
                f"{memory_mb:.0f} MB are allowed",
                fix="Raise --memory-mb or lower the largest --gmax-mry",
            )
        share = int(min(rest / 4, _LARGEST_SHARE_BYTES))
        dtype = np.float64 if double else np.float32
        return cls(dtype=dtype, buffer_bytes=share // len(parts), block_bytes=share)
