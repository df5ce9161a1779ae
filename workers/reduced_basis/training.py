"""Which k-points the basis is made of: the next is the one furthest from all before.

At each the bands in the basis are compared with those in plane waves, and its states are added. When they
agree at two points in a row, the basis is compressed, and tested at k-points that it has not seen; the
errors found there are kept with the spectrum. Where they are too large, the search goes on.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from farm.errors import CalculationError
from farm.kpoints import FloatArray, IntArray
from farm.units import HARTREE_EV
from workers.reduced_basis.basis import NEGLIGIBLE, ReducedBasis
from workers.reduced_basis.davidson import Eigenstates, estimated_errors, first_guess, solve_lowest
from workers.reduced_basis.hamiltonian import Coefficients, Hamiltonian

# Good points in a row that end the search, and points at which its result is tested.
GOOD_IN_A_ROW = 2
TESTS = 3

# Squared length, summed over all sampled states, of directions that compression leaves out; the next is
# tried where the first leaves out too much; 0: nothing is left out.
_COMPRESSIONS = (5e-6, 5e-7, 0.0)

# The same of the states of each sample, where every k-point is one and their basis is not good enough.
_FINER = (NEGLIGIBLE, 1e-6, 1e-7, 1e-8)

# A check must be this much better than the tolerance: k-points that are not checked may be worse.
_SAFETY = 0.5

# Plane-wave states are solved to this share of the tolerance.
_SAMPLE_SHARE = 0.1

# 1/bohr. Samples of an earlier basis come back this exactly.
_SAME_POINT = 1e-9

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
    coefficients: Coefficients
    errors: FloatArray


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainedBasis:
    """A basis that is good for a list of k-points.

    window_error_ev, top_error_ev: largest errors of bands within and above the window, at k-points that
                are no samples; where every one is a sample, at all of them
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
    converge in plane waves, or where not even the states of all k-points make a basis that is good.
    """
    basis = ReducedBasis(hamiltonian, kpoints)
    cartesian = kpoints @ hamiltonian.reciprocal
    samples = list(known)
    for sample in samples:
        basis.add(basis.embed(sample.millers, sample.coefficients))
    n_good = 0
    distance = _distances(hamiltonian, cartesian, samples)
    while distance.any():
        sample = _sample(hamiltonian, kpoints[int(np.argmax(distance))], wanted, basis)
        samples.append(sample)
        _require_window(samples, wanted)
        basis.add(sample.coefficients, _negligible(len(samples)))
        n_good = n_good + 1 if _is_good(_largest_ev(sample.errors, samples, wanted), wanted) else 0
        distance = _distances(hamiltonian, cartesian, samples)
        if n_good < GOOD_IN_A_ROW or not distance.any():
            continue
        tested = _test(basis, hamiltonian, kpoints, samples, wanted)
        if tested is not None:
            return tested
        n_good = 0
    return _of_all(basis, hamiltonian, kpoints, samples, wanted)


def _of_all(
    basis: ReducedBasis,
    hamiltonian: Hamiltonian,
    kpoints: FloatArray,
    samples: list[Sample],
    wanted: BandsWanted,
) -> TrainedBasis:
    """The basis of samples at all k-points, with more of their states until it is good at all of them."""
    window_ev = top_ev = np.inf
    for negligible in _FINER:
        for sample in samples:
            basis.add(basis.embed(sample.millers, sample.coefficients), negligible)
        errors = [_errors(hamiltonian, kpoint, wanted, basis) for kpoint in kpoints]
        window_ev, top_ev = _largest_ev(np.max(errors, axis=0), samples, wanted)
        if window_ev < wanted.tolerance.window_ev and top_ev < wanted.tolerance.top_ev:
            return TrainedBasis(
                basis=basis, samples=tuple(samples), window_error_ev=window_ev, top_error_ev=top_ev
            )
    error_mev = max(window_ev, top_ev) * 1e3
    raise CalculationError(
        f"a basis of the states of all {len(samples)} k-points is {error_mev:.1f} meV off",
        fix="Use bands = 'nscf'",
    )


def _test(
    basis: ReducedBasis,
    hamiltonian: Hamiltonian,
    kpoints: FloatArray,
    samples: list[Sample],
    wanted: BandsWanted,
) -> TrainedBasis | None:
    """The basis, compressed, if its errors at the points furthest from all samples are small enough."""
    cartesian = kpoints @ hamiltonian.reciprocal
    distance = _distances(hamiltonian, cartesian, samples)
    points: list[int] = []
    for _ in range(min(TESTS, int(np.count_nonzero(distance)))):
        points.append(int(np.argmax(distance)))
        distance = np.minimum(distance, np.linalg.norm(cartesian - cartesian[points[-1]], axis=1))
    states = [basis.embed(s.millers, s.coefficients[: wanted.n_bands]) for s in samples]
    for negligible in _COMPRESSIONS:
        smaller = basis.compressed(states, negligible)
        errors = [_errors(hamiltonian, kpoints[i], wanted, smaller) for i in points]
        largest = [_largest_ev(error, samples, wanted) for error in errors]
        if all(_is_good(error, wanted) for error in largest):
            window_ev = max(error[0] for error in largest)
            top_ev = max(error[1] for error in largest)
            return TrainedBasis(
                basis=smaller, samples=tuple(samples), window_error_ev=window_ev, top_error_ev=top_ev
            )
    return None


def _sample(
    hamiltonian: Hamiltonian, kpoint: FloatArray, wanted: BandsWanted, basis: ReducedBasis
) -> Sample:
    point = hamiltonian.at(kpoint, basis.millers)
    if wanted.n_bands > len(point.kinetic):
        raise CalculationError(f"{wanted.n_bands} bands are asked of {len(point.kinetic)} plane waves")
    n_states = min(wanted.n_bands + _BUFFER_BANDS, len(point.kinetic))
    if basis.size > n_states:
        errors = _errors(hamiltonian, kpoint, wanted, basis)
        guess = basis.uncut(basis.solve(kpoint, n_states).vectors)
    else:
        errors = np.full(wanted.n_bands, np.inf)
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


def _errors(
    hamiltonian: Hamiltonian, kpoint: FloatArray, wanted: BandsWanted, basis: ReducedBasis
) -> FloatArray:
    """Estimated errors of the bands in the basis, shape ``(n_bands,)``, hartree."""
    found = basis.solve(kpoint, wanted.n_bands)
    states = Eigenstates(found.energies, basis.cut(kpoint, found.vectors))
    return estimated_errors(hamiltonian.at(kpoint), states)


def _require_window(samples: list[Sample], wanted: BandsWanted) -> None:
    if wanted.window is None:
        return
    valence_maximum = max(s.energies[wanted.n_valence - 1] for s in samples)
    reached = min(s.energies[-1] for s in samples) - valence_maximum
    if reached < wanted.window:
        raise WindowTooShort(float(reached))


def _largest_ev(errors: FloatArray, samples: list[Sample], wanted: BandsWanted) -> tuple[float, float]:
    """Largest of errors at one k-point, of bands within and above the window, eV."""
    valence_maximum = max(s.energies[wanted.n_valence - 1] for s in samples)
    # Where a band lies within the window at any sample, it is taken for one of the window.
    lowest = np.min([s.energies for s in samples], axis=0)
    in_window = (lowest - valence_maximum) * HARTREE_EV <= wanted.tolerance.window_top_ev
    errors_ev = errors * HARTREE_EV
    return float(errors_ev[in_window].max()), float(errors_ev[~in_window].max(initial=0.0))


def _is_good(errors_ev: tuple[float, float], wanted: BandsWanted) -> bool:
    window_ev, top_ev = errors_ev
    tolerance = wanted.tolerance
    return window_ev < _SAFETY * tolerance.window_ev and top_ev < _SAFETY * tolerance.top_ev


def _distances(hamiltonian: Hamiltonian, cartesian: FloatArray, samples: list[Sample]) -> FloatArray:
    """Of every k-point to the nearest sample, 1/bohr; to the middle of all where there is none."""
    if not samples:
        nearest: FloatArray = np.linalg.norm(cartesian - cartesian.mean(axis=0), axis=1) + 1.0
        return nearest
    taken = np.array([sample.kpoint for sample in samples]) @ hamiltonian.reciprocal
    nearest = np.linalg.norm(cartesian[:, None] - taken, axis=-1).min(axis=1)
    nearest[nearest < _SAME_POINT] = 0.0
    return nearest


def _negligible(n_samples: int) -> float:
    # Where many samples do not help, it is what was left out that is missing.
    return NEGLIGIBLE / 2.0 ** max(0, n_samples - _USUAL_SAMPLES)
