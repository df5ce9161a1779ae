"""IPA and RPA dielectric functions of a pw.x calculation: every Gmax, every direction, one pass.

eps_GG'(w) = delta_GG' - 4 pi/(|G||G'|) (2/V) sum_k w_k sum_vc rho*_vck(G) rho_vck(G') g(w, E_vck)

with local fields by the Dyson equation without exchange-correlation kernel (RPA, Hartree only),
q -> 0 taken analytically: rho(q)/|q| = <c|v|v>/(e_c - e_v), v = dH/dk with the commutator of the
non-local potential. Adler, Phys. Rev. 126, 413 (1962); Wiser, Phys. Rev. 129, 62 (1963).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from farm.errors import CalculationError, InputError
from farm.kpoints import FloatArray, SpaceGroup, space_group
from farm.spectrum import ComplexArray
from farm.units import HARTREE_EV
from workers.rpa.device import Device, open_device
from workers.rpa.dyson import GreenFunction, kernel, macroscopic
from workers.rpa.frequencies import interpolate, solved_energies
from workers.rpa.gvectors import shells_up_to, symmetric_metric
from workers.rpa.memory import MatrixMemory
from workers.rpa.save import Save, read_save
from workers.rpa.spectral import EnergyNodes, energy_nodes
from workers.rpa.symmetry import (
    AXES,
    BISECTORS,
    OFF_DIAGONAL,
    channels,
    equivalent_directions,
    operations,
)
from workers.rpa.transitions import Basis, Progress, accumulate
from workers.rpa.upf import Pseudopotential, read_pseudopotentials
from workers.rpa.wavefunctions import Wavefunctions, WavefunctionSource, read_wavefunctions
from workers.rpa.weights import WeightRule, kpoint_weights

# rho(q)/|q| diverges as bands touch: below this there is no q -> 0 limit without intraband terms.
_SMALLEST_DIRECT_GAP_EV = 1e-3


@dataclass(frozen=True, kw_only=True)
class ResponseRequest:
    """What to compute, and with what.

    gmax_mry:       ascending, mRy; the first is 0 (IPA)
    energies_ev:    photon energies, ascending, shape ``(n_energies,)``
    damping_ev:     imaginary part of the energy
    green_function: ``time-ordered`` as YAMBO's default, or ``retarded``
    off_diagonal:   also eps_xy, eps_yz and eps_zx
    weights:        ``exact`` stars of k-points, or counted as ``yambo`` does
    device:         ``cpu``, or ``cuda`` for the large products
    memory_mb:      the spectral and dielectric matrices are kept below this
    bands:          the lowest that enter; None: all
    """

    gmax_mry: tuple[int, ...]
    energies_ev: FloatArray
    damping_ev: float
    green_function: GreenFunction = "time-ordered"
    off_diagonal: bool = False
    weights: WeightRule = "exact"
    device: str = "cpu"
    memory_mb: float = 4000.0
    bands: int | None = None

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
    eps_off_diagonal: axes ``[gmax, xy|yz|zx, energy]``; None where it was not asked for
    gap_indirect_ev, gap_direct_ev: on the k-points given; a negative indirect gap is a metal, whose
                 spectrum lacks the intraband part
    top_band_min_above_vbm_ev: minimum over k of the highest band above the valence band maximum
    n_valence:   filled bands of each spin channel
    n_kpoints:   in the save; n_kpoints_used: after grouping equivalent ones
    """

    energies_ev: FloatArray
    gmax_mry: tuple[int, ...]
    n_g: tuple[int, ...]
    eps: ComplexArray
    eps_off_diagonal: ComplexArray | None
    gap_indirect_ev: float
    gap_direct_ev: float
    top_band_min_above_vbm_ev: float
    n_bands: int
    n_valence: tuple[int, ...]
    n_kpoints: int
    n_kpoints_used: int


def compute_response(
    save_dir: Path,
    request: ResponseRequest,
    *,
    pseudo_dir: Path | None = None,
    on_progress: Progress | None = None,
) -> Response:
    """The response of a finished nscf run.

    ``save_dir`` is ``prefix.save``; UPF files come from it or from ``pseudo_dir``. ``on_progress`` is
    called with the number of k-points done and of all.

    Raises InputError for saves that cannot be treated (ultrasoft, no wavefunctions, k-points that are
    no grid), MissingProgramError for absent UPF files, CalculationError for truncated files and metals.
    """
    save = read_save(save_dir)
    pseudos = read_pseudopotentials(save, pseudo_dir)
    group, used, source = space_group(save.crystal()), save, partial(read_wavefunctions, save)
    if request.bands is not None:
        used, source = _lowest(save, request.bands), partial(_read_lowest, save, request.bands)
    return response_of(used, pseudos, request, group, wavefunctions=source, on_progress=on_progress)


