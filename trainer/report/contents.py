"""What a report is made of, and the sentences that say what could not be had."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from farm.spectrum import FloatArray
from trainer.checkpoints.card import Card


class Group(IntEnum):
    """What a checkpoint has to do with a material of the store."""

    LEARNING = 0
    HELD_OUT = 1
    LATER = 2
    UNKNOWN = 3


GROUP_NAMES = {
    Group.LEARNING: "learning side",
    Group.HELD_OUT: "held out",
    Group.LATER: "held out, came later",
    Group.UNKNOWN: "not known",
}


@dataclass(frozen=True)
class Note:
    """A sentence for the top of the page. A problem also makes the command end with exit code 1."""

    text: str
    is_problem: bool = True


@dataclass(frozen=True, kw_only=True, eq=False)
class Materials:
    """The materials of the store that the page shows, and what the checkpoint says of them.

    ids, formulas: ``n_materials`` each
    n_atoms:       int64, in the cell
    groups:        int64, see :class:`Group`
    energies_ev:   of the calculated spectra, ``(n_energies,)``
    ipa, rpa:      calculated Im eps (trace/3), float32 ``(n_materials, n_energies)``
    sc_ipa:        SC of the IPA spectrum taken for the RPA one, ``(n_materials,)``
    gap_ev:        direct gap of the calculation, None where it does not say
    predicted:     RPA spectra of the checkpoint, like ``rpa``; None: they cannot be had
    sc:            SC of ``predicted``; None with it
    band:          lower and upper edge of the uncertainty of ``predicted``, each like it, or None
    sc_expected:   SC that half of such spectra exceed, with ``band``, or None
    pooled:        pooled vectors of the network ``(n_materials, width)``, or None
    n_in_store:    how many there are, of which these may be a choice
    protocol:      fields of the protocol of the spectra
    """

    ids: tuple[str, ...]
    formulas: tuple[str, ...]
    n_atoms: NDArray[np.int64]
    groups: NDArray[np.int64]
    energies_ev: FloatArray
    ipa: NDArray[np.float32]
    rpa: NDArray[np.float32]
    sc_ipa: FloatArray
    gap_ev: tuple[float | None, ...]
    predicted: NDArray[np.float32] | None = None
    sc: FloatArray | None = None
    band: tuple[NDArray[np.float32], NDArray[np.float32]] | None = None
    sc_expected: FloatArray | None = None
    pooled: NDArray[np.float32] | None = None
    n_in_store: int = 0
    protocol: dict[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def held_out(self) -> NDArray[np.int64]:
        """Numbers of the materials held out when the checkpoint was fitted, ascending."""
        return np.flatnonzero(self.groups == Group.HELD_OUT)


@dataclass(frozen=True, kw_only=True)
class MeasuredNow:
    """Versions measured once more, all on the materials that the checkpoint of the page holds out.

    points:     materials learnt from and median SC of each version, the fewest materials first
    ipa_as_rpa: median SC of the calculated IPA spectra on the same materials
    """

    points: tuple[tuple[int, float], ...]
    n_held_out: int
    ipa_as_rpa: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Contents:
    """Everything a page shows.

    card:      of the checkpoint; None: there is none that can be read
    versions:  cards of all versions that can be read, oldest first
    n_weights: of the RPA model, None where it cannot be loaded
    materials: None: the store cannot be read or holds no spectra to compare with
    measured_now: None: there are not two versions that can be compared so
    """

    card: Card | None = None
    versions: tuple[Card, ...] = ()
    n_weights: int | None = None
    materials: Materials | None = None
    measured_now: MeasuredNow | None = None
    notes: tuple[Note, ...] = ()
