"""Structures from files and databases, one by one; what cannot be used is named, never raised."""

from farm.sources.distinct import Distinct
from farm.sources.files import cut_source, is_structure_file, parse, read_source, source_bytes
from farm.sources.items import Rejected, Skipped, Unparsed
from farm.sources.opening import Meter
from farm.sources.selection import Filters, Sieve, select, space_group_number
from farm.sources.simple_cif import read_simple_cif

__all__ = [
    "Distinct",
    "Filters",
    "Meter",
    "Rejected",
    "Sieve",
    "Skipped",
    "Unparsed",
    "cut_source",
    "is_structure_file",
    "parse",
    "read_simple_cif",
    "read_source",
    "select",
    "source_bytes",
    "space_group_number",
]
