"""Parts of a network that a fit leaves as they are: a transfer then learns only what has to change.

The three parts of both networks, by the names of their modules:

    embedding  what a site is, from its element
    attention  message passing and the pooling of sites
    head       from the pooled vector to the spectrum
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence

import torch

from farm.errors import InputError
from trainer.networks.network import SpectrumNetwork
from trainer.networks.optimate import OptiMateConfig
from trainer.networks.oscillators import OscillatorConfig

PARTS = ("embedding", "attention", "head")

# The first word of a module's name, without a number at its end, to its part.
_PART_OF = {
    OptiMateConfig.architecture: {
        "mlp_init_node": "embedding",
        "gat": "attention",
        "mlp_att": "attention",
        "mlp1": "head",
    },
    OscillatorConfig.architecture: {
        "embed": "embedding",
        "attention": "attention",
        "norms": "attention",
        "mixers": "attention",
        "site_logits": "attention",
        "trunk": "head",
        "strengths": "head",
        "bond_logits": "head",
        "tensors": "head",
    },
}


def modules_of(model: SpectrumNetwork, parts: Sequence[str]) -> list[torch.nn.Module]:
    """The modules that make up these parts. Raises InputError for a part that there is not."""
    if unknown := sorted(set(parts) - set(PARTS)):
        raise InputError(f"no part {', '.join(unknown)} of a network", fix=f"Use {', '.join(PARTS)}")
    named = _PART_OF[model.config.architecture]
    # gat1, gat2 ... are as many as the configuration has.
    found = {
        name: named.get(name, named.get(name.rstrip("0123456789"))) for name, _ in model.named_children()
    }
    return [module for name, module in model.named_children() if found[name] in parts]


@contextlib.contextmanager
def frozen(model: SpectrumNetwork, parts: Sequence[str]) -> Iterator[Callable[[], None]]:
    """Hold these parts; gives the function that puts the rest into training mode.

    Held are the weights, the running statistics of normalisation (also in use instead of those of the
    batch) and dropout. Afterwards all can be trained again. Raises InputError when nothing is left to
    learn.
    """
    if set(parts) >= set(PARTS):
        raise InputError("all parts are frozen: nothing is left to learn", fix="Leave one of them out")
    held = modules_of(model, parts) if parts else []
    for module in held:
        module.requires_grad_(requires_grad=False)

    def learn() -> None:
        model.train()
        for module in held:
            module.eval()

    try:
        yield learn
    finally:
        for module in held:
            module.requires_grad_(requires_grad=True)
