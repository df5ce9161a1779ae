"""The authors' state dicts of OPTIMATE, in and out: their names, and from the shapes the widths.

Two layouts are in use, each with or without ``gatnn.`` before every name, as a plain state dict or in
a Lightning checkpoint (``{"state_dict": ...}``)::

    a   mlp_init_node.lins.0.weight         gat1.att  gat2.att  mlp_att.*           mlp1.*
    b   mlp_init_node.module_0.lins.0.weight  gat.module_0.att  mlp_att.module_0.*  mlp1.module_0.*

Files are read as tensors alone: a pickle that would run code is refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from farm.errors import CheckpointError
from trainer.checkpoints.staging import disk_errors, staged, sync
from trainer.networks.ensemble import Ensemble
from trainer.networks.graph import N_NODE_FEATURES
from trainer.networks.network import SpectrumNetwork
from trainer.networks.optimate import OptiMate, OptiMateConfig

Layout = Literal["a", "b"]
PREFIX = "gatnn."

_LAYER_A = re.compile(r"gat(\d{1,3})\.(.+)")
_LAYER_B = re.compile(r"gat\.module_(\d{1,3})\.(.+)")
_PERCEPTRON = re.compile(r"(mlp_init_node|mlp_att|mlp1)\.(module_0\.)?(.+)")
# Older versions of torch_geometric did not wrap the layers that normalise.
_UNWRAPPED = re.compile(r"norms\.(\d{1,3})\.(?!module\.)(.+)")
_FLOATING = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_NAMES_SHOWN = 4
_FIX = "Give a state dict of the published OPTIMATE network, saved by torch.save"


def read_published(path: Path) -> tuple[OptiMateConfig, dict[str, Tensor]]:
    """Widths and weights, in our names and float32, of a file by the authors.

    Raises CheckpointError, naming the file, for what is no such network, is damaged, would run code,
    or holds numbers that are not finite.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        # What is no archive of tensors can fail anywhere in there.
        reason = str(error).strip().partition("\n")[0][:120] or type(error).__name__
        raise CheckpointError(f"{path}: no file of weights alone: {reason}", fix=_FIX) from error
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]
    try:
        return from_published(content)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error.message}", fix=error.fix) from error


def from_published(state: object) -> tuple[OptiMateConfig, dict[str, Tensor]]:
    """Widths and weights of a state dict by the authors. Raises CheckpointError."""
    if not isinstance(state, Mapping) or not state or not all(isinstance(name, str) for name in state):
        raise _refusal("it is no state dict")
    weights: dict[str, Tensor] = {}
    for name, value in state.items():
        ours = our_name(name)
        if ours is None:
            raise _refusal(f"there is no {name} in that network")
        if ours in weights:
            raise _refusal(f"{ours} is there twice")
        weights[ours] = _plain(name, value)
    config = config_of(weights)
    _require_same_shapes(config, weights)
    return config, weights


def our_name(name: str) -> str | None:
    """Our name of a tensor of either layout; None for a name of neither."""
    name = name.removeprefix(PREFIX)
    if found := _LAYER_A.fullmatch(name):
        return f"gat{int(found[1])}.{found[2]}"
    if found := _LAYER_B.fullmatch(name):
        return f"gat{int(found[1]) + 1}.{found[2]}"
    if found := _PERCEPTRON.fullmatch(name):
        rest = _UNWRAPPED.sub(r"norms.\1.module.\2", found[3])
        return f"{found[1]}.{rest}"
    return None


def published_name(name: str, layout: Layout) -> str:
    """The authors' name of one of our tensors, without ``gatnn.``."""
    if layout == "a":
        return name
    if found := _LAYER_A.fullmatch(name):
        return f"gat.module_{int(found[1]) - 1}.{found[2]}"
    part, _, rest = name.partition(".")
    return f"{part}.module_0.{rest}"


def config_of(weights: Mapping[str, Tensor]) -> OptiMateConfig:
    """The widths that tensors in our names have. Raises CheckpointError for what cannot be one network."""
    embedding = _widths(weights, "mlp_init_node", N_NODE_FEATURES)
    attention: list[tuple[int, int]] = []
    while (att := weights.get(f"gat{len(attention) + 1}.att")) is not None:
        if att.dim() != 3 or att.shape[0] != 1 or 0 in att.shape:
            raise _refusal(f"gat{len(attention) + 1}.att has the shape {tuple(att.shape)}")
        attention.append((att.shape[2], att.shape[1]))
    if not attention:
        raise _refusal("gat1.att is missing")
    channels, heads = attention[-1]
    *output, n_energies = _widths(weights, "mlp1", channels * heads)
    return OptiMateConfig(
        embedding=tuple(embedding), attention=tuple(attention), output=tuple(output), n_energies=n_energies
    )


