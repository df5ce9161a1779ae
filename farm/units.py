"""CODATA 2022 conversion factors; the only numeric constants of physics in the project.

Hartree atomic units are used inside the solver. eV, Ry, mRy and angstrom appear only at the
boundary, and then always in the name of the quantity (``damping_ev``, ``ecutwfc_ry``).

Written out because ``scipy.constants`` takes a tenth of a second to import, which every command
would pay; a test holds them to it.
"""

HARTREE_EV = 27.211386245981
RYDBERG_EV = HARTREE_EV / 2
BOHR_ANGSTROM = 0.529177210544
KCAL_MOL_EV = 0.043364104241800934
HBAR_EV_S = 6.582119569509067e-16
SPEED_OF_LIGHT_CM_S = 2.99792458e10
MRY_PER_RY = 1000
