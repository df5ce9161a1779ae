"""CODATA conversion factors; the only numeric constants of physics in the project.

Hartree atomic units are used inside the solver. eV, Ry, mRy and angstrom appear only at the
boundary, and then always in the name of the quantity (``damping_ev``, ``ecutwfc_ry``).
"""

from scipy import constants as _codata

HARTREE_EV: float = _codata.physical_constants["Hartree energy in eV"][0]
RYDBERG_EV: float = HARTREE_EV / 2
BOHR_ANGSTROM: float = _codata.physical_constants["Bohr radius"][0] * 1e10
KCAL_MOL_EV: float = _codata.calorie * 1e3 / (_codata.N_A * _codata.e)
HBAR_EV_S: float = _codata.hbar / _codata.e
SPEED_OF_LIGHT_CM_S: float = _codata.c * 1e2
MRY_PER_RY: int = 1000
