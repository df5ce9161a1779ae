"""What becomes of one structure, whatever the others are: pure, so that other processes can do it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from farm.cost import cost_prior
from farm.cost_model import CostModel
from farm.crystal import Crystal
from farm.errors import CrystalError
from farm.job import Engine, Job
from farm.protocol import Protocol
from farm.slot_class import slot_class
from farm.sources import Filters, Rejected, Skipped, Unparsed, parse


@dataclass(frozen=True, kw_only=True)
class Terms:
    """What all structures of a source are judged by.

    engine:     who computes the response
    cost_model: what measured jobs of this protocol and engine taught of their cost
    """

    filters: Filters
    protocol: Protocol
    engine: Engine = Engine.NATIVE
    cost_model: CostModel = field(default_factory=CostModel)


@dataclass(frozen=True)
class Unpriced:
    """A crystal that is wanted and whose cost cannot be predicted."""

    crystal: Crystal
    rejected: Rejected


def appraise(
    items: Iterable[Unparsed | Crystal | Rejected], terms: Terms
) -> list[Job | Unpriced | Rejected | Skipped]:
    """Parse, filter and price structures: one answer each, in their order."""
    priced = Pricer(terms)
    answers: list[Job | Unpriced | Rejected | Skipped] = []
    for item in items:
        found = parse(item, terms.filters.why_not_told)
        if not isinstance(found, Crystal):
            answers.append(found)
        elif reason := terms.filters.why_not(found):
            answers.append(Skipped(found.material_id, reason))
        else:
            answers.append(priced(found))
    return answers


class Pricer:
    """Makes jobs of crystals under one protocol, whose fields and hash are taken once."""

    def __init__(self, terms: Terms) -> None:
        self._terms = terms
        self._fields, self._hash = terms.protocol.to_dict(), terms.protocol.hash

    def __call__(self, crystal: Crystal) -> Job | Unpriced:
        """The job of a crystal, with its predicted cost."""
        terms = self._terms
        try:
            prior = cost_prior(crystal, terms.protocol, terms.engine)
        except CrystalError as error:
            return Unpriced(crystal, Rejected(crystal.material_id, error.message, error.fix))
        return Job(
            crystal=crystal,
            protocol=self._fields,
            protocol_hash=self._hash,
            engine=terms.engine,
            predicted_cpu_s=terms.cost_model.predict(prior).cpu_s,
            prior=prior,
            slot_class=slot_class(prior.memory_mb),
        )
