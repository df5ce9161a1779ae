"""`farm spectra` on real ground states: what it prints, what it writes, what it refuses in one line."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from decks import fcc
from ground_states import GroundState

from farm.cli.main import main

# 2x2x2 k-points, bands to 15 eV: the points of the diamond case are 4x4x4.
PROTOCOL = """
preset = "demo"
response_kppa = 16
energy_window_ev = 16.0
energy_max_ev = 14.0
n_energies = 141
gmax_max_mry = 4000
band_path_points = 24
"""

OF_BANDS = {
    "bands_cpu_seconds",
    "bands_pw_error_mev",
    "bands_top_error_mev",
    "bands_window_error_mev",
    "gap_direct_ev",
    "gap_indirect_ev",
    "kgrid_similarity",
    "kgrids",
    "n_bands",
    "n_basis_functions",
    "n_basis_samples",
    "n_kpoints_used",
    "n_valence",
    "top_band_min_above_vbm_ev",
}
OF_PATH = {
    "path_corners",
    "path_distances_per_angstrom",
    "path_energies_ev",
    "path_kpoints",
    "path_labels",
}

StateOf = Callable[[str], GroundState]
Farm = Callable[..., tuple[int, str, str]]


@pytest.fixture
def farm(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Farm:
    """Calls ``farm spectra`` in this process: exit code, standard output, standard error."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.setenv(name, "1")  # what the command sets is put back

    def call(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main(["spectra", *map(str, arguments)])
        captured = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return ended.value.code, captured.out, captured.err

    return call


@pytest.fixture
def protocol(tmp_path: Path) -> Path:
    """A small protocol file."""
    path = tmp_path / "small.toml"
    path.write_text(PROTOCOL)
    return path


def document(farm: Farm, *arguments: object) -> dict[str, Any]:
    code, out, err = farm(*arguments, "--json")
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert isinstance(found, dict)
    return found


def one_line(result: tuple[int, str, str], code: int) -> str:
    """The complaint, which is one line and no traceback."""
    assert result[0] == code
    assert result[1] == ""
    assert result[2].count("\n") == 1, result[2]
    assert result[2].startswith("farm: ")
    return result[2]


def test_ipa_alone(ground_state: StateOf, farm: Farm, protocol: Path, tmp_path: Path) -> None:
    state, figure = ground_state("diamond"), tmp_path / "c.png"
    alone = tmp_path / "ipa.toml"
    alone.write_text(PROTOCOL.replace("gmax_max_mry = 4000", "gmax_max_mry = 0"))
    found = document(farm, state.directory, "--protocol", alone, "--plot", figure)
    whole = document(farm, state.directory, "--protocol", protocol)
    assert (found["gmax_mry"], found["n_g"], found["step_similarity"]) == ([0], [1], [])
    np.testing.assert_allclose(found["eps_imag"][0], whole["eps_imag"][0], rtol=1e-5, atol=1e-6)
    assert set(found) == set(whole)
    assert figure.read_bytes()[1:4] == b"PNG"
    code, out, _ = farm(state.directory, "--protocol", alone)
    assert code == 0
    assert "IPA alone: no local fields" in out


def test_document_and_files(ground_state: StateOf, farm: Farm, protocol: Path, tmp_path: Path) -> None:
    state = ground_state("diamond")
    npz, figure = tmp_path / "new" / "c.npz", tmp_path / "c.png"
    found = document(farm, state.directory, "--protocol", protocol, "--out", npz, "--plot", figure)
    assert set(found) >= OF_BANDS | OF_PATH
    assert found["directions"] == ["x", "y", "z"]
    assert found["gmax_mry"] == [0, 2000, 4000]
    assert np.shape(found["eps_imag"]) == np.shape(found["eps_real"]) == (3, 3, 141)
    assert (found["kgrids"], found["kgrid_similarity"]) == ([[2, 2, 2]], [])
    assert "kgrid_converged" not in found  # not asked
    assert found["n_kpoints_used"] == found["n_kpoints"] == 6
    assert found["n_valence"] == [4]
    assert found["top_band_min_above_vbm_ev"] >= 16
    assert 2 < found["gap_indirect_ev"] <= found["gap_direct_ev"] < 10
    assert found["bands_pw_error_mev"] < 0.2
    assert max(found["bands_window_error_mev"], found["bands_top_error_mev"]) < 10
    n_points = len(found["path_kpoints"])
    assert np.shape(found["path_energies_ev"]) == (n_points, found["n_bands"])
    assert len(found["path_distances_per_angstrom"]) == n_points
    assert found["path_labels"][0] == "GAMMA"
    assert found["path_corners"][-1] == n_points - 1
    # Zero is the valence band maximum, which diamond has at Gamma.
    energies = np.array(found["path_energies_ev"])
    assert energies[0, 3] == pytest.approx(0.0, abs=1e-4) == energies[:, 3].max()
    with np.load(npz) as arrays:
        assert set(arrays.files) == set(found)
        np.testing.assert_array_equal(arrays["eps_imag"], found["eps_imag"])
        np.testing.assert_array_equal(arrays["path_energies_ev"], found["path_energies_ev"])
        assert arrays["path_labels"].tolist() == found["path_labels"]
    assert figure.read_bytes()[1:4] == b"PNG"
    assert [p.name for p in npz.parent.iterdir()] == ["c.npz"]


def test_hdf5_and_json_files_and_a_given_potential(
    ground_state: StateOf, farm: Farm, protocol: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = ground_state("diamond")
    monkeypatch.setenv("PATH", str(tmp_path))  # no pp.x is needed
    arguments = [state.directory, "--protocol", protocol, "--potential", state.potential_file, "--out"]
    for name in ("c.h5", "c.json"):
        assert farm(*arguments, tmp_path / name)[0] == 0
    found = json.loads((tmp_path / "c.json").read_text())
    with h5py.File(tmp_path / "c.h5") as file:
        assert set(file) | set(file.attrs) == set(found)
        np.testing.assert_allclose(file["eps_imag"][:], found["eps_imag"], atol=1e-6)
        assert file["path_energies_ev"].attrs["axes"] == "point, band (eV above the valence band maximum)"
        assert file["path_labels"].asstr()[:].tolist() == found["path_labels"]
        assert file["kgrids"][:].tolist() == [[2, 2, 2]]
        assert file.attrs["n_basis_samples"] == found["n_basis_samples"]


def test_table_for_people(ground_state: StateOf, farm: Farm, protocol: Path) -> None:
    code, out, err = farm(ground_state("diamond").directory, "--protocol", protocol)
    assert (code, err) == (0, "")
    assert out.startswith("k-grid 2x2x2, 6 inequivalent points, ")
    # Those of the path, too.
    n_samples = int(re.findall(r"basis functions made of (\d+) k-points", out)[0])
    assert n_samples > 6
    assert "measured errors: " in out
    assert "filled bands against pw.x" in out
    assert "x: " in out
    assert len([line for line in out.splitlines() if line.lstrip()[:1].isdigit()]) == 4


def test_grids_until_they_agree(ground_state: StateOf, farm: Farm, protocol: Path) -> None:
    text = PROTOCOL + 'kgrid = "converged"\nkgrid_similarity = 0.9\nkgrid_kppa_max = 128\n'
    protocol.write_text(text.replace("band_path_points = 24", "band_path_points = 0"))
    arguments = (ground_state("diamond").directory, "--protocol", protocol)
    found = document(farm, *arguments)
    assert found["kgrids"] == [[2, 2, 2], [4, 4, 4]]
    assert found["kgrid_converged"] is False
    assert len(found["kgrid_similarity"]) == 3
    assert not OF_PATH & set(found)
    code, out, _ = farm(*arguments)
    assert code == 0
    assert out.startswith("k-grid 2x2x2 -> 4x4x4, 40 inequivalent points")
    assert ", which is not enough" in out


def test_grid_of_another_cell(ground_state: StateOf, farm: Farm, protocol: Path) -> None:
    # A longer edge has fewer divisions; the vectors of the save's cell in those of the other.
    protocol.write_text(PROTOCOL.replace("response_kppa = 16", "response_kppa = 60"))
    arguments = (ground_state("LiF").directory, "--protocol", protocol, "--grid-basis")
    usual = document(farm, *arguments, "1 0 0 0 1 0 0 0 1")["kgrids"]
    other = document(farm, *arguments, "1 3 0 0 1 0 0 0 1")["kgrids"]
    assert usual != other


def test_metal(ground_state: StateOf, farm: Farm, protocol: Path, tmp_path: Path) -> None:
    text = PROTOCOL.replace("response_kppa = 16", "response_kppa = 200")
    protocol.write_text(text + "response_kshift = [0.0, 0.0, 0.0]\n")
    out = tmp_path / "be.h5"
    code, text, err = farm(ground_state("Be").directory, "--protocol", protocol, "--out", out)
    assert (code, err) == (0, "")
    assert "a metal, or nearly: indirect gap -" in text
    with h5py.File(out) as file:
        assert "eps_imag" not in file
        assert file.attrs["gap_indirect_ev"] < 0


@pytest.mark.parametrize(
    "basis", ["1 0 0", "1 0 0 0 1 0 0 0 x", "1 0 0 0 1 0 0 0 2", "1 0 0 0 1 0 0 0 1 0 0 0"]
)
def test_wrong_grid_basis(farm: Farm, tmp_path: Path, basis: str) -> None:
    code, out, err = farm(tmp_path, "--grid-basis", basis)
    assert (code, out) == (2, "")
    assert "--grid-basis" in err.splitlines()[-1]
    assert "Traceback" not in err


@pytest.mark.parametrize("flag", ["--out", "--plot"])
def test_unknown_file_types(farm: Farm, tmp_path: Path, flag: str) -> None:
    code, _, err = farm(tmp_path, flag, "x.doc")
    assert code == 2
    assert "must end in" in err


def test_no_save(farm: Farm, tmp_path: Path) -> None:
    for directory in (tmp_path, tmp_path / "nowhere"):
        assert "prefix.save" in one_line(farm(directory), 2)


def test_no_protocol(farm: Farm, tmp_path: Path) -> None:
    assert "no protocol named 'papre'" in one_line(farm(tmp_path, "--protocol", "papre"), 2)


def test_no_pp_x(
    ground_state: StateOf, farm: Farm, protocol: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    line = one_line(farm(ground_state("diamond").directory, "--protocol", protocol), 1)
    assert "pp.x is not installed" in line


def test_save_without_density(ground_state: StateOf, farm: Farm, protocol: Path, tmp_path: Path) -> None:
    directory = tmp_path / "x.save"
    shutil.copytree(ground_state("Ar").directory, directory)
    (directory / "charge-density.dat").unlink()
    assert "exit code" in one_line(farm(directory, "--protocol", protocol), 1)


def test_potential_of_another_crystal(ground_state: StateOf, farm: Farm, protocol: Path) -> None:
    potential = ground_state("Ar").potential_file
    line = one_line(
        farm(ground_state("diamond").directory, "--protocol", protocol, "--potential", potential), 1
    )
    assert "meV" in line


def test_no_potential(ground_state: StateOf, farm: Farm, protocol: Path, tmp_path: Path) -> None:
    arguments = (ground_state("diamond").directory, "--protocol", protocol, "--potential", tmp_path / "v")
    assert "is no local potential" in one_line(farm(*arguments), 1)


def test_no_pseudopotentials(ground_state: StateOf, farm: Farm, protocol: Path, tmp_path: Path) -> None:
    arguments = (ground_state("diamond").directory, "--protocol", protocol, "--pseudo-dir", tmp_path)
    assert "C_ONCV_PBE-1.2.upf is missing" in one_line(farm(*arguments), 1)


def test_save_with_spin(run_scf: Callable[..., Path], farm: Farm, protocol: Path) -> None:
    magnet = run_scf(fcc(4.0, ("Li", "F"), 0.5), "nspin=2, tot_magnetization=0,")
    assert "is a run with spin" in one_line(farm(magnet, "--protocol", protocol), 2)


def test_loading_the_command_loads_no_numerics() -> None:
    code = "import sys, workers.cli.spectra; print({'numpy', 'scipy', 'matplotlib'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
