"""`farm response` on a real save: what it prints, what it writes, what it refuses."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from click.testing import CliRunner

from farm.errors import InputError
from workers.cli.response import response
from workers.cli.response_output import warnings
from workers.rpa.response import ResponseRequest, compute_response

STEPS = ["--gmax-mry", "0", "--gmax-mry", "2000", "--gmax-mry", "4000", "--n-energies", "201"]
REQUEST = ResponseRequest(gmax_mry=(0,), energies_ev=np.linspace(0, 12, 13), damping_ev=0.3)


def test_json_document_and_files_agree(boron_nitride_small: Path, tmp_path: Path) -> None:
    npz, figure = tmp_path / "new" / "out.npz", tmp_path / "out.png"
    arguments = [str(boron_nitride_small), *STEPS, "--json", "--out", str(npz), "--plot", str(figure)]
    done = CliRunner().invoke(response, arguments, catch_exceptions=False)
    assert done.exit_code == 0
    document = json.loads(done.stdout)
    assert document["directions"] == ["x", "y", "z"]
    assert document["gmax_mry"] == [0, 2000, 4000]
    assert document["n_g"] == [1, 7, 51]
    assert np.shape(document["eps_imag"]) == np.shape(document["eps_real"]) == (3, 3, 201)
    assert document["n_bands"] == 14
    assert document["gap_direct_ev"] >= document["gap_indirect_ev"] > 2
    assert document["cpu_seconds"] > 0
    assert document["peak_memory_mb"] > 10
    with np.load(npz) as arrays:
        assert set(arrays.files) == set(document)
        assert np.array_equal(arrays["eps_imag"], document["eps_imag"])
        expected = [-1 if g is None else g for g in document["converged_gmax_mry"]]
        assert arrays["converged_gmax_mry"].tolist() == expected
    assert figure.read_bytes()[1:4] == b"PNG"
    assert [p.name for p in npz.parent.iterdir()] == ["out.npz"]


def test_table_for_people(boron_nitride_small: Path) -> None:
    done = CliRunner().invoke(response, [str(boron_nitride_small), *STEPS], catch_exceptions=False)
    assert "2 k-points, 8 valence of 14 bands" in done.stdout
    assert "x: " in done.stdout
    assert len([line for line in done.stdout.splitlines() if line.lstrip()[:1].isdigit()]) == 4


def test_ipa_alone(boron_nitride_small: Path, tmp_path: Path) -> None:
    path, figure = tmp_path / "out.h5", tmp_path / "out.png"
    arguments = [str(boron_nitride_small), "--n-energies", "201", "--gmax-mry", "0"]
    arguments += ["--out", str(path), "--plot", str(figure)]
    done = CliRunner().invoke(response, arguments, catch_exceptions=False)
    assert done.exit_code == 0
    assert "IPA alone: no local fields" in done.stdout
    assert "converged" not in done.stdout
    whole = CliRunner().invoke(response, [str(boron_nitride_small), *STEPS, "--json"])
    expected = json.loads(whole.stdout)
    with h5py.File(path) as h5:
        assert h5["gmax_mry"][()].tolist() == [0]
        assert h5["step_similarity"].size == 0
        np.testing.assert_allclose(h5["eps_imag"][0], expected["eps_imag"][0], rtol=1e-5, atol=1e-6)
    assert figure.read_bytes()[1:4] == b"PNG"


def test_options_reach_the_solver_and_the_file(boron_nitride_small: Path, tmp_path: Path) -> None:
    path = tmp_path / "out.h5"
    arguments = ["--gmax-mry", "0", "4000", str(boron_nitride_small), "--n-energies", "101"]
    arguments += [
        "--off-diagonal",
        "--green-function",
        "retarded",
        "--weights",
        "yambo",
        "--out",
        str(path),
    ]
    done = CliRunner().invoke(response, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert "eps(0) xy " in done.stdout
    with h5py.File(path) as file:
        assert file["gmax_mry"][:].tolist() == [0, 4000]
        assert file["off_diagonal"].asstr()[:].tolist() == ["xy", "yz", "zx"]
        assert file["eps_off_diagonal_imag"].shape == file["eps_imag"].shape == (2, 3, 101)
        assert file["eps_imag"].attrs["axes"] == "gmax, direction, energy"
        assert (file.attrs["green_function"], file.attrs["weights"]) == ("retarded", "yambo")
        assert np.abs(file["eps_imag"][:, :, 0]).max() < 1e-6


def test_what_a_spectrum_lacks_is_said(boron_nitride_small: Path) -> None:
    done = CliRunner().invoke(response, [str(boron_nitride_small), *STEPS], catch_exceptions=False)
    assert "warning: the 14 bands end 12.3 eV above the valence band maximum" in done.stderr
    enough = [str(boron_nitride_small), *STEPS, "--energy-max-ev", "12"]
    assert CliRunner().invoke(response, enough, catch_exceptions=False).stderr == ""
    overlapping = replace(compute_response(boron_nitride_small, REQUEST), gap_indirect_ev=-0.2)
    assert warnings(overlapping)[0].startswith("the bands overlap by 0.200 eV: a metal")


def test_a_directory_without_a_save_is_an_input_error(tmp_path: Path) -> None:
    done = CliRunner().invoke(response, [str(tmp_path)])
    assert isinstance(done.exception, InputError)
    assert "prefix.save" in done.exception.fix


@pytest.mark.parametrize("flag", ["--out", "--plot"])
def test_unknown_file_types_are_usage_errors(tmp_path: Path, flag: str) -> None:
    done = CliRunner().invoke(response, [str(tmp_path), flag, "x.doc"])
    assert done.exit_code == 2
    assert "must end in" in done.output


def test_loading_the_command_loads_no_numerics() -> None:
    code = "import sys, workers.cli.response; print({'numpy', 'scipy', 'matplotlib'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_the_solver_needs_neither_torch_nor_pymatgen() -> None:
    code = "import sys, workers.rpa.response; print({'torch', 'pymatgen', 'h5py'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
