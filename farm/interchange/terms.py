"""By which protocol imported files were made: said by the user, and held against what the files say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any, Self

from farm.crystal import Crystal
from farm.errors import InputError, ProtocolError
from farm.interchange import fields
from farm.kpoints import grid_divisions
from farm.protocol import Protocol

# Files tell the k-points of the grid that was used, which is rounded up to even divisions.
_KPPA_FACTOR = 2.0
_SAME_DAMPING_EV = 1e-6


@dataclass(frozen=True)
class Terms:
    """A protocol and what is asked of it for every entry, worked out once.

    with_fields, without_fields: its fields and hash with local fields, and without for entries of IPA alone
    """

    protocol: Protocol
    with_fields: tuple[Mapping[str, Any], str]
    without_fields: tuple[Mapping[str, Any], str]

    @classmethod
    def of(cls, protocol: Protocol, kppa: int | None = None) -> Self:
        """The terms of a protocol as published files follow it: bands by nscf, as yambo takes them.

        kppa: k-points per reciprocal atom of the spectra, in place of the protocol's

        Raises ProtocolError for one that yambo cannot follow.
        """
        if protocol.kgrid == "converged":
            raise ProtocolError(
                "kgrid = 'converged' is not how published files were made",
                fix="Take a protocol with kgrid = 'published'",
            )
        changes: dict[str, Any] = {"bands": "nscf"}
        if kppa is not None:
            changes["response_kppa"] = kppa
        origin = "--protocol" if kppa is None else "--kppa"
        followed = Protocol.from_dict({**protocol.to_dict(), **changes}, origin=origin)
        alone = followed.ipa_only()
        return cls(followed, (followed.to_dict(), followed.hash), (alone.to_dict(), alone.hash))

    def check(self, parameters: Mapping[str, Any], crystal: Crystal) -> None:
        """Raise InputError where an entry's ``parameters`` say that it was made otherwise."""
        broadening_ev = fields.number(parameters.get("rpa_broad"), "parameters.rpa_broad")
        if abs(broadening_ev - self.protocol.damping_ev) > _SAME_DAMPING_EV:
            raise InputError(
                f"field parameters.rpa_broad is {broadening_ev:g} eV, damping_ev of the protocol "
                f"{self.protocol.damping_ev:g}",
                fix="Import such files by themselves, with --protocol FILE where damping_ev is theirs",
            )
        kppa = fields.number(parameters.get("rpa_kppa"), "parameters.rpa_kppa")
        asked = self.protocol.response_kppa
        divisions = grid_divisions(crystal, asked, even=True)
        # A long cell: its one division along that axis is rounded up to two.
        expected = max(asked, prod(divisions) * crystal.n_atoms)
        if not asked / _KPPA_FACTOR <= kppa <= expected * _KPPA_FACTOR:
            raise InputError(
                f"field parameters.rpa_kppa is {kppa:g}, response_kppa of the protocol {asked}",
                fix="Say with --kppa N for which density files were made",
            )
