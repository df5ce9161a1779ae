"""What a pw.x ``prefix.save`` directory says of itself: cell, atoms, k-points, bands.

Hartree atomic units inside (pw.x writes them so): bohr, hartree, 1/bohr.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from farm.crystal import Crystal
from farm.errors import CalculationError, InputError
from farm.kpoints import FloatArray, IntArray
from farm.units import BOHR_ANGSTROM, HARTREE_EV

XML_NAME = "data-file-schema.xml"

# Occupations further from 0 or 1 than this are those of a metal (or of a wide smearing).
OCCUPATION_TOLERANCE = 1e-4


@dataclass(frozen=True, kw_only=True, eq=False)
class Save:
    """One finished pw.x band calculation.

    directory:      the ``prefix.save`` directory
    lattice:        rows are the cell vectors, shape ``(3, 3)``, bohr
    species:        label of each atom as in the pw.x input, one an atom
    positions:      fractional coordinates, shape ``(n_atoms, 3)``
    pseudo_files:   label -> UPF file name
    kpoints:        crystal coordinates, shape ``(n_k, 3)``
    weights:        of the k-points as pw.x wrote them, normalised to 1, shape ``(n_k,)``
    weights_final:  the list is a Monkhorst-Pack grid that pw.x reduced itself, so that its weights
                    already count the whole star
    n_plane_waves:  plane waves of each k-point, shape ``(n_k,)``
    eigenvalues:    shape ``(n_spin, n_k, n_bands)``, hartree; n_spin is 2 for collinear spins
    n_valence:      filled bands of each spin channel
    cutoff:         kinetic energy cutoff of the wavefunctions, hartree
    neutral_electrons: electrons of the uncharged cell, as many as its pseudopotentials bring
    rotations:      of the lattice, on fractional positions, in the order of the file, shape ``(n, 3, 3)``
    """

    directory: Path
    lattice: FloatArray
    species: tuple[str, ...]
    positions: FloatArray
    pseudo_files: dict[str, str]
    kpoints: FloatArray
    weights: FloatArray
    weights_final: bool
    n_plane_waves: IntArray
    eigenvalues: FloatArray
    n_valence: tuple[int, ...]
    cutoff: float
    neutral_electrons: float
    rotations: IntArray = field(default_factory=lambda: np.zeros((0, 3, 3), dtype=np.int64))

    @cached_property
    def reciprocal(self) -> FloatArray:
        """Rows are the reciprocal vectors including 2 pi, shape ``(3, 3)``, 1/bohr."""
        return np.ascontiguousarray(2 * np.pi * np.linalg.inv(self.lattice).T)

    @cached_property
    def volume(self) -> float:
        """Cell volume, bohr^3."""
        return abs(float(np.linalg.det(self.lattice)))

    @property
    def n_spin(self) -> int:
        """1: every band holds two electrons; 2: collinear spins, one each."""
        return int(self.eigenvalues.shape[0])

    @property
    def n_bands(self) -> int:
        """Bands of each k-point and spin."""
        return int(self.eigenvalues.shape[2])

    @property
    def gap_indirect_ev(self) -> float:
        """Lowest empty minus highest filled band over all k-points; negative where bands overlap."""
        return (float(self._lowest_empty().min()) - self._vbm()) * HARTREE_EV

    @property
    def gap_direct_ev(self) -> float:
        """Smallest gap at one k-point between bands of one spin."""
        return float((self._lowest_empty() - self._highest_filled()).min()) * HARTREE_EV

    @property
    def top_band_min_above_vbm_ev(self) -> float:
        """Minimum over k of the highest band above the valence band maximum.

        Up to this photon energy no transition from the top of the valence band is missing.
        """
        return (float(self.eigenvalues[:, :, -1].min()) - self._vbm()) * HARTREE_EV

    def _highest_filled(self) -> FloatArray:
        return np.stack([e[:, n - 1] for e, n in zip(self.eigenvalues, self.n_valence, strict=True)])

    def _lowest_empty(self) -> FloatArray:
        return np.stack([e[:, n] for e, n in zip(self.eigenvalues, self.n_valence, strict=True)])

    def _vbm(self) -> float:
        return float(self._highest_filled().max())

    def crystal(self) -> Crystal:
        """The same cell, in the same orientation, as the farm's Crystal (angstrom)."""
        lattice = self.lattice * BOHR_ANGSTROM
        return Crystal(
            material_id="save",
            lattice_angstrom=tuple((float(x), float(y), float(z)) for x, y, z in lattice),
            species=self.species,
            frac_coords=tuple((float(x), float(y), float(z)) for x, y, z in self.positions),
            source=str(self.directory),
        )


def read_save(directory: Path, *, empty_bands: bool = True) -> Save:
    """Read ``data-file-schema.xml`` of a save directory; ``empty_bands``: whether there must be any.

    Raises InputError where there is none, or where the run used spin-orbit coupling, non-collinear
    magnetism, ultrasoft or PAW pseudopotentials or the Gamma-only trick; CalculationError where the
    file is cut short, has no empty band, or describes a metal by fractional occupations or, without
    spin, an odd number of electrons.
    """
    path = directory / XML_NAME
    if not path.is_file():
        raise InputError(f"{directory} holds no {XML_NAME}", fix="Give the prefix.save directory of pw.x")
    try:
        # The file is our own program's output; entity expansion attacks are no concern here.
        root = ET.parse(path).getroot()  # noqa: S314
    except ET.ParseError as error:
        raise CalculationError(f"{path} is cut short ({error})", fix="Run pw.x again") from error
    output = root.find("output")
    if output is None:
        raise CalculationError(f"{path} has no output section: pw.x did not finish", fix="Run pw.x again")
    try:
        _reject_unsupported(output, path)
        total_charge = float(_text(root, "input/bands/tot_charge", default="0"))
        save = _save_from(output, directory, total_charge)
    except (AttributeError, KeyError, TypeError, ValueError, IndexError) as error:
        raise CalculationError(f"{path} lacks what pw.x writes ({error})", fix="Run pw.x again") from error
    if empty_bands and save.n_bands <= max(save.n_valence):
        raise CalculationError(
            f"{directory} has no empty band", fix=f"Run the nscf step with nbnd > {max(save.n_valence)}"
        )
    return save


