"""Wavefunctions of one k-point from ``wfcN.dat`` (Fortran records) or ``wfcN.hdf5``.

psi_nk(r) = V^(-1/2) sum_G c_n(G) exp(i (k + G) . r), with sum_G |c_n(G)|^2 = 1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from farm.errors import CalculationError, InputError
from farm.kpoints import FloatArray, IntArray
from workers.rpa.save import Save

SingleComplexArray = NDArray[np.complex64]

_MARKER = 4  # bytes of the record length before and after each Fortran record
_K_TOLERANCE = 1e-6


@dataclass(frozen=True, eq=False)
class Wavefunctions:
    """The bands of one k-point.

    kpoint:       crystal coordinates, shape ``(3,)``
    millers:      integer reciprocal-lattice coordinates of G, shape ``(n_pw, 3)``
    coefficients: c_n(G), shape ``(n_bands, n_pw)``, dimensionless; single precision, which all sums
                  over plane waves use: spectra change by 1e-7
    """

    kpoint: FloatArray
    millers: IntArray
    coefficients: SingleComplexArray


# (number of the k-point in the list, spin) -> its bands
WavefunctionSource = Callable[[int, int], Wavefunctions]


def read_wavefunctions(save: Save, index: int, spin: int = 0) -> Wavefunctions:
    """Wavefunctions of k-point ``index`` (from 0) of the list in the XML; ``spin`` 0 is up, 1 is down.

    Raises InputError where pw.x left none, CalculationError where the file is cut short or belongs
    to another run than the XML.
    """
    channel = ("up", "dw")[spin] if save.n_spin == 2 else ""
    stem = save.directory / f"wfc{channel}{index + 1}"
    if stem.with_suffix(".dat").is_file():
        path = stem.with_suffix(".dat")
        kpoint, millers, coefficients = _read_fortran(path)
    elif stem.with_suffix(".hdf5").is_file():
        path = stem.with_suffix(".hdf5")
        kpoint, millers, coefficients = _read_hdf5(path)
    else:
        raise InputError(
            f"{save.directory} holds no wavefunctions of k-point {index + 1} ({stem.name}.dat)",
            fix="Run the nscf step again with disk_io = 'low' and keep the save directory",
        )
    expected = (save.n_bands, int(save.n_plane_waves[index]))
    same_k = np.allclose(kpoint, save.kpoints[index] @ save.reciprocal, atol=_K_TOLERANCE)
    if coefficients.shape != expected or len(millers) != expected[1] or not same_k:
        raise CalculationError(
            f"{path} is of another run than data-file-schema.xml: {coefficients.shape[0]} bands of "
            f"{coefficients.shape[1]} plane waves where {expected[0]} of {expected[1]} are expected",
            fix="Run scf and nscf again in an empty directory",
        )
    return Wavefunctions(save.kpoints[index], millers, coefficients)


def _read_fortran(path: Path) -> tuple[FloatArray, IntArray, SingleComplexArray]:
    data = path.read_bytes()
    try:
        header, at = _record(data, 0)
        sizes, at = _record(data, at)
        _, at = _record(data, at)
        millers, at = _record(data, at)
        _, n_pw, n_spinor, n_bands = np.frombuffer(sizes, dtype=np.int32).tolist()
        _reject_spinors(path, n_spinor, gamma_only=bool(np.frombuffer(header, np.int32, 1, 32)[0]))
        # All bands have records of one length: one array of records instead of a loop.
        record = np.dtype([("head", "<i4"), ("band", "<c16", (n_pw,)), ("tail", "<i4")])
        if len(data) - at != n_bands * record.itemsize:
            raise ValueError(f"{len(data) - at} bytes of bands where {n_bands * record.itemsize} are due")
        records = np.frombuffer(data, record, n_bands, at)
        if (records["head"] != 16 * n_pw).any() or (records["tail"] != 16 * n_pw).any():
            raise ValueError("the records of the bands are not of one length")
        coefficients = records["band"].astype(np.complex64)
        coefficients *= np.float32(np.frombuffer(header, np.float64, 1, 36)[0])  # the file's scale factor
        kpoint = np.frombuffer(header, np.float64, 3, 4).astype(np.float64)
        mesh = np.frombuffer(millers, np.int32).reshape(n_pw, 3).astype(np.int64)
    except ValueError as error:
        raise CalculationError(f"{path} is cut short ({error})", fix="Run the nscf step again") from error
    return kpoint, mesh, coefficients


def _record(data: bytes, at: int) -> tuple[bytes, int]:
    # One Fortran record: its length before and after the payload.
    length = int.from_bytes(data[at : at + _MARKER], "little")
    end = at + _MARKER + length
    if length == 0 or data[end : end + _MARKER] != data[at : at + _MARKER]:
        raise ValueError(f"broken record at byte {at}")
    return data[at + _MARKER : end], end + _MARKER


def _read_hdf5(path: Path) -> tuple[FloatArray, IntArray, SingleComplexArray]:
    import h5py

    try:
        with h5py.File(path, "r") as file:
            gamma_only = str(file.attrs["gamma_only"]).upper().find("TRUE") >= 0
            _reject_spinors(path, int(file.attrs["npol"]), gamma_only=gamma_only)
            kpoint = np.asarray(file.attrs["xk"], dtype=np.float64)
            millers = np.asarray(file["MillerIndices"], dtype=np.int64)
            raw = np.ascontiguousarray(file["evc"], dtype=np.float64)
            scale = float(file.attrs.get("scale_factor", 1.0))
    except (OSError, KeyError, ValueError) as error:
        raise CalculationError(f"{path} is cut short ({error})", fix="Run the nscf step again") from error
    return kpoint, millers, (raw.view(np.complex128) * scale).astype(np.complex64)


def _reject_spinors(path: Path, n_spinor: int, *, gamma_only: bool) -> None:
    if n_spinor != 1 or gamma_only:
        raise InputError(
            f"{path} holds spinors or Gamma-only wavefunctions",
            fix="Run pw.x without noncolin and without K_POINTS gamma",
        )
