"""An entry of the published database as a result, and back with every number as it was; pure.

A ``ComputedStructureEntry`` of pymatgen with the spectra in ``data`` and, in ``parameters``, the density of
the k-grid (``rpa_kppa``), the broadening in eV (``rpa_broad``) and the cutoffs of the local fields in mRy
(``rpa_G``); as ``rpa_similarity`` in ``data``, 0 along directions that are left out.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from farm.crystal import Crystal
from farm.errors import InputError, StoreError
from farm.interchange import fields
from farm.interchange.cells import crystal_of
from farm.interchange.directions import KEYS, Filling, filling
from farm.interchange.not_finite import hidden, restored
from farm.interchange.rung_spectra import (
    PARTS,
    RungSpectra,
    field_names,
    is_without_value,
    read_rung,
    write_part,
)
from farm.interchange.space_groups import symbol_of
from farm.interchange.terms import Terms
from farm.job import Engine, Outcome
from farm.result import LadderStep, Result
from farm.rung import Rung

FORMAT = "htrpa"
# Yambo's files do not say how many G vectors a cutoff took; without local fields it is one.
_N_G_UNKNOWN = 0

_GAPS = ("ipa_indirect_gap", "ipa_direct_gap")
_PARAMETERS = ("rpa_kppa", "rpa_G", "rpa_broad")


def result_of_published(entry: Mapping[str, Any], terms: Terms, material_id: str, source: str) -> Result:
    """The result of an entry that follows ``terms``.

    Raises InputError (CrystalError for the cell) naming the field that is missing, wrong, or says that the
    entry was made otherwise.
    """
    data = fields.mapping(entry.get("data"), "data")
    crystal = crystal_of(entry, material_id, source)
    if _is_metal(data):
        return _metal(entry, terms, crystal)
    parameters = fields.mapping(entry.get("parameters"), "parameters")
    terms.check(parameters, crystal)
    n_energies = terms.protocol.n_energies
    ipa, rpa = (read_rung(data, rung, n_energies) for rung in Rung)
    if ipa is None:
        raise fields.missing("data.ipa_epsI")
    sources = filling(ipa.keys, crystal, "data.ipa_epsI")
    ladder = [LadderStep(gmax_mry=0, n_g=1, step_similarity=None, eps=ipa.filled(sources))]
    protocol, protocol_hash = terms.without_fields
    found: dict[str, Any] = {}
    if rpa is not None:
        protocol, protocol_hash = terms.with_fields
        if set(rpa.keys) != set(ipa.keys):
            sources = filling(rpa.keys, crystal, "data.rpa_epsI")
        step, found = _local_fields(data, parameters, rpa, sources, terms)
        ladder.append(step)
    gaps = [None if data.get(name) is None else fields.number(data[name], f"data.{name}") for name in _GAPS]
    return Result(
        crystal=crystal,
        protocol=protocol,
        protocol_hash=protocol_hash,
        engine=Engine.YAMBO,
        **({"outcome": Outcome.DONE} | found),
        ladder=tuple(ladder),
        gap_indirect_ev=gaps[0],
        gap_direct_ev=gaps[1],
        space_group=symbol_of(data.get("spg")),
        parameters={name: parameters[name] for name in _PARAMETERS if name in parameters},
        origin=_origin(entry, {Rung.IPA: ipa, Rung.RPA: rpa}),
    )


def _is_metal(data: Mapping[str, Any]) -> bool:
    """Whether an entry says NaN of its gaps or of all its spectra."""
    if any(fields.is_nan(data.get(gap)) for gap in _GAPS):
        return True
    has_rpa = any(data.get(name) is not None for name in field_names(Rung.RPA))
    return is_without_value(data, Rung.IPA) and (not has_rpa or is_without_value(data, Rung.RPA))


def _metal(entry: Mapping[str, Any], terms: Terms, crystal: Crystal) -> Result:
    protocol, protocol_hash = terms.with_fields
    return Result(
        crystal=crystal,
        protocol=protocol,
        protocol_hash=protocol_hash,
        engine=Engine.YAMBO,
        outcome=Outcome.METAL,
        reason="its source gives NaN in place of a gap or of spectra",
        space_group=symbol_of(entry["data"].get("spg")),
        origin=_origin(entry, {}),
    )


def _local_fields(
    data: Mapping[str, Any],
    parameters: Mapping[str, Any],
    rpa: RungSpectra,
    sources: Filling,
    terms: Terms,
) -> tuple[LadderStep, dict[str, Any]]:
    """The last step of the ladder, and what it says of convergence."""
    if terms.protocol.is_ipa_only:
        raise InputError(
            "field data.rpa_epsI has local fields, the protocol none (gmax_max_mry = 0)",
            fix="Take a protocol with local fields",
        )
    cutoffs = fields.three(parameters.get("rpa_G"), "parameters.rpa_G")
    similarities = fields.three(data.get("rpa_similarity"), "data.rpa_similarity")
    threshold = terms.protocol.similarity_threshold
    gmax_mry: dict[int, int] = {}
    similarity: dict[int, float] = {}
    for direction in sorted(set(sources)):
        gmax = fields.whole_number(cutoffs[direction], "parameters.rpa_G")
        if gmax <= 0:
            raise InputError(
                f"field parameters.rpa_G is {gmax} mRy along {KEYS[direction]}, which has an RPA spectrum",
                fix="Write the cutoff of each direction that has a spectrum",
            )
        gmax_mry[direction] = gmax
        similarity[direction] = fields.number(similarities[direction], "data.rpa_similarity")
    x, y, z = sources
    step = LadderStep(
        gmax_mry=max(gmax_mry.values()),
        n_g=_N_G_UNKNOWN,
        step_similarity=(similarity[x], similarity[y], similarity[z]),
        eps=rpa.filled(sources),
    )
    poor = [KEYS[d] for d, value in similarity.items() if value <= threshold]
    found: dict[str, Any] = {
        "gmax_converged_mry": tuple(gmax_mry[d] if similarity[d] > threshold else None for d in sources)
    }
    if poor:
        lowest = min(similarity.values())
        found |= {
            "outcome": Outcome.UNCONVERGED,
            "diagnosis": "local_fields_unconverged",
            "reason": f"its source says SC {lowest:.3f} of the last step along {', '.join(poor)}; "
            f"above {threshold:g} is asked for",
        }
    return step, found


def _origin(entry: Mapping[str, Any], spectra: Mapping[Rung, RungSpectra | None]) -> dict[str, Any]:
    """What the store keeps of an entry: all but the numbers of its spectra, and how to get these back."""
    data = dict(entry["data"])
    digest = hashlib.blake2b(digest_size=16)
    for rung, given in spectra.items():
        if given is not None:
            data |= dict(zip(field_names(rung), given.recipes(), strict=True))
            digest.update(given.values.astype("<f8").tobytes())
    kept, places = hidden({**entry, "data": data})
    digest.update(json.dumps([kept, places], sort_keys=True).encode())
    origin = {"format": FORMAT, "digest": digest.hexdigest(), "entry": kept}
    return origin | ({"not_finite": places} if places else {})


def published_entry_of(result: Result) -> dict[str, Any]:
    """The entry that :func:`result_of_published` was given; spectra as float64 arrays.

    Raises StoreError where its origin is not what that wrote.
    """
    try:
        places = result.origin.get("not_finite", [])
        kept = result.origin["entry"]
        # Only what is not finite is put back deep inside; the result shall stay as it is.
        entry: dict[str, Any] = deepcopy(kept) if places else dict(kept)
        entry["data"] = data = dict(entry["data"])
        if result.ladder:
            steps = {Rung.IPA: result.ladder[0], Rung.RPA: result.ladder[-1]}
            for rung, step in steps.items():
                for part, name in zip(PARTS, field_names(rung), strict=True):
                    if data.get(name) is not None:
                        data[name] = write_part(step.eps, part, data[name])
        restored_entry: dict[str, Any] = restored(entry, places)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise StoreError(
            f"{result.crystal.material_id}: field origin is damaged: {error!r}", fix="Import it again"
        ) from error
    return restored_entry


def is_published(result: Result) -> bool:
    """Whether a result came from an entry of the published database."""
    return result.origin.get("format") == FORMAT
