"""What may be changed in a pw.x input after a failure, in order and bounded."""

from __future__ import annotations

from collections.abc import Mapping

from workers.diagnosis import Remedy
from workers.qe.inputs import PwInput


def _slower_mixing(pw_input: PwInput) -> PwInput | None:
    for beta in (0.4, 0.2):
        if pw_input.mixing_beta > beta:
            return pw_input.evolve(mixing_beta=beta, startingpot="file")
    return None


def _local_mixing(pw_input: PwInput) -> PwInput | None:
    if pw_input.mixing_mode == "local-TF":
        return None
    return pw_input.evolve(mixing_mode="local-TF", startingpot="file")


def _longer_mixing(pw_input: PwInput) -> PwInput:
    return pw_input.evolve(mixing_ndim=12, startingpot="file")


def _shorter_mixing(pw_input: PwInput) -> PwInput:
    return pw_input.evolve(mixing_ndim=4, mixing_beta=0.3)


def _parallel_orbitals(pw_input: PwInput) -> PwInput | None:
    return pw_input.evolve(diagonalization="paro") if pw_input.diagonalization == "david" else None


def _conjugate_gradients(pw_input: PwInput) -> PwInput | None:
    return pw_input.evolve(diagonalization="cg") if pw_input.diagonalization != "cg" else None


def _leave_paro(pw_input: PwInput) -> PwInput | None:
    # paro has crashed with a corrupted heap: the same again would not help.
    return pw_input.evolve(diagonalization="cg") if pw_input.diagonalization == "paro" else None


def _small_subspace(pw_input: PwInput) -> PwInput:
    return pw_input.evolve(diago_david_ndim=2, mixing_ndim=4)


def _no_symmetry(pw_input: PwInput) -> PwInput | None:
    return pw_input.evolve(use_symmetry=False) if pw_input.use_symmetry else None


def _no_time_limit(pw_input: PwInput) -> PwInput | None:
    if pw_input.max_seconds is None:
        return None
    start = "file" if pw_input.calculation == "scf" else pw_input.startingpot
    return pw_input.evolve(max_seconds=None, startingpot=start)


def _from_atoms(pw_input: PwInput) -> PwInput | None:
    # Of an scf run alone: a band calculation has nothing else to start from.
    if pw_input.calculation != "scf" or pw_input.startingpot != "file":
        return None
    return pw_input.evolve(startingpot="atomic")


def _identical(pw_input: PwInput) -> PwInput:
    return pw_input


_SLOWER = Remedy(name="slower mixing from the last density", change=_slower_mixing, clean=False, limit=2)
_LOCAL_TF = Remedy(name="local Thomas-Fermi mixing", change=_local_mixing, clean=False)
_LONGER = Remedy(name="longer mixing history", change=_longer_mixing, clean=False)
_PARO = Remedy(name="parallel-orbital diagonalisation", change=_parallel_orbitals)
_CG = Remedy(name="conjugate-gradient diagonalisation", change=_conjugate_gradients)
_LEAVE_PARO = Remedy(name="leave the crashed diagonalisation", change=_leave_paro)
_FROM_ATOMS = Remedy(name="from the densities of atoms", change=_from_atoms)
_AGAIN = Remedy(name="the same again from a clean directory", change=_identical)
_ONCE_MORE = Remedy(name="once more from a clean directory", change=_identical, limit=2)
_SMALLER = Remedy(name="smaller subspace", change=_small_subspace)

REMEDIES: Mapping[str, tuple[Remedy[PwInput], ...]] = {
    "scf_unconverged": (_SLOWER, _LOCAL_TF, _LONGER),
    "scf_stagnated": (_SLOWER,),
    "bands_unconverged": (_PARO, _CG),
    "diagonalization_failed": (_PARO, _CG, _SMALLER),
    "broyden": (Remedy(name="shorter, slower mixing", change=_shorter_mixing),),
    "charge_wrong": (_CG,),
    "symmetry": (Remedy(name="no symmetry", change=_no_symmetry),),
    "time_limit": (Remedy(name="no time limit", change=_no_time_limit, clean=False), _AGAIN),
    "out_of_memory": (_SMALLER,),
    "files_corrupt": (_FROM_ATOMS, _AGAIN),
    # By the machine's memory, perhaps: not four times the same.
    "killed": (_AGAIN, _SMALLER, _ONCE_MORE),
    "silent": (_AGAIN,),
    "stopped_on_request": (_AGAIN,),
    "crashed": (_LEAVE_PARO, _AGAIN, _CG),
    # pw.x stops without a word when Davidson breaks down with very many bands.
    "aborted": (_LEAVE_PARO, _AGAIN, _CG),
    "other_error": (_AGAIN,),
    "incomplete_output": (_AGAIN,),
}
