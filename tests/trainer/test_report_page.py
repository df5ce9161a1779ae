"""The page of a checkpoint as a whole: complete, self-contained, and made of what there is."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import EntryPoint
from xml.etree import ElementTree

import h5py
import numpy as np
import pytest
from click.testing import CliRunner

from farm.cli.report import report as report_command
from farm.errors import CheckpointError, FarmError, InputError
from farm.job import Engine, Outcome
from farm.protocol import Protocol
from farm.result import LadderStep, Result
from farm.settings import load_settings
from farm.store import StoreWriter
from trainer.checkpoints.registry import Registry
from trainer.data.dataset import load_dataset
from trainer.fitting.plan import FitPlan
from trainer.fitting.recipes import RefitPlan
from trainer.fitting.refit import refit_dataset
from trainer.networks.calibration import Calibration
from trainer.report import atlas, calculated
from trainer.report.command import write_report
from trainer.report.contents import Group
from trainer.report.gather import gather
from trainer.report.page import make_report, render
from trainer.report.predicted import ask

N_MATERIALS = 40


@pytest.fixture(autouse=True)
def _principal_components(monkeypatch):
    """UMAP has its own test; here it would only take time."""
    monkeypatch.setattr(atlas.importlib.util, "find_spec", lambda _: None)


@pytest.fixture
def undrawn(monkeypatch):
    """For tests that look at words: figures are their names and what is told of them."""
    monkeypatch.setattr("trainer.report.page.panel_svg", lambda panel: f"[{panel.name}] {panel.alt}")


def fill(path, rows):
    protocol = Protocol(n_energies=41)
    with StoreWriter(path) as writer:
        for row in rows:
            steps = [
                LadderStep(gmax_mry=g, n_g=n, step_similarity=None, eps=1 + 1j * s.astype(float))
                for g, n, s in ((0, 1, row.ipa_eps_imag), (2000, 9, row.rpa_eps_imag))
            ]
            writer.append(
                Result(
                    crystal=row.crystal,
                    protocol=protocol.to_dict(),
                    protocol_hash=protocol.hash,
                    engine=Engine.NATIVE,
                    outcome=Outcome.DONE,
                    ladder=tuple(steps),
                )
            )


@pytest.fixture(scope="module")
def made(tmp_path_factory, dataset_of):
    """A farm with 40 materials and two checkpoints, made once."""
    from trainer.networks.optimate import OptiMateConfig

    home = tmp_path_factory.mktemp("report") / "home"
    home.mkdir()
    config = OptiMateConfig(embedding=(8,), attention=((8, 2), (8, 2)), output=(32,), n_energies=41)
    plan = RefitPlan(
        base=FitPlan(epochs=3, lr=1e-2, threads=1),
        transfer=FitPlan(epochs=3, lr=1e-3, threads=1),
        similarity=None,
        members=2,
        model=config,
    )
    rows = dataset_of(N_MATERIALS).rows
    for n_materials in (20, N_MATERIALS):
        (home / "spectra.h5").unlink(missing_ok=True)
        fill(home / "spectra.h5", rows[:n_materials])
        dataset = load_dataset(home / "spectra.h5")
        refit_dataset(
            dataset, Registry(home / "checkpoints"), now=datetime(2026, 1, 2, tzinfo=UTC), plan=plan
        )
    registry = Registry(home / "checkpoints")
    registry.promote(registry.versions()[1])
    return home


@pytest.fixture
def home(made, tmp_path, monkeypatch):
    """A copy of it to spoil."""
    shutil.copytree(made, tmp_path / "home", symlinks=True)
    monkeypatch.setenv("FARM_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def settings_of(home):
    return load_settings({"home": home})


def page_of(home, tmp_path, **asked):
    written = write_report(settings_of(home), html=tmp_path / "page.html", **asked)
    return (tmp_path / "page.html").read_text(), written


def data_of(page):
    found = re.search(r'<script type="application/json" id="atlas-data">(.*?)</script>', page, re.DOTALL)
    return json.loads(found[1])


@pytest.mark.usefixtures("undrawn")
def test_the_page_has_every_section_and_every_held_out_material(home, tmp_path):
    page, written = page_of(home, tmp_path)
    card = Registry(home / "checkpoints").load()[1]
    assert (written.checkpoint, written.problems) == (card.version, ())
    assert f"<h1>{card.version}</h1>" in page
    assert f"median similarity of {card.median_sc:.3f}" in page
    for title in ("Numbers", "Learning curve", "Parity", "Similarity", "Examples", "Atlas", "Card"):
        assert f"<h2>{title}</h2>" in page
    table = page[page.index('<table id="table"') :]
    assert len(card.held_out) > 2
    for record in card.held_out:
        row = re.search(rf"<tr><th[^\n]*<td>{record['material']}</td>[^\n]*", table)[0]
        assert f">{record['sc']:.3f}</td>" in row
    # The least similar material comes first.
    first = min(card.held_out, key=lambda record: record["sc"])["material"]
    assert table.index(f"<td>{first}</td>") == min(
        table.index(f"<td>{r['material']}</td>") for r in card.held_out
    )


def test_the_page_needs_nothing_from_elsewhere(home, tmp_path):
    page, _ = page_of(home, tmp_path)
    assert "default-src 'none'" in page
    addresses = set(re.findall(r'https?://[^"\s<]+', page))
    assert addresses <= {"http://www.w3.org/2000/svg"}
    assert not re.findall(r"<(?:link|img|iframe)\b|<script[^>]+src=|@import|url\((?!#)", page)


def test_every_figure_is_sound_told_in_words_and_refers_to_itself_alone(home, tmp_path):
    page, _ = page_of(home, tmp_path)
    svgs = re.findall(r"<svg .*?</svg>", page.split("<script>")[0], re.DOTALL)
    assert len(svgs) >= 2 + 4 + 2 + 5 + 2
    ids = []
    for svg in svgs:
        element = ElementTree.fromstring(svg)  # noqa: S314 - our own
        assert len(element.attrib["aria-label"]) > 20
        own = [child.attrib["id"] for child in element.iter() if "id" in child.attrib]
        used = re.findall(r'(?:href="|url\()#([^")]+)', svg)
        assert set(used) <= set(own)
        ids += own
    assert len(ids) == len(set(ids))
    # Colours that change between light and dark are names, not numbers.
    assert "var(--rpa)" in svgs[0]
    assert "#c0392b" not in "".join(svgs)


def test_the_same_page_twice(home, tmp_path):
    assert page_of(home, tmp_path)[0] == page_of(home, tmp_path)[0]


@pytest.mark.usefixtures("undrawn")
def test_the_map_carries_every_material_with_its_spectra(home, tmp_path):
    page, _ = page_of(home, tmp_path)
    data = data_of(page)
    dataset = load_dataset(home / "spectra.h5")
    assert data["ids"] == [row.material_id for row in dataset.rows]
    assert data["nPoints"] == 41
    assert data["energyStep"] == 0.5
    held_out = {record["material"] for record in Registry(home / "checkpoints").load()[1].held_out}
    groups = dict(zip(data["ids"], data["groups"], strict=True))
    assert {name for name, group in groups.items() if group == Group.HELD_OUT} == held_out
    assert data["ids"][data["first"]] in held_out


@pytest.mark.usefixtures("undrawn")
def test_what_looks_like_markup_in_a_card_stays_text(home):
    contents = gather(home / "spectra.h5", home / "checkpoints")
    record = {**contents.card.held_out[0], "material": "<b>&x", "formula": "</script><script>alert(1)"}
    materials = replace(contents.materials, formulas=("</script><!--", *contents.materials.formulas[1:]))
    card = replace(contents.card, held_out=(record, *contents.card.held_out[1:]), software={"<i>": "<u>"})
    page = render(make_report(replace(contents, card=card, materials=materials)))
    assert "alert(1)" in page
    assert "<script>alert" not in page
    assert "<b>&x" not in page
    assert "<u>" not in page
    assert data_of(page)["formulas"][0] == "</script><!--"


@pytest.mark.usefixtures("undrawn")
def test_bands_and_calibration_are_drawn_when_the_card_has_them(home):
    contents = gather(home / "spectra.h5", home / "checkpoints")
    levels = [0.5, 0.8, 0.95]
    held = {"n": 8, "levels": levels, "point": [0.45, 0.82, 0.9], "spectrum": [0.5, 0.7, 1.0]}
    held |= {"point_error": 0.04, "spectrum_error": 0.05, "rank_correlation": 0.61}
    predicted = contents.materials.predicted
    materials = replace(
        contents.materials,
        band=(0.8 * predicted, 1.2 * predicted),
        sc_expected=np.full(len(predicted), 0.5),
    )
    card = replace(contents.card, uncertainty={"members": 4, "held_out": held})
    page = render(make_report(replace(contents, card=card, materials=materials)))
    assert "80% held in 82% of points" in page
    assert "Spearman 0.61" in page
    assert "80 % interval of the prediction" in page
    assert data_of(page)["scExpected"][0] == 0.5
    without = replace(
        contents,
        card=replace(contents.card, uncertainty={}),
        materials=replace(contents.materials, band=None, sc_expected=None),
    )
    assert "<h2>Uncertainty</h2>" not in render(make_report(without))


def test_a_band_of_an_ensemble_holds_its_prediction_and_is_as_wide_as_calibrated(home):
    model, card = Registry(home / "checkpoints").load()
    dataset = load_dataset(home / "spectra.h5")
    materials = calculated.describe(dataset, card)

    def band(point):
        calibration = Calibration(n=8, point=(point,) * 5, spectrum=(0.5,) * 5).to_dict()
        told = replace(card, uncertainty={"members": 2, "calibration": calibration})
        asked, notes = ask(materials, dataset.graphs, model, told)
        assert notes == ()
        return asked, *asked.band

    asked, lower, upper = band(1.0)
    assert (lower >= 0).all()
    assert (lower <= asked.predicted).all()
    assert (upper > asked.predicted).all()
    assert asked.sc_expected.shape == (N_MATERIALS,)
    assert (asked.sc_expected < 1).all()
    _, _, wider = band(3.0)
    assert wider - asked.predicted == pytest.approx(3.0 * (upper - asked.predicted), rel=1e-3, abs=1e-4)
    # Without a calibration nothing is drawn that looks like one.
    plain, _ = ask(materials, dataset.graphs, model, replace(card, uncertainty={"members": 2}))
    assert plain.band is plain.sc_expected is None


@pytest.mark.usefixtures("undrawn")
def test_a_damaged_version_is_named_and_left_out_of_the_curve(home, tmp_path):
    registry = Registry(home / "checkpoints")
    first = registry.versions()[0]
    (home / "checkpoints" / first / "card.json").write_text("{")
    page, written = page_of(home, tmp_path)
    assert len(written.problems) == 1
    assert first in written.problems[0]
    assert "Left out of the learning curve" in page
    assert "of 1 versions" in page


@pytest.mark.usefixtures("undrawn")
def test_of_a_damaged_card_the_store_is_still_shown(home, tmp_path):
    registry = Registry(home / "checkpoints")
    (registry.path() / "card.json").write_text("{")
    page, written = page_of(home, tmp_path)
    assert written.checkpoint is None
    assert any("cannot be described" in text for text in written.problems)
    assert f"the store holds {N_MATERIALS} materials" in page
    # The other version is still in the learning curve.
    assert "of 1 versions" in page


@pytest.mark.usefixtures("undrawn")
def test_of_damaged_weights_the_card_is_still_shown(home, tmp_path):
    registry = Registry(home / "checkpoints")
    weights = registry.path() / "rpa.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    page, written = page_of(home, tmp_path)
    assert any("only its card is shown" in text for text in written.problems)
    assert "Predicted spectra are needed for this" in page
    assert '<table id="table"' in page
    assert 'id="atlas-data"' not in page


@pytest.mark.usefixtures("undrawn")
def test_without_a_store_the_card_is_still_shown(home, tmp_path):
    (home / "spectra.h5").unlink()
    page, written = page_of(home, tmp_path)
    assert any("No calculated spectra" in text for text in written.problems)
    assert "<h2>Learning curve</h2>" in page
    assert '<table id="table"' in page
    assert "Predicted spectra are needed for this" in page


@pytest.mark.usefixtures("undrawn")
def test_without_a_checkpoint_the_page_says_how_to_get_one(home, tmp_path):
    shutil.rmtree(home / "checkpoints")
    page, written = page_of(home, tmp_path)
    assert written.checkpoint is None
    assert "has no promoted checkpoint yet" in page
    assert f"the store holds {N_MATERIALS} materials" in page
    (home / "spectra.h5").unlink()
    with pytest.raises(FarmError, match="nothing to report") as caught:
        page_of(home, tmp_path)
    assert "farm seed" in caught.value.fix


@pytest.mark.usefixtures("undrawn")
def test_a_held_out_material_that_is_gone_keeps_its_row(home, tmp_path):
    card = Registry(home / "checkpoints").load()[1]
    gone = card.held_out[0]["material"]
    rows = [row for row in load_dataset(home / "spectra.h5").rows if row.material_id != gone]
    (home / "spectra.h5").unlink()
    fill(home / "spectra.h5", rows)
    page, written = page_of(home, tmp_path)
    assert written.problems == ()
    assert any(gone in text and "no longer in the store" in text for text in written.remarks)
    assert any(
        f"held {N_MATERIALS} materials, now it holds {N_MATERIALS - 1}" in t for t in written.remarks
    )
    row = re.search(rf"<tr><th[^\n]*<td>{gone}</td>[^\n]*", page)[0]
    assert "data-row" not in row
    assert gone not in data_of(page)["ids"]


@pytest.mark.usefixtures("undrawn")
def test_changed_spectra_are_told(home, tmp_path):
    card = Registry(home / "checkpoints").load()[1]
    changed = card.held_out[0]["material"]
    rows = load_dataset(home / "spectra.h5").rows
    (home / "spectra.h5").unlink()
    fill(
        home / "spectra.h5",
        [replace(r, rpa_eps_imag=2 * r.rpa_eps_imag) if r.material_id == changed else r for r in rows],
    )
    _, written = page_of(home, tmp_path)
    assert any("1 held-out materials score otherwise" in text for text in written.remarks)


@pytest.mark.usefixtures("undrawn")
def test_another_grid_leaves_the_map_and_says_why_nothing_is_compared(home, tmp_path):
    rows = load_dataset(home / "spectra.h5").rows
    (home / "spectra.h5").unlink()
    fill(home / "spectra.h5", rows)
    with h5py.File(home / "spectra.h5", "r+") as file:
        file["energies_ev"][:] = np.linspace(0.0, 25.0, 41)
    page, written = page_of(home, tmp_path)
    assert any("41 points up to 20 eV" in t and "41 up to 25 eV" in t for t in written.problems)
    data = data_of(page)
    assert data["sc"] is None
    assert "predicted" not in data["spectra"]
    assert "Predicted spectra are needed for this" in page


@pytest.mark.usefixtures("undrawn")
def test_a_store_of_another_protocol_is_not_mixed_in(home, tmp_path):
    rows = load_dataset(home / "spectra.h5").rows
    (home / "spectra.h5").unlink()
    protocol = Protocol(n_energies=41, damping_ev=0.2)
    eps = 1 + 1j * rows[0].ipa_eps_imag.astype(float)
    steps = [LadderStep(gmax_mry=g, n_g=n, step_similarity=None, eps=eps) for g, n in ((0, 1), (2000, 9))]
    with StoreWriter(home / "spectra.h5") as writer:
        writer.append(
            Result(
                crystal=rows[0].crystal,
                protocol=protocol.to_dict(),
                protocol_hash=protocol.hash,
                engine=Engine.NATIVE,
                outcome=Outcome.DONE,
                ladder=tuple(steps),
            )
        )
    _, written = page_of(home, tmp_path)
    assert any("under the protocol of the checkpoint" in text for text in written.problems)


def test_of_too_many_materials_the_held_out_ones_stay(home, monkeypatch):
    monkeypatch.setattr(calculated, "MOST_MATERIALS", 15)
    contents = gather(home / "spectra.h5", home / "checkpoints")
    assert len(contents.materials) == 15
    assert contents.materials.held_out.size == len(contents.card.held_out)
    assert any("Of 40 materials 15 are shown" in note.text for note in contents.notes)
    assert not any("no longer in the store" in note.text for note in contents.notes)


def test_what_came_after_the_fit_is_neither_held_out_nor_learnt(home):
    registry = Registry(home / "checkpoints")
    contents = gather(home / "spectra.h5", home / "checkpoints", registry.versions()[0])
    later = {
        m
        for m, g in zip(contents.materials.ids, contents.materials.groups, strict=True)
        if g == Group.LATER
    }
    cards = [registry.load(version)[1] for version in registry.versions()]
    first, second = ({record["material"] for record in card.held_out} for card in cards)
    assert later
    assert later.isdisjoint(first)
    assert second - first <= later


def test_versions_are_measured_again_on_the_same_materials(home):
    contents = gather(home / "spectra.h5", home / "checkpoints")
    now = contents.measured_now
    assert [n for n, _ in now.points] == sorted(card.n_train for card in contents.versions)
    assert now.n_held_out == len(contents.card.held_out)
    # The version of the page scores as its card says.
    assert dict(now.points)[contents.card.n_train] == pytest.approx(contents.card.median_sc, abs=1e-4)
    assert now.ipa_as_rpa == pytest.approx(contents.card.metrics["ipa_as_rpa"]["median_sc"], abs=1e-4)


@pytest.mark.usefixtures("undrawn")
def test_a_checkpoint_that_is_not_there_is_an_error(home, tmp_path):
    with pytest.raises(CheckpointError, match="0042-000000"):
        page_of(home, tmp_path, checkpoint="0042-000000")
    assert not (tmp_path / "page.html").exists()
    with pytest.raises(InputError, match="no file can be written"):
        write_report(settings_of(home), html=tmp_path / "nowhere" / "page.html")


def test_figures_are_files_and_a_curve_is_among_them(home, tmp_path):
    curve = tmp_path / "curve.json"
    points = [{"kind": "transfer", "n": n, "seed": s, "median_sc": 0.5} for n in (8, 16) for s in (0, 1)]
    curve.write_text(json.dumps({"points": points, "ipa_as_rpa": 0.7}))
    written = write_report(settings_of(home), figures=tmp_path / "figures", curve=curve)
    names = {path.name for path in written.paths}
    plates = ("learning-curve", "parity", "similarity", "examples", "atlas")
    assert {f"{plate}{suffix}" for plate in plates for suffix in (".png", ".svg")} <= names
    for path in written.paths:
        assert path.read_bytes().startswith(b"\x89PNG" if path.suffix == ".png" else b"<?xml")
        # No time of writing: the same figures are the same files.
        assert b"<dc:date>" not in path.read_bytes()
    page, _ = page_of(home, tmp_path, curve=curve)
    assert "transfer from IPA 0.500 at 16; IPA taken for RPA 0.700" in page


@pytest.fixture
def run(home, monkeypatch):
    point = EntryPoint("trainer", "trainer.report.command:write_report", "farm.report_pages")
    monkeypatch.setattr("farm.cli.report_page.entry_points", lambda **_: [point])

    def invoke(*arguments):
        return CliRunner().invoke(report_command, [str(a) for a in arguments], obj={"home": str(home)})

    return invoke


def test_the_command_writes_the_page_and_says_so(run, home, tmp_path):
    result = run("--html", tmp_path / "page.html", "--json")
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert document["checkpoint"] == Registry(home / "checkpoints").latest()
    assert document["files"] == [
        {"path": str(tmp_path / "page.html"), "bytes": (tmp_path / "page.html").stat().st_size}
    ]
    assert any("pip install umap-learn" in remark for remark in document["remarks"])
    result = run(
        "--html", tmp_path / "page.html", "--checkpoint", Registry(home / "checkpoints").versions()[0]
    )
    assert result.exit_code == 0
    assert result.stdout.startswith(str(tmp_path / "page.html"))


def test_the_command_ends_with_1_where_something_was_missing(run, home, tmp_path):
    (home / "spectra.h5").unlink()
    result = run("--html", tmp_path / "page.html")
    assert result.exit_code == 1
    assert result.stderr.startswith("farm: No calculated spectra")
    assert (tmp_path / "page.html").is_file()


@pytest.mark.parametrize(
    "arguments",
    [("--checkpoint", "0001-aaaaaa"), ("--curve", "c.json"), ("--html", "p.html", "--since", "2026-01-01")],
)
def test_options_that_do_not_go_together_are_a_usage_error(run, arguments):
    assert run(*arguments).exit_code == 2


def test_without_the_part_that_makes_pages_the_error_says_so(run, tmp_path, monkeypatch):
    monkeypatch.setattr("farm.cli.report_page.entry_points", lambda **_: [])
    result = run("--html", tmp_path / "page.html")
    assert isinstance(result.exception, FarmError)
    assert "no part that makes pages" in result.exception.message


@pytest.mark.usefixtures("undrawn")
def test_a_page_that_cannot_be_written_whole_is_not_written(home, tmp_path, monkeypatch):
    (tmp_path / "page.html").write_text("before")

    def full(*_):
        raise OSError("no space left")

    monkeypatch.setattr("trainer.report.command.Path.replace", full)
    with pytest.raises(OSError, match="no space"):
        page_of(home, tmp_path)
    assert (tmp_path / "page.html").read_text() == "before"
    assert not list(tmp_path.glob(".report-*"))


def test_of_imported_weights_nobody_knows_what_they_have_learnt(home, monkeypatch):
    contents = gather(home / "spectra.h5", home / "checkpoints")
    card = replace(
        contents.card,
        n_train=None,
        split={},
        metrics={},
        held_out=(),
        protocol_hashes=(),
        dataset={},
        base={"imported": {"file": "weights.pt"}},
    )
    dataset = load_dataset(home / "spectra.h5")
    materials = calculated.describe(dataset, card)
    assert set(materials.groups.tolist()) == {Group.UNKNOWN}
    monkeypatch.setattr("trainer.report.page.panel_svg", lambda panel: panel.alt)
    page = render(make_report(replace(contents, card=card, materials=materials, measured_now=None)))
    assert "Nobody has measured this checkpoint" in page
    assert "weights.pt" in page


def test_of_several_protocols_that_with_both_rungs_is_shown(home, monkeypatch):
    contents = gather(home / "spectra.h5", home / "checkpoints")
    # IPA alone has a protocol of its own, and its hash may come first.
    card = replace(contents.card, protocol_hashes=("0" * 64, *contents.card.protocol_hashes))
    model = Registry(home / "checkpoints").load()[0]
    monkeypatch.setattr("trainer.report.gather._checkpoint", lambda *_: (card, model))
    again = gather(home / "spectra.h5", home / "checkpoints")
    assert len(again.materials) == N_MATERIALS
