"""Where a farm stands, in one document: what `farm status`, the dashboard and the metrics tell."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from farm.backlog import Backlog, Register
from farm.errors import CheckpointError
from farm.job import FINAL_STATES, JobState
from farm.settings import Settings
from farm.situation import unserved

# Results that have waited for the writer for so long are told, up to so many.
_UNSTORED_AFTER_S = 10.0
_UNSTORED_SHOWN = 1000
# The rate is that of this time.
_RATE_OVER_S = 600.0


def gather(backlog: Backlog, settings: Settings, stored: Mapping[str, int] | None = None) -> dict[str, Any]:
    """The document of ``farm status --json``; ``stored``: what the store holds, where that was counted.

    Raises BrokerError when Redis does not answer, StoreError for a store that cannot be read.
    """
    spent, to_go = backlog.cpu_s()
    workers = backlog.roster.workers()
    refit = backlog.roster.refit_state()
    try:
        checkpoint, damage = current_checkpoint(settings), None
    except CheckpointError as error:
        # The jobs go on without a model, and so does what is said of them.
        checkpoint, damage = None, str(error)
    return {
        "jobs": {state.value: n for state, n in backlog.counts().items()},
        "store": _store_counts(backlog, settings) if stored is None else dict(stored),
        "cpu_hours": {"spent": round(spent / 3600, 4), "to_go": round(to_go / 3600, 4)},
        "checkpoint": checkpoint,
        "checkpoint_damage": damage,
        "refit": refit.get("state", "idle"),
        "refit_progress": refit.get("progress", "") if refit.get("state") == "running" else "",
        "refit_failures": int(refit.get("failures", 0)),
        "refit_message": refit.get("message", ""),
        "leader": backlog.roster.leader(),
        "workers": workers,
        "unserved": unserved(backlog.ready_by_queue(), workers),
        "unstored": len(backlog.undelivered(_UNSTORED_AFTER_S, limit=_UNSTORED_SHOWN)),
        "running": [
            {"material": job.material_id, "formula": job.formula, "stage": job.stage, "worker": job.owner}
            for job in sorted(backlog.leased(), key=lambda job: job.job_id)
            if job.state is JobState.RUNNING
        ],
        "finished_per_hour": finished_per_hour(backlog),
        "paused": backlog.paused(),
    }


def finished_per_hour(register: Register) -> float:
    """How many jobs an hour came to their end lately, cancelled ones left out."""
    since_ms = int((register.now_s() - _RATE_OVER_S) * 1000)
    ended = register.n_ended_since(since_ms)
    n = sum(ended[state] for state in FINAL_STATES if state is not JobState.CANCELLED)
    return round(n * 3600 / _RATE_OVER_S, 1)


def slots_of(document: dict[str, Any]) -> int:
    """Jobs that the workers which take any can run at a time."""
    return sum(worker["slots"] for worker in _computing(document) if not worker.get("hold"))


def why_no_slot(document: dict[str, Any]) -> str:
    """In words why :func:`slots_of` finds none."""
    return "no worker takes jobs" if _computing(document) else "no worker is running"


def _computing(document: dict[str, Any]) -> list[dict[str, Any]]:
    return [worker for worker in document["workers"] if worker["role"] == "worker"]


def seconds_left(document: dict[str, Any]) -> float | None:
    """Predicted time until nothing is left to do, on the slots that take jobs; None without one."""
    slots = slots_of(document)
    return float(document["cpu_hours"]["to_go"]) * 3600 / slots if slots else None


def _store_counts(backlog: Backlog, settings: Settings) -> dict[str, int]:
    # The store is the truth where it can be seen; on another host the writer's word has to do.
    from farm.store import open_store

    if settings.store_path.is_file():
        with open_store(settings.store_path) as store:
            counts = store.counts()
        return {"materials": counts.materials, "ipa": counts.ipa, "rpa": counts.rpa}
    told = backlog.roster.stored_counts()
    return {key: told.get(key, 0) for key in ("materials", "ipa", "rpa")}


def current_checkpoint(settings: Settings) -> dict[str, Any] | None:
    """What ``latest`` points to, from its card alone (no torch).

    Raises CheckpointError for a card that cannot be read.
    """
    latest = settings.checkpoints_dir / "latest"
    if not latest.is_symlink():
        return None
    try:
        card = json.loads((latest / "card.json").read_text(encoding="utf-8"))
        # Weights that were imported say neither.
        n_train, measured = card["n_train"], card["metrics"].get("rpa")
        return {
            "version": str(card["version"]),
            "trained_on": None if n_train is None else int(n_train),
            "median_sc": None if measured is None else float(measured["median_sc"]),
        }
    except (OSError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError) as error:
        raise CheckpointError(
            f"the checkpoint in use, {latest.readlink()}, is damaged",
            fix="Choose another from `farm checkpoints list` with `farm checkpoints promote`",
        ) from error


def model_line(checkpoint: dict[str, Any]) -> str:
    """What :func:`current_checkpoint` found, in one line."""
    n_spectra, median_sc = checkpoint["trained_on"], checkpoint["median_sc"]
    learnt = "imported" if n_spectra is None else f"{n_spectra} spectra"
    measured = "not measured" if median_sc is None else f"held-out median SC {median_sc:.3f}"
    return f"{checkpoint['version']}, {learnt}, {measured}"
