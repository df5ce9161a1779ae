"""When a ladder of Gmax steps is converged; pure.

The published rule compares neighbours, SC[new; old] = 1 - int |Im new - Im old| / int |Im old| (the
older spectrum is the reference), and accepts the first new step above 0.9. Two of its failures are
ruled out here:

- a step may add only G vectors that do not couple to the field, so that nothing changes (SC = 1): a
  null step proves nothing, the next one is judged;
- the first step (2 Ry) now and then changes less than the second: it is never accepted alone, and an
  accepted step must agree with the last one available, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from farm.errors import InputError
from farm.kpoints import FloatArray
from farm.spectrum import ComplexArray, similarity_coefficient

# A similarity this close to 1 means that the added G vectors do not couple.
NULL_STEP = 1e-6

# Steps are counted from 1 (IPA is step 0); the first that may be accepted.
FIRST_JUDGED_STEP = 2


@dataclass(frozen=True)
class LadderVerdict:
    """What a ladder says.

    step_similarity:    SC of each step to the one before, ``[n_gmax - 1][x|y|z]``
    converged_gmax_mry: smallest converged Gmax of x, y, z; None where the ladder is not converged
    """

    step_similarity: tuple[tuple[float, float, float], ...]
    converged_gmax_mry: tuple[int | None, int | None, int | None]

    @property
    def is_converged(self) -> bool:
        """Whether all three directions are."""
        return None not in self.converged_gmax_mry


def judge_ladder(
    gmax_mry: Sequence[int], eps: ComplexArray, energies_ev: FloatArray, threshold: float
) -> LadderVerdict:
    """Judge the spectra of a ladder, ``eps`` with axes ``[gmax, x|y|z, energy]``.

    A direction is converged at the smallest step n >= 2 with SC[n; n-1] > threshold that is no null
    step and has SC[last; n] > threshold. So two steps beyond IPA are needed at least.

    Raises InputError where the shapes disagree or Gmax does not ascend.
    """
    if eps.shape != (len(gmax_mry), 3, energies_ev.size) or list(gmax_mry) != sorted(set(gmax_mry)):
        raise InputError(
            f"a ladder of {len(gmax_mry)} ascending Gmax needs spectra [gmax, 3, energy], got {eps.shape}"
        )
    imaginary = eps.imag
    steps = [
        [similarity_coefficient(new[d], old[d], energies_ev) for d in range(3)]
        for old, new in pairwise(imaginary)
    ]
    to_last = [
        [similarity_coefficient(imaginary[-1][d], e[d], energies_ev) for d in range(3)] for e in imaginary
    ]
    found: list[int | None] = []
    for d in range(3):
        accepted = (
            gmax_mry[n]
            for n in range(FIRST_JUDGED_STEP, len(gmax_mry))
            if threshold < steps[n - 1][d] < 1 - NULL_STEP and to_last[n][d] > threshold
        )
        found.append(next(accepted, None))
    return LadderVerdict(
        step_similarity=tuple((s[0], s[1], s[2]) for s in steps),
        converged_gmax_mry=(found[0], found[1], found[2]),
    )
