"""Two engines on one ground state: how alike their spectra are, rung by rung; pure.

YAMBO is the reference of every similarity, whichever of the two was stored.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from farm.errors import InputError
from farm.job import Engine
from farm.result import LadderStep, Result
from farm.spectrum import similarity_coefficient

Triple = tuple[float, float, float]


@dataclass(frozen=True, kw_only=True, eq=False)
class OtherEngine:
    """What the other engine made of the ground state of a stored result.

    sampled:           members of the stars of all k-points that YAMBO tells apart, and that there are
    same_points:       our solver's ladder with stars counted as YAMBO does; () where that changes nothing
    same_points_cpu_s: what that took
    note:              why ``same_points`` is missing where it would say something
    """

    result: Result
    sampled: tuple[int, int]
    same_points: tuple[LadderStep, ...] = ()
    same_points_cpu_s: float = 0.0
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class RungAgreement:
    """One rung that both have.

    n_g, eps_inf: (native, yambo); eps_inf along x, y, z
    similarity:   SC[native; yambo] of Im eps along x, y, z; None where YAMBO had stopped before this rung
    """

    gmax_mry: int
    n_g: tuple[int, int]
    eps_inf: tuple[Triple, Triple]
    similarity: tuple[float | None, float | None, float | None]

    def to_dict(self) -> dict[str, Any]:
        """As plain values, by engine."""
        return {
            "gmax_mry": self.gmax_mry,
            "n_g": _by_engine(self.n_g),
            "similarity": list(self.similarity),
            "eps_inf": _by_engine([list(three) for three in self.eps_inf]),
        }


def agreement(native: Sequence[LadderStep], yambo: Result) -> tuple[RungAgreement, ...]:
    """The rungs that both ladders hold. Raises InputError for spectra on different energies."""
    ours = {step.gmax_mry: step for step in native}
    return tuple(_rung(ours[step.gmax_mry], step, yambo) for step in yambo.ladder if step.gmax_mry in ours)


def worst_difference(rungs: Sequence[RungAgreement]) -> float:
    """The largest 1 - SC of all rungs and directions."""
    return max(1 - similarity for rung in rungs for similarity in rung.similarity if similarity is not None)


def _rung(ours: LadderStep, theirs: LadderStep, yambo: Result) -> RungAgreement:
    energies_ev = yambo.energies_ev
    if ours.eps.shape != theirs.eps.shape or ours.eps.shape[-1] != energies_ev.size:
        raise InputError("the spectra are not on the same photon energies")
    similarity: list[float | None] = []
    for direction, stopped_at in enumerate(yambo.gmax_converged_mry):
        # A direction that converged keeps its last spectrum on the rungs that others needed.
        repeats = stopped_at is not None and theirs.gmax_mry > stopped_at
        pair = ours.eps.imag[direction], theirs.eps.imag[direction]
        similarity.append(None if repeats else similarity_coefficient(*pair, energies_ev))
    return RungAgreement(
        gmax_mry=ours.gmax_mry,
        n_g=(ours.n_g, theirs.n_g),
        eps_inf=(_eps_inf(ours), _eps_inf(theirs)),
        similarity=(similarity[0], similarity[1], similarity[2]),
    )


def _eps_inf(step: LadderStep) -> Triple:
    x, y, z = (float(value) for value in step.eps.real[:, 0])
    return x, y, z


def _by_engine(pair: Sequence[Any]) -> dict[str, Any]:
    return {engine.value: value for engine, value in zip((Engine.NATIVE, Engine.YAMBO), pair, strict=True)}