def _reject_unsupported(output: ET.Element, path: Path) -> None:
    treated = "the response is for norm-conserving pseudopotentials and collinear spins"
    for tag, what in (
        ("algorithmic_info/uspp", "ultrasoft pseudopotentials"),
        ("algorithmic_info/paw", "PAW data sets"),
        ("magnetization/noncolin", "non-collinear spins"),
        ("magnetization/spinorbit", "spin-orbit coupling"),
        ("basis_set/gamma_only", "the Gamma-only trick"),
    ):
        if _text(output, tag, default="false") == "true":
            raise InputError(f"{path}: this run used {what}", fix=f"Run it without: {treated}")


def _save_from(output: ET.Element, directory: Path, total_charge: float) -> Save:
    structure = _need(output, "atomic_structure")
    lattice = np.array([_floats(_need(structure, f"cell/a{i}")) for i in (1, 2, 3)])
    atoms = structure.findall("atomic_positions/atom")
    alat = float(structure.attrib["alat"])
    bands = _need(output, "band_structure")
    entries = bands.findall("ks_energies")
    # XML k-points are Cartesian in 2 pi / alat; k . a_i / 2 pi is the crystal coordinate.
    kpoints = np.array([_floats(_need(e, "k_point")) for e in entries]) / alat @ lattice.T
    weights = np.array([float(_need(e, "k_point").attrib["weight"]) for e in entries])
    if len(entries) != int(_text(bands, "nks")) or weights.sum() <= 0:
        raise ValueError(f"{len(entries)} k-points where {_text(bands, 'nks')} are announced")
    species = _need(output, "atomic_species").findall("species")
    n_spin = 2 if _text(output, "magnetization/lsda", default="false") == "true" else 1
    return Save(
        directory=directory,
        lattice=lattice,
        species=tuple(atom.attrib["name"].strip() for atom in atoms),
        positions=np.array([_floats(atom) for atom in atoms]) @ np.linalg.inv(lattice),
        pseudo_files={s.attrib["name"].strip(): _text(s, "pseudo_file") for s in species},
        kpoints=kpoints,
        weights=weights / weights.sum(),
        weights_final=bands.find("starting_k_points/monkhorst_pack") is not None,
        n_plane_waves=np.array([int(_text(e, "npw")) for e in entries]),
        eigenvalues=_by_spin(entries, "eigenvalues", n_spin),
        n_valence=_valence_bands(bands, _by_spin(entries, "occupations", n_spin), directory),
        cutoff=float(_text(output, "basis_set/ecutwfc")),
        neutral_electrons=float(_text(bands, "nelec")) + total_charge,
        rotations=_rotations(output),
    )


def _rotations(output: ET.Element) -> IntArray:
    found = [_floats(_need(s, "rotation")) for s in output.findall("symmetries/symmetry")]
    return np.array(found, dtype=np.float64).round().astype(np.int64).reshape(-1, 3, 3)


def _by_spin(entries: list[ET.Element], tag: str, n_spin: int) -> FloatArray:
    """Numbers of every k-point, shape ``(n_spin, n_k, n_bands)``: pw.x lists spin up, then down."""
    rows = np.array([_floats(_need(e, tag)) for e in entries])
    return rows.reshape(len(rows), n_spin, -1).transpose(1, 0, 2)


def _valence_bands(bands: ET.Element, occupations: FloatArray, directory: Path) -> tuple[int, ...]:
    electrons = float(_text(bands, "nelec"))
    n_spin, _, n_bands = occupations.shape
    n_electrons = round(electrons)
    if abs(electrons - n_electrons) > OCCUPATION_TOLERANCE or (n_spin == 1 and n_electrons % 2):
        raise CalculationError(
            f"{directory} has {electrons:g} electrons a cell: an odd number is a metal without spin",
            fix="Only insulators and semiconductors have this response; a magnet needs nspin = 2",
        )
    n_valence = tuple(round(float(channel.sum(axis=1).mean())) for channel in occupations)
    filled = np.arange(n_bands) < np.array(n_valence)[:, None, None]
    if np.abs(occupations - filled).max() > OCCUPATION_TOLERANCE:
        raise CalculationError(
            f"{directory} has fractional occupations: a metal, or a wide smearing",
            fix="Use occupations = 'fixed' if the crystal has a gap",
        )
    if sum(n_valence) * (3 - n_spin) != n_electrons:
        raise CalculationError(
            f"{directory} has {electrons:g} electrons and {sum(n_valence)} filled bands",
            fix="Run the nscf step with nbnd above the number of filled bands",
        )
    if min(n_valence) < 1:
        raise CalculationError(
            f"{directory} has no filled band of one spin", fix="Fully polarised crystals are not treated"
        )
    return n_valence


def _need(parent: ET.Element, tag: str) -> ET.Element:
    element = parent.find(tag)
    if element is None:
        raise ValueError(f"no element {tag}")
    return element


def _text(parent: ET.Element, tag: str, *, default: str | None = None) -> str:
    text = parent.findtext(tag, default)
    if text is None:
        raise ValueError(f"no element {tag}")
    return text.strip()


def _floats(element: ET.Element) -> list[float]:
    return [float(x) for x in (element.text or "").split()]
