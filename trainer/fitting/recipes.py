"""How the farm fits each architecture, found on a few hundred materials."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from farm.errors import InputError
from farm.settings import Settings
from trainer.data.split import DEFAULT_RULE, SplitRule
from trainer.fitting.plan import FitPlan
from trainer.networks.architectures import ARCHITECTURES
from trainer.networks.network import NetworkConfig
from trainer.networks.optimate import OptiMateConfig
from trainer.networks.oscillators import OscillatorConfig

# On 100 to 200 materials the best epoch of OPTIMATE from scratch was the 28th to 58th, that of a transfer
# the 11th to 85th; 500 published epochs are too few and too small steps there.
FROM_SCRATCH = FitPlan(epochs=200, lr=1e-3, patience=60)
TRANSFER = FitPlan(epochs=120, lr=1e-4, weight_decay=1e-4, patience=40)
SIMILARITY = FitPlan(epochs=100, lr=1e-3, weight_decay=1e-4, patience=40)

_OSCILLATORS = FitPlan(
    epochs=120,
    lr=1e-3,
    loss="similarity",
    schedule="one-cycle",
    every=4,
    least_steps=600,
    weight_decay=0.05,
    decoupled=True,
    max_gradient=5.0,
)

# One output and few weights: the target is one number a material.
SIMILARITY_MODEL = OptiMateConfig(
    embedding=(32, 32), attention=((16, 4), (32, 4)), output=(128, 128), n_energies=1
)


@dataclass(frozen=True, kw_only=True)
class RefitPlan:
    """How to refit.

    base, transfer, similarity: of the IPA fit from scratch, of the RPA fits that start from it, and of the
                    model of SC[RPA; IPA]; None: there is none
    members:        RPA fits, which differ in their seed and in the fifth that each leaves out
    base_growth:    the parent's base is used again while the materials to learn from are at most
                    this many times those it was fitted to
    base_from:      version or path of a checkpoint whose IPA model starts every transfer, such as an
                    imported one; None: the farm fits its own
    model:          widths; its ``n_energies`` is replaced by that of the data
    """

    base: FitPlan = FROM_SCRATCH
    transfer: FitPlan = TRANSFER
    similarity: FitPlan | None = SIMILARITY
    members: int = 4
    base_growth: float = 1.5
    base_from: str | None = None
    model: NetworkConfig = field(default_factory=OptiMateConfig)
    similarity_model: NetworkConfig = SIMILARITY_MODEL
    rule: SplitRule = DEFAULT_RULE


def default_plan(
    architecture: str = OscillatorConfig.architecture, *, device: str | None = None
) -> RefitPlan:
    """The recipe of an architecture at the sizes of a farm, on the GPU where there is one.

    Raises InputError for an architecture that is not known.
    """
    if device is None:
        import torch

        device = "cuda" if torch.cuda.is_available() else "cpu"
    if architecture == OptiMateConfig.architecture:
        plan = RefitPlan()
    elif architecture == OscillatorConfig.architecture:
        plan = RefitPlan(
            base=_OSCILLATORS,
            transfer=replace(_OSCILLATORS, epochs=60, lr=5e-4, least_steps=60),
            model=OscillatorConfig(),
        )
    else:
        raise InputError(f"no architecture {architecture!r}", fix=f"Use one of {', '.join(ARCHITECTURES)}")
    similarity = None if plan.similarity is None else replace(plan.similarity, device=device)
    return replace(
        plan,
        base=replace(plan.base, device=device),
        transfer=replace(plan.transfer, device=device),
        similarity=similarity,
    )


def plan_of(settings: Settings) -> RefitPlan:
    """The plan of a farm's refits."""
    return replace(
        default_plan(settings.refit_architecture),
        members=settings.refit_members,
        base_from=settings.refit_base or None,
    )
