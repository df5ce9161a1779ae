"""What `farm train` fits and how: the recipe of a farm's refits or the published one, with changes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from farm.errors import InputError
from trainer.checkpoints.registry import Rung
from trainer.fitting.plan import PUBLISHED_SIMILARITY, PUBLISHED_TRANSFER, FitPlan
from trainer.fitting.recipes import FROM_SCRATCH, default_plan
from trainer.networks.network import NetworkConfig
from trainer.networks.optimate import OptiMateConfig
from trainer.networks.oscillators import OscillatorConfig

Kind = Literal["base", "transfer", "direct", "similarity"]
KINDS: tuple[Kind, ...] = ("base", "transfer", "direct", "similarity")
DEFAULT_ARCHITECTURE = OscillatorConfig.architecture
_RUNGS: dict[Kind, Rung] = {"base": "ipa", "transfer": "rpa", "direct": "rpa", "similarity": "similarity"}
# Of what is changed, what a base under a transfer follows: all that does not steer its quality.
_SHARED = ("seed", "device", "threads")


@dataclass(frozen=True, kw_only=True)
class TrialPlan:
    """What to fit and how.

    fit:   of the fit that is measured
    base:  of the IPA fit that a transfer starts from, without dropout; None for other kinds
    model: widths; its ``n_energies`` is replaced by that of the data, but for one output
    """

    kind: Kind
    fit: FitPlan
    base: FitPlan | None
    model: NetworkConfig

    @property
    def rung(self) -> Rung:
        """What the fit learns."""
        return _RUNGS[self.kind]

    @property
    def base_model(self) -> NetworkConfig:
        """Of the base: dropout is a matter of how the fit goes and has no weights."""
        return replace(self.model, dropout=0.0) if isinstance(self.model, OscillatorConfig) else self.model

    def for_grid(self, n_energies: int) -> TrialPlan:
        """The same for spectra of so many points."""
        if self.kind == "similarity":
            return self
        return replace(self, model=replace(self.model, n_energies=n_energies))


def trial_plan(
    kind: Kind,
    *,
    architecture: str = DEFAULT_ARCHITECTURE,
    published: bool = False,
    changes: Mapping[str, Any] | None = None,
) -> TrialPlan:
    """The plan of one fit.

    published: lr, weight decay, batch size, epochs and loss as published, instead of those found here
    changes:   fields of the fit's plan, and ``dropout`` of networks that have it. A base under a transfer
               keeps its recipe: it takes seed, device and threads alone

    Raises InputError for what does not go together.
    """
    changes = dict(changes or {})
    if "epochs" in changes:
        # Who says how many means it.
        changes.setdefault("least_steps", 0)
    whole = default_plan(architecture, device=changes.get("device", "cpu"))
    base, model = whole.base, whole.model
    fit = whole.transfer if kind == "transfer" else whole.base
    if kind == "similarity":
        if whole.similarity is None:
            raise InputError(f"there is no recipe of a similarity model with {architecture}")
        fit, model = whole.similarity, whole.similarity_model
    if published:
        if kind not in ("transfer", "similarity") or architecture != OptiMateConfig.architecture:
            raise InputError(
                f"no recipe was published of {kind} with {architecture}",
                fix="There are those of transfer and similarity, with --architecture optimate",
            )
        fit = PUBLISHED_TRANSFER if kind == "transfer" else PUBLISHED_SIMILARITY
        # Their similarity model was the whole network with one output.
        base, model = FROM_SCRATCH, OptiMateConfig(n_energies=model.n_energies)
    if (dropout := changes.pop("dropout", None)) is not None:
        model = _with_dropout(model, dropout)
    shared = {name: changes[name] for name in _SHARED if name in changes}
    return TrialPlan(
        kind=kind,
        fit=replace(fit, **changes),
        base=replace(base, **shared) if kind == "transfer" else None,
        model=model,
    )


def starting_from(plan: TrialPlan, config: NetworkConfig) -> TrialPlan:
    """The plan of a transfer from a model with this configuration; of ours only the dropout is kept."""
    if isinstance(config, OscillatorConfig) and isinstance(plan.model, OscillatorConfig):
        config = replace(config, dropout=plan.model.dropout)
    return replace(plan, model=config, base=None)


def _with_dropout(model: NetworkConfig, dropout: float) -> NetworkConfig:
    if not isinstance(model, OscillatorConfig):
        raise InputError(
            f"the network {model.architecture} has no dropout", fix="Leave it out, or use oscillators"
        )
    return replace(model, dropout=dropout)
