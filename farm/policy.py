"""What to compute next: by cost alone, or by what a model would learn for it.

A model sees crystals as vectors (*latents*). Two policies order waiting crystals greedily by what each
would add to what is known there, per CPU second; each choice counts as known for the next, so that ten
copies of one material are not ten good choices.

``diverse``
    The farthest point first (T. F. Gonzalez, Theor. Comput. Sci. 38, 293 (1985); O. Sener, S. Savarese,
    ICLR 2018). An error that grows with the distance d to the nearest known crystal is small where balls
    around the known ones cover all crystals. In D dimensions a crystal at distance d newly covers a volume
    d^D, so what counts per CPU second c is d^D / c, or d / c^(1/D). D is 3: the radius of the best cover by
    k crystals falls as k^(-1/D), with D from 3.1 to 3.5 in the latents of 278 materials after four fits.
    With d / c distances would hardly count, as costs differ by far more than they do.

``uncertainty-per-cost``
    Bayesian linear regression on the latents z, the last layer of a Laplace approximation (D. J. C. MacKay,
    Neural Comput. 4, 448 and 590 (1992)). With unit noise and the prior precision l::

        A = l I + sum_known z z^T        var(z) = z^T A^-1 z

    Computing crystal i lowers the variance of every crystal j by cov(i, j)^2 / (1 + var(i)), with
    cov(i, j) = z_i^T A^-1 z_j. The gain is the sum over all crystals j, waiting and known, which is how
    much the mean error is expected to fall (D. A. Cohn, Z. Ghahramani, M. I. Jordan, J. Artif. Intell.
    Res. 4, 129 (1996)): an outlier that teaches nothing of others gains little, uncertain as it is.
    A^-1 follows each choice by a rank-one update (J. Sherman, W. J. Morrison, Ann. Math. Stat. 21, 124
    (1950)).

Every ``CHEAPEST_EVERY``-th choice is the cheapest left. That is an insurance against a model that knows
nothing yet; it costs little, as it buys what is cheap; and what is n-th by cost is chosen after at most
``CHEAPEST_EVERY * n`` choices, so that nothing cheap waits for ever.
"""

from __future__ import annotations

from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from farm.errors import InputError
from farm.spectrum import FloatArray

Policy = Literal["cheapest", "uncertainty-per-cost", "diverse"]
IntArray = NDArray[np.int64]

# Insurance: see above.
CHEAPEST_EVERY = 10
# Directions beyond these hold little of the variance of the latents, and cost time.
MAX_DIMENSIONS = 32
# l above, of latents whose mean square length is 1.
PRIOR_PRECISION = 0.1
# D above.
COVERING_DIMENSION = 3.0
# Below this a predicted cost is start-up, and its ratio to others noise.
_LEAST_CPU_S = 0.1
# Of the variance: an axis with less holds rounding.
_LEAST_SHARE = 1e-9
LONGEST = 10.0
_ROWS_AT_A_TIME = 256


def order(
    policy: Policy, cpu_s: FloatArray, latents: FloatArray, known_latents: FloatArray, *, limit: int
) -> IntArray:
    """Indices of all waiting crystals in the order in which to compute them, int64 ``(n,)``.

    cpu_s:         predicted CPU seconds, ``(n,)``
    latents:       of the waiting crystals, ``(n, d)``, any unit; read only where the policy needs them
    known_latents: of those that the model has learnt from, ``(m, d)``
    limit:         so many are chosen by the policy; the rest follows by cost

    Equal scores go by cost, equal costs by index. Time grows as ``limit * n``: 1,000 of 20,000 in
    seconds. Raises InputError for arrays that do not fit together and for numbers that are not finite.
    """
    cpu_s, latents, known_latents = (
        np.asarray(array, dtype=np.float64) for array in (cpu_s, latents, known_latents)
    )
    if not np.isfinite(cpu_s).all():
        raise InputError("a predicted cost is not finite")
    by_cost: IntArray = np.argsort(cpu_s, kind="stable")
    if policy == "cheapest" or cpu_s.size == 0:
        return by_cost
    _check(cpu_s, latents, known_latents)
    waiting, known = principal_components(latents[by_cost], known_latents)
    gain: _Gain = _Coverage(waiting, known) if policy == "diverse" else _LessVariance(waiting, known)
    rate = np.maximum(cpu_s[by_cost], _LEAST_CPU_S) ** -gain.cost_exponent
    chosen = _greedy(gain, rate, min(limit, cpu_s.size))
    rest = np.setdiff1d(np.arange(cpu_s.size), chosen)
    return np.asarray(by_cost[np.concatenate([chosen, rest])], dtype=np.int64)


