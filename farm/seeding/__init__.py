"""From structures to the backlog, batch by batch: parse, filter, price, drop what is known, queue."""

from farm.seeding.appraisal import Pricer, Terms
from farm.seeding.document import SeedDocument
from farm.seeding.flow import Row, seed_rows
from farm.seeding.queueing import Queued, Queueing
from farm.seeding.report import SeedReport
from farm.seeding.rungs import Rungs

__all__ = [
    "Pricer",
    "Queued",
    "Queueing",
    "Row",
    "Rungs",
    "SeedDocument",
    "SeedReport",
    "Terms",
    "seed_rows",
]
