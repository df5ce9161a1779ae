"""What is kept of a predicted cost with a waiting job: some 50 bytes."""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass

from farm.errors import InputError
from farm.stage import Stage

MOST_FEATURES = 8
_N_STAGES = len(Stage)

# Another version means other features or stages: nothing of it can be used.
_VERSION = 1
_HEAD = struct.Struct("<BB")


@dataclass(frozen=True)
class CostPrior:
    """What stays with a waiting job, so that its cost can be predicted anew without the crystal.

    cpu_s:     the physical estimate, user + system seconds on one core, in the order of Stage
    features:  of the crystal under the protocol, near 0 for a typical one, of the order of 1; at most
               MOST_FEATURES, those left out count as 0
    memory_mb: predicted peak of the largest stage
    """

    cpu_s: tuple[float, float, float]
    features: tuple[float, ...]
    memory_mb: float

    def __post_init__(self) -> None:
        numbers = (*self.cpu_s, *self.features, self.memory_mb)
        usable = all(math.isfinite(number) for number in numbers) and all(s > 0 for s in self.cpu_s)
        if not usable or len(self.cpu_s) != _N_STAGES or len(self.features) > MOST_FEATURES:
            raise InputError(f"not a cost prior: {self.cpu_s}, {self.features}, {self.memory_mb}")

    @property
    def total_cpu_s(self) -> float:
        """Over all stages."""
        return sum(self.cpu_s)

    def pack(self) -> bytes:
        """At most 50 bytes, numbers as float32."""
        numbers = (*self.cpu_s, self.memory_mb, *self.features)
        return _HEAD.pack(_VERSION, len(self.features)) + struct.pack(f"<{len(numbers)}f", *numbers)

    @classmethod
    def unpack(cls, packed: bytes) -> CostPrior:
        """The inverse of :meth:`pack`. Raises InputError for another version or length."""
        head = packed[: _HEAD.size]
        n_numbers = _N_STAGES + 1 + (head[1] if len(head) == _HEAD.size else 0)
        if len(packed) != _HEAD.size + 4 * n_numbers or head[0] != _VERSION:
            raise InputError("not a cost prior of this version", fix="Seed the material again")
        first, second, third, memory_mb, *features = struct.unpack(f"<{n_numbers}f", packed[_HEAD.size :])
        return cls(cpu_s=(first, second, third), features=tuple(features), memory_mb=memory_mb)
