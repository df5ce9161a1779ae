"""The training loop: one function, read top to bottom."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from math import inf
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import l1_loss
from torch_geometric.data import Data

from farm.errors import InputError
from trainer.graph import collate
from trainer.network import SpectrumNetwork

Progress = Callable[[int, float, float], None]


@dataclass(frozen=True, kw_only=True)
class FitPlan:
    """How to fit.

    epochs:       passes over the training part, at most
    lr:           step of Adam
    weight_decay: of Adam (an L2 term in the gradient, as the authors have it)
    batch_size:   materials a step
    patience:     epochs without a better validation loss after which to stop; None: never
    seed:         of the weights and of the order of materials
    device:       ``cpu`` or ``cuda``
    threads:      CPU threads of torch; None leaves the process's setting
    max_seconds:  wall time after which the loop ends with what it has; None: no limit. A fit that
                  runs into it depends on the speed of the machine, not on the seed alone
    """

    epochs: int
    lr: float
    weight_decay: float = 0.0
    batch_size: int = 32
    patience: int | None = None
    seed: int = 0
    device: str = "cpu"
    threads: int | None = None
    max_seconds: float | None = None

    @property
    def recipe(self) -> dict[str, Any]:
        """What the weights depend on, as plain values: all but where and how fast they are fitted."""
        return {key: value for key, value in asdict(self).items() if key not in ("device", "threads")}


# As published, for thousands of materials: all weights retrained from the IPA model.
PUBLISHED_TRANSFER = FitPlan(epochs=500, lr=1e-5, weight_decay=1e-4, batch_size=128)

# For tens to hundreds of materials, for which 500 published epochs are too few and too small steps.
# On 100 to 200 materials the best epoch of a fit from scratch was the 28th to 58th, that of a transfer
# the 11th to 85th.
FROM_SCRATCH = FitPlan(epochs=200, lr=1e-3, patience=60)
TRANSFER = FitPlan(epochs=120, lr=1e-4, weight_decay=1e-4, patience=40)


@dataclass(frozen=True, kw_only=True)
class FitReport:
    """What a fit came to: the best epoch (counted from 0), its losses, and how long it went.

    Losses are mean |difference| of Im eps over all points. Epoch -1 stands for the weights that
    the fit began with: no epoch was better. Without validation rows ``validation_loss`` is None.
    """

    epochs: int
    best_epoch: int
    validation_loss: float | None
    training_losses: tuple[float, ...]
    seconds: float
    stopped_by: str


def fit(
    model: SpectrumNetwork,
    graphs: Sequence[Data],
    targets: Tensor,
    *,
    train: NDArray[np.int64],
    validation: NDArray[np.int64],
    plan: FitPlan,
    on_progress: Progress | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> FitReport:
    """Fit ``model`` in place and leave it on the CPU at its best validation epoch.

    targets:     float32 ``(n_materials, n_energies)``, aligned with ``graphs``
    train:       rows to learn from, at least two (the network normalises over a batch)
    validation:  rows that choose the epoch; none: the last epoch is kept
    on_progress: called after each epoch with epoch, training loss, validation loss

    On the CPU the result depends on the data, ``plan`` and the versions of torch alone; on a GPU
    sums are not ordered and the last digits differ. Raises InputError for fewer than two rows and
    for a device that is not there.
    """
    if train.size < 2:
        raise InputError(f"{train.size} materials to learn from are too few", fix="At least 2 are needed")
    device = _device(plan.device)
    model.to(device)
    targets = targets.to(device)
    shuffle = np.random.default_rng(plan.seed)
    # Fused: a third of the time of a step on few materials is Adam's otherwise.
    optimizer = torch.optim.Adam(model.parameters(), lr=plan.lr, weight_decay=plan.weight_decay, fused=True)
    validation_batch = _batch(graphs, validation, device) if validation.size else None

    started = clock()
    losses: list[float] = []
    # The weights we start from compete: a transfer must not end worse than its base.
    best_loss, best_epoch = _loss(model, validation_batch, targets[validation]), -1
    best_state = _copy_state(model)
    stopped_by = "epochs"
    with _threads(plan.threads):
        for epoch in range(plan.epochs):
            model.train()
            total = 0.0
            for rows in _batches(shuffle.permutation(train), plan.batch_size):
                optimizer.zero_grad(set_to_none=True)
                loss = l1_loss(model(_batch(graphs, rows, device)), targets[rows])
                loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
                optimizer.step()
                total += float(loss.detach()) * rows.size
            losses.append(total / train.size)

            validation_loss = _loss(model, validation_batch, targets[validation])
            if validation_loss < best_loss or validation_batch is None:
                best_loss, best_epoch, best_state = validation_loss, epoch, _copy_state(model)
            if on_progress is not None:
                on_progress(epoch, losses[-1], validation_loss)
            if plan.patience is not None and epoch - best_epoch >= plan.patience:
                stopped_by = "patience"
                break
            if plan.max_seconds is not None and clock() - started > plan.max_seconds:
                stopped_by = "max_seconds"
                break

    model.load_state_dict(best_state)
    model.to("cpu").eval()
    return FitReport(
        epochs=len(losses),
        best_epoch=best_epoch,
        validation_loss=best_loss if validation.size else None,
        training_losses=tuple(losses),
        seconds=clock() - started,
        stopped_by=stopped_by,
    )


def _device(name: str) -> torch.device:
    if name not in ("cpu", "cuda"):
        raise InputError(f"no device {name!r}", fix="Use cpu or cuda")
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError(
            "torch finds no CUDA device", fix="Use cpu, or install the CUDA build of torch: `farm doctor`"
        )
    return torch.device(name)


@contextlib.contextmanager
def _threads(n_threads: int | None) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(n_threads or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _batches(rows: NDArray[np.int64], batch_size: int) -> list[NDArray[np.int64]]:
    """Even pieces of at most ``batch_size``, none of one row: its variance would be zero."""
    n_batches = min(-(-rows.size // max(batch_size, 2)), rows.size // 2)
    return np.array_split(rows, n_batches)


def _batch(graphs: Sequence[Data], rows: NDArray[np.int64], device: torch.device) -> Data:
    return collate([graphs[i] for i in rows]).to(device)


@torch.no_grad()
def _loss(model: SpectrumNetwork, batch: Data | None, targets: Tensor) -> float:
    if batch is None:
        return inf
    model.eval()
    return float(l1_loss(model(batch), targets))


def _copy_state(model: SpectrumNetwork) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in model.state_dict().items()}
