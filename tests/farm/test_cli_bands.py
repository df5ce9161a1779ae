"""``farm show --bands``: the table, the figure, the numbers, and one line where there are none."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from band_samples import chance_bands, silicon_bands

from farm.backlog import Backlog
from farm.band_axes import corner_ticks, energy_range_ev, gaps_text
from farm.bandstructure import BandStructure
from farm.cli.band_figure import draw_bands
from farm.cli.bands import accuracy_lines
from farm.job import Job, Outcome
from farm.result import Result
from farm.settings import Settings
from farm.store import StoreWriter

MakeJob = Callable[..., Job]
MakeResult = Callable[..., Result]
Run = Callable[..., "tuple[int, str, str]"]

PARAMETERS = {
    "bands_error_window_ev": 0.00152,
    "bands_error_top_ev": 0.0113,
    "bands_error_pw_ev": 0.0001,
    "reduced_basis_size": 412,
    "reduced_basis_samples": 9,
}


@pytest.fixture
def held(settings: Settings, make_job: MakeJob, make_result: MakeResult) -> Result:
    """A store with one result that has the bands of silicon."""
    result = replace(
        make_result(make_job("periclase")),
        band_structure=silicon_bands(),
        parameters={"nbnd": 10, **PARAMETERS},
    )
    with StoreWriter(settings.store_path) as writer:
        writer.append(result)
    return result


@pytest.mark.usefixtures("held")
def test_the_table_tells_gaps_places_and_errors(run: Run) -> None:
    code, out, err = run("show", "MgO", "--bands")
    assert (code, err) == (0, "")
    rows = {line[:20].strip(): line[20:].strip() for line in out.splitlines()}
    assert rows["material"] == "periclase (MgO)"
    assert rows["path"] == "Γ – X – U|K – Γ – L – W – X, 92 points"  # noqa: RUF001 - as printed
    assert rows["indirect gap"] == "0.825 eV"
    assert rows["direct gap"] == "3.123 eV, at L"
    assert rows["valence maximum"] == "Γ"
    assert rows["conduction minimum"] == "between Γ and X"
    assert rows["bands"] == "10, 4 of them filled"
    assert rows["on the k-grid"] == "indirect 4.900 eV, direct 4.900 eV"
    assert out.splitlines()[-2:] == [
        "measured error of the bands: 1.5 meV in the window, 11 meV above it, 0.1 meV against pw.x",
        "reduced basis: 412 functions, made of 9 k-points",
    ]


def test_only_what_was_measured_is_told() -> None:
    assert accuracy_lines({"nbnd": 8}) == []
    assert accuracy_lines({"bands_error_top_ev": 0.0021, "bands_error_pw_ev": None}) == [
        "measured error of the bands: 2.1 meV above it"
    ]
    assert accuracy_lines({"reduced_basis_samples": 7}) == ["reduced basis: made of 7 k-points"]


@pytest.mark.usefixtures("held")
def test_the_numbers_are_those_of_the_store(run: Run) -> None:
    code, out, err = run("show", "periclase", "--bands", "--json")
    document = json.loads(out)
    assert (code, err) == (0, "")
    silicon = silicon_bands()
    assert (document["material"], document["formula"]) == ("periclase", "MgO")
    assert document["gap_indirect_ev"] == pytest.approx(silicon.gap_indirect_ev, abs=2e-6)
    assert document["gap_direct_ev"] == pytest.approx(silicon.gap_direct_ev, abs=2e-6)
    assert document["valence_maximum_at"] == "GAMMA"
    assert document["valence_maximum_ev"] == 0.0
    assert document["conduction_minimum_at"] == "between GAMMA and X"
    assert document["conduction_minimum_kpoint"] == pytest.approx([0.43, 0, 0.43], abs=0.02)
    assert (document["n_bands"], document["n_valence"], document["n_points"]) == (10, 4, 92)
    assert document["parameters"] == PARAMETERS
    assert tuple(document["labels"]) == silicon.labels
    assert tuple(document["corners"]) == silicon.corners
    for name in ("kpoints", "energies_ev"):
        np.testing.assert_allclose(document[name], getattr(silicon, name), atol=2e-6)
    np.testing.assert_allclose(document["distances_per_angstrom"], silicon.distances, atol=2e-6)


@pytest.mark.usefixtures("held")
def test_the_figure_comes_with_table_and_numbers(run: Run, settings: Settings) -> None:
    picture = settings.home / "bands.png"
    code, out, _ = run("show", "periclase", "--bands", "--plot", str(picture))
    assert code == 0
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert out.splitlines()[-1] == f"figure {picture}"
    drawing = settings.home / "bands.svg"
    assert json.loads(run("show", "periclase", "--bands", "--plot", str(drawing), "--json")[1])
    assert "<svg" in drawing.read_text()
    code, out, err = run("show", "periclase", "--bands", "--plot", str(settings.home / "bands.foo"))
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "Name a .png, .pdf or .svg file" in err


@pytest.mark.usefixtures("held")
def test_without_the_flag_bands_are_only_counted(run: Run) -> None:
    document = json.loads(run("show", "periclase", "--json")[1])
    assert document["band_structure"] == {"n_points": 92, "n_bands": 10}
    assert "energies_ev" not in document
    assert "n_points 92, n_bands 10" in run("show", "periclase")[1]


def test_a_result_without_bands_says_how_to_get_them(
    run: Run, settings: Settings, make_job: MakeJob, make_result: MakeResult
) -> None:
    picture = settings.home / "bands.png"
    with StoreWriter(settings.store_path) as writer:
        writer.append(make_result(make_job("plain")))
        writer.append(make_result(make_job("metal"), Outcome.METAL, "gap below 0.05 eV"))
    for options in ((), ("--json",), ("--plot", str(picture))):
        code, out, err = run("show", "plain", "--bands", *options)
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert "plain has no band structure: it was computed with bands = 'nscf'" in err
        assert "Seed it again with a protocol whose bands are 'reduced-basis'" in err
    assert not picture.exists()
    code, out, err = run("show", "metal", "--bands")
    assert (code, out) == (2, "")
    assert "metal has no band structure: gap below 0.05 eV" in err
    assert json.loads(run("show", "plain", "--json")[1])["band_structure"] is None


def test_a_job_that_has_not_run_has_no_bands(run: Run, backlog: Backlog, make_job: MakeJob) -> None:
    backlog.enqueue([make_job("One", 1.0)])
    code, out, err = run("show", "One", "--bands", "--json")
    assert (code, out) == (2, "")
    assert "One is ready: it has no band structure yet" in err
    assert "no material Two" in run("show", "Two", "--bands")[2]


def test_of_several_results_the_newest_with_bands_is_shown(
    run: Run, held: Result, settings: Settings
) -> None:
    other = replace(held, protocol_hash="f" * 64, band_structure=None)
    with StoreWriter(settings.store_path) as writer:
        writer.append(other)
    document = json.loads(run("show", "periclase", "--bands", "--json")[1])
    assert document["protocol_hash"] == held.protocol_hash
    assert json.loads(run("show", "periclase", "--json")[1])["protocol_hash"] == "f" * 64
    code, _, err = run("show", other.job_id, "--bands")
    assert code == 2
    assert "no band structure" in err


def test_corners_as_they_are_labelled() -> None:
    ticks = corner_ticks(silicon_bands())
    assert [text for _, text in ticks] == ["Γ", "X", "U|K", "Γ", "L", "W", "X"]
    assert [distance for distance, _ in ticks] == sorted({distance for distance, _ in ticks})
    assert [text for _, text in corner_ticks(chance_bands(0))] == ["Γ", "X|Σ₀", "Γ"]


def test_the_figure_spans_what_matters() -> None:
    # Silicon: all four filled bands, and up to where the ten bands are complete.
    silicon = silicon_bands()
    bottom, top = energy_range_ev(silicon)
    assert bottom == pytest.approx(-13.2, abs=0.2)
    assert top == silicon.energies_ev[:, -1].min()
    assert energy_range_ev(silicon_bands(16))[1] == 12.0
    # A core-like band far below is left out; what is 5 eV below stays.
    energies = silicon.energies_ev.copy()
    energies[:, 0] -= 8.0
    assert energy_range_ev(replace(silicon, energies_ev=energies))[0] == pytest.approx(-8.6, abs=0.3)
    # A wide gap: its conduction bands are shown.
    energies = silicon_bands(16).energies_ev + np.where(np.arange(16) < 4, 0.0, 12.0)
    assert energy_range_ev(replace(silicon_bands(16), energies_ev=energies))[1] == pytest.approx(
        17.8, abs=0.1
    )


def test_gaps_in_words_of_direct_and_overlapping_bands(tmp_path: Path) -> None:
    def shifted(ev: float) -> BandStructure:
        energies = silicon_bands().energies_ev + np.where(np.arange(10) < 4, 0.0, ev)
        return replace(silicon_bands(), energies_ev=energies)

    assert gaps_text(silicon_bands()) == "gap 0.82 eV, direct 3.12 eV"
    metal = shifted(-1.0)
    assert gaps_text(metal) == "filled and empty bands overlap by 0.18 eV"
    draw_bands(metal, "metal", tmp_path / "metal.png")
    assert (tmp_path / "metal.png").stat().st_size > 0
    flat = chance_bands(0)
    energies = np.repeat([[-2.0, -1.0, 0.0, 1.5, 2.0, 3.0, 4.0]], flat.n_points, axis=0)
    assert gaps_text(replace(flat, energies_ev=energies)) == "direct gap 1.50 eV"
