"""How to fit: a recipe as plain values, and those that the farm uses."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from math import cos, pi
from typing import Any, Literal

Loss = Literal["l1", "similarity"]
Schedule = Literal["constant", "one-cycle"]

# Of a one-cycle schedule: the share of steps in which the step size rises, and where it begins and ends.
_RISE = 0.1
_START, _END = 0.04, 0.001


@dataclass(frozen=True, kw_only=True)
class FitPlan:
    """How to fit.

    epochs:       passes over the training part, at most
    least_steps:  of the optimiser: few materials are passed over more often, until there are so many
    lr:           step of Adam; of a one-cycle schedule the largest
    loss:         ``l1``: mean |difference| of Im eps, as published; ``similarity``: 1 - SC, the measure
                  that is quoted, mean over the materials
    schedule:     of the step: ``constant``, or ``one-cycle``: up, then down to nothing along a cosine
    weight_decay: with ``decoupled`` that of AdamW, else an L2 term in the gradient, as the authors have it
    batch_size:   materials a step
    keep:         the weights of the ``best`` validation epoch, or those of the ``last``: what a one-cycle
                  schedule ends with, and then the validation rows have chosen nothing and stay honest
    every:        of the energies the loss takes every so many-th: spectra are smooth on that scale
    patience:     epochs without a better validation loss after which to stop; None: never
    max_gradient: a longer gradient is shortened to this; None: it is not
    seed:         of the weights and of the order of materials
    device:       ``cpu`` or ``cuda``
    threads:      CPU threads of torch; None leaves the process's setting
    max_seconds:  wall time after which the loop ends with what it has; None: no limit. A fit that
                  runs into it depends on the speed of the machine, not on the seed alone
    frozen:       parts of the network that stay as they are, statistics of their normalisation included:
                  see trainer.networks.freezing
    """

    epochs: int
    lr: float
    loss: Loss = "l1"
    schedule: Schedule = "constant"
    weight_decay: float = 0.0
    decoupled: bool = False
    batch_size: int = 32
    keep: Literal["best", "last"] = "best"
    every: int = 1
    least_steps: int = 0
    patience: int | None = None
    max_gradient: float | None = None
    seed: int = 0
    device: str = "cpu"
    threads: int | None = None
    max_seconds: float | None = None
    frozen: tuple[str, ...] = ()

    @property
    def recipe(self) -> dict[str, Any]:
        """What the weights depend on, as plain values: all but where and how fast they are fitted.

        ``frozen`` only where there is something: recipes of cards written before it stay equal to ours.
        """
        plain = {key: value for key, value in asdict(self).items() if key not in ("device", "threads")}
        frozen = plain.pop("frozen")
        return {**plain, "frozen": sorted(frozen)} if frozen else plain

    def n_epochs(self, n_batches: int) -> int:
        """Passes over so many batches."""
        return max(self.epochs, -(-self.least_steps // n_batches))

    def lr_at(self, step: int, n_steps: int) -> float:
        """The step size of step ``step`` of ``n_steps``, counted from 0."""
        if self.schedule == "constant":
            return self.lr
        top = max(1.0, _RISE * n_steps)
        if step < top:
            return self.lr * (_START + (1.0 - _START) * step / top)
        fallen = 0.5 + 0.5 * cos(pi * min(1.0, (step - top) / max(1.0, n_steps - top)))
        return self.lr * (_END + (1.0 - _END) * fallen)


# As published (Nat. Commun. 16, 8142), for thousands of materials: all weights retrained from the IPA
# model, and the network with one output that learns SC[RPA; IPA].
PUBLISHED_TRANSFER = FitPlan(epochs=500, lr=1e-5, weight_decay=1e-4, batch_size=128)
PUBLISHED_SIMILARITY = FitPlan(epochs=200, lr=1e-3, batch_size=64)
