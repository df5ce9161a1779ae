"""The steps of a job and what each can bring back: the values that decisions are made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from farm.job import Stage
from workers.convergence import Grid, Rung


def scf_name(rung: Rung) -> str:
    """Directory of the scf run at a rung."""
    loose = "-loose" if rung.is_loose else ""
    return f"scf-{rung.ecutwfc_ry}Ry-{'x'.join(map(str, rung.kgrid))}{loose}"


@dataclass(frozen=True, kw_only=True)
class ScfStep:
    """A self-consistent run on an unshifted grid.

    is_loose: its energy decides about the ladder, and only to that accuracy
    start:    name of the earlier step whose density it starts from; "": from atoms
    """

    ecutwfc_ry: int
    kgrid: Grid
    is_loose: bool = False
    start: str = ""
    stage = Stage.GROUND_STATE

    @property
    def name(self) -> str:
        """Directory of the step."""
        return scf_name(Rung(ecutwfc_ry=self.ecutwfc_ry, kgrid=self.kgrid, is_loose=self.is_loose))


@dataclass(frozen=True, kw_only=True)
class BandsStep:
    """A band calculation on the shifted grid, from the density of ``ground_state``."""

    ground_state: ScfStep
    nbnd: int
    stage = Stage.BANDS

    @property
    def name(self) -> str:
        """Directory of the step."""
        return f"bands-{self.nbnd}"


@dataclass(frozen=True, kw_only=True)
class ResponseStep:
    """All rungs of the local-field ladder, from the lowest ``n_bands`` (None: all) of ``bands``."""

    bands: BandsStep
    n_bands: int | None = None
    stage = Stage.RESPONSE
    name = "response"


@dataclass(frozen=True, kw_only=True)
class PotentialStep:
    """The local potential of ``ground_state``, which the reduced basis needs."""

    ground_state: ScfStep
    stage = Stage.BANDS
    name = "potential"


@dataclass(frozen=True, kw_only=True)
class SpectraStep:
    """Bands in a reduced basis and the response, all rungs, in one process.

    check_kgrid: grid on which the total energy is wanted beside that of the ground state
    """

    ground_state: ScfStep
    check_kgrid: Grid | None = None
    stage = Stage.RESPONSE
    name = "spectra"


@dataclass(frozen=True, kw_only=True)
class ScfDone:
    """energy_ev: total energy of the cell, eV."""

    energy_ev: float


@dataclass(frozen=True, kw_only=True)
class BandsDone:
    """Gaps and reach of the bands above the valence band maximum, eV.

    n_bands: the fewest that reach the energy window, which the response is made of; None: all
    """

    gap_indirect_ev: float
    gap_direct_ev: float
    top_ev: float
    n_bands: int | None = None


@dataclass(frozen=True, kw_only=True)
class ResponseDone:
    """Where the ladder converged per direction (None: not), and the SC of its last step.

    last_similarity: None where the ladder is IPA alone
    """

    converged_gmax_mry: tuple[int | None, int | None, int | None]
    last_gmax_mry: int
    last_similarity: tuple[float, float, float] | None


@dataclass(frozen=True, kw_only=True)
class PotentialDone:
    """The file is there."""


@dataclass(frozen=True, kw_only=True)
class BandAccuracy:
    """What was measured of bands in a reduced basis.

    window_error_mev, top_error_mev: at k-points that were checked against plane waves, of bands within
                and above the photon energies of the spectrum
    pw_error_mev: of the filled bands against pw.x at a k-point of its own
    n_functions, n_samples: size of the basis, and k-points it was made of
    """

    window_error_mev: float
    top_error_mev: float
    pw_error_mev: float
    n_functions: int
    n_samples: int


@dataclass(frozen=True, kw_only=True)
class SpectraDone:
    """Bands and response of the last k-grid; no response for a metal.

    nbnd:              bands that were kept
    kgrids:            divisions of the grids, from coarse to dense
    n_kpoints:         inequivalent points of the last
    kgrid_similarity:  SC of the grid before to the last one, x, y, z; None where there was one grid
    kgrid_converged:   whether they agree; None where that was not asked
    bands_cpu_s:       CPU seconds of the process that went into bands
    energy_change_ev:  of the cell, from the ground state's grid to ``check_kgrid``
    """

    bands: BandsDone
    accuracy: BandAccuracy
    nbnd: int
    kgrids: tuple[Grid, ...]
    n_kpoints: int
    kgrid_similarity: tuple[float, float, float] | None
    kgrid_converged: bool | None
    bands_cpu_s: float
    response: ResponseDone | None
    energy_change_ev: float | None = None


@dataclass(frozen=True, kw_only=True)
class StepFailed:
    """No remedy was left.

    reason:    one sentence
    diagnosis: and ``advice``, as in a Result
    is_metal:  what failed is the assumption of a gap
    """

    reason: str
    diagnosis: str = ""
    advice: str = ""
    is_metal: bool = False


Step = ScfStep | PotentialStep | SpectraStep | BandsStep | ResponseStep
Done = ScfDone | PotentialDone | SpectraDone | BandsDone | ResponseDone | StepFailed
History = Sequence[tuple[Step, Done]]
