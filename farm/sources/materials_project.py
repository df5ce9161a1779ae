"""Structures of the Materials Project, through its own client (package ``mp-api``)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import combinations
from typing import Any, Protocol

from farm.errors import SourceError
from farm.sources.items import Rejected, Unparsed
from farm.sources.opening import Meter, brief
from farm.sources.properties import known_properties
from farm.sources.selection import Filters

# Structures at a time: some MB, and an address that servers take.
_AT_A_TIME = 500
_FIELDS = ["material_id", "structure", "band_gap", "energy_above_hull", "symmetry", "total_magnetization"]
_LARGEST_GAP_EV, _LOWEST_HULL_EV = 1000.0, -1000.0
# 31 chemical systems.
_MOST_ELEMENTS_LISTED = 5
_URL = "https://materialsproject.org/materials"
_FIX = "Report it to the Materials Project"


class Client(Protocol):
    """The part of ``mp_api.client.MPRester`` that is used."""

    @property
    def materials(self) -> Any:
        """Its ``summary.search`` gives a list of documents."""


def open_client(api_key: str) -> Client:
    """A client for the real server. Raises SourceError for a key that it does not take."""
    from mp_api.client import MPRester

    try:
        client: Client = MPRester(api_key, use_document_model=False, mute_progress_bars=True)
    except Exception as error:  # the client raises its own, requests' and ValueError
        raise _error(error) from error
    return client


def cut_materials_project(
    client: Client,
    filters: Filters,
    meter: Meter | None = None,
    stopped: Callable[[], bool] = lambda: False,
) -> Iterator[Unparsed | Rejected]:
    """The structures that may meet the filters, unparsed; bad ones are named.

    The client gives whole lists: ids first, which are small, then structures for some of them at a time.
    Ids stay as they are (``mp-149``).

    Raises SourceError when the client does; what came before is good.
    """
    meter = meter or Meter()
    search = client.materials.summary.search
    ids = sorted(
        {
            str(_field(found, "material_id"))
            for found in _asked(search, ["material_id"], **conditions(filters))
        }
    )
    meter.n_entries_expected = len(ids)
    for start in range(0, len(ids), _AT_A_TIME):
        if stopped():
            return
        some = ids[start : start + _AT_A_TIME]
        for found in _asked(search, _FIELDS, material_ids=some):
            meter.n_entries += 1
            yield _read(found)


def conditions(filters: Filters) -> dict[str, Any]:
    """What the server can tell of our filters, as arguments of ``search``.

    Not ``num_sites``: it counts the sites of the cell there, which may reduce to fewer. A cell of N atoms
    has N elements at most, that is sure.
    """
    asked: dict[str, Any] = {"deprecated": False}
    if filters.max_atoms is not None:
        asked["num_elements"] = (1, filters.max_atoms)
    if filters.elements is not None and len(set(filters.elements)) <= _MOST_ELEMENTS_LISTED:
        # `elements` there means at least these; ours, no others.
        listed = sorted(set(filters.elements))
        sizes = range(1, len(listed) + 1)
        asked["chemsys"] = ["-".join(some) for n in sizes for some in combinations(listed, n)]
    if filters.exclude:
        asked["exclude_elements"] = sorted(set(filters.exclude))
    if filters.min_gap_ev is not None:
        asked["band_gap"] = (filters.min_gap_ev, _LARGEST_GAP_EV)
    if filters.max_hull_ev is not None:
        asked["energy_above_hull"] = (_LOWEST_HULL_EV, filters.max_hull_ev)
    if filters.space_group is not None:
        asked["spacegroup_number"] = filters.space_group
    return asked


def _asked(search: Callable[..., Sequence[Any]], fields: Sequence[str], **arguments: Any) -> Sequence[Any]:
    try:
        return search(fields=list(fields), all_fields=False, **arguments)
    except Exception as error:  # as above; it has tried again by itself
        raise _error(error) from error


def _error(error: Exception) -> SourceError:
    return SourceError(
        f"the Materials Project does not answer as it should: {brief(error)}",
        fix="Check MP_API_KEY, or try again later: what was queued stays, and is skipped then",
    )


def _read(found: Any) -> Unparsed | Rejected:
    own_id = str(_field(found, "material_id"))
    source = f"{_URL}/{own_id}"
    structure = _field(found, "structure")
    if hasattr(structure, "as_dict"):
        structure = structure.as_dict()
    if not isinstance(structure, dict):
        return Rejected(source, "field structure is missing", _FIX)
    told = {
        "band_gap_ind": _field(found, "band_gap"),
        "e_above_hull": _field(found, "energy_above_hull"),
        "spg": _field(_field(found, "symmetry"), "number"),
        "total_mag": _field(found, "total_magnetization"),
    }
    properties = {**known_properties(told), "database": "mp", "database_id": own_id}
    return Unparsed("structure", structure, source, own_id, properties)


def _field(found: Any, name: str) -> Any:
    """Of a document or a dictionary, whichever the client gives."""
    return found.get(name) if isinstance(found, dict) else getattr(found, name, None)
