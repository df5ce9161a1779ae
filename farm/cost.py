"""What a job will cost: CPU seconds by stage and peak memory; the order of the backlog.

A physical estimate: all counts follow from the structure, the protocol and the valence charges; nothing is
run. What was measured corrects it (farm/cost_model.py).
"""

from __future__ import annotations

from dataclasses import dataclass

from farm.cost_prior import CostPrior
from farm.crystal import Crystal
from farm.job_size import JobSize, count_size
from farm.native_cost import bands_s, ground_state_s, response_s
from farm.peak_memory import peak_memory_mb
from farm.protocol import Protocol
from farm.stage import Engine, Stage
from farm.yambo_cost import yambo_cpu_s, yambo_memory_mb


@dataclass(frozen=True, kw_only=True)
class CostEstimate:
    """Predicted cost of a job and the counts it follows from.

    cpu_s:     per stage, user + system seconds on one core
    memory_mb: per stage, peak resident memory of the largest process on one rank
    """

    cpu_s: dict[Stage, float]
    memory_mb: dict[Stage, float]
    size: JobSize

    @property
    def total_cpu_s(self) -> float:
        """Over all stages."""
        return sum(self.cpu_s.values())

    @property
    def peak_memory_mb(self) -> float:
        """Of the largest stage: they run one after another."""
        return max(self.memory_mb.values())

    @property
    def prior(self) -> CostPrior:
        """What is kept of it with a waiting job."""
        return CostPrior(
            cpu_s=(
                self.cpu_s[Stage.GROUND_STATE],
                self.cpu_s[Stage.BANDS],
                self.cpu_s[Stage.RESPONSE],
            ),
            features=self.size.features,
            memory_mb=self.peak_memory_mb,
        )


def predict_cost(crystal: Crystal, protocol: Protocol, engine: Engine = Engine.NATIVE) -> CostEstimate:
    """Predict what a job costs. Raises CrystalError for an element without a pseudopotential."""
    size = count_size(crystal, protocol)
    if engine is Engine.YAMBO:
        return CostEstimate(
            cpu_s=yambo_cpu_s(crystal, size, protocol),
            memory_mb=yambo_memory_mb(crystal, size, protocol),
            size=size,
        )
    return CostEstimate(
        cpu_s={
            Stage.GROUND_STATE: ground_state_s(size, protocol),
            Stage.BANDS: bands_s(size, protocol),
            Stage.RESPONSE: response_s(size),
        },
        memory_mb=peak_memory_mb(size, protocol),
        size=size,
    )


def cost_prior(crystal: Crystal, protocol: Protocol, engine: Engine = Engine.NATIVE) -> CostPrior:
    """What stays with a waiting job of its predicted cost. Raises as :func:`predict_cost` does."""
    return predict_cost(crystal, protocol, engine).prior