def _read_lowest(save: Save, n_bands: int, index: int, spin: int = 0) -> Wavefunctions:
    waves = read_wavefunctions(save, index, spin)
    return replace(waves, coefficients=waves.coefficients[:n_bands])


def _lowest(save: Save, n_bands: int) -> Save:
    if not max(save.n_valence) < n_bands <= save.n_bands:
        raise InputError(
            f"{save.directory}: {n_bands} bands cannot be used of its {save.n_bands}",
            fix=f"Give more than the {max(save.n_valence)} that are filled, and no more than there are",
        )
    return replace(save, eigenvalues=save.eigenvalues[:, :, :n_bands])


def response_of(
    save: Save,
    pseudos: dict[str, Pseudopotential],
    request: ResponseRequest,
    group: SpaceGroup,
    *,
    wavefunctions: WavefunctionSource | None = None,
    device: Device | None = None,
    on_progress: Progress | None = None,
) -> Response:
    """The response symmetrised with ``group``; the k-list must hold one of each star of that group.

    ``wavefunctions`` gives the bands of a k-point; without it they are read from the save directory.
    """
    if save.gap_direct_ev < _SMALLEST_DIRECT_GAP_EV:
        raise CalculationError(
            f"{save.directory}: direct gap {save.gap_direct_ev:.4f} eV: filled and empty bands meet",
            fix="Only insulators and semiconductors have this response",
        )
    device = device or open_device(request.device)
    directions = np.concatenate([AXES, BISECTORS]) if request.off_diagonal else AXES
    ops = operations(group, save.lattice)
    gvectors = shells_up_to(request.gmax_mry, symmetric_metric(save.reciprocal, group.point_group))
    parts = channels(ops, gvectors, directions)
    weights = kpoint_weights(save, group, request.weights)
    photon_ev = solved_energies(request.energies_ev, request.damping_ev)
    damping = request.damping_ev / HARTREE_EV
    nodes = _nodes(save, float(photon_ev[-1]) / HARTREE_EV, damping)
    memory = MatrixMemory.of(parts, nodes.count, request.memory_mb)
    basis = Basis(gvectors=gvectors, channels=parts, nodes=nodes, memory=memory)
    source = wavefunctions or partial(read_wavefunctions, save)
    spectral = accumulate(device, save, pseudos, weights, basis, source, on_progress)
    g = kernel(photon_ev / HARTREE_EV, nodes.energies, damping, request.green_function)
    eps = np.empty((len(request.gmax_mry), len(directions), photon_ev.size), dtype=np.complex128)
    for part, slabs in zip(parts, spectral, strict=True):
        n_heads = len(part.directions)
        eps[:, list(part.directions)] = macroscopic(
            device, slabs, g, n_heads, part.n_functions, block_bytes=memory.block_bytes
        )
    eps = eps[:, equivalent_directions(ops, directions)]
    eps = interpolate(eps, photon_ev, request.energies_ev)
    return Response(
        energies_ev=request.energies_ev,
        gmax_mry=request.gmax_mry,
        n_g=gvectors.n_g,
        eps=eps[:, :3],
        eps_off_diagonal=_off_diagonal(eps) if request.off_diagonal else None,
        gap_indirect_ev=save.gap_indirect_ev,
        gap_direct_ev=save.gap_direct_ev,
        top_band_min_above_vbm_ev=save.top_band_min_above_vbm_ev,
        n_bands=save.n_bands,
        n_valence=save.n_valence,
        n_kpoints=len(save.kpoints),
        n_kpoints_used=int(np.count_nonzero(weights)),
    )


def _nodes(save: Save, photon_max: float, damping: float) -> EnergyNodes:
    widths = save.eigenvalues[:, :, -1] - save.eigenvalues[:, :, 0]
    return energy_nodes(save.gap_direct_ev / HARTREE_EV, float(widths.max()), photon_max, damping)


def _off_diagonal(eps: ComplexArray) -> ComplexArray:
    """eps_xy, eps_yz, eps_zx from the axes and their bisectors, ``[gmax, pair, energy]``."""
    pairs = [eps[:, 3 + i] - (eps[:, a] + eps[:, b]) / 2 for i, (a, b) in enumerate(OFF_DIAGONAL)]
    return np.stack(pairs, axis=1)
