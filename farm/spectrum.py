"""Spectra on the common energy grid, and how alike two of them are.

Axis order everywhere: ``[direction, energy]`` with directions Cartesian x, y, z.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from farm.errors import InputError
from farm.units import HBAR_EV_S, SPEED_OF_LIGHT_CM_S

FloatArray = NDArray[np.float64]
ComplexArray = NDArray[np.complex128]

DIRECTIONS = ("x", "y", "z")
_EQUAL = 1e-3


def energy_grid_ev(n_energies: int = 2001, energy_max_ev: float = 20.0) -> FloatArray:
    """Photon energies in eV, shape ``(n_energies,)``, from 0 to ``energy_max_ev`` inclusive."""
    return np.linspace(0.0, energy_max_ev, n_energies)


@dataclass(frozen=True, eq=False)
class Spectrum:
    """The diagonal of the macroscopic dielectric tensor eps(w).

    energies_ev: photon energies, shape ``(n_energies,)``, eV
    eps:         complex, shape ``(3, n_energies)``, dimensionless, axis order ``[x|y|z, energy]``
    """

    energies_ev: FloatArray
    eps: ComplexArray

    def __post_init__(self) -> None:
        if self.eps.shape != (3, self.energies_ev.size):
            raise InputError(
                f"a spectrum needs eps of shape (3, {self.energies_ev.size}), got {self.eps.shape}"
            )
        if not (np.isfinite(self.eps).all() and np.isfinite(self.energies_ev).all()):
            raise InputError("a spectrum holds numbers that are not finite")

    @cached_property
    def eps_imag_mean(self) -> FloatArray:
        """Im of a third of the trace, shape ``(n_energies,)``: what the model learns."""
        return np.ascontiguousarray(self.eps.imag.mean(axis=0))

    @property
    def eps_static(self) -> FloatArray:
        """Re eps at zero photon energy per direction, shape ``(3,)``."""
        return np.ascontiguousarray(self.eps.real[:, 0])

    @property
    def eps_inf(self) -> float:
        """High-frequency (electronic) dielectric constant: a third of the trace of Re eps(0)."""
        return float(self.eps_static.mean())


def equal_directions(eps: ComplexArray) -> list[list[int]]:
    """x, y, z (0, 1, 2) in groups of equal spectra; ``eps`` of shape ``(..., 3, n_energies)``.

    Equal means within a thousandth of the largest |eps|.
    """
    groups: list[list[int]] = []
    tolerance = _EQUAL * float(np.abs(eps).max())
    for direction in range(3):
        for group in groups:
            if np.abs(eps[..., direction, :] - eps[..., group[0], :]).max() <= tolerance:
                group.append(direction)
                break
        else:
            groups.append([direction])
    return groups


def similarity_coefficient(
    spectrum: NDArray[np.floating], reference: NDArray[np.floating], energies_ev: FloatArray
) -> float:
    """SC[X; Y] = 1 - int |X - Y| dE / int |Y| dE over the last axis, 1 for identical spectra.

    Defined in Grunert et al., Nat. Commun. 16, 8142 (2025). It is not symmetric: the second
    argument is the reference. Raises InputError where the reference is zero everywhere.
    """
    norm = float(np.trapezoid(np.abs(reference), energies_ev))
    if norm == 0.0:
        raise InputError("a spectrum that is zero everywhere cannot be a reference")
    return 1.0 - float(np.trapezoid(np.abs(spectrum - reference), energies_ev)) / norm


def mean_squared_error(spectrum: NDArray[np.floating], reference: NDArray[np.floating]) -> float:
    """Mean over all points of (X - Y)^2."""
    return float(np.mean((np.asarray(spectrum) - np.asarray(reference)) ** 2))


def mean_absolute_error(spectrum: NDArray[np.floating], reference: NDArray[np.floating]) -> float:
    """Mean over all points of |X - Y|."""
    return float(np.mean(np.abs(np.asarray(spectrum) - np.asarray(reference))))


def kramers_kronig_real(eps_imag: NDArray[np.floating], energies_ev: FloatArray) -> FloatArray:
    """Re eps from Im eps on a uniform grid that starts at zero, shape ``(..., n_energies)``.

    Re eps(w) = 1 + (2/pi) P int w' Im eps(w') / (w'^2 - w^2) dw' by Maclaurin's formula (points of
    the other parity only), Ohta and Ishida, Appl. Spectrosc. 42, 952 (1988). What lies above the
    end of the grid is missing: expect a nearly constant offset.
    """
    energies = np.asarray(energies_ev, dtype=np.float64)
    n_energies = energies.size
    step = energies[1] - energies[0]
    weighted = np.asarray(eps_imag, dtype=np.float64) * energies
    odd_pair = (np.arange(n_energies)[:, None] + np.arange(n_energies)[None, :]) % 2 == 1
    difference = energies[None, :] ** 2 - energies[:, None] ** 2
    kernel = np.where(odd_pair, 1.0 / np.where(odd_pair, difference, 1.0), 0.0)
    real: FloatArray = 1.0 + (4.0 / np.pi) * step * (weighted @ kernel.T)
    return real


def refractive_index(eps: NDArray[np.complexfloating]) -> ComplexArray:
    """n + i k = sqrt(eps), the branch with n >= 0, same shape as ``eps``."""
    index: ComplexArray = np.sqrt(np.asarray(eps, dtype=np.complex128))
    return index


def absorption_per_cm(eps: NDArray[np.complexfloating], energies_ev: FloatArray) -> FloatArray:
    """alpha(w) = 2 w k(w) / c in 1/cm, same shape as ``eps``."""
    alpha: FloatArray = 2 * energies_ev / HBAR_EV_S * refractive_index(eps).imag
    return alpha / SPEED_OF_LIGHT_CM_S


def reflectivity(eps: NDArray[np.complexfloating]) -> FloatArray:
    """Normal-incidence reflectivity |(n + ik - 1)/(n + ik + 1)|^2, same shape as ``eps``."""
    index = refractive_index(eps)
    return np.abs((index - 1) / (index + 1)) ** 2


def loss_function(eps: NDArray[np.complexfloating]) -> FloatArray:
    """-Im 1/eps, same shape as ``eps``."""
    loss: FloatArray = -np.imag(1.0 / np.asarray(eps, dtype=np.complex128))
    return loss
