"""The Materials Project behind a client that is not the real one: its arguments and answers are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from source_samples import rock_salt

from farm.crystal import Crystal
from farm.errors import SourceError
from farm.sources import Filters, Meter, Rejected, parse, select
from farm.sources.materials_project import conditions, cut_materials_project


def document(own_id: str, a: float = 4.21, **fields: Any) -> dict[str, Any]:
    """As the client gives it without document models."""
    told = {
        "material_id": own_id,
        "structure": rock_salt(a=a).as_dict(),
        "band_gap": 4.5,
        "energy_above_hull": 0.0,
        "symmetry": {"number": 225, "symbol": "Fm-3m"},
        "total_magnetization": 0.0,
    }
    return {**told, **fields}


class Search:
    """Gives documents by id, or the ids of all; remembers what it was asked."""

    def __init__(self, *documents: Any, fails_at: int | None = None) -> None:
        self._documents = documents
        self._fails_at = fails_at
        self.asked: list[dict[str, Any]] = []

    def __call__(self, *, fields: Sequence[str], **arguments: Any) -> list[Any]:
        self.asked.append({"fields": fields, **arguments})
        if self._fails_at == len(self.asked):
            raise RuntimeError("REST query returned with error status code 401\nInvalid key")
        chosen = arguments.get("material_ids")
        found = [d for d in self._documents if chosen is None or _field(d, "material_id") in chosen]
        return [
            d if not isinstance(d, dict) else {name: d[name] for name in fields if name in d} for d in found
        ]


def _field(found: Any, name: str) -> Any:
    return found[name] if isinstance(found, dict) else getattr(found, name)


def read(
    search: Search,
    filters: Filters = Filters(),  # noqa: B008 - frozen
    meter: Meter | None = None,
    stopped: Callable[[], bool] = lambda: False,
) -> list[Any]:
    client = SimpleNamespace(materials=SimpleNamespace(summary=SimpleNamespace(search=search)))
    return list(cut_materials_project(client, filters, meter, stopped))


def test_documents_become_crystals_under_their_own_ids() -> None:
    whole = SimpleNamespace(**document("mp-2", a=4.3))
    whole.structure, whole.symmetry = rock_salt(a=4.3), SimpleNamespace(number=225)
    meter = Meter()
    first, second = map(parse, read(Search(document("mp-1265"), whole), meter=meter))
    assert isinstance(first, Crystal)
    assert (first.material_id, first.n_atoms) == ("mp-1265", 2)
    assert first.source == "https://materialsproject.org/materials/mp-1265"
    assert first.properties == {
        "band_gap_ind": 4.5,
        "e_above_hull": 0.0,
        "spg": 225,
        "total_mag": 0.0,
        "database": "mp",
        "database_id": "mp-1265",
    }
    assert isinstance(second, Crystal)
    assert second.properties["spg"] == 225
    assert (meter.n_entries, meter.n_entries_expected) == (2, 2)


def test_structures_are_asked_for_some_at_a_time() -> None:
    search = Search(*(document(f"mp-{n}", a=4.2 + 1e-4 * n) for n in range(1001)))
    assert len(read(search)) == 1001
    ids, *structures = search.asked
    assert ids["fields"] == ["material_id"]
    assert [len(asked["material_ids"]) for asked in structures] == [500, 500, 1]
    assert all("structure" in asked["fields"] for asked in structures)


def test_filters_are_told_to_the_server_and_applied_here() -> None:
    filters = Filters(
        max_atoms=4,
        elements={"O", "Mg"},
        exclude={"Pb"},
        min_gap_ev=0.5,
        max_hull_ev=0.05,
        space_group=225,
    )
    assert conditions(filters) == {
        "deprecated": False,
        "num_elements": (1, 4),  # not num_sites, which counts another cell
        "chemsys": ["Mg", "O", "Mg-O"],
        "exclude_elements": ["Pb"],
        "band_gap": (0.5, 1000.0),
        "energy_above_hull": (-1000.0, 0.05),
        "spacegroup_number": 225,
    }
    assert "chemsys" not in conditions(Filters(elements=set("HBCNOF")))
    search = Search(document("mp-1"), document("mp-2", a=4.3, band_gap=0.1))
    kept = [
        item for item in select(map(parse, read(search, filters)), filters) if isinstance(item, Crystal)
    ]
    assert [crystal.material_id for crystal in kept] == ["mp-1"]
    assert search.asked[0].items() >= conditions(filters).items()


def test_bad_documents_are_named() -> None:
    bad = (
        document("mp-1", structure=None),
        document("mp-2", structure={"lattice": 1}),
        document("mp-3", total_magnetization=4.0),
    )
    strange = document("mp-4", band_gap="wide", symmetry=None, energy_above_hull=float("nan"))
    items = list(map(parse, read(Search(*bad, strange))))
    assert [type(item) for item in items] == [Rejected, Rejected, Rejected, Crystal]
    assert [item.source.rpartition("/")[2] for item in items] == ["mp-1", "mp-2", "mp-3", "mp-4"]
    assert items[3].properties == {"total_mag": 0.0, "database": "mp", "database_id": "mp-4"}


@pytest.mark.parametrize("fails_at", [1, 3])
def test_a_client_that_fails_is_one_clear_error(fails_at: int) -> None:
    search = Search(*(document(f"mp-{n}", a=4.2 + 1e-4 * n) for n in range(600)), fails_at=fails_at)
    client = SimpleNamespace(materials=SimpleNamespace(summary=SimpleNamespace(search=search)))
    came: list[Any] = []
    with pytest.raises(
        SourceError, match="RuntimeError: REST query returned with error status code 401 Inv"
    ) as caught:
        came.extend(cut_materials_project(client, Filters()))
    assert len(came) == {1: 0, 3: 500}[fails_at]
    assert "MP_API_KEY" in caught.value.fix


def test_a_stop_ends_it_between_two_questions() -> None:
    search = Search(*(document(f"mp-{n}", a=4.2 + 1e-4 * n) for n in range(600)))
    assert len(read(search, stopped=lambda: len(search.asked) == 2)) == 500
