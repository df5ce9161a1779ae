"""Kleinman-Bylander projectors of a norm-conserving UPF, their Fourier transforms and gradients.

b_lm(K) = (4 pi / sqrt V) f_l(K)/K^l S_lm(K) exp(-i G . tau),  K = k + G,
f_l(K) = int r beta(r) r j_l(K r) dr  with ``PP_BETA`` = r beta(r),
S_lm real solid harmonics (K^l Y_lm). (-i)^l drops out of |b><b|, and so does exp(-i k . tau).
Kleinman and Bylander, Phys. Rev. Lett. 48, 1425 (1982); ONCV: Hamann, Phys. Rev. B 88, 085117 (2013).
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.interpolate import CubicSpline
from scipy.special import spherical_jn

from farm.errors import InputError, MissingProgramError
from farm.kpoints import FloatArray, IntArray
from farm.spectrum import ComplexArray
from workers.rpa.save import Save
from workers.rpa.solid_harmonics import L_MAX, solid_harmonics

# Spacing of the radial table in 1/bohr; the spline is then exact to 1e-9 of f_l.
_TABLE_STEP = 0.02


@dataclass(frozen=True, eq=False)
class Pseudopotential:
    """The non-local part of one UPF.

    angular: l of each radial projector, one an entry
    radius:  mesh, shape ``(n_mesh,)``, bohr
    weights: Simpson weights including dr/di, shape ``(n_mesh,)``, bohr
    beta:    r beta(r), shape ``(n_beta, n_mesh)``
    d_ij:    coefficients, shape ``(n_beta, n_beta)``, hartree
    """

    angular: tuple[int, ...]
    radius: FloatArray
    weights: FloatArray
    beta: FloatArray
    d_ij: FloatArray


def read_upf(path: Path) -> Pseudopotential:
    """Read a UPF version 2 file.

    Raises MissingProgramError where it is absent, InputError where it is of another version,
    ultrasoft, PAW or with spin-orbit terms.
    """
    if not path.is_file():
        raise MissingProgramError(
            f"the pseudopotential {path} is missing",
            fix="Keep the UPF copies pw.x puts into the save directory, or give --pseudo-dir",
        )
    # PP_INFO is free text and not always XML.
    text = re.sub(r"<PP_INFO>.*?</PP_INFO>", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    try:
        root = ET.fromstring(text)  # noqa: S314 - a local data file
        header = _child(root, "PP_HEADER").attrib
        _reject_unsupported(path, header)
        radius = _numbers(_child(root, "PP_MESH/PP_R"))
        spacing = _numbers(_child(root, "PP_MESH/PP_RAB"))
        n_beta = int(header["number_of_proj"])
        betas = [_child(root, f"PP_NONLOCAL/PP_BETA.{i + 1}") for i in range(n_beta)]
        beta = np.zeros((n_beta, radius.size))
        for row, element in zip(beta, betas, strict=True):
            values = _numbers(element)
            row[: values.size] = values
        d_ij = np.zeros((0, 0))
        if n_beta:
            # Rydberg in the file.
            d_ij = 0.5 * _numbers(_child(root, "PP_NONLOCAL/PP_DIJ")).reshape(n_beta, n_beta)
        angular = tuple(int(element.attrib["angular_momentum"]) for element in betas)
    except (ET.ParseError, KeyError, ValueError) as error:
        raise InputError(f"{path} is not a UPF version 2 file ({error})", fix="Use SG15 v1.2") from error
    if any(l_value > L_MAX for l_value in angular):
        raise InputError(f"{path} has projectors above l = 3", fix="Use SG15 v1.2")
    return Pseudopotential(angular, radius, _simpson(spacing), beta, d_ij)


def _reject_unsupported(path: Path, header: dict[str, str]) -> None:
    for flag, what in (
        ("is_ultrasoft", "ultrasoft"),
        ("is_paw", "a PAW data set"),
        ("has_so", "with spin-orbit terms"),
    ):
        if header.get(flag, "F").strip(". ").upper().startswith("T"):
            raise InputError(
                f"{path} is {what}", fix="Use norm-conserving, scalar-relativistic ones (SG15 v1.2)"
            )


def _simpson(spacing: FloatArray) -> FloatArray:
    # Simpson needs an odd number of points; QE leaves out the last of an even mesh, and so do we.
    n_odd = spacing.size - 1 + spacing.size % 2
    weights = np.zeros_like(spacing)
    weights[0:n_odd:2] = 2 / 3
    weights[1:n_odd:2] = 4 / 3
    weights[0] = weights[n_odd - 1] = 1 / 3
    return weights * spacing


def _child(parent: ET.Element, tag: str) -> ET.Element:
    element = parent.find(tag)
    if element is None:
        raise ValueError(f"no {tag}")
    return element


def _numbers(element: ET.Element) -> FloatArray:
    return np.array((element.text or "").split(), dtype=np.float64)


def radial_transform(pseudo: Pseudopotential, wave_numbers: FloatArray) -> FloatArray:
    """f_l(K)/K^l of every radial projector, shape ``(n_K, n_beta)``; even and smooth in K."""
    table = np.empty((wave_numbers.size, len(pseudo.angular)))
    argument = wave_numbers[:, None] * pseudo.radius[None, :]
    for l_value in set(pseudo.angular):
        rows = [i for i, other in enumerate(pseudo.angular) if other == l_value]
        # j_l(x)/x^l tends to 1/(2l+1)!! ; below 1e-2 the next term of the series gives 1e-9.
        small = argument < 1e-2
        safe = np.where(small, 1.0, argument)
        limit = 1.0 / float(np.prod(np.arange(1, 2 * l_value + 2, 2)))
        series = limit * (1 - argument**2 / (2 * (2 * l_value + 3)))
        reduced = np.where(small, series, spherical_jn(l_value, safe) / safe**l_value)
        weighted = pseudo.beta[rows] * pseudo.radius ** (l_value + 1) * pseudo.weights
        table[:, rows] = reduced @ weighted.T
    return table


class NonlocalPotential:
    """sum_ij |b_i> D_ij <b_j| of a crystal, at any k-point.

    ``d_ij`` has shape ``(n_projectors, n_projectors)``, hartree; the order of projectors is atom,
    then radial projector, then m.
    """

    def __init__(self, save: Save, pseudos: dict[str, Pseudopotential]) -> None:
        self._save = save
        self._pseudos = pseudos
        # |k + G| of a plane wave within the cutoff, and one step more for round-off.
        wave_numbers = np.arange(0.0, np.sqrt(2 * save.cutoff) + 3 * _TABLE_STEP, _TABLE_STEP)
        self._splines = {
            label: CubicSpline(wave_numbers, radial_transform(pseudo, wave_numbers))
            for label, pseudo in pseudos.items()
            if pseudo.angular
        }
        self.d_ij = _block_diagonal([_expand_m(pseudos[label]) for label in save.species])

    def projectors(self, kpoint: FloatArray, millers: IntArray) -> tuple[ComplexArray, ComplexArray]:
        """b_i(k+G) and its k-gradient: shapes ``(n_projectors, n_pw)``, ``(3, n_projectors, n_pw)``."""
        vectors = (kpoint + millers) @ self._save.reciprocal
        lengths = np.linalg.norm(vectors, axis=1)
        forms = {label: self._form_factors(label, vectors, lengths) for label in self._splines}
        scale = 4 * np.pi / np.sqrt(self._save.volume)
        values, gradients = [np.zeros((0, len(millers)))], [np.zeros((3, 0, len(millers)))]
        for label, position in zip(self._save.species, self._save.positions, strict=True):
            if label in forms:
                phase = scale * np.exp(-2j * np.pi * (millers @ position))
                values.append(forms[label][0] * phase)
                gradients.append(forms[label][1] * phase)
        return np.concatenate(values), np.concatenate(gradients, axis=1)

    def _form_factors(
        self, label: str, vectors: FloatArray, lengths: FloatArray
    ) -> tuple[FloatArray, FloatArray]:
        # grad [R(K) S(K)] = R'(K) K/|K| S + R grad S; R is even, so R'(0) = 0 and K = 0 is safe.
        spline, angular = self._splines[label], self._pseudos[label].angular
        radial, slope = spline(lengths), spline(lengths, 1)
        unit = vectors.T / np.maximum(lengths, 1e-12)
        harmonics = {l_value: solid_harmonics(l_value, vectors) for l_value in set(angular)}
        values, gradients = [], []
        for i, l_value in enumerate(angular):
            solid, solid_gradient = harmonics[l_value]
            values.append(radial[:, i] * solid)
            gradients.append((slope[:, i] * unit)[:, None, :] * solid[None] + radial[:, i] * solid_gradient)
        return np.concatenate(values), np.concatenate(gradients, axis=1)


def read_pseudopotentials(save: Save, pseudo_dir: Path | None) -> dict[str, Pseudopotential]:
    """The UPF of every species label, from ``pseudo_dir`` or the save directory itself."""
    folder = pseudo_dir or save.directory
    return {label: read_upf(folder / save.pseudo_files[label]) for label in set(save.species)}


def _expand_m(pseudo: Pseudopotential) -> FloatArray:
    # D_ij couples equal l and equal m only.
    sizes = [2 * l_value + 1 for l_value in pseudo.angular]
    starts = np.concatenate([[0], np.cumsum(sizes)]).astype(int)
    full = np.zeros((starts[-1], starts[-1]))
    for i, size in enumerate(sizes):
        for j, other in enumerate(pseudo.angular):
            if pseudo.angular[i] == other:
                block = pseudo.d_ij[i, j] * np.eye(size)
                full[starts[i] : starts[i + 1], starts[j] : starts[j + 1]] = block
    return full


def _block_diagonal(blocks: list[FloatArray]) -> FloatArray:
    size = sum(len(block) for block in blocks)
    full, at = np.zeros((size, size)), 0
    for block in blocks:
        full[at : at + len(block), at : at + len(block)] = block
        at += len(block)
    return full
