"""IPA and RPA dielectric functions of a pw.x calculation: every Gmax, every direction, one pass.

eps_GG'(w) = delta_GG' - 4 pi/(|G||G'|) (2/V) sum_k w_k sum_vc rho*_vck(G) rho_vck(G') g(w, E_vck)

with local fields by the Dyson equation without exchange-correlation kernel (RPA, Hartree only),
q -> 0 taken analytically: rho(q)/|q| = <c|v|v>/(e_c - e_v), v = dH/dk with the commutator of the
non-local potential. Adler, Phys. Rev. 126, 413 (1962); Wiser, Phys. Rev. 129, 62 (1963).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from scipy.interpolate import make_interp_spline

from farm.errors import CalculationError, InputError
from farm.kpoints import FloatArray, SpaceGroup, space_group, star
from farm.spectrum import ComplexArray
from farm.units import HARTREE_EV
from workers.rpa.dyson import kernel, macroscopic
from workers.rpa.gvectors import GVectors, shells_up_to, symmetric_metric
from workers.rpa.pair_density import PairDensityBox, SingleComplexArray
from workers.rpa.projectors import NonlocalPotential, Pseudopotential, read_pseudopotentials
from workers.rpa.save import Save, read_save
from workers.rpa.spectral import EnergyNodes, SpectralMatrix, energy_nodes
from workers.rpa.symmetry import Channel, channels, equivalent_directions, operations
from workers.rpa.velocity import velocity
from workers.rpa.wavefunctions import Wavefunctions, read_wavefunctions

# rho(q)/|q| diverges as bands touch: below this there is no q -> 0 limit without intraband terms.
_SMALLEST_DIRECT_GAP_EV = 1e-3

# Photon energies per damping at which the Dyson equation is solved; the spline between adds 1e-7.
_PHOTONS_PER_DAMPING = 6


@dataclass(frozen=True, kw_only=True)
class ResponseRequest:
    """What to compute.

    gmax_mry:       ascending, mRy; the first is 0 (IPA)
    energies_ev:    photon energies, ascending, shape ``(n_energies,)``
    damping_ev:     imaginary part of the energy
    green_function: ``time-ordered`` as YAMBO's default, or ``retarded``
    """

    gmax_mry: tuple[int, ...]
    energies_ev: FloatArray
    damping_ev: float
    green_function: Literal["time-ordered", "retarded"] = "time-ordered"

    def __post_init__(self) -> None:
        if not self.gmax_mry or self.gmax_mry[0] != 0 or list(self.gmax_mry) != sorted(set(self.gmax_mry)):
            raise InputError(
                f"Gmax steps {list(self.gmax_mry)} are unusable", fix="Give ascending mRy that begin with 0"
            )
        if self.energies_ev.size < 2 or (np.diff(self.energies_ev) <= 0).any() or self.energies_ev[0] < 0:
            raise InputError("photon energies must be ascending and not negative")
        if not self.damping_ev > 0:
            raise InputError(f"a damping of {self.damping_ev} eV is unusable", fix="Give a positive one")
        if self.green_function not in ("time-ordered", "retarded"):
            raise InputError(f"no Green's function {self.green_function!r}", fix="time-ordered or retarded")


@dataclass(frozen=True, kw_only=True, eq=False)
class Response:
    """Dielectric functions and the gaps they rest on.

    energies_ev: photon energies, shape ``(n_energies,)``
    gmax_mry:    as requested; n_g: number of G vectors of each
    eps:         diagonal of eps_M, complex, axes ``[gmax, x|y|z, energy]``
    gap_indirect_ev, gap_direct_ev: on the k-points given; a negative indirect gap is a metal, whose
                 spectrum lacks the intraband part
    top_band_min_above_vbm_ev: minimum over k of the highest band above the valence band maximum
    n_kpoints:   in the save; n_kpoints_used: after grouping equivalent ones
    """

    energies_ev: FloatArray
    gmax_mry: tuple[int, ...]
    n_g: tuple[int, ...]
    eps: ComplexArray
    gap_indirect_ev: float
    gap_direct_ev: float
    top_band_min_above_vbm_ev: float
    n_bands: int
    n_valence: int
    n_kpoints: int
    n_kpoints_used: int


def compute_response(
    save_dir: Path, request: ResponseRequest, *, pseudo_dir: Path | None = None
) -> Response:
    """The response of a finished nscf run.

    ``save_dir`` is ``prefix.save``; UPF files come from it or from ``pseudo_dir``.

    Raises InputError for saves that cannot be treated (spin, ultrasoft, no wavefunctions),
    MissingProgramError for absent UPF files, CalculationError for truncated files and metals.
    """
    save = read_save(save_dir)
    pseudos = read_pseudopotentials(save, pseudo_dir)
    return response_of(save, pseudos, request, space_group(save.crystal()))


def response_of(
    save: Save, pseudos: dict[str, Pseudopotential], request: ResponseRequest, group: SpaceGroup
) -> Response:
    """The response symmetrised with ``group``; the k-list must hold one of each star of that group."""
    if save.gap_direct_ev < _SMALLEST_DIRECT_GAP_EV:
        raise CalculationError(
            f"{save.directory}: direct gap {save.gap_direct_ev:.4f} eV: filled and empty bands meet",
            fix="Only insulators and semiconductors have this response",
        )
    ops = operations(group, save.lattice)
    gvectors = shells_up_to(request.gmax_mry, symmetric_metric(save.reciprocal, group.point_group))
    parts = channels(ops, gvectors)
    weights = kpoint_weights(save, group)
    photon = _photon_energies(request) / HARTREE_EV
    damping = request.damping_ev / HARTREE_EV
    nodes = _nodes(save, float(photon[-1]), damping)
    spectral = _accumulate(save, pseudos, weights, gvectors, parts, nodes)
    g = kernel(photon, nodes.energies, damping, request.green_function)
    eps = np.empty((len(request.gmax_mry), 3, photon.size), dtype=np.complex128)
    for part, matrix in zip(parts, spectral, strict=True):
        eps[:, list(part.directions)] = macroscopic(
            matrix.finish(), g, len(part.directions), part.n_functions
        )
    eps = eps[:, list(equivalent_directions(ops))]
    return Response(
        energies_ev=request.energies_ev,
        gmax_mry=request.gmax_mry,
        n_g=gvectors.n_g,
        eps=_on_requested_energies(eps, photon * HARTREE_EV, request.energies_ev),
        gap_indirect_ev=save.gap_indirect_ev,
        gap_direct_ev=save.gap_direct_ev,
        top_band_min_above_vbm_ev=save.top_band_min_above_vbm_ev,
        n_bands=save.n_bands,
        n_valence=save.n_valence,
        n_kpoints=len(save.kpoints),
        n_kpoints_used=int(np.count_nonzero(weights)),
    )


def _nodes(save: Save, photon_max: float, damping: float) -> EnergyNodes:
    gaps = save.eigenvalues[:, save.n_valence] - save.eigenvalues[:, save.n_valence - 1]
    widths = save.eigenvalues[:, -1] - save.eigenvalues[:, 0]
    return energy_nodes(float(gaps.min()), float(widths.max()), photon_max, damping)


def _accumulate(
    save: Save,
    pseudos: dict[str, Pseudopotential],
    weights: FloatArray,
    gvectors: GVectors,
    parts: tuple[Channel, ...],
    nodes: EnergyNodes,
) -> list[SpectralMatrix]:
    """The spectral matrix of each channel, summed over the k-points of non-zero weight."""
    spectral = [SpectralMatrix(nodes, len(p.directions) + p.n_functions[-1]) for p in parts]
    box = PairDensityBox(save.lattice, save.cutoff, gvectors.millers)
    nonlocal_part = NonlocalPotential(save, pseudos)
    for index in np.flatnonzero(weights).tolist():
        waves = read_wavefunctions(save, index)
        transitions, heads, densities = _transitions(save, index, waves, nonlocal_part, box)
        scale = np.sqrt(8 * np.pi / save.volume * weights[index])
        for part, matrix in zip(parts, spectral, strict=True):
            matrix.add(transitions, scale * _amplitudes(part, heads, densities))
    return spectral


def kpoint_weights(save: Save, group: SpaceGroup) -> FloatArray:
    """Weight of each k-point of the save, shape ``(n_k,)``, sum 1; 0 for equivalents of an earlier one.

    A shifted list is a sample of points each of which stands for its whole star (under {R} and {-R}):
    weight = multiplicity in the list times size of the star, as YAMBO counts. Where the list holds
    whole stars already (a full grid), or pw.x reduced a Monkhorst-Pack grid, its weights are final.
    """
    weights = np.zeros(len(save.kpoints))
    sizes, members = np.ones(len(save.kpoints)), np.zeros(len(save.kpoints))
    first: dict[bytes, int] = {}
    for i in np.flatnonzero(save.weights > 0):
        images = star(save.kpoints[i], group.point_group)
        # Images are sorted, so the first one names the star.
        leader = first.setdefault(images[0].tobytes(), int(i))
        weights[leader] += save.weights[i]
        sizes[leader] = len(images)
        members[leader] += 1
    used = list(first.values())
    if not (save.weights_final or np.array_equal(members[used], sizes[used])):
        weights *= sizes
    normalised: FloatArray = weights / weights.sum()
    return normalised


def _transitions(
    save: Save, index: int, waves: Wavefunctions, nonlocal_part: NonlocalPotential, box: PairDensityBox
) -> tuple[FloatArray, ComplexArray, SingleComplexArray]:
    """Energies ``(n_t,)``, heads ``(n_t, 3)`` and pair densities ``(n_t, n_g)`` of one k-point.

    Transitions are ordered v first: t = v * n_c + c.
    """
    filled, empty = slice(0, save.n_valence), slice(save.n_valence, save.n_bands)
    levels = save.eigenvalues[index]
    energies = levels[None, empty] - levels[filled, None]
    matrix_elements = velocity(waves, save.reciprocal, nonlocal_part, empty, filled)
    heads = matrix_elements.transpose(2, 1, 0) / energies[:, :, None]
    densities = np.zeros((energies.size, box.n_g), dtype=np.complex64)
    if box.n_g > 1:
        conduction, valence = box.real_space(waves, empty).conj(), box.real_space(waves, filled)
        for v, density in enumerate(densities.reshape(*energies.shape, box.n_g)):
            density[:] = box.transform(conduction, valence[v])
    return energies.ravel(), heads.reshape(-1, 3), densities


def _amplitudes(part: Channel, heads: ComplexArray, densities: SingleComplexArray) -> FloatArray:
    """x of one channel: real and imaginary parts of all cosets, ``(n_t, 2 n_cosets, n)``."""
    n_cosets, n_heads, _ = part.heads.shape
    n_functions = part.n_functions[-1]
    x = np.empty((len(heads), 2, n_cosets, n_heads + n_functions))
    # -i v/(e_c - e_v) is the matrix element of the real function e_a . r.
    head = -1j * np.einsum("tx,cax->tca", heads, part.heads)
    body = (part.functions @ densities.T).reshape(n_cosets, n_functions, len(heads)).transpose(2, 0, 1)
    x[:, 0, :, :n_heads], x[:, 1, :, :n_heads] = head.real, head.imag
    x[:, 0, :, n_heads:], x[:, 1, :, n_heads:] = body.real, body.imag
    x /= np.sqrt(n_cosets)
    return x.reshape(len(heads), 2 * n_cosets, -1)


def _photon_energies(request: ResponseRequest) -> FloatArray:
    """Where the Dyson equation is solved: as requested, or coarser if the spectrum is smooth enough.

    A spectrum is smooth on the scale of the damping; a quintic spline fills in the rest.
    """
    energies = request.energies_ev
    step = request.damping_ev / _PHOTONS_PER_DAMPING
    n_coarse = int(np.ceil((energies[-1] - energies[0]) / step)) + 1
    if max(n_coarse, 12) >= energies.size:
        return energies
    return np.linspace(energies[0], energies[-1], max(n_coarse, 12))


def _on_requested_energies(eps: ComplexArray, solved_ev: FloatArray, wanted_ev: FloatArray) -> ComplexArray:
    if solved_ev.size == wanted_ev.size:
        return eps
    result: ComplexArray = make_interp_spline(solved_ev, eps, k=5, axis=-1)(wanted_ev)
    return result
