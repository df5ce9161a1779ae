"""Structures from files and databases, one by one; what cannot be used is named, never raised."""

from farm.sources.files import read_source
from farm.sources.items import Rejected, Skipped
from farm.sources.selection import Filters, select, space_group_number

__all__ = ["Filters", "Rejected", "Skipped", "read_source", "select", "space_group_number"]
