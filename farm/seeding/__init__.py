"""From structures to the backlog, batch by batch: parse, filter, price, drop what is known, queue."""

from farm.seeding.appraisal import Terms
from farm.seeding.document import SeedDocument
from farm.seeding.flow import Row, seed_rows
from farm.seeding.queueing import Queued, Queueing
from farm.seeding.report import SeedReport

__all__ = ["Queued", "Queueing", "Row", "SeedDocument", "SeedReport", "Terms", "seed_rows"]
