"""How far a fit is, on disk: a fit that was killed goes on from there and ends with the same weights."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import pickle
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainer.fitting.plan import FitPlan
from trainer.networks.network import SpectrumNetwork

LOGGER = logging.getLogger(__name__)

# Writing takes a tenth of a second for five million weights; what is lost is this at most.
SAVE_EVERY_S = 20.0


@dataclass(frozen=True)
class Held:
    """What a fit needs to go on after ``epoch``."""

    epoch: int
    step: int
    losses: list[float]
    best_loss: float
    best_epoch: int
    best_weights: dict[str, Tensor]
    weights: dict[str, Tensor]
    optimizer: dict[str, Any]
    shuffle: dict[str, Any]
    torch_random: Tensor

    def restore(
        self, model: SpectrumNetwork, optimizer: torch.optim.Optimizer, shuffle: np.random.Generator
    ) -> None:
        """Put model, optimiser and random numbers where they were."""
        model.load_state_dict(self.weights)
        optimizer.load_state_dict(self.optimizer)
        shuffle.bit_generator.state = self.shuffle
        torch.set_rng_state(self.torch_random)


class FitState:
    """The file of one fit; without a path nothing is kept."""

    def __init__(self, path: Path | None, fingerprint: str) -> None:
        self._path, self._fingerprint = path, fingerprint
        self._saved_s = time.monotonic()

    def load(self) -> Held | None:
        """What is held of this very fit; None where there is nothing, of another fit, or unreadable."""
        if self._path is None or not self._path.is_file():
            return None
        try:
            data = torch.load(self._path, weights_only=True)
            if data.pop("fingerprint") != self._fingerprint:
                return None
            return Held(**data)
        except (OSError, RuntimeError, KeyError, TypeError, EOFError, pickle.UnpicklingError) as error:
            LOGGER.warning("%s cannot be read, the fit begins anew: %s", self._path, error)
            return None

    def save_sometimes(
        self,
        model: SpectrumNetwork,
        optimizer: torch.optim.Optimizer,
        shuffle: np.random.Generator,
        **rest: Any,
    ) -> None:
        """Note where the fit is, unless that was done a moment ago."""
        if self._path is None or time.monotonic() - self._saved_s < SAVE_EVERY_S:
            return
        held = Held(
            weights=model.state_dict(),
            optimizer=optimizer.state_dict(),
            shuffle=dict(shuffle.bit_generator.state),
            torch_random=torch.get_rng_state(),
            **rest,
        )
        self._path.parent.mkdir(parents=True, exist_ok=True)
        beside = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        # Shallow: asdict would copy every weight.
        torch.save({**vars(held), "fingerprint": self._fingerprint}, beside)
        beside.replace(self._path)
        self._saved_s = time.monotonic()


def fingerprint(
    model: SpectrumNetwork, targets: Tensor, parts: tuple[NDArray[np.int64], ...], plan: FitPlan
) -> str:
    """SHA-256 of what a fit depends on: first weights, targets, rows of each part, recipe, device."""
    digest = hashlib.sha256(json.dumps([plan.recipe, plan.device], sort_keys=True).encode())
    for tensor in (*model.state_dict().values(), targets):
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    for rows in parts:
        digest.update(np.ascontiguousarray(rows, dtype="<i8").tobytes() + b"|")
    return digest.hexdigest()
