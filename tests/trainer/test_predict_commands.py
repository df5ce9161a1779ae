"""`farm predict` as a user types it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from pymatgen.symmetry.analyzer import SpacegroupAnalyzer

from farm.crystal import crystal_from_structure
from farm.errors import CheckpointError, InputError
from farm.job import Engine, Outcome
from farm.protocol import Protocol
from farm.result import LadderStep, Result
from farm.sources import read_simple_cif, read_source
from farm.spectrum import energy_grid_ev, kramers_kronig_real
from farm.store import StoreWriter
from trainer.checkpoints.registry import Registry
from trainer.cli import predict as cli
from trainer.data.split import SplitRule
from trainer.fitting.plan import FitPlan
from trainer.fitting.recipes import RefitPlan
from trainer.fitting.refit import refit_dataset
from trainer.inference.plot import plot_predictions
from trainer.inference.predict import Predictor, Property, derive, stored_spectrum
from trainer.networks.architectures import new_model
from trainer.networks.graph import crystal_graph
from trainer.networks.network import predict_spectra
from trainer.networks.oscillators import OscillatorConfig


@pytest.fixture
def home(tmp_path, small_config, dataset_of, monkeypatch):
    """A farm with two checkpoints, the first of them in use."""
    monkeypatch.setenv("FARM_HOME", str(tmp_path / "home"))
    registry = Registry(tmp_path / "home" / "checkpoints")
    plan = RefitPlan(
        base=FitPlan(epochs=3, lr=1e-2, threads=1),
        transfer=FitPlan(epochs=3, lr=1e-3, threads=1),
        similarity=None,
        members=1,
        model=small_config,
    )
    for n_materials in (20, 40):
        refit_dataset(dataset_of(n_materials), registry, now=datetime(2026, 1, 2, tzinfo=UTC), plan=plan)
    registry.promote(registry.versions()[0])
    return tmp_path / "home"


@pytest.fixture
def good_cif(tmp_path, rock_salt):
    path = tmp_path / "good.cif"
    path.write_text(rock_salt("Mg", "O", 4.21).to_structure().to(fmt="cif"))
    return path


@pytest.fixture
def bad_cif(tmp_path):
    path = tmp_path / "bad.cif"
    path.write_text("data_nothing\n_cell_length_a 4.2\n")
    return path


def run(command, *arguments):
    return CliRunner().invoke(command, [str(a) for a in arguments], obj={"home": None})


def test_one_good_file_is_one_document(home, good_cif):
    result = run(cli.predict, good_cif, "--json")
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert (document["material"], document["formula"]) == ("good", "MgO")
    assert document["directions"] is document["uncertainty"] is document["expected_sc"] is None
    assert (document["rung"], document["property"]) == ("rpa", "eps")
    assert document["checkpoint"] == Registry(home / "checkpoints").latest()
    assert np.allclose(document["energies_ev"], energy_grid_ev(41))
    assert len(document["values"]) == 41
    assert min(document["values"]) >= 0
    assert document["milliseconds"] > 0


@pytest.mark.usefixtures("home")
def test_a_bad_file_is_reported_and_the_rest_goes_on(good_cif, bad_cif, tmp_path):
    metal = tmp_path / "metal.cif"
    metal.write_text(good_cif.read_text().replace("Mg", "Ti"))
    result = run(cli.predict, bad_cif, metal, good_cif, "--json")
    assert result.exit_code == 1
    assert [d["formula"] for d in json.loads(result.stdout)] == ["MgO"]
    assert "bad.cif" in result.stderr
    assert "does not know Ti" in result.stderr


def test_rung_and_checkpoint_are_those_asked_for(home, good_cif):
    registry = Registry(home / "checkpoints")
    other = registry.versions()[1]
    spectra = {}
    for rung in ("ipa", "rpa"):
        result = run(cli.predict, good_cif, "--json", "--rung", rung, "--checkpoint", other)
        document = json.loads(result.stdout)
        assert (document["rung"], document["checkpoint"]) == (rung, other)
        spectra[rung] = document["values"]
    by_path = run(cli.predict, good_cif, "--json", "--checkpoint", registry.directory / other)
    assert json.loads(by_path.stdout)["values"] == spectra["rpa"] != spectra["ipa"]


def test_without_a_checkpoint_the_error_says_how_to_get_one(tmp_path, good_cif, monkeypatch):
    monkeypatch.setenv("FARM_HOME", str(tmp_path / "empty"))
    result = run(cli.predict, good_cif)
    assert isinstance(result.exception, CheckpointError)
    assert "farm pull" in result.exception.fix


def test_plot_is_written_and_an_unknown_type_refused(home, good_cif, tmp_path):
    result = run(cli.predict, good_cif, "--plot", tmp_path / "spectrum.png")
    assert result.exit_code == 0, result.output
    assert (tmp_path / "spectrum.png").read_bytes().startswith(b"\x89PNG")
    assert "maximum" in result.stdout
    predictor = Predictor.load(home / "checkpoints")
    from farm.sources import read_source

    prediction = predictor.predict(next(iter(read_source(good_cif))))
    with pytest.raises(InputError, match="xyz"):
        plot_predictions([prediction], [prediction.values], tmp_path / "spectrum.xyz")


def test_calculated_spectrum_is_found_by_structure(tmp_path, rock_salt, training_row):
    row = training_row(rock_salt("Mg", "O", 4.21))
    protocol = Protocol(n_energies=41)
    steps = [
        LadderStep(gmax_mry=g, n_g=n, step_similarity=None, eps=1 + 1j * s.astype(float))
        for g, n, s in ((0, 1, row.ipa_eps_imag), (2000, 9, row.rpa_eps_imag))
    ]
    with StoreWriter(tmp_path / "s.h5") as writer:
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
    # Under another name, with its axes turned and its lengths rounded, it is the same crystal.
    a, b, c = row.crystal.lattice_angstrom
    turned = tuple(tuple(x * 1.0001 for x in vector) for vector in (b, c, a))
    renamed = replace(row.crystal, material_id="another-name", lattice_angstrom=turned)
    for rung, expected in (("ipa", row.ipa_eps_imag.mean(axis=0)), ("rpa", row.rpa_eps_imag.mean(axis=0))):
        found = stored_spectrum(tmp_path / "s.h5", renamed, rung, energy_grid_ev(41))
        assert np.allclose(found, expected, atol=1e-5)
    assert stored_spectrum(tmp_path / "s.h5", rock_salt("Mg", "O", 4.3), "rpa", energy_grid_ev(41)) is None
    assert stored_spectrum(tmp_path / "s.h5", renamed, "rpa", energy_grid_ev(51)) is None
    assert stored_spectrum(tmp_path / "none.h5", renamed, "rpa", energy_grid_ev(41)) is None


def test_properties_follow_from_im_eps():
    energies_ev = energy_grid_ev(401)
    # A Lorentz oscillator, whose Re eps is known.
    eps = 1 + 60.0 / (64.0 - energies_ev**2 - 1j * energies_ev * 0.6)
    assert np.allclose(kramers_kronig_real(eps.imag, energies_ev), eps.real, atol=0.2)
    index = derive(eps.imag, energies_ev, Property.REFRACTIVE_INDEX)
    assert index[0] == pytest.approx(np.sqrt(1 + 60 / 64), abs=0.05)
    absorption = derive(eps.imag, energies_ev, Property.ABSORPTION)
    assert absorption.max() > 1e5
    assert 7.5 < energies_ev[absorption.argmax()] < 9.5
    assert derive(eps.imag, energies_ev, Property.REFLECTIVITY)[0] == pytest.approx(0.027, abs=0.01)


def test_supercell_gives_the_spectrum_of_its_cell(home, rock_salt):
    structure = rock_salt("Mg", "O", 4.21).to_structure()
    predictor = Predictor.load(home / "checkpoints")
    one = predictor.eps_imag_mean(crystal_from_structure(structure))
    structure.make_supercell([2, 1, 1])
    other = predictor.eps_imag_mean(replace(rock_salt("Mg", "O", 4.21), **as_sites(structure)))
    assert np.allclose(one, other, atol=1e-4)


def as_sites(structure):
    return {
        "lattice_angstrom": tuple(map(tuple, structure.lattice.matrix.tolist())),
        "species": tuple(site.specie.symbol for site in structure),
        "frac_coords": tuple(map(tuple, structure.frac_coords.tolist())),
    }


def test_loading_the_commands_loads_no_torch():
    code = "import sys, trainer.cli.predict, trainer.cli.next, trainer.cli.train, trainer.cli.checkpoints;"
    code += "sys.exit(any(m in sys.modules for m in ('torch', 'h5py', 'pymatgen')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_help_has_examples():
    result = run(cli.predict, "--help")
    assert result.exit_code == 0
    assert "farm predict " in result.output


@pytest.fixture
def sure_home(tmp_path, dataset_of, monkeypatch):
    """A farm whose model gives directions and says how sure it is."""
    monkeypatch.setenv("FARM_HOME", str(tmp_path / "sure"))
    quick = FitPlan(epochs=4, lr=3e-3, loss="similarity", keep="last", threads=1)
    plan = RefitPlan(
        base=quick,
        transfer=quick,
        similarity=None,
        members=3,
        model=OscillatorConfig(width=16, layers=1, heads=2, hidden=(32,), n_oscillators=40, n_energies=41),
        rule=SplitRule(validation_share=0.3),
    )
    registry = Registry(tmp_path / "sure" / "checkpoints")
    refit_dataset(dataset_of(60), registry, now=datetime(2026, 1, 2, tzinfo=UTC), plan=plan)
    return tmp_path / "sure"


def test_a_prediction_says_how_sure_it_is_and_gives_directions(tmp_path, sure_home, wurtzite):
    path = tmp_path / "AlN.cif"
    path.write_text(wurtzite.to_structure().to(fmt="cif"))
    result = run(cli.predict, path, "--directions", "--json", "--plot", tmp_path / "AlN.png")
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    values = np.array(document["values"])
    assert document["uncertainty"]["level"] == 0.8
    half_width = np.array(document["uncertainty"]["half_width"])
    assert half_width.shape == values.shape
    assert half_width.min() > 0.0
    assert document["expected_sc"] < 1.0
    along = np.array([document["directions"][axis] for axis in "xyz"])
    assert np.allclose(along.mean(axis=0), values, atol=1e-5 * values.max())
    assert np.allclose(along[0], along[1], atol=1e-3 * values.max())
    assert (tmp_path / "AlN.png").stat().st_size > 5000
    # Of what follows from Im eps by an integral no interval is known. The real part is the network's own,
    # which needs no integral over the grid.
    index = json.loads(run(cli.predict, path, "--property", "refractive-index", "--json").stdout)
    model, _ = Registry(sure_home / "checkpoints").load()
    with torch.no_grad():
        real = torch.stack([one.eps_real(crystal_graph(wurtzite))[0] for one in model.members]).mean(dim=0)
    expected = np.sqrt(real.double().numpy() + 1j * values).real
    assert np.allclose(index["values"], expected, rtol=1e-3)
    other = json.loads(run(cli.predict, path, "--property", "reflectivity", "--json").stdout)
    assert other["uncertainty"] is other["directions"] is None
    assert other["expected_sc"] == pytest.approx(document["expected_sc"])
    assert "expected SC" in run(cli.predict, path).stdout


def test_directions_of_a_network_without_them_are_refused(home, good_cif):
    with pytest.raises(InputError, match="gives no directions") as error:
        CliRunner().invoke(cli.predict, [str(good_cif), "--directions"], obj=None, catch_exceptions=False)
    assert "oscillators" in error.value.fix
    assert home.is_dir()


def test_a_cif_is_the_same_crystal_by_both_readers(tmp_path, rock_salt, wurtzite):
    """What the quick reader makes of a CIF gives the spectrum of the standard primitive cell."""
    model = new_model(OscillatorConfig(n_energies=201), 0).eval()
    for crystal in (rock_salt("Mg", "O", 4.21), wurtzite, rock_salt("Ca", "S", 5.7)):
        path = tmp_path / f"{crystal.material_id}.cif"
        SpacegroupAnalyzer(crystal.to_structure()).get_conventional_standard_structure().to(
            filename=str(path), symprec=0.01
        )
        quick, (full,) = read_simple_cif(path), read_source(path)
        assert quick is not None
        assert (quick.formula, quick.material_id) == (full.formula, crystal.material_id)
        assert quick.n_atoms >= full.n_atoms
        one, other = predict_spectra(model, [crystal_graph(quick), crystal_graph(full)])
        assert torch.allclose(one, other, atol=1e-5 * float(other.max()))


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda text: re.sub(r"(Mg0 .*) 1\n", r"\1 0.5\n", text), id="partial occupancy"),
        pytest.param(lambda text: re.sub(r"_chemical_formula_sum.*\n", "", text), id="no formula"),
        pytest.param(lambda text: text.replace("'Mg1 O1'", "'Mg2 O1'"), id="another formula"),
        pytest.param(lambda text: text + text.replace("data_", "data_second_"), id="two blocks"),
        pytest.param(lambda text: text.replace("0.50000000", "0.02000000"), id="sites too close"),
        pytest.param(lambda text: text[: len(text) // 2], id="half of it"),
        pytest.param(lambda text: text[:0], id="nothing"),
    ],
)
def test_what_is_not_plain_is_left_to_the_full_reader(change, good_cif):
    text = good_cif.read_text()
    assert read_simple_cif(good_cif) is not None
    changed = change(text)
    assert changed != text
    good_cif.write_text(changed)
    assert read_simple_cif(good_cif) is None