def principal_components(latents: FloatArray, known_latents: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Both sets in the principal axes of all together, ``(n, k)`` and ``(m, k)``, ``k <= 32``.

    Centred, and scaled as a whole to a mean square length of 1. Axes are not scaled one by one: what
    the network hardly varies between crystals hardly matters to its spectra. Vectors of more than
    ``LONGEST`` times the median length are shortened to it, so that one freak does not set the scale.
    """
    together = np.concatenate([latents, known_latents])
    together = together - np.median(together, axis=0)
    lengths = np.linalg.norm(together, axis=1)
    longest = LONGEST * np.median(lengths)
    if longest > 0.0:
        together *= (longest / np.maximum(lengths, longest))[:, None]
    together -= together.mean(axis=0)
    variances, axes = np.linalg.eigh(together.T @ together / len(together))
    variances, axes = variances[::-1][:MAX_DIMENSIONS], axes[:, ::-1][:, :MAX_DIMENSIONS]
    kept = variances > _LEAST_SHARE * variances.sum()
    scale = np.sqrt(variances[kept].sum()) or 1.0
    components = np.asarray(together @ axes[:, kept] / scale, dtype=np.float64)
    return components[: len(latents)], components[len(latents) :]


class _Gain(Protocol):
    """What each waiting crystal would add, ``(n,)``, nowhere negative, and how it changes by a choice."""

    gain: FloatArray
    cost_exponent: float

    def choose(self, index: int) -> None: ...


class _Coverage:
    """Distance to the nearest known or chosen crystal; without any, they are all alike."""

    cost_exponent = 1.0 / COVERING_DIMENSION

    def __init__(self, waiting: FloatArray, known: FloatArray) -> None:
        self._waiting = waiting
        self._squared = np.full(len(waiting), np.inf)
        for start in range(0, len(known), _ROWS_AT_A_TIME):
            part = known[start : start + _ROWS_AT_A_TIME]
            products = waiting @ part.T
            squared = (waiting**2).sum(axis=1)[:, None] + (part**2).sum(axis=1) - 2.0 * products
            np.minimum(self._squared, squared.min(axis=1).clip(min=0.0), out=self._squared)
        self.gain = np.sqrt(self._squared) if len(known) else np.ones(len(waiting))

    def choose(self, index: int) -> None:
        squared = ((self._waiting - self._waiting[index]) ** 2).sum(axis=1)
        np.minimum(self._squared, squared, out=self._squared)
        self.gain = np.sqrt(self._squared)


class _LessVariance:
    """By how much the summed variance of all crystals falls.

    With z of a crystal, S the sum of z z^T over all crystals and M = A^-1 S A^-1 it is
    z^T M z / (1 + z^T A^-1 z); both forms follow a choice in order n k.
    """

    cost_exponent = 1.0

    def __init__(self, waiting: FloatArray, known: FloatArray) -> None:
        self._waiting = waiting
        self._all = waiting.T @ waiting + known.T @ known
        precision = PRIOR_PRECISION * np.eye(waiting.shape[1]) + known.T @ known
        self._inverse = np.asarray(np.linalg.inv(precision), dtype=np.float64)
        self._variance = _forms(waiting, self._inverse)
        self._numerator = _forms(waiting, self._inverse @ self._all @ self._inverse)
        self.gain = self._numerator / (1.0 + self._variance)

    def choose(self, index: int) -> None:
        # u = A^-1 z; A^-1 loses u u^T / (1 + var), and M changes by what follows from that.
        u = self._inverse @ self._waiting[index]
        denominator = 1.0 + self._variance[index]
        s = self._inverse @ (self._all @ u)
        along_u, along_s = self._waiting @ u, self._waiting @ s
        self._numerator += (
            along_u**2 * (u @ self._all @ u) / denominator**2 - 2.0 * along_u * along_s / denominator
        )
        self._variance -= along_u**2 / denominator
        self._inverse -= np.outer(u, u) / denominator
        self.gain = np.maximum(self._numerator, 0.0) / (1.0 + self._variance)


def _greedy(gain: _Gain, rate: FloatArray, n_choices: int) -> IntArray:
    """Choose ``n_choices``, each the best by gain times ``rate``; crystals stand in order of cost."""
    free = np.ones(rate.size, dtype=bool)
    chosen = np.empty(n_choices, dtype=np.int64)
    cheapest = 0
    for n in range(n_choices):
        if n % CHEAPEST_EVERY == CHEAPEST_EVERY - 1:
            while not free[cheapest]:
                cheapest += 1
            index = cheapest
        else:
            # Of equal ones argmax takes the first, the cheapest.
            index = int(np.argmax(np.where(free, gain.gain * rate, -1.0)))
        chosen[n], free[index] = index, False
        gain.choose(index)
    return chosen


def _forms(vectors: FloatArray, matrix: NDArray[np.floating]) -> FloatArray:
    """z^T matrix z of each row z."""
    return np.asarray(np.einsum("ij,ij->i", vectors @ matrix, vectors))


def _check(cpu_s: FloatArray, latents: FloatArray, known_latents: FloatArray) -> None:
    shapes = (cpu_s.shape, latents.shape, known_latents.shape)
    if not (
        cpu_s.ndim == 1
        and latents.ndim == known_latents.ndim == 2
        and len(latents) == cpu_s.size
        and latents.shape[1] == known_latents.shape[1]
    ):
        raise InputError(f"costs and latents do not fit together: shapes {shapes}")
    if not (np.isfinite(latents).all() and np.isfinite(known_latents).all()):
        raise InputError("a latent is not finite")