def of_published_form(model: SpectrumNetwork, member: int | None = None) -> OptiMate:
    """The network whose weights can be given away; of several members (from 1) the one that is asked for.

    Raises CheckpointError for another architecture, or where it has to be said which member.
    """
    members = model.members if isinstance(model, Ensemble) else [model]
    if not isinstance(members[0], OptiMate):
        raise CheckpointError(
            f"the authors' code knows no network of the kind {model.config.architecture!r}",
            fix=f"Only {OptiMateConfig.architecture!r} has their form",
        )
    if member is None and len(members) > 1:
        raise CheckpointError(f"there are {len(members)} members", fix="Choose one: --member 1")
    if member is not None and member > len(members):
        raise CheckpointError(f"there is no member {member}", fix=f"Members are 1 to {len(members)}")
    chosen = members[(member or 1) - 1]
    assert isinstance(chosen, OptiMate)  # noqa: S101 - members are of one kind
    return chosen


def to_published(model: OptiMate, layout: Layout, *, prefixed: bool = False) -> dict[str, Tensor]:
    """A state dict as the authors' code reads it; ``prefixed``: with ``gatnn.`` before every name."""
    prefix = PREFIX if prefixed else ""
    return {
        prefix + published_name(name, layout): value.detach().cpu().clone()
        for name, value in model.state_dict().items()
    }


def write_published(state: Mapping[str, Tensor], path: Path) -> None:
    """Save a state dict, whole or not at all. Raises CheckpointError where the disk refuses."""
    with disk_errors(path.parent), staged(path.parent) as staging:
        torch.save(dict(state), staging / "weights")
        sync(staging / "weights")
        (staging / "weights").replace(path)


def _widths(weights: Mapping[str, Tensor], part: str, n_inputs: int) -> list[int]:
    """Widths of the layers of a perceptron, its input left out."""
    found: list[int] = []
    while (weight := weights.get(f"{part}.lins.{len(found)}.weight")) is not None:
        expected = found[-1] if found else n_inputs
        if weight.dim() != 2 or weight.shape[1] != expected or weight.shape[0] == 0:
            shape = tuple(weight.shape)
            raise _refusal(f"{part}.lins.{len(found)}.weight has the shape {shape}, not (..., {expected})")
        found.append(weight.shape[0])
    if not found:
        raise _refusal(f"{part}.lins.0.weight is missing")
    return found


def _require_same_shapes(config: OptiMateConfig, weights: Mapping[str, Tensor]) -> None:
    with torch.device("meta"):
        expected = {name: tuple(value.shape) for name, value in OptiMate(config).state_dict().items()}
    if missing := sorted(expected.keys() - weights.keys()):
        raise _refusal(f"{_listed(missing)} {'is' if len(missing) == 1 else 'are'} missing")
    if unknown := sorted(weights.keys() - expected.keys()):
        raise _refusal(f"there is no {_listed(unknown)} in that network")
    for name, shape in expected.items():
        if tuple(weights[name].shape) != shape:
            raise _refusal(f"{name} has the shape {tuple(weights[name].shape)}, not {shape}")


def _plain(name: str, value: object) -> Tensor:
    """A dense copy of its own, floating-point numbers as float32."""
    if not isinstance(value, Tensor) or value.layout is not torch.strided:
        raise _refusal(f"{name} is no tensor")
    if name.endswith("num_batches_tracked"):
        return value.to(torch.int64).clone()
    if value.dtype not in _FLOATING:
        raise _refusal(f"{name} holds {value.dtype}")
    value = value.to(torch.float32).contiguous().clone()
    if not bool(torch.isfinite(value).all()):
        raise CheckpointError(f"{name} holds numbers that are not finite", fix="Take another file")
    if name.endswith("running_var") and bool((value < 0).any()):
        raise CheckpointError(f"{name} holds variances below 0", fix="Take another file")
    return value


def _listed(names: list[str]) -> str:
    shown = ", ".join(names[:_NAMES_SHOWN])
    return shown if len(names) <= _NAMES_SHOWN else f"{shown} and {len(names) - _NAMES_SHOWN} more"


def _refusal(detail: str) -> CheckpointError:
    return CheckpointError(f"not the published OPTIMATE network: {detail}", fix=_FIX)
