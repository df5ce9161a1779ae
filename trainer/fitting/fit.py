"""The training loop: one function, read top to bottom."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import inf
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import l1_loss
from torch_geometric.data import Data

from farm.errors import InputError
from trainer.fitting.fit_state import FitState, fingerprint
from trainer.fitting.plan import FitPlan, Loss
from trainer.networks.freezing import frozen
from trainer.networks.graph import collate
from trainer.networks.network import SpectrumNetwork

Progress = Callable[[int, float, float], None]


@dataclass(frozen=True, kw_only=True)
class FitReport:
    """What a fit came to: the best epoch (counted from 0), its losses, and how long it went.

    Losses are those of the plan. Epoch -1 stands for the weights that the fit began with: no epoch was
    better. Without validation rows ``validation_loss`` is None.
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
    resume_from: Path | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> FitReport:
    """Fit ``model`` in place and leave it on the CPU at its best validation epoch.

    targets:     float32, aligned with ``graphs``: isotropic ``(n_materials, n_energies)``, or the three
                 directions ``(n_materials, 3, n_energies)`` for a network that gives them
    train:       rows to learn from, at least two (the network normalises over a batch)
    validation:  rows that choose the epoch, where the plan says so; none: the last epoch is kept
    on_progress: called after each epoch with epoch, training loss, validation loss
    resume_from: where the fit notes how far it is, and goes on from when it was killed; removed by
                 whoever no longer needs it

    On the CPU the result depends on the data, ``plan`` and the versions of torch alone, killed in between
    or not; on a GPU sums are not ordered, products are in bfloat16, and the last digits differ. Raises
    InputError for fewer than two rows, a device that is not there and parts to freeze that are none.
    """
    if train.size < 2:
        raise InputError(f"{train.size} materials to learn from are too few", fix="At least 2 are needed")
    device = _device(plan.device)
    state = FitState(resume_from, fingerprint(model, targets, (train, validation), plan))
    model.to(device)
    targets = targets.to(device)
    shuffle = np.random.default_rng(plan.seed)
    validation_batch = _batch(graphs, validation, device) if validation.size else None
    steps_an_epoch = n_batches(train.size, plan.batch_size)
    n_epochs = plan.n_epochs(steps_an_epoch)
    n_steps = n_epochs * steps_an_epoch

    started, step, first_epoch = clock(), 0, 0
    losses: list[float] = []
    # The weights we start from compete: a transfer must not end worse than its base.
    best_loss, best_epoch = _validation_loss(model, validation_batch, targets[validation], plan.loss), -1
    best_weights = _copy_weights(model)
    stopped_by = "epochs"
    with _settings(plan), frozen(model, plan.frozen) as learn:
        optimizer = _optimizer(model, plan)
        if (held := state.load()) is not None:
            first_epoch, step, losses = held.epoch + 1, held.step, held.losses
            best_loss, best_epoch, best_weights = held.best_loss, held.best_epoch, held.best_weights
            held.restore(model, optimizer, shuffle)
        for epoch in range(first_epoch, n_epochs):
            batches = _batches(shuffle.permutation(train), plan.batch_size)
            losses.append(
                _epoch(model, learn, graphs, targets, batches, optimizer, plan, step=step, n_steps=n_steps)
            )
            step += len(batches)

            validation_loss = _validation_loss(model, validation_batch, targets[validation], plan.loss)
            if validation_loss < best_loss or validation_batch is None or plan.keep == "last":
                best_loss, best_epoch, best_weights = validation_loss, epoch, _copy_weights(model)
            if on_progress is not None:
                on_progress(epoch, losses[-1], validation_loss)
            if plan.patience is not None and epoch - best_epoch >= plan.patience:
                stopped_by = "patience"
                break
            if plan.max_seconds is not None and clock() - started > plan.max_seconds:
                stopped_by = "max_seconds"
                break
            state.save_sometimes(
                model,
                optimizer,
                shuffle,
                epoch=epoch,
                step=step,
                losses=losses,
                best_loss=best_loss,
                best_epoch=best_epoch,
                best_weights=best_weights,
            )

    model.load_state_dict(best_weights)
    model.to("cpu").eval()
    return FitReport(
        epochs=len(losses),
        best_epoch=best_epoch,
        validation_loss=best_loss if validation.size else None,
        training_losses=tuple(losses),
        seconds=clock() - started,
        stopped_by=stopped_by,
    )


