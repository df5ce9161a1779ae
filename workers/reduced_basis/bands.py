"""From a ground state to the bands of a dense grid, ready for the response."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import numpy as np

from farm.errors import CalculationError
from farm.kpoints import FloatArray, SpaceGroup
from farm.units import HARTREE_EV
from workers.bands import bands_to_window, enlarge_nbnd
from workers.reduced_basis.davidson import first_guess, solve_lowest
from workers.reduced_basis.hamiltonian import Coefficients, Hamiltonian
from workers.reduced_basis.training import (
    BandsWanted,
    BandTolerance,
    Sample,
    TrainedBasis,
    WindowTooShort,
    train,
)
from workers.reduced_basis.wedge import ZoneSample, fold_into_wedge, sample_zone
from workers.rpa.save import Save
from workers.rpa.upf import Pseudopotential
from workers.rpa.wavefunctions import Wavefunctions

MAX_BAND_RETRIES = 4

# Filled bands of pw.x' ground state that ours must reproduce, eV: beyond, the potential or the
# pseudopotentials are not those of the run.
_SAME_HAMILTONIAN_EV = 0.005

Progress = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True, eq=False)
class BandsRequest:
    """What to compute.

    grid:      the full, possibly shifted grid, crystal coordinates, shape ``(n_k, 3)``
    n_bands:   first number of bands; with ``window_ev`` a guess
    window_ev: bands reach at least this high above the valence band maximum at every k-point, and no
               more are kept than that takes; None: exactly ``n_bands``
    path:      k-points whose eigenvalues are wanted, too, shape ``(n_path, 3)``
    """

    grid: FloatArray
    n_bands: int
    window_ev: float | None
    tolerance: BandTolerance
    path: FloatArray


@dataclass(frozen=True, kw_only=True, eq=False)
class ReducedBands:
    """Bands of the inequivalent points of a grid.

    save:            the ground state with these k-points and eigenvalues in place of its own
    path_energies:   shape ``(n_path, n_bands)``, hartree
    trained:         the basis and its measured errors
    pw_error_ev:     largest difference of our filled bands from pw.x' at a k-point of its own
    """

    save: Save
    path_energies: FloatArray
    trained: TrainedBasis
    pw_error_ev: float
    _vectors: tuple[Coefficients, ...]

    def wavefunctions(self, index: int, spin: int = 0) -> Wavefunctions:
        """Of one k-point of the list; ``spin`` is always 0."""
        if spin:
            raise IndexError("there is one spin channel")
        return self.trained.basis.expand(self.save.kpoints[index], self._vectors[index])


def compute_bands(
    ground_state: Save,
    pseudos: dict[str, Pseudopotential],
    potential: FloatArray,
    group: SpaceGroup,
    request: BandsRequest,
    *,
    known: Iterable[Sample] = (),
    on_progress: Progress | None = None,
) -> ReducedBands:
    """Bands on the grid of ``request`` from the density that ``ground_state`` ended with.

    ground_state: save of an scf run without spin; its empty bands, if any, are not used
    potential:    local, on pw.x' grid, hartree
    known:        samples of a basis for another grid

    Raises CalculationError where our Hamiltonian is not that of pw.x, where a k-point does not converge,
    or where no number of bands reaches the window.
    """
    hamiltonian = Hamiltonian(ground_state, pseudos, potential)
    reciprocal, rotations = ground_state.reciprocal, group.point_group
    pw_error_ev = _difference_from_pw(hamiltonian, ground_state)
    zone = sample_zone(request.grid, reciprocal, rotations)
    path = fold_into_wedge(request.path, reciprocal, rotations)
    n_bands, n_valence = request.n_bands, ground_state.n_valence[0]
    window = None if request.window_ev is None else request.window_ev / HARTREE_EV
    for _ in range(MAX_BAND_RETRIES):
        wanted = BandsWanted(
            n_valence=n_valence, n_bands=n_bands, window=window, tolerance=request.tolerance
        )
        try:
            trained = train(hamiltonian, np.concatenate([zone.kpoints, path]), wanted, known)
            energies, vectors = _solve(trained, zone, n_bands, on_progress)
            kept = n_bands if window is None else _bands_to_keep(energies, n_valence, window)
            break
        except WindowTooShort as short:
            n_bands, known = enlarge_nbnd(n_bands, short.reached * HARTREE_EV, request.window_ev or 0.0), ()
    else:
        raise CalculationError(
            f"{ground_state.directory}: {n_bands} bands do not reach {request.window_ev} eV"
        )
    return ReducedBands(
        save=_with_bands(ground_state, hamiltonian, zone, energies[:, :kept]),
        path_energies=np.array([trained.basis.energies(k, kept) for k in path]).reshape(len(path), kept),
        trained=trained,
        pw_error_ev=pw_error_ev,
        _vectors=tuple(np.ascontiguousarray(v[:kept]) for v in vectors),
    )


def _solve(
    trained: TrainedBasis, zone: ZoneSample, n_bands: int, on_progress: Progress | None
) -> tuple[FloatArray, list[Coefficients]]:
    energies, vectors = [], []
    for done, kpoint in enumerate(zone.kpoints, start=1):
        states = trained.basis.solve(kpoint, n_bands)
        energies.append(states.energies)
        vectors.append(states.vectors)
        if on_progress is not None:
            on_progress(done, len(zone.kpoints))
    return np.array(energies), vectors


def _bands_to_keep(energies: FloatArray, n_valence: int, window: float) -> int:
    """The fewest bands that reach the window at every k-point. Raises WindowTooShort."""
    kept = bands_to_window(energies, n_valence, window)
    if kept is None:
        raise WindowTooShort(float(energies[:, -1].min() - energies[:, n_valence - 1].max()))
    return kept


def _with_bands(
    ground_state: Save, hamiltonian: Hamiltonian, zone: ZoneSample, energies: FloatArray
) -> Save:
    return replace(
        ground_state,
        kpoints=zone.kpoints,
        weights=zone.weights,
        weights_final=True,
        n_plane_waves=np.array([len(hamiltonian.sphere(k)[1]) for k in zone.kpoints]),
        eigenvalues=energies[None],
    )


def _difference_from_pw(hamiltonian: Hamiltonian, ground_state: Save) -> float:
    """Largest difference of the filled bands at one k-point of the ground state, eV."""
    index = int(np.argmax(ground_state.weights))
    kpoint = fold_into_wedge(
        ground_state.kpoints[index : index + 1], ground_state.reciprocal, np.eye(3, dtype=np.int64)[None]
    )[0]
    n_valence = ground_state.n_valence[0]
    point = hamiltonian.at(kpoint)
    states = solve_lowest(
        point, first_guess(point, n_valence + 2), n_valence, 0.02 * _SAME_HAMILTONIAN_EV / HARTREE_EV
    )
    filled = slice(0, n_valence)
    difference = states.energies[filled] - ground_state.eigenvalues[0, index, filled]
    error_ev = float(np.abs(difference).max()) * HARTREE_EV
    if error_ev > _SAME_HAMILTONIAN_EV:
        raise CalculationError(
            f"{ground_state.directory}: filled bands differ from those of pw.x by {error_ev * 1e3:.1f} meV",
            fix="Use the local potential and the pseudopotentials of this ground state",
        )
    return error_ev
