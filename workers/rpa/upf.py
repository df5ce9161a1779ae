"""The non-local part of a norm-conserving UPF (version 2)."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from farm.errors import InputError, MissingProgramError
from farm.kpoints import FloatArray
from workers.rpa.save import Save
from workers.rpa.solid_harmonics import L_MAX

_ELECTRON_TOLERANCE = 1e-3


@dataclass(frozen=True, eq=False)
class Pseudopotential:
    """The non-local part of one UPF.

    z_valence: electrons it leaves in the valence
    angular: l of each radial projector, one an entry
    radius:  mesh, shape ``(n_mesh,)``, bohr
    weights: Simpson weights including dr/di, shape ``(n_mesh,)``, bohr
    beta:    r beta(r), shape ``(n_beta, n_mesh)``
    d_ij:    coefficients, shape ``(n_beta, n_beta)``, hartree
    """

    z_valence: float
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
        z_valence = float(header["z_valence"])
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
    return Pseudopotential(z_valence, angular, radius, _simpson(spacing), beta, d_ij)


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


def read_pseudopotentials(save: Save, pseudo_dir: Path | None) -> dict[str, Pseudopotential]:
    """The UPF of every species label, from ``pseudo_dir`` or the save directory itself.

    Raises InputError where they bring another number of electrons than the run had: another element or
    another set under the same names.
    """
    folder = pseudo_dir or save.directory
    pseudos = {label: read_upf(folder / save.pseudo_files[label]) for label in sorted(set(save.species))}
    electrons = sum(pseudos[label].z_valence for label in save.species)
    if abs(electrons - save.neutral_electrons) > _ELECTRON_TOLERANCE:
        raise InputError(
            f"the pseudopotentials in {folder} bring {electrons:g} electrons, "
            f"{save.directory} has {save.neutral_electrons:g}",
            fix="Give the UPF files of that run (--pseudo-dir)",
        )
    return pseudos
