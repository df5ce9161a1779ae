"""Saves of pw.x built with HDF5: the same calculation, its wavefunctions in the other format."""

from __future__ import annotations

import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest

from farm.errors import CalculationError, InputError
from workers.rpa.response import ResponseRequest, compute_response
from workers.rpa.save import Save, read_save
from workers.rpa.wavefunctions import read_wavefunctions

REQUEST = ResponseRequest(gmax_mry=(0, 4000), energies_ev=np.linspace(0, 20, 41), damping_ev=0.3)


def fortran_string(text: str, length: int) -> np.ndarray:
    """As QE stores a string attribute: fixed length, padded with blanks."""
    return np.array(text.ljust(length).encode(), dtype=h5py.string_dtype("ascii", length))


def write_hdf5(save: Save, index: int, path: Path, scale: float) -> None:
    """wfcN.hdf5 with the names, types and shapes of QE's ``write_wfc``."""
    waves = read_wavefunctions(save, index)
    n_bands, n_pw = waves.coefficients.shape
    with h5py.File(path, "w") as file:
        for name, value in {"ik": index + 1, "ispin": 1, "npol": 1, "nbnd": n_bands}.items():
            file.attrs[name] = np.int32(value)
        file.attrs["ngw"] = file.attrs["igwx"] = np.int32(n_pw)
        file.attrs["xk"] = save.kpoints[index] @ save.reciprocal
        file.attrs["scale_factor"] = scale
        file.attrs["gamma_only"] = fortran_string(".FALSE.", 8)
        millers = file.create_dataset("MillerIndices", data=waves.millers.astype(np.int32))
        for axis, row in enumerate(save.reciprocal):
            millers.attrs[f"bg{axis + 1}"] = row
        millers.attrs["doc"] = fortran_string("Miller Indices of the wave-vectors", 80)
        evc = file.create_dataset(
            "evc", data=(waves.coefficients.astype(np.complex128) / scale).view(np.float64)
        )
        evc.attrs["doc:"] = fortran_string("Wave Functions, (npwx,nbnd)", 80)


def converted(save_dir: Path, target: Path, scale: float = 1.0) -> Path:
    """A copy of a save with wfcN.hdf5 instead of wfcN.dat."""
    shutil.copytree(save_dir, target, ignore=shutil.ignore_patterns("wfc*.dat"))
    save = read_save(save_dir)
    for index in range(len(save.kpoints)):
        write_hdf5(save, index, target / f"wfc{index + 1}.hdf5", scale)
    return target


@pytest.mark.parametrize("scale", [1.0, 0.125])
def test_response_is_that_of_the_fortran_files(
    boron_nitride_small: Path, tmp_path: Path, scale: float
) -> None:
    # A power of two: not a digit is lost.
    save_dir = converted(boron_nitride_small, tmp_path / "x.save", scale)
    expected = compute_response(boron_nitride_small, REQUEST)
    ours = compute_response(save_dir, REQUEST)
    assert np.allclose(ours.eps, expected.eps, rtol=1e-12, atol=0)


def test_damaged_file_is_named(boron_nitride_small: Path, tmp_path: Path) -> None:
    save_dir = converted(boron_nitride_small, tmp_path / "x.save")
    path = save_dir / "wfc2.hdf5"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CalculationError, match=r"wfc2\.hdf5 is cut short"):
        compute_response(save_dir, REQUEST)
    shutil.copy(save_dir / "wfc1.hdf5", path)
    with pytest.raises(CalculationError, match=r"wfc2\.hdf5 is of another run"):
        compute_response(save_dir, REQUEST)
    path.unlink()
    with pytest.raises(InputError, match="no wavefunctions of k-point 2"):
        compute_response(save_dir, REQUEST)


def test_gamma_only_wavefunctions_are_refused(boron_nitride_small: Path, tmp_path: Path) -> None:
    save_dir = converted(boron_nitride_small, tmp_path / "x.save")
    with h5py.File(save_dir / "wfc1.hdf5", "a") as file:
        file.attrs["gamma_only"] = fortran_string(".TRUE.", 8)
    with pytest.raises(InputError, match="Gamma-only"):
        compute_response(save_dir, REQUEST)
