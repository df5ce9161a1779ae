"""Which k-points the basis is made of: the next is the one furthest from all before.

At each the bands in the basis are compared with those in plane waves, and then added. The basis is done
when it was good enough at several points in a row before they were added; their errors are what is
known of its accuracy, and they are kept with the spectrum.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from farm.kpoints import FloatArray, IntArray
from farm.units import HARTREE_EV
from workers.reduced_basis.basis import NEGLIGIBLE, ReducedBasis
from workers.reduced_basis.davidson import Eigenstates, estimated_errors, first_guess, solve_lowest
from workers.reduced_basis.hamiltonian import Hamiltonian
from workers.rpa.wavefunctions import SingleComplexArray

# Good points in a row that end the search.
CHECKS = 3

# A check must be this much better than the tolerance: k-points that are not checked may be worse.
_SAFETY = 0.6

# Plane-wave states are solved to this share of the tolerance.
_SAMPLE_SHARE = 0.1

# A basis that needs more is made finer, not only larger.
_USUAL_SAMPLES = 16

# Bands beyond those that must be right: the highest converge slowest.
_BUFFER_BANDS = 4


@dataclass(frozen=True, kw_only=True)
class BandTolerance:
    """Largest errors of eigenvalues, eV.

    window_ev: of bands up to ``window_top_ev`` above the valence band maximum
    top_ev:    of those above
    """

    window_ev: float = 0.005
    top_ev: float = 0.010
    window_top_ev: float = 20.0


@dataclass(frozen=True, kw_only=True, eq=False)
class Sample:
    """Plane-wave states of one k-point, and what the basis was worth there before it had them.

    millers:      plane waves of all k-points of the basis, shape ``(n_pw, 3)``
    energies:     of the bands that must be right, shape ``(n_bands,)``, hartree
    coefficients: also of some bands above, shape ``(>= n_bands, n_pw)``
    errors:       estimated errors of the eigenvalues in the basis, shape ``(n_bands,)``, hartree;
                  infinite where there was none yet
    """

    kpoint: FloatArray
    millers: IntArray
    energies: FloatArray
    coefficients: SingleComplexArray
    errors: FloatArray


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainedBasis:
    """A basis that is good for a list of k-points.

    window_error_ev, top_error_ev: largest errors at the last points that were checked before their
                states were added, of bands within and above the window; 0 where all points are samples
    """

    basis: ReducedBasis
    samples: tuple[Sample, ...]
    window_error_ev: float
    top_error_ev: float


class WindowTooShort(Exception):  # noqa: N818 - no error: more bands are asked for
    """The bands asked for end below the window at a sample.

    reached: of the highest band above the highest filled one seen so far, hartree
    """

    def __init__(self, reached: float) -> None:
        super().__init__(reached)
        self.reached = reached


@dataclass(frozen=True, kw_only=True)
class BandsWanted:
    """Which bands must be right.

    n_valence: filled bands
    n_bands:   filled and empty
    window:    hartree above the valence band maximum that they must reach; None: any
    """

    n_valence: int
    n_bands: int
    window: float | None
    tolerance: BandTolerance


def train(
    hamiltonian: Hamiltonian, kpoints: FloatArray, wanted: BandsWanted, known: Iterable[Sample] = ()
) -> TrainedBasis:
    """A basis for ``kpoints``, shape ``(n_k, 3)``, in the first zone.

    known: samples of an earlier basis for other k-points with as many bands

    Raises WindowTooShort as soon as a sample shows it, CalculationError where a k-point does not
    converge in plane waves.
    """
    basis = ReducedBasis(hamiltonian, kpoints)
    cartesian = kpoints @ hamiltonian.reciprocal
    samples: list[Sample] = []
    distance = np.linalg.norm(cartesian - cartesian.mean(axis=0), axis=1)
    for sample in known:
        basis.add(basis.embed(sample.millers, sample.coefficients))
        samples.append(sample)
    if samples:
        distance = np.full(len(kpoints), np.inf)
        for sample in samples:
            distance = _nearer(distance, cartesian, sample.kpoint @ hamiltonian.reciprocal)
    passed: list[tuple[float, float]] = []
    while len(passed) < CHECKS:
        furthest = int(np.argmax(distance))
        if samples and not distance[furthest] > 0:
            return TrainedBasis(basis=basis, samples=tuple(samples), window_error_ev=0.0, top_error_ev=0.0)
        sample = _sample(hamiltonian, kpoints[furthest], wanted, basis)
        distance = np.full(len(kpoints), np.inf) if not samples else distance
        distance = _nearer(distance, cartesian, cartesian[furthest])
        samples.append(sample)
        _require_window(samples, wanted)
        basis.add(sample.coefficients, _negligible(len(samples)))
        errors = _errors_ev(samples, wanted)
        passed = [*passed, errors] if _is_good(errors, wanted.tolerance) else []
    window_errors, top_errors = zip(*passed, strict=True)
    return TrainedBasis(
        basis=basis,
        samples=tuple(samples),
        window_error_ev=max(window_errors),
        top_error_ev=max(top_errors),
    )


def _sample(
    hamiltonian: Hamiltonian, kpoint: FloatArray, wanted: BandsWanted, basis: ReducedBasis
) -> Sample:
    point = hamiltonian.at(kpoint, basis.millers)
    n_states = min(wanted.n_bands + _BUFFER_BANDS, len(point.kinetic))
    errors = np.full(wanted.n_bands, np.inf)
    if basis.size > n_states:
        found = basis.solve(kpoint, n_states)
        waves = basis.expand(kpoint, found.vectors[: wanted.n_bands])
        approximate = Eigenstates(found.energies[: wanted.n_bands], waves.coefficients)
        errors = estimated_errors(hamiltonian.at(kpoint), approximate)
        guess = basis.uncut(found.vectors)
    else:
        guess = first_guess(point, n_states)
    tolerance = _SAMPLE_SHARE * wanted.tolerance.window_ev / HARTREE_EV
    states = solve_lowest(point, guess, wanted.n_bands, tolerance)
    return Sample(
        kpoint=kpoint,
        millers=basis.millers,
        energies=states.energies[: wanted.n_bands],
        coefficients=states.coefficients,
        errors=errors,
    )


def _require_window(samples: list[Sample], wanted: BandsWanted) -> None:
    if wanted.window is None:
        return
    valence_maximum = max(s.energies[wanted.n_valence - 1] for s in samples)
    reached = min(s.energies[-1] for s in samples) - valence_maximum
    if reached < wanted.window:
        raise WindowTooShort(float(reached))


def _errors_ev(samples: list[Sample], wanted: BandsWanted) -> tuple[float, float]:
    """Largest errors at the last sample within and above the window, eV."""
    last = samples[-1]
    valence_maximum = max(s.energies[wanted.n_valence - 1] for s in samples)
    in_window = (last.energies - valence_maximum) * HARTREE_EV <= wanted.tolerance.window_top_ev
    errors_ev = last.errors * HARTREE_EV
    return float(errors_ev[in_window].max()), float(errors_ev[~in_window].max(initial=0.0))


def _is_good(errors_ev: tuple[float, float], tolerance: BandTolerance) -> bool:
    window_ev, top_ev = errors_ev
    return window_ev < _SAFETY * tolerance.window_ev and top_ev < _SAFETY * tolerance.top_ev


def _negligible(n_samples: int) -> float:
    # Where many samples do not help, it is what was left out that is missing.
    return NEGLIGIBLE / 2.0 ** max(0, n_samples - _USUAL_SAMPLES)


def _nearer(distance: FloatArray, cartesian: FloatArray, sample: FloatArray) -> FloatArray:
    nearest: FloatArray = np.minimum(distance, np.linalg.norm(cartesian - sample, axis=1))
    return nearest