def _epoch(
    model: SpectrumNetwork,
    learn: Callable[[], None],
    graphs: Sequence[Data],
    targets: Tensor,
    batches: Sequence[NDArray[np.int64]],
    optimizer: torch.optim.Optimizer,
    plan: FitPlan,
    *,
    step: int,
    n_steps: int,
) -> float:
    """One step a batch; the mean loss over the materials. ``learn`` puts the network into that mode."""
    learn()
    total = 0.0
    for number, rows in enumerate(batches):
        for group in optimizer.param_groups:
            group["lr"] = plan.lr_at(step + number, n_steps)
        optimizer.zero_grad(set_to_none=True)
        wanted = targets[rows][..., :: plan.every]
        output = _output(model, _batch(graphs, rows, targets.device), wanted, plan.every)
        loss = spectrum_loss(output, wanted, plan.loss)
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        if plan.max_gradient is not None:
            torch.nn.utils.clip_grad_norm_(model.parameters(), plan.max_gradient)
        optimizer.step()
        total += float(loss.detach()) * rows.size
    return total / sum(rows.size for rows in batches)


def spectrum_loss(output: Tensor, target: Tensor, loss: Loss) -> Tensor:
    """The loss of spectra ``(n, n_energies)``, or of three directions ``(n, 3, n_energies)``, a scalar.

    ``similarity`` is the mean of ``integral |x - y| / integral |y|``, 1 - SC of each material. With
    directions it is half that of their mean, half that of all three as one spectrum.
    """
    output = output.float()
    if loss == "l1":
        return l1_loss(output, target)
    if target.dim() == 3:
        isotropic = spectrum_loss(output.mean(dim=1), target.mean(dim=1), loss)
        return 0.5 * isotropic + 0.5 * spectrum_loss(output.flatten(1), target.flatten(1), loss)
    return ((output - target).abs().sum(dim=1) / target.abs().sum(dim=1)).mean()


def _output(model: SpectrumNetwork, batch: Data, targets: Tensor, every: int = 1) -> Tensor:
    # bfloat16 where it is fast: the sums of a CPU stay as they are.
    with torch.autocast(batch.x.device.type, dtype=torch.bfloat16, enabled=batch.x.device.type == "cuda"):
        output: Tensor = model.diagonal(batch, every) if targets.dim() == 3 else model(batch, every)
    return output


def _optimizer(model: SpectrumNetwork, plan: FitPlan) -> torch.optim.Optimizer:
    kind = torch.optim.AdamW if plan.decoupled else torch.optim.Adam
    # Fused: a third of the time of a step on few materials is Adam's otherwise.
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    return kind(weights, lr=plan.lr, weight_decay=plan.weight_decay, fused=True)


def _device(name: str) -> torch.device:
    if name not in ("cpu", "cuda"):
        raise InputError(f"no device {name!r}", fix="Use cpu or cuda")
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError(
            "torch finds no CUDA device", fix="Use cpu, or install the CUDA build of torch: `farm doctor`"
        )
    return torch.device(name)


@contextlib.contextmanager
def _settings(plan: FitPlan) -> Iterator[None]:
    """The plan's threads and seed (dropout draws from it); both are put back."""
    before = torch.get_num_threads()
    torch.set_num_threads(plan.threads or before)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(plan.seed)
            yield
    finally:
        torch.set_num_threads(before)


def _batches(rows: NDArray[np.int64], batch_size: int) -> list[NDArray[np.int64]]:
    """Even pieces of at most ``batch_size``, none of one row: its variance would be zero."""
    return np.array_split(rows, n_batches(rows.size, batch_size))


def n_batches(n_rows: int, batch_size: int) -> int:
    """Steps an epoch on so many rows."""
    return min(-(-n_rows // max(batch_size, 2)), n_rows // 2)


def _batch(graphs: Sequence[Data], rows: NDArray[np.int64], device: torch.device) -> Data:
    return collate([graphs[i] for i in rows]).to(device)


@torch.no_grad()
def _validation_loss(model: SpectrumNetwork, batch: Data | None, targets: Tensor, loss: Loss) -> float:
    if batch is None:
        return inf
    model.eval()
    return float(spectrum_loss(_output(model, batch, targets), targets, loss))


def _copy_weights(model: SpectrumNetwork) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in model.state_dict().items()}
