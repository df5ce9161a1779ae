"""At which rung ``farm seed`` queues: what the flags ask for, and the part that chooses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from importlib.metadata import entry_points
from typing import Literal

from farm.cost_model import CostModel, model_key
from farm.errors import CheckpointError, FarmError, InputError
from farm.protocol import Protocol
from farm.rung import RungChooser
from farm.seeding import Rungs, Terms
from farm.settings import Settings

RungFlag = Literal["rpa", "ipa", "auto"]


def chooser(settings: Settings) -> RungChooser:
    """What tells of each crystal whether IPA is enough, from the checkpoint in use.

    Raises InputError where no checkpoint can tell.
    """
    try:
        (point,) = entry_points(group="farm.rung_choosers")
    except ValueError as error:
        raise FarmError(
            "no part that predicts is installed",
            fix="Install the farm again: `pip install .` where its source is, or seed with `--rung rpa`",
        ) from error
    try:
        found: RungChooser = point.load()(settings.checkpoints_dir, settings.ipa_enough_sc)
    except CheckpointError as error:
        raise InputError(
            f"--rung auto has no model that tells RPA from IPA: {error.message}",
            fix="Seed with `--rung rpa` until `farm pull` or a refit has brought one",
        ) from error
    return found


def check(rung: RungFlag, protocol: Protocol, *, ipa_enough_given: bool) -> None:
    """Raise InputError for flags that do not go together."""
    if ipa_enough_given and rung != "auto":
        raise InputError("--ipa-enough is for --rung auto alone", fix="Leave it out, or add --rung auto")
    if rung == "auto" and protocol.is_ipa_only:
        raise InputError(
            "--rung auto: the protocol has no local fields, there is nothing to choose",
            fix="Leave --rung out, or raise gmax_max_mry",
        )


def at_rung(
    rung: RungFlag,
    terms: Terms,
    choose: RungChooser | None,
    cost_models: Mapping[str, CostModel],
    failed_job_ids: frozenset[str],
) -> tuple[Terms, Rungs | None]:
    """Under which terms structures are judged, and what is done beside that.

    terms:          of the protocol that was asked for, with its local fields
    choose:         for ``auto`` alone
    cost_models:    what measured jobs taught, by :func:`farm.cost_model.model_key`
    failed_job_ids: jobs that the store has answered by a failure
    """
    whole = _with_learnt(terms, cost_models)
    if rung == "rpa":
        return whole, None
    ipa = _with_learnt(replace(terms, protocol=terms.protocol.ipa_only()), cost_models)
    rungs = Rungs(rpa_hash=terms.protocol.hash, failed_job_ids=failed_job_ids)
    if rung == "ipa":
        return ipa, rungs
    return whole, replace(rungs, choose=choose, ipa=ipa)


def _with_learnt(terms: Terms, cost_models: Mapping[str, CostModel]) -> Terms:
    learnt = cost_models.get(model_key(terms.engine, terms.protocol.hash))
    return terms if learnt is None else replace(terms, cost_model=learnt)
