"""The page of one material: what it says, what is drawn, and what is downloaded of it."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable

import numpy as np
import pytest
from band_samples import silicon_bands
from fastapi.testclient import TestClient
from pymatgen.core import Structure

from farm.backlog import Backlog
from farm.cost import cost_prior
from farm.dashboard.band_panel import band_figure
from farm.dashboard.figure import log_scale, nice_scale, nice_step, thinned, tick_text
from farm.dashboard.material_facts import asked, ladder_of, unit_of, used
from farm.dashboard.material_rows import neighbours
from farm.dashboard.query import Query
from farm.dashboard.spectrum_panels import QUANTITIES, gap_marks, panels, readout
from farm.dashboard.structure_view import cell_of, cif, picture
from farm.job import Engine, Job, Outcome
from farm.protocol import PRESETS
from farm.result import LadderStep, Result
from farm.settings import Settings
from farm.spectrum import absorption_per_cm, reflectivity, refractive_index
from farm.store import StoreWriter

Browse = Callable[..., TestClient]


@pytest.fixture
def magnesia(make_job: Callable[..., Job], make_result: Callable[..., Result]) -> Result:
    """MgO with three rungs; z differs from x and y; bands of silicon."""
    result = make_result(make_job("MgO"))
    ipa, rpa = result.ladder
    other = rpa.eps.copy()
    other[2] = 1 + 0.5 * (other[2] - 1)
    steps = (
        LadderStep(gmax_mry=0, n_g=1, step_similarity=None, eps=ipa.eps),
        LadderStep(gmax_mry=2000, n_g=15, step_similarity=(0.8, 0.8, 0.7), eps=rpa.eps),
        LadderStep(gmax_mry=4000, n_g=27, step_similarity=(0.95, 0.95, 0.94), eps=other),
    )
    return dataclasses.replace(
        result,
        ladder=steps,
        gmax_converged_mry=(4000, 4000, 4000),
        band_structure=silicon_bands(),
        parameters={"ecutwfc_ry": 60, "bands_error_top_ev": 0.0021, "kgrid": [8, 8, 8], "runs": [{"a": 1}]},
    )


@pytest.fixture
def keep(settings: Settings) -> Callable[..., None]:
    """Put results into the store."""

    def put(*results: Result) -> None:
        with StoreWriter(settings.store_path) as writer:
            writer.append_many(results)

    return put


def test_the_page_says_all(browse: Browse, magnesia: Result, keep: Callable[..., None]) -> None:
    keep(magnesia)
    page = browse().get("/materials/MgO").text
    said = (
        "Im ε along x, y<",
        "Im ε along z<",
        "Re ε along z<",
        "Gmax 4 Ry",
        "smaller Gmax: 2 Ry",
        "Bands",
    )
    for words in (*said, "4.90", "0.9500", "2.1", "farm show MgO --inputs MgO-inputs", "energy_tolerance"):
        assert words in page, words
    assert page.count('class="line between') == 5  # in four panels and the legend
    assert "style=" not in page


@pytest.mark.parametrize("name", QUANTITIES)
def test_every_quantity_is_drawn(
    browse: Browse, magnesia: Result, keep: Callable[..., None], name: str
) -> None:
    keep(magnesia)
    client = browse()
    page = client.get(f"/materials/MgO?quantity={name}").text
    answer = client.get(f"/materials/MgO/readout.json?quantity={name}").json()
    assert page.count("<figure data-panel=") == 2 * len(QUANTITIES[name].parts) == len(answer["panels"])


def test_the_readout_has_the_values(magnesia: Result) -> None:
    eps, energies_ev = magnesia.ladder[-1].eps, magnesia.energies_ev
    expected = {
        ("eps", 0): eps.imag,
        ("eps", 1): eps.real,
        ("refractive-index", 0): refractive_index(eps).real,
        ("absorption", 0): absorption_per_cm(eps, energies_ev) / 1e6,
        ("reflectivity", 0): reflectivity(eps),
        ("loss", 0): -np.imag(1 / eps),
    }
    for (name, part), values in expected.items():
        found = readout(magnesia, QUANTITIES[name])["panels"]
        np.testing.assert_allclose(found[f"part{part}-0"][2], values[0], rtol=1e-5)
        np.testing.assert_allclose(found[f"part{part}-1"][2], values[2], rtol=1e-5)


def test_a_curve_lies_where_its_values_are(magnesia: Result) -> None:
    panel = panels(magnesia, QUANTITIES["eps"])[0]
    box = {name: float(value) for name, value in re.findall(r'data-([a-z-]+)="([^"]+)"', panel.svg)}
    start, steps = re.search(r'class="line rpa rung-2" d="M([\d -]+)l([\d -]+)"', panel.svg).groups()
    first = np.array(start.split(), dtype=int)
    points = first + np.cumsum(np.array(steps.split(), dtype=int).reshape(-1, 2), axis=0)
    highest = points[points[:, 1].argmin()] / 10
    eps_imag = magnesia.ladder[2].eps[0].imag
    at = box["left"] + magnesia.energies_ev[eps_imag.argmax()] / box["high"] * (box["right"] - box["left"])
    share = (eps_imag.max() - box["y-low"]) / (box["y-high"] - box["y-low"])
    assert highest[0] == pytest.approx(at, abs=1.0)
    assert highest[1] == pytest.approx(box["bottom"] - share * (box["bottom"] - box["top"]), abs=0.2)


def test_downloads(browse: Browse, magnesia: Result, keep: Callable[..., None]) -> None:
    keep(magnesia)
    client = browse()
    answer = client.get("/materials/MgO/structure.cif")
    assert "MgO.cif" in answer.headers["content-disposition"]
    found, lattice = Structure.from_str(answer.text, fmt="cif"), magnesia.crystal.lattice
    assert found.lattice.abc == pytest.approx(np.linalg.norm(lattice, axis=1).tolist())
    assert [site.species_string for site in found] == ["Mg", "O"]
    document = client.get("/materials/MgO/spectra.json").json()
    assert document["gmax_mry"] == [0, 2000, 4000]
    np.testing.assert_allclose(document["eps_imag"][2], magnesia.ladder[2].eps.imag, rtol=1e-6)


@pytest.mark.parametrize("species", [("O", "O"), ("N", "N"), ("Li", "H"), ("P", "P")])
def test_a_cif_has_the_id_of_its_material(magnesia: Result, species: tuple[str, str]) -> None:
    text = cif(dataclasses.replace(magnesia.crystal, material_id="agm-1", species=species))
    assert [line for line in text.splitlines() if line.startswith("data_")] == ["data_agm-1"]


def test_results_of_two_protocols(browse: Browse, magnesia: Result, keep: Callable[..., None]) -> None:
    paper = PRESETS["paper"]
    other = dataclasses.replace(
        magnesia,
        protocol=paper.to_dict(),
        protocol_hash=paper.hash,
        outcome=Outcome.METAL,
        reason="the bands overlap",
        ladder=(),
        gmax_converged_mry=(None, None, None),
    )
    keep(magnesia, other)
    client = browse()
    newest = client.get("/materials/MgO").text
    assert "the bands overlap" in newest
    assert "Local fields" not in newest
    first = client.get(f"/materials/MgO?protocol={magnesia.protocol_hash[:12]}&engine=native").text
    assert "Local fields" in first
    assert "the bands overlap" not in first
    assert client.get("/materials/MgO?engine=yambo").status_code == 404
    # What has no spectra has none to download.
    assert client.get("/materials/MgO/spectra.json").status_code == 404


@pytest.mark.usefixtures("stored")
@pytest.mark.parametrize(
    ("address", "status"),
    [
        ("/materials/nobody", 404),
        ("/materials/nobody/structure.cif", 404),
        ("/materials/%2e%2e%2fspectra.h5", 404),
        ("/materials/.hidden", 404),
        ("/materials/BN-hexagonal?quantity=colour", 400),
        ("/materials/BN-hexagonal?protocol=%2e%2e", 400),
        ("/materials/BN-hexagonal?engine=abinit", 400),
    ],
)
def test_what_is_not_there_is_said(browse: Browse, address: str, status: int) -> None:
    answer = browse().get(address)
    assert answer.status_code == status
    assert "Traceback" not in answer.text


def test_nothing_of_a_source_becomes_markup(
    browse: Browse, magnesia: Result, keep: Callable[..., None]
) -> None:
    evil = "</script><script>alert(1)</script>"
    crystal = dataclasses.replace(magnesia.crystal, source=evil, properties={evil: evil})
    keep(dataclasses.replace(magnesia, crystal=crystal, reason=evil, space_group=evil))
    assert "<script>alert" not in browse().get("/materials/MgO").text


def test_a_queued_one_says_what_it_will_take(
    browse: Browse, backlog: Backlog, make_job: Callable[..., Job]
) -> None:
    job = make_job("MgO", 12.0)
    prior = cost_prior(job.crystal, PRESETS["demo"], Engine.NATIVE)
    backlog.enqueue([dataclasses.replace(job, prior=prior)])
    page = browse().get("/materials/MgO").text
    for words in ("ready", "ground state", "bands", "response", "four of five", "farm prioritise MgO"):
        assert words in page, words
    backlog.cancel([job.job_id])
    page = browse().get("/materials/MgO").text
    assert "cancelled" in page
    assert "farm retry MgO" in page


@pytest.mark.usefixtures("stored")
def test_neighbours_follow_the_order_that_was_asked_for(browse: Browse) -> None:
    client = browse()
    snapshot = client.app.state.farm.catalogue.snapshot
    by_gap = Query(sort="gap_indirect_ev", outcome="done")
    # 0.57, 4.25, 4.45 and 6.99 eV
    found = neighbours(snapshot, by_gap, "BN-hexagonal")
    assert (found.before, found.after) == ("agm001234567", "agm002153972")
    assert neighbours(snapshot, by_gap, "agm001234567").before == ""
    assert neighbours(snapshot, by_gap, "agm000000013") == neighbours(None, by_gap, "agm001234567")
    page = client.get("/materials/BN-hexagonal?sort=gap_indirect_ev&outcome=done").text
    assert "/materials/agm002153972?outcome=done&amp;sort=gap_indirect_ev" in page


def test_the_ladder_names_where_it_converged(magnesia: Result) -> None:
    ipa, between, last = ladder_of(dataclasses.replace(magnesia, gmax_converged_mry=(2000, 2000, 4000)))
    assert (ipa.converged, between.converged, last.converged) == ((), ("x", "y"), ("z",))
    assert ipa.similarities is None


def test_gaps_are_marked_once_where_they_are_one(magnesia: Result) -> None:
    assert [mark.text for mark in gap_marks(magnesia, words=True)] == ["gap 4.90 eV"]
    two = dataclasses.replace(magnesia, gap_indirect_ev=1.1, gap_direct_ev=3.2)
    marks = gap_marks(two, words=True)
    assert [mark.text for mark in marks] == ["indirect gap 1.10 eV", "direct gap 3.20 eV"]
    assert gap_marks(dataclasses.replace(two, gap_indirect_ev=None, gap_direct_ev=None), words=True) == []


def test_parameters_have_units(magnesia: Result) -> None:
    rows = {row.name: (row.value, row.unit) for row in used(magnesia.parameters)}
    assert rows == {"ecutwfc": ("60", "Ry"), "bands error top": ("2.1", "meV"), "kgrid": ("8 8 8", "")}
    protocol = {row.name: row for row in asked(magnesia.protocol)}
    assert protocol["damping_ev"].unit == "eV"
    assert protocol["damping_ev"].about == "Lorentzian damping"
    assert unit_of("gmax_step_mry") == ("gmax step", "mRy")


def test_the_picture_shows_the_conventional_cell(magnesia: Result) -> None:
    drawn = picture(magnesia.crystal)
    assert list(drawn["cells"]) == ["conventional", "primitive"]
    assert len(drawn["cells"]["conventional"]["sites"]) == 8
    assert drawn["elements"]["Mg"]["metal"]
    assert not drawn["elements"]["O"]["metal"]
    cell = cell_of(magnesia.crystal)
    assert (cell.alpha, cell.volume) == (
        pytest.approx(60.0),
        pytest.approx(magnesia.crystal.volume_angstrom3),
    )
    assert cif(magnesia.crystal).count("data_MgO") == 1


def test_bands_are_drawn_with_their_corners() -> None:
    drawn = band_figure(silicon_bands())
    assert drawn.count('class="line filled"') >= 4
    assert ">Γ<" in drawn
    assert 'class="gap-shade"' in drawn
    assert "conduction minimum" in drawn


def test_scales_have_round_ticks() -> None:
    assert [text for _, text in nice_scale(-3.2, 11.0, "").ticks] == ["−5", "0", "5", "10", "15"]  # noqa: RUF001
    assert [text for _, text in nice_scale(0.0, 0.42, "").ticks] == [
        "0.0",
        "0.1",
        "0.2",
        "0.3",
        "0.4",
        "0.5",
    ]
    assert [text for _, text in log_scale(9, 1200, "").ticks] == [
        "10",
        "20",
        "50",
        "100",
        "200",
        "500",
        "1,000",
    ]
    assert nice_step(20.0, 5) == 5.0
    assert tick_text(-0.0, 1.0) == "0"
    flat = nice_scale(1.0, 1.0, "")
    assert flat.low < 1.0 < flat.high


def test_a_thinned_curve_keeps_its_peaks() -> None:
    x = np.linspace(0.0, 20.0, 20_001)
    y = np.where(np.isclose(x, 7.321), 5.0, np.sin(x))
    few_x, few_y = thinned(x, y)
    assert few_x.size < 900
    assert few_x[few_y.argmax()] == pytest.approx(7.321)
    assert thinned(x[:500], y[:500])[0].size == 500
