"""How far the local-field ladder of one direction has to go, one run after the other; pure.

Each rung is a run of its own, so it is judged as soon as it is there: by the rule of
:func:`workers.gmax.judge_ladder` on the rungs so far, of which the newest is the last.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from farm.kpoints import FloatArray
from farm.spectrum import ComplexArray
from workers.gmax import judge_ladder
from workers.spectra import ResponseData


@dataclass(frozen=True, kw_only=True, eq=False)
class RungResult:
    """One rung of one direction.

    n_g: G vectors of the block
    eps: complex, shape ``(n_energies,)``
    """

    n_g: int
    eps: ComplexArray


def next_gmax(
    done: Mapping[int, RungResult], gmax_mry: Sequence[int], energies_ev: FloatArray, threshold: float
) -> int | None:
    """The first rung of the ladder that is not done; None when it is converged, or at its end.

    done: Gmax in mRy -> its result, the rungs of ``gmax_mry`` from the first on
    """
    rest = [gmax for gmax in gmax_mry if gmax not in done]
    if not rest or _is_converged(done, energies_ev, threshold):
        return None
    return rest[0]


def _is_converged(done: Mapping[int, RungResult], energies_ev: FloatArray, threshold: float) -> bool:
    if len(done) < 2:
        return False
    ladder = sorted(done)
    eps = np.array([done[gmax].eps for gmax in ladder])
    three = np.repeat(eps[:, None, :], 3, axis=1)
    return judge_ladder(ladder, three, energies_ev, threshold).is_converged


def join_directions(
    by_axis: Sequence[Mapping[int, RungResult]], energies_ev: FloatArray, peak_memory_mb: float
) -> ResponseData:
    """The ladders of x, y and z as one, up to the largest rung that one of them needed.

    A direction that converged before keeps its last spectrum: nothing larger was computed for it. The
    verdict on it stays the same, since a converged direction is judged by the first rung that passes.
    """
    longest = max(by_axis, key=len)
    gmax_mry = tuple(sorted(longest))
    eps = np.empty((len(gmax_mry), len(by_axis), energies_ev.size), dtype=np.complex128)
    for axis, done in enumerate(by_axis):
        last = max(done)
        for i, gmax in enumerate(gmax_mry):
            eps[i, axis] = done[min(gmax, last)].eps
    return ResponseData(
        energies_ev=energies_ev,
        gmax_mry=gmax_mry,
        n_g=tuple(longest[gmax].n_g for gmax in gmax_mry),
        eps=eps,
        peak_memory_mb=peak_memory_mb,
    )
