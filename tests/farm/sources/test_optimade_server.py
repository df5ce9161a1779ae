"""A real OPTIMADE server, page by page, and everything that can go wrong with it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from email.utils import formatdate
from time import time
from urllib.parse import parse_qs

import pytest
from optimade_server import OptimadeServer
from pymatgen.core import Structure
from pymatgen.symmetry.analyzer import SpacegroupAnalyzer

from farm.crystal import Crystal
from farm.errors import InputError, SourceError
from farm.sources import Filters, Meter, Rejected, Unparsed, parse, read_source, select
from farm.sources.optimade import Provider, Query, Server, cut_optimade, find_provider
from farm.sources.optimade.server import Limits

# The server gives so many unless it is told otherwise, and refuses more: three pages for all.
PAGE = 20


def stretched() -> dict[str, Structure]:
    """The bundled crystals in their conventional cells, and twice stretched in their primitive ones."""
    found = {}
    for crystal in read_source(None):
        assert isinstance(crystal, Crystal)
        cell = crystal.to_structure()
        found[f"{crystal.material_id}-0"] = SpacegroupAnalyzer(cell).get_conventional_standard_structure()
        for percent in (1, 2):
            larger = cell.copy().scale_lattice(cell.volume * (1 + percent / 100))
            found[f"{crystal.material_id}-{percent}"] = larger
    return dict(sorted(found.items(), key=lambda item: item[0][-1]))


@pytest.fixture(scope="module", name="structures")
def served_structures() -> dict[str, Structure]:
    return stretched()


@pytest.fixture(scope="module")
def directory(
    tmp_path_factory: pytest.TempPathFactory, structures: dict[str, Structure]
) -> Iterator[OptimadeServer]:
    """Serves them with made-up gaps."""
    entries = [
        {
            "id": name,
            "structure": structure.as_dict(),
            "band_gap": number / 4,
            "hull_distance": number / 200,
            "magnetization": 0.0,
            # Of the others it does not know it.
            **({"space_group": structure.get_space_group_info()[1]} if name.endswith("-1") else {}),
        }
        for number, (name, structure) in enumerate(structures.items())
    ]
    with OptimadeServer(tmp_path_factory.mktemp("optimade"), entries, most=PAGE) as server:
        yield server


@pytest.fixture
def server(directory: OptimadeServer) -> OptimadeServer:
    """The same, nothing wrong with it."""
    directory.fail({})
    return directory


@pytest.fixture(scope="module", name="everything")
def all_that_is_served(directory: OptimadeServer) -> list[Crystal]:
    """All crystals of the server, parsed."""
    directory.fail({})
    return [crystal for crystal in map(parse, Asked(directory).items) if isinstance(crystal, Crystal)]


class Asked:
    """One reading of a server: what came, how long was waited, and what ended it."""

    def __init__(
        self,
        server: OptimadeServer,
        filters: Filters = Filters(),  # noqa: B008 - frozen
        text: str = "",
        limits: Limits = Limits(),  # noqa: B008 - frozen
        stop_after_pauses: int | None = None,
    ) -> None:
        self.pauses_s: list[float] = []
        self.meter = Meter()
        self.items: list[Unparsed | Rejected] = []
        self.error: SourceError | None = None
        provider = Provider("alexandria", server.url, keeps_ids=True)

        def stopped() -> bool:
            return stop_after_pauses is not None and len(self.pauses_s) >= stop_after_pauses

        with Server(
            "alexandria", server.url, stopped=stopped, pause=self.pauses_s.append, limits=limits
        ) as asked:
            try:
                self.items.extend(cut_optimade(Query(text, filters), provider, asked, self.meter))
            except SourceError as error:
                self.error = error

    @property
    def names(self) -> list[str]:
        return [str(item.material_id) for item in self.items if isinstance(item, Unparsed)]

    @property
    def rejected(self) -> list[Rejected]:
        return [item for item in self.items if isinstance(item, Rejected)]


def next_link(url: str) -> dict[str, object]:
    """The true body with another link to the next page: the true one ends with the offset."""
    return {"replace": ['"next":"', f'"next":"{url}","was":"']}


def test_all_pages_give_all_crystals_in_their_primitive_cells(
    server: OptimadeServer, structures: dict[str, Structure]
) -> None:
    asked = Asked(server)
    assert asked.names == list(structures)
    assert asked.meter.n_entries == asked.meter.n_entries_expected == len(structures) == 3 * PAGE
    crystals = {c.material_id: c for c in map(parse, asked.items) if isinstance(c, Crystal)}
    for bundled in read_source(None):
        assert isinstance(bundled, Crystal)
        served = crystals[f"{bundled.material_id}-0"]
        assert (served.formula, served.n_atoms) == (bundled.formula, bundled.n_atoms)
        assert served.volume_angstrom3 == pytest.approx(bundled.volume_angstrom3, rel=1e-6)
        assert served.n_atoms <= len(structures[served.material_id])
    # Pages of 500 and 100 were refused, after that the server's own size was taken.
    sizes = [parse_qs(query).get("page_limit") for query in server.requests()]
    assert sizes == [["500"], ["100"], None, None, None]


@pytest.mark.parametrize(
    "filters",
    [
        Filters(max_atoms=2),
        Filters(max_atoms=4, exclude={"O", "F"}),
        Filters(elements={"C", "Si", "N", "B"}),
        Filters(min_gap_ev=3.0, max_hull_ev=0.15),
        Filters(space_group=225),
        Filters(max_atoms=3, space_group=225, exclude={"Li"}, min_gap_ev=1.0),
    ],
)
def test_pushed_filters_lose_nothing(
    server: OptimadeServer, everything: list[Crystal], filters: Filters
) -> None:
    wanted = [c.material_id for c in select(everything, filters) if isinstance(c, Crystal)]
    asked = Asked(server, filters)
    found = select((parse(item) for item in asked.items), filters)
    assert [c.material_id for c in found if isinstance(c, Crystal)] == wanted
    assert 0 < len(wanted) <= len(asked.items) < len(everything)


def test_the_users_filter_is_joined_with_ours(
    server: OptimadeServer, structures: dict[str, Structure]
) -> None:
    text = 'elements HAS "Mg" OR elements HAS "Ca"'
    asked = Asked(server, Filters(exclude={"F"}), text)
    elements = {name: structure.symbol_set for name, structure in structures.items()}
    either = {name for name, found in elements.items() if {"Mg", "Ca"} & set(found)}
    wanted = {name for name in either if "F" not in elements[name]}
    assert set(asked.names) == wanted < either


def test_a_trouble_that_passes_costs_a_pause(
    server: OptimadeServer, structures: dict[str, Structure]
) -> None:
    server.fail(
        {
            "4": {"status": 500},
            "5": {"status": 503, "headers": {"retry-after": "17"}},
            "6": {"status": 429, "headers": {"retry-after": formatdate(time() + 30, usegmt=True)}},
            "7": {"drop": 1000},
            "8": {"body": "<html>busy</html>"},
            "10": {"body": "[1]"},
        }
    )
    asked = Asked(server)
    assert (asked.names, asked.error) == (list(structures), None)
    first, second, third, *rest = asked.pauses_s
    assert (first, second) == (1.0, 17.0)
    assert 25 < third <= 30
    # After five failures the fifth pause; the next page begins anew.
    assert rest == [8.0, 16.0, 1.0]


@pytest.mark.parametrize(
    ("fault", "what"),
    [
        ({"status": 502}, "HTTP 502, 6 times"),
        ({"drop": 10}, "the answer broke off, 6 times"),
        ({"body": '{"data": ['}, "no JSON, 6 times"),
        ({"body": "[" * 100_000}, "no JSON, 6 times"),
        ({"status": 429, "headers": {"retry-after": "86400"}}, "HTTP 429, asks to wait 86400 s"),
        ({"status": 410}, "HTTP 410"),
        ({"body": "{}"}, "no list `data`"),
        ({"body": '{"data": {"id": "x"}}'}, "no list `data`"),
        ({"body": '{"data": [], "meta": {"more_data_available": true}}'}, "gives no link"),
        (
            {"status": 302, "headers": {"location": "http://127.0.0.2/v1/structures"}},
            "points to another server",
        ),
        ({"status": 302, "headers": {"location": "file:///etc/passwd"}}, "points to another server"),
        ({"status": 302, "headers": {"location": "/v1/structures"}}, "from address to address"),
        (next_link("file:///etc/passwd"), "points to another server"),
        (next_link("http://169.254.169.254/latest/meta-data"), "points to another server"),
        (next_link("http://127.0.0.1:6379/"), "points to another server"),
        (next_link("http://[::1"), "points to another server"),
    ],
)
def test_a_page_that_cannot_be_had_ends_it_in_words_and_what_came_before_is_good(
    server: OptimadeServer, structures: dict[str, Structure], fault: dict[str, object], what: str
) -> None:
    server.fail({str(number): fault for number in range(4, 60)})
    asked = Asked(server)
    # Where the page itself is good, it is used.
    assert asked.names in (list(structures)[:PAGE], list(structures)[: 2 * PAGE])
    assert asked.error is not None
    assert what in asked.error.message
    assert asked.error.message.startswith(f"alexandria ({server.url}/v1/structures")
    assert asked.error.fix
    assert "\n" not in str(asked.error)


def test_pages_that_lead_back_or_on_without_end_are_left(server: OptimadeServer) -> None:
    again = {"replace": ['"next":"', '"next":"/v1/structures?page_offset=20","was":"']}
    server.fail({str(number): again for number in range(4, 60)})
    circle = Asked(server)
    assert circle.error is not None
    assert "lead nowhere" in circle.error.message
    pages = {
        str(n): {"body": json.dumps({"data": [], "links": {"next": f"/v1/structures?n={n}"}})}
        for n in range(4, 60)
    }
    server.fail(pages)
    empty = Asked(server)
    assert empty.error is not None
    assert "lead nowhere" in empty.error.message
    assert len(server.requests()) < 10


def test_a_stop_ends_the_waiting(server: OptimadeServer, structures: dict[str, Structure]) -> None:
    server.fail({"4": {"status": 503}, "5": {"status": 503}})
    asked = Asked(server, stop_after_pauses=1)
    assert (asked.names, asked.error, len(asked.pauses_s)) == (list(structures)[:PAGE], None, 1)


def test_pages_that_are_too_large_come_in_smaller_ones_and_an_entry_that_is_is_left_out(
    server: OptimadeServer,
    structures: dict[str, Structure],
) -> None:
    body = json.dumps({"data": [], "filler": "x" * 200_000})
    # The second page fails as a whole, in tens, and its first entry alone.
    server.fail({"4": {"body": body}, "5": {"body": body}, "6": {"body": body}})
    asked = Asked(server, limits=Limits(most_bytes=100_000))
    left = list(structures)
    del left[PAGE]
    assert (asked.names, asked.error) == (left, None)
    (rejected,) = asked.rejected
    assert "more than" in rejected.reason
    assert rejected.source == f"{server.url}/v1/structures, at {PAGE}"


def test_bad_entries_on_a_page_are_named_and_the_others_used(
    server: OptimadeServer, structures: dict[str, Structure]
) -> None:
    server.fail({"3": {"replace": ['"species_at_sites":["C"', '"species_at_sites":[NaN']}})
    asked = Asked(server)
    assert len(asked.rejected) + len(asked.names) == len(structures)
    assert [item.reason for item in asked.rejected] == ["field species_at_sites: no texts"] * len(
        asked.rejected
    )
    assert asked.rejected
    # NaN in a number is no number either.
    server.fail({"3": {"replace": ['"_alexandria_band_gap":0.5,', '"_alexandria_band_gap":NaN,']}})
    gaps = [
        item.properties.get("band_gap_ind") for item in Asked(server).items if isinstance(item, Unparsed)
    ]
    assert gaps[:4] == [0.0, 0.25, None, 0.75]


def test_a_server_that_takes_no_conditions_of_ours_is_asked_without(
    server: OptimadeServer, structures: dict[str, Structure]
) -> None:
    server.fail({str(number): {"status": 501} for number in range(1, 4)})
    asked = Asked(server, Filters(max_atoms=2))
    assert (sorted(asked.names), asked.error) == (sorted(structures), None)
    # Nor is one that breaks over them.
    server.fail({str(number): {"status": 500} for number in range(1, 7)})
    asked = Asked(server, Filters(max_atoms=2))
    assert (sorted(asked.names), asked.error) == (sorted(structures), None)


def test_entry_after_entry_that_is_too_large_ends_it(server: OptimadeServer) -> None:
    body = json.dumps({"data": [], "filler": "x" * 200_000})
    server.fail({str(number): {"body": body} for number in range(4, 60)})
    asked = Asked(server, limits=Limits(most_bytes=100_000))
    assert asked.error is not None
    assert "entry after entry of more than" in asked.error.message
    assert len(asked.rejected) == 3
    assert len(server.requests()) < 20


@pytest.mark.parametrize("status", [404, 500])
def test_a_server_that_does_not_say_what_it_has_gives_structures(
    server: OptimadeServer, structures: dict[str, Structure], status: int
) -> None:
    server.fail({"info": {"status": status}})
    asked = Asked(server)
    assert asked.names == list(structures)
    assert not any("band_gap_ind" in item.properties for item in asked.items if isinstance(item, Unparsed))


def test_a_query_that_is_refused_is_told_in_the_servers_words(server: OptimadeServer) -> None:
    with pytest.raises(InputError, match="'_alexandria_foo' is not a known or searchable quantity"):
        Asked(server, text="_alexandria_foo=1")


def test_a_filter_that_would_leave_nothing_is_told_before_anything_is_read(server: OptimadeServer) -> None:
    server.fail({"info": {"replace": ["_alexandria_band_gap", "_alexandria_something"]}})
    with pytest.raises(InputError, match="gives no band gaps that are known here: --min-gap"):
        Asked(server, Filters(min_gap_ev=1.0))
    assert server.requests() == []


def test_nobody_there_is_told_soon() -> None:
    pauses_s: list[float] = []
    provider = Provider("gone", "http://127.0.0.1:1")
    with (
        Server("gone", provider.base_url, pause=pauses_s.append) as gone,
        pytest.raises(
            SourceError, match=r"gone \(http://127.0.0.1:1/v1/info/structures\): cannot be reached, 2 times"
        ),
    ):
        list(cut_optimade(Query("", Filters()), provider, gone))
    assert pauses_s == [1.0]


@pytest.mark.parametrize(
    ("name", "base_url", "found"),
    [
        ("alexandria", None, Provider("alexandria", "https://alexandria.icams.rub.de/pbe", keeps_ids=True)),
        ("alexandria", "http://mirror", Provider("alexandria", "http://mirror", keeps_ids=True)),
        ("ODBX.gnome", None, Provider("gnome", "https://optimade-gnome.odbx.science")),
        (None, "https://localhost:5000/x", Provider("localhost", "https://localhost:5000/x")),
    ],
)
def test_well_known_providers_need_no_list(name: str | None, base_url: str | None, found: Provider) -> None:
    def nobody(name: str, url: str) -> Server:
        raise AssertionError((name, url))

    assert find_provider(name, base_url, make_server=nobody) == found


@pytest.mark.parametrize("base_url", ["file:///etc/passwd", "localhost:5000", "", "http://", "http://x:y/"])
def test_an_address_that_is_none_is_refused(base_url: str) -> None:
    with pytest.raises(InputError, match="is not an address"):
        find_provider(None, base_url)


def test_other_providers_are_looked_up_in_the_public_list(server: OptimadeServer) -> None:
    def link(own_id: str, url: object, kind: str = "external") -> dict[str, object]:
        return {"id": own_id, "type": "links", "attributes": {"base_url": url, "link_type": kind}}

    # The list and the index of a provider are both at /links of this server.
    links = [
        link("lab", server.url),
        link("silent", None),
        link("lab-one", {"href": "https://one.example.org"}, "child"),
        link("two", "https://two.example.org", "child"),
        link("evil", "file:///etc/passwd", "child"),
        {"id": 7},
        "nonsense",
    ]
    server.fail({"all": {"body": json.dumps({"data": links})}})

    def found(name: str) -> Provider:
        return find_provider(name, None, providers_url=server.url)

    assert found("lab.one") == Provider("lab.one", "https://one.example.org")
    assert found("lab.two") == Provider("lab.two", "https://two.example.org")
    for name, words in (
        ("lab", "it has several databases. There are lab.one, lab.two"),
        ("lab.three", "no such database. There are lab.one, lab.two"),
        ("silent", "has no OPTIMADE server"),
        ("nobody", "not in OPTIMADE's list"),
    ):
        with pytest.raises(InputError) as caught:
            found(name)
        assert words in str(caught.value)
    server.fail({"all": {"status": 404}})
    with pytest.raises(SourceError, match="the list of providers"):
        found("lab")


def test_ids_of_another_database_are_not_taken_for_those_of_alexandria() -> None:
    pbe, pbesol = (find_provider(name, None) for name in ("alexandria", "alexandria.pbesol"))
    assert pbe.keeps_ids
    assert not pbesol.keeps_ids
    assert replace(pbe, base_url="") == Provider("alexandria", "", keeps_ids=True)
